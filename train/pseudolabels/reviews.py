"""What readers said of labels, for the label fusion: right ones are labels, all others that were judged are unknown.

A structure of which a reader is not sure, or of which readers say different things, is unknown too: somebody looked and
could not call it right, which is less than is known of a label that nobody looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.labels import structures
from flareseg.results.cohort.summary import labels_digest
from flareseg.results.reviews import Review, Verdict, agreed, read_reviews
from flareseg.volume import Geometry
from train.data.index import IGNORE
from train.pseudolabels.fusion import Fused

Labels = NDArray[np.uint8]
BLANK = "blank"
_SHOWN = 3
_VALUES = {structure.name: structure.value for structure in structures()}


@dataclass(frozen=True)
class Reviews:
    """All reviews of a run, by the digest of the labels that they are of."""

    by_labels: Mapping[str, tuple[Review, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, files: Iterable[str]) -> Reviews:
        """Those of the files that a configuration names; raises as `read_reviews`."""
        found: dict[str, tuple[Review, ...]] = {}
        for review in read_reviews(Path(name).expanduser() for name in files):
            found[review.labels_sha256] = (*found.get(review.labels_sha256, ()), review)
        return cls(found)

    def of(self, case: str, digest: str) -> dict[str, Verdict]:
        """What readers said of the labels `digest` of a case, by FLARE's structures.

        Labels are known by their voxels, whatever the case is called; but those of two cases without a voxel are alike,
        so that there the name counts as well.
        """
        own = digest.removeprefix(BLANK)
        reviews = self.by_labels.get(own, ())
        if own != digest:
            reviews = tuple(review for review in reviews if is_called(case, review.case))
        return {name: verdict for name, verdict in agreed(reviews).items() if name in _VALUES}

    def told(self, cases: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """In lines: what the reviews say of the cases, and which are of none of them.

        Args:
            cases: by name, what `fuse` recorded of each.
        """
        if not self.by_labels:
            return []
        counts = dict.fromkeys(("right", "wrong", "unsure"), 0)
        used: set[str] = set()
        reviewed = 0
        for record in cases.values():
            used |= {digest.removeprefix(BLANK) for digest in record.get("labels", {}).values()}
            said = [verdict for verdicts in record.get("reviewed", {}).values() for verdict in verdicts.values()]
            reviewed += bool(said)
            for verdict in said:
                counts[verdict] += 1
        lines = [
            f"fuse: {reviewed} of {len(cases)} cases are reviewed: {counts['right']} structures right, "
            f"{counts['wrong']} wrong, {counts['unsure']} not sure"
        ]
        others = [review.case for digest in self.by_labels if digest not in used for review in self.by_labels[digest]]
        stale = [name for name in others if any(is_called(case, name) for case in cases)]
        foreign = [name for name in others if name not in stale]
        if stale:
            lines.append(
                f"fuse: {len(stale)} reviews are stale and do not count, for their cases have other labels now "
                f"({_some(stale)}); judge these again"
            )
        if foreign:
            lines.append(f"fuse: {len(foreign)} reviews are of no labels of this run ({_some(foreign)})")
        return lines


def is_called(case: str, name: str) -> bool:
    """Whether a case is called `name`, with or without its source."""
    return case == name or case.endswith(f"_{name}")


def digest_of(labels: Labels, geometry: Geometry) -> str:
    """`labels_digest`, marked where there is no voxel to know the labels by."""
    return ("" if labels.any() else BLANK) + labels_digest(labels, geometry)


def judged_organs(
    truth: Labels | None,
    annotated: Collection[int],
    organs: Labels,
    pseudo_organs: Collection[int],
    verdicts: Mapping[str, Verdict],
) -> tuple[Labels, tuple[int, ...], Labels, tuple[int, ...]]:
    """Ground truth and pseudo-labels of organs after a review of the latter: what is right moves to the ground truth.

    Args:
        truth: (z, y, x) ground truth, or None.
        annotated: label values that it annotates; of these nothing else is needed, and no verdict counts.
        organs: the label map that was reviewed.
        pseudo_organs: label values that it can hold.
        verdicts: by structure's name.

    Returns:
        `truth`, `annotated`, `organs` and `pseudo_organs` anew.
    """
    right, unknown = _divided(verdicts, without=annotated)
    drawn = np.zeros_like(organs) if truth is None else truth
    drawn = np.where((drawn == 0) & np.isin(organs, right), organs, drawn).astype(np.uint8)
    rest = np.where(np.isin(organs, unknown), IGNORE, organs).astype(np.uint8)
    return drawn, (*annotated, *right), rest, tuple(value for value in pseudo_organs if value not in unknown)


def judged(fused: Fused, verdicts: Mapping[str, Verdict]) -> Fused:
    """Fused labels after a review of them: what is right is known, what is not becomes unknown, drawn or not."""
    right, unknown = _divided(verdicts)
    labels = np.where(np.isin(fused.labels, unknown), IGNORE, fused.labels).astype(np.uint8)
    known = fused.known.copy()
    known[right], known[unknown] = True, False
    return Fused(labels, known, fused.denied)


def with_right(kept: Fused, shown: Fused, verdicts: Mapping[str, Verdict]) -> Fused:
    """Of pseudo-labels that are not used, only what readers judged right; all else that they draw is unknown.

    Args:
        kept: the labels without the pseudo-labels.
        shown: those with them, which were reviewed.
        verdicts: by structure's name.
    """
    right, _ = _divided(verdicts)
    if not right:
        return kept
    rest = np.where(np.isin(shown.labels, (0, *right)), shown.labels, IGNORE).astype(np.uint8)
    labels = np.where(np.isin(kept.labels, (0, IGNORE)), rest, kept.labels)
    known = kept.known.copy()
    known[right] = True
    return Fused(labels, known, kept.denied)


def right_structures(record: Mapping[str, Any]) -> set[str]:
    """Names of the structures that readers judged right, of what `fuse` recorded of a case."""
    said = record.get("reviewed", {})
    return {name for verdicts in said.values() for name, verdict in verdicts.items() if verdict == "right"}


def _divided(verdicts: Mapping[str, Verdict], without: Collection[int] = ()) -> tuple[list[int], list[int]]:
    """Label values of right structures, and of all others that were judged."""
    said = {_VALUES[name]: verdict for name, verdict in verdicts.items() if name in _VALUES}
    right = [value for value, verdict in said.items() if verdict == "right" and value not in without]
    return right, [value for value, verdict in said.items() if verdict != "right" and value not in without]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
