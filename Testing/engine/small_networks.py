"""What the tests of the engine and of its networks share."""

import pytest
import torch

from flareseg.inference.devices import llvm_installed, openvino_installed
from flareseg.inference.llvm.choice import vector_lanes
from flareseg.model.networks.dynunet import dynunet_spec
from flareseg.model.networks.registry import build_network, own_weights
from flareseg.model.plan import Intensity, Plan


def small_plan() -> Plan:
    return Plan(
        spacing_zyx_mm=(3.0, 3.0, 3.0),
        patch_zyx=(32, 32, 32),
        intensity=Intensity((-200.0, 300.0), 50.0, 100.0),
        network=dynunet_spec([4, 8, 8]),
        labels={0: "background", 1: "liver", 2: "spleen"},
    )


def weights_of(plan: Plan) -> dict[str, torch.Tensor]:
    """Random, always the same."""
    torch.manual_seed(3)
    return own_weights(build_network(plan).state_dict())


def skip_without(backend: str) -> None:
    if backend == "openvino" and not openvino_installed():
        pytest.skip("OpenVINO is not installed")
    if backend == "llvm" and not (llvm_installed() and vector_lanes()):
        pytest.skip("llvmlite is not installed, or the processor has no AVX2")
