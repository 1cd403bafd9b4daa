"""The report shows the right slices the right way round."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from reported import SPACING_ZYX_MM, a_segmentation, a_volume

from flareseg.results.overlay import LEVEL_HU
from flareseg.results.picture import HEADER, layout
from flareseg.results.views import best_slices, choose_views, obliquity_degrees
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Volume, as_rows


@pytest.fixture
def volume() -> Volume:
    return a_volume()


@pytest.fixture
def segmentation(volume: Volume) -> Segmentation:
    return a_segmentation(volume)


def stored_otherwise(
    segmentation: Segmentation, volume: Volume, axes: tuple[int, ...], flips: tuple[bool, ...]
) -> tuple[Segmentation, Volume]:
    """The same patient in a file whose axes run otherwise."""
    cut = tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)
    hu, labels = (array.transpose(axes)[cut] for array in (volume.hu, segmentation.labels))
    start = [0, 0, 0]
    for axis, flip in zip(axes, flips, strict=True):
        start[axis] = volume.hu.shape[axis] - 1 if flip else 0
    signs = np.where(flips, -1.0, 1.0)
    columns = np.asarray(volume.geometry.direction)[:, ::-1][:, list(axes)] * signs
    spacing = [SPACING_ZYX_MM[axis] for axis in axes]
    geometry = Geometry(
        hu.shape,
        (spacing[0], spacing[1], spacing[2]),
        volume.geometry.world_of((start[0], start[1], start[2])),
        as_rows(columns[:, ::-1]),
    )
    return replace(segmentation, labels=labels, geometry=geometry), replace(volume, hu=hu, geometry=geometry)


# Which slices


def test_slices_are_chosen_so_that_together_they_show_each_structure_at_its_largest() -> None:
    areas = np.zeros((50, 3))
    areas[10:20, 0] = np.linspace(0.1, 1, 10)  # largest at 19
    areas[30:40, 1] = np.linspace(1, 0.1, 10)  # largest at 30
    areas[45, 2] = 1
    assert best_slices(areas, slice(0, 50), 10.0, 3) == [19, 30, 45]
    assert best_slices(areas, slice(25, 50), 10.0, 2) == [30, 45]


def test_slices_keep_a_distance_unless_there_are_too_few() -> None:
    areas = np.ones((100, 1))
    chosen = best_slices(areas, slice(0, 100), 1.0, 4)
    assert len(chosen) == 4
    assert np.diff(chosen).min() >= 12
    assert best_slices(areas, slice(3, 6), 1.0, 4) == [3, 4, 5]


def test_where_nothing_was_found_slices_are_spread_evenly() -> None:
    assert best_slices(np.zeros((40, 14)), slice(0, 40), 5.0, 4) == [5, 15, 25, 35]


def test_axial_views_come_head_first_and_are_marked_on_the_others(segmentation: Segmentation, volume: Volume) -> None:
    views = choose_views(segmentation, volume)
    assert [view.plane for view in views] == ["axial"] * 4 + ["coronal", "sagittal"]
    heights = [float(re.sub(r"[^\d]", "", view.position)) for view in views[:4]]
    assert heights == sorted(heights, reverse=True)
    for view in views[4:]:
        assert list(view.levels) == sorted(view.levels)
        for row, height in zip(view.levels, heights, strict=True):
            # The top row is the top slice of the box, which here is the top of the volume.
            assert 50 + (view.hu.shape[0] - 1 - row) * 5.0 == height


# The right way round


def test_every_plane_is_shown_as_radiologists_look_at_it(segmentation: Segmentation, volume: Volume) -> None:
    hu = np.full(volume.hu.shape, LEVEL_HU, np.int16)
    for part in (np.s_[:, :, :8], np.s_[:, :8, :], np.s_[32:, :, :]):  # the right, the front, the head
        marked = hu.copy()
        marked[part] = 2000
        views = choose_views(segmentation, replace(volume, hu=marked))
        for view in (views[0], views[4], views[5]):
            bright = view.hu == 2000
            if bright.all() or not bright.any():
                continue
            rows, columns = np.nonzero(bright)
            side = {
                "left": columns.max() < view.hu.shape[1] / 2,
                "right": columns.min() > view.hu.shape[1] / 2,
                "top": rows.max() < view.hu.shape[0] / 2,
                "bottom": rows.min() > view.hu.shape[0] / 2,
            }
            letter = "R" if part[2] != slice(None) else "A" if part[1] != slice(None) else "S"
            assert view.letters[[*side.values()].index(True)] == letter
    assert [view.letters for view in (views[0], views[4], views[5])] == [tuple("RLAP"), tuple("RLSI"), tuple("APSI")]


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_the_picture_does_not_depend_on_how_the_file_stores_the_patient(
    segmentation: Segmentation, volume: Volume, axes: tuple[int, ...]
) -> None:
    expected = choose_views(segmentation, volume)
    for flips in product((False, True), repeat=3):
        found = choose_views(*stored_otherwise(segmentation, volume, axes, flips))
        for one, other in zip(expected, found, strict=True):
            assert (one.plane, one.position, one.levels, one.pixel_mm) == (
                other.plane,
                other.position,
                other.levels,
                other.pixel_mm,
            )
            assert np.array_equal(one.hu, other.hu)
            assert np.array_equal(one.labels, other.labels)


def test_panels_have_the_patients_proportions_and_one_scale(segmentation: Segmentation, volume: Volume) -> None:
    panels, width, height = layout(choose_views(segmentation, volume))
    scales = [panel.px_per_mm for panel in panels]
    assert max(scales) - min(scales) < 0.01 * max(scales)
    for panel in panels:
        tall_mm, wide_mm = panel.view.size_mm
        assert panel.height / panel.width == pytest.approx(tall_mm / wide_mm, rel=0.01)
        assert 0 <= panel.left < panel.left + panel.width <= width
        assert HEADER <= panel.top < panel.top + panel.height <= height
    boxes = [(p.left, p.top, p.left + p.width, p.top + p.height) for p in panels]
    for one in boxes:
        for other in boxes:
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            assert one is other or apart


def test_an_oblique_scan_is_said_to_be_one(volume: Volume) -> None:
    assert obliquity_degrees(volume.geometry) == 0
    c, s = np.cos(np.radians(25)), np.sin(np.radians(25))
    turned = replace(volume.geometry, direction=((1, 0, 0), (0, c, -s), (0, s, c)))
    assert obliquity_degrees(turned) == pytest.approx(25)
