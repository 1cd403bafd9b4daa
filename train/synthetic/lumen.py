"""Hollow organs of a label map: a wall, and what their lumen holds, drawn for every segment of the gut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from flareseg.volume import Triple, box_of
from train.synthetic.smooth_fields import depth_mm, smooth_noise

GAS_HU = -965.0


@dataclass(frozen=True)
class Gut:
    """How a hollow organ looks.

    Attributes:
        wall: its tissue.
        contents: what its segments hold, with their weights.
        segment_ml: volume of a segment, which has contents of its own.
        loops: whether segments are loops that lie side by side, each with a wall.
        wall_mm: thickness of the wall.
    """

    wall: str
    contents: Mapping[str, float]
    segment_ml: float
    loops: bool = False
    wall_mm: tuple[float, float] = (2.0, 3.5)


GUTS: Mapping[str, Gut] = {
    "stomach_wall": Gut(
        "stomach_wall", {"collapsed": 0.2, "fluid": 0.22, "food": 0.33, "gas": 0.25}, 2000, wall_mm=(2.5, 4.5)
    ),
    "duodenum_wall": Gut("duodenum_wall", {"collapsed": 0.42, "fluid": 0.38, "food": 0.08, "gas": 0.12}, 25),
    "esophagus_wall": Gut("esophagus_wall", {"collapsed": 0.7, "fluid": 0.1, "gas": 0.2}, 12, wall_mm=(3.0, 5.0)),
    "bowel_wall": Gut("bowel_wall", {"collapsed": 0.4, "fluid": 0.35, "food": 0.12, "gas": 0.13}, 28, loops=True),
    "bowel": Gut("bowel_wall", {"collapsed": 0.1, "fluid": 0.12, "stool": 0.48, "gas": 0.3}, 110, wall_mm=(1.8, 3.0)),
}
"""By the tissue of a label; "bowel" is the colon."""


def fill_gut(
    scan_zyx: NDArray[np.float32],
    mask_zyx: NDArray[np.bool_],
    spacing_zyx_mm: Triple,
    gut: Gut,
    hu: Mapping[str, float],
    rng: np.random.Generator,
    *,
    oral_contrast: bool = False,
    contents: str | None = None,
) -> None:
    """Paint a hollow organ into a scan, in place.

    Args:
        scan_zyx: HU, canonical orientation of a supine patient: gas rises to low y.
        mask_zyx: the organ with its wall.
        spacing_zyx_mm: of both.
        gut: how it looks.
        hu: of the tissues.
        rng: source of randomness.
        oral_contrast: whether the patient drank contrast agent: then it fills most segments that hold anything.
        contents: of all segments; by default drawn for each.
    """
    box = box_of(mask_zyx)
    if box is None:
        return
    inside = mask_zyx[box]
    shape = inside.shape
    depth = depth_mm(inside, spacing_zyx_mm)[inside]
    at = np.argwhere(inside) * np.asarray(spacing_zyx_mm)
    lumps, fine = (smooth_noise(shape, spacing_zyx_mm, mm, rng)[inside] for mm in (9.0, 4.0))
    cells, apart = _segments(at, gut, spacing_zyx_mm, rng, lumps)
    if gut.loops:
        depth = np.minimum(depth, 0.5 * apart)
    wall = hu[gut.wall] + 4 * lumps
    content = wall.copy()
    kinds, weights = list(gut.contents), np.array(list(gut.contents.values()))
    order = np.argsort(cells, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(cells[order])) + 1):
        kind = contents or str(rng.choice(kinds, p=weights / weights.sum()))
        if oral_contrast and kind != "collapsed" and contents is None and rng.random() < 0.7:
            kind = "contrast"
        level = _gas_share(kind, rng, esophagus=gut.wall == "esophagus_wall")
        content[part] = _content(kind, wall[part], lumps[part], fine[part], rng)
        deep = part[depth[part] > 0.5 * gut.wall_mm[0]]
        if level > 0 and len(deep):
            front = at[deep, 1] < np.quantile(at[deep, 1], level)
            content[deep[front]] = GAS_HU
    thick = rng.uniform(*gut.wall_mm)
    share = np.clip((depth - thick) / np.mean(spacing_zyx_mm) + 0.5, 0, 1)
    scan_zyx[box][inside] = wall + share * (content - wall)


def _segments(
    at: NDArray[np.float64], gut: Gut, spacing: Triple, rng: np.random.Generator, lumps: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The segment of each voxel, and how much farther its second nearest is (mm), which is 0 between two."""
    volume_ml = len(at) * float(np.prod(spacing)) / 1000
    count = max(round(volume_ml / gut.segment_ml), 1)
    if count == 1:
        return np.zeros(len(at), np.intp), np.full(len(at), np.inf)
    seeds = at[rng.choice(len(at), count, replace=len(at) < count)]
    distance, cells = cKDTree(seeds).query(at + 3.0 * lumps[:, None] * rng.normal(0, 1, 3), k=2)
    return cells[:, 0], distance[:, 1] - distance[:, 0]


def _gas_share(kind: str, rng: np.random.Generator, *, esophagus: bool) -> float:
    """The fraction of a lumen that is gas."""
    if kind == "gas":
        return float(rng.uniform(0.3, 0.6) if esophagus else rng.uniform(0.5, 1.0))
    if kind == "collapsed" or rng.random() < 0.55:
        return 0.0
    return float(rng.uniform(0.03, 0.3))


def _content(
    kind: str,
    wall: NDArray[np.float32],
    lumps: NDArray[np.float32],
    fine: NDArray[np.float32],
    rng: np.random.Generator,
) -> NDArray[np.floating]:
    """HU of what a segment holds, without the gas above it."""
    if kind == "collapsed":  # folds of mucosa, with a little fluid between them
        return wall + np.clip(fine, 0, 1) * (rng.uniform(-5, 25) - wall) * 0.7
    if kind == "food":
        return rng.uniform(10, 70) + 25 * lumps - 220 * np.clip(fine - rng.uniform(0.8, 1.6), 0, 2)
    if kind == "stool":
        return rng.uniform(-40, 60) + 15 * lumps - 300 * np.clip(fine - rng.uniform(-0.2, 1.0), 0, 2.5)
    if kind == "contrast":
        return rng.uniform(120, 600) * (1 + 0.1 * lumps)
    return rng.uniform(-5, 32) + 5 * lumps
