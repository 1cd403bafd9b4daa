"""DICOM slices with pixels stored, surrounded or drawn upon in unusual ways, with headers that lost a word, and with
other files among them."""

import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import SecondaryCaptureImageStorage

sys.path.insert(0, str(Path(__file__).parent))

from dicom_files import COLUMNS, ROWS, assert_in_place, fails, write_series

from flareseg.io.files import read_volume


def stored_of(dataset):
    return np.frombuffer(dataset.PixelData, "<i2").reshape(ROWS, COLUMNS).copy()


def unsigned(dataset, values, bits=12, high=None):
    dataset.PixelRepresentation, dataset.BitsStored = 0, bits
    dataset.HighBit = bits - 1 if high is None else high
    dataset.PixelData = values.astype("<u2").tobytes()


@pytest.mark.parametrize("limit", [None, 60])
def test_a_padding_value_of_the_body_is_padding_only_around_the_field_of_view(tmp_path, limit):
    def pad(dataset, number):
        stored = stored_of(dataset)
        assert ((stored >= 20) & (stored <= 60))[:, 1:-1].any()
        stored[:, 0] = stored[:, -1] = 40
        dataset.PixelData = stored.tobytes()
        dataset.add_new("PixelPaddingValue", "SS", 40)
        if limit:
            dataset.add_new("PixelPaddingRangeLimit", "SS", limit)

    volume = read_volume(write_series(tmp_path / "a", intercept=0.0, edit=pad))
    assert (volume.hu[:, :, [0, -1]] == -1024).all()
    beside = 3  # a pixel of this value next to the padding is taken for it
    assert_in_place(volume, inside=np.s_[:, :, beside:-beside])
    assert any("PixelPaddingValue" in note for note in volume.notes)


def test_a_padding_value_that_does_not_surround_the_patient_is_none(tmp_path):
    def pad(dataset, number):
        dataset.add_new("PixelPaddingValue", "SS", int(stored_of(dataset)[10, 10]))

    volume = read_volume(write_series(tmp_path / "a", intercept=0.0, edit=pad))
    assert_in_place(volume)
    assert any("PixelPaddingValue" in note for note in volume.notes)


@pytest.mark.parametrize("states_it", [True, False])
def test_values_in_the_highest_bits_are_read_where_the_header_is_right(tmp_path, states_it):
    """HighBit 15 of 12 bits, as in old files; or only written so."""

    def edit(dataset, number):
        unsigned(dataset, stored_of(dataset) << 4 if states_it else stored_of(dataset), high=15)

    assert_in_place(read_volume(write_series(tmp_path / "a", edit=edit)))


def test_graphics_in_bits_above_the_pixels_are_left_out_with_a_note(tmp_path):
    def draw(dataset, number):
        stored = stored_of(dataset)
        stored[2:5, 3:9] |= 1 << 12
        unsigned(dataset, stored)

    volume = read_volume(write_series(tmp_path / "a", edit=draw))
    assert_in_place(volume)
    assert any("BitsStored" in note for note in volume.notes)


def test_padding_may_have_more_bits_than_the_pixels(tmp_path):
    def pad(dataset, number):
        stored = stored_of(dataset).astype("<u2")
        stored[0] = 63536
        unsigned(dataset, stored)
        dataset.add_new("PixelPaddingValue", "US", 63536)

    volume = read_volume(write_series(tmp_path / "a", edit=pad))
    assert (volume.hu[:, 0] == -1024).all() and not volume.notes
    assert_in_place(volume, inside=np.s_[:, 1:])


def test_a_table_of_values_is_not_passed_over(tmp_path):
    def table(dataset, number):
        item = Dataset()
        item.add_new("LUTDescriptor", "US", [4096, 0, 16])
        item.add_new("LUTData", "OW", np.arange(-1024, 3072).astype("<i2").tobytes())
        dataset.ModalityLUTSequence = Sequence([item])
        del dataset.RescaleSlope, dataset.RescaleIntercept

    fails(write_series(tmp_path / "a", intercept=0.0, edit=table), "ModalityLUTSequence")


@pytest.mark.parametrize("modality", [None, "", "ct"])
def test_an_image_that_lost_its_modality_is_what_its_class_says(tmp_path, modality):
    def edit(dataset, number):
        if modality is None:
            del dataset.Modality
        else:
            dataset.Modality = modality

    assert_in_place(read_volume(write_series(tmp_path / "a", edit=edit)))


def test_an_orientation_rounded_differently_is_none_of_its_own(tmp_path):
    def edit(dataset, number):
        if number % 2:
            dataset.ImageOrientationPatient = ["0.9999", "0.0006", "0", "-0.0006", "0.9999", "0"]

    volume = read_volume(write_series(tmp_path / "a", edit=edit))
    assert_in_place(volume)


def test_what_macos_leaves_beside_slices_is_no_damaged_slice(tmp_path):
    folder = write_series(tmp_path / "a")
    for file in list(folder.iterdir()):
        (folder / f"._{file.name}").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X" + bytes(2000))
    volume = read_volume(folder)
    assert_in_place(volume)
    assert not volume.notes


@pytest.mark.parametrize("slices", [6, 12])
def test_a_page_of_a_dose_report_is_no_slice_that_a_short_scan_lacks(tmp_path, slices):
    def page(dataset, number):
        if number == 3:
            dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
            del dataset.ImagePositionPatient, dataset.ImageOrientationPatient

    depths = (*(3.0 * i for i in range(3)), 999.0, *(3.0 * i for i in range(3, slices)))
    volume = read_volume(write_series(tmp_path / "a", depths=depths, edit=page))
    assert_in_place(volume)
    assert volume.hu.shape[0] == slices and "left out, 1 in all" in volume.notes[0]


@pytest.mark.parametrize("modality", ["RTDOSE", "SEG", "PT"])
@pytest.mark.parametrize("name", ["0.dcm", "z.dcm"])
def test_objects_that_repeat_the_uid_of_a_ct_are_no_slices_of_it(tmp_path, modality, name):
    folder = write_series(tmp_path / "a", SeriesInstanceUID="1.2.3")
    for file in write_series(tmp_path / "b", SeriesInstanceUID="1.2.3", depths=(0.0, 3.0, 6.0)).iterdir():
        one = pydicom.dcmread(file)
        one.Modality, one.SOPClassUID = modality, f"1.2.840.10008.5.1.4.1.1.{'128' if modality == 'PT' else '481.2'}"
        one.NumberOfFrames, one.PixelData = 30, one.PixelData * 30
        one.save_as(folder / f"{file.stem}{name}")
    for series in (None, "2", "1.2.3"):
        volume = read_volume(folder, series=series)
        assert_in_place(volume)
        assert volume.hu.shape[0] == 8 and not volume.notes


@pytest.mark.parametrize("without", [["SOPClassUID"], ["Modality"], ["SOPClassUID", "Modality"]])
def test_slices_that_lost_what_they_are_stay_with_the_others(tmp_path, without):
    def edit(dataset, number):
        for keyword in without if number > 4 else ():
            delattr(dataset, keyword)

    volume = read_volume(write_series(tmp_path / "a", edit=edit, SeriesInstanceUID="1.2.3"))
    assert_in_place(volume)
    assert volume.hu.shape[0] == 8
