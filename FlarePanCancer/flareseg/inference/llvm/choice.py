"""Which networks are worth compiling for this processor."""

from __future__ import annotations

import platform

import torch

from flareseg.inference.devices import cpu_has_amx, llvm_installed
from flareseg.inference.llvm.product_kernels import LANES_OF_AVX2, LANES_OF_AVX512
from flareseg.model.networks.spec import checked_stages
from flareseg.model.plan import Plan

LEAST_FILTERS = {LANES_OF_AVX2: 16, LANES_OF_AVX512: 32}
"""At full resolution, by the floats of a vector: fewer would not fill the two vectors that are computed at a time."""


def vector_lanes() -> int:
    """Floats in a vector of this processor, as far as torch uses them; 0 where there is no code for it."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return 0
    lanes = {"AVX2": LANES_OF_AVX2, "AVX512": LANES_OF_AVX512}
    return lanes.get(torch.backends.cpu.get_cpu_capability(), 0)


def pays_to_compile(plan: Plan) -> bool:
    """Whether a network runs faster compiled than in OpenVINO.

    A processor with AMX is faster in bf16. One whose vectors multiply bf16 is as fast with all multiplications as in
    fp32 with the fewer ones, which are more exact.
    """
    lanes = vector_lanes()
    if not lanes or not llvm_installed() or (lanes > LANES_OF_AVX2 and cpu_has_amx()):
        return False
    if "kernel_size" not in plan.network.kwargs:
        return False
    filters, kernels, _ = checked_stages(plan.network)
    return filters[0] >= LEAST_FILTERS[lanes] and kernels[0][1:] == (3, 3)
