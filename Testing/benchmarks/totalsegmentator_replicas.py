"""Replicas of TotalSegmentator's net of 3 mm, in its layout, so that its own command and flareseg can run them.

The public weights are not needed to compare programs, and are not ours to hand out. One replica has the public net's
architecture, 30.7 million random weights and 118 classes: the worst case for labels, for it is sure of nothing. The
other is the embedded model's net of organs, which was trained on LPS, with its kernels turned to RAS, and with classes
that never win up to 118: what labels cost where a net is sure, and how far two programs agree on organs.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F

from flareseg.interop.export import export_model
from flareseg.model.bundle import load_bundle, save_bundle
from flareseg.model.catalogue import find_model
from flareseg.model.networks.dynunet import HEAD, dynunet_layers, dynunet_spec, spec_as_in_nnunet
from flareseg.model.networks.registry import build_network, own_weights, parameter_shapes
from flareseg.model.networks.spec import NetworkSpec
from flareseg.model.plan import Intensity, Plan

DATASET = "Dataset297_TotalSegmentator_total_3mm_1559subj"
TRAINER = "nnUNetTrainer_4000epochs_NoMirroring__nnUNetPlans__3d_fullres"
CLASSES = 118
FULL_DATASET = "Dataset291_TotalSegmentator_part1_organs_1559subj"
FULL_CLASSES = 25
FULL_PATCH_ZYX = (128, 128, 128)
FILTERS = [32, 64, 128, 256, 320, 320]
STRIDES: list[int | list[int]] = [1, 2, 2, 2, 2, [1, 1, 2]]
PATCH_ZYX = (112, 112, 128)
INTENSITY = Intensity((-1000.0, 930.0), 0.0, 420.0)
NEVER = -100.0
"""Bias of a class that never wins: half precision holds its sum over the weights of all windows."""
SEED = 0
SETTINGS = {"totalseg_id": "replica", "send_usage_stats": False, "prediction_counter": 0}
"""TotalSegmentator's own: it sends nothing."""


def random_replica(home: Path) -> Path:
    """The public net's size with random weights."""
    return _random(
        home, Plan((3.0, 3.0, 3.0), PATCH_ZYX, INTENSITY, replica_spec(STRIDES), _named({}, CLASSES)), DATASET
    )


def full_resolution_replica(home: Path) -> Path:
    """The same of a net of 1.5 mm for 24 organs."""
    plan = Plan((1.5, 1.5, 1.5), FULL_PATCH_ZYX, INTENSITY, replica_spec([1, 2, 2, 2, 2, 2]), _named({}, FULL_CLASSES))
    return _random(home, plan, FULL_DATASET)


def replica_spec(strides: list[int | list[int]]) -> NetworkSpec:
    """The public net's network, but for the strides of its stages."""
    return dynunet_spec(FILTERS, strides=strides)


def _random(home: Path, plan: Plan, dataset: str) -> Path:
    torch.manual_seed(SEED)
    return write_replica(home, plan, own_weights(build_network(plan).state_dict()), dataset)


def trained_replica(home: Path) -> Path:
    """The embedded model's organs."""
    bundle = load_bundle(find_model("default"))
    plan = replace(bundle.plan, patch_zyx=PATCH_ZYX, labels=_named(bundle.plan.labels, CLASSES))
    weights = with_classes({name: value.float() for name, value in bundle.weights.items()}, CLASSES)
    return write_replica(home, *turned(plan, weights))


def turned(plan: Plan, weights: dict[str, torch.Tensor]) -> tuple[Plan, dict[str, torch.Tensor]]:
    """The net that draws of an image turned along y and x what this one draws of the image.

    Turning kernels is not all: where a convolution leaves out every second voxel, it looks at the others when the image
    is turned. Hence kernels of 5 in place of 3, with zeros on one side.

    Args:
        plan, weights: of a DynUNet with kernels of 3 and strides of 2, whose windows have even sizes at every stage.
    """
    layers = dynunet_layers(plan.network)
    kernels = [[3, 3, 3]] + [[3, 5, 5]] * (len(layers.filters) - 1)
    network = spec_as_in_nnunet(layers.filters, kernels, [list(stride) for stride in layers.strides])
    begins = {f"{block.name}.conv1.conv.weight" for block in layers.encoder[1:]}
    turned_weights = {}
    for name, shape in parameter_shapes(replace(plan, network=network)).items():
        value = weights[name].flip((3, 4)) if len(shape) == 5 else weights[name]
        if value.shape != shape:
            value = F.pad(value, (2, 0, 2, 0) if name in begins else (1, 1, 1, 1))
        turned_weights[name] = value.contiguous()
    return replace(plan, network=network), turned_weights


def with_classes(weights: dict[str, torch.Tensor], classes: int) -> dict[str, torch.Tensor]:
    """With further classes that never win."""
    weight, bias = weights[f"{HEAD}.weight"], weights[f"{HEAD}.bias"]
    added = classes - len(bias)
    nothing = weight.new_zeros(added, *weight.shape[1:])
    head = {
        f"{HEAD}.weight": torch.cat([weight, nothing]),
        f"{HEAD}.bias": torch.cat([bias, bias.new_full((added,), NEVER)]),
    }
    return weights | head


def write_replica(home: Path, plan: Plan, weights: dict[str, torch.Tensor], dataset: str = DATASET) -> Path:
    """A folder for TOTALSEG_HOME_DIR that holds the net; returns the trained-model folder in it."""
    trained = home / "nnunet" / "results" / dataset / TRAINER
    trained.parent.mkdir(parents=True, exist_ok=True)
    # TotalSegmentator turns its images to RAS by itself, so that its plans name a reader that does not.
    plan = replace(plan, mirror_axes=(), windows="fixed", coarse=None, components={}, orientation="stored")
    texts = dict.fromkeys(("description", "licence", "citation", "card"), "a replica")
    own = home / "own" / dataset
    save_bundle(own, plan=plan, weights=weights, name="replica", version="1", provenance={}, metrics={}, **texts)
    export_model(own, "nnunet", folder=trained)
    _edit(trained / "plans.json", dataset_name=dataset, image_reader_writer="NibabelIO")
    (home / "config.json").write_text(json.dumps(SETTINGS), encoding="utf-8")
    return trained


def _named(labels: dict[int, str], classes: int) -> dict[int, str]:
    """The given names, and numbers for the other classes."""
    return {0: "background"} | {number: labels.get(number, f"part {number}") for number in range(1, classes)}


def _edit(path: Path, **changes: str) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(data | changes), encoding="utf-8")
