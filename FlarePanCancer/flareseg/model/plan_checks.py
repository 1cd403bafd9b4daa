"""That a plan that was read is one that flareseg can run, on a machine that could run it."""

from __future__ import annotations

import math

from flareseg.errors import ModelError
from flareseg.labels import BACKGROUND, TUMOUR
from flareseg.model.networks.registry import parameter_shapes
from flareseg.model.plan import Plan
from flareseg.text import shortened

LARGEST_FEATURE_MAP_BYTES = 2**32
"""Of one window in fp32. A network needs about five times its largest feature map: far more than FLARE's 4 GB here."""
LONGEST_STRUCTURE = 80
MOST_STRUCTURES = 255


def check_plan(plan: Plan) -> None:
    """Check what the network segments, and what it would need; and the same of the nets that help it.

    Raises:
        ModelError: naming what is wrong.
    """
    _check_network(plan)
    for kind, other in (("coarse", plan.coarse), ("tumour", plan.tumour)):
        if other:
            _check_network(other)
            if other.coarse or other.tumour:
                raise ModelError(f"The model's {kind} plan has plans itself; only the main one can.")
    if plan.tumour:
        _check_tumour_net(plan, plan.tumour)


def _check_tumour_net(plan: Plan, tumour: Plan) -> None:
    """That both nets look at a CT the same way round, and know what a tumour is."""
    if (plan.orientation, plan.axes) != (tumour.orientation, tumour.axes):
        raise ModelError("The model's net for tumours sees a CT in another orientation than its main net.")
    if plan.parity or not all(TUMOUR in one.labels.values() and TUMOUR not in one.silent for one in (plan, tumour)):
        raise ModelError(f"The model has a net for tumours, but no '{TUMOUR}' that it could draw.")


def _check_network(plan: Plan) -> None:
    if plan.labels[0] != BACKGROUND:
        raise ModelError(f"The model's label 0 is '{short(plan.labels[0])}', expected '{BACKGROUND}'.")
    names = [plan.labels[channel] for channel in range(1, len(plan.labels))]
    if len(names) > MOST_STRUCTURES:
        raise ModelError(f"The model has {len(names)} structures; label maps have room for {MOST_STRUCTURES}.")
    for name in names:
        if not name.strip() or not name.isprintable() or len(name) > LONGEST_STRUCTURE:
            raise ModelError(f"The model segments '{short(name)}', which is no name of a structure.")
        if names.count(name) > 1:
            raise ModelError(f"The model segments '{short(name)}' twice.")
    for name in (*plan.components, *(name for rule in plan.largest for name in rule.structures)):
        if name not in names:
            raise ModelError(f"The model has a rule for components of '{short(name)}', which it does not segment.")
    if plan.silent and not set(plan.silent) < set(names):
        raise ModelError(f"The model never draws {', '.join(map(short, plan.silent))}: none or all of what it has.")
    for name in plan.calibration:
        if name not in names:
            raise ModelError(f"The model has a calibration of '{short(name)}', which it does not segment.")
    if _largest_feature_map_bytes(plan) > LARGEST_FEATURE_MAP_BYTES:
        raise ModelError(f"The model's windows of {plan.patch_zyx} voxels would need more memory than any CT is worth.")


def _largest_feature_map_bytes(plan: Plan) -> float:
    """Memory that the widest layer's output takes for one window, in fp32."""
    parameter_shapes(plan)  # raises ModelError unless filters and strides make sense
    voxels, largest = float(math.prod(plan.patch_zyx)), 0.0
    for channels, stride in zip(plan.network.kwargs["filters"], plan.network.kwargs["strides"], strict=True):
        voxels /= stride**3 if isinstance(stride, int) else math.prod(stride)
        largest = max(largest, 4 * voxels * channels)
    return largest


def short(text: str, length: int = 80) -> str:
    """A foreign text, fit for one line of a message."""
    return shortened(text, length)
