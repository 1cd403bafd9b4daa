"""What came of a case in the stage `prepare`, kept with a stamp of what it was made of.

A case is made again only when a file or a setting has changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flareseg.model.plan import ResamplingRule
from flareseg.volume import Index, Triple
from train.common.json_files import write_json
from train.common.paths import RunPaths
from train.data.cache import Kind, is_cached
from train.data.index import IndexedCase
from train.data.layouts.found import FoundCase

VERSION = 1
"""Of what is made of a case; cases that another version made are made anew."""


@dataclass(frozen=True)
class PrepareJob:
    """What a process needs to prepare one case.

    Attributes:
        source: name of the source.
        found: the case.
        annotated: values that the configuration says the labels annotate; None: as the data set has it.
        absent: values of structures that the CT does not show.
        paths: of the run.
        grids: spacings and rules of resampling to cache it for.
    """

    source: str
    found: FoundCase
    annotated: tuple[int, ...] | None
    paths: RunPaths
    grids: tuple[tuple[Triple, ResamplingRule], ...]
    absent: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.source}_{self.found.name}"

    @property
    def record(self) -> Path:
        """What came of the case before, beside its converted labels."""
        return self.paths.labels(self.name).with_name(f"{self.name}.json")

    def case(
        self, labels: Path | None, covered: Iterable[str], occurring: Iterable[str], shape: Index, spacing_mm: Triple
    ) -> IndexedCase:
        """The case for the index."""
        found = self.found
        return IndexedCase(
            name=self.name,
            source=self.source,
            image=found.image,
            labels=labels,
            covered=tuple(covered),
            occurring=tuple(occurring),
            organs=found.organs,
            shape_zyx=shape,
            spacing_zyx_mm=spacing_mm,
            licence=found.licence,
            patient=found.patient,
        )


@dataclass(frozen=True)
class Prepared:
    """What came of a case.

    Attributes:
        name: of the case.
        case: for the index, its split still open; None: refused.
        refused: why.
        fingerprint: the same for the same voxels, however they are stored.
        pseudo: structures that occur in its organ pseudo-labels.
        sample: HU and how often, of up to 10,000 voxels of its foreground.
        labelled: whether that foreground are structures, rather than the whole body.
    """

    name: str
    case: IndexedCase | None = None
    refused: str = ""
    fingerprint: str = ""
    pseudo: tuple[str, ...] = ()
    sample: dict[int, int] = field(default_factory=dict)
    labelled: bool = False


def stamp_of(job: PrepareJob) -> dict[str, Any]:
    """What a case is made of."""
    found = job.found
    files = (found.image, *(label.path for label in found.labels), *([found.organs] if found.organs else []))
    facts = {
        "version": VERSION,
        "found": {key: str(value) for key, value in asdict(found).items() if key not in ("split", "patient")},
        "files": [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files],
        "annotated": job.annotated,
        "grids": job.grids,
    } | ({"absent": job.absent} if job.absent else {})
    stamp: dict[str, Any] = json.loads(json.dumps(facts))  # as it will be read
    return stamp


def write_record(job: PrepareJob, stamp: dict[str, Any], prepared: Prepared) -> None:
    """Keep what came of a case."""
    write_json(job.record, asdict(prepared) | {"stamp": stamp})


def read_record(job: PrepareJob, stamp: dict[str, Any]) -> Prepared | None:
    """What came of the case before, if nothing has changed since and all that was made is there."""
    try:
        data = json.loads(job.record.read_text(encoding="utf-8"))
        if data["stamp"] != stamp:
            return None
        facts = data["case"]
        labels = None if facts["labels"] is None else Path(facts["labels"])
        shape, spacing = tuple(facts["shape_zyx"]), tuple(facts["spacing_zyx_mm"])
        prepared = Prepared(
            name=job.name,
            case=job.case(labels, facts["covered"], facts["occurring"], shape, spacing),
            fingerprint=data["fingerprint"],
            pseudo=tuple(data["pseudo"]),
            sample={int(hu): int(count) for hu, count in data["sample"].items()},
            labelled=data["labelled"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    kind: Kind | None = "truth" if labels else None
    whole = all(is_cached(job.paths.grid(spacing) / job.name, kind) for spacing, _ in job.grids)
    return prepared if whole and (labels is None or labels.exists()) else None
