"""Where DICOM files come from: without preamble, behind links, in a DICOMDIR, in a zip, spread over folders."""

import io
import os
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

sys.path.insert(0, str(Path(__file__).parent))

from dicom_files import assert_in_place, fails, write_dicomdir, write_series

from flareseg.errors import InputError
from flareseg.io.dicom import is_container, list_series, read_dicom, series_of_children
from flareseg.io.dicom.bounded import Bounded
from flareseg.io.dicom.headers import beginning_of, read_data_set
from flareseg.io.files import read_volume

MANY = tuple(3.0 * i for i in range(24))


def middle_of(folder):
    return sorted(folder.iterdir())[5]


@pytest.mark.parametrize("cut", [132, "meta"])
def test_files_that_begin_with_their_elements_are_read(tmp_path, cut):
    folder = write_series(tmp_path / "a")
    for file in folder.iterdir():
        content = file.read_bytes()
        # the file meta information begins with its own length
        start = cut if cut == 132 else 144 + int.from_bytes(content[140:144], "little")
        file.write_bytes(content[start:])
    assert_in_place(read_volume(folder))


def test_a_folder_behind_a_link_is_read_and_circles_end(tmp_path):
    store = write_series(tmp_path / "store")
    case = tmp_path / "case"
    case.mkdir()
    (case / "series").symlink_to(store, target_is_directory=True)
    (store / "up").symlink_to(case, target_is_directory=True)
    (case / "nowhere").symlink_to(tmp_path / "gone", target_is_directory=True)
    assert_in_place(read_volume(case))


def test_pipes_are_not_opened(tmp_path):
    folder = write_series(tmp_path / "a")
    os.mkfifo(folder / "pipe")
    assert_in_place(read_volume(folder))


def with_dicomdir(folder):
    """A DICOMDIR of the series in `folder`/IMAGES, its names in capitals."""
    return write_dicomdir(folder, sorted((folder / "IMAGES").iterdir()))


@pytest.mark.parametrize("left", [200, 500, None])
def test_zeros_without_end_are_the_end_of_a_slice(tmp_path, left):
    folder = write_series(tmp_path / "a")
    whole = middle_of(folder).read_bytes()
    with middle_of(folder).open("wb") as file:  # a hole: nothing of it is on the disk
        file.write(whole[:left])
        file.truncate(2**36)
    if left is None:
        assert_in_place(read_volume(folder))
    else:
        with pytest.raises(InputError) as caught:
            read_volume(folder)
        assert "\n" not in str(caught.value)


def test_no_more_memory_is_asked_for_than_a_file_has_bytes() -> None:
    asked = []

    class Watched(io.BytesIO):
        def read(self, size=-1):
            asked.append(size)
            return super().read(size)

    stream = Watched(b"12345678")
    assert Bounded(stream).read() == b"12345678"
    stream.seek(2)
    assert Bounded(stream).read(2**31) == b"345678"
    assert max(asked) <= 8 and min(asked) >= 0


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="only Linux has such files")
def test_files_of_the_system_that_state_no_size_are_not_opened(tmp_path):
    folder = write_series(tmp_path / "a")
    (folder / "endless").symlink_to("/proc/self/environ")
    assert beginning_of(folder / "endless") == b""
    with pytest.raises(ValueError, match="empty"):
        read_data_set(folder / "endless", b"")
    assert len(read_volume(folder).hu) == 8


def test_a_dicomdir_is_read_as_a_file_and_in_its_folder(tmp_path):
    write_series(tmp_path / "disc" / "IMAGES", depths=MANY)
    folder = with_dicomdir(tmp_path / "disc")
    write_series(tmp_path / "disc" / "other", SeriesNumber=9)  # not listed
    volume = read_volume(folder / "DICOMDIR", force=True)
    assert volume.name == "disc" and volume.hu.shape[0] == 24
    assert_in_place(volume)
    assert len(list_series(folder)) == 2 and len(list_series(folder / "DICOMDIR")) == 1


def test_files_that_a_dicomdir_lists_in_vain_are_missing_slices(tmp_path):
    write_series(tmp_path / "disc" / "IMAGES", depths=MANY)
    folder = with_dicomdir(tmp_path / "disc")
    files = sorted((folder / "IMAGES").iterdir(), key=lambda file: pydicom.dcmread(file).ImagePositionPatient[2])
    files[-1].unlink()
    volume = read_volume(folder / "DICOMDIR", force=True)
    assert volume.hu.shape[0] == 23 and "(missing)" in volume.notes[0]
    files[-2].unlink()
    fails(folder / "DICOMDIR", "2 of 24 slices", force=True)


def test_a_dicomdir_leads_to_no_file_outside_its_folder(tmp_path):
    write_series(tmp_path / "disc" / "IMAGES", depths=MANY)
    folder = with_dicomdir(tmp_path / "disc")
    listing = pydicom.dcmread(folder / "DICOMDIR")
    for record in listing.DirectoryRecordSequence[1:]:
        record.ReferencedFileID = ["..", "disc", *record.ReferencedFileID]
    listing.save_as(folder / "DICOMDIR")
    assert read_volume(folder / "DICOMDIR", force=True).hu.shape[0] == 24  # from its folder instead
    (folder / "DICOMDIR").write_bytes(b"\x00" * 128 + b"DICM" + b"\xff" * 100)
    read_volume(folder / "DICOMDIR", force=True)


def packed(folder, archive, prefix="study/"):
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                target.write(file, prefix + file.relative_to(folder).as_posix())
    return archive


@pytest.mark.parametrize("prefix", ["study/", "../../", "/etc/", "C:\\x\\"])
def test_dicom_in_a_zip_is_read_and_nothing_is_written(tmp_path, prefix, monkeypatch):
    folder = write_series(tmp_path / "a", depths=MANY)
    (folder / "notes.txt").write_text("Notiz")
    archive = packed(folder, tmp_path / "Fall 7.zip", prefix)
    plain = read_volume(folder, force=True)
    shutil.rmtree(folder)
    monkeypatch.setattr("tempfile.mkdtemp", lambda *_, **__: pytest.fail("a temporary folder was made"))
    volume = read_volume(archive, force=True)
    assert volume.name == "Fall 7" and np.array_equal(volume.hu, plain.hu)
    assert sorted(tmp_path.iterdir()) == [archive]


def test_a_damaged_slice_in_a_zip_is_named(tmp_path):
    folder = write_series(tmp_path / "a")
    middle_of(folder).write_bytes(middle_of(folder).read_bytes()[:-200])
    assert middle_of(folder).name in fails(packed(folder, tmp_path / "a.zip"), "is damaged")


def test_zips_that_hold_no_ct_are_refused(tmp_path, monkeypatch):
    empty = tmp_path / "a.zip"
    with zipfile.ZipFile(empty, "w") as target:
        target.writestr("notes.txt", "Notiz")
    fails(empty, "a zip of other files must be unpacked first")
    monkeypatch.setattr("flareseg.io.dicom.archive.MOST_BYTES_OF_MEMBER", 3)
    fails(empty, "holds a file of")
    empty.write_bytes(empty.read_bytes()[:40])
    fails(empty, "is no zip that can be read")


def test_a_zip_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    folder = write_series(tmp_path / "a", edit=lambda dataset, number: dataset.update({"ImageComments": "x" * 9000}))
    archive = packed(folder, tmp_path / "a.zip")
    assert read_volume(archive, force=True).hu.shape[0] == 8
    monkeypatch.setattr("flareseg.system.zip_bombs.LARGE_BYTES", 5000)
    monkeypatch.setattr("flareseg.system.zip_bombs.LARGEST_RATIO", 3)
    fails(archive, "holds a file of")


def test_what_a_container_is(tmp_path):
    folder = write_series(tmp_path / "a")
    archive = packed(folder, tmp_path / "a.zip")
    (tmp_path / "b.zip").write_bytes(b"no zip")
    assert is_container(archive) and not is_container(tmp_path / "b.zip") and not is_container(folder)
    with pytest.raises(InputError, match="no folder"):
        read_dicom(tmp_path / "b.zip")


def test_an_end_slice_that_lost_its_mark_counts_as_missing(tmp_path):
    folder = write_series(tmp_path / "a", depths=MANY)
    by_depth = sorted(folder.iterdir(), key=lambda file: pydicom.dcmread(file).ImagePositionPatient[2])
    by_depth[-1].write_bytes(by_depth[-1].read_bytes()[:128] + b"XXXX" + by_depth[-1].read_bytes()[132:])
    volume = read_volume(folder, force=True)
    assert volume.hu.shape[0] == 23 and "its DICM mark is gone" in volume.notes[0]
    by_depth[-2].write_bytes(b"")
    fails(folder, "2 of 24 slices of series 2 cannot be used", force=True)


def test_two_images_that_share_an_instance_uid_are_both_kept(tmp_path):
    def same(dataset, number):
        if number in (3, 9):
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"

    assert read_volume(write_series(tmp_path / "a", depths=MANY, edit=same), force=True).hu.shape[0] == 24


def test_images_of_one_instance_uid_at_one_place_with_other_pixels_are_told(tmp_path):
    folder = write_series(tmp_path / "a", depths=MANY)
    other = pydicom.dcmread(middle_of(folder))
    other.PixelData = bytes(len(other.PixelData))
    other.save_as(folder / "other.dcm")
    volume = read_volume(folder, force=True)
    assert volume.hu.shape[0] == 24 and "at the place of" in volume.notes[0]


@pytest.mark.parametrize(("off", "kept"), [(1e-3, True), (2e-2, False)])
def test_other_spacings_are_judged_by_tolerance(tmp_path, off, kept):
    def edit(dataset, number):
        if number >= 18:
            dataset.PixelSpacing = [f"{0.7 * (1 + off * 0.99):.7f}", f"{0.8 * (1 - off * 0.99):.7f}"]

    folder = write_series(tmp_path / "a", depths=MANY, edit=edit)
    if kept:
        assert read_volume(folder, force=True).hu.shape[0] == 24
    else:
        fails(folder, "6 of 24 slices of series 2 cannot be used", force=True)


def test_single_slices_of_another_kind_are_noted(tmp_path):
    def rows(dataset, number):
        if number == 23:
            dataset.Rows, dataset.PixelData = 20, dataset.PixelData[: 20 * 20 * 2]

    def turned(dataset, number):
        if number == 0:
            dataset.ImageOrientationPatient = ["0.99999", "0.00447", "0", "-0.00447", "0.99999", "0"]

    for name, edit, words in (("rows", rows, "20 x 20 pixels"), ("turned", turned, "another orientation")):
        volume = read_volume(write_series(tmp_path / name, depths=MANY, edit=edit), force=True)
        assert volume.hu.shape[0] == 23 and words in volume.notes[0]


def test_slices_with_a_series_uid_each_are_joined_with_a_note(tmp_path):
    def own(dataset, number):
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID = generate_uid(), "1.2.3"

    folder = write_series(tmp_path / "a", edit=own)
    volume = read_volume(folder)
    assert volume.hu.shape[0] == 8 and "a series UID of its own" in volume.notes[0]
    assert_in_place(volume)
    assert read_volume(middle_of(folder)).hu.shape[0] == 8


def test_images_of_many_studies_are_refused_in_one_short_line(tmp_path):
    def own(dataset, number):
        dataset.SeriesInstanceUID = generate_uid()

    text = fails(write_series(tmp_path / "a", depths=MANY, edit=own), "each of a series of its own")
    assert len(text.removeprefix(f"'{tmp_path}")) < 250


def test_the_series_of_child_folders(tmp_path):
    for name in "ab":
        write_series(tmp_path / "root" / name / "deep", depths=MANY, SeriesInstanceUID="1.2.7")
    write_series(tmp_path / "root" / "c", SeriesInstanceUID="1.2.8")
    write_series(tmp_path / "root" / "c", SeriesInstanceUID="1.2.9")
    (tmp_path / "root" / "d").mkdir()
    (tmp_path / "root" / "d" / "notes.txt").write_text("Notiz")
    write_series(tmp_path / "root", SeriesInstanceUID="1.2.10")
    found = series_of_children(tmp_path / "root")
    assert {path.name: set(uids) for path, uids in found.items()} == {
        "a": {"1.2.7"},
        "b": {"1.2.7"},
        "c": {"1.2.8", "1.2.9"},
    }
    assert series_of_children(tmp_path / "root" / "d") == {}
    with pytest.raises(InputError, match="cannot be read"):
        series_of_children(tmp_path / "gone")


def test_few_headers_are_read_of_a_folder_of_one_series(tmp_path, monkeypatch):
    write_series(tmp_path / "root" / "a", depths=MANY)
    read = []

    def counted(file):
        read.append(file)
        return beginning_of(file)

    monkeypatch.setattr("flareseg.io.dicom.children.beginning_of", counted)
    assert len(series_of_children(tmp_path / "root")) == 1
    assert len(read) == 5


def test_a_series_spread_over_folders_is_one_volume(tmp_path):
    folder = write_series(tmp_path / "a" / "x", depths=MANY)
    (tmp_path / "a" / "y").mkdir()
    for file in sorted(folder.iterdir())[::2]:
        file.rename(tmp_path / "a" / "y" / file.name)
    assert_in_place(read_volume(tmp_path / "a", force=True))


def closed(monkeypatch, *names):
    """Nobody may open the files of these names, whoever runs the tests."""
    opened = Path.open

    def refuse(self, *arguments, **options):
        if self.name in names:
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)


def test_slices_that_may_not_be_read_are_told_as_such(tmp_path, monkeypatch):
    folder = write_series(tmp_path / "a", depths=MANY)
    for number, file in enumerate(sorted(folder.iterdir())):
        file.rename(folder / f"IM{number:04d}")
    by_depth = sorted(folder.iterdir(), key=lambda file: pydicom.dcmread(file).ImagePositionPatient[2])
    closed(monkeypatch, by_depth[10].name)
    text = fails(folder, "lacks slices")
    assert f"left out were '{by_depth[10].name}' (cannot be read: Permission denied)" in text
    monkeypatch.undo()
    closed(monkeypatch, by_depth[-1].name)
    assert any("cannot be read: Permission denied" in note for note in read_volume(folder).notes)
    fails(by_depth[-1], "cannot be read: Permission denied")


def test_a_folder_of_which_nothing_may_be_read_is_told_as_such(tmp_path, monkeypatch):
    write_series(tmp_path / "case" / "series")
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "series":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    fails(tmp_path / "case", "1 folders cannot be read")
