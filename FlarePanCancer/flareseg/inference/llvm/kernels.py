"""The inner loops of a network, as machine code.

Arrays are (..., x, channels): a vector holds neighbouring channels of a voxel, so that every loop is the same for all
of them. Channels come in multiples of a vector; addresses and steps are in floats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from flareseg.inference.llvm.emitter import (
    COUNT,
    OFFSETS,
    POINTER,
    Emitter,
    Native,
    Value,
    compiled,
    new_module,
)

LANES_OF_AVX2, LANES_OF_AVX512 = 8, 16
"""Floats in a vector."""
TILE, WINDOW = 4, 6
"""Outputs of a Winograd tile along an axis, and the inputs that they are made of (Lavin and Gray, CVPR 2016)."""
FREQUENCIES = WINDOW * WINDOW
ROWS = {LANES_OF_AVX2: 6, LANES_OF_AVX512: 8}
"""Rows of a product that are computed at a time, by the floats of a vector: their sums fill the registers."""
PANEL_VECTORS = 2
"""Vectors of columns that are computed at a time."""

_LOAD = {
    "parts": OFFSETS, "slopes": POINTER, "part_count": COUNT, "depth": COUNT, "height": COUNT, "width": COUNT,
    "target": POINTER, "first_z": COUNT, "slices": COUNT, "slice_step": COUNT, "first_row": COUNT, "rows": COUNT,
    "row_step": COUNT, "pixel_step": COUNT,
}  # fmt: skip
_TO_FREQUENCIES = {
    "source": POINTER, "row_step": COUNT, "result": POINTER, "frequency_step": COUNT, "tiles": COUNT,
    "channels": COUNT,
}  # fmt: skip
_LOAD_FREQUENCIES = {
    **_LOAD, "block": POINTER, "result": POINTER, "frequency_step": COUNT, "tiles": COUNT,
}  # fmt: skip
_FROM_FREQUENCIES = {
    "source": POINTER, "frequency_step": COUNT, "result": POINTER, "row_step": COUNT, "tiles": COUNT,
    "channels": COUNT, "rows": COUNT, "width": COUNT,
}  # fmt: skip
_STORE_FREQUENCIES = {
    **_FROM_FREQUENCIES, "slices": COUNT, "slice_step": COUNT, "moments": POINTER,
}  # fmt: skip
_MULTIPLY = {
    "left": POINTER, "left_batch": COUNT, "left_rows": OFFSETS, "taps": OFFSETS, "tap_count": COUNT, "depth": COUNT,
    "right": POINTER, "right_batch": COUNT, "result": POINTER, "result_batch": COUNT, "result_rows": OFFSETS,
    "rows": COUNT, "panels": COUNT, "batches": COUNT,
}  # fmt: skip
_MOMENTS = {"source": POINTER, "moments": POINTER, "voxels": COUNT, "channels": COUNT}
PART_FIELDS = 4
"""Of each part of a layer's input, in `parts`: the addresses of its values, its scale and its shift, its channels."""


@dataclass(frozen=True)
class Kernels:
    """Each is called with addresses and counts in the order of its table above.

    Attributes:
        lanes: floats in a vector.
        load: a block of voxels, scaled, shifted and sent through a leaky ReLU; with zeros beyond the image's slices and
            rows. What lies left and right of its columns is left alone.
        load_frequencies: rows of Winograd tiles, of some slices: each loaded to `block`, then brought to
            (frequencies, slices, tiles, channels).
        store_frequencies: the way back, of (frequencies, slices, tiles, channels) to those voxels of the tiles that
            exist, and the moments of each slice.
        multiply: products of matrices; a row of the left one is pieced together of taps.
        moments: of every channel its mean, and the sum of the squared differences from it.
    """

    lanes: int
    load: Native
    load_frequencies: Native
    store_frequencies: Native
    multiply: Native
    moments: Native

    @property
    def panel(self) -> int:
        """Columns of the right matrix that lie together: of each tap, of each of its channels."""
        return PANEL_VECTORS * self.lanes


@cache
def kernels(lanes: int) -> Kernels:
    """Compiled once a process, in a tenth of a second.

    Raises:
        ImportError: when llvmlite is not installed.
        RuntimeError: when LLVM does not make code for this processor.
    """
    module: Any = new_module()
    kinds: dict[str, Sequence[str]] = {}
    for name, parameters, write in _FUNCTIONS:
        emitter = Emitter(module, name, lanes, **parameters)
        write(emitter)
        emitter.finish()
        kinds[name] = [*parameters.values()]
    made = compiled(module, lanes, kinds)
    return Kernels(lanes, **{field.name: made[field.name] for field in fields(Kernels) if field.name in made})


def _write_load(e: Emitter) -> None:
    of = e.arguments
    with e.loop(of["slices"]) as slot:
        z, block = e.plus(of["first_z"], slot.index), e.at(of["target"], e.times(slot.index, of["slice_step"]))
        with e.loop(of["part_count"], carried=(block,)) as number:
            (target,) = number.now
            fields_of = e.at(of["parts"], e.times(number.index, PART_FIELDS))
            address, scale, shift, channels = (e.load_count(fields_of, field) for field in range(PART_FIELDS))
            slope = e.everywhere(e.load_number(of["slopes"], number.index))
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


def _activate(e: Emitter, here: Value, there: Value, channel: Value, channels: Value, by: tuple[Value, ...]) -> None:
    """A row of voxels scaled, shifted and sent through a leaky ReLU."""
    scale, shift, slope = by
    factor, added = (e.load(e.pointer_to(address), channel) for address in (scale, shift))
    with e.loop(e.arguments["width"]) as pixel:
        value = e.load(here, e.plus(e.times(pixel.index, channels), channel))
        value = e.multiply_add(value, factor, added)
        value = e.larger(value, e.multiply(value, slope))
        e.store(value, there, e.plus(e.times(pixel.index, e.arguments["pixel_step"]), channel))


def _write_load_frequencies(e: Emitter) -> None:
    of = e.arguments
    with e.loop(of["slices"]) as slot:
        z = e.plus(of["first_z"], slot.index)
        e.call("load", **{name: of[name] for name in _LOAD} | {"first_z": z, "slices": 1})
        result = e.at(of["result"], e.times(slot.index, e.times(of["tiles"], of["pixel_step"])))
        e.call(
            "to_frequencies", source=of["block"], row_step=of["row_step"], result=result,
            frequency_step=of["frequency_step"], tiles=of["tiles"], channels=of["pixel_step"],
        )  # fmt: skip


def _write_store_frequencies(e: Emitter) -> None:
    of = e.arguments
    with e.loop(of["slices"]) as slot:
        source = e.at(of["source"], e.times(slot.index, e.times(of["tiles"], of["channels"])))
        result = e.at(of["result"], e.times(slot.index, of["slice_step"]))
        arguments = {name: of[name] for name in _FROM_FREQUENCIES}
        e.call("from_frequencies", **arguments | {"source": source, "result": result})
        moments = e.at(of["moments"], e.times(slot.index, e.times(of["channels"], 2)))
        voxels = e.times(of["rows"], of["width"])
        e.call("moments", source=result, moments=moments, voxels=voxels, channels=of["channels"])


def _write_to_frequencies(e: Emitter) -> None:
    of = e.arguments
    with e.loop(of["tiles"]) as tile, e.loop(of["channels"], e.lanes) as channel:
        source = e.at(e.at(of["source"], e.times(tile.index, e.times(of["channels"], TILE))), channel.index)
        result = e.at(e.at(of["result"], e.times(tile.index, of["channels"])), channel.index)
        columns = []
        for x in range(WINDOW):
            column = e.at(source, e.times(of["channels"], x))
            columns.append(_to_six(e, [e.load(column, e.times(of["row_step"], y)) for y in range(WINDOW)]))
        for y in range(WINDOW):
            for x, value in enumerate(_to_six(e, [column[y] for column in columns])):
                e.store(value, result, e.times(of["frequency_step"], y * WINDOW + x))


def _to_six(e: Emitter, d: Sequence[Value]) -> list[Value]:
    """Six neighbouring inputs to the values at the points 0, 1, -1, 2, -2 and infinity."""
    even, odd = e.multiply_add(d[2], -4.0, d[4]), e.multiply_add(d[1], -4.0, d[3])
    far_even, far_odd = e.subtract(d[4], d[2]), e.subtract(d[3], d[1])
    return [
        e.multiply_add(d[0], 4.0, e.multiply_add(d[2], -5.0, d[4])),
        e.add(even, odd),
        e.subtract(even, odd),
        e.multiply_add(far_odd, 2.0, far_even),
        e.multiply_add(far_odd, -2.0, far_even),
        e.multiply_add(d[1], 4.0, e.multiply_add(d[3], -5.0, d[5])),
    ]


def _write_from_frequencies(e: Emitter) -> None:
    of = e.arguments
    with e.loop(of["tiles"]) as tile:
        source = e.at(of["source"], e.times(tile.index, of["channels"]))
        result = e.at(of["result"], e.times(tile.index, e.times(of["channels"], TILE)))
        width = e.minus(of["width"], e.times(tile.index, TILE))
        whole = e.both(e.below(TILE - 1, width), e.below(TILE - 1, of["rows"]))
        with e.loop(of["channels"], e.lanes) as channel:
            here, there = e.at(source, channel.index), e.at(result, channel.index)
            columns = []
            for x in range(WINDOW):
                places = [e.times(of["frequency_step"], y * WINDOW + x) for y in range(WINDOW)]
                columns.append(_to_four(e, [e.load(here, place) for place in places]))
            outputs = [
                (y, x, value)
                for y in range(TILE)
                for x, value in enumerate(_to_four(e, [column[y] for column in columns]))
            ]
            with e.when(whole):
                for y, x, value in outputs:
                    e.store(value, there, e.plus(e.times(of["row_step"], y), e.times(of["channels"], x)))
            with e.otherwise(whole):
                for y, x, value in outputs:
                    with e.when(e.both(e.below(x, width), e.below(y, of["rows"]))):
                        e.store(value, there, e.plus(e.times(of["row_step"], y), e.times(of["channels"], x)))


def _to_four(e: Emitter, m: Sequence[Value]) -> list[Value]:
    """The products at the six points to four neighbouring outputs."""
    sum_1, difference_1 = e.add(m[1], m[2]), e.subtract(m[1], m[2])
    sum_2, difference_2 = e.add(m[3], m[4]), e.subtract(m[3], m[4])
    return [
        e.add(e.add(m[0], sum_1), sum_2),
        e.multiply_add(difference_2, 2.0, difference_1),
        e.multiply_add(sum_2, 4.0, sum_1),
        e.add(e.multiply_add(difference_2, 8.0, difference_1), m[5]),
    ]


def _write_multiply(e: Emitter) -> None:
    of, panel = e.arguments, PANEL_VECTORS * e.lanes
    panel_size = e.times(e.times(of["tap_count"], of["depth"]), panel)
    with e.loop(of["batches"]) as batch, e.loop(of["panels"]) as column:
        left = e.at(of["left"], e.times(batch.index, of["left_batch"]))
        right = e.at(e.at(of["right"], e.times(batch.index, of["right_batch"])), e.times(column.index, panel_size))
        result = e.at(e.at(of["result"], e.times(batch.index, of["result_batch"])), e.times(column.index, panel))
        done: Value = 0
        rows = ROWS[e.lanes]
        while rows:
            stop = e.plus(done, e.whole_steps(e.minus(of["rows"], done), rows))
            with e.loop(stop, rows, start=done) as row:
                places = [e.plus(row.index, number) for number in range(rows)]
                sources = [e.at(left, e.load_count(of["left_rows"], place)) for place in places]
                sums = _sums_of_rows(e, sources, right)
                for number, place in enumerate(places):
                    target = e.at(result, e.load_count(of["result_rows"], place))
                    for vector in range(PANEL_VECTORS):
                        e.store(sums[number * PANEL_VECTORS + vector], target, vector * e.lanes)
            done, rows = stop, rows // 2


def _sums_of_rows(e: Emitter, sources: Sequence[Value], right: Value) -> Sequence[Value]:
    """The sums over all taps and channels of some rows; of each row its vectors."""
    of, panel = e.arguments, PANEL_VECTORS * e.lanes
    zeros = [e.everywhere(0.0)] * (len(sources) * PANEL_VECTORS)
    with e.loop(of["tap_count"], carried=(right, *zeros)) as tap:
        offset = e.load_count(of["taps"], tap.index)
        values = [e.at(source, offset) for source in sources]
        with e.loop(of["depth"], carried=tap.now) as channel:
            weights, *sums = channel.now
            vectors = [e.load(weights, number * e.lanes) for number in range(PANEL_VECTORS)]
            added = []
            for number, value in enumerate(values):
                left = e.load_everywhere(value, channel.index)
                before = sums[number * PANEL_VECTORS : (number + 1) * PANEL_VECTORS]
                added += [e.multiply_add(left, vector, old) for vector, old in zip(vectors, before, strict=True)]
            channel.next = (e.at(weights, panel), *added)
        tap.next = channel.now
    return tap.now[1:]


def _write_moments(e: Emitter) -> None:
    """As differences from the first voxel, whose squares are small where a channel hardly varies."""
    of = e.arguments
    voxels = e.everywhere(e.number_of(of["voxels"]))
    with e.loop(of["channels"], e.lanes) as channel:
        source, zero = e.at(of["source"], channel.index), e.everywhere(0.0)
        first = e.load(source)
        with e.loop(of["voxels"], carried=(zero, zero)) as voxel:
            total, squares = voxel.now
            difference = e.subtract(e.load(source, e.times(voxel.index, of["channels"])), first)
            voxel.next = (e.add(total, difference), e.multiply_add(difference, difference, squares))
        total, squares = voxel.now
        mean = e.divide(total, voxels)
        target = e.at(of["moments"], channel.index)
        e.store(e.add(first, mean), target)
        e.store(e.subtract(squares, e.multiply(mean, total)), target, of["channels"])


_FUNCTIONS: tuple[tuple[str, dict[str, str], Callable[[Emitter], None]], ...] = (
    ("load", _LOAD, _write_load),
    ("to_frequencies", _TO_FREQUENCIES, _write_to_frequencies),
    ("load_frequencies", _LOAD_FREQUENCIES, _write_load_frequencies),
    ("moments", _MOMENTS, _write_moments),
    ("from_frequencies", _FROM_FREQUENCIES, _write_from_frequencies),
    ("store_frequencies", _STORE_FREQUENCIES, _write_store_frequencies),
    ("multiply", _MULTIPLY, _write_multiply),
)
"""Each after those that it calls."""
