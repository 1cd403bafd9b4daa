"""Scans of one patient at two dates for tests: a phantom, what it becomes by a known map, and balls for lesions."""

from __future__ import annotations

import numpy as np

from flareseg.labels import by_name, structures
from flareseg.results.followup.shapes import index_of, places_of
from flareseg.results.followup.timepoint import Timepoint
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Volume

TUMOUR = by_name("tumour").value


def grid_of(labels, spacing=(5.0, 3.0, 3.0), origin=(0.0, 0.0, 0.0)):
    return Geometry(labels.shape, spacing, origin)


def segmentation_of(labels, grid, name="CT"):
    return Segmentation(np.ascontiguousarray(labels), grid, structures(), name)


def a_time(labels, grid, name="CT", hu=None, scanned=None):
    volume = None if hu is None else Volume(hu, grid, name)
    return Timepoint.of(segmentation_of(labels, grid, name), volume, scanned)


def moved(labels, grid, matrix, offset_mm, to):
    """The label map on the grid `to`, where a place p of the patient is now at matrix @ p + offset."""
    places = places_of(np.argwhere(np.ones(to.shape_zyx, bool)), to)
    index = np.rint(index_of((places - offset_mm) @ np.linalg.inv(matrix).T, grid)).astype(int)
    within = ((index >= 0) & (index < labels.shape)).all(axis=1)
    result = np.zeros(len(places), np.uint8)
    result[within] = labels[tuple(index[within].T)]
    return result.reshape(to.shape_zyx)


def plant(labels, grid, place_xyz_mm, diameter_mm):
    """A ball of tumour at a place in the patient."""
    places = places_of(np.argwhere(np.ones(grid.shape_zyx, bool)), grid)
    inside = np.linalg.norm(places - place_xyz_mm, axis=1) <= diameter_mm / 2
    labels[inside.reshape(grid.shape_zyx)] = TUMOUR


def places_in(labels, grid, organ, count, apart_mm=32.0, depth_mm=10.0):
    """Places deep in an organ and away from each other, always the same."""
    from scipy.ndimage import distance_transform_edt

    deep = distance_transform_edt(labels == by_name(organ).value, sampling=grid.spacing_zyx_mm)
    index = np.argwhere(deep > depth_mm)
    candidates = places_of(index[np.random.default_rng(3).permutation(len(index))], grid)
    chosen = []
    for place in candidates:
        if all(np.linalg.norm(place - other) > apart_mm for other in chosen):
            chosen.append(place)
        if len(chosen) == count:
            return chosen
    raise ValueError(f"{organ} has no room for {count} lesions")
