"""A model's plan: everything that decides how a CT becomes network input and network output becomes labels.

A plan is read from `model.json` (see `bundle.py`) and is the only home of these numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from flareseg.errors import ModelError
from flareseg.labels import by_name, is_known, paired_sides
from flareseg.model.calibration import Calibration
from flareseg.model.networks.registry import architecture_of
from flareseg.model.networks.spec import NetworkSpec
from flareseg.volume import Index, Triple

WindowRule = Literal["fixed", "fitted"]
ResamplingRule = Literal["auto", "isotropic", "separate_z", "corners"]
IntensityScheme = Literal["ct", "zscore", "zscore_nonzero"]
OrientationRule = Literal["canonical", "stored", "ras"]
MOST_STRIDES = 16
"""Of stages, and of one stride: bounds of what is read at all; `networks/spec.py` has those of what can be built."""


@dataclass(frozen=True)
class Intensity:
    """How HU become network input.

    Attributes:
        clip_hu, mean_hu, std_hu: percentiles, mean and standard deviation of the training foreground.
        scheme: "ct" clips to `clip_hu`, subtracts `mean_hu` and divides by `std_hu`. "zscore" takes mean and standard
            deviation of each image instead and does not clip; "zscore_nonzero" takes them of what is not zero (holes
            filled) and leaves the rest at 0.
    """

    clip_hu: tuple[float, float]
    mean_hu: float
    std_hu: float
    scheme: IntensityScheme = "ct"


@dataclass(frozen=True)
class ComponentRule:
    """What post-processing keeps of one structure: components of at least `minimum_ml` and of at least `minimum_share`
    of the largest one's volume, or only the largest one; with `without_fat` nothing that is fat, and with
    `without_fluid` not the largest one where that is fluid and another is not, see `inference/postprocessing.py`; with
    `to_neighbour` islands that are not kept go to another such structure where they lie at it, see
    `inference/islands.py`."""

    minimum_ml: float = 0.0
    largest_only: bool = False
    without_fat: bool = False
    without_fluid: bool = False
    minimum_share: float = 0.0
    to_neighbour: bool = False

    def to_json(self) -> dict[str, Any]:
        names = ("without_fat", "without_fluid", "to_neighbour")
        added = {name: getattr(self, name) for name in names}
        old = {"minimum_ml": self.minimum_ml, "largest_only": self.largest_only}
        share = {"minimum_share": self.minimum_share} if self.minimum_share else {}
        return old | {name: True for name, value in added.items() if value} | share

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ComponentRule:
        return cls(
            float(data.get("minimum_ml", 0)),
            bool(data.get("largest_only", False)),
            bool(data.get("without_fat", False)),
            bool(data.get("without_fluid", False)),
            float(data.get("minimum_share", 0)),
            bool(data.get("to_neighbour", False)),
        )


@dataclass(frozen=True)
class LargestRule:
    """Structures of which, taken together, only the largest 6-connected component stays, as nnU-Net v1 has it.

    Attributes:
        structures: their names.
        below_ml: only components of less volume go; None: all but the largest.
    """

    structures: tuple[str, ...]
    below_ml: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {"structures": list(self.structures), "below_ml": self.below_ml}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LargestRule:
        below = data.get("below_ml")
        return cls(tuple(map(str, data["structures"])), None if below is None else float(below))


@dataclass(frozen=True)
class LesionRule:
    """How sure a net of its own for tumours must be for a lesion to be drawn: hysteresis thresholding of its margin, by
    which the tumour's logit exceeds the highest of its others.

    Attributes:
        lead: the least margin in every voxel of the lesion.
        peak: the seed threshold: the margin that at least one of these voxels must reach.
    """

    lead: float = 0.0
    peak: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return {"lead": self.lead, "peak": self.peak}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LesionRule:
        return cls(float(data.get("lead", 0)), float(data.get("peak", 0)))


@dataclass(frozen=True)
class Plan:
    """How one network is applied.

    Attributes:
        spacing_zyx_mm: the grid the network sees.
        patch_zyx: window size in voxels of that grid.
        step: distance of windows as a fraction of the window (1.0: side by side; nnU-Net's default is 0.5).
        mirror_axes: axes (0 z, 1 y, 2 x) that test-time mirroring flips when the user asks for it.
        mirror_sides: test-time mirroring also flips left and right, and swaps the structures of the two sides back.
        windows: "fixed" uses exactly `patch_zyx`; "fitted" lets an axis shrink or grow a little so that windows
            tile the volume without waste.
        intensity: HU normalisation.
        padding_hu: what surrounds an image that is smaller than a window: this many HU, as the network saw it in
            training; None is nnU-Net's way, 0 after normalisation.
        resampling: "auto" is nnU-Net's rule: separate z (nearest along the coarse axis, cubic in plane) where the
            spacing is anisotropic by more than 3, else cubic along all axes; logits linear by the same rule. "corners"
            is TotalSegmentator's way, see `inference/totalsegmentator.py`.
        image_order: of the splines that interpolate the image; 3 is cubic.
        orientation: how a CT's voxels are ordered for the network: "canonical" (LPS), "ras", or as they are "stored"
            in the file, which is nnU-Net's way.
        axes: of that order, which axis becomes the network's first, second and third (nnU-Net's transpose_forward).
        parity: give nnU-Net's own answer, voxel for voxel, unless the user asks for the faster way.
        nnunet: whose answer that is, of version 2 or 1. Version 1 clips an image after it was resampled, not before,
            and averages probabilities instead of logits.
        network: what to build.
        labels: label value of each output channel and its structure name; channel 0 is background.
        silent: names of those that it never draws: their output is closed, as it was not learnt well enough.
        components: post-processing per structure name.
        largest: post-processing of several structures together, one rule after the other.
        coarse: the plan of a low-resolution net that finds the region first, or None.
        tumour: the plan of a net of its own for the tumours, or None; its grid may be another.
        lesions: which of what that net says is drawn.
        calibration: per structure name, the DSC that is expected; empty where nobody measured it.
    """

    spacing_zyx_mm: Triple
    patch_zyx: Index
    intensity: Intensity
    network: NetworkSpec
    labels: dict[int, str]
    step: float = 1.0
    mirror_axes: tuple[int, ...] = ()
    mirror_sides: bool = False
    windows: WindowRule = "fixed"
    padding_hu: float | None = None
    resampling: ResamplingRule = "auto"
    components: dict[str, ComponentRule] = field(default_factory=dict)
    coarse: Plan | None = None
    tumour: Plan | None = None
    lesions: LesionRule = LesionRule()
    image_order: int = 3
    orientation: OrientationRule = "canonical"
    axes: Index = (0, 1, 2)
    parity: bool = False
    nnunet: int = 2
    largest: tuple[LargestRule, ...] = ()
    silent: tuple[str, ...] = ()
    calibration: dict[str, Calibration] = field(default_factory=dict)

    @property
    def classes(self) -> int:
        """Output channels of the network, background included."""
        return len(self.labels)

    @property
    def needs_format(self) -> int:
        """The model format that can tell this plan: 10 where islands go to their neighbours, 9 where components are
        judged by their share of the largest, 7 for the resampling of TotalSegmentator and where fluid is taken for no
        organ, 5 where it follows nnU-Net v1, 4 where tumours have a net of their own, 3 where a structure is kept free
        of fat, 2 where it has what came with imported nnU-Net models."""
        if any(rule.to_neighbour for rule in self.components.values()):
            return 10
        if any(rule.minimum_share for rule in self.components.values()):
            return 9
        if self.resampling == "corners" or any(rule.without_fluid for rule in self.components.values()):
            return 7
        if self.nnunet != 2 or self.largest:
            return 5
        if self.tumour:
            return 4
        if any(rule.without_fat for rule in self.components.values()):
            return 3
        added = (self.image_order, self.orientation, self.axes, self.parity, self.intensity.scheme)
        known = added == (3, "canonical", (0, 1, 2), False, "ct") and not self.has_own_structures
        network = architecture_of(self.network).model_format(self.network)
        return max(1 if known else 2, network, self.coarse.needs_format if self.coarse else 1)

    @property
    def has_own_structures(self) -> bool:
        """Whether a structure is none of FLARE's, or there twice: the labels then keep the model's own numbers."""
        names = [name for value, name in self.labels.items() if value]
        return not all(map(is_known, names)) or len({by_name(name) for name in names}) < len(names)

    def same_preprocessing(self, other: Plan) -> bool:
        """Whether both networks are given the same image of a CT."""
        names = ("spacing_zyx_mm", "intensity", "resampling", "image_order", "orientation", "axes")
        return all(getattr(self, name) == getattr(other, name) for name in names)

    @property
    def padding(self) -> float:
        """The normalised value around an image that is smaller than a window."""
        if self.padding_hu is None:
            return 0.0
        low, high = self.intensity.clip_hu
        return (min(max(self.padding_hu, low), high) - self.intensity.mean_hu) / self.intensity.std_hu

    @property
    def stride_zyx(self) -> Index:
        """Voxels per axis that the network halves down to one: window sizes must be multiples of it."""
        total = [1, 1, 1]
        for stride in self.network.kwargs["strides"]:
            steps = [stride] * 3 if isinstance(stride, int) else stride
            total = [t * s for t, s in zip(total, steps, strict=True)]
        return total[0], total[1], total[2]

    def to_json(self) -> dict[str, Any]:
        return {
            "spacing_zyx_mm": list(self.spacing_zyx_mm),
            "patch_zyx": list(self.patch_zyx),
            "step": self.step,
            "mirror_axes": list(self.mirror_axes),
            "windows": self.windows,
            "intensity": {
                "clip_hu": list(self.intensity.clip_hu),
                "mean_hu": self.intensity.mean_hu,
                "std_hu": self.intensity.std_hu,
                **({} if self.intensity.scheme == "ct" else {"scheme": self.intensity.scheme}),
            },
            "padding_hu": self.padding_hu,
            "resampling": self.resampling,
            "network": {"name": self.network.name, "kwargs": self.network.kwargs},
            "labels": {str(value): name for value, name in self.labels.items()},
            "components": {name: rule.to_json() for name, rule in self.components.items()},
            "coarse": self.coarse.to_json() if self.coarse else None,
            **({"tumour": self.tumour.to_json(), "lesions": self.lesions.to_json()} if self.tumour else {}),
            **self._added(),
        }

    def _added(self) -> dict[str, Any]:
        """What later formats added, as far as this plan uses it; older programs read the others."""
        added: dict[str, Any] = {}
        if self.mirror_sides:  # programs that do not know it run without mirroring
            added["mirror_sides"] = True
        if self.image_order != 3:
            added["image_order"] = self.image_order
        if self.orientation != "canonical":
            added["orientation"] = self.orientation
        if self.axes != (0, 1, 2):
            added["axes"] = list(self.axes)
        if self.parity:
            added["inference"] = {"parity": True}
        if self.nnunet != 2:
            added["inference"] = {"parity": self.parity, "nnunet": self.nnunet}
        if self.silent:
            added["silent"] = list(self.silent)
        if self.largest:
            added["largest"] = [rule.to_json() for rule in self.largest]
        if self.calibration:  # of no format: labels are the same without it
            added["calibration"] = {name: one.to_json() for name, one in self.calibration.items()}
        return added

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Plan:
        """Read what `to_json` wrote.

        Raises:
            ModelError: naming the first entry that is missing or makes no sense.
        """
        try:
            plan = cls(
                spacing_zyx_mm=_triple(data["spacing_zyx_mm"]),
                patch_zyx=_index(data["patch_zyx"]),
                intensity=Intensity(
                    clip_hu=(float(data["intensity"]["clip_hu"][0]), float(data["intensity"]["clip_hu"][1])),
                    mean_hu=float(data["intensity"]["mean_hu"]),
                    std_hu=float(data["intensity"]["std_hu"]),
                    scheme=data["intensity"].get("scheme", "ct"),
                ),
                network=NetworkSpec(name=str(data["network"]["name"]), kwargs=dict(data["network"]["kwargs"])),
                labels={int(value): str(name) for value, name in data["labels"].items()},
                step=float(data.get("step", 1.0)),
                mirror_axes=tuple(int(axis) for axis in data.get("mirror_axes", ())),
                mirror_sides=bool(data.get("mirror_sides", False)),
                windows=data.get("windows", "fixed"),
                padding_hu=None if data.get("padding_hu") is None else float(data["padding_hu"]),
                resampling=data.get("resampling", "auto"),
                components={
                    str(name): ComponentRule.from_json(rule) for name, rule in data.get("components", {}).items()
                },
                coarse=cls.from_json(data["coarse"]) if data.get("coarse") else None,
                tumour=cls.from_json(data["tumour"]) if data.get("tumour") else None,
                lesions=LesionRule.from_json(data.get("lesions", {})),
                image_order=int(data.get("image_order", 3)),
                orientation=data.get("orientation", "canonical"),
                axes=_index(data.get("axes", (0, 1, 2))),
                parity=bool(data.get("inference", {}).get("parity", False)),
                nnunet=int(data.get("inference", {}).get("nnunet", 2)),
                largest=tuple(LargestRule.from_json(rule) for rule in data.get("largest", ())),
                silent=tuple(str(name) for name in data.get("silent", ())),
                calibration={
                    str(name): Calibration.from_json(one) for name, one in data.get("calibration", {}).items()
                },
            )
            plan._check()
        except KeyError as error:
            raise ModelError(f"The model's plan lacks the entry {error}.") from None
        except RecursionError:
            raise ModelError("The model's plan has plans in plans without end.") from None
        except (TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as error:
            raise ModelError(f"The model's plan has an entry that makes no sense: {error}.") from None
        return plan

    def _check(self) -> None:
        _check_strides(self.network.kwargs["strides"])
        if any(not 0.05 <= mm <= 50 for mm in self.spacing_zyx_mm):
            raise ValueError(f"spacing {self.spacing_zyx_mm} mm")
        if any(not 1 <= size <= 2048 for size in self.patch_zyx):
            raise ValueError(f"patch {self.patch_zyx}")
        if any(size % stride for size, stride in zip(self.patch_zyx, self.stride_zyx, strict=True)):
            raise ValueError(f"patch {self.patch_zyx} is not a multiple of the network's strides {self.stride_zyx}")
        if not 0 < self.step <= 1:
            raise ValueError(f"step {self.step}, expected more than 0 and at most 1")
        if not self.intensity.clip_hu[0] < self.intensity.clip_hu[1]:
            raise ValueError(f"intensity range {self.intensity.clip_hu} HU")
        if not all(map(math.isfinite, (*self.intensity.clip_hu, self.intensity.mean_hu, self.intensity.std_hu))):
            raise ValueError(f"intensity {self.intensity}")
        if self.intensity.std_hu <= 0:
            raise ValueError(f"intensity std {self.intensity.std_hu}")
        if sorted(self.labels) != list(range(len(self.labels))) or len(self.labels) < 2:
            raise ValueError(f"label values {sorted(self.labels)}, expected 0, 1, 2, ... without gaps")
        if self.windows not in ("fixed", "fitted") or self.resampling not in get_args(ResamplingRule):
            raise ValueError(f"windows '{self.windows}' or resampling '{self.resampling}'")
        if set(self.mirror_axes) - {0, 1, 2}:
            raise ValueError(f"mirror axes {self.mirror_axes}")
        turned = (self.orientation, self.axes) != ("canonical", (0, 1, 2))
        if self.mirror_sides and (turned or 2 in self.mirror_axes or sides_swapped(self.labels) is None):
            raise ValueError("mirrored sides need both structures of every pair, and canonical axes")
        if self.intensity.scheme not in ("ct", "zscore", "zscore_nonzero"):
            raise ValueError(f"intensity scheme '{self.intensity.scheme}'")
        if self.orientation not in ("canonical", "stored", "ras") or sorted(self.axes) != [0, 1, 2]:
            raise ValueError(f"orientation '{self.orientation}' or axes {self.axes}")
        if not -100 <= self.lesions.lead <= self.lesions.peak <= 100:
            raise ValueError(f"lesions from {self.lesions.lead} up that peak at {self.lesions.peak}")
        if self.nnunet not in (1, 2):
            raise ValueError(f"rules of nnU-Net {self.nnunet}")
        if not 0 <= self.image_order <= 5:
            raise ValueError(f"interpolation order {self.image_order}")


def sides_swapped(labels: dict[int, str]) -> list[int] | None:
    """For each output channel, that of the same structure of the other side; None if one of a pair is missing."""
    order = list(range(len(labels)))
    channel = {name: value for value, name in labels.items()}
    for one, other in paired_sides():
        if (one.name in channel) != (other.name in channel):
            return None
        if one.name in channel:
            order[channel[one.name]], order[channel[other.name]] = channel[other.name], channel[one.name]
    return order


def _check_strides(strides: Any) -> None:
    """Before anything is multiplied by them: a hostile plan could have us multiply for hours, or lists by numbers."""
    sizes = [size for stride in strides for size in (stride if isinstance(stride, list | tuple) else [stride])]
    if len(strides) > MOST_STRIDES or any(type(size) is not int or not 1 <= size <= MOST_STRIDES for size in sizes):
        raise ValueError("the network's strides")


def _triple(values: Any) -> Triple:
    z, y, x = (float(value) for value in values)
    return z, y, x


def _index(values: Any) -> Index:
    z, y, x = (int(value) for value in values)
    return z, y, x
