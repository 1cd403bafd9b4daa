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

from flareseg.errors import ModelError, UsageError
from flareseg.interop.nnunet.model_folder import CHOOSE, TrainedModel, around, given_folder, listed_files

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
    """Folds ("0" to "99", or "all") and the checkpoint file of each; every numbered one unless `wanted`, else "all".

    Raises:
        ModelError: when there is none.
        UsageError: when one that is wanted is not there.
    """
    found: dict[str, set[str]] = {}
    for name in model.files:
        folder, _, file = name.partition("/")
        match = FOLD.fullmatch(folder)
        if match and file.endswith(".model") and f"{name}{SETTINGS}" in model.files:
            found.setdefault(match[1] or "all", set()).add(file)
    numbered = sorted((fold for fold in found if fold != "all"), key=int)
    folds = wanted or tuple(numbered) or ("all",)
    for fold in folds:
        if fold not in found:
            raise UsageError(f"There is no fold '{fold}' in '{model.name}'; it has {', '.join([*numbered] or found)}.")
    for file in (checkpoint,) if checkpoint else CHECKPOINTS:
        having = [fold for fold in folds if file in found[fold]]
        if len(having) == len(folds) or (having and not wanted):
            return {fold: f"{'all' if fold == 'all' else f'fold_{fold}'}/{file}" for fold in having}
    raise UsageError(f"Not every fold of '{model.name}' has the checkpoint '{checkpoint or CHECKPOINTS[0]}'.")


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
    parts = {root: PurePosixPath(root).parts for root in roots}
    refused = set(CONFIGURATIONS) - set(RUNNABLE)
    if wanted is not None:
        fitting = [root for root in roots if wanted in (*parts[root], root)]
    else:
        runnable = [root for root in roots if not refused & set(parts[root])]
        fitting = roots if len(roots) == 1 else runnable
    if len(fitting) == 1:
        return fitting[0]
    raise UsageError(f"'{given}' holds these nnU-Net models: {', '.join(roots)}; {CHOOSE}.")
