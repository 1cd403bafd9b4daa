"""What a net can learn: to reconstruct, to segment, to segment like a teacher.

A task owns the network and knows its loss and its score; `trainer.py` knows nothing but tasks, so one loop serves all
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
from flareseg.model.networks.registry import build_network, load_weights
from flareseg.model.plan import Plan
from train.augmentation.model_genesis import corrupted
from train.config import FitConfig, NetConfig
from train.training.dice_and_cross_entropy import dice_and_cross_entropy
from train.training.losses import deep_supervision_loss, dice_counts, distillation_loss

Batch = dict[str, Any]


class Task(Protocol):
    """A network with its loss and its score."""

    network: nn.Module

    def loss(self, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        """A scalar to minimise; all random numbers come from `generator` (on the network's device)."""

    def score(self, batches: Iterable[Batch]) -> float:
        """How good the network is on fixed batches; more is better. Called in evaluation mode, without gradients."""


class Segment:
    """Dice plus cross entropy at every resolution the net answers at (equations 2 and 4)."""

    def __init__(self, net: NetConfig, plan: Plan, settings: FitConfig) -> None:
        self.network = build_network(plan, net.deep_supervision)
        self._weight = settings.largest_weight

    def loss(self, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        return self._supervised(outputs_of(self.network, batch["image"]), batch)

    def score(self, batches: Iterable[Batch]) -> float:
        """Mean Dice, over all batches' voxels, of the structures that occur."""
        counts = [dice_counts(self.network(batch["image"]), batch["labels"], batch["known"]) for batch in batches]
        right, predicted, true = (torch.stack(parts).sum(0)[1:].float() for parts in zip(*counts, strict=True))
        occurs = true > 0
        dice = 2 * right[occurs] / (predicted + true)[occurs]
        return float(dice.mean()) if len(dice) else 0.0

    def _supervised(self, outputs: Sequence[torch.Tensor], batch: Batch) -> torch.Tensor:
        loss = partial(dice_and_cross_entropy, known=batch["known"], largest_weight=self._weight)
        return deep_supervision_loss(loss, outputs, batch["labels"])


class Distill(Segment):
    """As `Segment`, and to answer like a larger net, also where nothing is annotated."""

    def __init__(
        self, net: NetConfig, plan: Plan, settings: FitConfig, teacher: Plan, weights: dict[str, torch.Tensor]
    ) -> None:
        """
        Raises:
            UsageError: when the teacher sees another grid or segments other structures.
        """
        super().__init__(net, plan, settings)
        if teacher.spacing_zyx_mm != plan.spacing_zyx_mm:
            raise UsageError(f"The teacher works at {teacher.spacing_zyx_mm} mm, the student at {plan.spacing_zyx_mm}.")
        if teacher.labels != plan.labels:
            raise UsageError("The teacher segments other structures than the student.")
        self._share = settings.distill_weight
        self._ours, self._theirs = plan.intensity, teacher.intensity
        self._teacher = build_network(teacher).eval().requires_grad_(False)
        load_weights(self._teacher, weights)

    def loss(self, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        image = batch["image"]
        self._teacher.to(image.device)
        with torch.no_grad():
            hu = denormalize(image, self._ours)
            answer = self._teacher(normalize_(hu, self._theirs))
        outputs = outputs_of(self.network, image)
        return self._supervised(outputs, batch) + self._share * distillation_loss(outputs[0], answer)


class Reconstruct:
    """Model Genesis: from a corrupted CT back to the CT (equation 1 and Zhou et al. 2021).

    The corruptions work on intensities from 0 to 1, the clipped range of the plan; the error is in normalised units, so
    that the net's later input looks like this one.
    """

    def __init__(self, net: NetConfig, plan: Plan, settings: FitConfig) -> None:
        self.network = build_network(plan, outputs=1)
        self._intensity, self._corrupt = plan.intensity, settings.corrupt
        self._error = F.mse_loss if settings.reconstruction == "mse" else F.l1_loss

    def loss(self, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        image = batch["image"]
        return self._error(self.network(self.corrupted(image, generator)).float(), image)

    def score(self, batches: Iterable[Batch]) -> float:
        """Minus the mean error, each batch corrupted as always."""
        errors = []
        for number, batch in enumerate(batches):
            image = batch["image"]
            generator = torch.Generator(image.device).manual_seed(number)
            errors.append(float(self._error(self.network(self.corrupted(image, generator)).float(), image)))
        return -sum(errors) / max(len(errors), 1)

    def corrupted(self, image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Normalised images (batch, 1, z, y, x), corrupted."""
        low, high = self._intensity.clip_hu
        unit = (denormalize(image, self._intensity) - low) / (high - low)
        bad = corrupted(unit.clamp(0, 1), self._corrupt, generator)
        return normalize_(bad * (high - low) + low, self._intensity)


def outputs_of(network: nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
    """Logits at full resolution and, of a net with deep supervision, at the lower ones, finest first.

    MONAI's DynUNet would bring all of them to full resolution, which takes more time and memory than the loss is worth.
    """
    found: Any = network
    if not found.deep_supervision:
        return [network(image)]
    finest = found.output_block(found.skip_layers(image))
    return [finest, *found.heads[: found.deep_supr_num]]
