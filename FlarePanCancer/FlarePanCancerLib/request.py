"""What a user asks for, independent of panel and scene, and the engine's command line for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flareseg.labels import by_names, structures

FAST, ACCURATE, MIRRORED = "Fast", "Accurate", "Accurate + mirroring"
QUALITIES = (FAST, ACCURATE, MIRRORED)
ACCURATE_STEP = "0.5"
"""Windows overlap by half, as nnU-Net's; Fast takes the model's own step."""
RESULT = ".nrrd"


@dataclass(frozen=True)
class Request:
    """How to segment.

    Attributes:
        model: name of an embedded or imported model, or a model folder.
        quality: one of `QUALITIES`.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        structures: names of what is wanted; empty: all that the model has.
        roi_lps_mm: x0, x1, y0, y1, z0, z1 of the box to look in, in the CT's own coordinates; None: everywhere.
        preview: show a first, coarse result.
        force: go on where the volume does not look like a CT.
    """

    model: str = "default"
    quality: str = FAST
    device: str = "auto"
    structures: tuple[str, ...] = ()
    roi_lps_mm: tuple[float, ...] | None = None
    preview: bool = True
    force: bool = False

    def __post_init__(self) -> None:
        """
        Raises:
            UsageError: for a structure that there is not.
            ValueError: for a quality that there is not, or a box of other than six numbers.
        """
        if self.quality not in QUALITIES:
            raise ValueError(f"There is no quality '{self.quality}'; choose one of {', '.join(QUALITIES)}.")
        if self.roi_lps_mm is not None and len(self.roi_lps_mm) != 6:
            raise ValueError("A region of interest has six numbers: x0, x1, y0, y1, z0, z1.")
        by_names(self.structures)

    @property
    def wanted(self) -> tuple[Any, ...]:
        """The structures that are looked for, by value."""
        return by_names(self.structures) if self.structures else structures()

    def arguments(self, cts: Sequence[Path], results: Path, previews: Path) -> list[str]:
        """`flareseg segment ...` for CT files; results become NAME.nrrd in the folder `results`."""
        words = ["segment", *map(str, cts), "-o", str(results), "--format", RESULT]
        words += ["--model", self.model, "--device", self.device, "--progress", "json"]
        if self.quality != FAST:
            words += ["--step", ACCURATE_STEP]
        if self.quality == MIRRORED:
            words += ["--tta"]
        if self.structures:
            words += ["--structures", ",".join(self.structures)]
        if self.roi_lps_mm is not None:
            words += ["--roi", *(repr(float(mm)) for mm in self.roi_lps_mm)]
        if self.preview:
            words += ["--preview", str(previews)]
        return [*words, "--force"] if self.force else words
