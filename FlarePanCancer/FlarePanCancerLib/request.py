"""What a user asks for, independent of panel and scene, and the engine's command line for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FAST, ACCURATE, MIRRORED, PARITY = "Fast", "Accurate", "Accurate + mirroring", "As nnU-Net"
ACCURATE_STEP = "0.5"
"""Windows overlap by half, as nnU-Net's; Fast takes the model's own step."""
QUALITIES = {
    FAST: ("--no-parity",),
    ACCURATE: ("--no-parity", "--step", ACCURATE_STEP),
    MIRRORED: ("--no-parity", "--step", ACCURATE_STEP, "--tta"),
    PARITY: ("--parity",),
}
"""What each quality is on the engine's command line."""
RESULT = ".nrrd"


@dataclass(frozen=True)
class Request:
    """How to segment.

    Attributes:
        model: name of an embedded or imported model, or a model folder.
        quality: one of `QUALITIES`; empty: as the model has it, "As nnU-Net" for models imported from there, "Fast" for
            others.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        structures: names of what is wanted; empty: all that the model has.
        roi_lps_mm: x0, x1, y0, y1, z0, z1 of the box to look in, in the CT's own coordinates; None: everywhere.
        preview: show a first, coarse result.
        force: go on where the volume does not look like a CT.
    """

    model: str = "default"
    quality: str = ""
    device: str = "auto"
    structures: tuple[str, ...] = ()
    roi_lps_mm: tuple[float, ...] | None = None
    preview: bool = True
    force: bool = False

    def __post_init__(self) -> None:
        """
        Raises:
            ModelError: for a model that there is not.
            UsageError: for a structure that the model does not have.
            ValueError: for a quality that there is not, or a box of other than six numbers.
        """
        if self.quality and self.quality not in QUALITIES:
            raise ValueError(f"There is no quality '{self.quality}'; choose one of {', '.join(QUALITIES)}.")
        if self.roi_lps_mm is not None and len(self.roi_lps_mm) != 6:
            raise ValueError("A region of interest has six numbers: x0, x1, y0, y1, z0, z1.")
        _ = self.wanted

    @property
    def wanted(self) -> tuple[Any, ...]:
        """The structures that are looked for, in the model's order."""
        from flareseg.model.catalogue import structures_in
        from flareseg.model.structures import choose

        every = structures_in(self.model)
        return choose(self.structures, every) if self.structures else every

    def arguments(self, cts: Sequence[Path], results: Path, previews: Path) -> list[str]:
        """`flareseg segment ...` for CT files; results become NAME.nrrd in the folder `results`."""
        words = ["segment", *map(str, cts), "-o", str(results), "--format", RESULT]
        words += ["--model", self.model, "--device", self.device, "--progress", "json"]
        words += QUALITIES.get(self.quality, ())
        if self.structures:
            words += ["--structures", ",".join(self.structures)]
        if self.roi_lps_mm is not None:
            words += ["--roi", *(repr(float(mm)) for mm in self.roi_lps_mm)]
        if self.preview:
            words += ["--preview", str(previews)]
        return [*words, "--force"] if self.force else words
