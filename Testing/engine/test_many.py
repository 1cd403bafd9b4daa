"""Many cases: several workers, several commands on one folder, some of them killed; nothing lost, nothing twice."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from quick_workers import BOOT_QUICK, COMMAND_QUICK, NOTES, UnluckySegmenter, times_segmented

from flareseg.cases.find import Case
from flareseg.cases.manifest import NAME
from flareseg.cli import main
from flareseg.commands import many
from flareseg.commands.many import AUTO, Many, auto_workers, devices_of, worker_bytes
from flareseg.commands.segment_request import SegmentRequest
from flareseg.errors import DeviceError, UsageError
from flareseg.io.files import write_volume
from flareseg.options import Options
from flareseg.reading import limits

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")


@pytest.fixture
def notes(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    monkeypatch.setenv(NOTES, str(folder))
    monkeypatch.setattr("flareseg.segmenter.Segmenter", UnluckySegmenter)
    monkeypatch.setattr("flareseg.commands.crew.BOOT", BOOT_QUICK)
    return folder


@pytest.fixture
def cts(tmp_path, small_ct):
    """Makes CTs of these names in the folder `cts`."""

    def make(*names: str) -> Path:
        for name in names:
            write_volume(small_ct, tmp_path / "cts" / f"{name}.nii.gz")
        return tmp_path / "cts"

    return make


@pytest.fixture
def segment(a_model, tmp_path):
    """`flareseg segment cts -o out --skip-existing ...`; gives the exit status."""

    def run(*options: object, output: str = "out") -> int:
        return main(arguments(tmp_path, a_model, *options, output=output))

    return run


def arguments(tmp_path, model, *options: object, output: str = "out") -> list[str]:
    words = ["segment", tmp_path / "cts", "-o", tmp_path / output, "--skip-existing", "--model", model]
    return [*map(str, words), "--progress", "none", *map(str, options)]


def cases_of(table: Path) -> list[str]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(dict.fromkeys(row["case"] for row in csv.DictReader(file)))


def done_in(out: Path) -> list[str]:
    lines = [json.loads(line) for line in (out / NAME).read_text(encoding="utf-8").splitlines() if line]
    return sorted(line["case"] for line in lines if line["status"] == "done")


def test_workers_that_die_cost_nothing_but_the_case_that_kills_them(segment, cts, notes, tmp_path, capsys):
    names = ["a", "b", "c", "d", "kill_always", "kill_once"]
    cts(*names)
    before = psutil.Process().children(recursive=True)
    assert segment("--workers", 2, "--measurements", tmp_path / "table.csv") == 1
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if "kill_always.nii.gz' ended its worker twice" in line] == told
    good = [name for name in names if name != "kill_always"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [NAME, *(f"{name}.nii.gz" for name in good)]
    )
    assert done_in(tmp_path / "out") == good and cases_of(tmp_path / "table.csv") == good
    assert times_segmented(notes, "kill_always") == 2 and times_segmented(notes, "kill_once") == 2
    assert set(psutil.Process().children(recursive=True)) <= set(before)

    for name in ("kill_always", "kill_once"):
        (tmp_path / "cts" / f"{name}.nii.gz").unlink()
    assert segment(output="alone") == 0
    for name in "abcd":
        of_workers, alone = (tmp_path / folder / f"{name}.nii.gz" for folder in ("out", "alone"))
        assert of_workers.read_bytes() == alone.read_bytes()


def test_commands_at_once_share_the_cases(segment, cts, notes, tmp_path):
    names = [f"slow{number}" for number in range(6)]
    cts(*names)
    answers = []
    table = tmp_path / "table.csv"

    def command() -> None:
        answers.append(segment("--measurements", table))

    threads = [threading.Thread(target=command) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [0, 0, 0]
    assert [times_segmented(notes, name) for name in names] == [1] * 6
    assert done_in(tmp_path / "out") == names and cases_of(table) == names
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_a_command_that_is_killed_leaves_its_cases_to_the_others(segment, cts, notes, a_model, tmp_path):
    names = [f"slow{number}" for number in range(5)]
    cts(*names)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", COMMAND_QUICK, *arguments(tmp_path, a_model)]
    with subprocess.Popen(words, env=environment) as first:
        until = time.monotonic() + 120
        while not list((tmp_path / "out").glob("*.nii.gz")) and time.monotonic() < until:
            time.sleep(0.02)
        second = threading.Thread(target=segment)
        second.start()
        first.send_signal(signal.SIGKILL)
        first.wait()
        second.join()
    assert sorted({*done_in(tmp_path / "out")}) == names
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [NAME, *(f"{name}.nii.gz" for name in names)]
    # The case at work at that moment was begun twice, and ended once.
    assert sum(times_segmented(notes, name) for name in names) <= len(names) + 2
    assert segment("--measurements", tmp_path / "m.csv") == 0 and cases_of(tmp_path / "m.csv") == names


def test_without_skip_existing_a_case_at_work_elsewhere_is_an_error(segment, cts, notes, a_model, tmp_path, capsys):
    from flareseg.cases.manifest import Manifest
    from flareseg.cases.resume import Log

    cts("a", "b")
    other = Log(Manifest(tmp_path / "out"), dict, list)
    assert other.claim(Case("a", tmp_path / "cts" / "a.nii.gz", (tmp_path / "out" / "a.nii.gz",))) == ""
    words = [word for word in arguments(tmp_path, a_model) if word != "--skip-existing"]
    assert main(words) == 1
    text = capsys.readouterr().err
    assert "is being made by process" in text and "--skip-existing" in text and text.count("\n") == 1
    assert (tmp_path / "out" / "b.nii.gz").exists() and not (tmp_path / "out" / "a.nii.gz").exists()
    other.end()


def test_shards_are_all_cases_once_and_write_one_table(segment, cts, notes, tmp_path):
    names = list("abcde")
    cts(*names)
    assert [segment("--shard", f"{number}/3", "--measurements", tmp_path / "m.csv") for number in (2, 1, 3)] == [0] * 3
    assert [times_segmented(notes, name) for name in names] == [1] * 5
    assert cases_of(tmp_path / "m.csv") == names


def test_workers_that_cannot_start_are_one_line(segment, cts, notes, monkeypatch, capsys):
    cts("a", "b")
    monkeypatch.setattr("flareseg.commands.crew.BOOT", "import os; os._exit(3)")
    assert segment("--workers", 2) == 1
    assert "status 3" in capsys.readouterr().err


def test_ctrl_c_ends_workers_and_leaves_no_partial_file(cts, notes, a_model, tmp_path):
    cts(*(f"slow{number}" for number in range(6)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    boot = COMMAND_QUICK.replace(
        "install()\n", f"install()\nimport flareseg.commands.crew as c\nc.BOOT = {BOOT_QUICK!r}\n", 1
    )
    words = [sys.executable, "-c", boot, *arguments(tmp_path, a_model, "--workers", 2)]
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as command:
        until = time.monotonic() + 120
        while not list(notes.iterdir()) and time.monotonic() < until:
            time.sleep(0.02)
        workers = psutil.Process(command.pid).children(recursive=True)
        command.send_signal(signal.SIGINT)
        told = command.communicate()[1]
    assert command.returncode == 130 and "Cancelled" in told and "Traceback" not in told
    assert psutil.wait_procs(workers, timeout=20)[1] == []
    left = [path.name for path in (tmp_path / "out").iterdir()] if (tmp_path / "out").exists() else []
    assert all(name == NAME or (name.endswith(".nii.gz") and not name.startswith(".")) for name in left)


def test_auto_goes_by_cores_and_memory():
    each = worker_bytes(many.LARGE_CT_VOXELS)
    assert auto_workers(0, 64, 100 * each)[0] == 64
    assert auto_workers(0, 64, 3 * each + 1)[0] == 3
    assert auto_workers(0, 1, 10)[0] == 1
    assert auto_workers(4, 8, 10)[0] == 4
    number, why = auto_workers(0, 8, 100 * each)
    assert number == 8 and "8 cores, memory for 100" in why


def test_memory_is_that_of_the_job_where_it_has_less_than_the_machine(tmp_path, monkeypatch):
    job = tmp_path / "groups" / "job_7" / "step_0"
    job.mkdir(parents=True)
    (tmp_path / "own").write_text("0::/job_7/step_0\n")
    monkeypatch.setattr("flareseg.reading.limits.GROUPS", tmp_path / "groups")
    monkeypatch.setattr("flareseg.reading.limits.OWN_GROUP", tmp_path / "own")
    unbounded = limits.free_memory()
    assert unbounded > 2**20
    (job / "memory.max").write_text("max\n")
    for name, text in (("max", "1048576"), ("current", "524288"), ("stat", "anon 1\ninactive_file 1024\n")):
        (job.parent / f"memory.{name}").write_text(text)
    assert limits.free_memory() == 524288 + 1024


def test_workers_take_turns_at_the_devices_and_have_cores_of_their_own(monkeypatch):
    monkeypatch.setattr(many, "available_cores", lambda: list(range(4, 12)))
    plan = Many(workers=4).plan(Options(device="cuda:0,cuda:1"), 100)
    assert [one.device for one in plan.options] == ["cuda:0", "cuda:1"] * 2
    assert plan.cores == ((4, 5), (6, 7), (8, 9), (10, 11)) and {one.threads for one in plan.options} == {2}
    assert plan.sentence == "4 workers with 2 threads each on cuda:0, cuda:1."
    one_each = Many().plan(Options(device="cuda:0,cuda:1"), 100)
    assert [one.device for one in one_each.options] == ["cuda:0", "cuda:1"]
    many_threads = Many(workers=3).plan(Options(device="cpu", threads=8), 100)
    assert many_threads.cores == ((), (), ()) and {one.threads for one in many_threads.options} == {8}
    assert Many(workers=5).plan(Options(device="cpu"), 2).cores == ((4, 5, 6, 7), (8, 9, 10, 11))
    assert Many().plan(Options(device="cpu"), 100) is None and Many(workers=3).plan(Options(device="cpu"), 1) is None
    with pytest.raises(UsageError, match="2 devices need as many --workers"):
        Many(workers=1).plan(Options(device="cuda:0,cuda:1"), 100)


def test_all_devices_are_those_that_torch_finds(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert devices_of("all") == ["cuda:0", "cuda:1", "cuda:2"]
    plan = Many(workers=AUTO).plan(Options(device="all"), 100)
    assert [one.device for one in plan.options] == ["cuda:0", "cuda:1", "cuda:2"] and "one a device" in plan.sentence
    monkeypatch.setattr(many, "best_devices", lambda: ["cuda:0", "cuda:1", "cuda:2"])
    found = Many(workers=AUTO).plan(Options(), 100)
    assert [one.device for one in found.options] == ["cuda:0", "cuda:1", "cuda:2"]
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(DeviceError, match="no NVIDIA GPU"):
        devices_of("all")
    for name in ("cuda:0,cuda:0", "cuda:0,", ","):
        with pytest.raises(UsageError, match="twice"):
            devices_of(name)


@pytest.mark.parametrize(
    "words",
    [
        ["--workers", "0"],
        ["--workers", "many"],
        ["--shard", "0/3"],
        ["--shard", "4/3"],
        ["--shard", "=1+1"],
        ["--scheduler", "tcp://x:1", "--workers", "2"],
        ["--await-inputs", "--shard", "1/2"],
    ],
)
def test_options_that_make_no_sense_are_wrong_usage(words, capsys, tmp_path):
    try:
        status = main(["segment", str(tmp_path), *words])
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_more_shards_than_cases_do_nothing_more(tmp_path):
    cases = [Case("a", tmp_path / "a.nii.gz")]
    request = SegmentRequest("default", Options(), many=Many(shard=(2, 64)))
    assert request.many.of(cases) == []
