"""Several runs in one folder: a case is one run's alone, and is free again when that has died."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from flareseg.cases import sharing
from flareseg.cases.manifest import NAME, Manifest, Record
from flareseg.cases.manifest_lines import DONE, FAILED, STARTED
from flareseg.cases.sharing import FOLDER, Sharing
from flareseg.errors import OutputError
from flareseg.io.files import write_volume

CLAIM_AND_WAIT = """
import sys, time
from pathlib import Path
sys.path[:] = sys.argv[2:]
from flareseg.cases.manifest import Manifest, Record
manifest = Manifest(Path(sys.argv[1]))
assert manifest.sharing.claim("case") == ""
manifest.append(Record("done", "x", {}, {}, {"x.nii.gz": {"size": 1}}))
print("has it", flush=True)
time.sleep(600)
"""


@pytest.fixture
def a_run_that_dies(tmp_path):
    """The process of a run that has claimed "case"."""
    words = [sys.executable, "-c", CLAIM_AND_WAIT, str(tmp_path), *sys.path]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "has it\n"
        yield process
        process.kill()


def test_of_many_runs_one_gets_a_case(tmp_path):
    runs = [Sharing(tmp_path) for _ in range(8)]
    with ThreadPoolExecutor(len(runs)) as pool:
        for number in range(10):
            start = threading.Barrier(len(runs))

            def claim(run, key=f"case{number}", start=start):
                start.wait()
                return run.claim(key)

            answers = list(pool.map(claim, runs))
            assert answers.count("") == 1
            assert all("process" in answer or answer == "another run" for answer in answers if answer)
    for run in runs:
        run.end(keep=False)
    assert not (tmp_path / FOLDER).exists()


def test_a_case_that_is_given_back_is_free(tmp_path):
    one, other = Sharing(tmp_path), Sharing(tmp_path)
    assert one.claim("a") == "" and one.claim("a") == "" and one.holds("a")
    assert f"process {os.getpid()}" in other.claim("a") and not other.holds("a")
    one.drop("a")
    assert other.claim("a") == "" and one.claim("a")
    other.end(keep=False)
    assert one.claim("a") == ""
    one.end(keep=False)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_of_many_runs_one_takes_over_from_a_dead_one(tmp_path, a_run_that_dies):
    runs = [Sharing(tmp_path) for _ in range(6)]
    assert all(run.claim("case") for run in runs)
    a_run_that_dies.send_signal(signal.SIGKILL)
    a_run_that_dies.wait()
    with ThreadPoolExecutor(len(runs)) as pool:
        answers = list(pool.map(lambda run: run.claim("case"), runs))
    # Where two meet, both may step back; but never have two of them the case.
    assert answers.count("") <= 1
    if "" not in answers:
        answers[0] = runs[0].claim("case")
    [owner] = [run for run, answer in zip(runs, answers, strict=True) if answer == ""]
    assert owner.holds("case") and not any(run.holds("case") for run in runs if run is not owner)
    for run in runs:
        run.end(keep=False)


def test_a_run_on_another_machine_is_dead_when_its_file_stands_still(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(sharing, "owner_lives", lambda name: None)
    monkeypatch.setattr(sharing.time, "monotonic", lambda: now[0])
    far, near = Sharing(tmp_path), Sharing(tmp_path)
    assert far.claim("case") == ""

    def watch(seconds: float, beats: bool) -> str:
        for second in range(0, int(seconds), 10):
            now[0] += 10
            if beats:
                os.utime(far.own, ns=(second, int(now[0] * 1e9)))
            answer = near.claim("case")
        return answer

    assert watch(3 * sharing.DEAD_AFTER_S, beats=True)
    now[0] += 10 * sharing.DEAD_AFTER_S  # nobody looked: that the file stood still all the time is not known
    assert near.claim("case")
    assert watch(sharing.DEAD_AFTER_S - 20, beats=False)
    assert watch(40, beats=False) == ""
    assert not far.holds("case"), "who was taken for dead must not write any more"
    far.end(keep=False)
    near.end(keep=False)


def test_a_drive_without_hard_links_will_do(tmp_path, monkeypatch):
    def link(*_):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)
    one, other = Sharing(tmp_path), Sharing(tmp_path)
    assert one.claim("a") == "" and other.claim("a") and other.claim("b") == ""
    one.end(keep=False)
    assert other.claim("a") == ""
    other.end(keep=False)


def test_an_answer_that_was_lost_on_the_way_is_no_claim_of_another(tmp_path, monkeypatch):
    real = os.link

    def link(source, target):
        real(source, target)
        raise FileExistsError(errno.EEXIST, "the server did it, and was asked once more")

    monkeypatch.setattr(os, "link", link)
    run = Sharing(tmp_path)
    assert run.claim("a") == "" and run.holds("a")
    run.end(keep=False)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 4000, b'{"flareseg_run": "../../x", "pid": "y"}'])
def test_a_claim_of_nonsense_ends_no_run(tmp_path, content):
    run = Sharing(tmp_path)
    assert run.claim("other") == ""
    (tmp_path / FOLDER / "claim-a-0").write_bytes(content)
    assert run.claim("a") in ("", "another run")
    run.end(keep=False)


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / NAME).read_text().splitlines() if line]


def record(status: str, name: str, **more) -> Record:
    return Record(status, name, {}, {}, {f"{name}.nii.gz": {}}, **more)


def test_runs_at_once_have_files_of_their_own_and_leave_one_manifest(tmp_path):
    first, second = Manifest(tmp_path), Manifest(tmp_path)
    first.append(record(DONE, "a", rows=[{"x": 1}]))
    second.append(record(DONE, "b", rows=[{"x": 2}]))
    assert [one["case"] for one in lines(tmp_path)] == ["a"]
    first.refresh()
    seen = first.last_of(tmp_path / "b.nii.gz")
    assert seen and first.by_others(tmp_path / "b.nii.gz") and not first.by_others(tmp_path / "a.nii.gz")
    second.end()
    assert first.rows_of(seen) == [{"x": 2}], "also after the other run has ended"
    first.end()
    assert [one["case"] for one in lines(tmp_path)] == ["a", "b"] and not (tmp_path / FOLDER).exists()
    assert first.rows_of(seen) == [{"x": 2}]


def test_the_later_line_counts_wherever_it_stands(tmp_path):
    first, second = Manifest(tmp_path), Manifest(tmp_path)
    first.append(record(DONE, "other"))
    second.append(record(STARTED, "a"))
    second.append(record(DONE, "a", message="old"))
    first.refresh()
    first.append(record(STARTED, "a"))
    first.append(record(DONE, "a", message="new"))
    first.append(record(FAILED, "b", message="why"))
    first.end()
    second.end()  # puts its earlier lines behind the later ones
    last = Manifest(tmp_path).last_of(tmp_path / "a.nii.gz")
    assert last and last.message == "new" and lines(tmp_path)[-1]["message"] == "old"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_the_lines_of_a_killed_run_come_into_the_manifest(tmp_path, a_run_that_dies):
    other = Manifest(tmp_path)
    other.append(record(DONE, "y"))
    a_run_that_dies.send_signal(signal.SIGKILL)
    a_run_that_dies.wait()
    other.append(record(DONE, "z"))
    other.end()
    assert {one["case"] for one in lines(tmp_path)} == {"x", "y", "z"} and not (tmp_path / FOLDER).exists()


def test_a_manifest_is_not_read_twice(tmp_path, monkeypatch):
    manifest = Manifest(tmp_path)
    for number in range(3):
        manifest.append(record(DONE, str(number)))
    read = []
    monkeypatch.setattr("flareseg.cases.manifest.Manifest._remember", lambda self, one: read.append(one.case))
    manifest.refresh()
    assert read == []
    manifest.end()


def test_who_gets_a_case_knows_that_it_was_done_just_before(tmp_path, monkeypatch):
    """Whether the run that did it is still there, has ended, or does more; nobody looks at the results for it."""
    monkeypatch.setattr("flareseg.cases.manifest.REFRESH_EVERY_S", 1e9)
    waiting = Manifest(tmp_path)
    for end in (False, True):
        other = Manifest(tmp_path)
        assert other.claim("a") == ""
        other.append(record(DONE, f"a{end}"))
        other.sharing.done("a")
        assert waiting.claim("a"), "kept until all know"
        if end:
            other.end()
        else:
            other.sharing.drop("a")
        assert waiting.claim("a") == "" and waiting.last_of(tmp_path / f"a{end}.nii.gz")
        waiting.sharing.drop("a")
        other.end()
    waiting.end()


def test_a_case_that_is_done_is_free_when_the_others_have_read_it(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(sharing.time, "monotonic", lambda: now[0])
    one, other = Sharing(tmp_path), Sharing(tmp_path)
    assert one.claim("a") == ""
    one.done("a")
    now[0] = sharing.KEPT_S - 1
    assert one.claim("b") == "" and other.claim("a")
    now[0] = sharing.KEPT_S + 1
    assert one.claim("c") == "" and other.claim("a") == ""
    one.end(keep=False)
    other.end(keep=False)


def test_a_place_where_no_folder_can_be_is_no_error_before_something_is_claimed(tmp_path):
    (tmp_path / "file").write_text("mine")
    manifest = Manifest(tmp_path / "file")
    with pytest.raises(OSError):
        manifest.claim("a")
    manifest.end()
    assert (tmp_path / "file").read_text() == "mine"


def test_a_table_that_cannot_be_written_at_last_leaves_no_claims_and_the_page_is_written(
    segment_quickly, small_ct, tmp_path, monkeypatch, capsys
):
    for name in ("a", "b"):
        write_volume(small_ct, tmp_path / "cts" / f"{name}.nii.gz")

    def full(*_, **__):
        raise OutputError("No space left.")

    monkeypatch.setattr("flareseg.commands.batch.write_measurements", full)
    options = "--measurements", tmp_path / "m.csv", "--report", tmp_path / "reports"
    assert segment_quickly(tmp_path / "cts", "-o", tmp_path / "out", *options) == 1
    assert "No space left." in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.nii.gz", "b.nii.gz", NAME]
    assert (tmp_path / "reports" / "index.html").is_file()
