"""The training configuration: every key with its meaning. `config_file.py` reads and checks a file of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from flareseg.errors import UsageError
from flareseg.labels import BACKGROUND, by_names, structures
from flareseg.model.networks.dynunet import dynunet_spec
from flareseg.model.networks.registry import parameter_shapes
from flareseg.model.plan import ComponentRule, Intensity, LesionRule, Plan, ResamplingRule, WindowRule
from flareseg.volume import Index, Triple

AIR_HU = -1024.0
"""What lies around a scan: in the patches of the training as in the windows of the inference."""

Layout = Literal["cases", "pairs", "flare23", "totalsegmentator", "msd", "abdomenct1k"]
TaskName = Literal["reconstruct", "segment", "distill"]
Stage = Literal["pretrain", "tumor", "final", "distill"]
Labels = Literal["truth", "fused"]
Weights = Literal["average", "last", "best"]
Precision = Literal["bf16-mixed", "16-mixed", "32-true"]
ANY_RANGE = Intensity((-1000.0, 1000.0), 0.0, 1.0)
"""Where no intensities are measured yet, and only the rest of a plan is checked."""
PHANTOMS = "phantoms"
"""Name of the source that the configuration's `phantoms` section makes."""
NEW_PATIENTS = "new_patients"
"""Name of the source that the configuration's `new_patients` section makes."""


@dataclass(frozen=True)
class SourceConfig:
    """One public or own data set.

    Attributes:
        name: short, for case names and reports.
        layout: how its folders are arranged, see `train/data/layouts`.
        path: its folder.
        weight: share of the patches drawn from it; by its number of cases unless given.
        validation: cases kept for validation: a number, a share below 1, or their names.
        annotated: structures that its label maps annotate in every case; empty: as the layout says, or what occurs.
        absent: structures that none of its CTs shows, labelled or not, as a reader has checked; they count as
            annotated there.
        values: own label values and the structures they mean, for layouts that leave it open ("pairs").
        only: names of cases to take; all unless given.
        without: names of cases to leave out, as where another source has them.
    """

    name: str
    layout: Layout
    path: str
    weight: float | None = None
    validation: int | float | list[str] = 0
    annotated: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    values: dict[int, str] = field(default_factory=dict)
    only: list[str] = field(default_factory=list)
    without: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PhantomConfig:
    """Synthetic abdomens; seeds from 0 are for training, from 1,000,000 for validation.

    Attributes:
        scenario: "full" annotates everything; "flare" imitates FLARE 2023: some phantoms with tumour labels and a part
            of the organs, the others with nothing, all with imperfect organ pseudo-labels like those of the organizers.
        elsewhere: share of the training phantoms that show a head or thighs, where there is nothing to segment.
    """

    count: int
    validation: int
    spacing_zyx_mm: Triple = (3.0, 3.0, 3.0)
    scenario: Literal["full", "flare"] = "full"
    elsewhere: float = 0.0
    weight: float | None = None


@dataclass(frozen=True)
class NewPatientsConfig:
    """Patients made of labelled cases: deformed, and in another contrast phase, see `synthetic/resynthesis.py`.

    Attributes:
        cases: SOURCE/CASE each: the name of a source of the layout "cases", and the case's name within it. What
            the source annotates, they annotate too.
        count: patients made of each.
        seed: of the first of each; those after it follow.
    """

    cases: list[str]
    count: int
    seed: int = 0
    weight: float | None = None


@dataclass(frozen=True)
class NetConfig:
    """What becomes the `Plan` of a net. Intensities that are not given are those measured by `prepare`.

    Attributes:
        segments: structures, one output channel each after the background; all of them unless given.
        deep_supervision: extra outputs at lower resolutions that the loss sees too.
    """

    spacing_zyx_mm: Triple
    patch_zyx: Index
    filters: list[int]
    kernels: list[Any] | None = None
    strides: list[Any] | None = None
    segments: list[str] | None = None
    clip_hu: tuple[float, float] | None = None
    mean_hu: float | None = None
    std_hu: float | None = None
    padding_hu: float | None = AIR_HU
    step: float = 1.0
    mirror_axes: list[int] = field(default_factory=list)
    windows: WindowRule = "fixed"
    resampling: ResamplingRule = "auto"
    components: dict[str, dict[str, Any]] = field(default_factory=dict)
    deep_supervision: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Structure of every output channel, the background first."""
        wanted = structures() if self.segments is None else by_names(self.segments)
        return (BACKGROUND, *(structure.name for structure in wanted))

    @property
    def values(self) -> tuple[int, ...]:
        """FLARE's label value of every output channel, 0 first."""
        return (0, *(structure.value for structure in by_names(self.names[1:])))

    def plan(
        self,
        measured: Intensity | None = None,
        coarse: Plan | None = None,
        tumour: Plan | None = None,
        lesions: LesionRule | None = None,
    ) -> Plan:
        """The plan for inference.

        Args:
            measured: used where the configuration does not give intensities.
            coarse: the plan of the net that finds the region.
            tumour: the plan of a net of its own for the tumours.
            lesions: which of that net's findings become labels.

        Raises:
            ModelError: when the numbers contradict each other.
            UsageError: when intensities are neither given nor measured.
        """
        plan = Plan(
            spacing_zyx_mm=self.spacing_zyx_mm,
            patch_zyx=self.patch_zyx,
            intensity=self._intensity(measured),
            network=dynunet_spec(self.filters, self.kernels, self.strides),
            labels=dict(enumerate(self.names)),
            step=self.step,
            mirror_axes=tuple(self.mirror_axes),
            padding_hu=self.padding_hu,
            windows=self.windows,
            resampling=self.resampling,
            components=_rules(self.components),
            coarse=coarse,
            tumour=tumour,
            lesions=lesions or LesionRule(),
        )
        parameter_shapes(plan)
        return Plan.from_json(plan.to_json())  # the same checks as for a model that is loaded

    def _intensity(self, measured: Intensity | None) -> Intensity:
        clip = self.clip_hu or (measured.clip_hu if measured else None)
        mean = self.mean_hu if self.mean_hu is not None else (measured.mean_hu if measured else None)
        std = self.std_hu if self.std_hu is not None else (measured.std_hu if measured else None)
        if clip is None or mean is None or std is None:
            raise UsageError("Intensities are neither in the configuration nor measured; run the stage 'prepare'.")
        return Intensity(clip, mean, std)


@dataclass(frozen=True)
class AugmentConfig:
    """Strengths of the augmentation, see `augmentation/`; what is not a strength is a probability between 0 and 1."""

    rotation_degrees: Triple = (12.0, 8.0, 8.0)
    scale: float = 0.2
    scale_per_axis: float = 0.08
    elastic_mm: float = 4.0
    flip: float = 0.0
    organ_hu: float = 25.0
    phase: float = 0.35
    lesion: float = 0.25
    field_of_view: float = 0.25
    contrast: float = 0.5
    gamma: float = 0.25
    morphology: float = 0.0
    blur: float = 0.3
    low_resolution: float = 0.15
    noise: float = 0.6
    noise_hu: float = 30.0


@dataclass(frozen=True)
class CorruptConfig:
    """Probabilities of Model Genesis' corruptions (Zhou et al. 2021, section 3 and their published defaults)."""

    nonlinear: float = 0.9
    local_shuffle: float = 0.5
    paint: float = 0.9
    inpaint: float = 0.2


@dataclass(frozen=True)
class FitConfig:
    """One net, trained once. It ends after `epochs`, or after `max_minutes` of wall time, whichever comes first.

    Attributes:
        net: key of `Config.nets`.
        task: "reconstruct" (Model Genesis), "segment", or "distill" (segment with a teacher's help).
        stage: in which stage it runs, in the file's order; that of its own name unless given.
        labels: "truth" as the sources have them, or "fused" (pseudo-labels under the ground truth, see `fusion.py`).
        cases: "all"; "labelled" ones; those with a "tumour" in their ground truth.
        sources: only cases of these sources; all unless given.
        start: a fit whose averaged weights this one begins with, or a model, by name or folder: then it
            takes the net on the same grid. Random unless given. A narrower net is widened (`transfer.py`); layers of
            another shape, such as another task's output, begin anew.
        teacher: for "distill": name of a fit, or a model.
        distill_weight: of the teacher's answer in the loss, against 1 for the labels.
        reconstruction: for "reconstruct": "mse" as the paper's text and Model Genesis have it, or "l1" as its
            equation 1 prints it.
        batch_size: patches a process and step.
        foreground: share of the patches that lie around some annotated structure.
        emphasis: structures around which more patches lie than around others, and how many times as many.
        largest_weight: most that a voxel of a small structure weighs in the cross entropy (1: all alike), see
            `dice_and_cross_entropy.py`.
        validate_every, validation_patches: after every so many epochs that many fixed patches of the validation cases
            are scored; the best such average is kept as best.ckpt. 0: never.
        precision: of the network's arithmetic; where the device has no bf16, fp16 on a GPU and fp32 on a CPU instead.
        augment_on: "device" of the training, "workers" that load, or "auto": on the device where that is a GPU.
        workers: processes that load; 0 loads in the training's own.
    """

    net: str
    epochs: int
    task: TaskName = "segment"
    stage: Stage | None = None
    labels: Labels = "truth"
    cases: Literal["all", "labelled", "tumour"] = "labelled"
    sources: list[str] = field(default_factory=list)
    start: str = ""
    teacher: str = ""
    distill_weight: float = 1.0
    reconstruction: Literal["mse", "l1"] = "mse"
    steps_per_epoch: int = 250
    max_minutes: float = 1e9
    batch_size: int = 2
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.99
    weight_decay: float = 3e-5
    poly: float = 0.9
    warmup_steps: int = 0
    gradient_clip: float = 12.0
    average_decay: float = 0.999
    precision: Precision = "bf16-mixed"
    foreground: float = 0.67
    emphasis: dict[str, float] = field(default_factory=dict)
    largest_weight: float = 1.0
    validate_every: int = 0
    validation_patches: int = 16
    augment_on: Literal["auto", "device", "workers"] = "auto"
    workers: int = 0
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    corrupt: CorruptConfig = field(default_factory=CorruptConfig)


@dataclass(frozen=True)
class PseudoConfig:
    """Where pseudo-labels come from and which of them count.

    Attributes:
        tumour_fit: the fit that finds tumours in CTs without tumour labels; empty: no tumour pseudo-labels.
        organ_model: a model ("default" is the embedded one) or a fit of this run that finds organs where the
            source gives no organ pseudo-labels; empty: none.
        least_confidence: voxels in which the tumour net is less sure (probability 0 to 1) become unknown.
        smallest_tumour_ml: smaller components of tumour pseudo-labels are dropped.
        device: as for `flareseg segment`.
    """

    tumour_fit: str = "tumor"
    organ_model: str = ""
    least_confidence: float = 0.0
    smallest_tumour_ml: float = 0.0
    device: str = "auto"


@dataclass(frozen=True)
class AblationConfig:
    """The rows of the paper's ablation, one switch each; with both off it is the baseline.

    Attributes:
        label_fusion: off: S learns the organ pseudo-labels as they are, and tumours from the ground truth alone.
        pretraining: off: S_tum begins with random weights.
    """

    label_fusion: bool = True
    pretraining: bool = True


@dataclass(frozen=True)
class ExportConfig:
    """What `export` writes: a fit, and the fit of the net that finds the region, or none.

    Attributes:
        fit: name of a fit; or of a model, or its folder, whose nets are exported as they are, with the tumours' net.
        tumour: the fit of a net of its own for the tumours, or none; its grid may be another.
        lesions: how sure that net must be; the surer, the fewer are found, and the fewer of those are false.
        suppressed: structures that the exported fit and the coarse one never segment, because their answers there mean
            nothing; these voxels get the next best label.
        components: where `fit` is a model: rules in place of its own, as in `NetConfig`.
    """

    fit: str = "final"
    coarse: str = ""
    tumour: str = ""
    lesions: LesionRule = field(default_factory=LesionRule)
    weights: Weights = "average"
    suppressed: list[str] = field(default_factory=list)
    components: dict[str, dict[str, Any]] = field(default_factory=dict)

    def with_tumour_net(self, model: Plan, tumour: Plan) -> Plan:
        """The plan of a model that gets another net for tumours.

        Raises:
            ModelError: when they do not fit each other.
        """
        components = model.components | _rules(self.components)
        plan = replace(model, tumour=tumour, lesions=self.lesions, components=components)
        return Plan.from_json(plan.to_json())  # the same checks as for a model that is loaded


@dataclass(frozen=True)
class Config:
    """Everything a training needs to know.

    Attributes:
        name, version, description: of the exported model.
        runs: folder of everything the stages write.
        output: the model folder that `export` writes.
        folds: names of cases that are left out together and judged by a fit that saw none of them, in the stage
            `folds`; every labelled case of `fold_sources` that is not named, by itself.
        notes: sentences for the model card.
        processes: that `prepare` and `fuse` use.
        deterministic: the same bits on every run on the same machine; slower on a GPU.
    """

    name: str
    version: str
    runs: Path
    output: Path
    nets: dict[str, NetConfig]
    fits: dict[str, FitConfig]
    description: str = ""
    seed: int = 2023
    deterministic: bool = False
    processes: int = 2
    sources: list[SourceConfig] = field(default_factory=list)
    phantoms: PhantomConfig | None = None
    new_patients: NewPatientsConfig | None = None
    pseudo: PseudoConfig = field(default_factory=PseudoConfig)
    ablation: AblationConfig = field(default_factory=AblationConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    fold_sources: list[str] = field(default_factory=list)
    folds: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def called(self, fit: str) -> str:
        """What tables call a fit; or this run's model, where `export.fit` is one and not a fit."""
        return fit if fit in self.fits else self.name

    def net_of(self, fit: str) -> NetConfig:
        """The net that a fit trains."""
        return self.nets[self.fits[fit].net]

    def fits_of(self, stage: Stage) -> list[str]:
        """Names of the fits that run in a stage, in order."""
        return [name for name, fit in self.fits.items() if (fit.stage or name) == stage]

    def source_names(self) -> list[str]:
        """Every source, the phantoms and the new patients included."""
        made = {PHANTOMS: self.phantoms, NEW_PATIENTS: self.new_patients}
        return [source.name for source in self.sources] + [name for name, section in made.items() if section]

    def grids(self) -> list[Triple]:
        """The spacings (z, y, x) mm at which cases are cached: one for each net that is trained."""
        return list(dict.fromkeys(self.net_of(name).spacing_zyx_mm for name in self.fits))


def _rules(components: dict[str, dict[str, Any]]) -> dict[str, ComponentRule]:
    return {name: ComponentRule(**rule) for name, rule in components.items()}
