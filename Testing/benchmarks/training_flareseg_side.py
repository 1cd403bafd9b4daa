"""train's half of the training benchmark: its cache, patches, augmentation and training step.

Started by `harness.run_fresh`; the order is a JSON object: what ("prepare", "load" or "step"), data (folder of cases
with ct.nii.gz and seg.nii.gz), cache (folder), net (keys of `NetConfig`), augment (keys of `AugmentConfig`), precision,
batch_size, workers, warm, count, threads, started_at, answer.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from harness import hold_to_cores, peak_resident_bytes, versions


def main() -> None:
    order = json.loads(sys.argv[1])
    hold_to_cores(order["threads"])
    import torch

    torch.set_num_threads(order["threads"])
    did = {"prepare": prepare, "load": load, "step": step}[order["what"]](order)
    answer = {"versions": versions(), "peak_resident_bytes": peak_resident_bytes()} | did
    Path(order["answer"]).write_text(json.dumps(answer), encoding="utf-8")


def prepare(order: dict[str, Any]) -> dict[str, Any]:
    """Cache every case as the stage `prepare` does."""
    import numpy as np

    from flareseg.io.files import read_labels, read_volume
    from train.data.cache import write_image, write_labels
    from train.data.index import CLASSES

    spacing = _net(order).spacing_zyx_mm
    began = time.perf_counter()
    cases = sorted(path.parent for path in Path(order["data"]).glob("*/seg.nii.gz"))
    for case in cases:
        folder = Path(order["cache"]) / case.name
        write_image(folder, read_volume(case / "ct.nii.gz"), spacing)
        labels, geometry = read_labels(case / "seg.nii.gz")
        write_labels(folder, "truth", labels, geometry, np.ones(CLASSES, bool))
    size = sum(path.stat().st_size for path in Path(order["cache"]).rglob("*") if path.is_file())
    return {"seconds": time.perf_counter() - began, "bytes": size, "cases": len(cases)}


def load(order: dict[str, Any]) -> dict[str, Any]:
    """Seconds for `count` finished batches once `warm` batches, those made in advance, are used up."""
    import torch
    from torch.utils.data import DataLoader

    from train.augmentation.dataset import collate, start_worker, to_batch

    dataset, net, plan, augment = _patches(order)
    loader = iter(
        DataLoader(
            dataset,
            batch_size=order["batch_size"],
            collate_fn=collate,
            num_workers=order["workers"],
            worker_init_fn=start_worker,
            multiprocessing_context="spawn",
        )
    )
    device = torch.device("cpu")
    for _ in range(order["warm"]):
        batch = to_batch(next(loader), net, plan, augment, device)
    began = time.perf_counter()
    for _ in range(order["count"]):
        batch = to_batch(next(loader), net, plan, augment, device)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "patches": order["count"] * len(batch["image"]), "shape": list(batch["image"].shape)}


def step(order: dict[str, Any]) -> dict[str, Any]:
    """Seconds of each of `count` training steps after `warm` others, on batches that are there already; those of the
    processor, too.

    A step is all that a fit does in one: forward, backward, clipped gradients, optimiser, averaged weights.
    """
    import torch

    from train.augmentation.dataset import to_batch
    from train.common.memory import keep_memory
    from train.fit_config import FitConfig
    from train.training.module import FitJob, TrainingModule
    from train.training.tasks import Segment

    keep_memory()
    dataset, net, plan, augment = _patches(order)
    settings = FitConfig(net="", epochs=1)
    module = TrainingModule(Segment(net, plan, settings), FitJob(Path(), net, plan, settings, [], []))
    optimizer = module.configure_optimizers()
    device, size = torch.device("cpu"), order["batch_size"]
    numbers = [range(first, first + size) for first in (0, size)]
    batches = [to_batch([dataset[i] for i in some], net, plan, augment, device) for some in numbers]
    for batch in batches:
        batch["image"] = batch["image"].contiguous(memory_format=torch.channels_last_3d)
    seconds, cpu_seconds = [], []
    for number in range(order["warm"] + order["count"]):
        began, began_cpu = time.perf_counter(), time.process_time()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=order["precision"] == "bf16-mixed"):
            loss = module.training_step(batches[number % len(batches)], number)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.network.parameters(), settings.gradient_clip)
        optimizer.step()
        module.on_train_batch_end(None, None, number)
        seconds.append(time.perf_counter() - began)
        cpu_seconds.append(time.process_time() - began_cpu)
    parameters = sum(parameter.numel() for parameter in module.network.parameters())
    timed = {"steps_s": seconds[order["warm"] :], "steps_cpu_s": cpu_seconds[order["warm"] :]}
    return timed | {"batch_size": size, "parameters": parameters}


def _net(order: dict[str, Any]) -> Any:
    from train.net_config import NetConfig
    from train.settings import build

    return build(NetConfig, order["net"], "net")


def _patches(order: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
    """The endless stream of finished patches from the cache, and what it is made with."""
    from train.augmentation.dataset import PatchDataset
    from train.data.cache import load_cached
    from train.fit_config import AugmentConfig, FitConfig
    from train.settings import build

    net, augment = _net(order), build(AugmentConfig, order["augment"], "augment")
    cases = [load_cached(folder, "truth") for folder in sorted(Path(order["cache"]).iterdir())]
    plan, foreground = net.plan(), FitConfig(net="", epochs=1).foreground
    shares = [1.0] * len(cases)
    numbers = {"foreground": foreground, "seed": 0, "length": 10**9, "finished": True}
    return PatchDataset(cases, shares, net, plan, augment, **numbers), net, plan, augment


if __name__ == "__main__":
    main()
