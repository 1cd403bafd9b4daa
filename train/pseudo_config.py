"""The configuration of pseudo-labels: which nets make them, and what of their answers counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PseudoKind = Literal["tumour", "organs"]


@dataclass(frozen=True)
class PseudoConfig:
    """How pseudo-labels are made and filtered: those of `pseudo`, and those of each of the `rounds` before it.

    Where several nets label, a voxel gets the label that enough of them agree on, and is unknown elsewhere.

    Attributes:
        tumour_fit: the fit, or fits, that segment tumours in CTs without tumour labels; empty: no tumour pseudo-labels.
        organ_model: models ("default" is the embedded one) or fits of this run that segment organs if the source
            has no organ pseudo-labels; empty: none.
        coarse: the fit of a coarse network that shows the fits of this run which region to label; empty: all of a CT.
        source_organs: whether organ pseudo-labels that come with a source are used; without, `organ_model` labels
            these cases too.
        agreement: share of several nets, more than a half, that must agree on a voxel.
        least_agreement: an organ on which several nets agree less in a case (mean DSC of their pairs, 0 to 1) is not
            annotated there.
        least_confidence: tumour voxels with a lower probability (0 to 1, of several nets their mean) become unknown.
        smallest_tumour_ml: smaller components of tumour pseudo-labels are dropped.
        largest_instability: pseudo-labels of a case that are less stable are not used, see `stability.py`; a case
            without ground truth is left out then. By default all are used.
        weigh_unstable: a case without ground truth is drawn less often the less stable its pseudo-labels are.
        mirroring: average over mirrored windows, as far as the net allows it (`mirror_axes`, `mirror_sides`).
        device: as for `flareseg segment`.
    """

    tumour_fit: str | list[str] = "tumor"
    organ_model: str | list[str] = ""
    coarse: str = ""
    source_organs: bool = True
    agreement: float = 1.0
    least_agreement: float = 0.0
    least_confidence: float = 0.0
    smallest_tumour_ml: float = 0.0
    largest_instability: float | None = None
    weigh_unstable: bool = False
    mirroring: bool = False
    device: str = "auto"

    def nets(self, kind: PseudoKind) -> tuple[str, ...]:
        """Names of the fits or models that label tumours, or organs."""
        named = self.tumour_fit if kind == "tumour" else self.organ_model
        return tuple(named) if isinstance(named, list) else (named,) if named else ()

    @property
    def teachers(self) -> tuple[str, ...]:
        """All nets that have a part in the labels, each once."""
        named = (self.coarse, *self.nets("organs"), *self.nets("tumour"))
        return tuple(dict.fromkeys(name for name in named if name))

    @property
    def judges_stability(self) -> bool:
        """Whether it matters how stable the labels of a case are."""
        return self.weigh_unstable or self.largest_instability is not None
