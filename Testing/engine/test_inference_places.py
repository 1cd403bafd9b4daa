"""Body box, abdominal region, and the removal of small components."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bundles import make_plan

from flareseg.inference.body import body_box
from flareseg.inference.postprocessing import remove_small_components
from flareseg.inference.region import Body, can_be_abdomen, extension, region_of_labels
from flareseg.model.bundle import FORMAT
from flareseg.model.plan import ComponentRule

ONE_ML = (10.0, 10.0, 10.0)
"""Voxels of it, in mm."""


def a_scan_with_body_and_table() -> np.ndarray:
    """60 × 120 × 140 voxels of 3 mm: an elliptic body, and a table under it that it does not touch."""
    z, y, x = np.ogrid[:60, :120, :140]
    hu = np.full((60, 120, 140), -1000, np.int16)
    body = ((y - 50) / 30) ** 2 + ((x - 70) / 45) ** 2 + 0 * z < 1
    hu[body] = 40
    hu[:, 100:103, 10:130] = 200
    return hu


def test_the_body_box_holds_the_whole_body_but_not_the_table():
    hu = a_scan_with_body_and_table()
    box = body_box(hu, (3.0, 3.0, 3.0))
    inside = np.zeros(hu.shape, bool)
    inside[box] = True
    assert inside[hu == 40].all()
    assert not inside[:, 100:].any()


def test_a_scan_without_a_body_is_looked_at_whole():
    hu = np.full((10, 20, 30), -1000, np.int16)
    hu[4:6, 9:12, 10:14] = 30
    assert body_box(hu, (3.0, 3.0, 3.0)) == (slice(0, 10), slice(0, 20), slice(0, 30))


def test_a_scan_of_air_has_no_body():
    assert body_box(np.full((10, 20, 30), -1000, np.int16), (3.0, 3.0, 3.0)) is None


def test_a_body_that_fills_the_scan_keeps_all_of_it():
    box = body_box(np.full((50, 60, 70), 30, np.int16), (3.0, 3.0, 3.0))
    assert box == (slice(0, 50), slice(0, 60), slice(0, 70))


def test_the_region_is_the_box_of_the_organs_with_a_margin_in_voxels_of_the_ct():
    coarse = np.zeros((40, 40, 40), np.uint8)
    coarse[15:25, 12:28, 10:30] = 1
    within = (slice(10, 130), slice(5, 245), slice(0, 320))
    z, y, x = region_of_labels(coarse, (6.0, 6.0, 6.0), (3.0, 6.0, 8.0), within)
    # 30 mm are 5 coarse voxels
    assert z == slice(10 + (15 - 5) * 3, 10 + (25 + 5) * 3)
    assert y == slice(5 + (12 - 5) * 6, 5 + (28 + 5) * 6)
    assert x == slice(0 + (10 - 5) * 8, 0 + (30 + 5) * 8)


def test_specks_far_away_do_not_widen_the_region():
    coarse = np.zeros((40, 40, 40), np.uint8)
    coarse[15:25, 12:28, 10:30] = 1
    within = (slice(0, 40), slice(0, 40), slice(0, 40))
    alone = region_of_labels(coarse, (6.0, 6.0, 6.0), (1.0, 1.0, 1.0), within)
    coarse[39, 39, 39] = 3
    assert region_of_labels(coarse, (6.0, 6.0, 6.0), (1.0, 1.0, 1.0), within) == alone


def test_small_islands_of_a_structure_do_not_widen_the_region():
    coarse = np.zeros((40, 40, 40), np.uint8)
    coarse[15:25, 12:28, 10:30] = 1
    coarse[10:15, 12:20, 10:20] = 6
    within = (slice(0, 40), slice(0, 40), slice(0, 40))
    alone = region_of_labels(coarse, (6.0, 6.0, 6.0), (1.0, 1.0, 1.0), within)
    coarse[35:39, 30:39, 30:36] = 1  # 47 ml, 7 % of the largest
    assert region_of_labels(coarse, (6.0, 6.0, 6.0), (1.0, 1.0, 1.0), within) == alone


def test_a_structure_in_two_parts_is_seen_whole():
    coarse = np.zeros((60, 40, 40), np.uint8)
    coarse[15:25, 12:28, 10:30] = 1
    within = (slice(0, 60), slice(0, 40), slice(0, 40))
    coarse[38:45, 12:28, 10:24] = 1  # half of the other
    z, y, x = region_of_labels(coarse, (6.0, 6.0, 6.0), (1.0, 1.0, 1.0), within)
    assert (z, y, x) == (slice(10, 50), slice(7, 33), slice(5, 35))


def test_no_organs_no_region():
    coarse = np.zeros((40, 40, 40), np.uint8)
    coarse[5, 5, 5] = 1
    within = (slice(0, 40), slice(0, 40), slice(0, 40))
    assert region_of_labels(coarse, (6.0, 6.0, 6.0), (1.0, 1.0, 1.0), within) is None


@pytest.fixture
def labels_with_islands() -> np.ndarray:
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[2:8, 2:8, 2:8] = 1  # 216 voxels
    labels[12:15, 12:15, 12:15] = 1  # 27
    labels[17, 17, 17] = 1
    labels[2:4, 12:14, 2:4] = 2  # 8
    labels[4, 14, 4] = 2  # touches it at a corner: 26-connected
    labels[18, 2, 2] = 2
    return labels


def test_components_below_the_volume_of_their_structure_are_removed(labels_with_islands):
    result = remove_small_components(labels_with_islands, ONE_ML, {1: ComponentRule(minimum_ml=10)})
    assert (result == 1).sum() == 216 + 27
    assert (result == 2).sum() == 10


def test_only_the_largest_component_stays_where_the_rule_says_so(labels_with_islands):
    result = remove_small_components(
        labels_with_islands,
        (5.0, 10.0, 10.0),
        {1: ComponentRule(largest_only=True), 2: ComponentRule(largest_only=True)},
    )
    assert (result == 1).sum() == 216
    assert (result == 2).sum() == 9


def test_a_structure_whose_largest_component_is_too_small_disappears(labels_with_islands):
    result = remove_small_components(labels_with_islands, ONE_ML, {2: ComponentRule(minimum_ml=50, largest_only=True)})
    assert not (result == 2).any()
    assert (result == 1).sum() == 216 + 27 + 1


def test_components_below_a_share_of_the_largest_are_removed(labels_with_islands):
    result = remove_small_components(labels_with_islands, ONE_ML, {1: ComponentRule(minimum_share=0.1)})
    assert (result == 1).sum() == 216 + 27
    few = remove_small_components(labels_with_islands, ONE_ML, {1: ComponentRule(minimum_ml=30, minimum_share=0.1)})
    assert (few == 1).sum() == 216
    assert (few == 2).sum() == 10


def test_touching_structures_are_components_of_their_own():
    labels = np.ones((4, 4, 4), np.uint8)
    labels[2:] = 2
    result = remove_small_components(
        labels.copy(), ONE_ML, {1: ComponentRule(minimum_ml=33), 2: ComponentRule(minimum_ml=32)}
    )
    assert not (result == 1).any()
    assert (result == 2).sum() == 32


def test_an_empty_map_stays_empty():
    assert not remove_small_components(np.zeros((3, 3, 3), np.uint8), ONE_ML, {1: ComponentRule(5)}).any()


def a_vessel(low: int, high: int) -> np.ndarray:
    """A vessel of 8 × 8 voxels from slice to slice of 100."""
    labels = np.zeros((100, 40, 40), np.uint8)
    labels[low:high, 16:24, 16:24] = 5
    return labels


def test_a_region_grows_where_a_structure_leaves_it_until_the_body_ends():
    within = (slice(2, 98), slice(4, 36), slice(4, 36))
    box = (slice(40, 60), slice(10, 30), slice(10, 30))
    labels = a_vessel(45, 60)
    up = extension(labels, box, Body(within, 0, (6.0, 2.0, 2.0)), upwards=True)
    assert up is not None
    assert up.box == (slice(40, 76), box[1], box[2])
    assert up.new == (slice(60, 76), box[1], box[2]) and up.seen == (slice(50, 76), box[1], box[2])
    assert extension(labels, box, Body(within, 0, (6.0, 2.0, 2.0)), upwards=False) is None, "nothing at the lower end"
    labels = a_vessel(0, 100)
    down = extension(labels, box, Body(within, 0, (6.0, 2.0, 2.0)), upwards=False)
    assert down is not None and down.new[0] == slice(24, 40) and down.seen[0] == slice(24, 50)
    at_the_end = (slice(2, 98), box[1], box[2])
    assert extension(labels, at_the_end, Body(within, 0, (6.0, 2.0, 2.0)), upwards=True) is None
    assert extension(labels, at_the_end, Body(within, 0, (6.0, 2.0, 2.0)), upwards=False) is None
    nearly = (slice(10, 95), box[1], box[2])
    assert extension(labels, nearly, Body(within, 0, (6.0, 2.0, 2.0)), upwards=True).new[0] == slice(95, 98)


def test_a_speck_at_the_end_of_the_region_is_not_followed():
    labels = np.zeros((100, 40, 40), np.uint8)
    labels[59, 20, 20:23] = 5
    box = (slice(40, 60), slice(10, 30), slice(10, 30))
    assert extension(labels, box, Body((slice(0, 100),) * 3, 0, (6.0, 2.0, 2.0)), upwards=True) is None


def test_a_region_grows_along_whichever_axis_is_the_bodys():
    labels = np.ascontiguousarray(a_vessel(0, 100).transpose(1, 2, 0))
    box = (slice(10, 30), slice(10, 30), slice(40, 60))
    grown = extension(labels, box, Body((slice(0, 40), slice(0, 40), slice(0, 100)), 2, (2.0, 2.0, 6.0)), upwards=True)
    assert grown is not None and grown.new == (box[0], box[1], slice(60, 76))


def body_with_organs(organs_zyx, height=60):
    """A body of 100 ml a slice, 6 litres in all, 10 mm a voxel; some voxels of it are drawn as liver."""
    hu = np.full((height, 20, 20), -1000, np.int16)
    hu[:, 5:15, 5:15] = 40
    labels = np.zeros(hu.shape, np.uint8)
    labels[organs_zyx] = 1
    return labels, hu, (10.0, 10.0, 10.0)


def test_a_little_liver_in_the_middle_of_a_long_body_is_none():
    drawn = np.s_[30:35, 5:10, 5:11]  # 150 ml of 6 litres
    labels, hu, spacing = body_with_organs(drawn)
    assert not can_be_abdomen(labels, hu, spacing, 0)
    assert can_be_abdomen(labels[30:50], hu[30:50], spacing, 0), "cut off by the scan's end"
    assert can_be_abdomen(labels[:35], hu[:35], spacing, 0), "cut off by its other end"
    assert can_be_abdomen(labels[20:45], hu[20:45], spacing, 0), "a twentieth of a small body"
    lying = [np.moveaxis(array, 0, 2) for array in (labels, hu)]
    assert not can_be_abdomen(*lying, spacing, 2)
    labels[34, 5:10, 5:11] = 2
    assert not can_be_abdomen(labels, hu, spacing, 0), "all structures count together"


def test_organs_of_an_adult_are_believed_however_long_the_scan():
    assert can_be_abdomen(*body_with_organs(np.s_[30:35, 5:12, 5:15], height=400), 0)


def test_a_speck_at_the_scan_s_end_is_no_organ_that_it_cuts():
    labels, hu, _ = body_with_organs(np.s_[40:60, 8:9, 8:9])
    spacing = (10.0, 5.0, 5.0)
    assert not can_be_abdomen(labels, hu, spacing, 0)
    labels[59, 8:10, 8:9] = 1
    assert can_be_abdomen(labels, hu, spacing, 0)


@pytest.fixture
def liver_beside_fluid() -> tuple[np.ndarray, np.ndarray]:
    """Labels and HU: a liver of 500 voxels and 60 HU, and a larger collection of fluid that is called liver too."""
    labels, hu = np.zeros((10, 10, 30), np.uint8), np.zeros((10, 10, 30), np.int16)
    labels[:, :, :5], hu[:, :, :5] = 1, 60
    labels[:, :, 10:20], hu[:, :, 10:20] = 1, 12
    labels[0, 0, 29], hu[0, 0, 29] = 1, 60
    return labels, hu


def test_fluid_is_not_kept_in_place_of_a_smaller_organ(liver_beside_fluid):
    labels, hu = liver_beside_fluid
    rules = {1: ComponentRule(largest_only=True, without_fluid=True)}
    result = remove_small_components(labels.copy(), ONE_ML, rules, hu)
    assert np.array_equal(np.flatnonzero(result.any((0, 1))), np.arange(5))
    plain = remove_small_components(labels.copy(), ONE_ML, {1: ComponentRule(largest_only=True)}, hu)
    assert np.array_equal(np.flatnonzero(plain.any((0, 1))), np.arange(10, 20))


def test_the_largest_component_stays_where_all_are_fluid_or_the_solid_one_is_an_island(liver_beside_fluid):
    labels, hu = liver_beside_fluid
    rules = {1: ComponentRule(largest_only=True, without_fluid=True)}
    fatty = remove_small_components(labels.copy(), ONE_ML, rules, np.minimum(hu, 10))
    assert fatty.any((0, 1))[10] and not fatty.any((0, 1))[0]
    labels[:, :, 1:5] = 0
    labels[2:, :, 0] = 0
    alone = remove_small_components(labels.copy(), ONE_ML, rules, hu)
    assert alone.any((0, 1))[10] and not alone.any((0, 1))[0]


def test_a_rule_about_fluid_needs_the_newest_format():
    rule = ComponentRule(largest_only=True, without_fluid=True)
    assert ComponentRule.from_json(rule.to_json()) == rule
    assert "without_fluid" not in ComponentRule(largest_only=True).to_json()


def test_a_rule_about_shares_of_the_largest_needs_its_format():
    rule = ComponentRule(minimum_ml=2.0, minimum_share=0.25)
    assert ComponentRule.from_json(rule.to_json()) == rule
    assert "minimum_share" not in ComponentRule(2.0).to_json()
    assert make_plan(components={"spleen": rule}).needs_format == 9


@pytest.fixture
def kidney_called_spleen() -> np.ndarray:
    """A spleen (3), and a left kidney (13) of which a slab is called spleen, and the end beyond it is too short."""
    labels = np.zeros((12, 12, 60), np.uint8)
    labels[:, :, :20] = 3
    labels[2:10, 2:10, 30:45] = 13
    labels[2:10, 2:10, 45:50] = 3
    labels[2:10, 2:10, 50:56] = 13
    return labels


ORGANS = {value: ComponentRule(largest_only=True, to_neighbour=True) for value in (3, 13)}


def test_an_island_at_another_organ_goes_to_it_and_connects_what_lay_apart(kidney_called_spleen):
    result = remove_small_components(kidney_called_spleen.copy(), ONE_ML, ORGANS)
    assert (result[2:10, 2:10, 30:56] == 13).all()
    assert (result == 3).sum() == 12 * 12 * 20 and (result == 13).sum() == 8 * 8 * 26
    only = {value: ComponentRule(largest_only=True) for value in (3, 13)}
    plain = remove_small_components(kidney_called_spleen.copy(), ONE_ML, only)
    assert (plain == 13).sum() == 8 * 8 * 15


def test_an_island_goes_nowhere_by_a_small_part_of_its_surface_or_if_it_is_the_larger(kidney_called_spleen):
    labels = kidney_called_spleen
    labels[2:10, 2:10, 45:56] = 0
    labels[2:4, 2:4, 45:56] = 3  # touches the kidney by its end alone
    assert not remove_small_components(labels.copy(), ONE_ML, ORGANS)[:, :, 45:].any()
    labels[2:10, 2:10, 30:45] = 0
    labels[5, 5, 30] = 13
    labels[4:7, 4:7, 31:45] = 3
    result = remove_small_components(labels.copy(), ONE_ML, ORGANS)
    assert (result == 13).sum() == 1 and not result[:, :, 31:].any()


def test_the_surface_is_measured_in_mm_not_in_faces():
    labels = np.zeros((9, 12, 12), np.uint8)
    labels[:2, :10, :10] = 13  # slices of 10 mm: the island lies on it, and is a column of 4 x 4 x 70 mm
    labels[2:, 4:8, 4:8] = 3
    assert (remove_small_components(labels.copy(), (10.0, 1.0, 1.0), ORGANS) == 3).sum() == 112
    rules = {3: ComponentRule(minimum_ml=50, to_neighbour=True), 13: ORGANS[13]}
    assert not (remove_small_components(labels.copy(), (10.0, 1.0, 1.0), rules)[2:]).any()
    assert (remove_small_components(labels.copy(), (1.0, 10.0, 10.0), rules)[2:] == 13).sum() == 112


def test_what_has_no_such_rule_takes_and_gives_nothing(kidney_called_spleen):
    rules = {3: ORGANS[3], 13: ComponentRule(largest_only=True)}
    result = remove_small_components(kidney_called_spleen.copy(), ONE_ML, rules)
    assert (result == 13).sum() == 8 * 8 * 15 and not result[:, :, 45:50].any()


def test_a_rule_about_neighbours_needs_the_newest_format():
    rule = ComponentRule(largest_only=True, to_neighbour=True)
    assert ComponentRule.from_json(rule.to_json()) == rule
    assert "to_neighbour" not in ComponentRule(2.0).to_json()
    assert make_plan(components={"spleen": rule}).needs_format == FORMAT
