"""Targets, sums and categories are those of RECIST 1.1's tables."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from flareseg.labels import by_name
from flareseg.results.followup.recist import choose_targets, least_mm, respond, sum_of
from flareseg.results.followup.tracks import Sighting, Track
from flareseg.results.lesions import Lesion, Line

HERE = (0.0, 0.0, 0.0)
NOT_IN_VIEW = "out of view"


def lesion(mm, number=1, cut=False):
    line = Line(mm, HERE, (mm, 0.0, 0.0))
    box = (slice(0, 1),) * 3
    return Lesion(number, 100, None, None, None, line, line, cut, box, np.ones((1, 1, 1), bool))


def track(number, *sizes, host="liver", cut=False):
    """A lesion by its diameter in each scan: None where it was not found, NOT_IN_VIEW, or several parts."""
    sightings = []
    for mm in sizes:
        parts = () if mm in (None, NOT_IN_VIEW) else mm if isinstance(mm, tuple) else (mm,)
        found = tuple(lesion(part, 10 * number + index, cut) for index, part in enumerate(parts))
        sightings.append(Sighting(found, mm != NOT_IN_VIEW, HERE))
    first = next(time for time, one in enumerate(sightings) if one.lesions)
    return Track(number, first, by_name(host) if host else None, tuple(sightings))


def response(*tracks, time=-1, slice_mm=2.5):
    time = time % len(tracks[0].sightings)
    return respond(tracks, choose_targets(tracks, slice_mm), time)


def targets(*tracks, slice_mm=2.5):
    return [number for number, why in choose_targets(tracks, slice_mm).items() if not why]


# which lesions count


@pytest.mark.parametrize(("slice_mm", "least"), [(1.0, 10), (2.5, 10), (5.0, 10), (7.0, 14)])
def test_a_lesion_is_measured_from_ten_millimetres_or_two_thick_slices_on(slice_mm, least):
    assert least_mm(slice_mm) == least
    small, large = track(1, least - 0.1, 5, host="spleen"), track(2, least, 5)
    assert targets(small, large, slice_mm=slice_mm) == [2]


def test_there_are_two_targets_in_an_organ_at_most_and_five_in_all():
    liver = [track(number, 40 - number, 5) for number in (1, 2, 3)]
    assert targets(*liver) == [1, 2]
    hosts = ("liver", "spleen", "pancreas", "stomach", "left_adrenal_gland", "esophagus")
    assert targets(*(track(number, 40 - number, 5, host=host) for number, host in enumerate(hosts, 1))) == [
        1,
        2,
        3,
        4,
        5,
    ]


def test_both_kidneys_are_one_organ():
    sides = [track(1, 30, 5, host="left_kidney"), track(2, 28, 5, host="right_kidney")]
    assert targets(*sides, track(3, 20, 5, host="left_kidney")) == [1, 2]


def test_what_the_edge_of_the_scan_cuts_or_came_later_is_no_target():
    why = choose_targets([track(1, 40, 20, cut=True), track(2, None, 30), track(3, 8, 20)], 2.5)
    assert why == {1: "cut by the edge of the scan", 2: "new", 3: "below 10 mm"}


# sums and categories


@pytest.mark.parametrize(
    ("before", "after", "category"),
    [
        (50, None, "CR"),
        (50, 35, "PR"),
        (50, 35.1, "SD"),
        (50, 59.9, "SD"),
        (50, 60, "PD"),
        (20, 24, "SD"),
        (20, 25, "PD"),
    ],
)
def test_the_category_follows_from_the_sum(before, after, category):
    found = response(track(1, before, after))
    assert (found.target, found.overall) == (category, category)


def test_progress_is_counted_from_the_smallest_sum_and_response_from_the_first():
    found = response(track(1, 100, 50, 62))
    assert found.overall == "PD"
    assert (found.of_baseline, found.of_nadir) == (pytest.approx(-0.38), pytest.approx(0.24))
    assert response(track(1, 100, 50, 55)).overall == "PR"


def test_a_new_lesion_is_progress_whatever_the_sum():
    found = response(track(1, 50, 20), track(2, None, 12))
    assert (found.target, found.overall, found.new) == ("PR", "PD", (2,))


def test_a_complete_response_needs_all_lesions_gone():
    assert response(track(1, 50, None), track(2, 8, 6)).overall == "PR"
    assert response(track(1, 50, None), track(2, 8, NOT_IN_VIEW)).overall == "PR"
    assert response(track(1, 50, None), track(2, 8, None)).overall == "CR"


def test_targets_out_of_view_make_it_not_evaluable_unless_the_rest_grows_already():
    hidden = track(2, 30, NOT_IN_VIEW)
    found = response(track(1, 50, 50), hidden)
    assert (found.overall, found.complete) == ("NE", False)
    assert response(track(1, 50, 100), hidden).overall == "PD"
    # A sum of part of the lesions is no smallest sum.
    assert response(track(1, 50, 50, 50), track(2, 30, NOT_IN_VIEW, 30)).overall == "SD"


def test_without_a_target_only_presence_counts():
    assert response(track(1, 8, 7)).overall == "non-CR/non-PD"
    assert response(track(1, 8, None)).overall == "CR"
    assert response(track(1, 8, NOT_IN_VIEW)).overall == "NE"


def test_parts_of_a_lesion_add_up_and_merged_lesions_count_once():
    split = track(1, 40, (16.0, 12.0))
    assert sum_of([split], 1) == 28
    one = split.sightings[1]
    merged = Track(2, 0, split.host, (Sighting((lesion(20, 99),), True, HERE), one))
    assert sum_of([split, merged], 0) == 60
    assert sum_of([split, merged], 1) == 28
