"""Training loop of all networks and stages, based on Lightning.

Files in the folder of a fit: fit.json (settings, and the stamp of `stamps.py`), last.ckpt (after every epoch),
best.ckpt (with validation), metrics.csv, TensorBoard logs, and done.json with the figures of the finished fit. An
interrupted fit resumes from last.ckpt with the patches that follow; a finished one is skipped.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.utils.data import DataLoader

from flareseg.errors import Cancelled, FlareError, InputError, OutputError, UsageError
from flareseg.inference.devices import cpu_multiplies_bf16
from train.augmentation.dataset import (
    Oversampling,
    PatchDataset,
    StepSampler,
    collate,
    start_worker,
    validation_batches,
)
from train.augmentation.pipeline import NOTHING
from train.common.devices import device_of_rank
from train.common.distributed import Rank, this_rank
from train.common.memory import keep_memory
from train.common.parallel import worker_context
from train.fit_config import Precision
from train.reporting.cost import multiply_adds, parameters
from train.training.checkpoints import DONE, LAST, CheckpointCallback, write_done
from train.training.claim import claim
from train.training.cluster import OneDeviceEach
from train.training.module import FitJob, TrainingModule
from train.training.tasks import Batch, Task

_RANK_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")
"""What gloo and NCCL say when one of the processes has ended."""


def fit(job: FitJob, make_task: Callable[[], Task]) -> None:
    """Train a network in `job.folder`, or resume; does nothing if it is finished.

    Args:
        job: cases and settings.
        make_task: builds the task; called only if the fit is not finished.

    Raises:
        InputError: when there is no case, or the loss is not finite.
        UsageError: when the folder contains a fit with other settings or data, and `job.redo` is off.
        Cancelled: when the user interrupts; last.ckpt is that of the last complete epoch.
    """
    if not job.cases:
        raise InputError(f"The fit '{job.folder.name}' has no case to train on.")
    rank = this_rank()
    claim(job, rank)
    if (job.folder / DONE).exists():
        return
    if rank.is_main:
        size, cost = parameters(job.plan) / 1e6, multiply_adds(job.plan) / 1e9
        print(
            f"{job.folder.name}: training starts or resumes; {size:.3g}M parameters, {cost:.3g} GMAC a patch",
            flush=True,
        )
    if not torch.cuda.is_available():
        keep_memory()
    _quiet()
    L.seed_everything(job.seed, workers=True, verbose=False)
    module = TrainingModule(make_task(), job)
    last = job.folder / LAST
    if last.exists() and not is_zipfile(last):
        raise _damaged(last)
    trainer = _trainer(job, rank)
    try:
        trainer.fit(module, _loader(module, rank), ckpt_path=str(last) if last.exists() else None, weights_only=True)
    except FlareError:
        raise
    except SIGTERMException:  # by itself it ends the program as if all were done
        raise Cancelled from None
    except OSError as error:  # of the logs; those of checkpoints and of cases have their own words
        raise OutputError(
            f"'{job.folder}' cannot be written ({error.strerror or error}); make room and start again: training "
            "resumes from the last epoch."
        ) from None
    except torch.cuda.OutOfMemoryError:
        raise InputError(
            f"The GPU has too little memory for the fit '{job.folder.name}'; lower its batch_size or the net's patch."
        ) from None
    except RuntimeError as error:
        raise _explained(error, job) from error
    if trainer.interrupted:
        raise Cancelled
    if rank.is_main:
        _finish(job, module, trainer.global_step, rank)
    trainer.strategy.barrier()


def _loader(module: TrainingModule, rank: Rank) -> DataLoader[Any]:
    job, settings = module.job, module.settings
    per_step = settings.batch_size * rank.count
    dataset = PatchDataset(
        job.cases,
        job.shares,
        job.net,
        job.plan,
        settings.augment,
        foreground=settings.foreground,
        emphasis=settings.emphasis,
        oversampling=_oversampling(job, per_step),
        seed=job.seed,
        length=job.steps * per_step,
        finished=settings.augment_on == "workers" or (settings.augment_on == "auto" and not torch.cuda.is_available()),
    )
    return DataLoader(
        dataset,
        batch_size=settings.batch_size,
        sampler=StepSampler(settings.steps_per_epoch * per_step, lambda: module.global_step * per_step, rank),
        collate_fn=collate,
        num_workers=settings.workers,
        persistent_workers=settings.workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=start_worker,
        multiprocessing_context=worker_context() if settings.workers else None,
    )


def _oversampling(job: FitJob, per_step: int) -> Oversampling | None:
    return Oversampling(per_step, job.settings.foreground) if job.settings.foreground_rule == "nnunet" else None


def _validation(job: FitJob, device: torch.device, epoch: int) -> Iterable[Batch]:
    """Validation batches of one patch each: fixed ones on the training device, or new ones of this epoch."""
    settings = job.settings
    count = settings.validation_patches if job.validation else 0
    if not settings.validation_drawn or not count:
        return validation_batches(job.validation, job.net, job.plan, count, job.seed, device)
    dataset = PatchDataset(
        job.validation,
        [1.0] * len(job.validation),
        job.net,
        job.plan,
        NOTHING,
        foreground=settings.foreground,
        oversampling=_oversampling(job, settings.batch_size),
        seed=job.seed + 1,
        length=settings.epochs * count,
        finished=True,
    )
    return (dataset.batch([number], device) for number in range(epoch * count, (epoch + 1) * count))


def _trainer(job: FitJob, rank: Rank) -> L.Trainer:
    settings, cuda = job.settings, torch.cuda.is_available()
    torch.backends.cudnn.benchmark = cuda and not job.deterministic
    device = torch.device(device_of_rank("cuda") if cuda else "cpu")
    ranks = OneDeviceEach(rank)
    ddp = DDPStrategy(cluster_environment=ranks, process_group_backend="nccl" if cuda else "gloo")
    return L.Trainer(
        default_root_dir=job.folder,
        accelerator="gpu" if cuda else "cpu",
        devices=[device.index or 0] if cuda else 1,
        num_nodes=rank.count,
        strategy=ddp if rank.count > 1 else "auto",
        max_steps=job.steps,
        precision=precision_of(settings.precision, cuda=cuda),
        gradient_clip_val=settings.gradient_clip,
        deterministic=job.deterministic,
        callbacks=[CheckpointCallback(job.folder, partial(_validation, job, device))],
        logger=TensorBoardLogger(job.folder, name="", version="tensorboard"),
        log_every_n_steps=min(10, settings.steps_per_epoch),
        enable_checkpointing=False,  # `CheckpointCallback` does it
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,  # `StepSampler` does it
    )


def precision_of(wanted: Precision, *, cuda: bool) -> Precision:
    """The precision to train in: without hardware support for bf16, fp16 on a GPU and fp32 on a CPU, where emulated
    bf16 is about forty times slower."""
    if wanted == "bf16-mixed" and cuda and not torch.cuda.is_bf16_supported(including_emulation=False):
        return "16-mixed"
    if wanted == "bf16-mixed" and not cuda and not cpu_multiplies_bf16():
        return "32-true"
    return wanted


def _quiet() -> None:
    """Silence library warnings that users cannot act on."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)")


def _finish(job: FitJob, module: TrainingModule, steps: int, rank: Rank) -> None:
    patches = steps * job.settings.batch_size * rank.count
    facts = {
        "task": job.settings.task,
        "steps": steps,
        "processes": rank.count,
        "seconds": round(module.seconds),
        "patches_per_second": round(patches / max(module.seconds, 1e-9), 3),
        "loss": module.rows[-1]["loss"] if module.rows else None,
        "cases": [case.name for case in job.cases],
        "device": str(torch.cuda.get_device_name()) if torch.cuda.is_available() else "CPU",
    }
    write_done(job.folder, facts)


def _explained(error: RuntimeError, job: FitJob) -> FlareError | RuntimeError:
    """Turn a library error into a message for users if its cause is known; otherwise return it unchanged."""
    text = " ".join(str(error).split())
    if "DataLoader worker" in text:
        return InputError(
            f"A process that loads patches for the fit '{job.folder.name}' was killed, usually for lack of memory; "
            "start again with fewer workers: training resumes from the last epoch."
        )
    if any(words in text for words in _RANK_LOST):
        return OutputError(
            f"Another process that trains the fit '{job.folder.name}' ended or was lost; see its own message, then "
            "start again: training resumes from the last epoch."
        )
    if "Duplicate GPU" in text:
        return UsageError(
            f"Two processes that train the fit '{job.folder.name}' have the same GPU; start as many as there are GPUs."
        )
    if "loading state_dict" in text:
        return UsageError(f"{job.folder / LAST} is a checkpoint of another plan; give another folder with runs=...")
    if "PytorchStreamReader" in text or "corrupt" in text:
        return _damaged(job.folder / LAST)
    return error


def _damaged(path: Path) -> InputError:
    return InputError(f"The checkpoint '{path}' is damaged; remove it to restart this fit.")
