"""A model that is put together of others: which of them draw organs, which draw lesions, and where these look.

It is a folder like any other, but its model.json has the entry "combined" instead of a plan, and there are no weights.
The members are the user's and embedded models, by name; what their weights were is kept as a checksum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flareseg.errors import FlareError, ModelError
from flareseg.labels import TUMOUR, Structure, by_name, paired_sides
from flareseg.model.bundle import COMBINED, info_of, is_line, read_model_json
from flareseg.model.storage import JSON, open_model

FORMAT = 6
"""Of model.json, since there are combined models; see `bundle.FORMAT`."""
MARGIN_MM = 10.0
SMALLEST_ML = 0.1
LARGEST_MARGIN_MM = 1000.0
LARGEST_MINIMUM_ML = 10_000.0
MOST_MEMBERS = 20
MOST_NAMES = 30
"""Of labels or hosts of one member, or checksums of its weights."""


@dataclass(frozen=True)
class Member:
    """A model of which another is put together.

    Attributes:
        model: its name among the models at hand.
        version, licence, citation: as it said when they were put together.
        sha256: of its weights files.
        plan: a checksum of its plan; "" in models that were put together before that was kept.
    """

    model: str
    version: str
    licence: str
    citation: str
    sha256: tuple[str, ...]
    plan: str = ""


@dataclass(frozen=True)
class LesionMember:
    """A model that draws lesions into the organs of others.

    Attributes:
        member: which.
        labels: its structures that are lesions; all become FLARE's tumour, what else it draws is ignored.
        hosts: names of the organs in which lesions are looked for.
        margin_mm: how far beyond an organ's bounding box it looks.
        minimum_ml: smaller lesions are left out.
    """

    member: Member
    labels: tuple[str, ...]
    hosts: tuple[str, ...]
    margin_mm: float = MARGIN_MM
    minimum_ml: float = SMALLEST_ML


@dataclass(frozen=True)
class Combined:
    """What the model.json of a combined model says.

    Attributes:
        info: as in `bundle.Description`.
        organs: of the models that draw organs; each organ is drawn by the first that has it.
        lesions: of the models that draw lesions.
    """

    info: dict[str, Any]
    organs: tuple[Member, ...]
    lesions: tuple[LesionMember, ...] = ()

    @property
    def name(self) -> str:
        return str(self.info["name"])

    @property
    def members(self) -> tuple[Member, ...]:
        """All of them."""
        return (*self.organs, *(lesion.member for lesion in self.lesions))

    @property
    def parts(self) -> str:
        """The members in one line, e.g. "default 0.4.0 + liver-lesions 2.5 (liver)"."""
        organs = [f"{one.model} {one.version}" for one in self.organs]
        lesions = [
            f"{one.member.model} {one.member.version} ({', '.join(host_words(one.hosts))})" for one in self.lesions
        ]
        return " + ".join(organs + lesions)

    @property
    def command(self) -> str:
        """What puts the same models together again."""
        words = [f"--organs {one.model}" for one in self.organs]
        for one in self.lesions:
            labels, hosts = ",".join(one.labels), ",".join(host_words(one.hosts))
            least = "" if one.minimum_ml == SMALLEST_ML else f"/min={one.minimum_ml:g}"
            words.append(f'--tumour "{one.member.model}:{labels}@{hosts}+{one.margin_mm:g}{least}"')
        return f"flareseg models combine {self.name} {' '.join(words)} --overwrite"

    def to_json(self) -> dict[str, Any]:
        """The entry "combined"."""
        return {
            "organs": [_entry(one) for one in self.organs],
            "lesions": [{**asdict(one), "member": _entry(one.member)} for one in self.lesions],
        }


def read_combined(path: Path) -> Combined | None:
    """What is put together in the model folder or zip `path`; None where it has weights of its own.

    Raises:
        ModelError: when its model.json is missing or damaged, or made for another flareseg.
    """
    with open_model(path) as files:
        data = read_model_json(files, path.name)
    if COMBINED not in data:
        return None
    try:
        entry = data[COMBINED]
        organs = tuple(_member(one) for one in _some(entry["organs"], MOST_MEMBERS))
        lesions = tuple(_lesion_member(one) for one in _some(entry["lesions"], MOST_MEMBERS))
        if not organs:
            raise ValueError("no model draws organs")
    except (KeyError, TypeError, ValueError, AttributeError, FlareError) as error:
        raise ModelError(f"The {JSON} of '{path.name}' has members that make no sense: {error}.") from None
    return Combined(info_of(data), organs, lesions)


def host_words(hosts: Sequence[str]) -> list[str]:
    """Names of organs, both sides of a pair as one word: "kidneys"."""
    words = list(hosts)
    for word, pair in _pairs().items():
        if set(pair) <= set(words):
            words[words.index(pair[0])] = word
            words = [one for one in words if one not in pair]
    return words


def hosts_called(words: Sequence[str]) -> tuple[str, ...]:
    """The names of the organs that `words` mean; "kidneys" and "adrenal_glands" are both sides.

    Raises:
        UsageError: when a word is no structure of FLARE's.
    """
    found: dict[str, None] = {}
    for word in words:
        pair = _pairs().get(word.strip().lower().replace(" ", "_").replace("-", "_"))
        found |= dict.fromkeys(pair or (by_name(word).name,))
    return tuple(found)


def _pairs() -> dict[str, tuple[str, str]]:
    """Both sides of an organ, by its name in the plural."""
    return {f"{_without_side(one)}s": (one.name, other.name) for one, other in paired_sides()}


def _without_side(structure: Structure) -> str:
    return structure.name.removeprefix("right_").removeprefix("left_")


def _member(data: Any) -> Member:
    texts = [_line(data[key]) for key in ("model", "version", "licence", "citation")]
    return Member(texts[0], texts[1], texts[2], texts[3], _lines(data["sha256"]), _line(data.get("plan", "")))


def _lesion_member(data: Any) -> LesionMember:
    hosts = tuple(by_name(name).name for name in _lines(data["hosts"]))
    if TUMOUR in hosts:
        raise ValueError("a tumour is no host")
    margin_mm, minimum_ml = float(data["margin_mm"]), float(data["minimum_ml"])
    if not 0 <= margin_mm <= LARGEST_MARGIN_MM or not 0 <= minimum_ml <= LARGEST_MINIMUM_ML:
        raise ValueError(f"a margin of {margin_mm:g} mm or lesions from {minimum_ml:g} ml")
    return LesionMember(_member(data["member"]), _lines(data["labels"]), hosts, margin_mm, minimum_ml)


def _entry(member: Member) -> dict[str, Any]:
    """As it was read: an older one has no checksum of its plan."""
    return {key: value for key, value in asdict(member).items() if key != "plan" or value}


def _some(values: Any, most: int) -> list[Any]:
    if not isinstance(values, list) or len(values) > most:
        raise ValueError(f"expected a list of at most {most}")
    return values


def _lines(values: Any) -> tuple[str, ...]:
    lines = tuple(_line(value) for value in _some(values, MOST_NAMES))
    if not lines:
        raise ValueError("an empty list of names")
    return lines


def _line(value: Any) -> str:
    if not is_line(value):
        raise ValueError("a name or text that is not one line")
    return str(value)
