"""Small models with random weights, of the kinds that exporting treats differently. Norms are random too: with their
usual ones and zeros, one that got lost would not be missed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from flareseg.model.bundle import COARSE, TUMOUR_NET, save_bundle
from flareseg.model.networks.dynunet import dynunet_spec
from flareseg.model.networks.registry import build_network, own_weights
from flareseg.model.plan import Intensity, Plan

FEW = {0: "background", 1: "liver", 2: "pancreas", 3: "tumour"}
ISOTROPIC = dynunet_spec([4, 6, 8])
FLAT_FIRST = dynunet_spec([4, 6, 8, 8], [[1, 3, 3], 3, 3, [3, 3, 1]], [1, [1, 2, 2], 2, 2])
"""Kernels that differ between stages, which DynUNet and nnU-Net place differently."""


def a_plan(**changes: Any) -> Plan:
    plan = Plan(
        spacing_zyx_mm=(4.0, 4.0, 4.0),
        patch_zyx=(16, 16, 24),
        intensity=Intensity((-200.0, 300.0), 50.0, 100.0),
        network=ISOTROPIC,
        labels=FEW,
        step=0.5,
        resampling="isotropic",
    )
    return replace(plan, **changes)


def random_weights(plan: Plan, seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    weights = own_weights(build_network(plan).state_dict())
    for name, value in weights.items():
        if "norm" in name:
            value.uniform_(0.5, 1.5) if name.endswith("weight") else value.normal_(0, 0.2)
    return weights


def save(folder: Path, plan: Plan, nets: int = 1) -> Path:
    """Write a model; the net of `plan.coarse`, where there is one, gets weights of its own."""
    weights = random_weights(plan)
    if plan.tumour:
        weights |= {TUMOUR_NET + name: value for name, value in random_weights(plan.tumour, 98).items()}
    if plan.coarse:
        weights |= {COARSE + name: value for name, value in random_weights(plan.coarse, 99).items()}
    further = [random_weights(plan, seed) for seed in range(1, nets)]
    save_bundle(
        folder,
        plan=plan,
        weights=weights,
        name="small",
        version="1.2",
        description="Random weights",
        licence="CC-BY-4.0",
        citation="Nobody, 2026",
        provenance={"data": [{"case": "noise"}]},
        metrics={"rows": [{"case": "noise", "dsc": 0.5}]},
        card="# Small\n\nRandom weights, for tests.",
        **({"ensemble": further} if further else {}),
    )
    return folder


def network_of(plan: Plan, seed: int = 0) -> torch.nn.Module:
    """The net as flareseg builds it, with the weights that `save` stores (in half precision)."""
    from flareseg.model.networks.registry import load_weights

    network = build_network(plan).eval()
    load_weights(network, {name: value.half() for name, value in random_weights(plan, seed).items()})
    return network
