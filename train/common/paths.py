"""Paths of a run: the only module that knows the names of its folders and files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flareseg.volume import Triple


@dataclass(frozen=True)
class RunPaths:
    """The files of a run in its folder `root`. Label maps are .nii.gz on the grid of their CT, FLARE label values.

    Attributes:
        root: the folder.
        round: whose pseudo-labels and fused labels these are, a name of `Config.rounds`; "": the last round's.
    """

    root: Path
    round: str = ""

    def of_round(self, name: str) -> RunPaths:
        """The same run with the labels of another round."""
        return replace(self, round=name)

    @property
    def _labelled(self) -> Path:
        return self.root / "rounds" / self.round if self.round else self.root

    @property
    def fused_kind(self) -> str:
        """Name of the round's labels in the caches."""
        return f"fused_{self.round}" if self.round else "fused"

    @property
    def index(self) -> Path:
        """The index of all cases, written last by `prepare`."""
        return self.root / "index.json"

    @property
    def statistics(self) -> Path:
        """Intensities and spacings, measured by `prepare`."""
        return self.root / "statistics.json"

    @property
    def phantoms(self) -> Path:
        """The phantoms, as a data folder in the layout "cases"."""
        return self.root / "phantoms"

    @property
    def new_patients(self) -> Path:
        """The patients synthesized from real ones, as a data folder in the layout "cases"."""
        return self.root / "new_patients"

    def labels(self, case: str) -> Path:
        """Ground truth of a case, converted to FLARE label values."""
        return self.root / "labels" / f"{case}.nii.gz"

    def organs(self, case: str) -> Path:
        """Organ pseudo-labels of the source, turned to the axes of the CT."""
        return self.root / "labels" / f"{case}_organs.nii.gz"

    @property
    def sources(self) -> Path:
        """What `prepare` found in each source, used, refused and left out."""
        return self.root / "sources.json"

    def grid(self, spacing_zyx_mm: Triple) -> Path:
        """Cache of cases resampled to a spacing."""
        return self.root / "cache" / ("x".join(f"{mm:g}" for mm in spacing_zyx_mm) + "mm")

    def pseudo(self, kind: str, case: str) -> Path:
        """Pseudo-labels of a case; `kind` is "tumour" or "organs"."""
        return self._labelled / "pseudo" / kind / f"{case}.nii.gz"

    def confidence(self, kind: str, case: str) -> Path:
        """Record of the pseudo-labels of a case: confidence, or the reason of a failure. Written after the labels."""
        return self._labelled / "pseudo" / kind / f"{case}.json"

    def fused(self, case: str) -> Path:
        """Fused labels of a case."""
        return self._labelled / "fused" / f"{case}.nii.gz"

    def fused_record(self, case: str) -> Path:
        """What the fused labels of a case were made of, what is known of them, and what readers said of them. Written
        after the labels."""
        return self._labelled / "fused" / f"{case}.json"

    @property
    def review(self) -> Path:
        """The folder of the page on which labels are looked through and judged."""
        return self.root / "review"

    @property
    def fusion_report(self) -> Path:
        """Report of the label fusion, written when every case is fused, with a .md beside it."""
        return self._labelled / "fused" / "report.csv"

    def fit(self, name: str, left_out: Sequence[str] = ()) -> Path:
        """Checkpoints and logs of a fit, or of the same fit trained without the cases `left_out`."""
        if not left_out:
            return self.root / "fits" / name
        return self.root / "fits" / f"{name}_without_{'+'.join(sorted(left_out))}"

    def model(self, name: str) -> Path:
        """An intermediate model folder, such as S_tum for the pseudo-labels."""
        return self.root / "models" / name

    @property
    def scores(self) -> Path:
        """Folder for tables and plots of `evaluate`."""
        return self.root / "scores"

    @property
    def calibration(self) -> Path:
        """What `evaluate` learnt of the DSC that is to be expected, by structure, for `export`."""
        return self.scores / "calibration.json"

    @property
    def tumour_rule(self) -> Path:
        """The post-processing of tumours that `evaluate` chose, for `export`."""
        return self.scores / "tumour_rule.json"
