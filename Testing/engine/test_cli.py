"""The command line as a user meets it: results, exit statuses, one-line errors, nothing left behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flareseg.__main__ import use_small_pages
from flareseg.cases.manifest import NAME
from flareseg.cli import main
from flareseg.commands import pipeline
from flareseg.io.files import read_labels, read_volume, write_volume
from flareseg.io.writers import endings_for
from flareseg.labels import structures
from flareseg.options import Options
from flareseg.segmenter import Segmenter
from flareseg.volume import Geometry, Volume

HARD_NAMES = ["a case", "Größe Ünïcode", "腹部CT扫描", "x" * 200]


@pytest.fixture(autouse=True)
def folders_of_its_own(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's own models, cache or current folder."""
    base = tmp_path_factory.mktemp("user")
    monkeypatch.setenv("FLARESEG_DATA", str(base / "data"))
    monkeypatch.setenv("FLARESEG_CACHE", str(base / "cache"))
    monkeypatch.chdir(base)
    return base


@pytest.fixture
def ct_file(a_ct, tmp_path) -> Path:
    return write_volume(a_ct, tmp_path / "in" / "patient.nii.gz")


@pytest.fixture
def segment(a_model):
    def run(*arguments: object) -> int:
        options = ["--model", str(a_model), "--device", "cpu", "--backend", "torch", "--threads", "1"]
        return main(["segment", *map(str, arguments), *options])

    return run


def one_line(capsys) -> str:
    """What stands on standard error, which must be one line."""
    text = capsys.readouterr().err
    assert text.count("\n") == 1 and text.endswith("\n"), text
    assert "Traceback" not in text
    return text


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_ct_becomes_a_label_map_on_its_own_grid(segment, ct_file, a_ct, a_model, tmp_path, capsys):
    assert segment(ct_file, "-o", tmp_path / "out.nii.gz") == 0
    labels, geometry = read_labels(tmp_path / "out.nii.gz")
    assert geometry.same_as(a_ct.geometry)
    expected = Segmenter(a_model, Options(device="cpu", backend="torch", threads=1)).segment(read_volume(ct_file))
    assert np.array_equal(labels, expected.labels)
    out = capsys.readouterr().out
    assert "Liver" in out or "liver" in out
    assert "network" in out


def test_several_formats_of_one_case_hold_the_same_labels(segment, ct_file, tmp_path):
    paths = [tmp_path / f"out{ending}" for ending in (".nii.gz", ".nii", ".nrrd", ".seg.nrrd")]
    assert segment(ct_file, *(argument for path in paths for argument in ("-o", path))) == 0
    first, _ = read_labels(paths[0])
    assert all(np.array_equal(read_labels(path)[0], first) for path in paths[1:])


def test_the_same_ct_gives_the_same_bytes(segment, ct_file, tmp_path):
    for run in ("1", "2"):
        assert segment(ct_file, "-o", tmp_path / run / "out.seg.nrrd", "-o", tmp_path / run / "out.nii.gz") == 0
    for name in ("out.seg.nrrd", "out.nii.gz"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_without_an_output_the_result_lands_in_the_current_folder(segment, ct_file):
    assert segment(ct_file) == 0
    assert files_in(Path.cwd()) == ["patient_flareseg.nii.gz"]


@pytest.mark.parametrize("name", HARD_NAMES)
def test_names_of_all_kinds_are_read_and_written(segment, a_ct, tmp_path, name):
    ct = write_volume(a_ct, tmp_path / name / f"{name}.nii.gz")
    assert segment(ct, "-o", tmp_path / "out") == 0
    assert files_in(tmp_path / "out") == [f"{name}.nii.gz"]


def test_in_a_folder_of_cases_a_bad_one_does_not_stop_the_others(segment, a_ct, tmp_path, capsys):
    for name in ("a", "c"):
        write_volume(a_ct, tmp_path / "cts" / f"{name}.nii.gz")
    (tmp_path / "cts" / "b.nii.gz").write_bytes(b"no CT at all")
    assert segment(tmp_path / "cts", "-o", tmp_path / "out", "--measurements", tmp_path / "table.csv") == 1
    assert files_in(tmp_path / "out") == ["a.nii.gz", "c.nii.gz", NAME]
    assert "b.nii.gz" in one_line(capsys)
    table = (tmp_path / "table.csv").read_text(encoding="utf-8")
    assert {line.split(",")[0] for line in table.splitlines()[1:]} == {"a", "c"}


def test_cases_that_are_done_can_be_left_out(segment, a_ct, tmp_path):
    for name in ("a", "b"):
        write_volume(a_ct, tmp_path / "cts" / f"{name}.nii.gz")
    assert segment(tmp_path / "cts", "-o", tmp_path / "out") == 0
    (tmp_path / "out" / "b.nii.gz").unlink()
    before = (tmp_path / "out" / "a.nii.gz").stat()
    assert segment(tmp_path / "cts", "-o", tmp_path / "out", "--skip-existing") == 0
    assert (tmp_path / "out" / "a.nii.gz").stat().st_mtime_ns == before.st_mtime_ns
    assert (tmp_path / "out" / "b.nii.gz").stat().st_size > 100


def test_an_existing_result_is_kept_unless_overwrite_is_given(segment, ct_file, tmp_path, capsys):
    out = tmp_path / "out.nii.gz"
    out.write_bytes(b"precious")
    assert segment(ct_file, "-o", out) == 1
    assert out.read_bytes() == b"precious"
    assert "--overwrite" in one_line(capsys)
    assert segment(ct_file, "-o", out, "--overwrite") == 0
    assert out.stat().st_size > 100


def test_progress_can_be_followed_as_json_lines(segment, ct_file, tmp_path, capsys):
    assert segment(ct_file, "-o", tmp_path / "out.nii.gz", "--progress", "json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    stages = list(dict.fromkeys(event["stage"] for event in events if event["event"] == "stage"))
    assert stages == ["read", "body", "resample", "network", "labels", "components", "write"]
    done = events[-1]
    assert len(done.pop("measurements")) >= len(structures())
    assert done == {
        "event": "done",
        "case": "patient",
        "fraction": 1.0,
        "output": str(tmp_path / "out.nii.gz"),
    }


def test_a_program_hears_of_measurements_with_the_result(segment, ct_file, tmp_path, capsys):
    assert segment(ct_file, "-o", tmp_path / "out.nii.gz", "--progress", "json") == 0
    done = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert done["event"] == "done"
    assert {"structure", "volume_ml", "lesion", "longest_mm"} <= set(done["measurements"][0])


def test_what_nobody_sees_is_not_measured(segment, ct_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pipeline, "measure", lambda *_, **__: pytest.fail("measured"))
    assert segment(ct_file, "-o", tmp_path / "out.nii.gz", "--progress", "none") == 0
    assert capsys.readouterr().out == ""


def test_a_first_coarse_result_is_written_before_the_network_begins(a_patient, tmp_path, capsys):
    geometry = Geometry(a_patient.hu.shape, a_patient.spacing_zyx_mm)
    write_volume(Volume(a_patient.hu, geometry), tmp_path / "patient.nrrd")
    order = ["-o", tmp_path / "out.nrrd", "--preview", tmp_path / "first", "--progress", "json", "--device", "cpu"]
    assert main([str(part) for part in ("segment", tmp_path / "patient.nrrd", *order)]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds.count("preview") == 1
    assert "network" not in [event.get("stage") for event in events[: kinds.index("preview")]]
    coarse, _ = read_labels(Path(events[kinds.index("preview")]["output"]))
    assert (coarse == 1).any()


def test_an_error_is_a_json_line_and_a_line_for_people(segment, tmp_path, capsys):
    (tmp_path / "bad.nii.gz").write_bytes(b"")
    assert segment(tmp_path / "bad.nii.gz", "-o", tmp_path / "out.nii.gz", "--progress", "json") == 1
    captured = capsys.readouterr()
    event = json.loads(captured.out.splitlines()[-1])
    assert event["event"] == "error" and "bad.nii.gz" in event["message"]
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "out.nii.gz").exists()


def test_a_region_and_structures_can_be_chosen(segment, ct_file, a_ct, tmp_path):
    (x0, y0, z0), (x1, y1, z1) = a_ct.geometry.world_of((4, 10, 10)), a_ct.geometry.world_of((20, 50, 70))
    options = ["--roi", x0, x1, y0, y1, z0, z1, "--structures", "liver,Left kidney,tumour,spleen,stomach"]
    assert segment(ct_file, "-o", tmp_path / "out.nii.gz", *options) == 0
    labels, _ = read_labels(tmp_path / "out.nii.gz")
    assert set(np.unique(labels)) <= {0, 1, 3, 11, 13, 14}
    labels[4:21, 10:51, 10:71] = 0
    assert not labels.any()


def test_measurements_and_a_report_are_written_beside_the_result(segment, ct_file, tmp_path):
    report = tmp_path / "report"
    assert segment(ct_file, "-o", tmp_path / "o.nii.gz", "--measurements", tmp_path / "m.json", "--report", report) == 0
    rows = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    assert "patient" in json.dumps(rows)
    assert any(name.endswith(".html") for name in files_in(report))
    assert any(name.endswith(".png") for name in files_in(report))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.nii.gz"], "missing.nii.gz"),
        (["{ct}", "--structures", "liver,heart"], "heart"),
        (["{ct}", "--roi", "900", "950", "900", "950", "900", "950"], "outside the CT"),
        (["{ct}", "-o", "out.png"], "out.png"),
        (["{ct}", "--format", ".png"], ".png"),
        (["{ct}", "{ct}"], "patient"),
        (["{ct}", "--device", "gpu9"], "gpu9"),
        (["{ct}", "--model", "nonsense"], "nonsense"),
    ],
)
def test_wrong_usage_is_one_line_and_writes_nothing(ct_file, arguments, words, folders_of_its_own, capsys):
    arguments = [argument.format(ct=ct_file) for argument in arguments]
    assert main(["segment", *arguments, "--backend", "torch", "--threads", "1"]) in (1, 2)
    assert words in one_line(capsys)
    assert files_in(folders_of_its_own) == []


@pytest.mark.parametrize(
    "words", [["segment", ""], ["segment", "ct.nii.gz", "-o", " "], ["evaluate", "", "r"], ["cohort", ""]]
)
def test_an_empty_path_is_not_the_current_folder(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2 and "the path is empty" in one_line(capsys)


def test_a_listed_ct_that_is_missing_does_not_end_the_others(segment_quickly, ct_file, tmp_path, capsys):
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'missing.nii.gz'}\r\n\r\n{ct_file}\r\n", encoding="utf-8-sig")
    assert segment_quickly("--list", tmp_path / "list.txt", "-o", tmp_path / "out") == 1
    assert "There is no file or folder" in one_line(capsys) and "patient.nii.gz" in files_in(tmp_path / "out")


@pytest.mark.parametrize(
    "wrong", [["--step", "1.5"], ["--roi", "1", "2", "3"], ["--threads", "0"], ["--colour", "red"]]
)
def test_options_that_cannot_be_are_wrong_usage(wrong):
    with pytest.raises(SystemExit) as ended:
        main(["segment", "ct.nii.gz", *wrong])
    assert ended.value.code == 2


def test_what_is_no_ct_is_refused_unless_forced(segment, a_ct, tmp_path, capsys):
    mr = Volume((a_ct.hu.astype(np.int32) + 1100).clip(0).astype(np.int16), a_ct.geometry)
    path = write_volume(mr, tmp_path / "mr.nii.gz")
    assert segment(path, "-o", tmp_path / "out.nii.gz") == 1
    assert "--force" in one_line(capsys)
    assert segment(path, "-o", tmp_path / "out.nii.gz", "--force") == 0


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_a_folder_that_cannot_be_written_is_told_before_the_work(segment, ct_file, tmp_path, capsys):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert segment(ct_file, "-o", locked / "out.nii.gz") == 1
    assert "locked" in one_line(capsys)


def test_a_full_disk_leaves_no_file(ct_file, a_model, tmp_path):
    """RLIMIT_FSIZE stands in for a full disk: writing past it fails as a full disk does."""
    resource = pytest.importorskip("resource", reason="this system has no resource limits")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "flareseg", "segment", str(ct_file), "-o", str(out / "result.nii")]
    command += ["--model", str(a_model), "--device", "cpu", "--backend", "torch", "--threads", "1"]

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "result.nii" in done.stderr
    assert files_in(out) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_work_and_leaves_nothing(a_model, tmp_path, number):
    """A scan of 900 slices, so that the signal comes in the middle of the work."""
    rng = np.random.default_rng(1)
    hu = np.full((900, 160, 160), -1000, np.int16)
    hu[:, 30:130, 20:140] = rng.integers(-50, 150, (900, 100, 120))
    ct = write_volume(Volume(hu, Geometry(hu.shape, (1.5, 2.5, 2.5))), tmp_path / "in" / "long.nii.gz")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "flareseg", "segment", str(ct), "-o", str(out / "result.nii.gz")]
    command += [
        "--model",
        str(a_model),
        "--device",
        "cpu",
        "--backend",
        "torch",
        "--threads",
        "1",
        "--progress",
        "json",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if json.loads(line).get("stage") == "network":
            break
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)  # how long it takes: `make benchmark-limits`
    assert process.returncode == 130
    assert errors == "flareseg: Cancelled; no partial file was left.\n"
    assert not out.exists() or files_in(out) == []


def test_models_are_imported_listed_described_and_removed(a_model, capsys):
    assert main(["models", "import", str(a_model)]) == 0
    assert main(["models", "list"]) == 0
    listed = capsys.readouterr().out
    assert "default" in listed and "random" in listed
    assert main(["models", "info", "random"]) == 0
    assert "Random weights, for tests" in capsys.readouterr().out
    assert main(["models", "remove", "random"]) == 0
    assert main(["models", "info", "random"]) == 1
    assert "random" in one_line(capsys)


def test_evaluate_prints_and_writes_the_scores(segment, ct_file, tmp_path, capsys):
    assert segment(ct_file, "-o", tmp_path / "a" / "patient.nii.gz", "-o", tmp_path / "b" / "patient.nii.gz") == 0
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "a"), str(tmp_path / "b"), "-o", str(tmp_path / "scores.csv")]) == 0
    assert f"{len(structures()) - 1} organs" in capsys.readouterr().out
    assert "patient" in (tmp_path / "scores.csv").read_text(encoding="utf-8")


def test_bench_tells_time_and_memory_of_every_stage(ct_file, a_model, tmp_path, capsys):
    options = ["--model", str(a_model), "--device", "cpu", "--backend", "torch", "--threads", "1", "--repeats", "1"]
    assert main(["bench", str(ct_file), "--json", str(tmp_path / "bench.json"), *options]) == 0
    out = capsys.readouterr().out
    data = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert [stage["stage"] for stage in data["stages"]] == [
        "read",
        "body",
        "resample",
        "network",
        "labels",
        "components",
        "write",
    ]
    assert all(stage["stage"] in out for stage in data["stages"])
    assert data["total_s"] >= max(stage["seconds"] for stage in data["stages"])
    assert data["peak_resident_mib"] > 50 and data["area_cpu_percent_s"] > 0
    assert len(data["curve"]) >= 2


def test_help_and_version_need_no_torch():
    script = "import sys; from flareseg.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    script += "assert not {'torch', 'monai', 'SimpleITK', 'numpy'} & set(sys.modules), 'slow imports'"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how memory was asked for")
def test_large_arrays_of_a_command_lie_in_the_usual_pages():
    script = "from flareseg.__main__ import use_small_pages; use_small_pages(); import numpy; a = numpy.ones(2**23)\n"
    script += "print(*(line for line in open('/proc/self/smaps') if line.startswith('VmFlags') and ' hg' in line))"
    environment = {name: value for name, value in os.environ.items() if name != "NUMPY_MADVISE_HUGEPAGE"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_who_wishes_for_large_pages_has_them(monkeypatch):
    monkeypatch.setenv("NUMPY_MADVISE_HUGEPAGE", "1")
    use_small_pages()
    assert os.environ["NUMPY_MADVISE_HUGEPAGE"] == "1"


def test_devices_are_listed_for_people_and_programs(capsys):
    assert main(["devices"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names[0] == "auto"
    assert names[-1] == "cpu"
    assert main(["devices", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [device["name"] for device in found["devices"]] == names
    assert "thread" in found["devices"][-1]["description"]


def test_the_help_of_output_names_every_format_that_can_be_written(capsys):
    with pytest.raises(SystemExit):
        main(["segment", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert f"a file ending in {', '.join(endings_for('segmentation'))} (repeat" in text
