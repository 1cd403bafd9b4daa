"""nnU-Net's half of the training benchmark: its own preprocessing, data loader, augmentation and training step.

Runs in nnU-Net's environment, started by `harness.run_fresh`; the order is a JSON object: what ("prepare", "load" or
"step"), data (folder of cases with ct.nii.gz and seg.nii.gz), plans, dataset (JSON files), workers, warm, count,
threads, started_at, answer. Its folders are given by its own variables. What it does is what `nnUNetv2_train` would do
on a machine without a GPU; only how often is decided here.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from harness import hold_to_cores, peak_resident_bytes, versions

CONFIGURATION = "3d_fullres"


def main() -> None:
    order = json.loads(sys.argv[1])
    hold_to_cores(order["threads"])
    import torch

    torch.set_num_threads(order["threads"])
    plans, dataset = (json.loads(Path(order[name]).read_text(encoding="utf-8")) for name in ("plans", "dataset"))
    did = {"prepare": prepare, "load": load, "step": step}[order["what"]](order, plans, dataset)
    answer = {"versions": versions(), "peak_resident_bytes": peak_resident_bytes()} | did
    Path(order["answer"]).write_text(json.dumps(answer), encoding="utf-8")


def prepare(order: dict[str, Any], plans: dict[str, Any], dataset: dict[str, Any]) -> dict[str, Any]:
    """Preprocess every case as `nnUNetv2_preprocess` does."""
    from nnunetv2.paths import nnUNet_preprocessed
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(plans)
    configuration = manager.get_configuration(CONFIGURATION)
    base = Path(str(nnUNet_preprocessed)) / manager.dataset_name
    folder = base / configuration.data_identifier
    folder.mkdir(parents=True)
    began = time.perf_counter()
    cases = sorted(path.parent for path in Path(order["data"]).glob("*/seg.nii.gz"))
    for case in cases:
        preprocessor = configuration.preprocessor_class(verbose=False)
        files = [str(case / "ct.nii.gz")], str(case / "seg.nii.gz")
        preprocessor.run_case_save(str(folder / case.name), *files, manager, configuration, dataset)
    size = sum(path.stat().st_size for path in folder.glob("*.b2nd"))
    return {"seconds": time.perf_counter() - began, "bytes": size, "cases": len(cases)}


def load(order: dict[str, Any], plans: dict[str, Any], dataset: dict[str, Any]) -> dict[str, Any]:
    """Seconds for `count` batches of its training loader once `warm` batches, those made in advance, are used up."""
    trainer = _trainer(plans, dataset)
    loader, _ = trainer.get_dataloaders()
    for _ in range(order["warm"]):
        batch = next(loader)
    began = time.perf_counter()
    for _ in range(order["count"]):
        batch = next(loader)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "patches": order["count"] * len(batch["data"]), "shape": list(batch["data"].shape)}


def step(order: dict[str, Any], plans: dict[str, Any], dataset: dict[str, Any]) -> dict[str, Any]:
    """Seconds of each of `count` training steps after `warm` others, on batches that are there already."""
    trainer = _trainer(plans, dataset)
    loader, _ = trainer.get_dataloaders()
    batches = [next(loader) for _ in range(2)]
    for unwanted in (loader, _):
        unwanted._finish()
    seconds = []
    for number in range(order["warm"] + order["count"]):
        began = time.perf_counter()
        trainer.train_step(batches[number % len(batches)])
        seconds.append(time.perf_counter() - began)
    parameters = sum(parameter.numel() for parameter in trainer.network.parameters())
    return {"steps_s": seconds[order["warm"] :], "batch_size": len(batches[0]["data"]), "parameters": parameters}


def _trainer(plans: dict[str, Any], dataset: dict[str, Any]) -> Any:
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    trainer = nnUNetTrainer(plans | {"continue_training": False}, CONFIGURATION, "all", dataset, torch.device("cpu"))
    trainer.initialize()
    trainer.set_deep_supervision_enabled(trainer.enable_deep_supervision)
    return trainer


if __name__ == "__main__":
    main()
