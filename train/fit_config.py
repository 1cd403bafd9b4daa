"""The configuration of a fit: the training of one network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from flareseg.volume import Triple

TaskName = Literal["reconstruct", "segment", "distill"]
Stage = Literal["pretrain", "tumor", "rounds", "final", "distill"]
Labels = Literal["truth", "fused"]
Precision = Literal["bf16-mixed", "16-mixed", "32-true"]


Range = tuple[float, float]


@dataclass(frozen=True)
class NnunetAugmentConfig:
    """The augmentation of nnU-Net's default trainer (2.8.1), with its values, see `augmentation/nnunet.py`.

    The numbers without further words are probabilities of a patch. Intensities are normalised ones.

    Attributes:
        rotation, rotation_degrees: about all three axes, by up to so many degrees.
        anisotropic, in_plane_degrees: a patch whose longest axis has more than `anisotropic` times the voxels of z is
            turned in its slices only, scaled there only, and loses resolution there only ("dummy 2D").
        scaling, scaling_range: one factor for all axes; above 1 the patch shows more of the patient.
        noise, noise_deviation: Gaussian noise of a standard deviation in this range.
        blur, blur_voxels: Gaussian, a standard deviation in voxels for each axis. nnU-Net says 0.2, and 0.5 for each
            channel of an image: of one channel, a tenth of the patches.
        brightness, brightness_range: all is multiplied.
        contrast, contrast_range: the distances from the mean are multiplied, within the range of the patch.
        low_resolution, low_resolution_range: to this fraction of the voxels and back; again half of nnU-Net's 0.25.
        inverted_gamma, gamma, gamma_range: gamma of the patch turned upside down, then of the patch, each between its
            lowest and highest intensity; mean and standard deviation stay.
        mirror: of each axis; with x the structures of the two sides are swapped.
    """

    rotation: float = 0.2
    rotation_degrees: float = 30.0
    anisotropic: float = 3.0
    in_plane_degrees: float = 180.0
    scaling: float = 0.2
    scaling_range: Range = (0.7, 1.4)
    noise: float = 0.1
    noise_deviation: Range = (0.0, 0.1)
    blur: float = 0.1
    blur_voxels: Range = (0.5, 1.0)
    brightness: float = 0.15
    brightness_range: Range = (0.75, 1.25)
    contrast: float = 0.15
    contrast_range: Range = (0.75, 1.25)
    low_resolution: float = 0.125
    low_resolution_range: Range = (0.5, 1.0)
    inverted_gamma: float = 0.1
    gamma: float = 0.3
    gamma_range: Range = (0.7, 1.5)
    mirror: float = 0.5


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation parameters, see `augmentation/`; those without a unit are probabilities, except for scales.

    `flip` is the probability of each axis, `mirror` that of left and right alone; the structures of the two sides are
    swapped then. With the recipe "nnunet" the table `nnunet` counts, and none of the other keys.
    """

    rotation_degrees: Triple = (12.0, 8.0, 8.0)
    scale: float = 0.2
    scale_per_axis: float = 0.08
    elastic_mm: float = 4.0
    flip: float = 0.0
    mirror: float = 0.0
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
    recipe: Literal["own", "nnunet"] = "own"
    nnunet: NnunetAugmentConfig = field(default_factory=NnunetAugmentConfig)

    @property
    def mirrored_zyx(self) -> Triple:
        """Probability that the patch is mirrored along each axis."""
        if self.recipe == "nnunet":
            return (self.nnunet.mirror,) * 3
        return self.flip, self.flip, max(self.flip, self.mirror)


@dataclass(frozen=True)
class CorruptConfig:
    """Probabilities of the corruptions of Model Genesis (Zhou et al. 2021, section 3, with their defaults)."""

    nonlinear: float = 0.9
    local_shuffle: float = 0.5
    paint: float = 0.9
    inpaint: float = 0.2


@dataclass(frozen=True)
class FitConfig:
    """One training of a network. It ends after `epochs` or `max_minutes` of wall time, whichever comes first.

    Attributes:
        net: key of `Config.nets`.
        task: "reconstruct" (Model Genesis), "segment", or "distill" (segment with a teacher).
        stage: stage in which it runs, in the order of the file; by default the one with its name.
        labels: "truth" (ground truth) or "fused" (with pseudo-labels, see `fusion.py`).
        round: the round of `rounds` whose fused labels it learns from; by default the last, `pseudo`.
        cases: "all", "labelled", or "tumour" (cases with a tumour in the ground truth).
        sources: only cases of these sources; by default all.
        only: only these cases: names with or without their source, or a text file with one name a line, such as the
            735 that the paper trains S_tum on; by default all.
        start: initial weights: a fit (its averaged weights), or a model by name or folder (its network with the same
            spacing). Default: random. A narrower network is widened (`transfer.py`); layers of another shape, such as
            the output layer of another task, are initialised randomly.
        teacher: for "distill": name of a fit, or a model.
        distill_weight: weight of the distillation loss, relative to 1 for the labels.
        reconstruction: for "reconstruct": "mse" (the paper's text and Model Genesis) or "l1" (its equation 1).
        terms: of Dice and cross entropy, their "sum" or their "mean", whose gradient is half as large.
        batch_size: patches per process and step.
        optimizer: "sgd" with Nesterov's momentum, as in the paper and nnU-Net; "adamw"; or "muon", with learning rates
            of AdamW's size (`training/muon.py`). `momentum` is SGD's.
        foreground: fraction of patches centred near an annotated structure.
        foreground_rule: "each": every patch with that probability, near the structure; "nnunet": the last of a step's
            patches over all processes, as many as that fraction rounded by nnU-Net (0.33 of 2 is one, of 10 three),
            with the voxel in their middle as far as the case reaches, the others anywhere within the case.
        emphasis: factors for structures that are to be sampled more often than others.
        largest_weight: maximum weight of small structures in the cross entropy (1: no weighting), see
            `dice_and_cross_entropy.py`.
        validate_every, validation_patches: epochs between validations, and number of fixed patches to score; the best
            averaged weights are kept as best.ckpt. 0: no validation.
        validation_drawn: whether each validation draws new patches, by `foreground` and its rule.
        validation_memory: what is best is told by a moving average of the scores, this times the average before plus
            the rest times the score; 0.9 in nnU-Net. 0: by the score.
        precision: without hardware support for bf16, fp16 on a GPU and fp32 on a CPU are used instead.
        seed: added to that of the configuration, so that fits of equal settings become different nets.
        augment_on: "device" (training device), "workers" (data loading), or "auto": on the device if it is a GPU.
        workers: data loading processes; 0: load in the training process.
    """

    net: str
    epochs: int
    task: TaskName = "segment"
    stage: Stage | None = None
    labels: Labels = "truth"
    round: str = ""
    cases: Literal["all", "labelled", "tumour"] = "labelled"
    sources: list[str] = field(default_factory=list)
    only: list[str] | str = field(default_factory=list)
    start: str = ""
    teacher: str = ""
    distill_weight: float = 1.0
    reconstruction: Literal["mse", "l1"] = "mse"
    terms: Literal["sum", "mean"] = "sum"
    steps_per_epoch: int = 250
    max_minutes: float = 1e9
    batch_size: int = 2
    optimizer: Literal["sgd", "adamw", "muon"] = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.99
    weight_decay: float = 3e-5
    poly: float = 0.9
    warmup_steps: int = 0
    gradient_clip: float = 12.0
    average_decay: float = 0.999
    precision: Precision = "bf16-mixed"
    foreground: float = 0.67
    foreground_rule: Literal["each", "nnunet"] = "each"
    emphasis: dict[str, float] = field(default_factory=dict)
    largest_weight: float = 1.0
    validate_every: int = 0
    validation_patches: int = 16
    validation_drawn: bool = False
    validation_memory: float = 0.0
    seed: int = 0
    augment_on: Literal["auto", "device", "workers"] = "auto"
    workers: int = 0
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    corrupt: CorruptConfig = field(default_factory=CorruptConfig)
