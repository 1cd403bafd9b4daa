"""DICOM folders: which series is read, and that its slices lie where they were scanned."""

import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).parent))

from dicom_files import COLUMNS, ROWS, SPACING_XY, assert_in_place, fails, write_series

from flareseg.io.dicom import list_series
from flareseg.io.files import read_volume

TURNED = tuple(np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0][:, :2].T.ravel())


@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), (-1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), TURNED])
def test_a_plain_series_lies_where_it_was_scanned(tmp_path, orientation):
    volume = read_volume(write_series(tmp_path / "Fall Ü", orientation=orientation), force=True)  # little tissue there
    assert volume.name == "Fall Ü" and volume.notes == ()
    assert volume.hu.shape == (8, ROWS, COLUMNS)
    assert np.allclose(volume.geometry.spacing_zyx_mm, (3.0, 0.7, 0.8))
    assert_in_place(volume)


def test_the_grid_is_that_of_simpleitk(tmp_path):
    folder = write_series(tmp_path / "a", orientation=TURNED)
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    image = sitk.ReadImage(files)
    volume = read_volume(folder)
    assert np.array_equal(volume.hu, sitk.GetArrayFromImage(image))
    assert np.allclose(volume.geometry.origin_xyz_mm, image.GetOrigin(), atol=1e-4)
    assert np.allclose(np.ravel(volume.geometry.direction), image.GetDirection(), atol=1e-5)


def test_each_slice_has_its_own_slope_and_intercept(tmp_path):
    def rescale(dataset, number):
        stored = np.frombuffer(dataset.PixelData, "<i2").astype(float)
        dataset.RescaleSlope, dataset.RescaleIntercept = "0.5", str(-1000 - 10 * number)
        hu = stored - 1024
        dataset.PixelData = np.rint((hu + 1000 + 10 * number) * 2).astype("<i2").tobytes()

    assert_in_place(read_volume(write_series(tmp_path / "a", edit=rescale)))


@pytest.mark.parametrize(("padding", "limit"), [(-2000, None), (63536, None), (-2000, -1990)])
def test_padding_is_air(tmp_path, padding, limit):
    def pad(dataset, number):
        stored = np.frombuffer(dataset.PixelData, "<i2").reshape(ROWS, COLUMNS).copy()
        stored[0, :3] = -2000, -2000, -1995 if limit else -2000
        dataset.PixelData = stored.tobytes()
        dataset.add_new("PixelPaddingValue", "US" if padding > 0 else "SS", padding)
        if limit:
            dataset.add_new("PixelPaddingRangeLimit", "SS", limit)

    volume = read_volume(write_series(tmp_path / "a", edit=pad))
    assert (volume.hu[:, 0, :3] == -1024).all()
    assert_in_place(volume, inside=np.s_[:, 1:])


def test_twelve_bits_with_a_sign_are_extended(tmp_path):
    def twelve(dataset, number):
        stored = np.frombuffer(dataset.PixelData, "<i2") & 0x0FFF
        dataset.BitsStored, dataset.HighBit, dataset.PixelData = 12, 11, stored.astype("<u2").tobytes()

    assert_in_place(read_volume(write_series(tmp_path / "a", intercept=0.0, edit=twelve)))


def test_several_series_are_listed_and_one_is_picked(tmp_path):
    write_series(tmp_path / "case" / "1", SeriesNumber=3, SeriesDescription="arterial")
    write_series(
        tmp_path / "case" / "2", depths=tuple(3.0 * i for i in range(7)), SeriesNumber=4, SeriesDescription="portal"
    )
    text = fails(tmp_path / "case", "--series")
    for words in ("3 'arterial'", "4 'portal'", "8 slices", "7 slices", "3.00 mm apart"):
        assert words in text
    assert read_volume(tmp_path / "case", series="4").hu.shape[0] == 7
    uid = list_series(tmp_path / "case")[0].uid
    assert read_volume(tmp_path / "case", series=uid).hu.shape[0] == 8
    assert "arterial" in fails(tmp_path / "case", "no series 9", series="9")


def test_one_file_of_a_series_stands_for_it(tmp_path):
    write_series(tmp_path, SeriesNumber=3)
    folder = write_series(tmp_path, depths=(0.0, 3.0, 6.0, 9.0), SeriesNumber=4)
    one = next(slice_.file for series in list_series(folder) if series.number == "4" for slice_ in series.slices)
    assert read_volume(one).hu.shape[0] == 4


def test_localisers_other_modalities_and_other_files_are_no_rivals(tmp_path):
    folder = write_series(tmp_path / "a")
    write_series(
        folder / "scout", depths=(0.0, 1.0, 2.0), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SeriesNumber=1
    )
    write_series(folder / "pet", depths=tuple(2.0 * i for i in range(20)), Modality="PT", SeriesNumber=5)
    (folder / "notes.txt").write_text("Notiz")
    (folder / "broken.dcm").write_bytes(b"\x00" * 128 + b"DICM" + b"\xff" * 50)
    (folder / "empty.dcm").write_bytes(b"")
    assert_in_place(read_volume(folder))


def test_copies_of_the_same_image_count_once(tmp_path):
    folder = write_series(tmp_path / "a")
    for file in sorted(folder.iterdir())[:3]:
        (folder / f"copy of {file.name}").write_bytes(file.read_bytes())
    assert_in_place(read_volume(folder))


def test_a_series_whose_identifiers_were_emptied_is_read(tmp_path):
    def anonymise(dataset, number):
        dataset.SOPInstanceUID = dataset.StudyInstanceUID = dataset.SeriesInstanceUID = ""

    assert_in_place(read_volume(write_series(tmp_path / "a", edit=anonymise)))


def test_without_a_ct_the_modalities_are_told(tmp_path):
    folder = write_series(tmp_path / "a", Modality="MR")
    fails(folder, "no CT series; there is: MR (1 series)")
    assert read_volume(folder, force=True).hu.shape[0] == 8
    scouts = write_series(tmp_path / "b", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    fails(scouts, "nothing of a CT but localisers")


def test_missing_slices_are_refused_with_the_place(tmp_path):
    folder = write_series(tmp_path / "a", depths=(0.0, 3.0, 6.0, 12.0, 15.0, 18.0))
    text = fails(folder, "lacks slices: 6.00 mm between")
    assert ".dcm" in text and "3.00 mm elsewhere" in text


def test_two_slices_at_one_place_are_refused(tmp_path):
    fails(write_series(tmp_path / "a", depths=(0.0, 3.0, 3.0, 6.0)), "two slices at the same place")


def test_small_unevenness_is_noted(tmp_path):
    volume = read_volume(write_series(tmp_path / "a", depths=(0.0, 3.0, 6.2, 9.0, 12.0)))
    assert "vary from 2.80 to 3.20 mm" in volume.notes[0] and "median 3.00" in volume.notes[0]
    assert volume.geometry.spacing_zyx_mm[0] == pytest.approx(3.0)


@pytest.mark.parametrize("degrees", [12.0, -25.0])
def test_a_tilted_gantry_is_taken_out(tmp_path, degrees):
    tilt = np.tan(np.radians(degrees))
    folder = write_series(tmp_path / "a", aside=lambda depth: (0.0, depth * tilt))
    volume = read_volume(folder)
    assert f"Gantry tilt of {abs(degrees):.1f} degrees" in volume.notes[0]
    direction = np.asarray(volume.geometry.direction)
    assert np.allclose(direction.T @ direction, np.eye(3))
    assert volume.hu.shape[1] == ROWS + int(np.ceil(21.0 * abs(tilt) / SPACING_XY[1]))
    seen = volume.hu != -1024
    assert seen.mean() > 0.5
    # each row of the fan is mixed from its neighbours; only the first row of a slice has none before it
    inner = seen & np.roll(seen, 1, axis=1)
    inner[:, 0] = False
    assert_in_place(volume, tolerance=1.01, inside=inner)


def test_slices_that_make_no_stack_are_refused(tmp_path):
    folder = write_series(tmp_path / "a", aside=lambda depth: (depth * 3.0, 0.0))
    fails(folder, "make no volume")


def test_a_single_slice_is_no_volume(tmp_path):
    fails(write_series(tmp_path / "a", depths=(0.0,)), "single slice")


def test_a_multi_frame_image_without_positions_is_refused(tmp_path):
    folder = write_series(tmp_path / "a", depths=(0.0,), NumberOfFrames=5)
    fails(folder, "its 5 frames have no positions")


def test_slices_without_a_place_are_refused(tmp_path):
    def lose(dataset, number):
        del dataset.ImagePositionPatient

    fails(write_series(tmp_path / "a", edit=lose), "does not say where it lies")


def test_truncated_pixels_are_refused(tmp_path):
    folder = write_series(tmp_path / "a")
    file = sorted(folder.iterdir())[3]
    file.write_bytes(file.read_bytes()[:-200])
    fails(folder, file.name)


@pytest.mark.parametrize("left", [150, 400])
def test_a_file_cut_off_in_its_header_is_told(tmp_path, left):
    folder = write_series(tmp_path / "a", depths=tuple(3.0 * i for i in range(24)))
    last = max(folder.iterdir(), key=lambda file: pydicom.dcmread(file).ImagePositionPatient[2])
    last.write_bytes(last.read_bytes()[:left])
    found = read_volume(folder)
    assert found.hu.shape[0] == 23
    assert any(last.name in note for note in found.notes)


@pytest.mark.parametrize("decoder", ["pydicom's, or ITK's without one", "ITK's"])
def test_compressed_slices_are_decoded_or_their_compression_is_named(tmp_path, monkeypatch, capfd, decoder):
    folder = write_series(tmp_path / "a", depths=(0.0, 3.0, 6.0), intercept=0.0, PixelPaddingValue=100)
    plain = read_volume(folder)
    for file in folder.iterdir():
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(file))
        reader.LoadPrivateTagsOn()
        image = sitk.Cast(reader.Execute(), sitk.sitkInt16)
        for key in reader.GetMetaDataKeys():
            image.SetMetaData(key, reader.GetMetaData(key))
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG2000")
        writer.SetFileName(str(file))
        writer.Execute(image)
        assert pydicom.dcmread(file).file_meta.TransferSyntaxUID.is_compressed
    if decoder == "ITK's":
        monkeypatch.setattr("flareseg.io.dicom.decoding._by_pydicom", lambda *_: None)
    packed = read_volume(folder)
    assert np.array_equal(packed.hu, plain.hu) and packed.geometry.same_as(plain.geometry)
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8nonsense"])
        dataset.save_as(file)
    fails(folder, "is compressed as JPEG 2000")
    assert "Traceback" not in "".join(capfd.readouterr())
