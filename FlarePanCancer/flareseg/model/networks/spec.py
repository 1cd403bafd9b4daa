"""What a plan says of its network, and the bounds of what U-Nets have per stage: filters, kernel sizes, strides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flareseg.errors import ModelError

# What a network may ask for, far above any that is used: a hostile plan must not make us allocate without end.
LEAST_STAGES, MOST_STAGES, MOST_FILTERS, LARGEST_KERNEL, LARGEST_STRIDE = 3, 8, 2048, 7, 4
Sizes = tuple[int, int, int]
"""Of a kernel or a stride, along z, y and x."""
SLOPE = 0.01
EPSILON = 1e-5
"""Of the leaky ReLUs and the instance norms of every network here; nnU-Net has the same."""


@dataclass(frozen=True)
class NetworkSpec:
    """Which network, and with which arguments.

    Attributes:
        name: of a row in `registry.py`.
        kwargs: "filters" and "strides" per stage, full resolution first, which every network has: the sizes of windows
            and the memory that they take follow from these. The others belong to the architecture.
    """

    name: str
    kwargs: dict[str, Any]


def checked_stages(spec: NetworkSpec) -> tuple[list[int], list[Sizes], list[Sizes]]:
    """Filters, kernel sizes and strides per stage; sizes as one number per axis.

    Raises:
        ModelError: when they make no sense, or are beyond the bounds.
    """
    filters, kernels, strides = (spec.kwargs[name] for name in ("filters", "kernel_size", "strides"))
    if not all(isinstance(values, list) for values in (filters, kernels, strides)):
        raise ModelError("The model's network needs lists of filters, kernel sizes and strides.")
    if not LEAST_STAGES <= len(filters) <= MOST_STAGES or not len(filters) == len(kernels) == len(strides):
        raise ModelError(
            f"The model's network has {len(filters)} stages; {LEAST_STAGES} to {MOST_STAGES} are possible, "
            "with a kernel size and a stride for each."
        )
    if not all(is_count(value, MOST_FILTERS) for value in filters):
        raise ModelError(f"The model's network has filters {filters}; 1 to {MOST_FILTERS} are possible.")
    kernels, strides = checked_kernels(kernels), [_per_axis(value) for value in strides]
    if not all(is_count(size, LARGEST_STRIDE) for stride in strides for size in stride) or strides[0] != (1, 1, 1):
        raise ModelError(
            f"The model's network has strides {[list(stride) for stride in strides]}; "
            f"the first must be 1, others 1 to {LARGEST_STRIDE}."
        )
    return filters, kernels, strides


def checked_kernels(values: list[Any]) -> list[Sizes]:
    """Kernel sizes, as one number per axis.

    Raises:
        ModelError: when one is even or too large.
    """
    kernels = [_per_axis(value) for value in values]
    if not all(is_count(size, LARGEST_KERNEL) and size % 2 for kernel in kernels for size in kernel):
        shown = [list(kernel) for kernel in kernels]
        raise ModelError(f"The model's network has kernels {shown}; odd sizes up to {LARGEST_KERNEL} are possible.")
    return kernels


def is_count(value: Any, most: int) -> bool:
    """Whether it is a whole number from 1 to `most`."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _per_axis(value: Any) -> Sizes:
    if isinstance(value, list | tuple) and len(value) == 3:
        return value[0], value[1], value[2]
    return value, value, value
