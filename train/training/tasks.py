"""Training tasks: reconstruction, segmentation and distillation.

A task holds the network and defines its loss and its score. `trainer.py` depends on tasks only, so one loop serves all
stages. Batches are those of `dataset.to_batch`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import nn

from flareseg.errors import UsageError
from flareseg.inference.normalization import denormalize, normalize_
from flareseg.model.networks.registry import build_network, load_weights, training_outputs
from flareseg.model.plan import Plan
from train.augmentation.model_genesis import corrupted
from train.fit_config import FitConfig
from train.net_config import NetConfig
from train.training.dice_and_cross_entropy import dice_and_cross_entropy
from train.training.initialization import new_network
from train.training.losses import deep_supervision_loss, dice_counts, distillation_loss

Batch = dict[str, Any]


class Task(Protocol):
    """A network with its loss and its score."""

    network: nn.Module

    def loss(self, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        """A scalar to minimise; all random numbers come from `generator` (on the network's device)."""

    def score(self, batches: Iterable[Batch]) -> float:
        """Validation score on fixed batches, higher is better. Called in evaluation mode, without gradients."""


class Segment:
    """Dice plus cross entropy, with deep supervision (equations 2 and 4)."""

    def __init__(self, net: NetConfig, plan: Plan, settings: FitConfig) -> None:
        self.network = new_network(plan, net.deep_supervision)
        self._plan = plan
        self._weight = settings.largest_weight
        self._terms = 2 if settings.terms == "mean" else 1

    def loss(self, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        return self._supervised(training_outputs(self._plan, self.network, batch["image"]), batch)

    def score(self, batches: Iterable[Batch]) -> float:
        """Mean Dice of the structures that occur, computed over the voxels of all batches."""
        counts = [dice_counts(self.network(batch["image"]), batch["labels"], batch["known"]) for batch in batches]
        right, predicted, true = (torch.stack(parts).sum(0)[1:].float() for parts in zip(*counts, strict=True))
        occurs = true > 0
        dice = 2 * right[occurs] / (predicted + true)[occurs]
        return float(dice.mean()) if len(dice) else 0.0

    def _supervised(self, outputs: Sequence[torch.Tensor], batch: Batch) -> torch.Tensor:
        loss = partial(dice_and_cross_entropy, known=batch["known"], largest_weight=self._weight)
        return deep_supervision_loss(loss, outputs, batch["labels"]) / self._terms


class Distill(Segment):
    """As `Segment`, plus distillation from a larger network, which also covers unannotated structures."""

    def __init__(
        self, net: NetConfig, plan: Plan, settings: FitConfig, teacher: Plan, weights: dict[str, torch.Tensor]
    ) -> None:
        """
        Raises:
            UsageError: when the teacher has another spacing or segments other structures.
        """
        super().__init__(net, plan, settings)
        if teacher.spacing_zyx_mm != plan.spacing_zyx_mm:
            raise UsageError(f"The teacher works at {teacher.spacing_zyx_mm} mm, the student at {plan.spacing_zyx_mm}.")
        if teacher.labels != plan.labels:
            raise UsageError("The teacher segments other structures than the student.")
        self._share = settings.distill_weight
        self._student_intensity, self._teacher_intensity = plan.intensity, teacher.intensity
        self._teacher = build_network(teacher).eval().requires_grad_(False)
        load_weights(self._teacher, weights)

    def loss(self, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        image = batch["image"]
        self._teacher.to(image.device)
        with torch.no_grad():
            hu = denormalize(image, self._student_intensity)
            target = self._teacher(normalize_(hu, self._teacher_intensity))
        outputs = training_outputs(self._plan, self.network, image)
        return self._supervised(outputs, batch) + self._share * distillation_loss(outputs[0], target)


class Reconstruct:
    """Model Genesis: restore a corrupted CT (equation 1 and Zhou et al. 2021).

    Corruptions work on intensities from 0 to 1, the clipped range of the plan. Input and error are in normalised
    intensities, as in the later segmentation.
    """

    def __init__(self, net: NetConfig, plan: Plan, settings: FitConfig) -> None:
        self.network = new_network(plan, outputs=1)
        self._intensity, self._corrupt = plan.intensity, settings.corrupt
        self._error = F.mse_loss if settings.reconstruction == "mse" else F.l1_loss

    def loss(self, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        image = batch["image"]
        return self._error(self.network(self.corrupted(image, generator)).float(), image)

    def score(self, batches: Iterable[Batch]) -> float:
        """Negative mean error, with the same corruption of each batch on every call."""
        errors = []
        for number, batch in enumerate(batches):
            image = batch["image"]
            generator = torch.Generator(image.device).manual_seed(number)
            errors.append(float(self._error(self.network(self.corrupted(image, generator)).float(), image)))
        return -sum(errors) / max(len(errors), 1)

    def corrupted(self, image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Corrupt normalised images (batch, 1, z, y, x)."""
        low, high = self._intensity.clip_hu
        unit = (denormalize(image, self._intensity) - low) / (high - low)
        bad = corrupted(unit.clamp(0, 1), self._corrupt, generator)
        return normalize_(bad * (high - low) + low, self._intensity)
