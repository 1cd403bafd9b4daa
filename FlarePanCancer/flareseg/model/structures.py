"""What a model's output channels are: FLARE's structures with FLARE's numbers, or others with their own."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Sequence
from dataclasses import replace

from flareseg.errors import UsageError
from flareseg.labels import Code, Structure, by_name, is_known, same_name, structures, title_of
from flareseg.model.plan import Plan

TISSUE = Code("85756007", "Tissue")
"""SNOMED CT's concept for what nothing more is known of; Slicer takes it for new segments too."""
OWN_TOLERANCE_MM = 2.0
"""FLARE scores none of these; the strictest of its tolerances."""
GOLDEN_TURN = 0.618034
"""Of the colour circle from one label to the next: neighbours differ most, and no number of labels repeats a colour."""
SILENCED_BELOW = -500.0
"""An output whose bias in the network's last layer is lower has been silenced; others have a few units."""


def structures_of(plan: Plan) -> tuple[Structure, ...]:
    """The structures of channels 1, 2, ... of a plan.

    Where all are FLARE's, they are those of `labels.csv`. Otherwise their values are the channels: those that FLARE has
    too keep its name, title, colour and codes; others have their own name and a colour by their number.
    """
    names = [plan.labels[channel] for channel in range(1, plan.classes)]
    if not plan.has_own_structures:
        return tuple(by_name(name) for name in names)
    return tuple(_own(value, name, names) for value, name in enumerate(names, 1))


def drawn_by(plan: Plan) -> tuple[Structure, ...]:
    """What a plan can draw: `structures_of` it but for those that are silent."""
    channels = structures_of(plan)
    return tuple(one for channel, one in enumerate(channels, 1) if plan.labels[channel] not in plan.silent)


def _own(value: int, name: str, every: list[str]) -> Structure:
    if is_known(name) and sum(is_known(other) and by_name(other) == by_name(name) for other in every) == 1:
        return replace(by_name(name), value=value)
    return _unknown(value, name)


def structure_called(name: str, value: int) -> Structure:
    """FLARE's structure of this name with a model's number for it; for another name one that is the model's own."""
    return replace(by_name(name), value=value) if is_known(name) else _unknown(value, name)


def _unknown(value: int, name: str) -> Structure:
    return Structure(
        value=value,
        name=name,
        title=title_of(name),
        colour=own_colour(value),
        category=TISSUE,
        type=TISSUE,
        modifier=None,
        nsd_tolerance_mm=OWN_TOLERANCE_MM,
    )


def choose(names: Iterable[str], among: Sequence[Structure]) -> tuple[Structure, ...]:
    """The structures called `names` (identifier or title, any case), in the order of `among`, each once.

    Raises:
        UsageError: when one is not among them.
    """
    wanted = set()
    for name in names:
        found = next((one for one in among if same_name(name, one.name) or same_name(name, one.title)), None)
        if found is None:
            known = ", ".join(structure.name for structure in among)
            raise UsageError(f"There is no structure named '{name}'; known are: {known}.")
        wanted.add(found.value)
    return tuple(structure for structure in among if structure.value in wanted)


def own_colour(value: int) -> tuple[int, int, int]:
    """A colour for label `value` (red, green, blue, each 0 to 255), always the same, and none of FLARE's."""
    taken = {structure.colour for structure in structures()}
    for attempt in range(len(taken) + 1):
        brightness = (0.9, 0.7, 0.8)[(value + attempt) % 3]
        red, green, blue = colorsys.hsv_to_rgb((value * GOLDEN_TURN) % 1, (0.75, 0.5)[value % 2], brightness)
        colour = round(255 * red), round(255 * green), round(255 * blue)
        if colour not in taken:
            return colour
    return colour
