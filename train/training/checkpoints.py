"""Checkpoints of a fit, written atomically, and its log."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from flareseg.errors import InputError, OutputError
from flareseg.io.atomic import atomic_path
from flareseg.model.networks.registry import own_weights
from train.common.json_files import write_json
from train.training.module import TrainingModule, without_heads
from train.training.tasks import Batch

LAST, BEST, DONE, LOG = "last.ckpt", "best.ckpt", "done.json", "metrics.csv"
MOVING = "moving_score"
"""Column of the log: the moving average that tells which weights are best."""


class CheckpointCallback(Callback):
    """After every epoch: update the log, write best.ckpt if the score improved, then last.ckpt.

    last.ckpt is written last and contains the log, so that all three are consistent after a crash.

    Args:
        folder: of the fit.
        batches: creates the validation batches of an epoch, counted from 0; called on the main rank only, and only
            once where they are a list, which serves all epochs.
    """

    def __init__(self, folder: Path, batches: Callable[[int], Iterable[Batch]]) -> None:
        self._folder, self._make_batches = folder, batches
        self._batches: Sequence[Batch] | None = None
        self._losses: list[torch.Tensor] = []
        self._clock = time.monotonic()

    def on_train_epoch_start(self, trainer: L.Trainer, module: Any) -> None:
        self._clock = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        self._losses.append(outputs["loss"].detach())

    def on_train_epoch_end(self, trainer: L.Trainer, module: Any) -> None:
        module.seconds += time.monotonic() - self._clock
        if self._losses:
            row = self._row(trainer, module)
            module.rows.append(row)
            if trainer.is_global_zero:
                with self._told(LOG):
                    write_log(module.rows, self._folder / LOG)
                print(_line(self._folder.name, row, module), flush=True)
        self._losses = []
        partial = self._folder / f".{LAST}.part"
        try:
            with self._told(LAST):
                trainer.save_checkpoint(partial)
                if trainer.is_global_zero:
                    partial.replace(self._folder / LAST)
        finally:
            if trainer.is_global_zero:
                partial.unlink(missing_ok=True)

    def _row(self, trainer: L.Trainer, module: TrainingModule) -> dict[str, Any]:
        settings = module.settings
        row = {
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            "loss": round(float(torch.stack(self._losses).mean()), 5),
            "learning_rate": float(f"{trainer.optimizers[0].param_groups[0]['lr']:.3e}"),
            "seconds": round(module.seconds, 1),
            "score": "",
        }
        if settings.validate_every and row["epoch"] % settings.validate_every == 0 and trainer.is_global_zero:
            batches = self._batches or self._make_batches(trainer.current_epoch)
            if isinstance(batches, list):
                self._batches = batches
            if batches != []:
                self._score(row, batches, trainer, module)
        return row

    def _score(self, row: dict[str, Any], batches: Iterable[Batch], trainer: L.Trainer, module: TrainingModule) -> None:
        """Add the score to the row, and write best.ckpt where it, or its moving average, is higher than ever."""
        memory, before = module.settings.validation_memory, [old for old in module.rows if old["score"] != ""]
        score = row["score"] = round(module.score(batches), 5)
        module.log("score", score, rank_zero_only=True)
        if memory:
            last = _judged(before[-1]) if before else score
            row[MOVING] = round(memory * last + (1 - memory) * score, 5)
        if all(_judged(row) > _judged(old) for old in before):
            with self._told(BEST), atomic_path(self._folder / BEST, overwrite=True) as partial:
                average = {name: value.cpu() for name, value in module.average.items()}
                torch.save({"average": average, "score": score, "step": trainer.global_step}, partial)

    @contextmanager
    def _told(self, name: str) -> Iterator[None]:
        """Say of a file that cannot be written, as on a full disk, what is left; torch raises a RuntimeError then."""
        try:
            yield
        except (OSError, RuntimeError, OutputError) as error:
            last = self._folder / LAST
            left = f"'{last}' of the epoch before is intact" if last.exists() else "there is no checkpoint yet"
            raise OutputError(
                f"'{self._folder / name}' cannot be written ({_reason(error)}); {left}. Make room and start again: "
                "training resumes from there."
            ) from None


def write_log(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write metrics.csv: one row per epoch."""
    with atomic_path(path, overwrite=True) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), restval="")
        writer.writeheader()
        writer.writerows(rows)


def _judged(row: dict[str, Any]) -> float:
    """What tells whether the weights of a row are the best."""
    return float(row.get(MOVING, row["score"]))


def write_done(folder: Path, facts: dict[str, Any]) -> None:
    """Write done.json, which marks the fit as finished."""
    write_json(folder / DONE, facts)


def averaged_weights(folder: Path, which: str = "average") -> dict[str, torch.Tensor]:
    """Weights of a fit: fp32 on the CPU, named as in `own_weights`, without deep supervision heads.

    Args:
        folder: of the fit.
        which: "average" (moving average), "last" (last step), or "best" (average with the best validation score).

    Raises:
        InputError: when there is no such checkpoint.
    """
    path = folder / (BEST if which == "best" else LAST)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        hint = "it was not validated (validate_every)" if which == "best" else "run its stage first"
        raise InputError(f"The fit '{folder}' has no {path.name}; {hint}.") from None
    except Exception:
        raise InputError(f"The checkpoint '{path}' is damaged.") from None
    if which != "last":
        return {name: value.float() for name, value in found["average"].items()}
    prefix = "network."
    state = {name.removeprefix(prefix): value for name, value in found["state_dict"].items() if name.startswith(prefix)}
    return {name: value.float() for name, value in without_heads(own_weights(state)).items()}


def _line(name: str, row: dict[str, Any], module: TrainingModule) -> str:
    """One line for the terminal: progress, metrics and remaining time."""
    left = module.seconds * (1 / max(module.share_done(row["step"]), 1e-9) - 1)
    score = f"  score {row['score']:.4f}" if row["score"] != "" else ""
    return (
        f"{name}: epoch {row['epoch']}  step {row['step']}/{module.job.steps}  loss {row['loss']:.4f}{score}  "
        f"lr {row['learning_rate']:.1e}  {_duration(module.seconds)} done, {_duration(left)} left"
    )


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def _reason(error: OSError | RuntimeError | OutputError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    if "inline_container" in text or "PytorchStreamWriter" in text:  # torch does not say what the system said
        return "the disk may be full"
    return text.rpartition("cannot be written: ")[2].rstrip(".")[:120]
