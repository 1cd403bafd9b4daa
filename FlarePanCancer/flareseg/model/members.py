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
from flareseg.model.bundle import LONGEST_TEXT, Description, read_description, read_model_json
from flareseg.model.combined import Combined, Member, host_words
from flareseg.model.storage import CARD, open_model, weights_file
from flareseg.model.structures import choose, drawn_by
from flareseg.text import shortened

FIRST_COLUMN = 11


class Members:
    """The members of a combined model. Their weights are not read.

    Args:
        combined: which.
        find: the folder of a model by its name, None where there is none.

    Where a member is needed that is missing, or has other weights or another plan than it had, `ModelError` is raised.
    All that draw organs are; one that draws lesions is when they are asked for.
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
        folder = self.folder(member)
        found = read_description(folder)
        if sha256_of(found) != member.sha256:
            raise self._changed(member, "its weights are others")
        if member.plan and plan_digest(folder) != member.plan:
            raise self._changed(member, "its axes, labels or other parts of its plan are others")
        return found

    def check(self) -> None:
        """See that every member is there, and as it was."""
        for number in range(len(self.combined.lesions)):
            self.lesions_drawn(number)
        for member in self.combined.organs:
            self.description(member)

    def terms(self, member: Member) -> tuple[str, str]:
        """Licence and citation of a member as it is here now; of one that is missing, as they were."""
        try:
            info = read_description(self.folder(member)).info
        except ModelError:
            return member.licence, member.citation
        return str(info["licence"]), str(info["citation"])

    @property
    def licence(self) -> str:
        """Of all members, in one line; several are named with their models."""
        licences = {member.model: self.terms(member)[0] for member in self.combined.members}
        different = list(dict.fromkeys(licences.values()))
        several = ", ".join(f"{licence} ({model})" for model, licence in licences.items())
        return shortened(several if len(different) > 1 else different[0], LONGEST_TEXT)

    def weight_bytes(self) -> int:
        """Of all members that are here, as they are stored."""
        total = 0
        for member in dict.fromkeys(self.combined.members):
            folder = self._find(member.model)
            if folder is None:
                continue
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
            own = drawn_by(self.description(member).plan)
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
        return tuple(structure for structure in structures() if structure in found)

    def lesions_drawn(self, number: int) -> tuple[Structure, ...]:
        """Of a model that draws lesions, by its number among them, its own structures that are lesions."""
        lesion = self.combined.lesions[number]
        own = drawn_by(self.description(lesion.member).plan)
        if not set(lesion.labels) <= {structure.name for structure in own}:
            raise self._changed(lesion.member, "its labels are others")
        return choose(lesion.labels, own)

    @property
    def parity(self) -> bool:
        """Whether any of them gives nnU-Net's own answer unless told otherwise."""
        return any(self.description(member).plan.parity for member in self.combined.members)

    def fingerprint(self) -> dict[str, Any]:
        """As `fingerprint_of`, of all of them together; of lesions' models that cannot be used, as they were."""
        every = [fingerprint_of(self.description(member)) for member in self.combined.organs]
        for lesion in self.combined.lesions:
            try:
                every.append(fingerprint_of(self.description(lesion.member)))
            except ModelError:
                every.append({"weights": list(lesion.member.sha256), "plan": lesion.member.plan})
        plan = {"combined": self.combined.to_json(), "plans": [one["plan"] for one in every]}
        return {
            "model": f"{self.combined.name} {self.combined.info['version']}",
            "weights": [digest for one in every for digest in one["weights"]],
            "plan": _digest(plan),
        }

    def _changed(self, member: Member, what: str) -> ModelError:
        return ModelError(
            f"'{self.combined.name}' was put together with '{member.model}' {member.version}, which has been replaced "
            f"since ({what}); put them together again: {self.combined.command}"
        )


def sha256_of(description: Description) -> tuple[str, ...]:
    """Of all weights files of a model."""
    return (description.sha256, *description.ensemble_sha256)


def plan_digest(folder: Path) -> str:
    """A checksum of a model's plan as it is stored, which another version of flareseg reads the same."""
    with open_model(folder) as files:
        return _digest(read_model_json(files, folder.name)["plan"])


def fingerprint_of(description: Description) -> dict[str, Any]:
    """What tells the results of a model from those of another."""
    return {
        "model": f"{description.info['name']} {description.info['version']}",
        "weights": [*sha256_of(description), *([description.shared.sha256] if description.shared else [])],
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
    members.check()
    for member, part in zip(combined.organs, members.drawn, strict=True):
        lines.append(_row("organs", f"{member.model} {member.version}: {', '.join(s.name for s in part.values())}"))
    for one in combined.lesions:
        where = f"in {', '.join(host_words(one.hosts))} and {one.margin_mm:g} mm around, from {one.minimum_ml:g} ml"
        lines.append(_row("tumours", f"{one.member.model} {one.member.version}: {', '.join(one.labels)} {where}"))
    for member in dict.fromkeys(combined.members):
        licence, citation = members.terms(member)
        lines += [
            "",
            f"  {member.model} {member.version}",
            _row("licence", licence),
            _row("citation", citation),
            _row("weights", f"sha256 {member.sha256[0]}"),
        ]
    return lines


def _row(title: str, text: object) -> str:
    return f"  {title:<{FIRST_COLUMN}} {text}"


def _digest(data: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
