"""The training configuration: a YAML file and key=value from the command line, read into checked dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, get_type_hints

import yaml

from flareseg.errors import UsageError
from flareseg.labels import BACKGROUND, structures
from flareseg.model.network import dynunet_spec
from flareseg.model.plan import ComponentRule, Intensity, Plan, ResamplingRule, WindowRule

T = TypeVar("T")
AIR_HU = -1024.0
"""What lies around a scan: in the patches of the training as in the windows of the inference."""


@dataclass(frozen=True)
class PlanConfig:
    """What becomes the `Plan` of the exported net; `train_patch_zyx` is what the network sees while it learns."""

    spacing_zyx_mm: list[float]
    patch_zyx: list[int]
    train_patch_zyx: list[int]
    filters: list[int]
    clip_hu: list[float]
    mean_hu: float
    std_hu: float
    step: float = 1.0
    windows: str = "fitted"
    resampling: str = "isotropic"
    components: dict[str, dict[str, Any]] = field(default_factory=dict)

    def plan(self, coarse: Plan | None = None) -> Plan:
        """The plan for inference; all 14 structures.

        Raises:
            ModelError: when the numbers contradict each other.
        """
        rule: WindowRule = "fitted" if self.windows == "fitted" else "fixed"
        plan = Plan(
            spacing_zyx_mm=(self.spacing_zyx_mm[0], self.spacing_zyx_mm[1], self.spacing_zyx_mm[2]),
            patch_zyx=(self.patch_zyx[0], self.patch_zyx[1], self.patch_zyx[2]),
            intensity=Intensity((self.clip_hu[0], self.clip_hu[1]), self.mean_hu, self.std_hu),
            network=dynunet_spec(self.filters),
            labels={0: BACKGROUND} | {structure.value: structure.name for structure in structures()},
            step=self.step,
            padding_hu=AIR_HU,
            windows=rule,
            resampling=cast(ResamplingRule, self.resampling),
            components={name: ComponentRule(**rule) for name, rule in self.components.items()},
            coarse=coarse,
        )
        return Plan.from_json(plan.to_json())  # the same checks as for a model that is loaded


@dataclass(frozen=True)
class PhantomConfig:
    """How many synthetic abdomens; seeds 0 to count - 1 teach, 1,000,000 upwards validate."""

    count: int
    validation: int
    spacing_zyx_mm: list[float]
    processes: int = 2


@dataclass(frozen=True)
class FitConfig:
    """One fit. It ends after `max_steps`, or after `max_minutes` of wall time, whichever comes first.

    A fine-tuning of 0 steps is left out.
    """

    max_steps: int
    learning_rate: float
    real_share: float
    max_minutes: float = 1e9
    batch_size: int = 2
    warmup_steps: int = 100
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    ema_decay: float = 0.995
    precision: str = "bf16-mixed"
    steps_per_epoch: int = 50
    workers: int = 0


@dataclass(frozen=True)
class AugmentConfig:
    """Strengths of the augmentation, see `augment.py`; probabilities between 0 and 1."""

    rotation_degrees: list[float] = field(default_factory=lambda: [12.0, 8.0, 8.0])
    scale: float = 0.2
    scale_per_axis: float = 0.08
    elastic_mm: float = 4.0
    organ_hu: float = 25.0
    phase: float = 0.35
    lesion: float = 0.25
    field_of_view: float = 0.25
    blur: float = 0.3
    low_resolution: float = 0.15
    noise_hu: float = 30.0


@dataclass(frozen=True)
class Config:
    """Everything a training needs to know.

    Attributes:
        name, version: of the exported model.
        net: name of this net within the run ("main" or "coarse"): its folder and, for coarse, its key prefix.
        runs: folder of caches, checkpoints and logs.
        data: folder of labelled CTs (each case a folder with ct.nii.gz, seg.nii.gz, info.json), or empty.
        output: the model folder that `export` writes.
        base: the fit on phantoms; finetune: the fits that start from it, on real CTs and phantoms.
        folds: names of real cases that are left out together; every case that is not named, by itself.
        notes: sentences for the model card.
        coarse: the same for the net that finds the region, or None. In the file it lists only what differs.
    """

    name: str
    version: str
    net: str
    runs: Path
    data: str
    output: Path
    seed: int
    plan: PlanConfig
    phantoms: PhantomConfig
    base: FitConfig
    finetune: FitConfig
    augment: AugmentConfig
    folds: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    coarse: Config | None = None

    @property
    def folder(self) -> Path:
        return self.runs / self.net

    def fit_folder(self, name: str) -> Path:
        """Folder of the fit "base", "all" or "without_..."; the base's for all of them where nothing is fine-tuned."""
        return self.folder / (name if self.finetune.max_steps > 0 else "base")


def load_config(path: Path, overrides: list[str] | None = None) -> Config:
    """Read a configuration file.

    Args:
        path: a YAML file; its `extends` names another one beside it, whose values hold where it says nothing.
        overrides: "key=value" or "section.key=value", values in YAML. They hold for the coarse net too, unless its own
            section says otherwise; "coarse.key=value" is for that one only.

    Raises:
        UsageError: when the file, a key or a value does not fit.
    """
    data = _read(path)
    for item in overrides or []:
        key, separator, text = item.partition("=")
        if not separator:
            raise UsageError(f"'{item}' is no key=value.")
        node: Any = data
        *parents, leaf = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {}) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise UsageError(f"{path}: there is no '{key}'.")
        try:
            node[leaf] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UsageError(f"'{item}' has a value that is no YAML.") from None
    different = data.pop("coarse", None)
    if different:
        data["coarse"] = _merged(data, {"net": "coarse", **different})
    return _build(Config, data, str(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError:
        raise UsageError(f"The configuration '{path}' cannot be read.") from None
    except yaml.YAMLError as error:
        raise UsageError(f"The configuration '{path}' is no valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise UsageError(f"The configuration '{path}' is no table of keys and values.")
    parent = data.pop("extends", None)
    return _merged(_read(path.parent / parent), data) if parent else data


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if both else value
    return result


def _build(kind: type[T], data: Any, where: str) -> T:
    if not isinstance(data, dict):
        raise UsageError(f"{where}: expected keys and values.")
    hints = get_type_hints(kind)
    unknown = set(data) - {f.name for f in fields(kind)}  # type: ignore[arg-type]
    if unknown:
        raise UsageError(f"{where}: unknown key '{sorted(unknown)[0]}'.")
    values: dict[str, Any] = {}
    for key, value in data.items():
        hint = hints[key]
        try:
            if is_dataclass(hint):
                values[key] = _build(hint, value, f"{where}: {key}")  # type: ignore[arg-type]
            elif key == "coarse":
                values[key] = _build(Config, value, f"{where}: {key}")
            elif hint in (int, float, str, Path):
                values[key] = hint(value)
            else:
                values[key] = value
        except (TypeError, ValueError):
            raise UsageError(f"{where}: '{key}' cannot be {value!r}.") from None
    try:
        return kind(**values)
    except TypeError as error:
        raise UsageError(f"{where}: {error}.") from None
