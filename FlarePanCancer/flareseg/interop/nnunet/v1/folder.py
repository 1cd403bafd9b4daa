"""Where the files of an nnU-Net v1 trained model are.

That is a folder with fold_*/model_final_checkpoint.model and the same with .pkl behind it, within folders that name the
task and the configuration: nnUNet/3d_fullres/Task007_Pancreas/nnUNetTrainerV2__nnUNetPlansv2.1. It may be zipped, and
there may be several.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from flareseg.errors import ModelError
from flareseg.interop.nnunet.choosing import Candidate, choose_folds, choose_model
from flareseg.interop.nnunet.model_folder import TrainedModel, around, given_folder, listed_files

CHECKPOINTS = ("model_final_checkpoint.model", "model_best.model", "model_latest.model")
"""In the order in which they are taken; the first is nnU-Net's own choice."""
SETTINGS = ".pkl"
"""What the name of a checkpoint's settings ends with, beside its own."""
CONFIGURATIONS = ("2d", "3d_lowres", "3d_fullres", "3d_cascade_fullres")
RUNNABLE = ("3d_lowres", "3d_fullres")
FOLD = re.compile(r"fold_(\d{1,2})|(all)")


def is_nnunet_v1(path: Path) -> bool:
    """Whether a folder or zip holds models of nnU-Net v1."""
    try:
        with listed_files(path) as (names, _):
            return bool(_roots(names))
    except (ModelError, OSError):
        return False


@contextmanager
def open_v1_model(path: Path, configuration: str | None = None) -> Iterator[TrainedModel]:
    """The nnU-Net v1 model in a folder or zip.

    Args:
        path: folder or zip.
        configuration: which one, where there are several ("3d_fullres", or what a folder around it is called).

    Raises:
        ModelError: when there is none.
        UsageError: when there are several that can be run, and none is chosen.
    """
    with listed_files(path) as (names, archive):
        given = given_folder(path, archive)
        root = _chosen(_roots(names), configuration, given)
        prefix = f"{root}/" if root else ""
        files = {name.removeprefix(prefix): source for name, source in names.items() if name.startswith(prefix)}
        yield TrainedModel(PurePosixPath(root).name or given.stem, files, archive, _places(given, root))


def folds_of(model: TrainedModel, wanted: tuple[str, ...] | None, checkpoint: str | None) -> dict[str, str]:
    """Folds and the checkpoint file of each, as `choose_folds` chooses them; raises as that."""
    found: dict[str, set[str]] = {}
    for name in model.files:
        folder, _, file = name.partition("/")
        match = FOLD.fullmatch(folder)
        if match and file.endswith(".model") and f"{name}{SETTINGS}" in model.files:
            found.setdefault(match[1] or "all", set()).add(file)
    chosen = choose_folds(model.name, found, wanted, checkpoint, CHECKPOINTS)
    return {fold: f"{'all' if fold == 'all' else f'fold_{fold}'}/{file}" for fold, file in chosen.items()}


def configuration_of(model: TrainedModel) -> str:
    """As the folders around a model say, or ""."""
    return next((name for name in model.around if name in CONFIGURATIONS), "")


def task_of(model: TrainedModel) -> str:
    """The name of the data set, as the folders around a model say, or ""."""
    return next((name for name in model.around if re.fullmatch(r"Task\d{3}_\w+", name)), "")


def _places(given: Path, root: str) -> tuple[str, ...]:
    """The names around a model, also of the folders above the one that was given: nnU-Net's own ones."""
    above = [folder.name for folder in list(given.parents)[:2]] if FOLD.fullmatch(given.name) is None else []
    return (*around(given, root), *above)


def _roots(names: dict[str, Any]) -> list[str]:
    """Folders that have folds with checkpoints and their settings."""
    roots = set()
    for name in names:
        path = PurePosixPath(name)
        if path.name in CHECKPOINTS and f"{name}{SETTINGS}" in names and FOLD.fullmatch(path.parent.name):
            root = str(path.parent.parent)
            roots.add("" if root == "." else root)
    return sorted(roots)


def _chosen(roots: list[str], wanted: str | None, given: Path) -> str:
    if not roots:
        raise ModelError(f"'{given}' holds no model of nnU-Net v1 (fold_*/{CHECKPOINTS[0]} and {SETTINGS}).")
    refused = set(CONFIGURATIONS) - set(RUNNABLE)
    candidates = []
    for root in roots:
        parts = PurePosixPath(root).parts
        candidates.append(Candidate(root, root, (*parts, root), not refused & set(parts)))
    return choose_model(given, candidates, wanted)
