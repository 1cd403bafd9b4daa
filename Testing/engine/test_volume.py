"""Geometry: every orientation leads to the canonical one and back, and voxels stay where they are in the patient."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from flareseg.volume import Geometry, Orientation, Volume, WorldBox, as_rows

AXIS_ALIGNED = [
    np.eye(3)[:, list(order)] * np.array(signs)
    for order in permutations(range(3))
    for signs in product((1, -1), repeat=3)
]
OBLIQUE = list(Rotation.random(12, rng=np.random.default_rng(5)).as_matrix())


def a_volume(direction: np.ndarray) -> Volume:
    geometry = Geometry((4, 5, 6), (3.0, 1.5, 0.7), (10.0, -20.0, 30.0), as_rows(direction))
    return Volume(np.arange(120, dtype=np.int16).reshape(4, 5, 6), geometry)


def voxel_at(volume: Volume, world_xyz_mm: tuple[float, float, float]) -> int:
    index_xyz = np.linalg.inv(volume.geometry.index_to_world()) @ [*world_xyz_mm, 1.0]
    x, y, z = np.rint(index_xyz[:3]).astype(int)
    return int(volume.hu[z, y, x])


def test_a_note_is_one_line_whatever_it_quotes_of_a_header() -> None:
    volume = a_volume(np.eye(3))
    told = Volume(volume.hu, volume.geometry, notes=("acquisition \x01\n of 'ü'",)).notes
    assert told == ("acquisition \\x01\\n of 'ü'",)


@pytest.mark.parametrize("direction", AXIS_ALIGNED)
def test_canonical_volume_of_an_axis_aligned_one_runs_to_head_back_and_left(direction):
    assert np.allclose(a_volume(direction).canonical().geometry.direction, np.eye(3))


@pytest.mark.parametrize("direction", AXIS_ALIGNED + OBLIQUE)
def test_voxels_keep_their_place_in_the_patient_when_brought_to_canonical_order(direction):
    volume = a_volume(direction)
    canonical = volume.canonical()
    for index in np.ndindex(*volume.hu.shape):
        assert voxel_at(canonical, volume.geometry.world_of(index)) == volume.hu[index]


@pytest.mark.parametrize("direction", AXIS_ALIGNED + OBLIQUE)
def test_from_canonical_undoes_to_canonical(direction):
    volume = a_volume(direction)
    orientation = Orientation.of(volume.geometry)
    assert np.array_equal(orientation.from_canonical(orientation.to_canonical(volume.hu)), volume.hu)


@pytest.mark.parametrize("direction", OBLIQUE)
def test_canonical_axes_of_an_oblique_volume_are_the_nearest_ones(direction):
    cosines = np.asarray(a_volume(direction).canonical().geometry.direction)
    assert (np.diag(cosines) > 0).all()


def test_a_world_box_holds_the_voxel_centres_inside_it_and_no_others():
    geometry = a_volume(np.diag([1.0, 1.0, -1.0])).geometry
    low, high = geometry.world_of((2, 1, 2)), geometry.world_of((1, 3, 4))
    assert WorldBox(low, high).in_grid(geometry) == (slice(1, 3), slice(1, 4), slice(2, 5))


def test_a_world_box_outside_the_grid_is_empty():
    box = WorldBox((500.0, 500.0, 500.0), (600.0, 600.0, 600.0)).in_grid(a_volume(np.eye(3)).geometry)
    assert any(part.start == part.stop for part in box)


def test_geometries_differ_when_a_corner_moves_by_more_than_the_tolerance():
    here = a_volume(np.eye(3)).geometry
    near = Geometry(here.shape_zyx, here.spacing_zyx_mm, (10.0005, -20.0, 30.0), here.direction)
    far = Geometry(here.shape_zyx, (3.01, 1.5, 0.7), here.origin_xyz_mm, here.direction)
    assert here.same_as(near)
    assert not here.same_as(far)
