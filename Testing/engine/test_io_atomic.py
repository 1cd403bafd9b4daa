"""Result files are whole or absent."""

import errno
import os

import numpy as np
import pytest

from flareseg.errors import OutputError
from flareseg.io.atomic import atomic_folder, atomic_path, check_destination, discard_unfinished
from flareseg.io.files import write_segmentation
from flareseg.labels import structures
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry


@pytest.fixture
def segmentation():
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1:3, 1:3, 1:3] = 1
    return Segmentation(labels, Geometry(labels.shape, (2.0, 1.0, 1.0)), structures())


def test_a_file_appears_only_when_the_block_has_ended(tmp_path):
    path = tmp_path / "new" / "folder" / "a.seg.nrrd"
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.name.startswith(".") and temporary.name.endswith(".seg.nrrd")
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, MemoryError, SystemExit, ValueError])
def test_any_failure_leaves_no_file_and_the_old_one_as_it_was(tmp_path, failure):
    path = tmp_path / "a.nii.gz"
    path.write_text("old")
    with pytest.raises(failure), atomic_path(path, overwrite=True) as temporary:
        temporary.write_text("half")
        raise failure
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, segmentation):
    def full(path, *_, **__):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("flareseg.io.nifti.write_nifti", full)
    with pytest.raises(OutputError, match=r"a\.nii\.gz' cannot be written: No space left on device\.$"):
        write_segmentation(segmentation, tmp_path / "a.nii.gz")
    assert not list(tmp_path.iterdir())


def test_an_existing_result_is_replaced_only_when_asked(tmp_path, segmentation):
    path = tmp_path / "a.nii.gz"
    path.write_text("old")
    with pytest.raises(OutputError, match="exists; use --overwrite"):
        write_segmentation(segmentation, path)
    assert path.read_text() == "old"
    write_segmentation(segmentation, path, overwrite=True)
    assert path.read_bytes()[:2] == b"\x1f\x8b"


def test_a_result_that_appears_meanwhile_is_kept(tmp_path):
    path = tmp_path / "a.nii"
    with pytest.raises(OutputError, match="exists"), atomic_path(path) as temporary:
        temporary.write_text("mine")
        path.write_text("another's")
    assert path.read_text() == "another's"
    assert list(tmp_path.iterdir()) == [path]


def test_a_destination_that_cannot_be_written_is_found_before_any_work(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        check_destination(tmp_path / "file" / "deep" / "a.nii")
    with pytest.raises(OutputError, match="is a folder"):
        check_destination(tmp_path)
    with pytest.raises(OutputError, match="longer than 255 bytes"):
        check_destination(tmp_path / ("x" * 300 + ".nii"))
    check_destination(tmp_path / "new" / "folder" / "a.nii")
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="is not writable"):
        check_destination(tmp_path / "a.nii")


def test_unfinished_files_can_be_discarded_from_elsewhere(tmp_path):
    path = tmp_path / "a.nii"
    with pytest.raises(OutputError), atomic_path(path) as temporary:
        temporary.write_text("half")
        discard_unfinished()
        assert not list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failure", [KeyboardInterrupt, MemoryError, ValueError])
def test_a_folder_is_whole_or_absent_and_the_old_one_stays_until_then(tmp_path, failure):
    folder = tmp_path / "a" / "case"
    with pytest.raises(failure), atomic_folder(folder) as scratch:
        (scratch / "half").write_text("half")
        raise failure
    assert not list(folder.parent.iterdir())
    with atomic_folder(folder) as scratch:
        (scratch / "whole").write_text("whole")
        assert not folder.exists()
    with pytest.raises(failure), atomic_folder(folder, overwrite=True) as scratch:
        assert (folder / "whole").exists()
        raise failure
    assert [path.name for path in folder.iterdir()] == ["whole"]
    with atomic_folder(folder, overwrite=True) as scratch:
        (scratch / "new").write_text("new")
    assert [path.name for path in folder.iterdir()] == ["new"] and list(folder.parent.iterdir()) == [folder]


def test_a_folder_that_may_not_be_replaced_or_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "there").mkdir()
    for folder, words in (("there", "exists already"), ("file", "is a file"), ("file/below", "cannot be written")):
        with pytest.raises(OutputError, match=words), atomic_folder(tmp_path / folder):
            pass
    with pytest.raises(OutputError, match="No space left"), atomic_folder(tmp_path / "full"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert {path.name for path in tmp_path.iterdir()} == {"file", "there"}
