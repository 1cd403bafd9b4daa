"""Model folders of tiny networks, made and spoilt for the tests of how models are stored."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from flareseg.errors import ModelError
from flareseg.labels import structures
from flareseg.model.bundle import COARSE, TUMOUR_NET, load_bundle, save_bundle
from flareseg.model.networks.dynunet import dynunet_spec
from flareseg.model.networks.registry import parameter_shapes
from flareseg.model.plan import ComponentRule, Intensity, Plan
from flareseg.model.storage import JSON, WEIGHTS

ALL_LABELS = {0: "background"} | {structure.value: structure.name for structure in structures()}
ANISOTROPIC = dynunet_spec([4, 6, 8], [[1, 3, 3], 3, 3], [1, [1, 2, 2], 2])


def make_plan(**changes: Any) -> Plan:
    plan = Plan(
        spacing_zyx_mm=(3.0, 3.0, 3.0),
        patch_zyx=(16, 16, 16),
        intensity=Intensity((-200.0, 300.0), 50.0, 90.0),
        network=dynunet_spec([2, 4, 4]),
        labels=ALL_LABELS,
        components={"spleen": ComponentRule(minimum_ml=1.0)},
    )
    return replace(plan, **changes)


def make_weights(plan: Plan, prefix: str = "") -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {prefix + k: torch.randn(*shape, generator=generator) for k, shape in parameter_shapes(plan).items()}


def save_model(folder: Path, plan: Plan | None = None, **changes: Any) -> Path:
    plan = plan or make_plan()
    weights = make_weights(plan)
    if plan.coarse:
        weights |= make_weights(plan.coarse, COARSE)
    if plan.tumour:
        weights |= make_weights(plan.tumour, TUMOUR_NET)
    arguments: dict[str, Any] = {
        "plan": plan,
        "weights": weights,
        "name": "tiny",
        "version": "1.2",
        "description": "a model for tests",
        "licence": "Apache-2.0",
        "citation": "nobody, never",
        "provenance": {"date": "2023-10-01"},
        "metrics": {"rows": []},
        "card": "# Tiny\nÜber kleine Netze.\n",
    }
    save_bundle(folder, **(arguments | changes))
    return folder


def edit_json(model: Path, change: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads((model / JSON).read_text(encoding="utf-8"))
    change(data)
    (model / JSON).write_text(json.dumps(data), encoding="utf-8")


def replace_weights(model: Path, data: bytes) -> None:
    """Other weights with the right checksum, as someone who edits a model would make them."""
    (model / WEIGHTS).write_bytes(data)
    edit_json(model, lambda info: info.update(sha256=hashlib.sha256(data).hexdigest()))


def zip_of(files: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def contents(model: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in model.iterdir()}


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load_bundle(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400 + len(str(path))
    return message
