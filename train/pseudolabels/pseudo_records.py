"""Records of pseudo-labels: which cases need them and which have them, in each round."""

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
from train.pseudo_config import PseudoConfig, PseudoKind
from train.pseudolabels.fusion import ORGANS
from train.training.checkpoints import DONE

FAILED = "failed"


@dataclass(frozen=True)
class Records:
    """The pseudo-labels of one kind in a run, those of the round that `paths` are of."""

    kind: PseudoKind
    config: Config
    paths: RunPaths

    @property
    def settings(self) -> PseudoConfig:
        """How the labels of the round are made."""
        return self.config.labelling(self.paths.round)

    @property
    def nets(self) -> tuple[str, ...]:
        """The fits, models or model folders that predict them; empty: none."""
        return self.settings.nets(self.kind)

    @property
    def region(self) -> str:
        """The fit that shows the fits among them where to look; empty: none."""
        return self.settings.coarse if any(net in self.config.fits for net in self.nets) else ""

    def wanted(self, index: CaseIndex) -> list[IndexedCase]:
        """The training cases that need them.

        Tumours: cases whose tumours are not annotated. Organs: cases in which not all organs are annotated and whose
        source has no pseudo-labels, or none that are used.
        """
        cases = index.split("train")
        if not self.nets or (self.kind == "tumour" and not self.config.ablation.label_fusion):
            return []
        if self.kind == "tumour":
            return [case for case in cases if not case.known[TUMOUR]]
        used = self.settings.source_organs
        return [case for case in cases if not (used and case.organs) and not case.known[list(ORGANS)].all()]

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
        """Changes with the CT, with how the networks of this run are applied to it, and with what ground truth decides
        where several nets differ."""
        decided = f" {' '.join(case.annotated)}" if len(self.nets) > 1 else ""
        return f"{self._applied} {file_stamp(case.image)}{decided}"

    def _stamp(self, case: IndexedCase) -> dict[str, str]:
        return {"made_by": self.made_by, "made_of": self.made_of(case)}

    @cached_property
    def _applied(self) -> str:
        fits = [name for name in (*self.nets, self.region) if name in self.config.fits]
        if not fits:
            return ""
        how = [asdict(self.config.net_of(name)) for name in fits]
        return _short_hash(json.dumps([*how, self.config.export.weights, self.settings.mirroring]).encode())

    @cached_property
    def made_by(self) -> str:
        """Identifies nets and settings, so that pseudo-labels of an earlier model are not kept."""
        settings = self.settings
        limits = f"{settings.least_confidence:g} {settings.smallest_tumour_ml:g}" if self.kind == "tumour" else ""
        files = (self._file(name) for name in (*self.nets, self.region) if name)
        together = f" {settings.agreement:g} {settings.least_agreement:g}" if len(self.nets) > 1 else ""
        return f"{' '.join(self.nets)} {limits} {_short_hash(b''.join(map(_bytes_of, files)))}{together}"

    def _file(self, net: str) -> Path:
        """A file that changes whenever the net does."""
        if net in self.config.fits:
            return self.paths.fit(net) / DONE
        try:
            return find_model(net) / JSON
        except FlareError:
            return Path(net)


def all_records(config: Config, paths: RunPaths) -> list[Records]:
    """The records of both kinds, of the round that `paths` are of."""
    return [Records("tumour", config, paths), Records("organs", config, paths)]


def _short_hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
