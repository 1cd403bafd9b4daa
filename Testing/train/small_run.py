"""A run of four small patients with ground truth, organ pseudo-labels and finished fits of random weights: what the
stages after the training need, in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flareseg.io.files import write_segmentation, write_volume
from flareseg.labels import structures
from flareseg.model.networks.registry import build_network, own_weights
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Volume
from train.common.paths import RunPaths
from train.config import Config, PseudoConfig, SourceConfig
from train.data.cache import write_image
from train.data.index import CaseIndex, IndexedCase, write_index
from train.fit_config import FitConfig
from train.net_config import NetConfig
from train.training.checkpoints import LAST, write_done

SPACING = (6.0, 6.0, 6.0)
GRID = Geometry((24, 30, 36), SPACING, (10.0, -20.0, 30.0), ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0)))
LIVER, SPLEEN, TUMOUR = 1, 3, 14


def truth_of(seed: int) -> NDArray[np.uint8]:
    """A liver with a tumour in it, and a spleen."""
    labels = np.zeros(GRID.shape_zyx, np.uint8)
    first = 4 + seed % 3
    labels[first : first + 12, 8:22, 6:16], labels[first : first + 9, 9:20, 22:30] = LIVER, SPLEEN
    labels[first + 3 : first + 7, 11:16, 8:13] = TUMOUR
    return labels


def hu_of(seed: int) -> NDArray[np.int16]:
    labels, rng = truth_of(seed), np.random.default_rng(seed)
    hu = np.full(labels.shape, -1000.0)
    hu[:, 3:-3, 3:-3] = -80
    hu[labels == LIVER], hu[labels == SPLEEN], hu[labels == TUMOUR] = 120, 90, 40
    return (hu + rng.normal(0, 10, hu.shape)).astype(np.int16)


def write_label_map(labels: NDArray[Any], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_segmentation(Segmentation(labels.astype(np.uint8), GRID, structures()), path, overwrite=True)
    return path


def small_run(folder: Path, **changes: Any) -> tuple[Config, RunPaths, CaseIndex]:
    """p0: everything is annotated; p1: the liver; p2 and p3: nothing, and p3 has no organ pseudo-labels either. p4 is
    for validation. The organ pseudo-labels lack the tumour and have a spleen that is one slice too large."""
    paths = RunPaths(folder / "run")
    cases = []
    for number in range(5):
        home = folder / "data" / f"p{number}"
        home.mkdir(parents=True)
        truth = truth_of(number)
        write_volume(Volume(hu_of(number), GRID), home / "ct.nii.gz")
        annotated = {0: ("liver", "spleen", "tumour"), 1: ("liver",), 4: ("liver", "spleen", "tumour")}.get(number, ())
        drawn = {0: truth, 1: np.where(truth == LIVER, truth, 0), 4: truth}.get(number)
        organs = np.where(truth == TUMOUR, LIVER, truth)
        organs[truth.nonzero()[0].max() + 1][truth[truth.nonzero()[0].max()] > 0] = SPLEEN
        case = IndexedCase(
            name=f"mine_p{number}",
            source="mine",
            image=home / "ct.nii.gz",
            labels=None if drawn is None else write_label_map(drawn, home / "seg.nii.gz"),
            annotated=annotated,
            occurring=annotated,
            organs=write_label_map(organs, home / "organs.nii.gz") if number < 3 else None,
            split="validation" if number == 4 else "train",
            shape_zyx=GRID.shape_zyx,
            spacing_zyx_mm=SPACING,
            licence="CC0",
        )
        write_image(paths.grid(SPACING) / case.name, Volume(hu_of(number), GRID), SPACING)
        cases.append(case)
    index = CaseIndex(tuple(cases))
    write_index(index, paths.index)
    config = Config(**(values(folder, paths) | changes))
    for number, name in enumerate(config.fits):
        finish(config, paths, name, seed=number)
    return config, paths, index


def values(folder: Path, paths: RunPaths) -> dict[str, Any]:
    net = {
        "spacing_zyx_mm": SPACING, "patch_zyx": (16, 16, 16), "filters": [4, 8, 8], "step": 0.5,
        "clip_hu": (-200.0, 300.0), "mean_hu": 50.0, "std_hu": 100.0,
    }  # fmt: skip
    return {
        "name": "small",
        "version": "1.2",
        "description": "Random weights.",
        "runs": paths.root,
        "output": folder / "model",
        "nets": {"tumor": NetConfig(segments=["tumour"], **net), "final": NetConfig(**net)},
        "fits": {
            "tumor": FitConfig(net="tumor", epochs=1, cases="tumour"),
            "final": FitConfig(net="final", epochs=1, cases="all", labels="fused"),
        },
        "sources": [SourceConfig("mine", "cases", str(folder / "data"))],
        "pseudo": PseudoConfig(organ_model="default", device="cpu"),
        "processes": 1,
    }


def finish(config: Config, paths: RunPaths, name: str, seed: int = 0, left_out: tuple[str, ...] = ()) -> None:
    """Leave what a finished fit leaves, with random weights."""
    torch.manual_seed(seed)
    folder = paths.fit(name, left_out)
    folder.mkdir(parents=True, exist_ok=True)
    weights = own_weights(build_network(config.net_of(name).plan()).state_dict())
    torch.save({"average": weights, "seed": seed}, folder / LAST)
    facts = {"task": "segment", "steps": 10, "seconds": 90, "cases": ["mine_p0"], "device": "CPU", "seed": seed}
    write_done(folder, facts)
