"""What a user asks of a run, independent of panel and scene, and the engine's command line for it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from flareseg.io.files import LABELS_ENDING
from flareseg.labels import Structure
from flareseg.options import Options, as_arguments

FAST, ACCURATE, MIRRORED, PARITY = "Fast", "Accurate", "Accurate + mirroring", "As nnU-Net"
ACCURATE_STEP = 0.5
"""Windows overlap by half, as nnU-Net's; Fast takes the model's own step."""
QUALITIES: dict[str, dict[str, Any]] = {
    FAST: {"parity": False},
    ACCURATE: {"parity": False, "step": ACCURATE_STEP},
    MIRRORED: {"parity": False, "step": ACCURATE_STEP, "mirroring": True},
    PARITY: {"parity": True},
}
"""The `Options` that each quality stands for."""
RESULT = LABELS_ENDING
"""What the module reads at one go; see the engine's io/labels_nrrd.py."""


@dataclass(frozen=True)
class RunRequest:
    """How to segment.

    Attributes:
        model: name of an embedded or imported model, or a model folder.
        quality: one of `QUALITIES`; empty: as the model has it, "As nnU-Net" for models imported from there, "Fast" for
            others.
        structures: names of what is wanted; empty: all that the model has.
        roi_lps_mm: x0, x1, y0, y1, z0, z1 of the box to look in, in the CT's own coordinates; None: everywhere.
        preview: show a first, coarse result.
        options: device and the like; what is chosen here goes before what the quality stands for.
    """

    model: str = "default"
    quality: str = ""
    structures: tuple[str, ...] = ()
    roi_lps_mm: tuple[float, ...] | None = None
    preview: bool = True
    options: Options = field(default_factory=Options)

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
    def wanted(self) -> tuple[Structure, ...]:
        """The structures that are looked for, in the model's order."""
        from flareseg.model.catalogue import structures_in
        from flareseg.model.structures import choose

        every = structures_in(self.model)
        return choose(self.structures, every) if self.structures else every

    def arguments(self, cts: Path, results: Path, previews: Path) -> list[str]:
        """`flareseg segment ...` for the CT files that the file `cts` lists, a path a line, some of which may come
        later; results become NAME.labels.nrrd in the folder `results`.

        The list is a file because Windows ends a command after 32,767 characters.
        """
        words = ["segment", "--list", str(cts), "--await-inputs", "-o", str(results), "--format", RESULT]
        words += ["--model", self.model, "--progress", "json", *as_arguments(self._all_options())]
        if self.structures:
            words += ["--structures", ",".join(self.structures)]
        if self.roi_lps_mm is not None:
            # to a tenth of a micrometre, and never as -1e-14, which would pass for an option
            words += ["--roi", *(f"{mm + 0.0:.4f}" for mm in self.roi_lps_mm)]
        return [*words, "--preview", str(previews)] if self.preview else words

    def _all_options(self) -> Options:
        """The options, where nothing is chosen those of the quality."""
        default = Options()
        of_quality = QUALITIES.get(self.quality, {})
        free = {
            name: value for name, value in of_quality.items() if getattr(self.options, name) == getattr(default, name)
        }
        return replace(self.options, **free)


CHOICES = tuple(one.name for kind in (RunRequest, Options) for one in fields(kind))
"""What `with_choices` takes by name."""


def with_choices(request: RunRequest | None = None, **choices: Any) -> RunRequest:
    """A request with other choices: fields of `RunRequest`, or of its `Options`.

    Raises:
        TypeError: for a name that neither has.
        ModelError, UsageError, ValueError: see `RunRequest`.
    """
    values = {} if request is None else {one.name: getattr(request, one.name) for one in fields(request)}
    values |= {one.name: choices.pop(one.name) for one in fields(RunRequest) if one.name in choices}
    values["options"] = replace(values.get("options") or Options(), **choices)
    if "structures" in values:
        values["structures"] = tuple(values["structures"])
    return RunRequest(**values)
