"""Inputs by a list, and inputs that another program still writes."""

import threading

import pytest

from flareseg.cases.find import awaited_cases, listed_inputs
from flareseg.cli import main
from flareseg.errors import Cancelled, InputError
from flareseg.io.files import read_labels, write_volume
from flareseg.reading import awaiting


def test_a_list_names_inputs_a_path_a_line(tmp_path):
    path = tmp_path / "cts.txt"
    path.write_text("\ufeff/a b/Größe.nrrd\r\n\n  \nc.nii.gz\n", encoding="utf-8")
    assert [str(one) for one in listed_inputs(path)] == ["/a b/Größe.nrrd", "c.nii.gz"]
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"cts\.txt"):
        listed_inputs(path)
    with pytest.raises(InputError, match="There is no file"):
        listed_inputs(tmp_path / "none.txt")


def test_without_any_input_one_line_says_so(capsys):
    assert main(["segment"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_files_that_come_later_are_cases_called_as_they_are(tmp_path):
    found = awaited_cases([tmp_path / f"{number:05}.nrrd" for number in range(3)])
    assert [case.name for case in found.cases] == ["00000", "00001", "00002"]
    assert not any(case.problem for case in found.cases)


def test_waiting_ends_with_the_file_or_a_cancel(tmp_path):
    (tmp_path / "there").touch()
    awaiting.wait_for_file(tmp_path / "there", lambda: True)
    with pytest.raises(Cancelled):
        awaiting.wait_for_file(tmp_path / "never", lambda: True)


def test_a_ct_is_segmented_when_it_has_come(a_ct, a_model, tmp_path, monkeypatch):
    """The second one comes when the engine waits for it."""
    listed = tmp_path / "cts.txt"
    paths = [tmp_path / f"{name}.nrrd" for name in "ab"]
    listed.write_text("".join(f"{path}\n" for path in paths), encoding="utf-8")
    write_volume(a_ct, paths[0])
    asked = threading.Event()
    real = awaiting.time.sleep

    def sleep(seconds):
        if not asked.is_set():
            asked.set()
            write_volume(a_ct, paths[1])
        real(seconds)

    monkeypatch.setattr(awaiting.time, "sleep", sleep)
    options = ["--model", str(a_model), "--device", "cpu", "--backend", "torch", "--progress", "none"]
    out = tmp_path / "out"
    assert main(["segment", "--list", str(listed), "--await-inputs", "-o", str(out), *options]) == 0
    assert asked.is_set()
    assert [(read_labels(out / f"{name}.nii.gz")[0] > 0).any() for name in "ab"] == [True, True]
