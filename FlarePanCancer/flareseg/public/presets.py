"""Presets: models of the catalogue, and embedded ones, that are got and put together in one go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from flareseg.errors import FlareError, UsageError
from flareseg.interop.combine_models import combine_models
from flareseg.model.catalogue import Entry, list_models, place_for
from flareseg.model.combined import Combined, read_combined
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
from flareseg.public.get import Request, get_model, same_command
from flareseg.public.installed import Installed

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
        overwrite: replace one of the user's models of that name. Of members, only damaged ones of the preset as it is
            installed are replaced.
        catalogue: the further file of entries that the user has named.
    """

    preset: Preset
    entries: Sequence[PublicModel]
    name: str | None = None
    overwrite: bool = False
    catalogue: Path | None = None

    @property
    def model(self) -> str:
        """What it will be called."""
        return self.name or self.preset.name


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
    installed = Installed(thorough=True)
    return [entry for entry in entries if entry.name in preset.members and not installed.of(entry)]


def preset_runs(preset: Preset, installed: Installed) -> bool:
    """Whether it is installed under its own name, with all of its members."""
    return _put_together(preset, installed) is not None and installed.runs(preset.name)


def check_preset(request: PresetRequest) -> None:
    """See that it and its missing members may be called so.

    Raises:
        UsageError: when it would be called as a member is.
        ModelError: when a name is taken.
    """
    preset, installed = request.preset, Installed(thorough=True)
    names = {*preset.members, *_at_hand(preset, request.entries, installed).values()}
    if request.model.casefold() in {name.casefold() for name in names}:
        raise UsageError(f"'{request.model}' is the name of a member of '{preset.name}'; choose another with --name.")
    place_for(request.model, overwrite=request.overwrite or _is_broken(request, installed))
    known = _known_members(preset, installed)
    for entry in missing_members(preset, request.entries):
        if not _is_replaced(entry, known, installed):
            installed.check_free(entry)


def get_preset(request: PresetRequest, follower: Follower, cancelled: Callable[[], bool]) -> Entry:
    """Install the members that are missing, one after the other, and put them together.

    What is installed stays installed, also where a later member fails.

    Raises:
        DownloadError, ModelError, OutputError, Paused, Cancelled: see `get_model`.
        UsageError: see `check_preset` and `combine_models`.
    """
    check_preset(request)
    preset, before = request.preset, Installed(thorough=True)
    overwrite = request.overwrite or _is_broken(request, before)
    known = _known_members(preset, before)
    missing = missing_members(preset, request.entries)
    whole = same_command(preset.name, request.catalogue, request.name, request.overwrite)
    for number, entry in enumerate(missing, 1):
        follower.member(entry.name, number, len(missing))
        replaced = _is_replaced(entry, known, before)
        get_model(
            Request(entry, overwrite=replaced, catalogue=request.catalogue, whole=whole),
            follower,
            cancelled,
        )
    at_hand = _at_hand(preset, request.entries, Installed(thorough=True))
    lesions = [
        _as_typed(entry, at_hand[entry.name])
        for member in preset.lesions
        for entry in request.entries
        if entry.name == member
    ]
    return combine_models(request.model, [at_hand[one] for one in preset.organs], lesions, overwrite=overwrite)


def _at_hand(preset: Preset, entries: Sequence[PublicModel], installed: Installed) -> dict[str, str]:
    """What its members are called here, or would be."""
    found = {entry.name: installed.of(entry) for entry in entries if entry.name in preset.members}
    return {member: next(iter(found.get(member, [])), member) for member in preset.members}


def _put_together(preset: Preset, installed: Installed) -> Combined | None:
    """The user's model called as the preset, where it is put together as the preset says."""
    model = installed.own(preset.name)
    try:
        combined = read_combined(model.folder) if model else None
    except FlareError:
        return None
    if combined is None:
        return None
    pairs = (
        (preset.organs, [one.model for one in combined.organs]),
        (preset.lesions, [one.member.model for one in combined.lesions]),
    )
    for wanted, found in pairs:
        if len(wanted) != len(found) or not all(map(installed.may_be, found, wanted)):
            return None
    return combined


def _known_members(preset: Preset, installed: Installed) -> set[str]:
    combined = _put_together(preset, installed)
    return {member.model for member in combined.members} if combined else set()


def _is_broken(request: PresetRequest, installed: Installed) -> bool:
    """Whether the preset stands under its own name, but cannot run."""
    preset = request.preset
    there = request.model == preset.name and _put_together(preset, installed) is not None
    return there and not installed.runs(preset.name)


def _is_replaced(entry: PublicModel, known: set[str], installed: Installed) -> bool:
    """Whether the model called as `entry` is a damaged one of the catalogue, or of the preset as it is installed."""
    model = installed.own(entry.name)
    ours = model is not None and (installed.entry_name(model.name) == entry.name or entry.name in known)
    return ours and not installed.runs(entry.name)


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
