"""Files in the layouts in which others publish models: small nets with random weights, and entries for them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

from flareseg.cli import main
from flareseg.model.bundle import read_description
from flareseg.model.catalogue import list_models, models_folder

Write = Callable[..., Path]
"""Writes a catalogue file of such rows."""
RECORDED = Path(__file__).parent / "data" / "nnunet" / "old" / "model"
RECORDED_V1 = Path(__file__).parent / "data" / "nnunet_v1" / "slices" / "3d_fullres" / "Task900_Toy"
TRAINED = "Dataset297_TotalSegmentator_total_3mm_1559subj/nnUNetTrainer_4000epochs_NoMirroring__nnUNetPlans__{}"


@cache
def totalsegmentator_zip(configuration: str = "3d_fullres", folder: str = TRAINED) -> bytes:
    """A zip in TotalSegmentator's layout: one fold, old plans, a checkpoint without optimizer and log, and what a Mac
    adds to the zips that it makes."""
    plans = json.loads((RECORDED / "plans.json").read_text(encoding="utf-8"))
    plans["configurations"] = {configuration: plans["configurations"].popitem()[1]}
    whole = torch.load(RECORDED / "fold_all" / "checkpoint_final.pth", weights_only=False)
    kept = ("network_weights", "trainer_name", "init_args", "inference_allowed_mirroring_axes")
    trimmed = {key: whole.get(key) for key in kept}
    trimmed["init_args"] = {"configuration": configuration}
    checkpoint = io.BytesIO()
    torch.save(trimmed, checkpoint)
    files = {
        "plans.json": json.dumps(plans).encode(),
        "dataset.json": (RECORDED / "dataset.json").read_bytes(),
        "fold_0/checkpoint_final.pth": checkpoint.getvalue(),
    }
    root = folder.format(configuration)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(f"{root}/{name}", content)
            archive.writestr(f"__MACOSX/{root}/{Path(name).parent}/._{Path(name).name}", b"\0\5\26\7")
    return packed.getvalue()


def decathlon_zip() -> bytes:
    """A zip in the layout of nnU-Net v1's nets of the Decathlon: every configuration, pickles, no names of labels."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for configuration in ("2d", "3d_fullres", "3d_lowres"):
            for file in sorted(RECORDED_V1.rglob("*")):
                if file.is_file():
                    archive.write(file, f"{configuration}/Task007_Pancreas/{file.relative_to(RECORDED_V1).as_posix()}")
    return packed.getvalue()


def entry(address: str, **changes: Any) -> dict[str, Any]:
    """A row of a catalogue file."""
    row = {
        "name": "replica",
        "title": "A replica of three structures",
        "structures": ["liver", "tumor"],
        "licence": "Apache-2.0",
        "terms": "open",
        "authors": "Nobody",
        "citation": "Nobody, A Replica, 2026",
        "page": "https://example.org/replica",
        "addresses": [address],
        "layout": "nnunet-v2",
        "axes": "ras",
    }
    return {key: value for key, value in (row | changes).items() if value is not ...}


def get(*arguments: object) -> int:
    """Runs `flareseg models get`; its exit status."""
    return main(["models", "get", *map(str, arguments)])


def installed() -> list[str]:
    """The names of the user's models."""
    return [model.name for model in list_models() if model.origin == "yours"]


def provenance(name: str = "replica") -> dict[str, Any]:
    """What one of the user's models says of where it is from."""
    info: dict[str, Any] = read_description(models_folder() / name).info
    return info["provenance"] | {key: info[key] for key in ("licence", "citation", "description")}


def catalogue_of(path: Path) -> Callable[..., Path]:
    """Writes catalogue files."""

    def write(*rows: Any, **top: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"format": 1, "models": list(rows)} | top), encoding="utf-8")
        return path

    return write
