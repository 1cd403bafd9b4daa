"""How the voxels of a CT are put in the order in which a network sees them."""

from __future__ import annotations

from flareseg.model.plan import Plan
from flareseg.volume import Geometry, Orientation


def network_orientation(plan: Plan, geometry: Geometry) -> Orientation:
    """From the grid of a CT to that of its network; see `Plan.orientation` and `Plan.axes`."""
    if plan.orientation == "canonical":
        order = Orientation.of(geometry)
    elif plan.orientation == "ras":
        lps = Orientation.of(geometry)
        flipped = lps.flipped
        order = Orientation(lps.axes, (flipped[0], not flipped[1], not flipped[2]))
    else:
        order = Orientation((0, 1, 2), (False, False, False))
    z, y, x = plan.axes
    return Orientation(
        (order.axes[z], order.axes[y], order.axes[x]), (order.flipped[z], order.flipped[y], order.flipped[x])
    )
