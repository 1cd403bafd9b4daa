"""What Slicer's own views draw of a result: the right colour at the right place."""

import sys
from pathlib import Path

import numpy as np
import pytest
import slicer
import vtk

sys.path.insert(0, str(Path(__file__).parent))

from helpers import LIVER, SPLEEN, TUMOUR, ct_node, labels_array, labels_for
from views import slice_picture, view_3d_picture

from FlarePanCancerLib import scene as segments
from flareseg.labels import by_name

ARRAY = labels_array()
INSIDE = {"liver": (8, 15, 10), "spleen": (9, 12, 22), "tumour": (8, 10, 7)}
OUTSIDE = (8, 3, 15)
FILL = 0.5


@pytest.fixture
def a_ct(scene):
    return ct_node(np.full(ARRAY.shape, 40, np.int16))


@pytest.fixture
def a_segmentation(a_ct, tmp_path):
    for name, voxel in INSIDE.items():
        assert ARRAY[voxel] == by_name(name).value
    node = segments.new_segmentation(a_ct)
    segments.fill(node, labels_for(a_ct, ARRAY, tmp_path))
    return node


def ras_of(ct, voxel_kji):
    matrix = vtk.vtkMatrix4x4()
    ct.GetIJKToRASMatrix(matrix)
    return matrix.MultiplyPoint([*map(float, reversed(voxel_kji)), 1.0])[:3]


@pytest.mark.parametrize("orientation", ["Axial", "Coronal", "Sagittal"])
@pytest.mark.parametrize("name", INSIDE)
def test_each_structure_has_its_colour_at_its_place_in_every_slice_view(a_ct, a_segmentation, name, orientation):
    at = ras_of(a_ct, INSIDE[name])
    picture, place = slice_picture(slicer.mrmlScene, a_ct, orientation, at_ras=at, window=(-100, 200))
    grey = np.full(3, 255 * 140 / 300)
    expected = FILL * np.array(by_name(name).colour) + (1 - FILL) * grey
    assert np.abs(picture[place(at)] - expected).max() < 12


def test_beside_the_structures_the_ct_stays_grey(a_ct, a_segmentation):
    at = ras_of(a_ct, OUTSIDE)
    picture, place = slice_picture(slicer.mrmlScene, a_ct, "Axial", at_ras=at, window=(-100, 200))
    assert np.ptp(picture[place(at)].astype(int)) <= 2


def test_a_hidden_structure_is_not_drawn(a_ct, a_segmentation):
    a_segmentation.GetDisplayNode().SetSegmentVisibility("spleen", False)
    at = ras_of(a_ct, INSIDE["spleen"])
    picture, place = slice_picture(slicer.mrmlScene, a_ct, "Axial", at_ras=at, window=(-100, 200))
    assert np.ptp(picture[place(at)].astype(int)) <= 2


def test_in_3d_the_tumour_shines_through_its_organ(a_segmentation):
    segments.show_surfaces(a_segmentation)
    display = a_segmentation.GetDisplayNode()
    with_tumour = view_3d_picture(slicer.mrmlScene).astype(float)
    display.SetSegmentVisibility("tumour", False)
    without = view_3d_picture(slicer.mrmlScene).astype(float)
    drawn = without.max(axis=2) > 30
    changed = np.abs(with_tumour - without).max(axis=2) > 25
    assert drawn.mean() > 0.1
    assert 0.005 < changed.mean() < 0.5 * drawn.mean()
    assert (drawn[changed]).mean() > 0.95  # it lies inside the liver
    greener = with_tumour[changed] - without[changed]
    assert greener[:, 1].mean() > greener[:, 0].mean() + 20  # and shines through it in its own colour


def test_nothing_is_drawn_where_nothing_was_found(a_ct, tmp_path):
    node = segments.new_segmentation(a_ct)
    segments.fill(node, labels_for(a_ct, np.zeros_like(ARRAY), tmp_path))
    at = ras_of(a_ct, INSIDE["liver"])
    picture, _ = slice_picture(slicer.mrmlScene, a_ct, "Axial", at_ras=at, window=(-100, 200))
    assert np.ptp(picture.astype(int), axis=2).max() <= 2
    assert {LIVER, SPLEEN, TUMOUR} == set(np.unique(ARRAY)) - {0}
