"""Small valid models: our own as folders and zips, and those of nnU-Net."""

from __future__ import annotations

import functools
import hashlib
import json
import tempfile
from pathlib import Path

from tree import Tree, zipped

NNUNET = Path(__file__).resolve().parents[1] / "engine" / "data" / "nnunet"
WEIGHTS, JSON = "weights.safetensors", "model.json"


@functools.cache
def _ours(kind: str) -> dict[str, bytes]:
    import torch

    from flareseg.model.bundle import save_bundle
    from flareseg.model.networks.dynunet import dynunet_spec
    from flareseg.model.networks.registry import parameter_shapes
    from flareseg.model.networks.unet import unet_spec
    from flareseg.model.plan import ComponentRule, Intensity, Plan

    filters = [2, 2, 2]
    residual = unet_spec(
        filters, [3, 3, 3], [1, 2, 2], residual=True, blocks=[1, 1, 1], decoder_convolutions=[1, 1], stem_filters=None
    )
    plan = Plan(
        spacing_zyx_mm=(6.0, 6.0, 6.0),
        patch_zyx=(16, 16, 16),
        intensity=Intensity((-200.0, 300.0), 50.0, 100.0),
        network=residual if kind == "unet" else dynunet_spec(list(filters)),
        labels={0: "background", 1: "liver", 2: "spleen"},
        components={"liver": ComponentRule(1.0, True)},
        step=0.5,
    )
    torch.manual_seed(7)
    weights = {name: torch.rand(shape) for name, shape in parameter_shapes(plan).items()}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "model")
        save_bundle(
            folder,
            plan=plan,
            weights=weights,
            name="small",
            version="1.0",
            description="Random weights",
            licence="Apache-2.0",
            citation="none",
            provenance={"revision": "abc", "cases": 3},
            metrics={"rows": [{"case": "a", "model": "b", "dsc": 0.5, "nsd": 0.25}]},
            card="Random.",
            ensemble=(weights,) if kind == "ensemble" else (),
        )
        return {file.name: file.read_bytes() for file in folder.iterdir()}


def model_seeds() -> dict[str, Tree]:
    """Models as flareseg writes them; `main` is what is imported."""
    plain = _ours("dynunet")
    within = {f"model/{name}": data for name, data in plain.items()}
    return {
        "folder": Tree(dict(within), "model"),
        "residual": Tree({f"model/{name}": data for name, data in _ours("unet").items()}, "model"),
        "ensemble": Tree({f"model/{name}": data for name, data in _ours("ensemble").items()}, "model"),
        "zip": Tree({"model.zip": zipped(plain)}, "model.zip"),
        "zip of folder": Tree({"model.zip": zipped(within)}, "model.zip"),
    }


def nnunet_seeds() -> dict[str, Tree]:
    """Trained models of nnU-Net v2: newer and older plans, plain and residual, folders and zips."""
    found = {}
    for kind in ("anisotropic", "old", "residual"):
        files = {
            f"D/m/{file.relative_to(NNUNET / kind / 'model').as_posix()}": file.read_bytes()
            for file in sorted((NNUNET / kind / "model").rglob("*"))
            if file.is_file() and "fold_1" not in file.parts
        }
        found[kind] = Tree(files, "D/m")
        found[f"{kind} above"] = Tree(dict(files), "D")
    files = found["old"].files
    found["zip"] = Tree({"m.zip": zipped(files)}, "m.zip")
    two = files | {name.replace("D/m/", "D/x__3d_lowres/"): data for name, data in files.items()}
    found["two"] = Tree(two, "D")
    return found


def sign(tree: Tree) -> None:
    """State the checksum of changed weights in model.json, so that the reader goes on to them."""
    for path in tree.plain():
        if not path.endswith(JSON):
            continue
        weights = (
            tree.bytes_of(path.removesuffix(JSON) + WEIGHTS) if path[: -len(JSON)] + WEIGHTS in tree.files else b""
        )
        try:
            data = json.loads(tree.bytes_of(path))
            data["sha256"] = hashlib.sha256(weights).hexdigest()
            tree.files[path] = json.dumps(data).encode()
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
