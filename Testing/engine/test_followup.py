"""Lesions of one patient find each other at two dates, though organs move, turn and deform, and scans are cut."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from followup_scans import TUMOUR, a_time, grid_of, moved, places_in, plant

from flareseg.errors import InputError
from flareseg.io.files import read_labels
from flareseg.labels import by_name
from flareseg.results.followup.comparison import follow_up
from flareseg.results.followup.registration import register
from flareseg.results.followup.table import as_text

LIVER, SPLEEN, LEFT, RIGHT = (by_name(name).value for name in ("liver", "spleen", "left_kidney", "right_kidney"))
TURN = np.radians(6)
MATRIX = np.array([[np.cos(TURN), -np.sin(TURN), 0], [np.sin(TURN), np.cos(TURN), 0], [0, 0, 1.0]]) * [1.02, 0.98, 1.03]
OFFSET = np.array([-30.0, 55.0, -80.0])
"""Another table height, a turned patient, and a deeper breath."""


def there(place):
    return MATRIX @ place + OFFSET


@pytest.fixture(scope="module")
def base(a_patient):
    """The patient without tumours, at both dates, each on its own grid; not to be changed."""
    labels = np.where(a_patient.labels == TUMOUR, LIVER, a_patient.labels).astype(np.uint8)
    labels[~np.isin(labels, (LIVER, SPLEEN, LEFT, RIGHT))] = 0  # that is quick
    before = grid_of(labels, a_patient.spacing_zyx_mm)
    x, y, z = there(np.zeros(3))
    slices, rows, columns = labels.shape
    empty = np.zeros((slices * 5 // 4, rows + 12, columns + 12), np.uint8)
    after = grid_of(empty, (4.0, 3.0, 3.0), (x - 30, y, z))
    return labels, before, moved(labels, before, MATRIX, OFFSET, after), after


@pytest.fixture(scope="module")
def found(base):
    """A follow-up in which the lesions of the liver grow, stay, vanish and come, and one of the spleen shrinks."""
    labels, before, later, after = base
    first, second = labels.copy(), later.copy()
    grows, stays, goes, comes = places_in(labels, before, "liver", 4)
    [shrinks] = places_in(labels, before, "spleen", 1)
    for place, diameter in ((grows, 20), (stays, 24), (goes, 16), (shrinks, 22)):
        plant(first, before, place, diameter)
    for place, diameter in ((grows, 32), (stays, 24), (comes, 18), (shrinks, 12)):
        plant(second, after, there(place), diameter)
    result = follow_up([a_time(first, before, "before"), a_time(second, after, "after")])
    return result, {"grows": grows, "stays": stays, "goes": goes, "comes": comes, "shrinks": shrinks}


def track_at(result, place):
    """The track of what was planted at a place of the first scan."""
    nearest = min(result.tracks, key=lambda track: np.linalg.norm(np.subtract(track.sightings[0].place_xyz_mm, place)))
    assert np.linalg.norm(np.subtract(nearest.sightings[0].place_xyz_mm, place)) < 6
    return nearest


def test_lesions_that_stay_are_paired_and_their_diameters_are_those_planted(found):
    result, at = found
    for name, before, after in (("grows", 20, 32), ("stays", 24, 24), ("shrinks", 22, 12)):
        track = track_at(result, at[name])
        first, second = track.sightings
        assert (first.longest_mm, second.longest_mm) == (pytest.approx(before, abs=4), pytest.approx(after, abs=4))
        assert np.linalg.norm(np.subtract(second.place_xyz_mm, there(at[name]))) < 4
        assert not second.doubtful
    assert track_at(result, at["shrinks"]).host.name == "spleen"


def test_a_vanished_lesion_is_gone_and_its_place_is_known(found):
    result, at = found
    track = track_at(result, at["goes"])
    assert track.sightings[1].lesions == () and track.sightings[1].in_view
    assert result.remarks(track, 1) == ["gone"]
    assert np.linalg.norm(np.subtract(track.sightings[1].place_xyz_mm, there(at["goes"]))) < 5


def test_a_new_lesion_is_new_and_its_place_before_is_known(found):
    result, at = found
    track = track_at(result, at["comes"])
    assert track.first == 1 and track.sightings[0].lesions == () and track.sightings[0].in_view
    assert result.remarks(track, 1) == ["new"]
    assert result.responses[0].new == (track.number,)
    assert result.responses[0].overall == "PD"
    assert len(result.tracks) == 5


def test_organs_include_their_lesions_so_that_only_the_organ_changes(found, base):
    result, _ = found
    liver = next(organ for organ in result.organs if organ.structure.name == "liver")
    expected = np.linalg.det(MATRIX) - 1
    assert liver.cut == (False, False)
    assert liver.change(1) == pytest.approx(expected, abs=0.02)
    labels, before = base[0], base[1]
    assert liver.volume_ml[0] == pytest.approx((labels == LIVER).sum() * before.voxel_ml, rel=0.02)


def test_the_organs_of_one_patient_agree(found):
    result, _ = found
    assert result.dice[0] > 0.9
    assert not any("agree badly" in note for note in result.notes)


def test_what_a_shorter_scan_does_not_show_is_out_of_view_not_gone(base):
    labels, before, later, after = base
    first, second = labels.copy(), later.copy()
    places = sorted(places_in(labels, before, "liver", 3), key=lambda place: place[2])
    for place in (places[0], places[-1]):
        plant(first, before, place, 18)
        plant(second, after, there(place), 18)
    # The later scan begins just above the lowest lesion.
    cut = round((there(places[0])[2] + 12 - after.origin_xyz_mm[2]) / 4)
    upper = grid_of(second[cut:], after.spacing_zyx_mm, after.world_of((cut, 0, 0)))
    result = follow_up([a_time(first, before, "long"), a_time(second[cut:], upper, "short")])
    low, high = track_at(result, places[0]), track_at(result, places[-1])
    assert not low.sightings[1].in_view and result.remarks(low, 1) == ["out of view"]
    assert high.sightings[1].longest_mm == pytest.approx(18, abs=4)
    assert result.responses[0].target == "NE"
    assert "out of view" in as_text(result)
    back = follow_up([a_time(second[cut:], upper, "short"), a_time(first, before, "long")])
    new = next(track for track in back.tracks if track.first == 1)
    assert back.remarks(new, 1) == ["new, was out of view before"]
    assert any("out of view before" in note for note in back.notes)


def test_a_lesion_that_falls_apart_counts_with_the_sum_of_its_parts_and_merged_ones_once(base):
    labels, before, *_ = base
    first, second = labels.copy(), labels.copy()
    [place] = places_in(labels, before, "liver", 1, depth_mm=24)
    plant(first, before, place, 40)
    for side in (-12, 12):
        plant(second, before, place + np.array([side, 0, 0]), 16)
    split = follow_up([a_time(first, before, "one"), a_time(second, before, "two")])
    [track] = split.tracks
    assert len(track.sightings[1].lesions) == 2
    assert track.sightings[1].longest_mm == pytest.approx(32, abs=5)
    assert split.sums_mm[1] == track.sightings[1].longest_mm
    assert split.remarks(track, 1) == ["split into 2"]
    merged = follow_up([a_time(second, before, "two"), a_time(first, before, "one")])
    assert [track.sightings[1].lesions for track in merged.tracks] == [merged.times[1].lesions] * 2
    assert merged.sums_mm[1] == merged.times[1].lesions[0].longest.mm.__round__(1)
    assert merged.remarks(merged.tracks[0], 1) == ["merged with 2"]


def test_over_three_dates_a_lesion_that_was_overlooked_once_stays_the_same(base):
    labels, before, *_ = base
    shown, empty = labels.copy(), labels.copy()
    [place] = places_in(labels, before, "liver", 1)
    plant(shown, before, place, 20)
    result = follow_up([a_time(one, before, name) for one, name in ((shown, "a"), (empty, "b"), (shown, "c"))])
    [track] = result.tracks
    assert [one.longest_mm > 0 for one in track.sightings] == [True, False, True]
    assert [response.target for response in result.responses] == ["CR", "PD"]  # against the smallest sum, which is 0


def test_a_thread_of_a_lesion_and_many_small_ones_are_followed_too():
    fine = grid_of(np.zeros((60, 160, 160), np.uint8), (1.0, 0.5, 0.5))
    liver = np.full(fine.shape_zyx, LIVER, np.uint8)
    liver[:, :, :4] = 0
    liver[30, 80, 20:150] = liver[31, 80, 20:150] = liver[32, 80, 20:150] = TUMOUR  # 0.5 mm wide, 65 mm long
    liver[30:33, 80:83, 20:150:2] = TUMOUR
    many = [(z, y, x) for z in (8, 50) for y in (20, 60, 100, 140) for x in (30, 70, 110)]
    for z, y, x in many:
        liver[z : z + 6, y : y + 10, x : x + 10] = TUMOUR
    scan = a_time(liver, fine, "fine")
    result = follow_up([scan, scan])
    assert len(result.tracks) == len(many) + 1
    assert all(track.sightings[1].lesions == track.sightings[0].lesions for track in result.tracks)


def test_scans_without_an_organ_in_common_are_refused(base):
    labels, before, *_ = base
    for other in (np.where(labels == SPLEEN, SPLEEN, 0), np.zeros_like(labels)):
        with pytest.raises(InputError, match=r"'liver' and 'other' have no organ in common"):
            follow_up(
                [
                    a_time(np.where(labels == LIVER, LIVER, 0).astype(np.uint8), before, "liver"),
                    a_time(other.astype(np.uint8), before, "other"),
                ]
            )


def test_another_patient_is_noted_in_one_line(base):
    labels, before, *_ = base
    other = moved(labels, before, np.diag([0.8, 1.25, 0.75]), np.array([80.0, -40.0, 60.0]), before)
    result = follow_up([a_time(labels, before, "a"), a_time(other, before, "b")])
    [note] = [note for note in result.notes if "agree badly" in note]
    assert "'a'" in note and "'b'" in note and "\n" not in note


def test_without_lesions_nothing_is_called_a_response(base):
    labels, before, *_ = base
    result = follow_up([a_time(labels, before, "a"), a_time(labels, before, "b")])
    assert result.responses[0].overall == "none"
    assert any("not every model looks for lesions" in note for note in result.notes)
    assert "CR" not in as_text(result)


def test_hu_and_dates_come_with_the_ct(base):
    labels, before, *_ = base
    first = labels.copy()
    [place] = places_in(labels, before, "liver", 1)
    plant(first, before, place, 20)
    hu = np.where(first == TUMOUR, 60, 100).astype(np.int16)
    scan = a_time(first, before, "a", hu, date(2024, 1, 31))
    assert scan.lesions[0].mean_hu == 60
    assert a_time(first, before, "a").lesions[0].mean_hu is None
    same = follow_up([scan, scan])
    assert "2024-01-31" in as_text(same)
    assert not any("contrast phase" in note for note in same.notes)
    plain = a_time(first, before, "plain", hu - 45)
    assert any("contrast phase differs (liver of 55 and 100 HU)" in note for note in follow_up([plain, scan]).notes)


# a real pair


def real(folder, case):
    labels, grid = read_labels(folder / case / "seg.nii.gz")
    lesions, _ = read_labels(folder / case / "lesions.nii.gz")
    labels = np.where(labels == 255, 0, labels)
    labels[lesions == 1] = TUMOUR
    return a_time(labels.astype(np.uint8), grid, case)


def test_before_and_after_chemoembolisation_the_tumour_is_itself_and_the_other_nodule_is_gone(real_cts):
    before, after = (real(real_cts, f"hcc_tace_007_{when}") for when in ("before", "after"))
    result = follow_up([before, after])
    large, small = result.tracks
    assert large.sightings[0].longest_mm == pytest.approx(118, abs=2)
    assert large.sightings[1].longest_mm == pytest.approx(116, abs=2)
    assert small.sightings[1].lesions == () and small.sightings[1].in_view
    # Who labelled the later scan saw a spot of lipiodol there, doubtful and therefore not in the result.
    spot = after.grid.world_of((72, 181, 58))
    assert np.linalg.norm(np.subtract(small.sightings[1].place_xyz_mm, spot)) < 12
    assert result.dice[0] > 0.88


def test_a_plain_and_a_portal_scan_of_one_day_agree_to_millimetres(real_cts):
    plain, portal = (real(real_cts, f"hcc_tace_005_{phase}") for phase in ("plain", "portal"))
    found = register(plain, portal)
    assert np.linalg.norm(found.together.offset_mm) < 8
    result = follow_up([plain, portal])
    [seen] = [track for track in result.tracks if track.first == 0]
    assert seen.sightings[1].lesions and not seen.sightings[1].doubtful
