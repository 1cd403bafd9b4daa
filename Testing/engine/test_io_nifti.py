"""NIfTI in every variant, and results that lie on their CT in every program, whichever transform it follows."""

import gzip
import struct
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from flareseg.errors import InputError, OutputError
from flareseg.io.files import IMAGE_ENDINGS, ending_of, read_labels, read_volume, write_segmentation, write_volume
from flareseg.labels import structures
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Volume

SHAPE = (5, 6, 7)
HU = np.random.default_rng(0).integers(-1000, 300, SHAPE).astype(np.int16)
UNSTATED = "does not state its orientation"


def header(*, codes=(1, 1), units=2, scale=1.0, shear=0.0, shift=0.0, order="<", magic=b"n+1\0"):
    raw = bytearray(352)

    def put(kind, offset, *values):
        struct.pack_into(order + kind, raw, offset, *values)

    sx, sy, sz = np.multiply((1.0, 1.5, 3.0), scale)
    put("i", 0, 348)
    put("8h", 40, 3, *SHAPE[::-1], 1, 1, 1, 1)
    put("2h", 70, 4, 16)
    put("8f", 76, 1, sx, sy, sz, 0, 0, 0, 0)
    put("3f", 108, 352 if magic == b"n+1\0" else 0, 1, 0)
    raw[123] = units
    put("2h", 252, *codes)
    put("6f", 256, 0, 0, 1, 19 * scale, 20 * scale, 3 * scale)  # half a turn about the patient's long axis
    put("12f", 280, -sx, 0, 0, (19 + shift) * scale, 0, -sy, shear * scale, 20 * scale, 0, 0, sz, 3 * scale)
    raw[344:348] = magic
    return bytes(raw)


def nifti(path, order="<", **changes):
    data = header(order=order, **changes) + HU.astype(f"{order}i2").tobytes()
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


def nifti2(path, order="<", magic=b"n+2\0", codes=(1, 1)):
    raw = bytearray(544)

    def put(kind, offset, *values):
        struct.pack_into(order + kind, raw, offset, *values)

    put("i", 0, 540)
    raw[4:12] = magic + b"\r\n\x1a\n"
    put("2h", 12, 4, 16)
    put("8q", 16, 3, *SHAPE[::-1], 1, 1, 1, 1)
    put("8d", 104, 1, 1.0, 1.5, 3.0, 0, 0, 0, 0)
    put("q", 168, 544 if magic == b"n+2\0" else 0)
    put("2d", 176, 2, -24)
    put("2i", 344, *codes)
    put("6d", 352, 0, 0, 1, 19, 20, 3)
    put("12d", 400, -1, 0, 0, 19, 0, -1.5, 0, 20, 0, 0, 3, 3)
    put("i", 500, 2)
    stored = ((HU.astype(np.int32) // 2 * 2 + 24) // 2).astype(f"{order}i2").tobytes()
    data = bytes(raw) + stored if magic == b"n+2\0" else bytes(raw[:540])
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return stored


def refused(path, words, **options):
    with pytest.raises(InputError) as caught:
        read_volume(path, **options)
    text = str(caught.value)
    assert text.isprintable() and path.name in text and words in text


def result_of(path, volume, ending=".nii.gz"):
    labels = (volume.hu > 0).astype(np.uint8)
    segmentation = Segmentation(labels, volume.geometry, structures(), notes=volume.notes)
    return write_segmentation(segmentation, path.with_name(f"result{ending}"), overwrite=True)


CODES = [(0, 0), (1, 0), (0, 1), (1, 1), (1, 2), (2, 1), (4, 2), (0, 3)]
CHANGES = [{}, {"shift": 5.0}, {"units": 1, "scale": 1e-3}, {"units": 3, "scale": 1e3}, {"units": 0}, {"shear": 0.01}]


@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("changes", CHANGES, ids=str)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_result_has_both_transforms_their_codes_and_the_unit_of_its_ct(tmp_path, codes, changes, ending):
    path = nifti(tmp_path / "ct.nii", codes=codes, **changes)
    result = result_of(path, read_volume(path), ending)
    theirs, ours = nibabel.load(path), nibabel.load(result)
    assert np.array_equal(ours.affine, theirs.affine)  # what nibabel, MRIcroGL and FSL follow
    for form in ("get_qform", "get_sform"):
        (his, his_code), (mine, my_code) = getattr(theirs, form)(coded=True), getattr(ours, form)(coded=True)
        assert my_code == his_code and (his is None) == (mine is None) and (his is None or np.array_equal(mine, his))
    assert ours.header.get_xyzt_units()[0] == theirs.header.get_xyzt_units()[0]
    assert np.array_equal(ours.header["pixdim"][:4], theirs.header["pixdim"][:4])
    assert read_labels(result)[1].same_as(read_volume(path).geometry, 1e-6)
    if "shear" not in changes or codes[0] or not codes[1]:  # ITK reads no sheared sform
        itk_ct, itk_result = sitk.ReadImage(str(path)), sitk.ReadImage(str(result))  # what ITK and Slicer follow
        for part in ("GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(itk_ct, part)() == getattr(itk_result, part)()


@pytest.mark.parametrize("codes", [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_two_positions_in_one_header_are_told(tmp_path, codes):
    found = read_volume(nifti(tmp_path / "a.nii", codes=codes, shift=5.0))
    followed = "sform" if codes[1] == 1 else "qform"
    assert found.notes == (
        "The NIfTI header states two positions, qform and sform, up to 5.0 mm apart; "
        f"the {followed} was followed, and a NIfTI result states both as this file does.",
    )
    assert found.geometry.origin_xyz_mm[0] == (-24 if followed == "sform" else -19)


@pytest.mark.parametrize("codes", CODES)
def test_only_a_header_without_any_orientation_is_told(tmp_path, codes):
    for units, scale in ((0, 1), (1, 1e-3), (2, 1), (3, 1e3)):
        notes = read_volume(nifti(tmp_path / "a.nii", codes=codes, units=units, scale=scale)).notes
        assert (UNSTATED in notes[0] if notes else False) == (codes == (0, 0)) and len(notes) <= 1


def test_a_result_states_both_transforms_alike_where_its_ct_was_no_nifti(tmp_path):
    volume = Volume(HU, Geometry(SHAPE, (3.0, 1.5, 1.0), (1.0, 2.0, 3.0)))
    path = write_volume(volume, tmp_path / "ct.nrrd")
    written = nibabel.load(result_of(path, read_volume(path)))
    assert written.get_qform(coded=True)[1] == written.get_sform(coded=True)[1] == 1
    assert np.array_equal(written.get_qform(), written.get_sform())


def test_a_grid_that_was_changed_does_not_keep_the_header_of_another(tmp_path):
    volume = read_volume(nifti(tmp_path / "ct.nii", codes=(1, 2), shift=5.0))
    moved = replace(volume, geometry=replace(volume.geometry, origin_xyz_mm=(1.0, 2.0, 3.0)))
    written = read_volume(write_volume(moved, tmp_path / "moved.nii"))
    assert written.geometry.origin_xyz_mm == (1.0, 2.0, 3.0) and written.notes == ()
    assert volume.canonical().geometry.nifti is None


@pytest.mark.parametrize("shear", [0.15, 0.2, 0.3])
def test_a_shear_that_moves_voxels_is_refused_unless_there_is_a_qform(tmp_path, shear):
    refused(nifti(tmp_path / "a.nii", codes=(0, 1), shear=shear), "not perpendicular")
    straight = read_volume(nifti(tmp_path / "b.nii", codes=(1, 1), shear=shear))
    assert straight.geometry.origin_xyz_mm == (-19.0, -20.0, 3.0)


@pytest.mark.parametrize("shear", [0.0, 0.001, 0.01, 0.02, 0.05])
def test_a_shear_that_moves_no_voxel_by_a_tenth_of_a_millimetre_is_taken_out(tmp_path, shear):
    path = nifti(tmp_path / "a.nii", codes=(0, 1), shear=shear)
    found = read_volume(path)
    axes = np.asarray(found.geometry.direction)
    assert np.allclose(axes.T @ axes, np.eye(3), atol=2e-4) and found.notes == ()
    by_header = nibabel.load(path).affine
    ours = np.diag([-1, -1, 1, 1]) @ found.geometry.index_to_world()
    for corner in np.ndindex(2, 2, 2):
        index = [*np.multiply(corner, np.subtract(SHAPE[::-1], 1)), 1]
        assert np.linalg.norm((ours - by_header) @ index) < 0.1
    assert np.array_equal(nibabel.load(result_of(path, found)).affine, by_header)


@pytest.mark.parametrize("order", "<>")
def test_compression_is_what_the_bytes_say_and_not_the_name(tmp_path, order):
    plain = nifti(tmp_path / "a.nii", order)
    packed = nifti(tmp_path / "b.nii.gz", order)
    packed.rename(tmp_path / "c.nii")
    plain.rename(tmp_path / "d.nii.gz")
    for name in ("c.nii", "d.nii.gz"):
        assert np.array_equal(read_volume(tmp_path / name).hu, HU)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("codes", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_nifti_2_is_read(tmp_path, order, ending, codes):
    nifti2(tmp_path / f"a{ending}", order, codes=codes)
    found = read_volume(tmp_path / f"a{ending}")
    theirs = nibabel.load(tmp_path / f"a{ending}")
    assert np.array_equal(found.hu, np.asarray(theirs.dataobj).T)
    assert found.geometry.spacing_zyx_mm == (3.0, 1.5, 1.0)
    if codes != (0, 0):
        assert np.allclose(np.diag([-1, -1, 1, 1]) @ found.geometry.index_to_world(), theirs.affine, atol=1e-6)
        assert np.array_equal(nibabel.load(result_of(tmp_path / "a.nii", found)).affine, theirs.affine)


def test_nifti_2_of_nibabel_is_read(tmp_path):
    affine = np.diag([-1.0, -1.5, 3.0, 1.0])
    nibabel.Nifti2Image(HU.T, affine).to_filename(tmp_path / "a.nii.gz")
    assert np.array_equal(read_volume(tmp_path / "a.nii.gz").hu, HU)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("endings", [".hdr .img", ".hdr.gz .img.gz", ".hdr .img.gz", ".hdr.gz .img", ".HDR .IMG"])
def test_pairs_are_one_ct_whichever_file_is_named(tmp_path, endings, order):
    head, voxels = endings.split()
    raw = header(order=order, magic=b"ni1\0")[:348]
    (tmp_path / f"a{head}").write_bytes(gzip.compress(raw) if head.endswith("gz") else raw)
    data = HU.astype(f"{order}i2").tobytes()
    (tmp_path / f"a{voxels}").write_bytes(gzip.compress(data) if voxels.endswith("gz") else data)
    for ending in (head, voxels):
        found = read_volume(tmp_path / f"a{ending}")
        assert np.array_equal(found.hu, HU) and found.name == "a"
        assert found.geometry.origin_xyz_mm == (-19.0, -20.0, 3.0)
    assert ending_of(f"a{head}") in IMAGE_ENDINGS and ending_of(f"a{voxels}") not in IMAGE_ENDINGS


def test_pairs_of_nibabel_and_itk_and_of_nifti_2_are_read(tmp_path):
    nibabel.Nifti1Pair(HU.T, np.diag([-1.0, -1.5, 3.0, 1.0])).to_filename(tmp_path / "a.hdr")
    nibabel.Nifti2Pair(HU.T, np.diag([-1.0, -1.5, 3.0, 1.0])).to_filename(tmp_path / "b.hdr")
    sitk.WriteImage(sitk.GetImageFromArray(HU), str(tmp_path / "c.hdr"))
    for name in ("a", "b", "c"):
        assert np.array_equal(read_volume(tmp_path / f"{name}.hdr").hu, HU)


def test_damaged_pairs_are_refused_in_words(tmp_path):
    raw = header(magic=b"ni1\0")[:348]
    (tmp_path / "a.hdr").write_bytes(raw)
    refused(tmp_path / "a.hdr", "'a.img', are missing")
    (tmp_path / "a.img").write_bytes(HU.tobytes()[:-1])
    with pytest.raises(InputError, match=r"a\.img.*too short"):
        read_volume(tmp_path / "a.hdr")
    (tmp_path / "b.img").write_bytes(HU.tobytes())
    refused(tmp_path / "b.img", "no CT that can be read")
    (tmp_path / "c.hdr").write_bytes(raw[:344] + b"\0\0\0\0")
    (tmp_path / "c.img").write_bytes(HU.tobytes())
    refused(tmp_path / "c.hdr", "Analyze header, which does not say which side is left")
    (tmp_path / "d.nii").write_bytes(raw + b"\0\0\0\0" + HU.tobytes())
    refused(tmp_path / "d.nii", "header of two files")
    (tmp_path / "e.hdr").write_bytes(b"ENVI\nsamples = 7\n" + b" " * 600)
    refused(tmp_path / "e.hdr", "not a NIfTI-1 file")


@pytest.mark.parametrize(
    ("offset", "kind", "values", "words"),
    [
        (256, "3f", (float("nan"), 0, 0), "qform"),
        (256, "3f", (5, 5, 5), "qform"),
        (268, "f", (float("inf"),), "qform"),
        (80, "3f", (float("nan"), 1, 1), "voxel spacing"),
        (80, "3f", (1e30, 1e30, 1e30), "voxel spacing"),
        (108, "f", (1e19,), "where the voxels begin"),
        (108, "f", (1e9,), "too short"),
        (70, "h", (1792,), "complex"),
    ],
)
def test_damaged_numbers(tmp_path, offset, kind, values, words):
    raw = bytearray(header(codes=(1, 0)))
    struct.pack_into(f"<{kind}", raw, offset, *values)
    (tmp_path / "a.nii").write_bytes(bytes(raw) + HU.tobytes())
    refused(tmp_path / "a.nii", words)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30, 0.0])
def test_an_sform_without_axes_is_damage_unless_there_is_a_qform(tmp_path, value):
    raw = bytearray(header(codes=(0, 1)))
    struct.pack_into("<12f", raw, 280, *[value] * 12)
    (tmp_path / "a.nii").write_bytes(bytes(raw) + HU.tobytes())
    refused(tmp_path / "a.nii", "sform", force=True)
    struct.pack_into("<2h", raw, 252, 1, 1)
    (tmp_path / "b.nii").write_bytes(bytes(raw) + HU.tobytes())
    found = read_volume(tmp_path / "b.nii", force=True)
    assert found.geometry.origin_xyz_mm == (-19.0, -20.0, 3.0)
    assert read_volume(write_volume(found, tmp_path / "c.nii")).geometry.same_as(found.geometry)


def test_an_axis_longer_than_nifti_can_state_is_told(tmp_path):
    shape = (2, 2, 40000)
    with pytest.raises(OutputError, match=r"32767.*\.nrrd"):
        write_volume(Volume(np.zeros(shape, np.int16), Geometry(shape, (1.0, 1.0, 1.0))), tmp_path / "a.nii")
    assert not list(tmp_path.iterdir())
