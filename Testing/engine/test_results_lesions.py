"""Lesions are counted, measured and placed as one would do by hand, however the CT lies in its file."""

from itertools import permutations, product

import numpy as np
import pytest

from flareseg.labels import by_name, structures
from flareseg.results.lesions import SMALLEST_ML, find_lesions
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Orientation, Volume, as_rows

TUMOUR, LIVER, KIDNEY = (by_name(name).value for name in ("tumour", "liver", "right_kidney"))
SHAPE, SPACING = (30, 80, 90), (2.5, 0.8, 1.1)


def lesions_of(labels, spacing=SPACING, hu=None, smallest_ml=0.0, **geometry):
    grid = Geometry(labels.shape, spacing, **geometry)
    ct = np.zeros(labels.shape, np.int16) if hu is None else hu
    return find_lesions(Segmentation(labels, grid, structures()), Volume(ct, grid), smallest_ml)


def nothing(shape=SHAPE):
    return np.zeros(shape, np.uint8)


def millimetres(shape=SHAPE, spacing=SPACING):
    """Coordinates (z, y, x) in mm from the middle of the volume."""
    return [
        (np.arange(n) - (n - 1) / 2).reshape([-1 if k == axis else 1 for k in range(3)]) * mm
        for axis, (n, mm) in enumerate(zip(shape, spacing, strict=True))
    ]


def ellipsoid(half_mm, shape=SHAPE, spacing=SPACING, turned_deg=0.0):
    """Half axes along z, and along y and x turned in plane."""
    z, y, x = millimetres(shape, spacing)
    c, s = np.cos(np.radians(turned_deg)), np.sin(np.radians(turned_deg))
    return (z / half_mm[0]) ** 2 + ((c * y + s * x) / half_mm[1]) ** 2 + ((c * x - s * y) / half_mm[2]) ** 2 <= 1


def stored_geometry(grid, orientation):
    """Geometry of an array that `orientation` brings onto the canonical `grid`."""
    back = np.argsort(orientation.axes)
    columns = np.eye(3)[:, ::-1] * np.where(orientation.flipped, -1.0, 1.0)  # xyz of the canonical axes z, y, x
    start = tuple(n - 1 if flip else 0 for n, flip in zip(grid.shape_zyx, orientation.flipped, strict=True))
    return Geometry(
        tuple(grid.shape_zyx[axis] for axis in back),
        tuple(grid.spacing_zyx_mm[axis] for axis in back),
        grid.world_of(start),
        as_rows(columns[:, back][:, ::-1]),
    )


def distance(line):
    return float(np.linalg.norm(np.subtract(line.start_xyz_mm, line.end_xyz_mm)))


# diameters


def test_a_box_is_as_long_as_its_diagonal_between_the_middles_of_its_outer_edges():
    labels = nothing()
    labels[10:12, 20:30, 40:45] = TUMOUR  # 8.0 by 5.5 mm
    [lesion] = lesions_of(labels)
    assert lesion.longest.mm == pytest.approx(np.hypot(8.0, 5.5 - 1.1), abs=1e-6)
    assert lesion.longest.mm == pytest.approx(distance(lesion.longest))


def test_a_row_of_voxels_is_as_long_as_its_voxels_together():
    labels = nothing()
    labels[10, 20, 40:50] = TUMOUR
    [lesion] = lesions_of(labels)
    assert lesion.longest.mm == pytest.approx(11.0)
    assert lesion.perpendicular.mm == pytest.approx(0.8)


def test_one_voxel_is_as_wide_as_a_voxel():
    labels = nothing()
    labels[5, 6, 7] = TUMOUR
    [lesion] = lesions_of(labels)
    assert (lesion.longest.mm, lesion.perpendicular.mm) == (pytest.approx(1.1), pytest.approx(0.8))


@pytest.mark.parametrize("turned", [0, 25, 60, 90, 140])
def test_the_axes_of_an_ellipse_are_found_however_it_is_turned(turned):
    labels = nothing()
    labels[ellipsoid((15, 11, 20), turned_deg=turned)] = TUMOUR
    [lesion] = lesions_of(labels)
    assert lesion.longest.mm == pytest.approx(40, abs=1.2)
    assert lesion.perpendicular.mm == pytest.approx(22, abs=1.2)
    first, second = (np.subtract(line.end_xyz_mm, line.start_xyz_mm) for line in (lesion.longest, lesion.perpendicular))
    assert abs(first @ second) < 1e-6
    assert lesion.longest.start_xyz_mm[2] == lesion.perpendicular.end_xyz_mm[2]


def test_the_longest_diameter_is_axial_even_where_the_lesion_is_longer_upwards():
    labels = nothing()
    labels[ellipsoid((35, 9, 9))] = TUMOUR
    [lesion] = lesions_of(labels)
    assert lesion.longest.mm == pytest.approx(18, abs=1.2)
    assert lesion.longest.start_xyz_mm[2] == lesion.longest.end_xyz_mm[2]


def test_the_slice_with_the_longest_diameter_is_taken():
    labels = nothing()
    labels[10, 20:24, 40:44], labels[11, 20:24, 40:60], labels[12, 20:24, 40:46] = TUMOUR, TUMOUR, TUMOUR
    [lesion] = lesions_of(labels)
    assert lesion.longest.start_xyz_mm[2] == pytest.approx(11 * 2.5)


def test_the_ends_lie_on_the_lesion_in_the_patient():
    labels = nothing()
    labels[10, 20, 40:50] = TUMOUR
    [lesion] = lesions_of(labels, origin_xyz_mm=(-100.0, 50.0, 7.0))
    ends = sorted([lesion.longest.start_xyz_mm, lesion.longest.end_xyz_mm])
    assert ends[0] == pytest.approx((-100 + 39.5 * 1.1, 50 + 20 * 0.8, 7 + 10 * 2.5))
    assert ends[1] == pytest.approx((-100 + 49.5 * 1.1, 50 + 20 * 0.8, 7 + 10 * 2.5))


@pytest.mark.parametrize("flips", list(product((False, True), repeat=3)))
@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_the_order_of_the_files_axes_changes_nothing(axes, flips):
    labels = nothing((20, 44, 50))
    labels[ellipsoid((9, 6, 14), (20, 44, 50), turned_deg=30)] = TUMOUR
    grid = Geometry(labels.shape, SPACING, (5.0, 6.0, 7.0))
    [expected] = lesions_of(labels, origin_xyz_mm=grid.origin_xyz_mm)
    orientation = Orientation(axes, flips)
    stored = np.ascontiguousarray(orientation.from_canonical(labels))
    own = stored_geometry(grid, orientation)
    assert Orientation.of(own) == orientation
    [found] = find_lesions(Segmentation(stored, own, structures()), Volume(np.zeros(stored.shape, np.int16), own), 0.0)
    assert found.longest.mm == pytest.approx(expected.longest.mm)
    assert sorted([found.longest.start_xyz_mm, found.longest.end_xyz_mm]) == [
        pytest.approx(end) for end in sorted([expected.longest.start_xyz_mm, expected.longest.end_xyz_mm])
    ]


def test_an_oblique_ct_gives_the_same_lengths_in_its_own_slices():
    labels = nothing()
    labels[ellipsoid((12, 7, 15), turned_deg=40)] = TUMOUR
    [straight] = lesions_of(labels)
    tilt = as_rows(np.array([[1, 0, 0], [0, np.cos(0.3), -np.sin(0.3)], [0, np.sin(0.3), np.cos(0.3)]]))
    [oblique] = lesions_of(labels, direction=tilt, origin_xyz_mm=(1.0, 2.0, 3.0))
    assert oblique.longest.mm == pytest.approx(straight.longest.mm)
    assert distance(oblique.longest) == pytest.approx(straight.longest.mm)
    assert oblique.longest.start_xyz_mm[2] != pytest.approx(oblique.longest.end_xyz_mm[2])


# which lesions


def test_lesions_that_touch_at_a_corner_are_one_and_the_largest_comes_first():
    labels = nothing()
    labels[5:7, 5:7, 5:7] = TUMOUR
    labels[20:24, 20:24, 20:24], labels[24, 24, 24] = TUMOUR, TUMOUR
    found = lesions_of(labels)
    assert [(lesion.number, lesion.voxels) for lesion in found] == [(1, 65), (2, 8)]


def test_what_is_too_small_is_no_lesion():
    labels = nothing()
    voxels = int(np.ceil(SMALLEST_ML * 1000 / np.prod(SPACING)))
    labels[5, 5, 5 : 5 + voxels - 1] = TUMOUR
    labels[15, 5, 5 : 5 + voxels] = TUMOUR
    [lesion] = lesions_of(labels, smallest_ml=SMALLEST_ML)
    assert lesion.voxels == voxels


def test_without_tumour_there_is_no_lesion():
    assert lesions_of(np.full(SHAPE, LIVER, np.uint8)) == []


def test_hu_are_those_of_all_its_voxels():
    labels, hu = nothing(), np.full(SHAPE, -1000, np.int16)
    labels[10, 20, 40:44], hu[10, 20, 40:44] = TUMOUR, (10, 30, 10, 30)
    [lesion] = lesions_of(labels, hu=hu)
    assert (lesion.mean_hu, lesion.sd_hu) == (20, 10)


@pytest.mark.parametrize("place", [(0, 20, 20), (29, 20, 20), (10, 0, 20), (10, 79, 20), (10, 20, 0), (10, 20, 89)])
def test_a_lesion_at_a_face_of_the_volume_may_be_cut(place):
    labels = nothing()
    labels[place] = TUMOUR
    labels[15, 40, 40] = TUMOUR
    assert sorted(lesion.touches_border for lesion in lesions_of(labels)) == [False, True]


# in which organ


def host(labels):
    [lesion] = lesions_of(labels)
    return lesion.host.name if lesion.host else None


def test_a_lesion_inside_an_organ_lies_in_it():
    labels = nothing()
    labels[ellipsoid((30, 25, 30))] = LIVER
    labels[ellipsoid((8, 8, 8))] = TUMOUR
    assert host(labels) == "liver"


def test_a_lesion_that_bulges_out_of_a_kidney_lies_in_the_kidney():
    labels = nothing()
    labels[10:20, 20:40, 20:40] = KIDNEY
    labels[12:18, 24:36, 36:50] = TUMOUR  # four voxels deep, ten outside
    assert host(labels) == "right_kidney"


def test_between_two_organs_the_one_around_it_wins():
    labels = nothing()
    labels[8:22, 20:50, 20:40], labels[8:22, 20:50, 40:60] = LIVER, KIDNEY
    labels[12:18, 28:42, 32:42] = TUMOUR
    assert host(labels) == "liver"


def test_free_in_fat_it_lies_in_no_organ():
    labels = nothing()
    labels[8:22, 20:50, 20:40] = LIVER
    labels[12:18, 28:42, 50:60] = TUMOUR
    assert host(labels) is None
    labels[12:18, 28:42, 49:60], labels[14, 30, 40:49] = TUMOUR, LIVER  # a thread of liver touches it
    assert host(labels) is None


def test_a_lesion_as_large_as_the_volume_has_no_host():
    assert host(np.full((4, 5, 6), TUMOUR, np.uint8)) is None
