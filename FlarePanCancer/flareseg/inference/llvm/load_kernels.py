"""How a layer's input comes into a block: scaled, shifted, through a leaky ReLU, and with zeros around the image."""

from __future__ import annotations

from flareseg.inference.llvm.emitter import COUNT, OFFSETS, POINTER, Emitter, Value

LOAD = {
    "parts": OFFSETS, "slopes": POINTER, "part_count": COUNT, "depth": COUNT, "height": COUNT, "width": COUNT,
    "target": POINTER, "first_z": COUNT, "slices": COUNT, "slice_step": COUNT, "first_row": COUNT, "rows": COUNT,
    "row_step": COUNT, "pixel_step": COUNT,
}  # fmt: skip
_PART_FIELDS = 4
"""Of each part of a layer's input, in `parts`: the addresses of its values, its scale and its shift, its channels."""


def write_load(e: Emitter) -> None:
    of = e.arguments
    with e.loop(of["slices"]) as slot:
        z, block = e.plus(of["first_z"], slot.index), e.at(of["target"], e.times(slot.index, of["slice_step"]))
        with e.loop(of["part_count"], carried=(block,)) as number:
            (target,) = number.now
            address, scale, shift, channels, slope = part_of_input(e, number.index)
            with e.loop(of["rows"]) as row:
                y, there = e.plus(of["first_row"], row.index), e.at(target, e.times(row.index, of["row_step"]))
                inside = e.both(e.within(z, of["depth"]), e.within(y, of["height"]))
                before = e.times(e.plus(e.times(z, of["height"]), y), e.times(of["width"], channels))
                here = e.at(e.pointer_to(address), before)
                image = e.below(channels, 2)
                with e.when(e.both(inside, image)), e.loop(of["width"]) as pixel:
                    e.store_number(e.load_number(here, pixel.index), there, e.times(pixel.index, of["pixel_step"]))
                with e.when(inside), e.otherwise(image), e.loop(channels, e.lanes) as channel:
                    _activate(e, here, there, channel.index, channels, (scale, shift, slope))
                with e.otherwise(inside), e.loop(channels, e.lanes) as channel, e.loop(of["width"]) as pixel:
                    place = e.plus(e.times(pixel.index, of["pixel_step"]), channel.index)
                    e.store(e.everywhere(0.0), there, place)
            number.next = (e.at(target, channels),)


def part_of_input(e: Emitter, number: Value) -> tuple[Value, Value, Value, Value, Value]:
    """The addresses of a part's values, scale and shift, its channels, and its slope in all places of a vector."""
    of = e.arguments
    fields_of = e.at(of["parts"], e.times(number, _PART_FIELDS))
    address, scale, shift, channels = (e.load_count(fields_of, field) for field in range(_PART_FIELDS))
    return address, scale, shift, channels, e.everywhere(e.load_number(of["slopes"], number))


def _activate(e: Emitter, here: Value, there: Value, channel: Value, channels: Value, by: tuple[Value, ...]) -> None:
    """A row of voxels scaled, shifted and sent through a leaky ReLU."""
    scale, shift, slope = by
    factor, added = (e.load(e.pointer_to(address), channel) for address in (scale, shift))
    with e.loop(e.arguments["width"]) as pixel:
        value = e.load(here, e.plus(e.times(pixel.index, channels), channel))
        value = activated(e, value, factor, added, slope)
        e.store(value, there, e.plus(e.times(pixel.index, e.arguments["pixel_step"]), channel))


def activated(e: Emitter, value: Value, factor: Value, added: Value, slope: Value) -> Value:
    """A vector scaled, shifted and sent through a leaky ReLU."""
    value = e.multiply_add(value, factor, added)
    return e.larger(value, e.multiply(value, slope))
