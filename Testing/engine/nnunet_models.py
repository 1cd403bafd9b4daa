"""Trained models of nnU-Net, as recorded, for tests that change them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flareseg.errors import FlareError, ModelError
from flareseg.interop.nnunet.importer import Choice, read_nnunet

RECORDED = Path(__file__).parent / "data" / "nnunet"
PLANS = json.loads((RECORDED / "anisotropic" / "model" / "plans.json").read_text(encoding="utf-8"))
OLD_PLANS = json.loads((RECORDED / "old" / "model" / "plans.json").read_text(encoding="utf-8"))
LABELS = {0: "background", 1: "liver"}
INTENSITIES = "foreground_intensity_properties_per_channel"
CHECKPOINT = Path("fold_0", "checkpoint_final.pth")


def edit(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    data = json.loads(file.read_text(encoding="utf-8"))
    change(data)
    file.write_text(json.dumps(data), encoding="utf-8")


def refusal(of: Path, choice: Choice | None = None, kind: type[FlareError] = ModelError) -> str:
    with pytest.raises(kind) as caught:
        read_nnunet(of, choice)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    return message


def copy_of_trained(folder: Path) -> Path:
    """A trained-model folder that a test may change."""
    copied = folder / "Dataset023_Abdomen" / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    shutil.copytree(RECORDED / "anisotropic" / "model", copied)
    return copied
