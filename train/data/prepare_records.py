"""The result of the stage `prepare` for a case, stored with a stamp of its inputs.

A case is prepared again only when an input file or a setting has changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from flareseg.model.plan import ResamplingRule
from flareseg.volume import Index, Triple
from train.common.json_files import read_table, write_json
from train.common.paths import RunPaths
from train.data.cache import Kind, is_cached
from train.data.index import IndexedCase, with_current_keys
from train.data.layouts.found import FoundCase

VERSION = 1
"""Version of the prepared data; cases prepared by another version are prepared again."""
_NO_INPUT = ("split", "patient", "others", "left_out", "in_part")
"""What a case says that does not change how it is prepared, or that the job says of it."""


@dataclass(frozen=True)
class PrepareJob:
    """What a process needs to prepare one case.

    Attributes:
        source: name of the source.
        found: the case.
        annotated: label values that are annotated according to the configuration; None: according to the data set.
        absent: label values of structures that the CT does not contain.
        in_part: label values of structures of which not all are drawn, by the source or by the case.
        paths: of the run.
        grids: spacings and resampling rules to cache it for.
    """

    source: str
    found: FoundCase
    annotated: tuple[int, ...] | None
    paths: RunPaths
    grids: tuple[tuple[Triple, ResamplingRule], ...]
    absent: tuple[int, ...] = ()
    in_part: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.source}_{self.found.name}"

    @property
    def record(self) -> Path:
        """File with the result of an earlier run, beside the converted labels."""
        return self.paths.labels(self.name).with_name(f"{self.name}.json")

    def case(
        self, labels: Path | None, annotated: Iterable[str], occurring: Iterable[str], shape: Index, spacing_mm: Triple
    ) -> IndexedCase:
        """The entry for the index."""
        found = self.found
        return IndexedCase(
            name=self.name,
            source=self.source,
            image=found.image,
            labels=labels,
            annotated=tuple(annotated),
            occurring=tuple(occurring),
            organs=found.organs,
            shape_zyx=shape,
            spacing_zyx_mm=spacing_mm,
            licence=found.licence,
            patient=found.patient,
        )


@dataclass(frozen=True)
class Prepared:
    """The result of preparing a case.

    Attributes:
        name: of the case.
        case: entry for the index, without its split; None: rejected.
        refused: reason for the rejection.
        fingerprint: hash of the voxels, independent of how they are stored.
        pseudo: structures in its organ pseudo-labels.
        sample: histogram (HU to count) of up to 10,000 foreground voxels.
        labelled: whether the foreground consists of structures rather than the whole body.
        turned: whether a label map had other axes than the CT.
    """

    name: str
    case: IndexedCase | None = None
    refused: str = ""
    fingerprint: str = ""
    pseudo: tuple[str, ...] = ()
    sample: dict[int, int] = field(default_factory=dict)
    labelled: bool = False
    turned: bool = False


def stamp_of(job: PrepareJob) -> dict[str, Any]:
    """The inputs of a case: files, settings and version."""
    found = job.found
    about = {key: str(value) for key, value in asdict(found).items() if key not in _NO_INPUT}
    for key in ("searched", "blank_headers"):
        if not getattr(found, key):
            del about[key]  # earlier records, which do not know it, stay valid
    facts = {
        "version": VERSION,
        "found": about,
        "files": [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in found.files],
        "annotated": job.annotated,
        "grids": job.grids,
    } | {key: value for key, value in (("absent", job.absent), ("in_part", job.in_part)) if value}
    if any(file.values is not None for file in found.labels):
        facts["named"] = "every value"  # earlier, values without a name became background
    stamp: dict[str, Any] = json.loads(json.dumps(facts))  # in the form in which it is read back
    return stamp


def write_record(job: PrepareJob, stamp: dict[str, Any], prepared: Prepared) -> None:
    """Store the result of a case."""
    write_json(job.record, asdict(prepared) | {"stamp": stamp})


def write_refusal(job: PrepareJob, stamp: dict[str, Any] | None, reason: str) -> None:
    """Store why a case is refused, for the index; it is looked at again in every run all the same.

    Args:
        stamp: None where its files could not even be listed.
    """
    write_json(job.record, {"refused": reason, "stamp": stamp})


def read_result(job: PrepareJob) -> Prepared | None:
    """What is stored of a case, prepared or refused, if no input has changed since; None if it is still to be done."""
    try:
        stamp = stamp_of(job)
    except OSError:
        stamp = None
    found = read_record(job, stamp) if stamp else None
    if found is None:
        stored = read_table(job.record)
        if "refused" in stored and "case" not in stored and stored.get("stamp") == stamp:
            found = Prepared(job.name, refused=stored["refused"])
    return found


def read_record(job: PrepareJob, stamp: dict[str, Any]) -> Prepared | None:
    """The stored result of a case, if no input has changed and all of its files exist."""
    try:
        data = json.loads(job.record.read_text(encoding="utf-8"))
        stored = data["stamp"]
        if stored | {"found": with_current_keys(stored["found"])} != stamp:
            return None
        facts = with_current_keys(data["case"])
        labels = None if facts["labels"] is None else Path(facts["labels"])
        shape, spacing = tuple(facts["shape_zyx"]), tuple(facts["spacing_zyx_mm"])
        prepared = Prepared(
            name=job.name,
            case=job.case(labels, facts["annotated"], facts["occurring"], shape, spacing),
            fingerprint=data["fingerprint"],
            pseudo=tuple(data["pseudo"]),
            sample={int(hu): int(count) for hu, count in data["sample"].items()},
            labelled=data["labelled"],
            turned=data.get("turned", False),
        )
        if prepared.case and facts["organs"]:
            prepared = replace(prepared, case=replace(prepared.case, organs=Path(facts["organs"])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    kind: Kind | None = "truth" if labels else None
    whole = all(is_cached(job.paths.grid(spacing) / job.name, kind) for spacing, _ in job.grids)
    return prepared if whole and (labels is None or labels.exists()) else None
