"""A batch whose reading goes wrong: every bad case is one line, the others are done."""

import sys
import threading
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bad_readers import BOOT_BAD, named

from flareseg.cases.find import Case
from flareseg.commands.batch import Batch
from flareseg.commands.segment_request import SegmentRequest
from flareseg.errors import Cancelled
from flareseg.io.files import write_volume
from flareseg.options import Options
from flareseg.progress import never
from flareseg.reading import reader
from flareseg.reading.reader import CaseReader


@pytest.fixture
def ct_file(a_ct, tmp_path) -> Path:
    return write_volume(a_ct, tmp_path / "patient.nii.gz")


class Events:
    """A listener that notes what it hears."""

    def __init__(self):
        self.heard = []

    def begin(self, case):
        self.heard.append(("begin", case))

    def stage(self, name, fraction):
        self.heard.append(("stage", name))

    def message(self, text):
        self.heard.append(("message", text))

    def preview(self, output):
        self.heard.append(("preview", output))

    def done(self, output, rows):
        self.heard.append(("done", Path(output).name))

    def error(self, text):
        self.heard.append(("error", text))


@pytest.fixture
def run_batch(a_model, ct_file, tmp_path):
    def run(names, boot=BOOT_BAD, cancelled=never, **order):
        cases = [Case(name, named(ct_file, name), (tmp_path / "out" / f"{name}.nii.gz",)) for name in names]
        events = Events()
        options = Options(device="cpu", backend="torch", threads=1)
        batch = Batch(SegmentRequest(str(a_model), options, **order), events, cancelled, reader=CaseReader(boot=boot))
        return batch, batch.run(cases), events.heard

    return run


@pytest.mark.skipif(sys.platform == "win32", reason="os.abort differs")
def test_bad_cases_of_every_kind_end_no_batch(run_batch, tmp_path):
    names = ["abort1", "a", "exit1", "key1", "b", "recursion1"]
    _, status, heard = run_batch(names)
    assert status == 1
    results = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert results == ["a.nii.gz", "b.nii.gz", "flareseg_manifest.jsonl"]
    ends = [(kind, text) for kind, text in heard if kind in ("begin", "done", "error")]
    assert [text for kind, text in ends if kind == "begin"] == names
    assert [kind for kind, _ in ends[1::2]] == ["error", "done", "error", "error", "done", "error"]
    assert all("\n" not in text for kind, text in ends if kind == "error")


@pytest.mark.parametrize("room", [True, False])
def test_events_of_one_case_come_before_those_of_the_next(run_batch, tmp_path, monkeypatch, room):
    monkeypatch.setattr("flareseg.commands.pipeline.room_for_another", lambda volume: room)
    writing = []
    from flareseg.commands.pipeline import write_segmentation as write

    def slow_write(result, path, overwrite=False):
        writing.append(threading.current_thread().name)
        return write(result, path, overwrite=overwrite)

    monkeypatch.setattr("flareseg.commands.pipeline.write_segmentation", slow_write)
    _, status, heard = run_batch(["a", "b", "c"], measurements=tmp_path / "table.csv")
    assert status == 0
    order = [event for event in heard if event[0] in ("begin", "done") or event[1] in ("read", "write")]
    expected = []
    for name in "abc":
        expected += [("begin", name), *[("stage", "read")] * 2, *[("stage", "write")] * 2, ("done", f"{name}.nii.gz")]
    assert order == expected
    table = (tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert list(dict.fromkeys(line.split(",")[0] for line in table)) == ["a", "b", "c"]
    assert [name == "flareseg writing" for name in writing] == [room, room, False]


def test_an_error_of_writing_is_told_of_its_own_case(run_batch, tmp_path, monkeypatch):
    monkeypatch.setattr("flareseg.commands.pipeline.room_for_another", lambda volume: True)
    from flareseg.commands.pipeline import write_segmentation as write

    def failing_write(result, path, overwrite=False):
        if path.name.startswith("a"):
            raise ValueError("no pen")
        return write(result, path, overwrite=overwrite)

    monkeypatch.setattr("flareseg.commands.pipeline.write_segmentation", failing_write)
    _, status, heard = run_batch(["a", "b"])
    assert status == 1
    ends = [event for event in heard if event[0] in ("begin", "done", "error")]
    assert ends[0] == ("begin", "a") and ends[1][0] == "error" and "no pen" in ends[1][1]
    assert ends[2:] == [("begin", "b"), ("done", "b.nii.gz")]


def test_memory_that_runs_out_in_the_network_is_one_line(run_batch, monkeypatch):
    import torch

    from flareseg.segmenter import Segmenter

    failures = iter([torch.cuda.OutOfMemoryError("CUDA out of memory"), RuntimeError("std::bad_alloc"), MemoryError()])

    def segment(self, *_, **__):
        raise next(failures)

    monkeypatch.setattr(Segmenter, "segment", segment)
    _, status, heard = run_batch(["a", "b", "c"])
    errors = [text for kind, text in heard if kind == "error"]
    assert status == 1 and len(errors) == 3
    assert all("needs more memory than this machine has free" in text for text in errors)


def test_a_model_that_cannot_be_loaded_is_told_once(a_model, ct_file, tmp_path):
    cases = [Case(name, named(ct_file, name), (tmp_path / f"{name}.nrrd",)) for name in ("a", "b", "c")]
    events = Events()
    assert Batch(SegmentRequest("nonsense", Options()), events, never).run(cases) == 1
    errors = [text for kind, text in events.heard if kind == "error"]
    assert len(errors) == 1 and "nonsense" in errors[0]


def test_a_cancel_ends_the_reading_process_and_the_writing(run_batch, tmp_path, monkeypatch):
    monkeypatch.setattr("flareseg.commands.pipeline.room_for_another", lambda volume: True)
    done = threading.Event()
    monkeypatch.setattr("flareseg.commands.pipeline.measure", lambda *_, **_options: done.set() or [])
    with pytest.raises(Cancelled):
        run_batch(["a", "hang"], cancelled=done.is_set, measurements=tmp_path / "t.csv")
    left = [p for p in psutil.Process().children() if "flareseg.reading.worker" in " ".join(p.cmdline())]
    assert not left
    assert not list((tmp_path / "out").glob(".flareseg*"))


def test_the_traceback_is_for_debug_only(run_batch, capfd):
    run_batch(["key"])
    assert capfd.readouterr().err == ""
    run_batch(["key"], debug=True)
    assert "Traceback" in capfd.readouterr().err


def test_a_ct_is_read_ahead_only_where_there_is_room(a_ct, monkeypatch):
    monkeypatch.setattr(reader, "free_memory", lambda: 2**40)
    assert reader.room_for_another(a_ct)
    monkeypatch.setattr(reader, "free_memory", lambda: 2**31)
    assert not reader.room_for_another(a_ct)
