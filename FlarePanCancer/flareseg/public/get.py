"""A public model becomes one of the user's: downloaded or taken from a file, checked, imported; no more is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from zipfile import is_zipfile

from flareseg.errors import BY_HAND, Cancelled, FlareError, ModelError, UsageError
from flareseg.io.opening import check_kind
from flareseg.model.catalogue import Entry, models_folder, place_for
from flareseg.public import download as downloading
from flareseg.public.digests import check_digest, note_digest, sha256_of
from flareseg.public.download import check_room, download
from flareseg.public.entries import PublicModel
from flareseg.public.installed import IN_CATALOGUE, Installed
from flareseg.public.partial import Partial, kept_download
from flareseg.public.transport import DownloadError, OtherFile
from flareseg.text import visible


def same_command(name: str, catalogue: Path | None, rename: str | None, overwrite: bool) -> str:
    """What gets the model or preset called `name` as it was asked for, but for the way of asking."""
    options = [("--catalogue", catalogue), ("--name", rename)]
    words = [f"flareseg models get {name}", *(f"{option} {_quoted(value)}" for option, value in options if value)]
    return " ".join([*words, *(["--overwrite"] if overwrite else [])])


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
        catalogue: the further file of entries that the user has named.
        whole: the command that began it, where that was for more than this model.
    """

    entry: PublicModel
    name: str | None = None
    overwrite: bool = False
    file: Path | None = None
    catalogue: Path | None = None
    whole: str | None = None

    @property
    def command(self) -> str:
        return same_command(self.entry.name, self.catalogue, self.name, self.overwrite)


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
    check_place(request)
    if request.file is not None:
        return _from_file(request, request.file, follower, cancelled)
    entry = request.entry
    with kept_download(entry.name) as part:
        try:
            address = _fetch(entry, part, follower, cancelled)
            digest = sha256_of(part.file, cancelled)
            _check(entry, part, digest)
        except OtherFile as error:
            way = f"{BY_HAND} download {entry.addresses[0]}, then, {_at_own_risk(entry, 'FILE')}"
            raise OtherFile(f"{_sentence(error)} {way}") from None
        except DownloadError as error:
            raise DownloadError(f"{_sentence(error)} {by_hand(request)}") from None
        except Cancelled:
            raise _paused(request, part) from None
        follower.installing()
        try:
            installed = _import(request, part.file, {"downloaded from": address, "archive sha256": digest})
        except (ModelError, UsageError) as error:  # others, such as no room for the model, may be over at the next try
            part.discard()
            reason = _reworded(error).replace(str(part.file), entry.file_name)
            raise ModelError(f"'{entry.name}' was downloaded, but cannot be used: {reason}") from None
        part.discard()
    note_digest(entry, digest)
    return installed


def check_place(request: Request) -> None:
    """See that the model may be called so.

    Raises:
        ModelError: when it may not, or the name is taken.
    """
    if request.name is None and not request.overwrite:
        Installed(thorough=True).check_free(request.entry)
    place_for(request.name or request.entry.name, overwrite=request.overwrite)


def by_hand(request: Request) -> str:
    """How a user gets a model without our download."""
    return f"{BY_HAND} download {request.entry.addresses[0]}, then: {request.command} --from FILE"


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
        raise type(error)(f"{str(error).rstrip('.')}; it was discarded") from None


def _from_file(request: Request, file: Path, follower: Follower, cancelled: Callable[[], bool]) -> Entry:
    check_kind(file, DownloadError)
    entry, digest = request.entry, "not known: it was unpacked before"
    if not file.is_dir():
        size = file.stat().st_size
        try:
            if entry.bytes not in (None, size):
                raise OtherFile(f"It has {size:,} bytes, and the file of '{entry.name}' {entry.bytes:,}")
            digest = sha256_of(file, cancelled)
            check_digest(entry, digest)
        except OtherFile as error:
            risk = _at_own_risk(entry, _quoted(file))
            raise OtherFile(f"'{file}' differs from the catalogue. {_sentence(error)} It is taken, {risk}") from None
    follower.installing()
    try:
        return _import(request, file, {"downloaded from": "a file of the user's", "archive sha256": digest})
    except UsageError as error:  # of options that the user has not given
        raise ModelError(_reworded(error)) from None
    except ModelError as error:
        raise ModelError(_reworded(error)) from None


def _import(request: Request, file: Path, facts: dict[str, str]) -> Entry:
    from flareseg.interop.import_model import import_model
    from flareseg.interop.nnunet.importer import About, Choice

    entry = request.entry
    facts = {IN_CATALOGUE: entry.name, "made by": entry.authors, "page": entry.page} | facts
    about = About(entry.title, entry.licence, entry.citation, facts, entry.structures)
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


def _paused(request: Request, part: Partial) -> Paused:
    if not part.bytes:
        return Paused("Cancelled; nothing has come yet.")
    total = part.source.total
    unit, name = (1e6, "MB") if (total or part.bytes) >= 1e6 else (1e3, "kB")
    share = f"{part.bytes / unit:,.0f} of {total / unit:,.0f}" if total else f"{part.bytes / unit:,.0f}"
    return Paused(f"Cancelled; {share} {name} are kept: {request.whole or request.command} goes on from there.")


def _at_own_risk(entry: PublicModel, file: str) -> str:
    options = {
        "axes": entry.axes,
        "configuration": entry.configuration,
        "labels": ",".join(entry.structures) if entry.layout == "nnunet-v1" else None,
    }
    words = [f"--{key} {_quoted(value)}" for key, value in options.items() if value]
    return " ".join(["at your own risk, with: flareseg models import", file, *words])


def _reworded(error: FlareError) -> str:
    """An error of an import; what would be an option there is in the catalogue here."""
    from flareseg.interop.nnunet.choosing import CHOOSE

    text = str(error).replace(CHOOSE, "its catalogue entry has to name one as 'configuration'")
    return text.replace("--labels names", "its catalogue entry names")


def _quoted(value: object) -> str:
    text = str(value)
    return f'"{text}"' if " " in text else text


def _sentence(error: FlareError) -> str:
    text = visible(str(error))
    return text if text.endswith(("?", ".")) else f"{text}."
