"""The catalogue of public models: catalogue.json, and what the user's own file adds to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast
from urllib.parse import urlsplit

from flareseg.errors import FlareError, UsageError
from flareseg.model.catalogue import is_usable_name, list_models
from flareseg.system.user_folders import NoHome, user_data_folder
from flareseg.text import shortened

EMBEDDED = Path(__file__).with_name("catalogue.json")
OWN = "catalogue.json"
"""The user's own file, in the folder of the user's data."""
FORMAT = 1
LARGEST_FILE_BYTES = 2**22
LONGEST_TEXT = 1000
MOST_STRUCTURES = 255
LOCAL = ("localhost", "127.0.0.1", "::1")
"""Hosts of this computer, to which a connection need not be encrypted."""

Layout = Literal["nnunet-v2", "nnunet-v1", "flareseg"]
Axes = Literal["ras", "lps", "stored"]
Terms = Literal["open", "non-commercial", "unread"]
Value = TypeVar("Value")


class CatalogueError(FlareError):
    """A catalogue file is damaged, or an entry of it makes no sense."""


@dataclass(frozen=True)
class Lesions:
    """Of a net that looks for lesions, where it is meant to look.

    Attributes:
        labels: names of the structures that are lesions, as the entry lists them.
        hosts: structures of FLARE, or of a whole-body net, around which the net sees a CT.
        margin_mm: by which the box around the hosts is widened on every side.
    """

    labels: tuple[str, ...]
    hosts: tuple[str, ...]
    margin_mm: float


@dataclass(frozen=True)
class PublicModel:
    """One model that somebody publishes.

    Attributes:
        name: what it is called here, and as one of the user's models unless the user says otherwise.
        title: one line for people.
        purpose: what it is for.
        structures: names of what it segments, in the order of its labels: the first is label 1.
        licence: of the weights: an SPDX identifier, or where to read it.
        terms: "open": any use; "non-commercial"; "unread": nobody has put it into this catalogue yet.
        authors: who made it.
        citation: what to cite.
        page: where a person reads more.
        addresses: of the same file; the first that answers is taken.
        bytes: of the file; None where unknown.
        sha256: of the file, as its authors or their host publish it; None where they do not.
        layout: what the file holds.
        axes: how the net wants a CT's axes to run; None where its files say it.
        configuration: which net, where the file holds several: "3d_fullres", or the name of its folder.
        folds: which, where not all are meant.
        lesions: where a net for lesions looks; None for others.
        accuracy: what its authors have published, with the source; "" where nothing could be verified.
        notes: what else a user should know.
        tried: what has been tried with the real file.
        own: whether it is of the user's own catalogue.
    """

    name: str
    title: str
    purpose: str
    structures: tuple[str, ...]
    licence: str
    terms: Terms
    authors: str
    citation: str
    page: str
    addresses: tuple[str, ...]
    bytes: int | None
    sha256: str | None
    layout: Layout
    axes: Axes | None
    configuration: str | None
    folds: tuple[str, ...] | None
    lesions: Lesions | None
    accuracy: str
    notes: str
    tried: str
    own: bool = False

    @property
    def file_name(self) -> str:
        """What the file is called where it is published."""
        return urlsplit(self.addresses[0]).path.rpartition("/")[2] or self.name


def read_catalogue(own: Path | None = None) -> tuple[PublicModel, ...]:
    """Every entry: those that come with flareseg, then the user's.

    Args:
        own: a file of further entries; unless given, catalogue.json in the folder of the user's data, where there is
            one.

    Raises:
        CatalogueError: when a file is damaged, or an entry of the user's has a name that is taken.
    """
    lists: dict[str, tuple[str, ...]] = {}
    found = _read(EMBEDDED, lists, own=False)
    path = own if own is not None else users_file()
    if path is None:
        return tuple(found)
    taken = {entry.name.casefold() for entry in found}
    taken |= {entry.name.casefold() for entry in list_models() if entry.origin == "embedded"}
    for entry in _read(path, lists, own=True):
        if entry.name.casefold() in taken:
            raise CatalogueError(f"'{path}' has a model called '{entry.name}', a name that is taken; choose another.")
        taken.add(entry.name.casefold())
        found.append(entry)
    return tuple(found)


def find_public(name: str, entries: Sequence[PublicModel]) -> PublicModel:
    """The entry called `name`.

    Raises:
        UsageError: when there is none.
    """
    for entry in entries:
        if entry.name == name:
            return entry
    raise UsageError(f"There is no public model '{shortened(name, 80)}'; see flareseg models available.")


def check_address(address: str) -> None:
    """Refuse what is no address of an encrypted connection.

    Raises:
        ValueError: saying why.
    """
    parts = urlsplit(address)
    local = parts.scheme == "http" and parts.hostname in LOCAL
    if not (parts.scheme == "https" or local) or not parts.hostname or not address.isprintable():
        raise ValueError(f"'{shortened(address, 200)}' is no https address")


def users_file() -> Path | None:
    """The user's own catalogue, where there is one."""
    try:
        path = user_data_folder() / OWN
        return path if path.exists() else None
    except (NoHome, OSError):
        return None


def _read(path: Path, lists: dict[str, tuple[str, ...]], *, own: bool) -> list[PublicModel]:
    """Entries of one file; its lists of structures are added to `lists`."""
    data = read_file(path)
    found = []
    what = "its structure_lists"
    try:
        for name, values in as_table(data.get("structure_lists", {})).items():
            lists[name] = as_texts(values)
        for number, row in enumerate(data["models"], 1):
            what = f"model {number}"
            if isinstance(row, dict) and isinstance(row.get("name"), str):
                what = f"'{shortened(row['name'], 64)}'"
            found.append(_entry(row, lists, own))
    except Wrong as error:
        raise CatalogueError(f"The catalogue '{path}' is wrong at {what}: {error}.") from None
    if len({entry.name.casefold() for entry in found}) < len(found):
        raise CatalogueError(f"The catalogue '{path}' has two models of one name.")
    return found


def read_file(path: Path) -> dict[str, Any]:
    """The table in a catalogue file, with a list "models".

    Raises:
        CatalogueError: when it is damaged, or of another format.
    """
    try:
        if not path.is_file():
            raise CatalogueError(f"There is no catalogue file '{path}'.")
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise CatalogueError(f"The catalogue '{path}' cannot be read: {error.strerror or error}.") from None
    try:
        data = json.loads(text.decode("utf-8")) if len(text) <= LARGEST_FILE_BYTES else None
    except (ValueError, RecursionError, MemoryError):
        data = None
    if not isinstance(data, dict) or not isinstance(data.get("models"), list):
        raise CatalogueError(f"The catalogue '{path}' is damaged: it is no table in JSON with a list 'models'.")
    if data.get("format") != FORMAT:
        raise CatalogueError(f"The catalogue '{path}' has another format than {FORMAT}; update flareseg.")
    return data


class Wrong(Exception):
    """What is wrong with an entry or a preset."""


def _entry(row: Any, lists: dict[str, tuple[str, ...]], own: bool) -> PublicModel:
    row = dict(as_table(row))

    def take(key: str, check: Callable[[Any], Value], *default: Any) -> Value:
        if key not in row and not default:
            raise Wrong(f"it has no '{key}'")
        value = row.pop(key, *default)
        try:
            return check(value)
        except Wrong as error:
            raise Wrong(f"'{key}' {error}") from None

    structures = row.get("structures")
    if isinstance(structures, str) and structures in lists:
        row["structures"] = list(lists[structures])
    entry = PublicModel(
        name=take("name", as_name),
        title=take("title", as_text),
        purpose=take("purpose", as_text, ""),
        structures=take("structures", as_texts),
        licence=take("licence", as_filled),
        terms=take("terms", _one_of("open", "non-commercial", "unread")),
        authors=take("authors", as_text, ""),
        citation=take("citation", as_filled),
        page=take("page", as_text, ""),
        addresses=take("addresses", _addresses),
        bytes=take("bytes", _or_none(_size), None),
        sha256=take("sha256", _or_none(_digest), None),
        layout=take("layout", _one_of("nnunet-v2", "nnunet-v1", "flareseg")),
        axes=take("axes", _or_none(_one_of("ras", "lps", "stored")), None),
        configuration=take("configuration", _or_none(as_filled), None),
        folds=take("folds", _or_none(as_texts), None),
        lesions=take("lesions", _or_none(_lesions), None),
        accuracy=take("accuracy", as_text, ""),
        notes=take("notes", as_text, ""),
        tried=take("tried", as_text, "not stated"),
        own=own,
    )
    if row:
        raise Wrong(f"it has '{shortened(str(next(iter(row))), 40)}', which no entry has")
    strange = [label for label in (entry.lesions.labels if entry.lesions else ()) if label not in entry.structures]
    if strange:
        raise Wrong(f"'{strange[0]}' of 'lesions' is none of its structures")
    return entry


def as_table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Wrong("is no table")
    return value


def as_text(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > LONGEST_TEXT:
        raise Wrong(f"is no line of text of at most {LONGEST_TEXT} characters")
    return value


def as_filled(value: Any) -> str:
    if not as_text(value).strip():
        raise Wrong("is empty")
    return str(value)


def as_texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or len(value) > MOST_STRUCTURES:
        raise Wrong(f"is no list of 1 to {MOST_STRUCTURES} names")
    found = tuple(as_filled(one) for one in value)
    if len(set(found)) < len(found):
        raise Wrong("names something twice")
    return found


def as_name(value: Any) -> str:
    if not is_usable_name(as_text(value)):
        raise Wrong("is not made of letters, digits, '-', '_' and '.'")
    return str(value)


def _addresses(value: Any) -> tuple[str, ...]:
    try:
        for address in (found := as_texts(value)):
            check_address(address)
    except ValueError as error:
        raise Wrong(f"is wrong: {error}") from None
    return found


def _size(value: Any) -> int:
    if type(value) is not int or not 0 < value < 2**50:
        raise Wrong("is no number of bytes")
    return value


def _digest(value: Any) -> str:
    if len(as_text(value)) != 64 or set(value.lower()) - set("0123456789abcdef"):
        raise Wrong("is not 64 hexadecimal digits")
    return str(value.lower())


def _lesions(value: Any) -> Lesions:
    table = as_table(value)
    if set(table) != {"label", "host", "margin_mm"}:
        raise Wrong("has other parts than label, host and margin_mm")
    label, margin = table["label"], table["margin_mm"]
    if type(margin) not in (int, float) or not 0 <= margin <= 500:
        raise Wrong("has a margin_mm that is no number from 0 to 500")
    return Lesions(as_texts(label if isinstance(label, list) else [label]), as_texts(table["host"]), float(margin))


def _one_of(*choices: str) -> Callable[[Any], Any]:
    def check(value: Any) -> str:
        if value not in choices:
            raise Wrong(f"is none of {', '.join(choices)}")
        return cast(str, value)

    return check


def _or_none(check: Callable[[Any], Value]) -> Callable[[Any], Value | None]:
    return lambda value: None if value is None else check(value)
