"""The models at hand: those that come with flareseg, and those the user imported."""

from __future__ import annotations

import re
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from flareseg.errors import FlareError, ModelError, OutputError
from flareseg.folders import user_data_folder
from flareseg.model.bundle import CARD, JSON, WEIGHTS, load_bundle, opened_folder, put_in_place, read_description
from flareseg.model.network import parameter_shapes
from flareseg.model.plan import Plan

EMBEDDED = Path(__file__).parent.parent / "models"
Origin = Literal["embedded", "yours"]


@dataclass(frozen=True)
class Entry:
    """One model as `flareseg models list` shows it; a damaged one has the reason as its description."""

    name: str
    version: str
    description: str
    origin: Origin
    folder: Path


def models_folder() -> Path:
    """Where imported models live."""
    return user_data_folder() / "models"


def list_models() -> list[Entry]:
    """All models, the embedded ones first."""
    places: list[tuple[Origin, Path]] = [("embedded", EMBEDDED), ("yours", models_folder())]
    return [
        _entry(folder, origin)
        for origin, place in places
        if place.is_dir()
        for folder in sorted(place.iterdir())
        if (folder / JSON).is_file() and not folder.name.startswith(".")
    ]


def find_model(model: str | Path) -> Path:
    """The folder of the model called `model`, or `model` itself where it is a model folder or zip.

    Raises:
        ModelError: when there is none, with the names that there are.
    """
    for entry in list_models():
        if entry.name == str(model):
            return entry.folder
    path = Path(model)
    if (path / JSON).is_file() or path.is_file():
        return path
    if path.is_dir():
        raise ModelError(f"The folder '{path}' holds no flareseg model ({JSON} is missing).")
    names = ", ".join(entry.name for entry in list_models()) or "none"
    raise ModelError(f"There is no model '{model}'; at hand: {names}. See `flareseg models list`.")


def import_model(source: Path, *, name: str | None = None, overwrite: bool = False) -> Entry:
    """Copy a model folder or zip into the user's models, after checking all of it.

    Raises:
        ModelError: when it is no model, damaged, or its name is taken and `overwrite` is not set.
        OutputError: when the user's models folder cannot be written.
    """
    bundle = load_bundle(source)
    name = name or bundle.name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise ModelError(f"'{name}' cannot name a model; take letters, digits, '-', '_' and '.', or give --name.")
    taken = {entry.name: entry for entry in list_models()}.get(name)
    if taken and (taken.origin == "embedded" or not overwrite):
        way_out = "" if taken.origin == "embedded" else " or --overwrite"
        raise ModelError(f"There is already a model '{name}'; give another with --name{way_out}.")
    target = models_folder() / name
    scratch = target.with_name(f".{uuid.uuid4().hex[:12]}")
    try:
        scratch.mkdir(parents=True)
        with opened_folder(source) as folder:
            for file in (JSON, WEIGHTS, CARD):
                if (folder / file).is_file():
                    shutil.copyfile(folder / file, scratch / file)
        put_in_place(scratch, target)
    except OSError as error:
        raise OutputError(f"The model cannot be written to '{target}': {error.strerror}.") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return _entry(target, "yours")


def remove_model(name: str) -> None:
    """Delete one of the user's models.

    Raises:
        ModelError: when there is none of that name, or it is embedded.
    """
    entries = [entry for entry in list_models() if entry.name == name]
    if not entries:
        raise ModelError(f"There is no model '{name}' among yours; see `flareseg models list`.")
    if entries[0].origin == "embedded":
        raise ModelError(f"'{name}' comes with flareseg and cannot be removed.")
    # Only ever a direct child of the models folder: the name was found by listing it.
    shutil.rmtree(entries[0].folder)


def describe(model: str) -> str:
    """What a person wants to know of a model: source, licence, plan, training, scores."""
    folder = find_model(model)
    with opened_folder(folder) as opened:
        description = read_description(opened)
        size_mb = (opened / WEIGHTS).stat().st_size / 1e6 if (opened / WEIGHTS).is_file() else 0.0
    info, plan = description.info, description.plan
    lines = [
        f"{info['name']} {info['version']}: {info['description']}",
        f"  folder     {folder}",
        f"  licence    {info['licence']}",
        f"  citation   {info['citation']}",
        f"  size       {size_mb:.1f} MB",
        f"  network    {_network_line(plan)}",
    ]
    if plan.coarse:
        lines.append(f"  region     {_network_line(plan.coarse)}")
    lines.append(f"  structures {', '.join(name for value, name in plan.labels.items() if value)}")
    for title in ("provenance", "metrics"):
        lines += [f"  {title}", *_indented(info[title], 4)]
    return "\n".join(lines)


def _network_line(plan: Plan) -> str:
    parameters = 0
    for shape in parameter_shapes(plan).values():
        count = 1
        for size in shape:
            count *= size
        parameters += count
    grid = " × ".join(f"{mm:g}" for mm in plan.spacing_zyx_mm)
    patch = " × ".join(str(size) for size in plan.patch_zyx)
    return f"{plan.network.name}, {parameters / 1e6:.2f} M parameters, {grid} mm (z, y, x), windows {patch}"


def _indented(value: Any, depth: int) -> list[str]:
    pad = " " * depth
    if isinstance(value, dict):
        lines = []
        for key, inner in value.items():
            if isinstance(inner, dict | list) and inner:
                lines += [f"{pad}{key}", *_indented(inner, depth + 2)]
            else:
                lines.append(f"{pad}{key}: {inner}")
        return lines
    if isinstance(value, list):
        return [line for inner in value for line in _indented(inner, depth)]
    return [f"{pad}{value}"]


def _entry(folder: Path, origin: Origin) -> Entry:
    """How a folder is listed: by its folder's name, which `import_model` made the model's."""
    try:
        info = read_description(folder).info
    except FlareError as error:
        return Entry(folder.name, "damaged", str(error), origin, folder)
    return Entry(folder.name, info["version"], info["description"], origin, folder)
