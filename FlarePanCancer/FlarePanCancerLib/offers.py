"""Public models and presets as the panel offers them: what each is, what its licence asks, and the command to get it.

The facts come from the engine's process (`flareseg models available --json`); nothing here opens a connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from slicer.i18n import tr as _

from FlarePanCancerLib.events import Event
from FlarePanCancerLib.words import megabytes

LIST = ("models", "available", "--json")
"""The engine's arguments for the catalogue."""
FEW = 2
"""Structures that are named rather than counted."""
OPEN, NON_COMMERCIAL, UNREAD = "open", "non-commercial", "unread"


@dataclass(frozen=True)
class Member:
    """A file to download: one model of the catalogue.

    Attributes:
        name, title: as the engine and as people call it.
        licence, terms, page: see the engine's public/entries.py.
        address: where the file is published.
        bytes: of the file; None where unknown.
        facts: what else a user may want to read, by its heading.
    """

    name: str
    title: str
    licence: str
    terms: str
    page: str
    address: str
    bytes: float | None
    facts: dict[str, str]

    @property
    def licence_words(self) -> str:
        if self.terms == OPEN:
            return self.licence
        if self.terms == NON_COMMERCIAL:
            return str(_("{licence}, not for commercial use")).format(licence=self.licence)
        return str(_("to be read on its page"))


@dataclass(frozen=True)
class Offer:
    """A model that the user may get: one of the catalogue, or a preset, which is several put together.

    Attributes:
        name, title, purpose: as the engine and as people call it; what it is for.
        structures: what it draws, in few words.
        missing: the models that have to be downloaded for it.
        members: all of them, but embedded ones.
        installed: what the user's model of it is called; "" where there is none.
        is_preset: whether it is several put together.
    """

    name: str
    title: str
    purpose: str
    structures: str
    missing: tuple[Member, ...]
    members: tuple[Member, ...]
    installed: str
    is_preset: bool

    @property
    def needs_acceptance(self) -> bool:
        """Whether a licence has to be read and accepted before the download."""
        return any(member.terms != OPEN for member in self.missing)

    @property
    def licence(self) -> str:
        return "; ".join(dict.fromkeys(member.licence_words for member in self.members))

    @property
    def size(self) -> str:
        """Of the downloads that it takes."""
        known = [member.bytes for member in self.missing if member.bytes is not None]
        if not self.missing:
            return "" if self.installed else str(_("no download"))
        if not known:
            return str(_("unknown"))
        words = _("{size} MB") if len(known) == len(self.missing) else _("over {size} MB")
        return str(words).format(size=megabytes(sum(known)))

    def arguments(self, accepted: bool = False, file: str = "") -> list[str]:
        """Of the command that gets it, or takes it from a file that the user has."""
        words = ["models", "get", self.name, "--yes", "--progress", "json"]
        return [*words, *(["--accept-licence"] if accepted else []), *(["--from", file] if file else [])]

    def page(self) -> str:
        """What a user should know before the download, as HTML."""
        parts = [f"<b>{escape(self.title)}</b>", escape(self.purpose)]
        if self.is_preset:
            parts.append(
                escape(str(_("Several models put together; missing ones are downloaded one after the other:")))
            )
        for member in self.members:
            if self.is_preset:
                state = str(_("to be downloaded")) if member in self.missing else str(_("installed"))
                parts.append(f"<b>{escape(member.title)}</b> ({escape(state)})")
            parts += _lines(member)
        if not self.is_preset:
            parts += [_fact(*fact) for fact in self.members[0].facts.items() if fact[1]]
        return "<br>".join(part for part in parts if part)


def offers_of(event: Event) -> list[Offer]:
    """What the engine's answer offers, presets first."""
    members = {row["name"]: _member(row) for row in event["models"]}
    at_hand = {row["name"] for row in event["models"] if row["installed"]}
    return [
        *(_preset(row, members, at_hand) for row in event["presets"]),
        *(_model(row, members[row["name"]]) for row in event["models"]),
    ]


def member_called(name: str, offers: Sequence[Offer]) -> Member | None:
    """The model of the catalogue with that name."""
    return next((member for offer in offers for member in offer.members if member.name == name), None)


def _model(row: dict[str, Any], member: Member) -> Offer:
    installed = next(iter(row["installed"]), "")
    missing = () if installed else (member,)
    return Offer(
        row["name"], row["title"], row["purpose"], _structures(row["structures"]), missing, (member,), installed, False
    )


def _preset(row: dict[str, Any], known: dict[str, Member], at_hand: set[str]) -> Offer:
    names = list(dict.fromkeys([*row["organs"], *row["lesions"]]))
    members = tuple(known[name] for name in names if name in known)
    missing = tuple(member for member in members if member.name not in at_hand)
    structures = str(_("organs, lesions") if row["lesions"] else _("organs"))
    installed = next(iter(row["installed"]), "")
    return Offer(row["name"], row["title"], row["purpose"], structures, missing, members, installed, True)


def _member(row: dict[str, Any]) -> Member:
    facts = {
        str(_("Made by")): row["authors"],
        str(_("Cite")): row["citation"],
        str(_("Accuracy")): row["accuracy"] or str(_("not known here")),
        str(_("Note")): row["notes"],
        str(_("Tried")): row["tried"],
        str(_("Structures")): ", ".join(row["structures"]),
    }
    address = next(iter(row["addresses"]), "")
    return Member(row["name"], row["title"], row["licence"], row["terms"], row["page"], address, row["bytes"], facts)


def _structures(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= FEW else str(len(names))


def _lines(member: Member) -> list[str]:
    """Licence, page and file: what a user agrees to."""
    return [
        _fact(str(_("Licence of the weights")), member.licence if member.terms == UNREAD else member.licence_words),
        f"{escape(str(_('Page')))}: {_link(member.page)}" if member.page else "",
        f"{escape(str(_('File')))}: {_link(member.address)}",
    ]


def _fact(heading: str, text: str) -> str:
    return f"{escape(heading)}: {escape(text)}"


def _link(address: str) -> str:
    return f'<a href="{escape(address, quote=True)}">{escape(address)}</a>'
