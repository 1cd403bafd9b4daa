"""Structure sets for planning: contours that enclose exactly the pixels of each segment, holes cut in by keyholes."""

import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parent))

from dicom_results import LIVER, PATIENT, RIGHT_KIDNEY, TUMOUR, complaints, make, segmented

from flareseg.errors import InputError
from flareseg.io.dicom_results.contours import outlines
from flareseg.io.dicom_results.rtstruct import write_rtstruct
from flareseg.labels import by_name


def filled(polygons, shape):
    """The pixels whose centres lie inside polygons of (n, 2) x, y, by the even-odd rule."""
    rows, columns = np.indices(shape)
    crossings = np.zeros(shape, int)
    for polygon in polygons:
        for (x1, y1), (x2, y2) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            between = (y1 <= rows) != (y2 <= rows)
            crossings += between & (x1 + (rows - y1) * (x2 - x1) / ((y2 - y1) or 1) > columns)
    return crossings % 2 == 1


def area(polygon):
    x, y = polygon.T
    return (np.dot(x, np.roll(y, -1)) - np.dot(np.roll(x, -1), y)) / 2


def test_outlines_enclose_the_pixels_of_any_mask_one_for_each_region():
    rng = np.random.default_rng(5)
    for _ in range(60):
        mask = rng.random((9, 11)) < rng.choice([0.2, 0.5, 0.7, 0.85, 0.95])
        polygons = outlines(mask)
        assert np.array_equal(filled(polygons, mask.shape), mask)
        assert len(polygons) == ndimage.label(mask, np.ones((3, 3)))[1], "holes are no polygons of their own"
        assert all(area(polygon) > 0 for polygon in polygons)


def test_an_outline_has_corners_only_where_it_turns():
    mask = np.zeros((6, 8), bool)
    mask[1:5, 2:7] = True
    [polygon] = outlines(mask)
    assert len(polygon) == 8, "a rectangle whose corners are cut off"
    assert area(polygon) == mask.sum() - 4 / 8
    assert outlines(np.zeros((3, 3), bool)) == []


def test_a_hole_is_cut_in_by_a_channel_of_no_width():
    mask = np.ones((7, 7), bool)
    mask[3, 3] = False
    [polygon] = outlines(mask)
    assert area(polygon) == 49 - 4 / 8 - 1 / 2
    channel = [tuple(point) for point in polygon.tolist()]
    doubled = {point for point in channel if channel.count(point) == 2}
    assert doubled == {(3.0, 2.5), (6.5, 2.5)}, "there and back between two rows of pixels"


def drawn(structure_set, segmentation):
    """The label map that contours make, on the planes of the images to which they refer."""
    volume_to_index = np.linalg.inv(segmentation.geometry.index_to_world())
    places = {one.instance_uid: z for z, one in enumerate(segmentation.source.slices)}
    values = {}
    for region in structure_set.StructureSetROISequence:
        lesion = region.ROIName.startswith(("Lesion", "Tumour"))
        values[region.ROINumber] = TUMOUR if lesion else by_name(region.ROIName).value
    labels = np.zeros(segmentation.labels.shape, np.uint8)
    for item in structure_set.ROIContourSequence:
        by_plane = {}
        for contour in item.ContourSequence:
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            assert len(points) == contour.NumberOfContourPoints and contour.ContourGeometricType == "CLOSED_PLANAR"
            index = (np.c_[points, np.ones(len(points))] @ volume_to_index.T)[:, :3]
            z = places[str(contour.ContourImageSequence[0].ReferencedSOPInstanceUID)]
            assert np.allclose(index[:, 2], z, atol=1e-3)
            by_plane.setdefault(z, []).append(index[:, :2])
        for z, polygons in by_plane.items():
            labels[z][filled(polygons, labels.shape[1:])] = values[item.ReferencedROINumber]
    return labels


@pytest.mark.parametrize(
    "scan",
    [{}, {"orientation": (-1, 0, 0, 0, -1, 0)}, {"orientation": (0.96, 0.28, 0, -0.28, 0.96, 0)}],
    ids=["supine", "prone", "oblique"],
)
def test_contours_enclose_exactly_the_voxels_of_the_label_map(tmp_path, scan):
    _, segmentation = make(tmp_path / "ct", **scan)
    write_rtstruct(tmp_path / "a.dcm", segmentation)
    structure_set = pydicom.dcmread(tmp_path / "a.dcm")
    assert np.array_equal(drawn(structure_set, segmentation), segmentation.labels)
    assert complaints(tmp_path / "a.dcm") == []


def test_slices_of_a_tilted_gantry_have_their_contours_where_the_body_is(tmp_path):
    _, segmentation = make(tmp_path / "ct", aside=lambda depth: (0.0, 0.3 * depth))
    write_rtstruct(tmp_path / "a.dcm", segmentation)
    assert np.array_equal(drawn(pydicom.dcmread(tmp_path / "a.dcm"), segmentation), segmentation.labels)


def test_structures_have_names_colours_and_kinds(tmp_path):
    _, segmentation = make(tmp_path / "ct")
    write_rtstruct(tmp_path / "a.dcm", segmentation)
    made = pydicom.dcmread(tmp_path / "a.dcm")
    assert [region.ROIName for region in made.StructureSetROISequence] == [
        *("Liver", "Right kidney", "Lesion 1", "Lesion 2"),
        "Tumour, parts too small for a lesion",
    ]
    kinds = [one.RTROIInterpretedType for one in made.RTROIObservationsSequence]
    assert kinds == ["ORGAN", "ORGAN", "GTV", "GTV", "GTV"]
    assert [list(one.ROIDisplayColor) for one in made.ROIContourSequence][:2] == [
        list(by_name("liver").colour),
        list(by_name("right_kidney").colour),
    ]
    assert {one.ROIGenerationAlgorithm for one in made.StructureSetROISequence} == {"AUTOMATIC"}
    assert made.ApprovalStatus == "UNAPPROVED"
    assert (made.PatientName, made.StudyInstanceUID) == (PATIENT["PatientName"], PATIENT["StudyInstanceUID"])
    [space] = made.ReferencedFrameOfReferenceSequence
    assert space.FrameOfReferenceUID == PATIENT["FrameOfReferenceUID"]
    [series] = space.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    assert series.SeriesInstanceUID == PATIENT["SeriesInstanceUID"]
    referred = [str(one.ReferencedSOPInstanceUID) for one in series.ContourImageSequence]
    assert referred == [one.instance_uid for one in segmentation.source.slices]
    assert {LIVER, RIGHT_KIDNEY} < set(np.unique(segmentation.labels))


def test_a_result_without_structures_is_a_set_without_structures(tmp_path):
    volume, _ = make(tmp_path / "ct")
    write_rtstruct(tmp_path / "a.dcm", segmented(volume, np.zeros(volume.hu.shape, np.uint8)))
    assert len(pydicom.dcmread(tmp_path / "a.dcm").StructureSetROISequence) == 0


def test_sagittal_images_are_refused_in_one_line(tmp_path):
    _, segmentation = make(tmp_path / "ct", orientation=(0, 1, 0, 0, 0, -1))
    with pytest.raises(InputError, match="axial series") as caught:
        write_rtstruct(tmp_path / "a.dcm", segmentation)
    assert "\n" not in str(caught.value) and not (tmp_path / "a.dcm").exists()
