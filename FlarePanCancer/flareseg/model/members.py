"""The models of which another is put together, as they are here now: which draws what, and are they still the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from flareseg.errors import ModelError
from flareseg.labels import TUMOUR, Structure, by_name, structures
from flareseg.model.archive import is_plain_file
from flareseg.model.bundle import Description, read_description
from flareseg.model.combined import Combined, Member, host_words
from flareseg.model.storage import CARD, weights_file
from flareseg.model.structures import choose, structures_of

FIRST_COLUMN = 11


class Members:
    """The members of a combined model. Their weights are not read.

    Args:
        combined: which.
        find: the folder of a model by its name, None where there is none.

    Everything here raises `ModelError` when a member is missing, or its weights are others than they were.
    """

    def __init__(self, combined: Combined, find: Callable[[str], Path | None]) -> None:
        self.combined, self._find = combined, find

    def folder(self, member: Member) -> Path:
        """Where a member lies."""
        path = self._find(member.model)
        if path is None:
            raise ModelError(
                f"'{self.combined.name}' needs the model '{member.model}' {member.version}, which is not here; get or "
                f"import it again under that name, or remove '{self.combined.name}'."
            )
        return path

    def description(self, member: Member) -> Description:
        """What its model.json says, after a look at whether it is the model that it was."""
        found = read_description(self.folder(member))
        if sha256_of(found) != member.sha256:
            raise self._changed(member)
        return found

    def weight_bytes(self) -> int:
        """Of all members, as they are stored."""
        total = 0
        for member in dict.fromkeys(self.combined.members):
            folder = self.folder(member)
            files = [folder / weights_file(number) for number in range(len(member.sha256))]
            total += sum(file.stat().st_size for file in files if file.is_file())
        return total

    @cached_property
    def drawn(self) -> tuple[dict[int, Structure], ...]:
        """Of every model that draws organs, FLARE's structure for each label value that is taken from it.

        A structure is taken from the first model that has it; those that FLARE does not have are left out.
        """
        taken: set[str] = set()
        parts = []
        for member in self.combined.organs:
            known = {structure.name: structure for structure in structures()}
            own = structures_of(self.description(member).plan)
            part = {one.value: known[one.name] for one in own if one.name in known and one.name not in taken}
            taken |= {structure.name for structure in part.values()}
            parts.append(part)
        return tuple(parts)

    @property
    def structures(self) -> tuple[Structure, ...]:
        """What all of them draw, with FLARE's numbers."""
        found = {structure for part in self.drawn for structure in part.values()}
        if self.combined.lesions:
            found.add(by_name(TUMOUR))
        self.lesions_drawn()
        return tuple(structure for structure in structures() if structure in found)

    def lesions_drawn(self) -> tuple[tuple[Structure, ...], ...]:
        """Of every model that draws lesions, its own structures that are lesions."""
        found = []
        for lesion in self.combined.lesions:
            own = structures_of(self.description(lesion.member).plan)
            if not set(lesion.labels) <= {structure.name for structure in own}:
                raise self._changed(lesion.member)
            found.append(choose(lesion.labels, own))
        return tuple(found)

    @property
    def parity(self) -> bool:
        """Whether any of them gives nnU-Net's own answer unless told otherwise."""
        return any(self.description(member).plan.parity for member in self.combined.members)

    def fingerprint(self) -> dict[str, Any]:
        """As `fingerprint_of`, of all of them together."""
        every = [fingerprint_of(self.description(member)) for member in self.combined.members]
        plan = {"combined": self.combined.to_json(), "plans": [one["plan"] for one in every]}
        return {
            "model": f"{self.combined.name} {self.combined.info['version']}",
            "weights": [digest for one in every for digest in one["weights"]],
            "plan": _digest(plan),
        }

    def _changed(self, member: Member) -> ModelError:
        return ModelError(
            f"'{self.combined.name}' was put together with '{member.model}' {member.version}, which has been replaced "
            f"since; put them together again: {self.combined.command}"
        )


def sha256_of(description: Description) -> tuple[str, ...]:
    """Of all weights files of a model."""
    return (description.sha256, *description.ensemble_sha256)


def fingerprint_of(description: Description) -> dict[str, Any]:
    """What tells the results of a model from those of another."""
    return {
        "model": f"{description.info['name']} {description.info['version']}",
        "weights": list(sha256_of(description)),
        "plan": _digest(description.plan.to_json()),
    }


def describe_combined(members: Members, path: Path) -> str:
    """What a person wants to know of a combined model."""
    info = members.combined.info
    lines = [f"{info['name']} {info['version']}", f"{info['description']}", "", _row("path", path)]
    lines += member_lines(members)
    if is_plain_file(path / CARD):
        lines += ["", f"More in {path / CARD}"]
    return "\n".join(lines)


def member_lines(members: Members) -> list[str]:
    """Which member draws what, and the licence and citation of each."""
    combined, lines = members.combined, []
    for member, part in zip(combined.organs, members.drawn, strict=True):
        lines.append(_row("organs", f"{member.model} {member.version}: {', '.join(s.name for s in part.values())}"))
    for one in combined.lesions:
        where = f"in {', '.join(host_words(one.hosts))} and {one.margin_mm:g} mm around, from {one.minimum_ml:g} ml"
        lines.append(_row("tumours", f"{one.member.model} {one.member.version}: {', '.join(one.labels)} {where}"))
    for member in dict.fromkeys(combined.members):
        members.description(member)  # a missing or changed one is told here too
        lines += [
            "",
            f"  {member.model} {member.version}",
            _row("licence", member.licence),
            _row("citation", member.citation),
            _row("weights", f"sha256 {member.sha256[0]}"),
        ]
    return lines


def _row(title: str, text: object) -> str:
    return f"  {title:<{FIRST_COLUMN}} {text}"


def _digest(data: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
