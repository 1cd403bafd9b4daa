"""Lightning module of a fit: task, learning rate schedule, optimiser, and moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch

from flareseg.errors import InputError, UsageError
from flareseg.model.networks.registry import is_for_training, own_weights
from flareseg.model.plan import Plan
from train.augmentation.dataset import to_batch
from train.fit_config import FitConfig
from train.net_config import NetConfig
from train.training.muon import Muon
from train.training.norms import use_patch_norms
from train.training.stamps import Stamp, stamp_of
from train.training.tasks import Batch, Task
from train.training.transfer import is_narrower, outer_stages, widened

if TYPE_CHECKING:
    from train.data.cache import CachedCase


@dataclass(frozen=True)
class FitJob:
    """Everything a fit needs.

    Attributes:
        folder: of the fit.
        net, plan: of the network.
        settings: of the fit.
        cases, shares: training cases and their sampling probabilities.
        validation: validation cases.
        start: initial weights, see `initialize_from`.
        seed, deterministic, redo: see `Config`.
        teacher_hash: of the weights of the teacher, if there is one.
        by_score: whether the weights of the best validation score are those that are used.
    """

    folder: Path
    net: NetConfig
    plan: Plan
    settings: FitConfig
    cases: Sequence[CachedCase]
    shares: Sequence[float]
    validation: Sequence[CachedCase] = ()
    start: dict[str, torch.Tensor] | None = None
    seed: int = 0
    deterministic: bool = False
    redo: bool = False
    teacher_hash: str = ""
    by_score: bool = False

    @cached_property
    def stamp(self) -> Stamp:
        """What the fit is made of."""
        return stamp_of(self)

    @property
    def steps(self) -> int:
        return self.settings.epochs * self.settings.steps_per_epoch

    def describe(self) -> dict[str, Any]:
        """What a person may want to know of a fit."""
        settings = self.settings
        return {"task": settings.task, "plan": self.plan.to_json(), "optimizer": settings.optimizer}


class TrainingModule(L.LightningModule):
    """Trains a task.

    Learning rate: linear warm-up over `warmup_steps`, then polynomial decay (1 - progress) ** poly. Progress is the
    fraction of the steps, or the fraction of `max_minutes` at the start of the epoch, whichever is larger, so that a
    fit that runs out of time has decayed to 0 too.
    """

    def __init__(self, task: Task, job: FitJob) -> None:
        super().__init__()
        self.task, self.job, self.settings = task, job, job.settings
        self.network = task.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        if not torch.cuda.is_available():
            use_patch_norms(self.network)
        if job.start:
            initialize_from(self.network, job.start, job.seed)
        self.average = {name: value.detach().clone() for name, value in exported(self.network).items()}
        self.seconds = 0.0
        self.rows: list[dict[str, Any]] = []
        self._seconds_at_epoch = 0.0

    @property
    def progress(self) -> float:
        """Fraction of the fit that is done, 0 to 1."""
        return self.share_done(self.global_step)

    def share_done(self, step: int) -> float:
        """Fraction of the fit that is done at a step of this epoch."""
        return min(1.0, max(step / self.job.steps, self._seconds_at_epoch / (60 * self.settings.max_minutes)))

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Batch:
        settings = self.settings
        ready = to_batch(batch, self.job.net, self.job.plan, settings.augment, device)
        ready["image"] = ready["image"].contiguous(memory_format=torch.channels_last_3d)
        return ready

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        seed = (self.job.seed * 1_000_003 + self.global_step) * 1_009 + self.global_rank
        loss = self.task.loss(batch, torch.Generator(self.device).manual_seed(seed % 2**63))
        if not torch.isfinite(loss):
            names = ", ".join(batch.get("names", ())) or "unnamed cases"
            raise InputError(
                f"The loss of step {self.global_step} is not finite, in a batch of {names}; look at these cases, or "
                f"lower the learning rate. '{self.job.folder}/last.ckpt' is the last good checkpoint."
            )
        self.log("loss", loss, prog_bar=False)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        settings = self.settings
        if settings.optimizer == "adamw":
            return torch.optim.AdamW(
                self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
            )
        if settings.optimizer == "muon":
            return Muon(self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
        return torch.optim.SGD(
            self.network.parameters(),
            lr=settings.learning_rate,
            momentum=settings.momentum,
            nesterov=settings.momentum > 0,
            weight_decay=settings.weight_decay,
        )

    def on_train_epoch_start(self) -> None:
        # use the clock of the main rank, so that all ranks have the same schedule
        self._seconds_at_epoch = float(self.trainer.strategy.broadcast(self.seconds))
        if self.progress >= 1.0:
            self.trainer.should_stop = True

    def on_train_batch_start(self, batch: Any, index: int) -> int | None:
        if self.progress >= 1.0:
            return -1
        warmup = min(1.0, (self.global_step + 1) / max(self.settings.warmup_steps, 1))
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.settings.learning_rate * warmup * (1 - self.progress) ** self.settings.poly
        return None

    def on_train_batch_end(self, outputs: Any, batch: Any, index: int) -> None:
        # a faster decay at first, so that the random initialisation is forgotten
        decay = min(self.settings.average_decay, (1 + self.global_step) / (10 + self.global_step))
        current = exported(self.network)
        with torch.no_grad():
            for name, average in self.average.items():
                if average.device != current[name].device:
                    average = self.average[name] = average.to(current[name].device)
                average.lerp_(current[name].float(), 1 - decay)

    def score(self, batches: Iterable[Batch]) -> float:
        """Validation score of the averaged weights."""
        kept = {name: value.clone() for name, value in exported(self.network).items()}
        mode = self.network.training
        try:
            self.network.load_state_dict(self.average, strict=False)
            self.network.eval()
            with torch.no_grad(), self.trainer.precision_plugin.forward_context():
                return self.task.score(batches)
        finally:
            self.network.load_state_dict(kept, strict=False)
            self.network.train(mode)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["average"] = {name: value.cpu() for name, value in self.average.items()}
        checkpoint["seconds"], checkpoint["rows"] = self.seconds, self.rows
        # At the end of an epoch, Lightning still counts the last batch as the current one; without this correction a
        # resumed training would take one step too many.
        loops = checkpoint["loops"]["fit_loop"]
        epoch, batch = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
        for count in (epoch["current"], epoch["total"]):
            count["completed"] = count["ready"]
        batch["current"] = dict.fromkeys(batch["current"], 0)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.average = checkpoint["average"]
        self.seconds, self.rows = checkpoint["seconds"], checkpoint["rows"]


def exported(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The tensors needed for inference, not copied."""
    return without_heads(own_weights(network.state_dict()))


def initialize_from(network: torch.nn.Module, weights: dict[str, torch.Tensor], seed: int = 0) -> list[str]:
    """Copy all tensors of matching name and shape. Of a deeper network the outer stages are taken; a narrower network
    is widened. Returns the names of the tensors that keep their random initialisation."""
    own = exported(network)
    shapes = {name: value.shape for name, value in own.items()}
    weights = outer_stages(weights, shapes)
    if is_narrower(weights, shapes):
        weights = widened(weights, shapes, torch.Generator().manual_seed(seed))
    fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise UsageError("The weights to start from fit no layer of this net.")
    network.load_state_dict(fitting, strict=False)
    return sorted(set(own) - set(fitting))


def without_heads(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors without those of deep supervision heads."""
    return {name: value for name, value in state.items() if not is_for_training(name)}
