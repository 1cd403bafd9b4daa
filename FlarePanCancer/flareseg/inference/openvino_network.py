"""The network in OpenVINO, two to three times as fast as torch on Intel and AMD processors.

Translating a torch network takes seconds, so its translation is kept in the user's cache folder; a later start reads
that and needs neither MONAI nor the translator.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flareseg.folders import user_cache_folder
from flareseg.model.plan import Plan

TRANSLATION = "network.xml"


def openvino_installed() -> bool:
    return find_spec("openvino") is not None


class OpenVinoNetwork:
    """Runs on the CPU in OpenVINO: bf16 where the processor has it, else fp32; windows of any size."""

    def __init__(self, plan: Plan, weights: dict[str, torch.Tensor], key: str, threads: int) -> None:
        import openvino as ov

        self.device = torch.device("cpu")
        self.classes = plan.classes
        core = ov.Core()
        half = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        model = _translated(core, plan, weights, key)
        self._request = core.compile_model(model, "CPU", settings).create_infer_request()
        self.description = f"CPU, {threads} threads, OpenVINO {'bf16' if half else 'fp32'}"

    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        """(n, 1, z, y, x) float32 in, (n, classes, z, y, x) float32 out."""
        outputs = self._request.infer({0: windows.numpy()}, share_inputs=True, share_outputs=True)
        # copied, because the next call writes into the same memory
        return torch.from_numpy(np.array(outputs[0]))


def _translated(core: Any, plan: Plan, weights: dict[str, torch.Tensor], key: str) -> Any:
    """The network as an OpenVINO model with free window size, from the cache or translated now."""
    import openvino as ov

    identity = json.dumps([key, plan.to_json()["network"], plan.classes, ov.get_version()], sort_keys=True)
    folder = user_cache_folder() / "openvino" / hashlib.sha256(identity.encode()).hexdigest()[:32]
    if (folder / TRANSLATION).is_file():
        try:
            return core.read_model(folder / TRANSLATION)
        except RuntimeError:
            # A damaged cache is no reason to fail: it is made anew.
            shutil.rmtree(folder, ignore_errors=True)
    model = _translate(plan, weights)
    _keep(model, folder)
    return model


def _translate(plan: Plan, weights: dict[str, torch.Tensor]) -> Any:
    import openvino as ov

    from flareseg.model.network import build_network, load_weights

    network = build_network(plan)
    load_weights(network, weights)
    # Two strides long, so that no axis is ever one voxel and looks like a constant to the tracer.
    example = torch.zeros(1, 1, *(2 * stride for stride in plan.stride_zyx))
    with warnings.catch_warnings():
        # The tracer warns of branches on shapes; those of this network do not depend on the input.
        warnings.simplefilter("ignore")
        model = ov.convert_model(network.eval(), example_input=example)
    model.reshape([1, 1, -1, -1, -1])
    return model


def _keep(model: Any, folder: Path) -> None:
    """Write the translation to the cache, whole or not at all; a cache that cannot be written is done without."""
    import openvino as ov

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            ov.save_model(model, Path(scratch) / TRANSLATION, compress_to_fp16=True)
            if not folder.exists():
                Path(scratch).rename(folder)
                Path(scratch).mkdir()  # for TemporaryDirectory to remove
    except (OSError, RuntimeError):
        return
