"""Label fusion: ground truth overrides pseudo-labels, tumours override organs (equation 3 of the paper).

Pure functions on label arrays (z, y, x) of one grid: FLARE label values, 255 unknown. For annotated structures the
ground truth is final, including where they are absent. All other structures come from the pseudo-labels.

They work on a few slices at a time: what is computed on the way takes more than ten bytes a voxel, as many gigabytes
for the largest CTs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flareseg.labels import structures
from train.common.label_values import VALUES, value_counts
from train.data.index import CLASSES, IGNORE, TUMOUR

Labels = NDArray[np.uint8]
ORGANS = tuple(structure.value for structure in structures() if structure.value != TUMOUR)
SLICES = 32
"""At a time."""
_NONE, _UNKNOWN = np.uint8(0), np.uint8(IGNORE)
COUNTS = ("truth", "pseudo", "fused", "added", "removed", "replaced", "unknown")


@dataclass(frozen=True)
class Fused:
    """Labels for training.

    Attributes:
        labels: (z, y, x).
        known: bool per class. If a class is not known, label 0 means "background or that class".
        denied: (z, y, x) mask of voxels with the pseudo-label of an annotated organ outside its ground truth: not this
            organ, but background or a structure that is not annotated.
    """

    labels: Labels
    known: NDArray[np.bool_]
    denied: NDArray[np.bool_]


def from_truth(truth: Labels, annotated: Collection[int], in_part: Collection[int] = ()) -> Fused:
    """The annotated structures, and those drawn in part; labels of other structures are removed."""
    kept, known = _table((0, *annotated, *in_part, IGNORE)), _table((0, *annotated))[:CLASSES]
    return _in_slabs(
        lambda part: Fused(np.where(kept[truth[part]], truth[part], _NONE), known, np.zeros(truth[part].shape, bool)),
        truth.shape,
    )


def fuse_organs(
    truth: Labels | None,
    annotated: Collection[int],
    pseudo: Labels,
    pseudo_organs: Collection[int] = ORGANS,
    in_part: Collection[int] = (),
) -> Fused:
    """Ground truth of the annotated structures, pseudo-labels of the other organs outside it.

    Conflicts are resolved as follows:

    - A ground-truth label overrides any pseudo-label.
    - The pseudo-label of an annotated organ outside its ground truth becomes background, see `Fused.denied`.
    - The pseudo-label of any other organ is kept where there is no ground-truth label.
    - Voxels that are unknown in the ground truth stay unknown, as do voxels that are unknown in the pseudo-labels only.
    - A tumour label among organ pseudo-labels only means "no organ": it becomes unknown.

    Args:
        truth: ground truth, or None.
        annotated: label values that the ground truth annotates; with the tumour's if tumours are annotated.
        pseudo: organ pseudo-labels.
        pseudo_organs: organs that the model of the pseudo-labels segments; by default all.
        in_part: label values of which the ground truth has some, but perhaps not all.

    Returns:
        the fused labels; known are the annotated structures and `pseudo_organs`.
    """
    organs = [value for value in pseudo_organs if value in ORGANS]
    stays, annotated_organs = (
        _table(value for value in organs if (value in annotated) == drawn) for drawn in (False, True)
    )
    unsure = _table((TUMOUR, IGNORE))

    def fuse(part: slice) -> Fused:
        guessed = pseudo[part]
        drawn = from_truth(np.zeros_like(guessed) if truth is None else truth[part], annotated, in_part)
        rest = np.where(stays[guessed], guessed, np.where(unsure[guessed], _UNKNOWN, _NONE))
        open_to_pseudo = drawn.labels == 0
        return Fused(
            labels=np.where(open_to_pseudo, rest, drawn.labels),
            known=drawn.known | _table(organs)[:CLASSES],
            denied=open_to_pseudo & annotated_organs[guessed],
        )

    return _in_slabs(fuse, pseudo.shape)


def overlay_tumours(fused: Fused, tumours: Labels, truth: Labels | None = None) -> Fused:
    """Overlay tumour pseudo-labels on organs and background, for cases without annotated tumours.

    Organ networks label tumours as part of the organ. A voxel that such a network assigns to an annotated organ, but
    the annotator does not, is therefore often tumour. If S_tum found nothing there, it becomes unknown rather than
    background.

    Args:
        fused: organs. If tumours are annotated, it is returned unchanged.
        tumours: the tumour's label value where S_tum found one, 255 where its confidence is too low, 0 elsewhere.
        truth: ground truth; its unknown voxels stay unknown.
    """
    if fused.known[TUMOUR]:
        return fused
    counts, known = _table((TUMOUR, IGNORE)), fused.known | _table((TUMOUR,))[:CLASSES]

    def overlay(part: slice) -> Fused:
        before, denied = fused.labels[part], fused.denied[part]
        found = np.where(denied & (tumours[part] == 0), _UNKNOWN, tumours[part])
        over = counts[found] & (before != TUMOUR)  # a tumour that is drawn stays
        if truth is not None:
            over &= truth[part] != IGNORE
        return Fused(np.where(over, found, before), known, denied)

    return _in_slabs(overlay, tumours.shape)


def without_fusion(
    truth: Labels | None,
    annotated: Collection[int],
    pseudo: Labels,
    pseudo_organs: Collection[int] = ORGANS,
    in_part: Collection[int] = (),
) -> Fused:
    """The paper's baseline without label fusion: organ pseudo-labels unchanged, plus annotated tumours."""
    fused = fuse_organs(None, (), pseudo, pseudo_organs)
    if truth is None or TUMOUR not in (*annotated, *in_part):
        return fused
    counts, searched = _table((TUMOUR, IGNORE)), _table((TUMOUR,) if TUMOUR in annotated else ())[:CLASSES]

    def overlay(part: slice) -> Fused:
        labels = np.where(counts[truth[part]], truth[part], fused.labels[part])
        return Fused(labels, fused.known | searched, fused.denied[part])

    return _in_slabs(overlay, pseudo.shape)


def changes(truth: Labels | None, pseudo: Labels | None, fused: Labels) -> dict[int, dict[str, int]]:
    """Voxel counts for each structure that occurs in any of the three label maps.

    Returns:
        by label value: voxels in truth, pseudo and fused labels; voxels "added" to the pseudo-labels; and voxels of the
        pseudo-labels that were "removed" (now background), "replaced" (now another structure) or became "unknown".
    """
    size, unlabelled = CLASSES + 1, CLASSES  # any value that is not a class, such as 255
    counted = np.zeros(size * size, np.int64)
    for part in _slabs(fused.shape):
        before = 0 if pseudo is None else np.minimum(pseudo[part], unlabelled).astype(np.uint16) * size
        counted += np.bincount((before + np.minimum(fused[part], unlabelled)).ravel(), minlength=size * size)
    table = counted.reshape(size, size)
    drawn = np.zeros(VALUES, np.int64) if truth is None else value_counts(truth)
    result = {}
    for value in range(1, CLASSES):
        held, after, same = int(table[value].sum()), int(table[:, value].sum()), int(table[value, value])
        removed, unknown = int(table[value, 0]), int(table[value, unlabelled])
        replaced = held - same - removed - unknown
        numbers = (int(drawn[value]), held, after, after - same, removed, replaced, unknown)
        if any(numbers):
            result[value] = dict(zip(COUNTS, numbers, strict=True))
    return result


def _in_slabs(fuse: Callable[[slice], Fused], shape: tuple[int, ...]) -> Fused:
    """What `fuse` makes of each slab, put together."""
    labels, denied = np.empty(shape, np.uint8), np.empty(shape, bool)
    known = np.zeros(CLASSES, bool)
    for part in _slabs(shape):
        found = fuse(part)
        labels[part], denied[part], known = found.labels, found.denied, found.known
    return Fused(labels, known, denied)


def _slabs(shape: tuple[int, ...]) -> Iterator[slice]:
    return (slice(start, start + SLICES) for start in range(0, shape[0], SLICES))


def _table(values: Iterable[int]) -> NDArray[np.bool_]:
    """Boolean lookup table (256,), true for `values`."""
    table = np.zeros(IGNORE + 1, bool)
    table[list(values)] = True
    return table
