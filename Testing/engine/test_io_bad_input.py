"""What cannot be a CT is refused in one line that names the file."""

import gzip
import struct

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from flareseg.errors import FlareError, InputError, UsageError
from flareseg.io.files import read_labels, read_volume, write_volume
from flareseg.volume import Geometry, Volume

SHAPE = (6, 20, 22)


@pytest.fixture
def values():
    return np.random.default_rng(0).integers(-1000, 300, SHAPE).astype(np.int16)


@pytest.fixture
def good(tmp_path, values):
    return write_volume(Volume(values, Geometry(SHAPE, (2.0, 1.0, 1.0))), tmp_path / "good.nii.gz")


def refused(path, words, **options):
    """The error of reading `path`, checked to be one line that names it."""
    with pytest.raises(InputError) as caught:
        read_volume(path, **options)
    text = str(caught.value)
    assert "\n" not in text and path.name in text
    assert words in text
    return text


def save(array, path, **metadata):
    image = sitk.GetImageFromArray(array, isVector=metadata.pop("vector", False))
    image.SetSpacing(metadata.pop("spacing", [1.0] * image.GetDimension()))
    sitk.WriteImage(image, str(path))
    return path


def test_missing_and_unknown_files(tmp_path):
    refused(tmp_path / "none.nii.gz", "There is no file or folder")
    (tmp_path / "text.txt").write_text("no CT")
    refused(tmp_path / "text.txt", "is no CT that can be read")
    (tmp_path / "cts.tar.gz").write_bytes(b"\x1f\x8b")
    refused(tmp_path / "cts.tar.gz", "unpack it first")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", "holds no DICOM images")


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd"])
def test_empty_and_mislabelled_files(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    path.write_bytes(b"")
    refused(path, "is empty")
    for content in (b"P" * 5000, b"\x00" * 5000, b"NRRD0004\n", b"ObjectType = Image\n", b"\x1f\x8bnonsense"):
        path.write_bytes(content)
        refused(path, "")


def test_a_nrrd_called_nifti_is_refused(tmp_path, values):
    save(values, tmp_path / "a.nrrd").rename(tmp_path / "a.nii")
    refused(tmp_path / "a.nii", "is not a NIfTI-1 file")
    save(values, tmp_path / "b.nii").rename(tmp_path / "b.nrrd")
    refused(tmp_path / "b.nrrd", "is not a NRRD file")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04", "is a zip; unpack"),
        (b"BZh9", "bzip2; unpack"),
        (gzip.compress(gzip.compress(bytes(400))), "compressed twice"),
        (b"\n<!DOCTYPE html><html>Not found", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"/annex/objects/SHA256E-s1--0", "git annex get"),
        (bytes(128) + b"DICM", "is DICOM; name it .dcm"),
        (b"ObjectType = Image", "name it .mha"),
        (b"\x00\x05\x16\x07", "macOS left it"),
        (b"of no kind", "download it again"),
    ],
)
@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_a_file_of_another_kind_is_told_what_it_is_and_what_to_do(tmp_path, content, words, ending):
    path = tmp_path / f"a{ending}"
    path.write_bytes(content if ending == ".nii.gz" or content[:2] == b"\x1f\x8b" else content + bytes(600))
    refused(path, words)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.999])
def test_truncated_files(tmp_path, values, ending, share):
    path = save(values, tmp_path / f"a{ending}")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refused(path, "")


def test_a_flipped_bit_in_compressed_data_is_noticed(good):
    content = bytearray(good.read_bytes())
    content[len(content) // 2] ^= 0x10
    good.write_bytes(content)
    refused(good, "")


def test_a_detached_header_without_its_data(tmp_path, values):
    path = save(values, tmp_path / "a.mhd")
    (tmp_path / "a.raw").unlink()
    with pytest.raises(InputError, match=r"a\.raw"):
        read_volume(path)


def test_headers_that_promise_more_than_the_file_holds(tmp_path, good, values):
    raw = bytearray(gzip.decompress(good.read_bytes()))
    struct.pack_into("<8h", raw, 40, 3, 2000, 2000, 1000, 1, 1, 1, 1)
    (tmp_path / "huge.nii").write_bytes(raw)
    refused(tmp_path / "huge.nii", "is too short")
    (tmp_path / "huge.nii.gz").write_bytes(gzip.compress(bytes(raw)))
    refused(tmp_path / "huge.nii.gz", "is too short")
    nowhere = bytearray(raw)
    struct.pack_into("<f", nowhere, 108, float("nan"))
    (tmp_path / "nowhere.nii").write_bytes(nowhere)
    refused(tmp_path / "nowhere.nii", "where the voxels begin")
    struct.pack_into("<8h", raw, 40, 3, 30000, 30000, 30000, 1, 1, 1, 1)
    (tmp_path / "vast.nii").write_bytes(raw)
    refused(tmp_path / "vast.nii", "more than any CT has")
    for ending, before, after in (
        (".nrrd", b"sizes: 22 20 6", b"sizes: 2000 2000 600"),
        (".mha", b"22 20 6", b"2000 2000 600"),
    ):
        path = save(values, tmp_path / f"a{ending}")
        content = path.read_bytes()
        assert before in content
        path.write_bytes(content.replace(before, after))
        refused(path, "is too short")


def test_images_that_are_no_single_volume(tmp_path, values):
    refused(save(values[0], tmp_path / "flat.nrrd"), "2 dimensions")
    refused(save(values[:1], tmp_path / "slice.nrrd"), "at least 2 along every axis")
    refused(save(np.stack([values, values]), tmp_path / "time.nrrd"), "4 dimensions")
    colours = np.zeros((*SHAPE, 3), np.uint8)
    for ending in (".nrrd", ".mha", ".nii.gz"):
        refused(save(colours, tmp_path / f"rgb{ending}", vector=True), "")
    nibabel.Nifti1Image(np.stack([values.T] * 2, axis=-1), np.eye(4)).to_filename(tmp_path / "time.nii.gz")
    refused(tmp_path / "time.nii.gz", "4 dimensions")


def test_impossible_spacings(tmp_path, values, good):
    refused(
        save(values, tmp_path / "micro.nrrd", spacing=(0.001, 0.001, 0.001)),
        "voxel spacing of 0.001 x 0.001 x 0.001 mm",
    )
    refused(save(values, tmp_path / "giant.mha", spacing=(1, 1, 300)), "voxel spacing")
    # 0.7 mm, written ten times as large
    long = save(np.zeros((6, 20, 512), np.int16), tmp_path / "long.nrrd", spacing=(7, 7, 7))
    refused(long, "would be 3.58 m long by its voxel spacing of 7 x 7 x 7 mm")
    for name in (".nrrd", ".mha"):
        path = save(values, tmp_path / f"zero{name}", spacing=(1.25, 1.5, 2.5))
        content = path.read_bytes().replace(b"1.25", b"0.00")
        path.write_bytes(content)
        refused(path, "")
    raw = bytearray(gzip.decompress(good.read_bytes()))
    struct.pack_into("<3f", raw, 80, 0.0, 0.0, 0.0)
    struct.pack_into("<12f", raw, 280, *[0.0] * 12)
    (tmp_path / "zero.nii").write_bytes(raw)
    refused(tmp_path / "zero.nii", "")


def test_two_voxel_sizes_in_one_header_are_not_guessed_between(tmp_path, good, values):
    raw = bytearray(gzip.decompress(good.read_bytes()))
    struct.pack_into("<3f", raw, 80, 2.0, 2.0, 5.0)  # pixdim; the sform keeps 1 x 1 x 2 mm
    path = tmp_path / "two.nii"
    path.write_bytes(raw)
    assert "2 x 2 x 5 and 1 x 1 x 2 (pixdim and sform)" in refused(path, "--force")
    forced = read_volume(path, force=True)
    assert forced.geometry.spacing_zyx_mm == (5.0, 2.0, 2.0) and np.array_equal(forced.hu, values)


@pytest.mark.parametrize("dimensions", [(0, 22, 20, 6), (3, -22, 20, 6), (3, 22, 0, 6), (9, 22, 20, 6)])
def test_impossible_dimensions_leave_nothing_but_one_line(tmp_path, good, capfd, dimensions):
    raw = bytearray(gzip.decompress(good.read_bytes()))
    struct.pack_into("<4h", raw, 40, *dimensions)
    (tmp_path / "a.nii").write_bytes(raw)
    refused(tmp_path / "a.nii", "dimensions make no sense")
    assert capfd.readouterr() == ("", "")


def test_rare_layouts_cannot_promise_more_than_they_hold_either(tmp_path):
    path = tmp_path / "a.nrrd"
    path.write_text(
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 1600 1600 1600\nspacings: 1 1 1\nencoding: ascii\n\n1 2 3\n"
    )
    refused(path, "is too short")


def test_a_name_that_no_file_system_takes(tmp_path):
    refused(tmp_path / ("a" * 300 + ".nii.gz"), "File name too long")


def test_a_series_is_asked_only_of_dicom(good):
    with pytest.raises(UsageError, match="DICOM"):
        read_volume(good, series="2")


def test_a_sheared_grid(tmp_path, values):
    affine = np.eye(4)
    affine[0, 2] = 0.5
    image = nibabel.Nifti1Image(values.T, affine)
    image.set_qform(None, code=0)
    image.to_filename(tmp_path / "a.nii.gz")
    refused(tmp_path / "a.nii.gz", "not perpendicular")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda v: np.zeros_like(v), "every voxel is 0"),
        (lambda v: np.full_like(v, -1000), "every voxel is -1000"),
        (lambda v: (v > 0).astype(np.uint8) * 7, "like a label map"),
        (lambda v: (v + 1000).astype(np.uint16), "neither air nor fat"),
        (lambda v: v - 3000, "soft tissue"),
        # an MR with the ringing of a resampling
        (
            lambda v: np.where(np.arange(v.size).reshape(v.shape) % 300, np.abs(v), -150).astype(np.int16),
            "air and fat are",
        ),
    ],
)
def test_what_does_not_look_like_a_ct_needs_force(tmp_path, values, make, words):
    path = save(make(values), tmp_path / "a.nrrd")
    assert "--force" in refused(path, words)
    assert np.array_equal(read_volume(path, force=True).hu, make(values))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_air_only_with_force(tmp_path, values, value):
    array = values.astype(np.float32)
    array[2, 3, 4] = value
    path = save(array, tmp_path / "a.nii.gz")
    assert "--force" in refused(path, "NaN or infinite")
    found = read_volume(path, force=True).hu
    assert found[2, 3, 4] == -1024
    values[2, 3, 4] = -1024
    assert np.array_equal(found, values)


def test_small_volumes_are_no_bad_input(tmp_path):
    array = np.array([[[-1000, 40], [50, 60]], [[-900, 10], [20, 30]]], np.int16)
    assert np.array_equal(read_volume(save(array, tmp_path / "a.nrrd")).hu, array)


def test_label_maps_with_other_values_are_refused(tmp_path, values):
    for name, array in (("negative", values), ("fractions", values / 7.0), ("large", np.abs(values) + np.int16(300))):
        path = save(array, tmp_path / f"{name}.nrrd")
        with pytest.raises(InputError, match=name):
            read_labels(path)
    with pytest.raises(InputError, match="no file"):
        read_labels(tmp_path / "none.nii.gz")


def test_no_damage_to_a_header_leads_to_anything_but_one_line(tmp_path, good):
    raw = gzip.decompress(good.read_bytes())
    generator = np.random.default_rng(3)
    path = tmp_path / "a.nii"
    for _ in range(300):
        damaged = bytearray(raw)
        for position in generator.integers(0, 352, 3):
            damaged[position] = generator.integers(0, 256)
        path.write_bytes(damaged)
        try:
            read_volume(path)
        except FlareError as error:
            assert "\n" not in str(error)
