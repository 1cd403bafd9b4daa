"""What readers said of results: the small JSON file that the page of a cohort saves, and `train fuse` reads.

{"flareseg_review": 1, "saved": TIME, "reviews": [REVIEW, ...]}, where a REVIEW is

{"case": NAME, "labels_sha256": DIGEST, "reviewer": WHO, "time": TIME, "verdict": "accept" | "reject" | "unsure" | null,
 "structures": {NAME: "right" | "wrong" | "unsure", ...}, "shown": [NAME, ...], "absent": [NAME, ...]}

DIGEST is `labels_digest` of the labels that were looked at: a review holds for them and for no others. A verdict on the
case holds for the structures that were shown and have none of their own; but accepting a case says nothing of those
that were not found in it ("absent"): some slices cannot show that there is no tumour.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from flareseg.errors import InputError
from flareseg.io.opening import check_file, reading
from flareseg.text import shortened

FORMAT = 1
LARGEST_BYTES = 2**28
CaseVerdict = Literal["accept", "reject", "unsure"]
Verdict = Literal["right", "wrong", "unsure"]
OF_STRUCTURES: dict[CaseVerdict, Verdict] = {"accept": "right", "reject": "wrong", "unsure": "unsure"}
"""What a verdict on a case says of its structures."""
_KEYS = {"case", "labels_sha256", "reviewer", "time", "verdict", "structures", "shown", "absent"}
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Review:
    """What one reader said of one result.

    Attributes:
        case: its name when it was looked at.
        labels_sha256: `labels_digest` of its labels.
        reviewer: who.
        time: when, with its time zone.
        verdict: on the case; None: only some structures were judged.
        structures: verdicts by structure's name.
        shown: names of the structures that the page had.
        absent: of these, the structures that were not found.
    """

    case: str
    labels_sha256: str
    reviewer: str
    time: datetime
    verdict: CaseVerdict | None
    structures: Mapping[str, Verdict]
    shown: tuple[str, ...]
    absent: tuple[str, ...]

    def of_structures(self) -> dict[str, Verdict]:
        """The verdict on each structure that has one: its own, or that of the case."""
        if self.verdict is None:
            return dict(self.structures)
        silent = self.absent if self.verdict == "accept" else ()
        whole = {name: OF_STRUCTURES[self.verdict] for name in self.shown if name not in silent}
        return {**whole, **self.structures}


def read_reviews(paths: Iterable[Path]) -> list[Review]:
    """The reviews of one or more files. Where a reader judged the same labels of a case twice, the later one counts.

    Raises:
        InputError: when a file cannot be read, or is no file of reviews of this version, word by word.
    """
    latest: dict[tuple[str, str, str], Review] = {}
    for path in paths:
        for review in _read(path):
            key = (review.labels_sha256, review.case, review.reviewer)
            if key not in latest or review.time >= latest[key].time:
                latest[key] = review
    return list(latest.values())


def agreed(reviews: Sequence[Review]) -> dict[str, Verdict]:
    """What several readers of the same labels say together, by structure: what all who judged it say, or "unsure"."""
    said: dict[str, set[Verdict]] = {}
    for review in reviews:
        for name, verdict in review.of_structures().items():
            said.setdefault(name, set()).add(verdict)
    return {name: next(iter(verdicts)) if len(verdicts) == 1 else "unsure" for name, verdicts in said.items()}


def _read(path: Path) -> list[Review]:
    check_file(path)
    with reading(path):
        if path.stat().st_size > LARGEST_BYTES:
            raise InputError(f"'{path}' is too large for a file of reviews.")
        text = path.read_bytes()
    try:
        data = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise InputError(f"'{path}' is no file of reviews: it is no JSON.") from None
    if not isinstance(data, dict) or "flareseg_review" not in data:
        raise InputError(f"'{path}' is no file of reviews, as the page of a cohort saves them.")
    version = data["flareseg_review"]
    if version != FORMAT or isinstance(version, bool):
        raise InputError(
            f"'{path}' is a file of reviews of version {shortened(str(version), 20)}; this flareseg reads {FORMAT}."
        )
    entries = data.get("reviews")
    if not isinstance(entries, list):
        raise InputError(f"'{path}' is damaged: it has no list of reviews.")
    found = []
    for number, entry in enumerate(entries, 1):
        try:
            found.append(_review(entry))
        except (ValueError, TypeError, OverflowError) as error:
            raise InputError(f"'{path}' is damaged: review {number} of {len(entries)}: {error}.") from None
    return found


def _review(entry: Any) -> Review:
    if not isinstance(entry, dict):
        raise ValueError("it is no table")
    if missing := sorted(_KEYS - set(entry)):
        raise ValueError(f"it lacks '{missing[0]}'")
    if unknown := sorted(set(entry) - _KEYS):
        raise ValueError(f"it has '{shortened(unknown[0], 40)}', which nobody knows")
    for name in ("case", "labels_sha256", "reviewer", "time"):
        if not isinstance(entry[name], str) or not entry[name].strip():
            raise ValueError(f"'{name}' is no text")
    if not _DIGEST.fullmatch(entry["labels_sha256"]):
        raise ValueError("'labels_sha256' is no SHA-256")
    verdict, structures, shown, absent = (entry[name] for name in ("verdict", "structures", "shown", "absent"))
    if verdict is not None and (not isinstance(verdict, str) or verdict not in OF_STRUCTURES):
        raise ValueError(f"the verdict {shortened(str(verdict), 40)!r} is none of {', '.join(OF_STRUCTURES)}")
    if not isinstance(shown, list) or not all(isinstance(name, str) for name in shown):
        raise ValueError("'shown' is no list of names")
    if not isinstance(absent, list) or any(name not in shown for name in absent):
        raise ValueError("'absent' is no list of names that were shown")
    if not isinstance(structures, dict):
        raise ValueError("'structures' is no table")
    for name, said in structures.items():
        if said not in OF_STRUCTURES.values():
            words = ", ".join(OF_STRUCTURES.values())
            raise ValueError(f"'{shortened(name, 40)}' is {shortened(str(said), 40)!r}, none of {words}")
        if name not in shown:
            raise ValueError(f"'{shortened(name, 40)}' is judged, but was not shown")
    return Review(
        case=entry["case"],
        labels_sha256=entry["labels_sha256"],
        reviewer=" ".join(entry["reviewer"].split()),
        time=_time(entry["time"]),
        verdict=verdict,
        structures=dict(structures),
        shown=tuple(shown),
        absent=tuple(absent),
    )


def _time(text: str) -> datetime:
    """As JavaScript writes it, which Python 3.10 does not read: with Z."""
    try:
        time = datetime.fromisoformat(re.sub(r"Z$", "+00:00", text))
    except ValueError:
        raise ValueError(f"'{shortened(text, 40)}' is no time like 2026-01-31T12:00:00Z") from None
    if time.tzinfo is None:
        raise ValueError(f"the time '{shortened(text, 40)}' has no time zone")
    return time
