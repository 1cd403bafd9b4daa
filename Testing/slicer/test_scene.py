"""What the engine found becomes segments exactly where it was found, with names, colours and codes."""

import sys
from pathlib import Path

import numpy as np
import pytest
import slicer
import vtk

sys.path.insert(0, str(Path(__file__).parent))

from helpers import (
    LIVER,
    SPLEEN,
    TUMOUR,
    ct_node,
    exported,
    ijk_to_ras,
    labels_array,
    labels_for,
    orientations,
    rotation,
)

from FlarePanCancerLib import scene as segments
from flareseg.labels import by_name, by_names

ARRAY = labels_array()
IDS = {"liver": LIVER, "spleen": SPLEEN, "tumour": TUMOUR}


@pytest.fixture
def a_ct(scene):
    return ct_node()


@pytest.fixture
def a_segmentation(a_ct, tmp_path):
    node = segments.new_segmentation(a_ct)
    segments.fill(node, labels_for(a_ct, ARRAY, tmp_path))
    return node


def segment_ids(node):
    return [node.GetSegmentation().GetNthSegmentID(n) for n in range(node.GetSegmentation().GetNumberOfSegments())]


# where


@pytest.mark.parametrize("direction", list(orientations()), ids=str)
def test_every_voxel_is_in_its_place_however_the_volume_lies_in_its_file(scene, tmp_path, direction):
    ct = ct_node(matrix=ijk_to_ras(direction))
    node = segments.new_segmentation(ct)
    segments.fill(node, labels_for(ct, ARRAY, tmp_path))
    for name, value in IDS.items():
        assert np.array_equal(exported(node, ct, name), value == ARRAY)


def test_an_oblique_volume_keeps_every_voxel_in_its_place(scene, tmp_path):
    ct = ct_node(matrix=ijk_to_ras(rotation(17, (1, 2, 3)) @ np.diag([-1, -1, 1])))
    node = segments.new_segmentation(ct)
    segments.fill(node, labels_for(ct, ARRAY, tmp_path))
    for name, value in IDS.items():
        assert np.array_equal(exported(node, ct, name), value == ARRAY)


def test_the_grid_is_the_cts_to_a_billionth_of_a_millimetre(scene, tmp_path):
    matrix = ijk_to_ras(rotation(17, (1, 2, 3)))
    ct = ct_node(matrix=matrix)
    node = segments.new_segmentation(ct)
    segments.fill(node, labels_for(ct, ARRAY, tmp_path))
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation("liver", image)
    found = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(found)
    assert np.abs(slicer.util.arrayFromVTKMatrix(found) - matrix).max() < 1e-9


def test_what_transforms_the_ct_transforms_the_segments(scene, tmp_path):
    ct = ct_node()
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation(30, (0, 0, 1)), (100, 20, 5)
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    ct.SetAndObserveTransformNodeID(transform.GetID())
    node = segments.new_segmentation(ct)
    segments.fill(node, labels_for(ct, ARRAY, tmp_path))
    assert node.GetTransformNodeID() == transform.GetID()
    assert np.array_equal(exported(node, ct, "spleen"), ARRAY == SPLEEN)


# what


def test_segments_have_names_colours_and_codes(a_segmentation):
    for name in IDS:
        structure = by_name(name)
        segment = a_segmentation.GetSegmentation().GetSegment(name)
        assert segment.GetName() == structure.title
        assert segment.GetColor() == pytest.approx([part / 255 for part in structure.colour])
        assert f"~SCT^{structure.type.value}^" in entry_of(segment)


def test_sides_are_modifiers(scene, tmp_path):
    ct = ct_node()
    node = segments.new_segmentation(ct)
    segments.fill(node, labels_for(ct, np.where(ARRAY == LIVER, 2, np.where(ARRAY == SPLEEN, 13, 0)), tmp_path))
    right, left = (node.GetSegmentation().GetSegment(name) for name in ("right_kidney", "left_kidney"))
    assert "~SCT^24028007^Right~" in entry_of(right)
    assert "~SCT^7771000^Left~" in entry_of(left)


def entry_of(segment):
    found = vtk.reference("")
    assert segment.GetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), found)
    return str(found)


def test_structures_that_were_not_found_are_left_out_and_reported(a_ct, tmp_path):
    node = segments.new_segmentation(a_ct)
    found = segments.fill(node, labels_for(a_ct, ARRAY, tmp_path), by_names(["liver", "spleen", "pancreas"]))
    assert [structure.name for structure in found] == ["liver", "spleen"]
    assert segment_ids(node) == ["liver", "spleen"]


def test_nothing_found_gives_no_segment(a_ct, tmp_path):
    node = segments.new_segmentation(a_ct)
    assert segments.fill(node, labels_for(a_ct, np.zeros_like(ARRAY), tmp_path)) == []
    assert segment_ids(node) == []


def test_the_tumour_lies_over_the_organs(a_segmentation):
    assert segment_ids(a_segmentation)[-1] == "tumour"
    display = a_segmentation.GetDisplayNode()
    assert display.GetSegmentOpacity3D("tumour") == 1
    assert display.GetSegmentOpacity3D("liver") < 1


def test_without_a_tumour_organs_are_solid(a_ct, tmp_path):
    node = segments.new_segmentation(a_ct)
    segments.fill(node, labels_for(a_ct, np.where(ARRAY == TUMOUR, LIVER, ARRAY), tmp_path))
    assert node.GetDisplayNode().GetSegmentOpacity3D("liver") == 1


# into a segmentation that is there


def painted(node, name, segment_id):
    """A segment that somebody has drawn."""
    segment = slicer.vtkSegment()
    segment.SetName(name)
    node.GetSegmentation().AddSegment(segment, segment_id)
    return segment_id


def test_segments_of_others_stay_and_own_ones_are_replaced(a_segmentation, a_ct, tmp_path):
    painted(a_segmentation, "mine", "mine")
    moved = np.where(ARRAY == LIVER, SPLEEN, np.where(ARRAY == SPLEEN, LIVER, 0)).astype(np.uint8)
    segments.fill(a_segmentation, labels_for(a_ct, moved, tmp_path))
    assert sorted(segment_ids(a_segmentation)) == ["liver", "mine", "spleen"]
    assert np.array_equal(exported(a_segmentation, a_ct, "liver"), ARRAY == SPLEEN)


def test_of_structures_that_were_not_looked_for_earlier_segments_stay(a_segmentation, a_ct, tmp_path):
    spleen = labels_for(a_ct, np.where(ARRAY == SPLEEN, SPLEEN, 0), tmp_path)
    segments.fill(a_segmentation, spleen, by_names(["spleen"]))
    assert sorted(segment_ids(a_segmentation)) == ["liver", "spleen", "tumour"]


def test_somebody_elses_liver_is_not_touched(a_ct, tmp_path):
    node = segments.new_segmentation(a_ct)
    painted(node, "Liver", "liver")
    segments.fill(node, labels_for(a_ct, ARRAY, tmp_path))
    assert len(segment_ids(node)) == 4
    assert set(segments.own_segments(node).values()) == {"liver", "spleen", "tumour"}
    assert "liver" not in segments.own_segments(node)


# around it


def test_it_lies_in_the_study_of_its_ct_and_refers_to_it(scene, tmp_path):
    ct = ct_node()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "patient")
    study = hierarchy.CreateStudyItem(patient, "study")
    hierarchy.CreateItem(study, ct)  # in Slicer every new volume has an item
    node = segments.new_segmentation(ct)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    assert node.GetNodeReference(role) is ct


def test_surfaces_are_closed_smooth_and_as_large_as_the_segments(a_segmentation):
    segments.show_surfaces(a_segmentation)
    surface = vtk.vtkPolyData()
    a_segmentation.GetClosedSurfaceRepresentation("liver", surface)
    edges = vtk.vtkFeatureEdges()
    edges.SetInputData(surface)
    edges.FeatureEdgesOff()
    edges.ManifoldEdgesOff()
    edges.Update()
    assert surface.GetNumberOfPolys() > 100
    assert edges.GetOutput().GetNumberOfCells() == 0  # no border, no edge of three faces
    mass = vtk.vtkMassProperties()
    mass.SetInputData(surface)
    expected = (ARRAY == LIVER).sum() * 1.2 * 0.9 * 2.5
    assert mass.GetVolume() == pytest.approx(expected, rel=0.15)
    assert a_segmentation.GetDisplayNode().GetPreferredDisplayRepresentationName3D() == "Closed surface"


@pytest.mark.parametrize("ending", [".seg.nrrd", ".mrb"])
def test_codes_colours_and_voxels_survive_a_file(scene, a_ct, a_segmentation, tmp_path, ending):
    if ending == ".mrb":
        assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
        scene.Clear(False)
        assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"), True)
        node = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")[0]
        ct = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")[0]
    else:
        storage = slicer.vtkMRMLSegmentationStorageNode()
        storage.SetFileName(str(tmp_path / "s.seg.nrrd"))
        assert storage.WriteData(a_segmentation)
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        assert storage.ReadData(node)
        ct = a_ct
    for name, value in IDS.items():
        segment = node.GetSegmentation().GetSegment(name)
        assert f"~SCT^{by_name(name).type.value}^" in entry_of(segment)
        assert segment.GetColor() == pytest.approx([part / 255 for part in by_name(name).colour], abs=1e-5)
        assert np.array_equal(exported(node, ct, name), value == ARRAY)
    assert set(segments.own_segments(node).values()) == set(IDS)
