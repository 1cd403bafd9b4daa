"""Where several nets agree on the labels of a CT.

The nets of a cross-validation, asked about CTs without labels, agree where they are right more often than where they
are wrong; Alves and de Wilde take their mean DSC in pairs as the measure ("Uncertainty-Guided Self-learning Framework
for Semi-supervised Multi-organ Segmentation", FLARE 2022, doi:10.1007/978-3-031-23911-3_11). There a whole case is
taken or left; here voxels and organs are unknown one by one, which the loss can make use of.

Pure functions on label arrays (z, y, x) of one grid.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from train.data.index import IGNORE

Labels = NDArray[np.uint8]


def agreed(
    answers: Sequence[Labels],
    confidences: Sequence[NDArray[np.uint8]],
    least_share: float,
    settled: Collection[int] = (),
) -> tuple[Labels, NDArray[np.uint8]]:
    """The labels that enough nets agree on.

    Args:
        answers: (z, y, x) of each net.
        confidences: (z, y, x) of each net, per cent, that its label is right.
        least_share: of the nets, more than a half.
        settled: label values that the ground truth decides on. Nets that differ in these alone agree: on one of these
            where all give it, and on background elsewhere.

    Returns:
        labels, 255 where fewer agree; and the mean confidence of all nets in the label that most of them gave, per
        cent, to which a net that gave another adds nothing. Those of one net are returned as they are.
    """
    if len(answers) == 1:
        return answers[0], confidences[0]
    decided = np.zeros(IGNORE + 1, bool)
    decided[list(settled)] = True
    needed = int(np.ceil(least_share * len(answers) - 1e-9))
    labels, confidence = np.empty_like(answers[0]), np.empty_like(confidences[0])
    for z in range(len(labels)):  # a slice at a time: a CT may have 10⁹ voxels
        given = [answer[z] for answer in answers]
        votes_for = [np.where(decided[one], 0, one).astype(np.uint8) for one in given]
        found, most, sums = _most_votes(votes_for, [one[z] for one in confidences])
        found[most < needed] = IGNORE
        alike = np.logical_and.reduce([one == given[0] for one in given[1:]])
        labels[z] = np.where(alike & decided[given[0]], given[0], found)
        confidence[z] = sums // len(answers)
    return labels, confidence


def _most_votes(
    answers: Sequence[Labels], confidences: Sequence[NDArray[np.uint8]]
) -> tuple[Labels, NDArray[np.uint8], NDArray[np.uint16]]:
    """Label of most nets, how many gave it, and the sum of their confidences, each of the shape of an answer."""
    labels = answers[0].copy()
    most = np.zeros(labels.shape, np.uint8)
    sums = np.zeros(labels.shape, np.uint16)
    for answer in answers[: len(answers) // 2 + 1]:  # a label of more than a half is that of one of these
        votes = np.zeros(labels.shape, np.uint8)
        total = np.zeros(labels.shape, np.uint16)
        for other, confidence in zip(answers, confidences, strict=True):
            same = other == answer
            votes += same
            total += np.where(same, confidence, 0).astype(np.uint16)
        better = votes > most
        labels[better], most[better], sums[better] = answer[better], votes[better], total[better]
    return labels, most, sums


def mean_pairwise_dsc(answers: Sequence[Labels], values: Iterable[int]) -> dict[int, float]:
    """By label value, the mean DSC (0 to 1) of all pairs of nets: 1 for one net, and for a pair that drew none."""
    pairs = list(combinations(range(len(answers)), 2))
    drawn, both = [np.zeros(IGNORE + 1, np.int64) for _ in answers], [np.zeros(IGNORE + 1, np.int64) for _ in pairs]
    for slices in zip(*answers, strict=True):
        for count, one in zip(drawn, slices, strict=True):
            count += _counts(one)
        for count, (a, b) in zip(both, pairs, strict=True):
            count += _counts(slices[a][slices[a] == slices[b]])
    result = {}
    for value in values:
        scores = [_dsc(hit[value], drawn[a][value] + drawn[b][value]) for (a, b), hit in zip(pairs, both, strict=True)]
        result[value] = float(np.mean(scores)) if scores else 1.0
    return result


def _counts(labels: Labels) -> NDArray[np.int64]:
    return np.bincount(labels.ravel(), minlength=IGNORE + 1)


def _dsc(both: int, sum_of_sizes: int) -> float:
    return 2 * both / sum_of_sizes if sum_of_sizes else 1.0
