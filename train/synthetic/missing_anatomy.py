"""Spine, ribs, lungs and muscles for a label map that has organs and the body's outline alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from flareseg.volume import Triple
from train.synthetic.smooth_fields import hull_distance, smooth_noise

ADDED = ("spongy_bone", "muscle", "nerve", "lung", "disc", "cartilage")
"""The tissues of what is added, in the order of their values."""
_SEGMENT_MM = 33.0
_BONE, _MUSCLE, _CORD, _LUNG, _DISC, _CARTILAGE = range(1, len(ADDED) + 1)


def add_anatomy(
    organs_zyx: NDArray[np.bool_],
    great_vessels_zyx: NDArray[np.bool_],
    upper_organs_zyx: NDArray[np.bool_],
    bones_zyx: NDArray[np.bool_],
    body_zyx: NDArray[np.bool_],
    spacing_zyx_mm: Triple,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Where the bones, muscles and lungs may lie that a label map lacks.

    Args:
        organs_zyx: all labelled organs and bones, which keep their place; canonical orientation.
        great_vessels_zyx: aorta and inferior vena cava, which run in front of the spine.
        upper_organs_zyx: those below the diaphragm and near it, such as liver, spleen and kidneys.
        bones_zyx: labelled bones, such as the pelvis.
        body_zyx: the inside of the skin.
        spacing_zyx_mm: of all.
        rng: source of randomness.

    Returns:
        uint8 (z, y, x): 0, or 1 + the place of its tissue in `ADDED`.
    """
    nz, ny, nx = organs_zyx.shape
    z, y, x = (
        np.arange(n, dtype=np.float32) * np.float32(mm) for n, mm in zip((nz, ny, nx), spacing_zyx_mm, strict=True)
    )
    z, y = z[:, None, None], y[None, :, None]
    x = x[None, None]
    added = np.zeros(organs_zyx.shape, np.uint8)
    if not great_vessels_zyx.any() or not upper_organs_zyx.any():
        return added
    middle, front, back = _axis(great_vessels_zyx, body_zyx, spacing_zyx_mm)
    dx, behind = x - middle, y - front  # mm from the midline, and behind the front of the spine
    depth = y - back  # negative: in front of the skin of the back
    top = np.flatnonzero(upper_organs_zyx.any(axis=(1, 2)))[-1] * spacing_zyx_mm[0]
    pelvis = np.flatnonzero(bones_zyx.any(axis=(1, 2)))
    crest = pelvis[-1] * spacing_zyx_mm[0] if len(pelvis) else -1e3
    size = rng.uniform(0.92, 1.08)
    # Muscles: beside the spine up to the back, and the psoas below the first lumbar vertebra.
    inward = (behind - 28) / np.maximum(back - 8 - front - 28, 20)  # 0 at the vertebrae, 1 under the skin of the back
    erector = ((np.abs(dx) - 34) / 34) ** 4 + (2 * inward - 1) ** 4 < 1
    psoas = ((np.abs(dx) - 40) / 17) ** 2 + ((behind - 22) / 22) ** 2 < np.clip((top - 105 - z) / 70, 0, 1)
    added[np.broadcast_to(erector | psoas, added.shape)] = _MUSCLE
    # Lungs lie above a diaphragm that drapes over what is below it, and beside the heart.
    dome = _drape(upper_organs_zyx, spacing_zyx_mm) + 3
    clouds = smooth_noise(added.shape, spacing_zyx_mm, 40.0, rng)
    beside = np.abs(dx) > 26 + 10 * np.clip((front - 20 - y) / 60, -0.5, 0.5) + 3 * clouds
    shadow = np.any(upper_organs_zyx, axis=0)[None]  # of liver and spleen, which the chest holds closely
    chest_wall = np.maximum(
        _chest(body_zyx, spacing_zyx_mm), hull_distance(shadow, spacing_zyx_mm) - rng.uniform(30, 34)
    )
    lung = (chest_wall < -26) & (z > dome) & beside & (depth < -30)
    added[lung] = _LUNG
    # Ribs run down towards the front, within the wall of the chest.
    slope = z + 0.6 * (back - y) + 4 * clouds
    in_wall = (np.abs(chest_wall + 20) < 4.0) & (z > dome - 95) & (np.mod(slope, 27.0) < 11)
    in_wall &= (np.abs(dx) > 44) | (behind < 20)
    costal = in_wall & (y < front - 65)
    added[in_wall & (depth < -18)] = _BONE
    added[costal] = _CARTILAGE
    # The spine: bodies and discs, arches round the cord, spinous and transverse processes.
    spine = z > crest - 70 if len(pelvis) else z > -1
    bodies = (dx / (22 * size)) ** 2 + ((behind - 16 * size) / (16.5 * size)) ** 2 < 1
    level = np.mod(z, _SEGMENT_MM)
    cord = (dx / 10) ** 2 + ((behind - 40 * size) / 9) ** 2 < 1
    arch = ((dx / 17) ** 2 + ((behind - 42 * size) / 15) ** 2 < 1) & (level > 8)
    process = (np.abs(dx) < 4.5) & (behind > 50 * size) & (depth < -13) & (np.mod(z + 10, _SEGMENT_MM) > 12)
    across = (np.abs(dx) < 38) & (np.abs(behind - 40 * size) < 4.5) & (np.abs(level - 20) < 6)
    added[spine & (arch | process | across)] = _BONE
    added[spine & bodies] = _BONE
    added[spine & bodies & (level < 7)] = _DISC
    added[spine & cord] = _CORD
    added[organs_zyx | ~body_zyx] = 0
    return added


def _axis(
    vessels: NDArray[np.bool_], body: NDArray[np.bool_], spacing: Triple
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Midline (x), front of the spine and skin of the back (y) in mm, per slice and smooth; shape (z, 1, 1)."""
    nz = len(vessels)
    rows = []
    for k in range(nz):
        ys, xs = np.nonzero(body[k])
        own = np.nonzero(vessels[k])[0]
        if len(ys):
            centre = np.abs(xs - xs.mean()) < 20 / spacing[2]
            skin = np.percentile(ys[centre], 99.5) if centre.any() else ys.max()
            rows.append((k, xs.mean() * spacing[2], own.max() * spacing[1] if len(own) else np.nan, skin * spacing[1]))
    table = np.array(rows)
    seen = np.isfinite(table[:, 2])
    at = np.arange(nz)
    lines = [np.interp(at, table[:, 0], table[:, 1]), np.interp(at, table[seen, 0], table[seen, 2]),
             np.interp(at, table[:, 0], table[:, 3])]  # fmt: skip
    middle, front, back = (ndimage.gaussian_filter1d(line, 30 / spacing[0]) for line in lines)
    front = np.minimum(front + 3, back - 74)  # the spine and its processes need some room
    shaped = [line.astype(np.float32)[:, None, None] for line in (middle, front, back)]
    return shaped[0], shaped[1], shaped[2]


def _drape(organs: NDArray[np.bool_], spacing: Triple) -> NDArray[np.float32]:
    """Height (mm) of a sheet that lies on the organs and falls off beside them; shape (1, y, x)."""
    nz = organs.shape[0]
    top = np.where(organs.any(axis=0), nz - 1 - organs[::-1].argmax(axis=0), -nz) * spacing[0]
    step = 10.0
    for _ in range(18):  # a cone of slope 1.1 at every point, grown step by step
        size = [2 * round(step / mm) + 1 for mm in spacing[1:]]
        top = np.maximum(top, ndimage.maximum_filter(top, size) - 1.1 * step)
    smooth = ndimage.gaussian_filter(top, [9 / mm for mm in spacing[1:]])
    return np.maximum(smooth, np.where(top > smooth, smooth, top)).astype(np.float32)[None]


def _chest(body: NDArray[np.bool_], spacing: Triple) -> NDArray[np.float32]:
    """Distance (mm) to an ellipse within the skin of each slice, negative inside; arms are cut off."""
    nz, ny, nx = body.shape
    sizes = []
    for k in range(nz):
        rows, columns = np.flatnonzero(body[k].any(1)), np.flatnonzero(body[k].any(0))
        sizes.append((rows[0], rows[-1], columns[0], columns[-1]) if len(rows) else (0, ny - 1, 0, nx - 1))
    table = np.array(sizes, float)
    # Where arms begin, slices are wider than those below them: the chest is not.
    deep = table[:, 1] - table[:, 0]
    wide = np.minimum(table[:, 3] - table[:, 2], 1.42 * deep * spacing[1] / spacing[2])
    centre_y, centre_x = (table[:, 0] + table[:, 1]) / 2, (table[:, 2] + table[:, 3]) / 2
    parts = [
        ndimage.gaussian_filter1d(line, 20 / spacing[0])[:, None, None] for line in (deep, wide, centre_y, centre_x)
    ]
    deep, wide, centre_y, centre_x = parts
    dy = (np.arange(ny)[None, :, None] - centre_y) * spacing[1]
    dx = (np.arange(nx)[None, None] - centre_x) * spacing[2]
    a, b = wide * spacing[2] / 2, deep * spacing[1] / 2
    power = (np.abs(dx / a) ** 2.5 + np.abs(dy / b) ** 2.5) ** (1 / 2.5)
    radius = np.hypot(dx, dy)
    return (radius * (1 - 1 / np.maximum(power, 1e-3))).astype(np.float32)
