"""A tiny net in TotalSegmentator's layout: what `record_totalsegmentator.py` gives to TotalSegmentator, and what the
tests import. Needs nothing but torch, since TotalSegmentator has an environment of its own."""

from __future__ import annotations

import json
from pathlib import Path

import torch

ENGINE = Path(__file__).parent
NET = ENGINE / "data" / "nnunet" / "anisotropic" / "model"
"""More classes than features, and trained for a moment."""
DATASET = "Dataset297_TotalSegmentator_total_3mm_1559subj"
TRAINER = "nnUNetTrainer_4000epochs_NoMirroring"
PATCHES_ZYX = {"several": [24, 24, 24], "one": [32, 40, 32]}
"""Of windows, several and one of which cover the recorded CT on the net's grid."""
MM = 3.0


def write_replica(home: Path, windows: str) -> Path:
    """A folder for TOTALSEG_HOME_DIR; returns the trained-model folder in it.

    Args:
        windows: a key of PATCHES_ZYX.
    """
    folder = home / "nnunet" / "results" / DATASET / f"{TRAINER}__nnUNetPlans__3d_fullres"
    (folder / "fold_0").mkdir(parents=True)
    plans = json.loads((NET / "plans.json").read_text(encoding="utf-8"))
    plans |= {"dataset_name": DATASET, "image_reader_writer": "NibabelIO"}
    plans["configurations"]["3d_fullres"] |= {"spacing": [MM] * 3, "patch_size": PATCHES_ZYX[windows]}
    (folder / "plans.json").write_text(json.dumps(plans), encoding="utf-8")
    (folder / "dataset.json").write_bytes((NET / "dataset.json").read_bytes())
    checkpoint = torch.load(NET / "fold_0" / "checkpoint_final.pth", weights_only=False)
    checkpoint["inference_allowed_mirroring_axes"] = None
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")
    return folder
