"""One training loop for every net and every stage, on Lightning.

A fit lives in one folder: last.ckpt (written after every epoch of `steps_per_epoch`), metrics.csv, and done.json with
the figures of the finished fit. A fit that was interrupted goes on from last.ckpt with the patches it had not seen yet;
a finished one is skipped.
"""

from __future__ import annotations

import csv
import ctypes
import json
import logging
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader

from flareseg.model.network import build_network
from flareseg.model.plan import Plan
from train.config import Config, FitConfig
from train.dataset import Case, PatchDataset, StepSampler
from train.losses import dice_and_cross_entropy

LAST, DONE, LOG = "last.ckpt", "done.json", "metrics.csv"


class Learner(L.LightningModule):
    """A network, its loss, its schedule, and the moving average of its weights that is finally used.

    The learning rate rises linearly over `warmup_steps` and falls to nothing as (1 - progress) ** 0.9, where progress
    is the share of `max_steps` or of `max_minutes` that is used, whichever is larger: a fit that runs out of time has
    annealed too.
    """

    def __init__(self, plan: Plan, config: FitConfig) -> None:
        super().__init__()
        self.config = config
        self.network = build_network(plan).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.seconds = 0.0
        self._clock = time.monotonic()

    @property
    def progress(self) -> float:
        """Share of the fit that is done, 0 to 1."""
        share = max(self.global_step / self.config.max_steps, self.seconds / (60 * self.config.max_minutes))
        return min(share, 1.0)

    def start_from(self, weights: dict[str, torch.Tensor]) -> None:
        self.network.load_state_dict(weights)
        self.average = {name: value.detach().clone() for name, value in weights.items()}

    def training_step(self, batch: dict[str, torch.Tensor], index: int) -> torch.Tensor:
        image = batch["image"].contiguous(memory_format=torch.channels_last_3d)
        loss = dice_and_cross_entropy(self.network(image), batch["labels"], batch["known"])
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        config = self.config
        return torch.optim.AdamW(self.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)

    def on_train_start(self) -> None:
        self._clock = time.monotonic()

    def on_train_batch_start(self, batch: Any, index: int) -> int | None:
        if self.progress >= 1.0:
            self.trainer.should_stop = True
            return -1
        warmth = min(1.0, (self.global_step + 1) / max(self.config.warmup_steps, 1))
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.config.learning_rate * warmth * (1 - self.progress) ** 0.9
        return None

    def on_train_batch_end(self, outputs: Any, batch: Any, index: int) -> None:
        # young averages forget faster, or the random start would linger
        decay = min(self.config.ema_decay, (1 + self.global_step) / (10 + self.global_step))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.average[name].lerp_(value.to(self.average[name].device), 1 - decay)
        now = time.monotonic()
        self.seconds += now - self._clock
        self._clock = now

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["average"], checkpoint["seconds"] = self.average, self.seconds

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.average, self.seconds = checkpoint["average"], checkpoint["seconds"]


class Keep(Callback):
    """Writes last.ckpt after every epoch, whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_epoch_end(self, trainer: L.Trainer, learner: Any) -> None:
        partial = self._path.with_suffix(".part")
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            partial.replace(self._path)


class Log(Callback):
    """One line per epoch: to metrics.csv and to standard output."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._losses: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, learner: Any, outputs: Any, batch: Any, index: int) -> None:
        self._losses.append(float(outputs["loss"]))

    def on_train_epoch_end(self, trainer: L.Trainer, learner: Any) -> None:
        if not self._losses:
            return
        row = {
            "step": trainer.global_step,
            "loss": round(sum(self._losses) / len(self._losses), 4),
            "learning_rate": f"{trainer.optimizers[0].param_groups[0]['lr']:.2e}",
            "seconds": round(learner.seconds, 1),
        }
        self._losses = []
        new = not self._path.exists()
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)
        print(f"{self._path.parent.name}: " + "  ".join(f"{key} {value}" for key, value in row.items()), flush=True)


def fit(
    folder: Path,
    config: Config,
    settings: FitConfig,
    phantoms: Sequence[Case],
    real: Sequence[Case],
    start: dict[str, torch.Tensor] | None = None,
) -> dict[str, torch.Tensor]:
    """Train one net in `folder`, or go on with it, or just read it where it is finished.

    Args:
        folder: of this fit.
        config: of the run; its plan, augmentation and seed.
        settings: of this fit.
        phantoms, real: the cases to learn from.
        start: weights to begin with; random ones unless given.

    Returns:
        The averaged weights (fp32, on the CPU).
    """
    if (folder / DONE).exists():
        return averaged_weights(folder)
    folder.mkdir(parents=True, exist_ok=True)
    keep_memory()
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    L.seed_everything(config.seed, workers=True, verbose=False)
    plan = config.plan.plan()
    learner = Learner(plan, settings)
    if start is not None:
        learner.start_from(start)
    last = folder / LAST
    patch = config.plan.train_patch_zyx
    samples = settings.steps_per_epoch * settings.batch_size
    epochs = math.ceil(settings.max_steps / settings.steps_per_epoch)
    dataset = PatchDataset(
        phantoms,
        real,
        plan,
        (patch[0], patch[1], patch[2]),
        config.augment,
        real_share=settings.real_share,
        seed=config.seed,
        length=samples * epochs,
    )
    loader = DataLoader(
        dataset,
        batch_size=settings.batch_size,
        sampler=StepSampler(samples, lambda: learner.global_step * settings.batch_size),
        num_workers=settings.workers,
        persistent_workers=settings.workers > 0,
    )
    trainer = L.Trainer(
        default_root_dir=folder,
        max_steps=settings.max_steps,
        precision=settings.precision,
        gradient_clip_val=settings.gradient_clip,
        callbacks=[
            Keep(folder / LAST),
            Log(folder / LOG),
        ],
        logger=False,
        enable_checkpointing=False,  # `Keep` does it
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(learner, loader, ckpt_path=str(last) if last.exists() else None)
    done = {"steps": trainer.global_step, "seconds": round(learner.seconds), "cases": [case.name for case in real]}
    if trainer.global_rank == 0 and learner.progress >= 1.0:
        (folder / DONE).write_text(json.dumps(done), encoding="utf-8")
    return learner.average


def averaged_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The averaged weights of a fit's last checkpoint."""
    weights = torch.load(folder / LAST, map_location="cpu", weights_only=True)["average"]
    return {name: value.float() for name, value in weights.items()}


def keep_memory() -> None:
    """Let the C library keep freed memory for the next step instead of returning it to the system.

    Every step frees and allocates the same gigabytes of feature maps; with glibc's defaults the system maps and clears
    each of them anew, which makes a step on the CPU up to twice as long.
    """
    if sys.platform == "linux" and not torch.cuda.is_available():
        try:
            libc = ctypes.CDLL("libc.so.6")
        except OSError:  # another C library
            return
        trim_threshold, top_pad, mmap_max = -1, -2, -4
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(top_pad, 2**28)
