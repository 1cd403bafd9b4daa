"""A net as an ONNX file: fp32, any batch, any size that its strides allow, with all that is needed to apply it."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from flareseg.errors import ModelError, UsageError
from flareseg.interop.source import Source
from flareseg.model.networks.registry import build_network, load_weights, parameter_shapes
from flareseg.volume import Index

if TYPE_CHECKING:
    from torch import nn

ENTRY = "flareseg"
"""The key of the file's metadata that holds the plan and the model's texts as JSON."""
OPSET = 17
"""Of 2022: every ONNX Runtime in use reads it."""
MOST_BYTES = 2**31 - 2**20
"""An ONNX file is a protobuf message, which ends at 2 GiB."""
MISSING = "Exporting as onnx needs the package 'onnx'; install it: pip install onnx"


def write_onnx(source: Source, folder: Path) -> None:
    """Write model.onnx: `image` (n, 1, z, y, x), normalised, to `logits` (n, classes, z, y, x), both float32.

    The further nets of an ensemble become model_1.onnx and so on.

    Raises:
        UsageError: when onnx is not installed.
        ModelError: when the net is too large for one file.
    """
    try:
        import onnx
    except ImportError:
        raise UsageError(MISSING) from None
    plan = source.plan
    if 4 * sum(map(math.prod, parameter_shapes(plan).values())) > MOST_BYTES:
        raise ModelError("The network is larger than an ONNX file can be (2 GiB); nnunet and monai-bundle take it.")
    network = build_network(plan).eval()
    # Scores per case and structure are long, and stand in flareseg.json beside the file.
    facts = json.dumps({key: value for key, value in source.facts().items() if key != "metrics"}, ensure_ascii=False)
    for number, weights in enumerate(source.nets):
        load_weights(network, weights)
        path = folder / (f"model_{number}.onnx" if number else "model.onnx")
        _trace(network, plan.stride_zyx, path)
        model = onnx.load(str(path))
        model.doc_string = source.info["description"]
        entry = model.metadata_props.add()
        entry.key, entry.value = ENTRY, facts
        onnx.checker.check_model(model)
        onnx.save(model, str(path))


def _trace(network: nn.Module, stride_zyx: Index, path: Path) -> None:
    """Have torch write the network."""
    import torch

    # Two strides a side, so that the deepest stage has something to normalise over.
    sample = torch.zeros(1, 1, *(2 * stride for stride in stride_zyx))
    sizes = {0: "n", 2: "z", 3: "y", 4: "x"}
    with warnings.catch_warnings():
        # torch calls this exporter the old one. It is the one that all of torch 2.4 to 2.13 have, it needs no further
        # package but onnx, and of these networks it makes the same graph as the new one.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (sample,),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": sizes, "logits": sizes},
        )
