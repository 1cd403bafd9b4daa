"""Models at hand become one: `flareseg models combine`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from flareseg import __version__
from flareseg.errors import ModelError, UsageError
from flareseg.interop.nnunet.labels import structure_named
from flareseg.labels import TUMOUR, Structure, same_name
from flareseg.model.bundle import COMBINED, LONGEST_TEXT, load_bundle, read_description
from flareseg.model.catalogue import Entry, entry_of, find_installed, list_models, place_for
from flareseg.model.combined import (
    FORMAT,
    LARGEST_MARGIN_MM,
    LARGEST_MINIMUM_ML,
    MARGIN_MM,
    MOST_MEMBERS,
    SMALLEST_ML,
    Combined,
    LesionMember,
    Member,
    host_words,
    hosts_called,
    read_combined,
)
from flareseg.model.members import Members, member_lines, plan_digest, sha256_of
from flareseg.model.networks.registry import architecture_of
from flareseg.model.storage import CARD, JSON, write_model
from flareseg.model.structures import SILENCED_BELOW, structures_of
from flareseg.text import shortened

WRITTEN = re.compile(
    r"(?P<model>[^:@]+)(:(?P<labels>[^@]+))?@(?P<hosts>[^+/]+)(\+(?P<margin>-?[0-9.]+)(mm)?)?(/min=(?P<least>-?[0-9.]+))?"
)
"""What --tumour takes."""
SUBTRACTED = re.compile(r"(?P<hosts>.*[^-\s])\s*(?P<margin>-[0-9.]+)(mm)?\s*")
"""Hosts with a margin that would be negative."""
LESION_WORDS = {"tumour", "tumours", "tumor", "tumors", "lesion", "lesions", "cancer", "metastasis", "metastases"}
VERSION = "1.0"


def combine_models(name: str, organs: Sequence[str], tumours: Sequence[str] = (), *, overwrite: bool = False) -> Entry:
    """Put models at hand together as one of the user's models.

    Args:
        name: what to call it.
        organs: names of the models that draw organs; each organ is drawn by the first that has it.
        tumours: models that draw tumours, each as "MODEL[:LABEL]@HOST[+MM][/min=ML]"; see `flareseg models combine`.
        overwrite: replace one of the user's models that has this name.

    Raises:
        UsageError: when `tumours` cannot be understood, or a host is drawn by none of the models.
        ModelError: when a model is not there, damaged, put together itself, or the name is taken.
        OutputError: when the user's models folder cannot be written.
    """
    folder = place_for(name, overwrite=overwrite, flag="")
    if len(organs) + len(tumours) > MOST_MEMBERS:
        raise UsageError(f"At most {MOST_MEMBERS} models can be put together.")
    drawing = tuple(_member(one, folder.name) for one in organs)
    if not tumours and len(organs) < 2:
        raise UsageError("One model alone needs nothing put together; add --tumour, or another --organs.")
    combined = Combined({}, drawing, tuple(_lesions(text, folder.name) for text in tumours))
    combined = replace(combined, info=_info(folder.name, Members(combined, find_installed)))
    members = Members(combined, find_installed)
    _check(members)
    entry = {
        "format": FORMAT,
        **combined.info,
        COMBINED: combined.to_json(),
    }
    files = {
        JSON: (json.dumps(entry, indent=1, ensure_ascii=False) + "\n").encode(),
        CARD: _card(members).encode(),
    }
    write_model(folder, files, overwrite=overwrite)
    return entry_of(folder, "yours")


def _member(model: str, name: str) -> Member:
    """The model at hand called `model`, which becomes a member of `name`."""
    path = find_installed(model)
    if path is None:
        raise ModelError(f"There is no model '{model}'; at hand: {', '.join(one.name for one in list_models())}.")
    if path.name == name:
        raise ModelError(f"'{name}' cannot be put together of itself; choose another name.")
    if read_combined(path):
        raise ModelError(f"'{model}' is put together itself; name the models that it is put together of.")
    found = read_description(path)
    info = found.info
    return Member(path.name, info["version"], info["licence"], info["citation"], sha256_of(found), plan_digest(path))


def _lesions(text: str, name: str) -> LesionMember:
    found = WRITTEN.fullmatch(text.strip())
    if found is None:
        raise UsageError(
            f"'{shortened(text, 80)}' cannot be understood; write MODEL[:LABEL]@HOST[+MM][/min=ML], such as "
            "liver-lesions@liver+10."
        )
    if negative := SUBTRACTED.fullmatch(found["hosts"]):
        raise UsageError(
            f"'{negative['margin']}' is no margin in mm; take 0 to {LARGEST_MARGIN_MM:g}, as in {negative['hosts']}+10."
        )
    hosts = hosts_called(found["hosts"].split(","))
    if TUMOUR in hosts:
        raise UsageError("A tumour is no host; name the organs in which tumours are looked for.")
    margin_mm = _number(found["margin"], MARGIN_MM, LARGEST_MARGIN_MM, "margin in mm")
    minimum_ml = _number(found["least"], SMALLEST_ML, LARGEST_MINIMUM_ML, "smallest volume in ml")
    member = _member(found["model"].strip(), name)
    path = find_installed(member.model)
    assert path
    own = structures_of(read_description(path).plan)
    labels = _named(found["labels"], own, member.model) if found["labels"] else (_only_lesion(own, member.model),)
    if _silenced(path, labels):
        raise UsageError(f"'{member.model}' draws no {' and no '.join(_in_plural(labels))}; name another model.")
    return LesionMember(member, labels, hosts, margin_mm, minimum_ml)


def _silenced(path: Path, labels: Sequence[str]) -> bool:
    """Whether a model never draws any of these, as an output that is not reliable is silenced by its bias."""
    bundle = load_bundle(path)
    plan = bundle.plan
    if plan.tumour and TUMOUR in labels:
        return False  # a net of its own draws them
    channels = [channel for channel, name in plan.labels.items() if name in labels]
    head = f"{architecture_of(plan.network).head}.bias"
    return all(float(net[head][channels].max()) < SILENCED_BELOW for net in (bundle.weights, *bundle.ensemble))


def _in_plural(labels: Sequence[str]) -> list[str]:
    return ["tumours" if label == TUMOUR else label for label in labels]


def _number(text: str | None, default: float, most: float, what: str) -> float:
    try:
        value = default if text is None else float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:
        raise UsageError(f"'{text}' is no {what}; take 0 to {most:g}.")
    return value


def _named(text: str, own: Sequence[Structure], model: str) -> tuple[str, ...]:
    labels = []
    for word in text.split(","):
        # An import gives what FLARE has too FLARE's name: the makers' "cancer" is "tumour" by now.
        called = [word, structure_named(word) or word]
        label = next((one.name for one in own if any(same_name(name, one.name) for name in called)), None)
        if label is None:
            raise UsageError(f"'{model}' has no label '{word.strip()}'; it has: {_names(own)}.")
        labels.append(label)
    return tuple(dict.fromkeys(labels))


def _only_lesion(own: Sequence[Structure], model: str) -> str:
    """The one structure of a model that is called a tumour, in whatever words."""
    lesions = [one.name for one in own if _is_lesion(one.name)]
    if len(lesions) == 1:
        return lesions[0]
    which = f"several ({', '.join(lesions)})" if lesions else f"none; it has: {_names(own)}"
    raise UsageError(
        f"Which label of '{model}' is the tumour? {which.capitalize()}. Say it: {model}:LABEL@HOST, several with ','."
    )


def _is_lesion(label: str) -> bool:
    return structure_named(label) == TUMOUR or bool(LESION_WORDS & set(re.split(r"[^a-z]+", label.lower())))


def _names(own: Sequence[Structure]) -> str:
    return ", ".join(one.name for one in own)


def _check(members: Members) -> None:
    """See that every model has something to draw, and every host is drawn."""
    combined = members.combined
    for member, part in zip(combined.organs, members.drawn, strict=True):
        if not part:
            raise UsageError(
                f"'{member.model}' draws no organ of FLARE's that the models before it do not draw; leave it out."
            )
    drawn = {structure.name for part in members.drawn for structure in part.values()}
    seen: set[tuple[str, str]] = set()
    for lesion in combined.lesions:
        pairs = {(lesion.member.model, host) for host in lesion.hosts}
        if twice := [host for host in lesion.hosts if (lesion.member.model, host) in seen]:
            raise UsageError(
                f"'{lesion.member.model}' is to look for tumours in {', '.join(host_words(twice))} twice; "
                "name it once, several labels with ','."
            )
        seen |= pairs
        if missing := [host for host in lesion.hosts if host not in drawn]:
            raise UsageError(
                f"No model given as --organs draws {', '.join(missing)}, where '{lesion.member.model}' would look for "
                f"tumours; they draw: {', '.join(sorted(drawn))}."
            )


def _info(name: str, parts: Members) -> dict[str, Any]:
    combined = parts.combined
    lesions = [f"{one.member.model} ({', '.join(host_words(one.hosts))})" for one in combined.lesions]
    of = " + ".join([*(one.model for one in combined.organs), *lesions])
    members = list(dict.fromkeys(combined.members))
    return {
        "name": name,
        "version": VERSION,
        "description": shortened(f"Put together of {of}.", LONGEST_TEXT),
        "licence": parts.licence,
        "citation": shortened(" ".join(dict.fromkeys(one.citation for one in members)), LONGEST_TEXT),
        "provenance": {"date": date.today().isoformat(), "flareseg": __version__},
        "metrics": {},
    }


def _card(members: Members) -> str:
    lines = "\n".join(member_lines(members))
    return f"# {members.combined.name}\n\n{members.combined.info['description']}\n\n```\n{lines}\n```\n"
