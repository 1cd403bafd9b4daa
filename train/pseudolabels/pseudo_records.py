"""Records of pseudo-labels: which cases need them and which have them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from flareseg.errors import FlareError
from flareseg.model.catalogue import find_model
from flareseg.model.storage import JSON
from train.common.hashes import file_stamp
from train.common.json_files import read_table, write_json
from train.common.paths import RunPaths
from train.config import Config
from train.data.index import TUMOUR, CaseIndex, IndexedCase
from train.pseudolabels.fusion import ORGANS
from train.training.checkpoints import DONE

FAILED = "failed"


@dataclass(frozen=True)
class Records:
    """The pseudo-labels of one kind, "tumour" or "organs", in a run."""

    kind: str
    config: Config
    paths: RunPaths

    @property
    def model(self) -> str:
        """The fit, model or model folder that predicts them; empty: none."""
        return self.config.pseudo.tumour_fit if self.kind == "tumour" else self.config.pseudo.organ_model

    def wanted(self, index: CaseIndex) -> list[IndexedCase]:
        """The training cases that need them.

        Tumours: cases whose tumours are not annotated. Organs: cases in which not all organs are annotated and whose
        source has no pseudo-labels.
        """
        cases = index.split("train")
        if not self.model or (self.kind == "tumour" and not self.config.ablation.label_fusion):
            return []
        if self.kind == "tumour":
            return [case for case in cases if not case.known[TUMOUR]]
        return [case for case in cases if case.organs is None and not case.known[list(ORGANS)].all()]

    def is_done(self, case: IndexedCase) -> bool:
        """Whether a case has pseudo-labels of the current model and settings."""
        facts = self.facts(case)
        known = (facts.get("made_by"), facts.get("made_of", self.made_of(case)))  # older records do not say of what
        return known == (self.made_by, self.made_of(case)) and self.paths.pseudo(self.kind, case.name).exists()

    def is_stale(self, case: IndexedCase) -> bool:
        """Whether a case has pseudo-labels, but of another model, other settings or another image."""
        return not self.is_done(case) and "made_by" in self.facts(case) and FAILED not in self.facts(case)

    def is_settled(self, case: IndexedCase) -> bool:
        """Whether a case has its pseudo-labels, or a recorded failure."""
        return self.is_done(case) or FAILED in self.facts(case)

    def facts(self, case: IndexedCase) -> dict[str, Any]:
        """The record of a case; empty if there is none."""
        return read_table(self.paths.confidence(self.kind, case.name))

    def write(self, case: IndexedCase, facts: dict[str, Any]) -> None:
        """Write the record of a case, after its labels."""
        write_json(self.paths.confidence(self.kind, case.name), facts | self._stamp(case))

    def remove(self, case: IndexedCase) -> None:
        """Remove the record and the labels of a case, in this order."""
        self.paths.confidence(self.kind, case.name).unlink(missing_ok=True)
        self.paths.pseudo(self.kind, case.name).unlink(missing_ok=True)

    def made_of(self, case: IndexedCase) -> str:
        """Changes with the CT, and with how the network of this run is applied to it."""
        return f"{self._applied} {file_stamp(case.image)}"

    def _stamp(self, case: IndexedCase) -> dict[str, str]:
        return {"made_by": self.made_by, "made_of": self.made_of(case)}

    @cached_property
    def _applied(self) -> str:
        if self.model not in self.config.fits:
            return ""
        how = [asdict(self.config.net_of(self.model)), self.config.export.weights, self.config.pseudo.mirroring]
        return hashlib.sha256(json.dumps(how).encode()).hexdigest()[:16]

    @cached_property
    def made_by(self) -> str:
        """Identifies model and settings, so that pseudo-labels of an earlier model are not kept."""
        settings = self.config.pseudo
        limits = f"{settings.least_confidence:g} {settings.smallest_tumour_ml:g}" if self.kind == "tumour" else ""
        return f"{self.model} {limits} {hashlib.sha256(_bytes_of(self._file())).hexdigest()[:16]}"

    def _file(self) -> Path:
        """A file that changes whenever the model does."""
        if self.model in self.config.fits:
            return self.paths.fit(self.model) / DONE
        try:
            return find_model(self.model) / JSON
        except FlareError:
            return Path(self.model)


def all_records(config: Config, paths: RunPaths) -> list[Records]:
    """The records of both kinds."""
    return [Records("tumour", config, paths), Records("organs", config, paths)]


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
