"""Surface, enclosed volume and diameters of a mask are those of its mesh, wherever it lies, whatever its voxels."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from radiomics_masks import ellipsoid, noise
from scipy.spatial.distance import pdist

from flareseg.results.mesh import largest_diameter_mm, largest_diameters_in_planes_mm, mesh_of
from flareseg.results.surface import block_codes, element_areas_mm2

THICK = (5.0, 0.7, 0.9)
BLOBS = [
    ellipsoid((9, 14, 16), (3.5, 6.2, 7.1)),
    noise((7, 8, 9), 1) < 150,
    noise((7, 8, 9), 2) < 850,
    np.ones((1, 5, 6), bool),
    np.ones((4, 1, 1), bool),
]


def vertices(mask, spacing):
    """Half-way between every voxel of a mask and each neighbour outside, mm."""
    padded, found = np.pad(mask, 1), []
    for axis in range(3):
        for step in (1, -1):
            there = np.argwhere(padded & ~np.roll(padded, -step, axis)).astype(float)
            there[:, axis] += step / 2
            found.append(there)
    return np.concatenate(found) * np.asarray(spacing)


def test_one_voxel_has_the_mesh_of_an_octahedron():
    one = np.ones((1, 1, 1), bool)
    found = mesh_of(one, (1.0, 1.0, 1.0))
    assert (found.area_mm2, found.volume_mm3) == (pytest.approx(np.sqrt(3)), pytest.approx(1 / 6))
    assert largest_diameter_mm(one, THICK) == pytest.approx(5.0)
    assert largest_diameters_in_planes_mm(one, THICK) == pytest.approx((0.9, 5.0, 5.0))


def test_a_block_has_the_mesh_of_a_block_with_its_edges_cut_off():
    found = mesh_of(np.ones((4, 5, 6), bool), (2.0, 1.0, 1.0))
    plain = 8 * 5 * 6
    assert 0.9 * plain < found.volume_mm3 < plain
    assert 0.85 * 2 * (8 * 5 + 8 * 6 + 5 * 6) < found.area_mm2 < 2 * (8 * 5 + 8 * 6 + 5 * 6)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 0.8, 0.8)])
def test_a_large_ball_has_nearly_the_surface_and_volume_of_a_ball(spacing):
    radius = 20.0
    counts = tuple(int(2 * radius / mm) + 3 for mm in spacing)
    found = mesh_of(ellipsoid(counts, tuple(radius / mm for mm in spacing)), spacing)
    assert found.volume_mm3 == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.02)
    # Steps make a surface of voxels larger than that of the ball.
    assert 4 * np.pi * radius**2 < found.area_mm2 < 1.15 * 4 * np.pi * radius**2


def test_where_no_corners_touch_it_is_the_surface_of_the_surface_dsc():
    mask = BLOBS[0]
    expected = element_areas_mm2(THICK)[block_codes(mask)].sum()
    assert mesh_of(mask, THICK).area_mm2 == pytest.approx(expected)


@pytest.mark.parametrize("number", range(len(BLOBS)))
def test_the_largest_diameter_is_that_of_all_pairs_of_vertices(number):
    mask = BLOBS[number]
    assert largest_diameter_mm(mask, THICK) == pytest.approx(pdist(vertices(mask, THICK)).max())


@pytest.mark.parametrize("number", range(len(BLOBS)))
def test_diameters_in_planes_are_those_of_pairs_in_one_plane(number):
    mask = BLOBS[number]
    points = vertices(mask, THICK)
    first, second = np.triu_indices(len(points), 1)
    apart = np.linalg.norm(points[first] - points[second], axis=1)
    for axis, found in enumerate(largest_diameters_in_planes_mm(mask, THICK)):
        together = np.isclose(points[first, axis], points[second, axis])
        assert found == pytest.approx(apart[together].max())


def test_a_mask_measures_the_same_wherever_it_lies():
    mask = BLOBS[1]
    moved = np.pad(mask, ((3, 0), (0, 2), (1, 4)))
    for measure in (largest_diameter_mm, lambda *of: mesh_of(*of).area_mm2):
        assert measure(moved, THICK) == pytest.approx(measure(mask, THICK))
