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
from flareseg.inference.runtime import cpu_name
from flareseg.model.plan import Plan

TRANSLATION = "network.xml"


def openvino_installed() -> bool:
    return find_spec("openvino") is not None


class OpenVinoNetwork:
    """Runs on the CPU in OpenVINO: bf16 where the processor has it, else fp32; windows of any size.

    Args:
        plan, weights: of the network.
        key: names the weights in the cache.
        threads: at most; None leaves it to OpenVINO, which knows which cores of a processor are the fast ones.
    """

    def __init__(self, plan: Plan, weights: dict[str, torch.Tensor], key: str, threads: int | None) -> None:
        import openvino as ov

        self.device = torch.device("cpu")
        self.classes = plan.classes
        core = ov.Core()
        half = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        compiled = core.compile_model(_translated(core, plan, weights, key), "CPU", settings)
        self._request = compiled.create_infer_request()
        running = int(compiled.get_property("INFERENCE_NUM_THREADS"))
        self.description = f"{cpu_name(running)}, OpenVINO {'bf16' if half else 'fp32'}"

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
    _keep(model, folder, in_half=_fit_half_precision(weights))
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


def _keep(model: Any, folder: Path, *, in_half: bool) -> None:
    """Write the translation to the cache, whole or not at all; a cache that cannot be written is done without."""
    import openvino as ov

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            written = Path(scratch) / folder.name
            written.mkdir()
            ov.save_model(model, written / TRANSLATION, compress_to_fp16=in_half)
            written.rename(folder)
    except (OSError, RuntimeError):  # also where another process was faster
        return


def _fit_half_precision(weights: dict[str, torch.Tensor]) -> bool:
    """Whether half precision holds all weights exactly, so that a start from the cache gives the same labels."""
    return all(torch.equal(tensor.half().float(), tensor.float()) for tensor in weights.values())
