"""Odd values in DICOM headers: read where their meaning is clear, one line otherwise, never another exception."""

import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.encaps import encapsulate
from pydicom.tag import Tag

sys.path.insert(0, str(Path(__file__).parent))

from dicom_files import COLUMNS, ROWS, assert_in_place, expected, fails, write_series

from flareseg.errors import InputError
from flareseg.io.dicom import list_series, read_dicom, series_uid
from flareseg.io.dicom.decoding import stream_size
from flareseg.io.dicom.slices import MOST_WITHOUT_PLACES
from flareseg.io.dicom.stack import MOST_GROWTH
from flareseg.io.dicom.values import date_and_time, seconds
from flareseg.io.files import read_volume


def put(keyword, value, vr="DS"):
    """Writes raw bytes as the value of an element; None removes it."""
    tag = Tag(tag_for_keyword(keyword))

    def edit(dataset, number):
        dataset["PixelData"].VR = "OW"
        dataset.pop(tag, None)
        if value is not None:
            dataset[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)

    return edit


CLEAR = [
    ("RescaleSlope", b" 1\x00", "LO"),
    ("RescaleSlope", np.float64(1).tobytes(), "FD"),
    ("PixelSpacing", b"0.7 0.8 ", "DS"),
    ("Rows", b"24", "IS"),
    ("Columns", np.uint32(COLUMNS).tobytes(), "UL"),
    ("BitsStored", None, "US"),
    ("BitsStored", b"\x00\x00", "US"),
    ("HighBit", None, "US"),
    ("BitsAllocated", None, "US"),
    ("SamplesPerPixel", None, "US"),
    ("PhotometricInterpretation", None, "CS"),
    ("InstanceNumber", b"abc ", "IS"),
    ("AcquisitionNumber", b"1e300 ", "IS"),
    ("AcquisitionTime", b"abc ", "TM"),
    ("SeriesNumber", b"abc ", "IS"),
    ("NumberOfFrames", b"", "IS"),
    ("PixelPaddingValue", b"abc ", "LO"),
    ("SeriesDescription", b"M\xfcller", "LO"),
    ("SpecificCharacterSet", b"nonsense", "CS"),
]


@pytest.mark.parametrize(("keyword", "value", "vr"), CLEAR)
def test_values_whose_meaning_is_clear_are_read(tmp_path, keyword, value, vr):
    folder = write_series(tmp_path / "a", depths=(0.0, 3.0, 6.0, 9.0), edit=put(keyword, value, vr))
    assert_in_place(read_volume(folder, force=True))


UNCLEAR = [
    *(("RescaleSlope", value) for value in (b"1,000000", b"abc ", b"1\\2 ", b"0 ", b"1e300 ", b"NaN ", b"1 1 ")),
    *(("RescaleIntercept", value) for value in (b"-1,024", b"abc ", b"1\\2 ", b"inf ", b"1e300 ")),
    *(
        ("PixelSpacing", value)
        for value in (b"0,7\\0,8 ", b"abc ", b"0\\0 ", b"1e300\\1 ", b"NaN\\1 ", b"", None, b"0.7 ", b"1,2,3 ")
    ),
    *(("ImagePositionPatient", value) for value in (b"a\\b\\c ", b"0\\0 ", b"1e300\\0\\0 ", b"inf\\0\\0 ", b"")),
    *(("ImageOrientationPatient", value) for value in (b"0\\0\\0\\0\\0\\0 ", b"1\\0\\0\\1\\0\\0 ", b"1 ", None)),
]


@pytest.mark.parametrize(("keyword", "value"), UNCLEAR)
def test_values_whose_meaning_is_unclear_are_named(tmp_path, keyword, value):
    folder = write_series(tmp_path / "a", depths=(0.0, 3.0, 6.0, 9.0), edit=put(keyword, value))
    text = fails(folder, keyword, force=True)
    assert ".dcm'" in text and "cannot be read as DICOM" not in text
    list_series(folder)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("Rows", b"\x00\x00"),
        ("Columns", b"\xff\xff"),
        ("BitsAllocated", b"\x0c\x00"),
        ("BitsAllocated", b"\xff\xff"),
        ("PixelRepresentation", b"\x07\x00"),
        ("PixelRepresentation", None),
        ("SamplesPerPixel", b"\x03\x00"),
        ("NumberOfFrames", b"\xff\x7f"),
    ],
)
def test_binary_values_that_make_no_sense_are_refused(tmp_path, keyword, value):
    folder = write_series(tmp_path / "a", depths=(0.0, 3.0, 6.0), edit=put(keyword, value, "US"))
    assert "cannot be read as DICOM" not in fails(folder, "'", force=True)


def test_frames_that_a_file_only_declares_are_not_made(tmp_path):
    folder = write_series(tmp_path / "a", edit=put("NumberOfFrames", b"1e300 ", "IS"))
    fails(folder, "its 1e+300 frames have no positions")
    assert sum(len(series.slices) for series in list_series(folder)) == 8 * MOST_WITHOUT_PLACES


def test_a_series_is_told_in_one_line_whatever_its_header_says(tmp_path):
    folder = write_series(tmp_path / "a", edit=put("Modality", b"C\n\x1bT", "CS"))
    assert str(list_series(folder)[0]).isprintable()


def test_one_slice_with_a_bad_number_is_left_out_of_many(tmp_path):
    def edit(dataset, number):
        if number == 23:
            put("ImagePositionPatient", b"abc ")(dataset, number)

    folder = write_series(tmp_path / "a", depths=tuple(3.0 * i for i in range(24)), edit=edit)
    volume = read_volume(folder, force=True)
    assert volume.hu.shape[0] == 23 and "'abc', no number" in volume.notes[0]


@pytest.mark.parametrize("syntax", ["1.2.3.4", "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.201", "nonsense"])
def test_transfer_syntaxes_that_cannot_be_decoded_are_refused(tmp_path, syntax):
    folder = write_series(tmp_path / "a", depths=(0.0, 3.0, 6.0))
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.file_meta.TransferSyntaxUID = syntax
        if dataset.file_meta.TransferSyntaxUID.is_transfer_syntax:
            dataset.PixelData = encapsulate([dataset.PixelData])
        with file.open("wb") as stream:
            pydicom.dcmwrite(stream, dataset, implicit_vr=False, little_endian=True, enforce_file_format=False)
    text = fails(folder, "'", force=True)
    assert "cannot be read as DICOM" not in text


def without(*keywords):
    def edit(dataset, number):
        for keyword in keywords:
            delattr(dataset, keyword)

    return edit


def body(x, y, z):
    return np.where(x > 0, -1000.0, 40.0) + 0 * z


def test_stored_values_without_a_rescale_are_hu_or_refused(tmp_path):
    missing = without("RescaleSlope", "RescaleIntercept")
    folder = write_series(tmp_path / "a", intercept=0.0, values=body, edit=missing)
    volume = read_dicom(folder)
    assert np.array_equal(volume.hu, expected(volume.geometry, body)) and "no rescale values" in volume.notes[0]
    shifted = write_series(tmp_path / "b", intercept=-1024.0, values=body, edit=missing)
    with pytest.raises(InputError, match="cannot be Hounsfield units"):
        read_dicom(shifted)
    assert "no rescale values" in read_dicom(shifted, force=True).notes[0]
    padded = write_series(tmp_path / "c", values=lambda x, y, z: np.where(x > 5, -3024.0, 40.0), edit=missing)
    with pytest.raises(InputError, match="cannot be Hounsfield units"):
        read_dicom(padded)


def test_a_missing_slope_is_noted_and_a_missing_intercept_of_some_slices_refused(tmp_path):
    folder = write_series(tmp_path / "a", edit=without("RescaleSlope"))
    volume = read_dicom(folder)
    assert "no RescaleSlope" in volume.notes[0]
    assert_in_place(volume)

    def some(dataset, number):
        if number == 2:
            del dataset.RescaleIntercept

    fails(write_series(tmp_path / "b", edit=some), "unlike other slices")


def test_a_stream_that_declares_another_size_is_not_decoded(tmp_path):
    def jpeg2000(dataset, number):
        size = b"".join(value.to_bytes(4, "big") for value in (40000, 40000, 0, 0, 40000, 40000, 0, 0))
        stream = b"\xff\x4f\xff\x51\x00\x29\x00\x00" + size + b"\x00\x01\x0f\x01\x01" + b"\xff\x90" + bytes(60)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
        dataset.PixelData = encapsulate([stream])

    folder = write_series(tmp_path / "a", depths=(0.0, 3.0, 6.0), edit=jpeg2000)
    fails(folder, "40000 x 40000 pixels", force=True)
    assert stream_size(b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc3\x00\x0b\x10\x01\x00\x02\x00\x01") == (256, 512, 1)
    assert stream_size(b"\xff\xd8nonsense") is None


def test_large_compressed_slices_are_refused_before_they_are_decoded(tmp_path):
    def large(dataset, number):
        dataset.Rows = dataset.Columns = 16000
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.RLELossless
        dataset.PixelData = encapsulate([bytes(3000)])

    fails(write_series(tmp_path / "a", depths=(0.0, 3.0, 6.0), edit=large), "more than any CT has", force=True)


def test_what_unpacks_without_bound_is_refused(tmp_path, monkeypatch):
    def deflated(dataset, number):
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian

    folder = write_series(tmp_path / "a", depths=(0.0, 3.0, 6.0), edit=deflated)
    assert_in_place(read_volume(folder, force=True))
    monkeypatch.setattr("flareseg.io.dicom.headers.MOST_INFLATED_BYTES", 500)
    fails(folder, "no DICOM images, but 3 damaged", force=True)


def test_an_upright_grid_is_measured_before_it_is_allocated(tmp_path):
    folder = write_series(
        tmp_path / "a", depths=tuple(10.0 * i for i in range(30)), aside=lambda depth: (9 * depth / 10, 0.0)
    )
    fails(folder, "more than their width", force=True)
    assert MOST_GROWTH < 10


def test_one_step_of_the_table_is_no_tilt(tmp_path):
    folder = write_series(tmp_path / "a", aside=lambda depth: (2.0 if depth > 10 else 0.0, 0.0))
    note = read_volume(folder, force=True).notes[0]
    assert "2.0 mm aside of those before" in note and "tilt" not in note
    wavy = write_series(tmp_path / "b", aside=lambda depth: (1.5 * (depth // 3 % 2), 0.0))
    assert "unevenly" in read_volume(wavy, force=True).notes[0]


@pytest.mark.parametrize("left", [0, 100, 131, 132, 140, 300, 400, 700, 900])
def test_files_cut_off_anywhere_are_refused(tmp_path, left):
    folder = write_series(tmp_path / "a", depths=(0.0, 3.0, 6.0))
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes()[:left])
        assert series_uid(file) is None or isinstance(series_uid(file), str)
    assert "cannot be read as DICOM" not in fails(folder, "'", force=True)


def test_damaged_bytes_raise_nothing_but_input_errors(tmp_path):
    folder = write_series(tmp_path / "a", depths=(0.0, 3.0, 6.0))
    file = next(folder.iterdir())
    whole = file.read_bytes()
    rng = np.random.default_rng(3)
    header = len(whole) - 2 * ROWS * COLUMNS
    outcomes = []
    for _ in range(60):
        damaged = bytearray(whole)
        for at in rng.integers(132, header, 3):
            damaged[at] = rng.integers(256)
        file.write_bytes(damaged)
        try:
            outcomes.append(read_dicom(folder, force=True).hu.shape[0])
        except InputError as error:
            outcomes.append(str(error))
    assert all(outcome in (2, 3) or "\n" not in outcome for outcome in outcomes)


def test_times_and_dates_are_read_as_they_are_written():
    assert seconds("", "101112.5") == 10 * 3600 + 11 * 60 + 12.5 and seconds("", "10:11:12") == seconds("", "101112")
    assert seconds("", "") is None and seconds("", "abc") is None and seconds("", "1011") == seconds("", "101100")
    assert seconds("20240301", "000000") > seconds("20240229", "235959") > seconds("20231231", "10")
    assert date_and_time("20240301101112.25+0100") == seconds("20240301", "101112.25")
