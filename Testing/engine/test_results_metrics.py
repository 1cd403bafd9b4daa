"""DSC and NSD are FLARE 2023's: worked by hand, and equal to the package that defines the surfaces."""

import warnings

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from flareseg.labels import by_name, structures
from flareseg.results.metrics import IGNORED, dice, score_case
from flareseg.results.surface import element_areas_mm2, surface_dice

SPACING = (1.0, 1.0, 1.0)


def cube(shape=(12, 12, 12), start=(3, 3, 3), size=(4, 4, 4)):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(first, first + count) for first, count in zip(start, size, strict=True))] = True
    return mask


def case(name, mask):
    return np.where(mask, by_name(name).value, 0).astype(np.uint8)


def score(name, prediction, reference, spacing_zyx_mm=SPACING):
    (found,) = score_case(prediction, reference, spacing_zyx_mm, [by_name(name)])
    return found


@pytest.fixture(scope="module")
def official():
    package = pytest.importorskip("surface_distance", reason="the package surface-distance is not installed")

    def surface_dice_of_package(first, second, spacing_mm, tolerance_mm):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            distances = package.compute_surface_distances(first, second, spacing_mm)
        return package.compute_surface_dice_at_tolerance(distances, tolerance_mm)

    return surface_dice_of_package


def blobs(seed):
    random = np.random.default_rng(seed)
    first = gaussian_filter(random.normal(size=(17, 24, 21)), 2) > 0.03
    other = gaussian_filter(random.normal(size=first.shape), 1.5)
    return first, (first ^ (other > 0.1)) if seed % 2 else other > 0.05


def test_dice_of_cubes_that_share_half_is_a_half():
    assert dice(cube(), cube(start=(3, 3, 5))) == pytest.approx(0.5)
    assert dice(cube(), cube()) == 1
    assert dice(np.zeros((2, 2, 2), bool), np.zeros((2, 2, 2), bool)) == 1


def test_surface_areas_are_those_of_the_triangles_in_a_block():
    areas = element_areas_mm2((1.0, 1.0, 1.0))
    assert areas[0] == areas[255] == 0
    assert areas[1] == pytest.approx(np.sqrt(3) / 8)  # one corner: a triangle through three half edges
    assert areas[0b1111] == pytest.approx(1)  # a flat face across the block
    assert element_areas_mm2((2.0, 3.0, 5.0))[0b1111] == pytest.approx(15)  # across the first axis


def test_surface_dice_of_one_voxel_and_its_neighbour_is_worked_by_hand():
    # Eight corner blocks each; the four between the voxels belong to both surfaces, the outer four are 1 mm away.
    first, second = cube(size=(1, 1, 1)), cube(start=(3, 3, 4), size=(1, 1, 1))
    assert surface_dice(first, second, SPACING, 0.99) == pytest.approx(0.5)
    assert surface_dice(first, second, SPACING, 1.0) == pytest.approx(1.0)


def test_the_tolerance_is_in_mm_along_each_axis():
    first, second = cube(), cube(start=(4, 3, 3))
    assert surface_dice(first, second, (3.0, 1.0, 1.0), 2.9) < 1
    assert surface_dice(first, second, (3.0, 1.0, 1.0), 3.0) == pytest.approx(1)
    assert surface_dice(first.T, second.T, (1.0, 1.0, 3.0), 2.9) < 1


def test_empty_masks_have_their_own_scores():
    empty = np.zeros((12, 12, 12), bool)
    assert surface_dice(empty, empty, SPACING, 1.0) == 1
    assert surface_dice(cube(), empty, SPACING, 1.0) == 0


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (2.5, 0.8, 0.7), (0.9, 1.4, 5.0)])
def test_surface_dice_equals_the_official_package(official, seed, spacing_mm):
    first, second = blobs(seed)
    for tolerance_mm in (2.0, 5.0):
        expected = official(first, second, spacing_mm, tolerance_mm)
        assert surface_dice(first, second, spacing_mm, tolerance_mm) == pytest.approx(expected, abs=1e-9)


def test_a_mask_at_the_edge_of_the_array_has_a_surface_there(official):
    first, second = np.ones((4, 5, 6), bool), cube((4, 5, 6), (0, 0, 0), (4, 5, 3))
    expected = official(first, second, SPACING, 1.0)
    assert surface_dice(first, second, SPACING, 1.0) == pytest.approx(expected, abs=1e-9)


def test_every_structure_has_flares_tolerance(official):
    first, second = blobs(1)
    spacing = (2.5, 0.9, 0.8)
    tolerances = (5, 3, 3, 5, 2, 2, 2, 2, 2, 3, 5, 7, 3, 2)
    for structure, tolerance_mm in zip(structures(), tolerances, strict=True):
        if structure.name in ("aorta", "inferior_vena_cava", "esophagus"):
            continue
        found = score(structure.name, case(structure.name, second), case(structure.name, first), spacing)
        expected = official(first.T.copy(), second.T.copy(), spacing[::-1], tolerance_mm)
        assert found.nsd == pytest.approx(expected, abs=1e-9)


def test_a_structure_in_neither_scores_one_and_in_only_one_zero():
    empty, full = np.zeros((12, 12, 12), np.uint8), case("spleen", cube())
    assert [(s.dsc, s.nsd) for s in score_case(empty, empty, SPACING)] == [(1, 1)] * len(structures())
    for prediction, reference in ((full, empty), (empty, full)):
        found = score("spleen", prediction, reference)
        assert (found.dsc, found.nsd) == (0, 0)


@pytest.mark.parametrize("name", ["aorta", "inferior_vena_cava", "esophagus"])
def test_tubes_count_from_the_references_lowest_slice_to_below_its_highest(name):
    reference, prediction = cube(size=(4, 4, 4)), cube(start=(0, 3, 3), size=(12, 4, 4))
    assert score(name, case(name, prediction), case(name, reference)).dsc == 1
    prediction[6] = False  # the highest slice of the reference is left out
    assert score(name, case(name, prediction), case(name, reference)).dsc == 1
    prediction[3] = False  # the lowest one is not: 2 of 3 slices remain
    assert score(name, case(name, prediction), case(name, reference)).dsc == pytest.approx(2 * 2 / (2 + 3))


def test_other_structures_count_everywhere():
    reference, prediction = case("liver", cube()), case("liver", cube(start=(0, 3, 3), size=(12, 4, 4)))
    assert score("liver", prediction, reference).dsc == pytest.approx(2 * 4 / (4 + 12))


def test_a_tube_with_a_single_labelled_slice_counts_in_that_slice():
    reference = case("aorta", cube(size=(1, 4, 4)))
    assert score("aorta", case("aorta", cube()), reference).dsc == 1


def test_nsd_is_zero_below_a_dsc_of_a_fifth():
    reference = cube(size=(1, 1, 20), shape=(5, 5, 30))
    near = case("liver", cube(size=(1, 1, 20), shape=(5, 5, 30), start=(4, 3, 3)))
    found = score("liver", near, case("liver", reference))
    assert found.dsc == 0 and found.nsd == 0
    assert surface_dice(reference, near > 0, SPACING, 5) == 1


def test_voxels_that_nobody_labelled_count_in_neither():
    reference, prediction = case("liver", cube()), case("liver", cube(size=(4, 4, 6)))
    reference[:, :, 7:] = IGNORED
    found = score("liver", prediction, reference)
    assert (found.dsc, found.nsd) == (1, 1)
    assert (reference == IGNORED).any() and prediction[4, 4, 8] == by_name("liver").value


def test_volumes_are_in_ml():
    found = score("liver", case("liver", cube(size=(4, 4, 2))), case("liver", cube()), (5.0, 2.0, 1.0))
    assert found.reference_ml == pytest.approx(0.64) and found.prediction_ml == pytest.approx(0.32)


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match="shape"):
        score_case(np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2, 3), np.uint8), SPACING)
