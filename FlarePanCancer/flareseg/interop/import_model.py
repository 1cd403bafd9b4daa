"""A model of somebody else becomes one of the user's: `flareseg models import`."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

from flareseg.errors import ModelError, UsageError
from flareseg.interop.nnunet.axes import RECOGNISED
from flareseg.interop.nnunet.importer import AXES, LABELS, About, Choice, Imported, read_nnunet
from flareseg.interop.nnunet.labels import plan_labels
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
        ModelError: when it is no model, damaged, cannot be run, another than `choice` says of it, or its name is taken
            and `overwrite` is not set.
        UsageError: when it must be told which of several nnU-Net models is meant, or `choice` is given for one of ours.
        OutputError: when the user's models folder cannot be written.
    """
    source = Path(source)
    check_kind(source, ModelError)
    foreign = _nnunet_at(source, choice)
    if foreign and choice and choice.about:
        _check_structures(foreign, choice.about)
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
            _check_layout(source, choice, 2)
            return read_nnunet(source, choice)
        if is_nnunet_v1(source):
            _check_layout(source, choice, 1)
            return read_nnunet_v1(source, choice)
    if choice and choice.about:
        raise ModelError(f"'{source}' is damaged, or holds no nnU-Net model.")
    if choice:
        raise UsageError(f"'{source}' is no nnU-Net model; leave out the options that are for those, such as --axes.")
    return None


def _check_layout(source: Path, choice: Choice | None, version: int) -> None:
    """Of a published model: only one of version 1 needs names for its labels."""
    if choice and choice.about and (choice.labels is not None) != (version == 1):
        raise ModelError(
            f"'{source}' holds a model of nnU-Net v{version}, and its catalogue entry has another 'layout'; that would "
            f"be 'nnunet-v{version}'."
        )


def _check_structures(model: Imported, about: About) -> None:
    """See that a published model segments what is said of it."""
    said = plan_labels({"background": 0} | {name: number for number, name in enumerate(about.structures, 1)})
    pairs = list(zip_longest(said.values(), model.plan.labels.values()))
    for number, (expected, found) in enumerate(pairs):
        if expected != found:
            raise ModelError(
                f"Its structures are not those of its catalogue entry: label {number} is {_named(found)} in the file, "
                f"and {_named(expected)} in the catalogue; where you trust it, get the file by hand and take it with "
                "its own names: flareseg models import FILE."
            )


def _named(label: str | None) -> str:
    return "missing" if label is None else f"'{label}'"
