"""Patients from a label map without a CT: the map of a case folder, and its rendering as a new patient.

Such a case has seg.nii.gz (FLARE label values), extra_labels.nii.gz (any structures of the whole body) and their names
in info.json, as a table value -> name called "extra_labels", or in its notes as "extra_labels: 1 body, 2 liver, ...".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError
from flareseg.io.files import read_labels
from flareseg.io.image import read_image
from flareseg.volume import Orientation, Triple, box_of
from train.data.case_folder import INFO, TRUTH
from train.data.index import IGNORE
from train.synthetic.body.scanner import acquire, add_table, thick_slices
from train.synthetic.deformation import Deformation, draw_deformation
from train.synthetic.missing_anatomy import ADDED, add_anatomy
from train.synthetic.tissues import Tissues, draw_whole_body_hu, tissues_of
from train.synthetic.whole_body import AIR_HU, Body, draw_body, render_body

EXTRA = "extra_labels.nii.gz"
GRID_MM: Triple = (2.5, 2.5, 2.5)
"""Voxel size of the patients made of label maps."""
_THICK_MM = 5.0
_UPPER = ("liver", "spleen", "kidney", "bile", "adrenal")


@dataclass(frozen=True)
class LabelMap:
    """A label map in canonical orientation.

    Attributes:
        labels_zyx: structures of the whole body, uint8.
        tissues: tissue of each of their values.
        truth_zyx: FLARE label values.
        spacing_zyx_mm: of both.
    """

    labels_zyx: NDArray[np.uint8]
    tissues: Tissues
    truth_zyx: NDArray[np.uint8]
    spacing_zyx_mm: Triple


def read_label_map(folder: Path, info: Mapping[str, Any]) -> LabelMap:
    """Read the label map of a case without a CT; `info` is the content of its info.json.

    Raises:
        InputError: when a file or the names of the structures are missing, or the two maps have different grids.
    """
    for name in (TRUTH, EXTRA):
        if not (folder / name).is_file():
            raise InputError(
                f"'{folder}' has neither a CT nor '{name}'; a patient can be made of the one or the other."
            )
    tissues = tissues_of(_names(info))
    if not tissues:
        raise InputError(
            f"'{folder / INFO}' does not name the structures of {EXTRA}; list them under \"extra_labels\"."
        )
    truth, geometry = read_labels(folder / TRUTH)
    image = read_image(folder / EXTRA)
    if not image.geometry.same_as(geometry, 0.1):
        raise InputError(f"The labels '{folder / EXTRA}' lie on another grid than those of '{TRUTH}'.")
    if image.stored.min() < 0 or image.stored.max() > 255 - len(ADDED):
        raise InputError(f"The labels '{folder / EXTRA}' have values below 0 or above {255 - len(ADDED)}.")
    way = Orientation.of(geometry)
    labels, truth = (way.to_canonical(array).astype(np.uint8) for array in (image.stored, truth))
    return LabelMap(labels, tissues, truth, way.geometry_to_canonical(geometry).spacing_zyx_mm)


def _names(info: Mapping[str, Any]) -> dict[int, str]:
    table = info.get("extra_labels")
    if isinstance(table, Mapping):
        return {int(value): str(name) for value, name in table.items() if str(value).isdigit()}
    listed = re.search(r"extra_labels: ((?:\d+ \w+(?:, )?)+)", str(info.get("notes", "")))
    pairs = (part.split() for part in listed[1].strip(", ").split(", ")) if listed else ()
    return {int(value): name for value, name in pairs}


def synthesize_from_labels(
    labels_zyx: NDArray[Any],
    spacing_zyx_mm: Triple,
    tissues: Tissues,
    truth_zyx: NDArray[np.uint8],
    rng: np.random.Generator,
    *,
    phase: str,
    body: Body | None = None,
    grid_mm: Triple | None = None,
) -> tuple[NDArray[np.int16], NDArray[np.uint8], Body]:
    """Deform a label map, render a patient from it, and scan this patient.

    Args:
        labels_zyx: any label set, canonical orientation.
        spacing_zyx_mm: of the labels.
        tissues: tissue of each label value.
        truth_zyx: the labels to return, deformed.
        rng: source of randomness.
        phase: plain, arterial, portal or delayed.
        body: fat, wall, ascites and so on; random by default.
        grid_mm: voxel size (z, y, x) of the result; by default that of the labels.

    Returns:
        HU and deformed labels on one grid, cut to the patient, and the patient's body. Labels above and below the map
        are 255.
    """
    body = draw_body(rng) if body is None else body
    hu = draw_whole_body_hu(rng, phase)
    grid = spacing_zyx_mm if grid_mm is None else grid_mm
    margin = body.margin_mm if "body" not in tissues.values() else 6.0
    seen = _seen(labels_zyx, spacing_zyx_mm, tissues, rng)
    labels, truth = _with_margin(labels_zyx[seen], truth_zyx[seen], spacing_zyx_mm, margin)
    ratio = np.divide(grid, spacing_zyx_mm).astype(np.float32)
    shape = tuple(max(round(n / r), 1) for n, r in zip(labels.shape, ratio, strict=True))
    drawn = draw_deformation(shape, grid, rng)
    source = (drawn.source + np.float32(0.5)) * ratio[:, None, None, None] - np.float32(0.5)
    for axis in (1, 2):  # the margin goes on for ever
        np.clip(source[axis], 0, labels.shape[axis] - 1, out=source[axis])
    moved_truth = Deformation(drawn.shape_zyx, source).of_labels(truth, IGNORE).astype(np.uint8)
    np.clip(source[0], 0, labels.shape[0] - 1, out=source[0])
    moved = Deformation(drawn.shape_zyx, source).of_labels(labels, 0)
    moved, tissues = _completed(moved, tissues, grid, rng)
    scan = render_body(moved, tissues, grid, hu, body, rng)
    scan, moved_truth = _framed(scan, moved_truth, grid, rng)
    add_table(scan, rng, grid)
    if grid[0] < 0.8 * _THICK_MM and rng.random() < 0.3:
        scan = thick_slices(scan, _THICK_MM / grid[0])
    return acquire(scan, rng, grid, arms=False), moved_truth, body


def _seen(labels: NDArray[Any], spacing: Triple, tissues: Tissues, rng: np.random.Generator) -> slice:
    """The slices of the scan: the upper abdomen, and as much above and below it as other scans have too."""
    more_below, more_above = rng.uniform(30, 280), rng.uniform(30, 130)
    box = box_of(np.isin(labels, [value for value, name in tissues.items() if name in _UPPER]))
    if box is None:
        return slice(None)
    first, last = box[0].start - int(more_below / spacing[0]), box[0].stop + int(more_above / spacing[0])
    return slice(max(first, 0), last)


def _with_margin(
    labels: NDArray[Any], truth: NDArray[np.uint8], spacing: Triple, margin_mm: float
) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Both maps, cut to what is labelled in each slice's plane, with a margin of background."""
    box = box_of((labels > 0) | (truth > 0))
    if box is None:
        return labels, truth
    plane = (slice(None), *box[1:])
    pad = [(0, 0), *((int(margin_mm / mm) + 1,) * 2 for mm in spacing[1:])]
    return np.pad(labels[plane], pad), np.pad(truth[plane], pad)


def _completed(
    labels: NDArray[Any], tissues: Tissues, spacing: Triple, rng: np.random.Generator
) -> tuple[NDArray[Any], Tissues]:
    """The map with bones, muscles and lungs, if it has the outline of the body instead."""
    values = {name: [value for value, tissue in tissues.items() if tissue == name] for name in tissues.values()}
    if "body" not in values or "lung" in values:
        return labels, tissues

    def of(*names: str) -> NDArray[np.bool_]:
        return np.isin(labels, [value for name in names for value in values.get(name, ())])

    body = np.isin(labels, list(tissues))
    organs = body & ~of("body")
    added = add_anatomy(organs, of("aorta", "ivc"), of(*_UPPER), of("spongy_bone"), body, spacing, rng)
    first = max(tissues)
    more = {first + number: name for number, name in enumerate(ADDED, 1)}
    return np.where(added > 0, added + np.uint8(first), labels), {**tissues, **more}


def _framed(
    scan: NDArray[np.float32], labels: NDArray[np.uint8], spacing: Triple, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """The field of view: the patient with some air round it, more of it below, where the table is."""
    box = box_of(scan > -500)
    if box is None:
        return scan, labels
    air = [rng.uniform(4, 40), rng.uniform(15, 60), *rng.uniform(4, 40, 2)]
    wanted = [int(mm / step) for mm, step in zip(air, (spacing[1], spacing[1], spacing[2], spacing[2]), strict=True)]
    plane = (slice(None), *box[1:])
    pad = [(0, 0), (wanted[0], wanted[1]), (wanted[2], wanted[3])]
    return np.pad(scan[plane], pad, constant_values=AIR_HU), np.pad(labels[plane], pad)
