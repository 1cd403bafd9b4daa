"""The models at hand: those that come with flareseg, and those the user imported."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from flareseg.errors import FlareError, ModelError
from flareseg.labels import Structure
from flareseg.model.archive import is_plain_file
from flareseg.model.bundle import read_description
from flareseg.model.combined import read_combined
from flareseg.model.members import Members, describe_combined, fingerprint_of
from flareseg.model.networks.registry import parameter_shapes
from flareseg.model.plan import Plan
from flareseg.model.shared_nets import EMBEDDED
from flareseg.model.storage import CARD, JSON, delete_model
from flareseg.model.structures import drawn_by
from flareseg.system.leftovers import remove_leftovers
from flareseg.system.user_folders import NoHome, user_data_folder
from flareseg.text import one_line

DAMAGED = "damaged"
Origin = Literal["embedded", "yours"]
# Of names that Windows keeps for devices, whatever their ending.
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}


@dataclass(frozen=True)
class Entry:
    """One model as `flareseg models list` shows it; a damaged one has the reason as its description.

    Attributes:
        parity: whether it gives nnU-Net's own answer unless told otherwise.
        structures: what it segments.
    """

    name: str
    version: str
    description: str
    origin: Origin
    folder: Path
    parity: bool = False
    structures: tuple[Structure, ...] = ()


def models_folder() -> Path:
    """Where imported models live.

    Raises:
        NoHome: when the account has no place for them.
    """
    return user_data_folder() / "models"


def _own_folders() -> Iterator[Path]:
    """Of the user's models; none where there is no place for them."""
    with suppress(NoHome):
        yield from _model_folders(models_folder())


def list_models() -> list[Entry]:
    """All models, the embedded ones first. None of their weights are read."""
    places: list[tuple[Origin, Iterable[Path]]] = [("embedded", _model_folders(EMBEDDED)), ("yours", _own_folders())]
    return [entry_of(folder, origin) for origin, folders in places for folder in folders]


def find_model(model: str | Path) -> Path:
    """The folder of the model called `model`, or `model` itself where it is a model folder or zip.

    Raises:
        ModelError: when there is none, with the names that there are.
    """
    folders = _folders()
    if str(model) in folders:
        return folders[str(model)]
    path = Path(model)
    try:
        if is_plain_file(path / JSON) or is_plain_file(path):
            return path
        if path.is_dir():
            raise ModelError(f"The folder '{path}' holds no flareseg model ({JSON} is missing).")
    except (OSError, ValueError):
        pass  # not even a possible path, so it is an unknown name
    raise ModelError(f"There is no model '{model}'; at hand: {', '.join(sorted(folders)) or 'none'}.")


def find_installed(name: str) -> Path | None:
    """The folder of the embedded or imported model called `name`; a folder elsewhere is none."""
    return _folders().get(name)


def _folders() -> dict[str, Path]:
    return {folder.name: folder for folder in (*_own_folders(), *_model_folders(EMBEDDED))}


def place_for(name: str, *, overwrite: bool = False, flag: str = " with --name") -> Path:
    """The folder in which a model of the user's that is called `name` would lie. `flag` is how a user says the name.

    Raises:
        ModelError: when nothing can be called so, or the name is taken and `overwrite` is not set.
        NoHome: when the account has no place for models.
    """
    if not is_usable_name(name):
        raise ModelError(f"'{name}' cannot name a model; choose letters, digits, '-', '_' and '.'{flag}.")
    taken = {entry.name.casefold(): entry for entry in list_models()}.get(name.casefold())
    if taken and taken.origin == "embedded":
        raise ModelError(f"'{taken.name}' is the name of a model that comes with flareseg; choose another{flag}.")
    if taken and not overwrite:
        raise ModelError(f"There is already a model '{taken.name}'; choose another{flag}, or use --overwrite.")
    # The name of one that is replaced stays, as some file systems do not tell "Liver" from "liver".
    return taken.folder if taken else models_folder() / name


def is_usable_name(name: str) -> bool:
    """Whether a model can be called so on every system."""
    plain = re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?", name) is not None
    return plain and name.split(".")[0].lower() not in _RESERVED


def structures_in(model: str | Path) -> tuple[Structure, ...]:
    """What the model called `model` segments. Its weights are not read.

    Raises:
        ModelError: when there is no such model, or it is damaged.
    """
    path = find_model(model)
    if combined := read_combined(path):
        return Members(combined, find_installed).structures
    return drawn_by(read_description(path).plan)


def fingerprint(model: str | Path) -> dict[str, Any]:
    """What tells the results of a model from those of another: name and version, sha256 of weights and of the plan.

    Raises:
        ModelError: when there is no such model, or it is damaged.
    """
    path = find_model(model)
    if combined := read_combined(path):
        return Members(combined, find_installed).fingerprint()
    return fingerprint_of(read_description(path))


def remove_model(name: str) -> None:
    """Delete one of the user's models.

    Raises:
        ModelError: when there is none of that name, it is embedded, or another model is put together of it.
        OutputError: when it cannot be deleted.
    """
    if any(folder.name == name for folder in _model_folders(EMBEDDED)):
        raise ModelError(f"'{name}' comes with flareseg and cannot be removed.")
    # Found by listing the folder, never by joining paths: nothing outside it can be meant.
    yours = {folder.name: folder for folder in _own_folders()}
    if name not in yours:
        raise ModelError(f"There is no model '{name}' among yours; they are: {', '.join(yours) or 'none'}.")
    if users := _put_together_of(name):
        those = ", ".join(f"'{one}'" for one in users)
        raise ModelError(
            f"'{name}' is part of {those}, which cannot run without it; first: "
            f"{' and '.join(f'flareseg models remove {one}' for one in users)}."
        )
    delete_model(yours[name])


def _put_together_of(name: str) -> list[str]:
    """The user's models of which it is a member."""
    found = []
    for folder in _own_folders():
        with suppress(ModelError):  # a damaged one needs nothing any more
            combined = read_combined(folder)
            if combined and any(member.model == name for member in combined.members):
                found.append(folder.name)
    return found


def describe(model: str | Path) -> str:
    """What a person wants to know of a model: source, licence, plan, training, scores."""
    path = find_model(model)
    if combined := read_combined(path):
        return describe_combined(Members(combined, find_installed), path)
    description = read_description(path)
    info, plan = description.info, description.plan
    lines = [
        f"{info['name']} {info['version']}",
        f"{info['description']}",
        "",
        f"  path        {path}",
        f"  licence     {info['licence']}",
        f"  citation    {info['citation']}",
        f"  network     {_network_line(plan)}",
    ]
    if plan.coarse:
        lines.append(f"  region      {_network_line(plan.coarse)}")
    if plan.tumour:
        lines.append(f"  tumours     {_network_line(plan.tumour)}")
    lines.append(f"  structures  {', '.join(one.name for one in drawn_by(plan))}")
    if plan.parity:
        lines.append("  runs        as nnU-Net does, voxel for voxel; --no-parity is several times faster")
    if description.ensemble_sha256:
        lines.append(f"  ensemble    of {1 + len(description.ensemble_sha256)} networks")
    lines.append(f"  weights     sha256 {description.sha256}")
    for key, value in info["provenance"].items():
        if isinstance(value, str | int | float):
            lines.append(f"  {_one_line(key):<11} {_one_line(value)}")
    lines += _scores(info["metrics"])
    if is_plain_file(path / CARD):
        lines += ["", f"More in {path / CARD}"]
    return "\n".join(lines)


def _scores(metrics: dict[str, Any]) -> list[str]:
    """Mean DSC and NSD per model and case, from rows as the training writes them; others are not shown."""
    sums: dict[str, list[tuple[float, float]]] = {}
    rows = metrics.get("rows", [])
    for row in rows if isinstance(rows, list) else []:
        try:
            key, pair = f"{row['case']} (model: {row['model']})", (float(row["dsc"]), float(row["nsd"]))
        except (KeyError, TypeError, ValueError):
            return []
        sums.setdefault(key, []).append(pair)
    lines = ["", "  mean DSC  mean NSD  structures  case"] if sums else []
    for key, pairs in sums.items():
        dsc, nsd = (sum(pair[i] for pair in pairs) / len(pairs) for i in (0, 1))
        lines.append(f"  {dsc:8.3f}  {nsd:8.3f}  {len(pairs):10}  {_one_line(key)}")
    return lines


def _network_line(plan: Plan) -> str:
    parameters = sum(math.prod(shape) for shape in parameter_shapes(plan).values())
    spacing = " x ".join(f"{mm:g}" for mm in plan.spacing_zyx_mm)
    patch = " x ".join(str(size) for size in plan.patch_zyx)
    return f"{plan.network.name}, {parameters / 1e6:.2f} M parameters, windows of {patch} at {spacing} mm (z, y, x)"


def _model_folders(place: Path) -> Iterator[Path]:
    remove_leftovers(place, once=True)
    try:
        folders = sorted(place.iterdir()) if place.is_dir() else []
    except OSError:
        return
    for folder in folders:
        # Hidden ones are half-written or half-deleted; what may not be looked into is nobody's model.
        with suppress(OSError):
            if not folder.name.startswith(".") and is_plain_file(folder / JSON):
                yield folder


def entry_of(folder: Path, origin: Origin) -> Entry:
    """How a model is listed: by its folder's name, which whoever imported it chose."""
    try:
        if combined := read_combined(folder):
            members = Members(combined, find_installed)
            members.check()
            about = combined.info["version"], combined.info["description"]
            return Entry(folder.name, *about, origin, folder, members.parity, members.structures)
        found = read_description(folder)
        parts = drawn_by(found.plan)
    except FlareError as error:
        return Entry(folder.name, DAMAGED, str(error), origin, folder)
    version, description = found.info["version"], found.info["description"]
    return Entry(folder.name, version, description, origin, folder, found.plan.parity, parts)


def _one_line(value: Any) -> str:
    return one_line(str(value), 200)
