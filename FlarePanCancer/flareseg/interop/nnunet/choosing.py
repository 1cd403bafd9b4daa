"""Which of several nets, folds and checkpoints is taken, of trained models of nnU-Net 1 and 2 alike."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flareseg.errors import UsageError

CHOOSE = "choose one with --configuration"
"""In an error, what to do about several nets."""


@dataclass(frozen=True)
class Candidate:
    """A trained model within what was given.

    Attributes:
        root: its folder there, "" for all of it.
        title: what a user reads of it.
        names: by which a user may choose it.
        runnable: whether it can be run by itself.
    """

    root: str
    title: str
    names: Collection[str]
    runnable: bool


def choose_model(given: Path, candidates: Sequence[Candidate], wanted: str | None) -> str:
    """The root of the one that is wanted, or, unless given, of the only one, or the only one that can be run.

    Raises:
        UsageError: when that is none, or several.
    """
    if wanted is not None:
        fitting = [one for one in candidates if wanted in one.names]
    else:
        fitting = list(candidates) if len(candidates) == 1 else [one for one in candidates if one.runnable]
    if len(fitting) == 1:
        return fitting[0].root
    listed = ", ".join(one.title for one in candidates)
    raise UsageError(f"'{given}' holds these nnU-Net models: {listed}; {CHOOSE}.")


def choose_folds(
    model: str,
    found: Mapping[str, Collection[str]],
    wanted: tuple[str, ...] | None,
    checkpoint: str | None,
    checkpoints: Sequence[str],
) -> dict[str, str]:
    """The folds that are taken, and the checkpoint file of each.

    Args:
        model: its name, for messages.
        found: by fold ("0" to "99", or "all") the checkpoint files that it has.
        wanted: these; every numbered one unless given (nnU-Net's rule), else "all".
        checkpoint: file name; the first of `checkpoints` that every fold has unless given.
        checkpoints: in the order in which they are taken.

    Raises:
        UsageError: when one that is wanted is not there.
    """
    numbered = sorted((fold for fold in found if fold != "all"), key=int)
    folds = wanted or tuple(numbered) or ("all",)
    for fold in folds:
        if fold not in found:
            raise UsageError(f"There is no fold '{fold}' in '{model}'; it has {', '.join([*numbered] or found)}.")
    for file in (checkpoint,) if checkpoint else checkpoints:
        having = [fold for fold in folds if file in found[fold]]
        # A training that was broken off leaves folds without a final checkpoint; nnU-Net passes these over too.
        if len(having) == len(folds) or (having and not wanted):
            return dict.fromkeys(having, file)
    raise UsageError(f"Not every fold of '{model}' has the checkpoint '{checkpoint or checkpoints[0]}'.")
