"""The inner loops of a network, as machine code.

Arrays are (..., x, channels): a vector holds neighbouring channels of a voxel, so that every loop is the same for all
of them. Channels come in multiples of a vector; addresses and steps are in floats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from flareseg.inference.llvm.blend_kernels import BLEND, write_blend
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
from flareseg.inference.llvm.load_kernels import LOAD, write_load
from flareseg.inference.llvm.winograd_cubes import (
    FROM_CUBES,
    write_from_cubes,
    write_load_cubes,
    write_load_points,
    write_store_cubes,
)
from flareseg.inference.llvm.winograd_kernels import (
    FROM_FREQUENCIES,
    LOAD_FREQUENCIES,
    STORE_FREQUENCIES,
    TO_FREQUENCIES,
    write_from_frequencies,
    write_load_frequencies,
    write_store_frequencies,
    write_to_frequencies,
)

LANES_OF_AVX2, LANES_OF_AVX512 = 8, 16
"""Floats in a vector."""
ROWS = {LANES_OF_AVX2: 6, LANES_OF_AVX512: 8}
"""Rows of a product that are computed at a time, by the floats of a vector: their sums fill the registers."""
PANEL_VECTORS = 2
"""Vectors of columns that are computed at a time."""

_MULTIPLY = {
    "left": POINTER, "left_batch": COUNT, "left_rows": OFFSETS, "taps": OFFSETS, "tap_count": COUNT, "depth": COUNT,
    "right": POINTER, "right_batch": COUNT, "result": POINTER, "result_batch": COUNT, "result_rows": OFFSETS,
    "rows": COUNT, "panels": COUNT, "batches": COUNT,
}  # fmt: skip
_MOMENTS = {"source": POINTER, "moments": POINTER, "voxels": COUNT, "channels": COUNT}


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
        load_cubes, store_cubes: the same of tiles that are cubes, of which a layer of tiles is loaded at a time:
            (frequencies, layers, tiles, channels).
        multiply: products of matrices; a row of the left one is pieced together of taps.
        moments: of every channel its mean, and the sum of the squared differences from it.
        blend: a slice scaled, shifted and sent through a leaky ReLU, times the weights of its places, added to what is
            there in half precision.
    """

    lanes: int
    load: Native
    load_frequencies: Native
    store_frequencies: Native
    load_cubes: Native
    store_cubes: Native
    multiply: Native
    moments: Native
    blend: Native

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
    ("load", LOAD, write_load),
    ("to_frequencies", TO_FREQUENCIES, write_to_frequencies),
    ("load_frequencies", LOAD_FREQUENCIES, write_load_frequencies),
    ("load_points", LOAD, write_load_points),
    ("load_cubes", LOAD_FREQUENCIES, write_load_cubes),
    ("moments", _MOMENTS, _write_moments),
    ("from_frequencies", FROM_FREQUENCIES, write_from_frequencies),
    ("store_frequencies", STORE_FREQUENCIES, write_store_frequencies),
    ("from_cubes", FROM_CUBES, write_from_cubes),
    ("store_cubes", STORE_FREQUENCIES, write_store_cubes),
    ("multiply", _MULTIPLY, _write_multiply),
    ("blend", BLEND, write_blend),
)
"""Each after those that it calls."""
