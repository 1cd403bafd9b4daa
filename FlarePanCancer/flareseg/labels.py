"""The structures of FLARE 2023: the only place that knows their numbers, names, colours, codes and tolerances.

The table itself is `labels.csv` beside this file, so that Slicer, the report and the training read the same rows.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flareseg.errors import UsageError

TABLE = Path(__file__).with_name("labels.csv")
BACKGROUND, TUMOUR = "background", "tumour"


@dataclass(frozen=True)
class Code:
    """One SNOMED CT concept: `value` is the concept id, `meaning` its English name."""

    value: str
    meaning: str


@dataclass(frozen=True)
class Structure:
    """One segmented structure.

    Attributes:
        value: its number in a label map (FLARE's order).
        name: lower-case identifier, e.g. "right_kidney".
        title: what people read, e.g. "Right kidney".
        colour: (red, green, blue), each 0 to 255; from Slicer's General Anatomy list where distinguishable.
        category, type, modifier: SNOMED CT terminology; `modifier` is the side, or None.
        nsd_tolerance_mm: tolerance of the normalised surface distance in FLARE's scoring.
        flare_organ: whether it is one of the 13 organs whose scores FLARE averages.
        scored_where_labelled: whether FLARE scores it only between its lowest and highest labelled slice, as a
            structure that goes on beyond what was drawn.
        hollow: whether its mean HU says little of its wall, as it holds gas, food or contrast agent.
        hosts_tumours: whether tumours are planted into it for training.
        typical_hu: in a plain, arterial, portal venous and delayed scan; None where there is no typical value.
    """

    value: int
    name: str
    title: str
    colour: tuple[int, int, int]
    category: Code
    type: Code
    modifier: Code | None
    nsd_tolerance_mm: float
    flare_organ: bool = False
    scored_where_labelled: bool = False
    hollow: bool = False
    hosts_tumours: bool = False
    typical_hu: tuple[float, float, float, float] | None = None


PHASES = ("plain", "arterial", "portal", "delayed")
"""Contrast phases, in the order of `Structure.typical_hu`."""


@cache
def structures() -> tuple[Structure, ...]:
    """The table, by ascending value."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        return tuple(_structure(row) for row in csv.DictReader(file))


def by_name(name: str) -> Structure:
    """The structure called `name` (identifier or title, any case, spaces, hyphens or underscores; "tumor" too).

    Raises:
        UsageError: when there is none.
    """
    wanted = _normalised(name)
    for structure in structures():
        if wanted in (structure.name, _normalised(structure.title)):
            return structure
    known = ", ".join(structure.name for structure in structures())
    raise UsageError(f"There is no structure named '{name}'; known are: {known}.")


def is_known(name: str) -> bool:
    """Whether `by_name` finds a structure of this name."""
    wanted = _normalised(name)
    return any(wanted in (structure.name, _normalised(structure.title)) for structure in structures())


def title_of(name: str) -> str:
    """What people read of a structure's name, also where an imported model named it."""
    if is_known(name):
        return by_name(name).title
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def by_names(names: Iterable[str]) -> tuple[Structure, ...]:
    """The structures called `names`, in the table's order, each once."""
    wanted = {by_name(name).value for name in names}
    return tuple(structure for structure in structures() if structure.value in wanted)


def paired_sides() -> tuple[tuple[Structure, Structure], ...]:
    """Every two structures that differ by their side alone, such as the kidneys."""
    sided = [structure for structure in structures() if structure.modifier]
    return tuple((a, b) for number, a in enumerate(sided) for b in sided[number + 1 :] if a.type == b.type)


def same_name(name: str, other: str) -> bool:
    """Whether two names are spelt alike but for case, spaces, hyphens and underscores; "tumor" is "tumour"."""
    return _normalised(name) == _normalised(other)


def _normalised(name: str) -> str:
    return name.strip().lower().replace("-", "_").replace(" ", "_").replace("tumor", "tumour")


def _structure(row: dict[str, str]) -> Structure:
    modifier = Code(row["modifier_code"], row["modifier"]) if row["modifier_code"] else None
    return Structure(
        value=int(row["value"]),
        name=row["name"],
        title=row["title"],
        colour=(int(row["red"]), int(row["green"]), int(row["blue"])),
        category=Code(row["category_code"], row["category"]),
        type=Code(row["type_code"], row["type"]),
        modifier=modifier,
        nsd_tolerance_mm=float(row["nsd_tolerance_mm"]),
        flare_organ=row["flare_organ"] == "1",
        scored_where_labelled=row["scored_where_labelled"] == "1",
        hollow=row["hollow"] == "1",
        hosts_tumours=row["hosts_tumours"] == "1",
        typical_hu=_typical_hu(row),
    )


def _typical_hu(row: dict[str, str]) -> tuple[float, float, float, float] | None:
    if not row["plain_hu"]:
        return None
    plain, arterial, portal, delayed = (float(row[f"{phase}_hu"]) for phase in PHASES)
    return plain, arterial, portal, delayed
