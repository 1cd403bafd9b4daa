"""Presets: models of the catalogue, and embedded ones, that are got and put together in one go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from flareseg.interop.combine_models import combine_models
from flareseg.model.catalogue import Entry, list_models, place_for
from flareseg.public import get
from flareseg.public.entries import (
    EMBEDDED,
    CatalogueError,
    PublicModel,
    Wrong,
    as_filled,
    as_name,
    as_table,
    as_texts,
    read_file,
    users_file,
)
from flareseg.public.get import Installed, Request, get_model

KEYS = {"name", "title", "purpose", "organs", "lesions"}
MOST = 100


@dataclass(frozen=True)
class Preset:
    """Models that become one; see `flareseg models combine`.

    Attributes:
        name: what it is called here, and as one of the user's models unless the user says otherwise.
        title: one line for people.
        purpose: what it is for.
        organs: names of embedded models, or of entries of the catalogue, that draw organs.
        lesions: names of entries that look for lesions, each where its own `lesions` say.
        own: whether it is of the user's own catalogue.
    """

    name: str
    title: str
    purpose: str
    organs: tuple[str, ...]
    lesions: tuple[str, ...]
    own: bool = False

    @property
    def members(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.organs, *self.lesions)))


class Follower(get.Follower, Protocol):
    """Who follows a preset on its way."""

    def member(self, name: str, number: int, count: int) -> None:
        """Now the model called `name` is got, `number` of `count`."""


@dataclass(frozen=True)
class PresetRequest:
    """What the user wants.

    Attributes:
        preset: which.
        entries: the catalogue.
        name: what to call it; as the preset unless given.
        overwrite: replace one of the user's models of that name; members are never replaced.
    """

    preset: Preset
    entries: Sequence[PublicModel]
    name: str | None = None
    overwrite: bool = False


def read_presets(entries: Sequence[PublicModel], own: Path | None = None) -> tuple[Preset, ...]:
    """Every preset: those that come with flareseg, then the user's.

    Args:
        entries: the catalogue, as `read_catalogue` gives it for the same `own`.
        own: a file of further ones; see `read_catalogue`.

    Raises:
        CatalogueError: when one makes no sense.
    """
    by_name = {entry.name: entry for entry in entries}
    embedded = {model.name for model in list_models() if model.origin == "embedded"}
    taken = {name.casefold() for name in (*by_name, *embedded)}
    found: list[Preset] = []
    for path, is_own in ((EMBEDDED, False), (own if own is not None else users_file(), True)):
        rows = read_file(path).get("presets", []) if path is not None else []
        what = "its presets"
        try:
            if not isinstance(rows, list) or len(rows) > MOST:
                raise Wrong(f"they are no list of at most {MOST}")
            for number, row in enumerate(rows, 1):
                what = f"preset {number}"
                preset = _preset(row, is_own)
                _check(preset, by_name, embedded)
                if preset.name.casefold() in taken:
                    raise Wrong(f"the name '{preset.name}' is taken; choose another")
                taken.add(preset.name.casefold())
                found.append(preset)
        except Wrong as error:
            raise CatalogueError(f"The catalogue '{path}' is wrong at {what}: {error}.") from None
    return tuple(found)


def missing_members(preset: Preset, entries: Sequence[PublicModel]) -> list[PublicModel]:
    """The entries of its members that are not among the user's models yet."""
    installed = Installed()
    return [entry for entry in entries if entry.name in preset.members and not installed.of(entry.name)]


def get_preset(request: PresetRequest, follower: Follower, cancelled: Callable[[], bool]) -> Entry:
    """Install the members that are missing, one after the other, and put them together.

    What is installed stays installed, also where a later member fails.

    Raises:
        DownloadError, ModelError, OutputError, Paused, Cancelled: see `get_model`.
        UsageError: see `combine_models`.
    """
    preset = request.preset
    name = request.name or preset.name
    place_for(name, overwrite=request.overwrite)
    missing = missing_members(preset, request.entries)
    for number, entry in enumerate(missing, 1):
        follower.member(entry.name, number, len(missing))
        get_model(Request(entry), follower, cancelled)
    installed = Installed()
    at_hand = {member: next(iter(installed.of(member)), member) for member in preset.members}
    lesions = [
        _as_typed(entry, at_hand[entry.name])
        for member in preset.lesions
        for entry in request.entries
        if entry.name == member
    ]
    return combine_models(name, [at_hand[one] for one in preset.organs], lesions, overwrite=request.overwrite)


def _as_typed(entry: PublicModel, model: str) -> str:
    """A lesion net as `flareseg models combine` takes it."""
    assert entry.lesions, "see _check"
    where = entry.lesions
    return f"{model}:{','.join(where.labels)}@{','.join(where.hosts)}+{where.margin_mm:g}"


def _preset(row: Any, own: bool) -> Preset:
    table = as_table(row)
    if strange := (set(table) | {"lesions"}) ^ KEYS:
        raise Wrong(f"it lacks or has too much: {', '.join(sorted(strange))}")
    return Preset(
        as_name(table["name"]),
        as_filled(table["title"]),
        as_filled(table["purpose"]),
        as_texts(table["organs"]),
        as_texts(table["lesions"]) if "lesions" in table else (),
        own,
    )


def _check(preset: Preset, by_name: dict[str, PublicModel], embedded: set[str]) -> None:
    """See that every member is known, and that there is something to put together."""
    for name in preset.organs:
        if name not in by_name and name not in embedded:
            raise Wrong(f"there is no model '{name}' in the catalogue")
    for name in preset.lesions:
        if name not in by_name or by_name[name].lesions is None:
            raise Wrong(f"there is no model '{name}' with 'lesions' in the catalogue")
    if len(preset.members) < 2:
        raise Wrong("one model alone needs nothing put together")
