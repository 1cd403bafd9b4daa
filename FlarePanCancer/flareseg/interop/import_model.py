"""A model of somebody else becomes one of the user's: `flareseg models import`."""

from __future__ import annotations

import re
from pathlib import Path

from flareseg.errors import ModelError, UsageError
from flareseg.interop.nnunet.importer import Choice, Imported, read_nnunet
from flareseg.interop.nnunet.model_folder import is_nnunet
from flareseg.io.opening import check_kind
from flareseg.model.archive import is_plain_file
from flareseg.model.bundle import copy_bundle, read_description
from flareseg.model.catalogue import Entry, entry_of, list_models, models_folder
from flareseg.model.storage import JSON

# Of names that Windows keeps for devices, whatever their ending.
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}


def import_model(
    source: Path | str, *, name: str | None = None, overwrite: bool = False, choice: Choice | None = None
) -> Entry:
    """Copy a model folder or zip into the user's models, after checking all of it; nnU-Net's become our own.

    Args:
        source: the folder or zip of a model, or of an nnU-Net v2 trained model.
        name: what to call it; the name that the model carries unless given.
        overwrite: replace one of the user's models that has this name.
        choice: of an nnU-Net model, which configuration, folds and checkpoint, and how it runs.

    Raises:
        ModelError: when it is no model, damaged, cannot be run, or its name is taken and `overwrite` is not set.
        UsageError: when it must be told which of several nnU-Net models is meant, or `choice` is given for one of ours.
        OutputError: when the user's models folder cannot be written.
    """
    source = Path(source)
    check_kind(source, ModelError)
    foreign = _nnunet_at(source, choice)
    name = name or (foreign.name if foreign else read_description(source).info["name"])
    folder = folder_for(name, overwrite=overwrite)
    if foreign:
        foreign.save(folder, name=folder.name, overwrite=overwrite)
    else:
        copy_bundle(source, folder, overwrite=overwrite)
    return entry_of(folder, "yours")


def folder_for(name: str, *, overwrite: bool = False, flag: str = " with --name") -> Path:
    """Where a new model of the user's called `name` goes; nothing is made. `flag` is how a user says the name.

    Raises:
        ModelError: when nothing can be called so, or the name is taken and `overwrite` is not set.
    """
    if not _is_usable(name):
        raise ModelError(f"'{name}' cannot name a model; choose letters, digits, '-', '_' and '.'{flag}.")
    taken = {entry.name.casefold(): entry for entry in list_models()}.get(name.casefold())
    if taken and taken.origin == "embedded":
        raise ModelError(f"'{taken.name}' is the name of a model that comes with flareseg; choose another{flag}.")
    if taken and not overwrite:
        raise ModelError(f"There is already a model '{taken.name}'; choose another{flag}, or use --overwrite.")
    # The name of one that is replaced stays, as some file systems do not tell "Liver" from "liver".
    return taken.folder if taken else models_folder() / name


def _nnunet_at(source: Path, choice: Choice | None) -> Imported | None:
    """The nnU-Net model there, None where it is one of ours (or none)."""
    if not is_plain_file(source / JSON) and is_nnunet(source):
        return read_nnunet(source, choice)
    if choice:
        raise UsageError(f"'{source}' is no nnU-Net model; leave out --configuration, --folds and --checkpoint.")
    return None


def _is_usable(name: str) -> bool:
    plain = re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?", name) is not None
    return plain and name.split(".")[0].lower() not in _RESERVED
