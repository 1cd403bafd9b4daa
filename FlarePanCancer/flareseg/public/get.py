"""A public model becomes one of the user's: downloaded or taken from a file, checked, imported; no more is kept."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from zipfile import is_zipfile

from flareseg.errors import BY_HAND, Cancelled, FlareError, ModelError, UsageError
from flareseg.io.opening import check_kind
from flareseg.model.bundle import read_description
from flareseg.model.catalogue import Entry, list_models, models_folder, place_for
from flareseg.public import download as downloading
from flareseg.public.digests import check_digest, note_digest, sha256_of
from flareseg.public.download import check_room, download
from flareseg.public.entries import PublicModel
from flareseg.public.partial import Partial, kept_download
from flareseg.public.transport import DownloadError
from flareseg.text import visible

IN_CATALOGUE = "catalogue"
"""What the provenance of an installed model calls the name of its entry."""


class Follower(downloading.Follower, Protocol):
    """Who follows a model on its way."""

    def installing(self) -> None:
        """The file is there and is what it should be; now it is converted."""


@dataclass(frozen=True)
class Request:
    """What the user wants.

    Attributes:
        entry: the model.
        name: what to call it; as its entry unless given.
        overwrite: replace one of the user's models of that name.
        file: the model's file, or the folder that was unpacked from it, which the user has got in another way.
    """

    entry: PublicModel
    name: str | None = None
    overwrite: bool = False
    file: Path | None = None


class Paused(FlareError):
    """The user stopped a download; what has come is kept."""

    exit_status = Cancelled.exit_status


def get_model(request: Request, follower: Follower, cancelled: Callable[[], bool]) -> Entry:
    """Install a public model.

    Raises:
        DownloadError: when it cannot be had, with the way by hand.
        ModelError: when the file holds no model that can be run, or the name is taken.
        OutputError: when the user's folders cannot be written.
        Paused: when `cancelled` says so during a download.
        Cancelled: when it says so later.
    """
    place_for(request.name or request.entry.name, overwrite=request.overwrite)
    if request.file is not None:
        return _from_file(request, request.file, follower, cancelled)
    entry = request.entry
    with kept_download(entry.name) as part:
        try:
            address = _fetch(entry, part, follower, cancelled)
            digest = sha256_of(part.file, cancelled)
            _check(entry, part, digest)
        except DownloadError as error:
            raise DownloadError(f"{_sentence(error)} {by_hand(entry)}") from None
        except Cancelled:
            raise _paused(entry, part) from None
        follower.installing()
        try:
            installed = _import(request, part.file, {"downloaded from": address, "archive sha256": digest})
        except (ModelError, UsageError) as error:  # others, such as no room for the model, may be over at the next try
            part.discard()
            reason = str(error).replace(str(part.file), entry.file_name)
            raise ModelError(f"'{entry.name}' was downloaded, but cannot be used: {reason}") from None
        part.discard()
    note_digest(entry, digest)
    return installed


def by_hand(entry: PublicModel) -> str:
    """How a user gets a model without our download."""
    return f"{BY_HAND} download {entry.addresses[0]}, then: flareseg models get {entry.name} --from FILE"


def installed_models() -> dict[str, list[str]]:
    """Of the user's models, which are of the catalogue: names by the names of their entries."""
    found: dict[str, list[str]] = {}
    for model in list_models():
        with suppress(FlareError):
            name = read_description(model.folder).info["provenance"].get(IN_CATALOGUE)
            if model.origin == "yours" and isinstance(name, str):
                found.setdefault(name, []).append(model.name)
    return found


class Installed:
    """Which of the user's models are of the catalogue, or are called as an entry of it."""

    def __init__(self) -> None:
        self._by_entry = installed_models()
        self._own = {model.name for model in list_models() if model.origin == "yours"}

    def of(self, name: str) -> list[str]:
        """Of the entry or preset called `name`: what the user's models of it are called."""
        return self._by_entry.get(name) or sorted(self._own & {name})


def _fetch(entry: PublicModel, part: Partial, follower: Follower, cancelled: Callable[[], bool]) -> str:
    # Beside the file a model needs its own place, about as large, and its weights for a moment a third.
    size = entry.bytes or 0
    check_room([(part.folder, max(0, size - part.bytes)), (models_folder(), 2 * size)])
    return download(entry, part, follower, cancelled)


def _check(entry: PublicModel, part: Partial, digest: str) -> None:
    try:
        if not is_zipfile(part.file):
            raise DownloadError("What came is no zip; perhaps a page that asks to log in")
        check_digest(entry, digest)
    except DownloadError as error:
        part.discard()
        raise DownloadError(f"{str(error).rstrip('.')}; it was discarded") from None


def _from_file(request: Request, file: Path, follower: Follower, cancelled: Callable[[], bool]) -> Entry:
    check_kind(file, DownloadError)
    entry, digest = request.entry, "not known: it was unpacked before"
    if not file.is_dir():
        size = file.stat().st_size
        if entry.bytes not in (None, size):
            raise DownloadError(f"'{file}' has {size:,} bytes, and the file of '{entry.name}' {entry.bytes:,}.")
        digest = sha256_of(file, cancelled)
        check_digest(entry, digest)
    follower.installing()
    return _import(request, file, {"downloaded from": "a file of the user's", "archive sha256": digest})


def _import(request: Request, file: Path, facts: dict[str, str]) -> Entry:
    from flareseg.interop.import_model import import_model
    from flareseg.interop.nnunet.importer import About, Choice

    entry = request.entry
    facts = {IN_CATALOGUE: entry.name, "made by": entry.authors, "page": entry.page} | facts
    about = About(entry.title, entry.licence, entry.citation, facts)
    choice = Choice(
        configuration=entry.configuration,
        folds=entry.folds,
        axes=entry.axes,
        labels=entry.structures if entry.layout == "nnunet-v1" else None,
        about=about,
    )
    return import_model(
        file,
        name=request.name or entry.name,
        overwrite=request.overwrite,
        choice=None if entry.layout == "flareseg" else choice,
    )


def _paused(entry: PublicModel, part: Partial) -> Paused:
    total = part.source.total
    share = f"{part.bytes / 1e6:,.0f} of {total / 1e6:,.0f} MB are" if total else f"{part.bytes / 1e6:,.0f} MB are"
    if not part.bytes:
        return Paused("Cancelled; nothing has come yet.")
    return Paused(f"Cancelled; {share} kept: flareseg models get {entry.name} goes on from there.")


def _sentence(error: FlareError) -> str:
    return f"{visible(str(error)).rstrip('.')}."
