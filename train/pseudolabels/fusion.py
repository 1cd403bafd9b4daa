"""Which label wins where: ground truth over pseudo-labels, tumours over organs (equation 3 of the paper).

Pure functions on label arrays (z, y, x) of one grid: FLARE's numbers, 255 unknown. Ground truth decides about the
structures that the case annotates: each of them is exactly where it was drawn and nowhere else. About all others only
the pseudo-labels say anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flareseg.labels import structures
from train.data.index import CLASSES, IGNORE, TUMOUR

Labels = NDArray[np.uint8]
ORGANS = tuple(structure.value for structure in structures() if structure.value != TUMOUR)
COUNTS = ("truth", "pseudo", "fused", "added", "removed", "replaced", "unknown")


@dataclass(frozen=True)
class Fused:
    """Labels to learn from.

    Attributes:
        labels: (z, y, x).
        known: bool per class. Where a class is not known, 0 means "background or that class".
        denied: (z, y, x), where a pseudo-label named a covered organ that the annotator did not draw: it is not this
            organ, but background or something that the annotation does not cover.
    """

    labels: Labels
    known: NDArray[np.bool_]
    denied: NDArray[np.bool_]


def from_truth(truth: Labels, covered: Collection[int]) -> Fused:
    """The annotated structures alone; labels of structures that are not covered are removed."""
    speaks = _table((0, *covered, IGNORE))
    labels = np.where(speaks[truth], truth, 0).astype(np.uint8)
    return Fused(labels, _table((0, *covered))[:CLASSES], np.zeros(truth.shape, bool))


def fuse_organs(
    truth: Labels | None, covered: Collection[int], pseudo: Labels, said: Collection[int] = ORGANS
) -> Fused:
    """Ground truth where it covers an organ, pseudo-labels of the other organs where nothing was drawn.

    Of the conflicts:

    - What was drawn wins over any pseudo-label.
    - A pseudo-voxel of a covered organ that was not drawn there is removed. It becomes background, see `Fused.denied`.
    - A pseudo-voxel of another organ stays where nothing was drawn.
    - What is unknown in the ground truth stays unknown, and so does what is unknown in the pseudo-labels alone.
    - A tumour among organ pseudo-labels says only that the net found no organ there: unknown.

    Args:
        truth: what an annotator drew, or None.
        covered: label values that the annotation covers, the tumour's among them where the annotator drew tumours.
        pseudo: organ pseudo-labels.
        said: organs that the pseudo-labels annotate; all unless given.

    Returns:
        known are the covered structures and the organs that the pseudo-labels annotate.
    """
    drawn = from_truth(np.zeros_like(pseudo) if truth is None else truth, covered)
    organs = [value for value in said if value in ORGANS]
    stays = _table(value for value in organs if value not in covered)
    unsure = _table((TUMOUR, IGNORE))
    rest = np.where(stays[pseudo], pseudo, np.where(unsure[pseudo], IGNORE, 0))
    open_to_pseudo = drawn.labels == 0
    return Fused(
        labels=np.where(open_to_pseudo, rest, drawn.labels).astype(np.uint8),
        known=drawn.known | _table(organs)[:CLASSES],
        denied=open_to_pseudo & _table(value for value in organs if value in covered)[pseudo],
    )


def lay_tumours(fused: Fused, tumours: Labels, truth: Labels | None = None) -> Fused:
    """Tumour pseudo-labels over organs, and over what lies outside any organ, where nobody drew tumours.

    Nets that know organs only run through the tumours in them. A voxel that such a net took for a covered organ, and
    the annotator of that organ left out, is therefore a tumour too often to call it background because S_tum, too, was
    silent: it becomes unknown.

    Args:
        fused: organs. Where its annotation covers tumours nothing changes: the annotator drew all of them.
        tumours: the tumour's value where S_tum found one, 255 where it was not sure enough, 0 elsewhere.
        truth: what an annotator drew; its unknown voxels stay unknown.
    """
    if fused.known[TUMOUR]:
        return fused
    found = np.where(fused.denied & (tumours == 0), IGNORE, tumours)
    over = _table((TUMOUR, IGNORE))[found]
    if truth is not None:
        over &= truth != IGNORE
    labels = np.where(over, found, fused.labels).astype(np.uint8)
    return Fused(labels, fused.known | _table((TUMOUR,))[:CLASSES], fused.denied)


def without_fusion(
    truth: Labels | None, covered: Collection[int], pseudo: Labels, said: Collection[int] = ORGANS
) -> Fused:
    """The paper's baseline: organ pseudo-labels as they are, and tumours where an annotator drew them."""
    fused = fuse_organs(None, (), pseudo, said)
    if truth is None or TUMOUR not in covered:
        return fused
    over = _table((TUMOUR, IGNORE))[truth]
    labels = np.where(over, truth, fused.labels).astype(np.uint8)
    return Fused(labels, fused.known | _table((TUMOUR,))[:CLASSES], fused.denied)


def changes(truth: Labels | None, pseudo: Labels | None, fused: Labels) -> dict[int, dict[str, int]]:
    """Voxels of every structure that occurs anywhere.

    Returns:
        by label value: those of truth, pseudo and fused labels; those "added" to the pseudo-labels; and those of the
        pseudo-labels that were "removed" (are background now), "replaced" (another structure) or became "unknown".
    """
    none = np.zeros_like(fused)
    size, unlabelled = CLASSES + 1, CLASSES  # whatever is no class, such as 255, counts as unlabelled
    before = none if pseudo is None else np.minimum(pseudo, unlabelled)
    both = before.astype(np.uint16) * size + np.minimum(fused, unlabelled)
    table = np.bincount(both.ravel(), minlength=size * size).reshape(size, size)
    drawn = np.bincount((none if truth is None else truth).ravel(), minlength=256)
    result = {}
    for value in range(1, CLASSES):
        held, after, same = int(table[value].sum()), int(table[:, value].sum()), int(table[value, value])
        removed, unknown = int(table[value, 0]), int(table[value, unlabelled])
        replaced = held - same - removed - unknown
        numbers = (int(drawn[value]), held, after, after - same, removed, replaced, unknown)
        if any(numbers):
            result[value] = dict(zip(COUNTS, numbers, strict=True))
    return result


def _table(values: Iterable[int]) -> NDArray[np.bool_]:
    """(256,) true for `values`."""
    table = np.zeros(IGNORE + 1, bool)
    table[list(values)] = True
    return table
