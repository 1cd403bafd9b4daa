"""A net as a MONAI bundle: metadata, weights, and an inference configuration that `python -m monai.bundle run` runs.

What stock MONAI has stands in for what flareseg does: its transforms for our resampling, its sliding windows for ours.
The labels are close to flareseg's, not the same; docs/export.md has the figures.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import flareseg
from flareseg.errors import ModelError
from flareseg.interop.kernels import plain_unet, with_kernels
from flareseg.interop.monai.config import inference, metadata
from flareseg.interop.source import Source
from flareseg.model.networks.dynunet import MONAI, kernel_of_weights, monai_arguments, shared_kernels
from flareseg.model.networks.registry import load_weights
from flareseg.system.private_imports import import_monai

KIND = "monai-bundle"


def write_monai_bundle(source: Source, folder: Path) -> None:
    """Write configs/metadata.json, configs/inference.json, models/model.pt, docs/README.md and LICENSE.

    Raises:
        ModelError: when the net, or the way in which it is applied, is none that stock MONAI has.
    """
    import torch

    import_monai()
    from monai.networks.nets.dynunet import DynUNet

    layers = plain_unet(source.plan.network, KIND)
    _check(source)
    arguments = monai_arguments(layers, shared_kernels(layers, MONAI), source.plan.classes)
    network = DynUNet(**arguments)
    load_weights(network, with_kernels(source.nets[0], kernel_of_weights(layers, MONAI)))
    for name in ("configs", "models", "docs"):
        (folder / name).mkdir()
    _write_json(folder / "configs" / "metadata.json", metadata(source))
    _write_json(folder / "configs" / "inference.json", inference(source, {"_target_": "DynUNet", **arguments}))
    with (folder / "models" / "model.pt").open("wb") as file:  # so that a full disk is an OSError
        torch.save(network.state_dict(), file)
    (folder / "docs" / "README.md").write_text(_readme(source), encoding="utf-8")
    (folder / "LICENSE").write_text(_licence(source), encoding="utf-8")


def _check(source: Source) -> None:
    plan = source.plan
    if len(source.nets) > 1:
        raise ModelError(f"The model is an ensemble of {len(source.nets)} nets; a MONAI bundle holds one.")
    if plan.orientation == "stored":
        raise ModelError("The network takes CTs in the order of their file, which no MONAI transform gives; use onnx.")
    if plan.intensity.scheme != "ct":
        raise ModelError("The network's images are normalised one by one; only CT's way is exported as monai-bundle.")


def _readme(source: Source) -> str:
    run = (
        "python -m monai.bundle run --bundle_root . --meta_file configs/metadata.json "
        "--config_file configs/inference.json --dataset_dir FOLDER_OF_NII_GZ --output_dir RESULTS"
    )
    structures = "\n".join(
        f"| {value} | {name} |" for value, name in zip(source.values, source.plan.labels.values(), strict=True) if value
    )
    return (
        f"# {source.name} {source.info['version']}\n\n{source.info['description']}\n\n"
        "Research use only; not a medical device.\n\n"
        f"Exported by flareseg {flareseg.__version__} (the {source.net} net). In this folder:\n\n```\n{run}\n```\n\n"
        "flareseg's own windows, resampling, region and component rules are not part of a bundle: expect labels close "
        "to flareseg's, not the same. On the way back to the CT's grid, the logits of all channels are in memory: "
        "4 bytes for every voxel and channel, several times over.\n\n"
        f"| label | structure |\n|---|---|\n{structures}\n\n"
        f"Licence: {source.info['licence']}\n\nPlease cite: {source.info['citation']}\n\n"
        f"The model card follows.\n\n---\n\n{source.card}"
    )


def _licence(source: Source) -> str:
    return (
        f"The weights in models/model.pt are those of the model '{source.name}' {source.info['version']}.\n"
        f"Licence: {source.info['licence']}\n"
        f"Citation: {source.info['citation']}\n"
        "docs/README.md and flareseg.json say what they were trained on and under which licences.\n"
    )


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
