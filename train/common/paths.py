"""Where a run keeps what: the only module that knows the names of its folders and files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flareseg.volume import Triple


@dataclass(frozen=True)
class RunPaths:
    """The files of a run, under its folder `root`. Label maps are .nii.gz on the grid of their CT, FLARE's numbers."""

    root: Path

    @property
    def index(self) -> Path:
        """All cases, written by `prepare` when everything else of it is done."""
        return self.root / "index.json"

    @property
    def statistics(self) -> Path:
        """Intensities and spacings, measured by `prepare`."""
        return self.root / "statistics.json"

    @property
    def phantoms(self) -> Path:
        """The synthetic abdomens, as a data folder in the layout "cases"."""
        return self.root / "phantoms"

    @property
    def new_patients(self) -> Path:
        """The patients that were made of real ones, as a data folder in the layout "cases"."""
        return self.root / "new_patients"

    def labels(self, case: str) -> Path:
        """Ground truth of a case, converted to FLARE's numbers."""
        return self.root / "labels" / f"{case}.nii.gz"

    def grid(self, spacing_zyx_mm: Triple) -> Path:
        """Cache of cases resampled to a spacing."""
        return self.root / "cache" / ("x".join(f"{mm:g}" for mm in spacing_zyx_mm) + "mm")

    def pseudo(self, kind: str, case: str) -> Path:
        """Pseudo-labels of a case; `kind` is "tumour" or "organs"."""
        return self.root / "pseudo" / kind / f"{case}.nii.gz"

    def confidence(self, kind: str, case: str) -> Path:
        """How sure the net was of its pseudo-labels, as a table, or why there are none. A case's last file."""
        return self.root / "pseudo" / kind / f"{case}.json"

    def fused(self, case: str) -> Path:
        """Ground truth over pseudo-labels."""
        return self.root / "fused" / f"{case}.nii.gz"

    @property
    def fusion_report(self) -> Path:
        """What the fusion changed; written when every case is fused. A .md of the same name is for readers."""
        return self.root / "fused" / "report.csv"

    def fit(self, name: str, left_out: Sequence[str] = ()) -> Path:
        """Checkpoints and logs of a fit, or of the same fit without the cases `left_out`."""
        if not left_out:
            return self.root / "fits" / name
        return self.root / "fits" / f"{name}_without_{'+'.join(sorted(left_out))}"

    def model(self, name: str) -> Path:
        """A model folder made in passing, such as S_tum for the pseudo-labels."""
        return self.root / "models" / name

    @property
    def scores(self) -> Path:
        """Folder of tables and plots of `evaluate`."""
        return self.root / "scores"
