"""`flareseg pacs` with a real archive (Orthanc with its DICOMweb plug-in), and what stops it in the middle."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pydicom
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from dicom_results import PATIENT, bright_series

from flareseg.cli import main
from flareseg.pacs.archive import Archive

PROGRAM = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
STUDY, SERIES = PATIENT["StudyInstanceUID"], PATIENT["SeriesInstanceUID"]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Orthanc:
    """An archive in a process of its own, at `url`."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.root = f"http://127.0.0.1:{port}"
        self.url = f"{self.root}/dicom-web"
        settings = {
            "StorageDirectory": str(folder),
            "IndexDirectory": str(folder),
            "HttpPort": port,
            "DicomServerEnabled": False,
            "RemoteAccessAllowed": False,
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        self.process = subprocess.Popen(
            [PROGRAM, str(folder / "orthanc.json")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(600):
            try:
                self.get("/system")
                break
            except OSError:
                assert self.process.poll() is None, "Orthanc did not start"
                time.sleep(0.1)

    def get(self, path: str):
        with urllib.request.urlopen(self.root + path, timeout=30) as answer:
            return json.load(answer)

    def request(self, method: str, path: str, data: bytes | None = None) -> None:
        with urllib.request.urlopen(urllib.request.Request(self.root + path, data, method=method), timeout=30):
            pass

    def holds(self) -> list[str]:
        """The modality of every instance."""
        return sorted(
            self.get(f"/series/{self.get(f'/instances/{one}')['ParentSeries']}")["MainDicomTags"]["Modality"]
            for one in self.get("/instances")
        )


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    pytest.importorskip("highdicom", reason="highdicom is not installed")
    pytest.importorskip("dicomweb_client", reason="dicomweb-client is not installed")
    if not PROGRAM or not PLUGIN.exists():
        pytest.skip("Orthanc is not installed (Debian: orthanc and orthanc-dicomweb)")
    archive = Orthanc(tmp_path_factory.mktemp("orthanc"))
    yield archive
    archive.process.terminate()
    archive.process.wait(30)


@pytest.fixture
def archive(orthanc, tmp_path):
    """An archive with one CT of eight images."""
    for one in orthanc.get("/patients"):
        orthanc.request("DELETE", f"/patients/{one}")
    for file in bright_series(tmp_path / "ct").iterdir():
        orthanc.request("POST", "/instances", file.read_bytes())
    return orthanc


@pytest.fixture
def pacs(archive, tmp_path, segment_quickly, a_model):
    def run(*arguments: object) -> int:
        return main([*run.words, *map(str, arguments)])

    run.words = ["pacs", "--url", archive.url, "--study", STUDY, "-o", str(tmp_path / "work"), "--force"]
    run.words += ["--model", str(a_model), "--progress", "none"]
    return run


def test_segmentation_and_report_come_back_into_the_study_once(archive, pacs, tmp_path, capsys):
    assert pacs("--rtstruct") == 0
    results = ["CT"] * 8 + ["RTSTRUCT", "SEG", "SR"]
    assert archive.holds() == results
    assert len(archive.get("/studies")) == 1
    images = {pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID for file in (tmp_path / "ct").iterdir()}
    [seg] = [one for one in map(pydicom.dcmread, tmp_path.glob("work/*/*/results/*.dcm")) if one.Modality == "SEG"]
    referred = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {one.ReferencedSOPInstanceUID for one in referred} == images
    assert pacs("--rtstruct") == 0 and archive.holds() == results, "nothing twice"
    assert pacs("-o", tmp_path / "elsewhere") == 0 and archive.holds() == results, "nor from another folder"
    assert pacs("-o", tmp_path / "elsewhere", "--again") == 0
    assert archive.holds() == [*["CT"] * 8, "RTSTRUCT", "SEG", "SEG", "SR", "SR"]


KILLED = """
import os, signal, sys, types
sys.path.insert(0, {tests!r})
from quick_segmenter import QuickSegmenter
sys.modules["flareseg.segmenter"] = types.SimpleNamespace(Segmenter=QuickSegmenter)
from dicomweb_client import DICOMwebClient
from flareseg.results.dicom_files import DicomResults
from flareseg.cli import main

kind, name, count = {{
    "fetching": (DICOMwebClient, "retrieve_instance", 3),
    "segmenting": (DicomResults, "write_sr", 0),
    "sending": (DICOMwebClient, "store_instances", 1),
}}[sys.argv[1]]
original, calls = getattr(kind, name), []

def killing(*arguments, **options):
    calls.append(name)
    if len(calls) > count:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **options)

setattr(kind, name, killing)
main(sys.argv[2:])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.parametrize("where", ["fetching", "segmenting", "sending"])
def test_a_run_that_was_killed_goes_on_where_it_was(archive, pacs, tmp_path, where):
    script = KILLED.format(tests=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", script, where, *pacs.words], capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
    assert archive.holds() == {"sending": [*["CT"] * 8, "SEG"]}.get(where, ["CT"] * 8)
    fetched = {file: file.stat().st_mtime_ns for file in tmp_path.glob("work/*/*/images/*.dcm")}
    assert len(fetched) == (3 if where == "fetching" else 8)
    assert pacs() == 0
    assert archive.holds() == [*["CT"] * 8, "SEG", "SR"]
    assert all(file.stat().st_mtime_ns == made for file, made in fetched.items()), "nothing is fetched twice"
    assert not list(tmp_path.glob("work/**/.*")), "nothing half is left"


@pytest.mark.parametrize(
    ("arguments", "words", "status"),
    [
        (["--study", "1.2.3"], "has no CT in study 1.2.3", 1),
        (["--study", "../../etc"], "is no UID", 2),
        (["--series", "1.2.3"], "has no series 1.2.3", 1),
        (["--url", "http://127.0.0.1:9/dicom-web"], "cannot be reached", 1),
        (["--url", "ftp://a"], "is no address of a DICOMweb service", 2),
    ],
)
def test_what_cannot_be_is_one_line(archive, pacs, tmp_path, capsys, arguments, words, status):
    assert pacs(*arguments) == status
    text = capsys.readouterr().err
    assert words in text and text.count("\n") == 1
    assert not (tmp_path / "work").exists()


def test_the_archive_says_which_series_there_are(archive):
    [series] = Archive(archive.url).series_of(STUDY)
    assert (series.uid, series.modality, series.images) == (SERIES, "CT", 8)
