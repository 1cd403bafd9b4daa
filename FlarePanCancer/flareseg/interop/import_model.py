"""A model of somebody else becomes one of the user's: `flareseg models import`."""

from __future__ import annotations

from pathlib import Path

from flareseg.errors import ModelError, UsageError
from flareseg.interop.nnunet.axes import RECOGNISED
from flareseg.interop.nnunet.importer import AXES, LABELS, Choice, Imported, read_nnunet
from flareseg.interop.nnunet.model_folder import is_nnunet
from flareseg.interop.nnunet.v1.folder import is_nnunet_v1
from flareseg.interop.nnunet.v1.importer import NOBODY, read_nnunet_v1
from flareseg.io.opening import check_kind
from flareseg.model.archive import is_plain_file
from flareseg.model.bundle import copy_bundle, read_description
from flareseg.model.catalogue import Entry, entry_of, place_for
from flareseg.model.storage import JSON


def import_model(
    source: Path | str, *, name: str | None = None, overwrite: bool = False, choice: Choice | None = None
) -> Entry:
    """Copy a model folder or zip into the user's models, after checking all of it; nnU-Net's become our own.

    Args:
        source: the folder or zip of a model, or of an nnU-Net trained model.
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
    if foreign and choice and choice.about:
        foreign = foreign.described(choice.about)
    name = name or (foreign.name if foreign else read_description(source).info["name"])
    folder = place_for(name, overwrite=overwrite)
    if foreign:
        foreign.save(folder, name=folder.name, overwrite=overwrite)
    else:
        copy_bundle(source, folder, overwrite=overwrite)
    return entry_of(folder, "yours")


def notes_of(folder: Path) -> list[str]:
    """What a user should know of an imported model, as its provenance says: one line each."""
    said = read_description(folder).info["provenance"]
    notes = []
    if RECOGNISED in (axes := str(said.get(AXES, ""))):
        notes.append(f"Axes: {axes}; if that is wrong, import it again with --axes stored or --axes lps.")
    if said.get(LABELS) == NOBODY:
        notes.append("Labels: nothing in the folder names the structures; import it again with --labels NAME,NAME,...")
    return notes


def _nnunet_at(source: Path, choice: Choice | None) -> Imported | None:
    """The nnU-Net model there, None where it is one of ours (or none)."""
    if not is_plain_file(source / JSON):
        if is_nnunet(source):
            return read_nnunet(source, choice)
        if is_nnunet_v1(source):
            return read_nnunet_v1(source, choice)
    if choice:
        raise UsageError(f"'{source}' is no nnU-Net model; leave out the options that are for those, such as --axes.")
    return None
