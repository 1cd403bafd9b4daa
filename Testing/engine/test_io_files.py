"""What is written is what is read, on the same grid, in every format."""

from itertools import permutations, product

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from flareseg.errors import InputError, UsageError
from flareseg.io.files import LABEL_ENDINGS, ending_of, read_labels, read_volume, write_segmentation, write_volume
from flareseg.io.writers import endings_for
from flareseg.labels import by_names, structures
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Volume, as_rows

SHAPE = (5, 6, 7)
SPACING = (2.5, 0.71, 0.83)
ORIGIN = (-123.4, 56.78, -901.2)
OBLIQUE = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]


def orientations():
    """The 48 ways to lay axes, an oblique one, its mirror image, and one turned by half a circle."""
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        yield np.eye(3)[:, order] * signs
    yield OBLIQUE
    yield OBLIQUE * [1, 1, -1]
    yield OBLIQUE @ np.diag([-1.0, -1.0, 1.0]) @ OBLIQUE.T


def grid(direction=None, shape=SHAPE):
    return Geometry(shape, SPACING, ORIGIN, as_rows(np.eye(3) if direction is None else direction))


def ct(geometry):
    values = np.random.default_rng(0).integers(-1000, 400, geometry.shape_zyx)
    return Volume(values.astype(np.int16), geometry)


@pytest.fixture
def segmentation():
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:3, 2:5, 1:4] = 1
    labels[4, 1, 5:7] = 13
    return Segmentation(labels, grid(OBLIQUE), structures(), name="Fall")


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd"])
def test_every_orientation_survives_a_round_trip(tmp_path, ending):
    for number, direction in enumerate(orientations()):
        volume = ct(grid(direction))
        path = write_volume(volume, tmp_path / f"{number}{ending}")
        found = read_volume(path)
        assert np.array_equal(found.hu, volume.hu) and found.hu.dtype == np.int16
        assert found.geometry.same_as(volume.geometry, 1e-4)
        assert found.notes == ()


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("compressed", [False, True])
def test_files_of_simpleitk_are_read_as_simpleitk_reads_them(tmp_path, ending, compressed):
    for number, direction in enumerate([*orientations()][-12:]):
        image = sitk.GetImageFromArray(ct(grid()).hu)
        image.SetSpacing(SPACING[::-1])
        image.SetOrigin(ORIGIN)
        image.SetDirection(direction.ravel())
        path = tmp_path / f"{number}{ending}"
        sitk.WriteImage(image, str(path), useCompression=compressed)
        found = read_volume(path)
        assert np.array_equal(found.hu, sitk.GetArrayFromImage(image))
        assert found.geometry.same_as(grid(direction), 1e-3)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_both_nifti_transforms_agree_with_the_grid_in_other_readers(tmp_path, ending):
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    for number, direction in enumerate(orientations()):
        geometry = grid(direction)
        path = write_volume(ct(geometry), tmp_path / f"{number}{ending}")
        image = nibabel.load(path)
        assert np.allclose(image.get_sform(), flip @ geometry.index_to_world(), atol=1e-4)
        assert np.allclose(image.get_qform(), flip @ geometry.index_to_world(), atol=1e-4)
        assert image.header.get_xyzt_units()[0] == "mm"
        assert np.array_equal(np.asarray(image.dataobj).T, ct(geometry).hu)
        assert np.allclose(sitk.ReadImage(str(path)).GetDirection(), direction.ravel(), atol=1e-5)


@pytest.mark.parametrize("ending", LABEL_ENDINGS)
def test_label_maps_survive_and_have_the_same_bytes_twice(tmp_path, segmentation, ending):
    first = write_segmentation(segmentation, tmp_path / f"a{ending}")
    second = write_segmentation(segmentation, tmp_path / f"b{ending}")
    assert first.read_bytes() == second.read_bytes()
    labels, geometry = read_labels(first)
    assert labels.dtype == np.uint8 and np.array_equal(labels, segmentation.labels)
    assert geometry.same_as(segmentation.geometry, 1e-4)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(first))), segmentation.labels)


def test_views_in_another_order_are_written_as_what_they_show(tmp_path):
    values = ct(grid()).hu[::-1, :, ::-1].transpose(2, 0, 1)
    geometry = grid(shape=values.shape)
    found = read_volume(write_volume(Volume(values, geometry), tmp_path / "a.nii.gz"))
    assert np.array_equal(found.hu, values)


def test_a_slicer_segmentation_names_what_is_present(tmp_path, segmentation):
    image = sitk.ReadImage(str(write_segmentation(segmentation, tmp_path / "a.seg.nrrd")))
    fields = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    liver, left_kidney = by_names(["liver", "left_kidney"])
    for number, structure in enumerate((liver, left_kidney)):
        assert fields[f"Segment{number}_ID"] == structure.name
        assert fields[f"Segment{number}_Name"] == structure.title
        assert fields[f"Segment{number}_LabelValue"] == str(structure.value)
        colour = [float(part) for part in fields[f"Segment{number}_Color"].split()]
        assert np.allclose(colour, np.divide(structure.colour, 255), atol=1e-5)
        assert fields[f"Segment{number}_Layer"] == "0"
        assert fields[f"Segment{number}_NameAutoGenerated"] == fields[f"Segment{number}_ColorAutoGenerated"] == "0"
        # one layer, one extent: first and last x, y, z of all its segments
        assert fields[f"Segment{number}_Extent"] == "1 6 1 4 1 4"
    assert "Segment2_ID" not in fields
    assert fields["Segment0_Tags"] == (
        "Segmentation.Status:inprogress|TerminologyEntry:"
        "Segmentation category and type - DICOM master list"
        "~SCT^123037004^Anatomical Structure~SCT^10200004^Liver~^^"
        "~Anatomic codes - DICOM master list~^^~^^|"
    )
    assert fields["Segmentation_ContainedRepresentationNames"] == "Binary labelmap|"
    assert (
        fields["Segmentation_SourceRepresentation"] == fields["Segmentation_MasterRepresentation"] == "Binary labelmap"
    )
    assert fields["Segmentation_ReferenceImageExtentOffset"] == "0 0 0"


def test_the_pixels_are_those_of_the_named_file_though_another_ending_lies_beside_it(tmp_path):
    # ITK's NIfTI reader takes a.nii for the voxels of a.nii.gz where both are there.
    first, second = ct(grid()), ct(grid())
    second = Volume((second.hu // 2).astype(np.int16), second.geometry)
    write_volume(first, tmp_path / "a.nii.gz")
    write_volume(second, tmp_path / "a.nii")
    assert np.array_equal(read_volume(tmp_path / "a.nii.gz").hu, first.hu)
    assert np.array_equal(read_volume(tmp_path / "a.nii").hu, second.hu)


def test_segments_of_others_are_known_by_their_names(tmp_path):
    image = sitk.GetImageFromArray(np.arange(60, dtype=np.uint8).reshape(3, 4, 5) % 4)
    for number, (name, value) in enumerate([("Spleen", 1), ("Backbone", 2), ("Liver", 3)]):
        fields = {"ID": f"Segment_{number}", "Name": name, "LabelValue": str(value), "Layer": "0"}
        for key, text in fields.items():
            image.SetMetaData(f"Segment{number}_{key}", text)
    sitk.WriteImage(image, str(tmp_path / "a.seg.nrrd"))
    labels, _ = read_labels(tmp_path / "a.seg.nrrd")
    assert labels.ravel()[:4].tolist() == [0, 3, 0, 1]


def test_layers_without_overlap_are_one_label_map_and_overlapping_ones_are_refused(tmp_path):
    layers = np.zeros((*SHAPE, 2), np.uint8)
    layers[1, 1:3, 2, 0], layers[2, 3, 1, 1] = 1, 1
    path = tmp_path / "a.seg.nrrd"

    def save():
        image = sitk.GetImageFromArray(layers, isVector=True)
        for number, name in enumerate(("Spleen", "Liver")):
            fields = {"ID": f"Segment_{number}", "Name": name, "LabelValue": "1", "Layer": str(number)}
            for key, text in fields.items():
                image.SetMetaData(f"Segment{number}_{key}", text)
        sitk.WriteImage(image, str(path))

    save()
    labels, _ = read_labels(path)
    assert np.argwhere(labels == 3).tolist() == [[1, 1, 2], [1, 2, 2]]
    assert np.argwhere(labels == 1).tolist() == [[2, 3, 1]]
    layers[2, 3, 1, 0] = 1
    save()
    with pytest.raises(InputError, match=r"a\.seg\.nrrd' has overlapping segments"):
        read_labels(path)


def test_an_empty_segmentation_can_be_written_and_read(tmp_path):
    nothing = Segmentation(np.zeros(SHAPE, np.uint8), grid(), structures())
    for ending in LABEL_ENDINGS:
        labels, _ = read_labels(write_segmentation(nothing, tmp_path / f"a{ending}"))
        assert not labels.any()


def test_values_become_whole_hu_unless_they_are_fractions(tmp_path):
    volume = ct(grid())
    for kind, offset in (("f4", 0.004), ("f8", 0.0), ("i4", 0), ("i2", 0)):
        image = sitk.GetImageFromArray(volume.hu.astype(kind) + np.dtype(kind).type(offset))
        sitk.WriteImage(image, str(tmp_path / f"{kind}.nrrd"))
        found = read_volume(tmp_path / f"{kind}.nrrd").hu
        assert found.dtype == np.int16 and np.array_equal(found, volume.hu)
    fractions = Volume(volume.hu.astype(np.float32) + np.float32(0.25), volume.geometry)
    found = read_volume(write_volume(fractions, tmp_path / "fractions.nii.gz")).hu
    assert found.dtype == np.float32 and np.array_equal(found, fractions.hu)
    far = volume.hu.astype(np.int32)
    far[0, 0, 0] = 100_000
    sitk.WriteImage(sitk.GetImageFromArray(far), str(tmp_path / "far.nrrd"))
    assert read_volume(tmp_path / "far.nrrd").hu[0, 0, 0] == 32767


def test_slope_and_intercept_of_nifti_are_applied(tmp_path):
    stored = (ct(grid()).hu.T + 1024).astype(np.int16)
    image = nibabel.Nifti1Image(stored, np.diag([-1.0, -1.0, 1.0, 1.0]))
    image.header.set_slope_inter(2, -1024)
    image.to_filename(tmp_path / "a.nii.gz")
    found = read_volume(tmp_path / "a.nii.gz").hu
    raw = np.asarray(nibabel.load(tmp_path / "a.nii.gz").dataobj)
    assert found.dtype == np.int16 and np.array_equal(found, raw.T)


def test_one_frame_in_time_is_a_volume(tmp_path):
    values = ct(grid()).hu.T[..., None]
    nibabel.Nifti1Image(values, np.diag([-1.0, -1.0, 1.0, 1.0])).to_filename(tmp_path / "a.nii.gz")
    assert np.array_equal(read_volume(tmp_path / "a.nii.gz").hu, values[..., 0].T)


@pytest.mark.parametrize("name", ["a b c", "Größe Müller", "肝臓 分割", "x" * 200, "scan.v1.2"])
@pytest.mark.parametrize("ending", LABEL_ENDINGS)
def test_names_may_be_anything_a_file_system_takes(tmp_path, segmentation, name, ending):
    path = write_segmentation(segmentation, tmp_path / f"{name}{ending}")
    assert [file.name for file in tmp_path.iterdir()] == [f"{name}{ending}"]
    assert np.array_equal(read_labels(path)[0], segmentation.labels)
    if ending in endings_for("volume"):
        volume = ct(grid())
        assert read_volume(write_volume(volume, path, overwrite=True)).name == name


def test_endings_are_the_longest_that_fits_in_any_case(tmp_path):
    assert ending_of(tmp_path / "A.NII.GZ") == ".nii.gz"
    assert ending_of(tmp_path / "a.seg.nrrd") == ".seg.nrrd"
    assert ending_of(tmp_path / "a.gz") == ending_of(tmp_path / "nii") == ""


@pytest.mark.parametrize("name", ["a.dicom", "a.mha", "a", "a.png"])
def test_other_endings_are_told_what_can_be_written(tmp_path, segmentation, name):
    with pytest.raises(UsageError, match=r"\.nii\.gz, \.nii, \.seg\.nrrd, .*\.nrrd"):
        write_segmentation(segmentation, tmp_path / name)
    assert not list(tmp_path.iterdir())
