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
from flareseg.inference.llvm.cube_kernels import (
    CONVOLVE_CUBES,
    FROM_CUBES,
    write_convolve_cubes,
    write_from_cubes,
    write_load_points,
    write_store_cubes,
)
from flareseg.inference.llvm.emitter import (
    COUNT,
    POINTER,
    Emitter,
    Native,
    compiled,
    new_module,
)
from flareseg.inference.llvm.load_kernels import LOAD, write_load
from flareseg.inference.llvm.product_kernels import MULTIPLY, PANEL_VECTORS, write_multiply
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
        convolve_cubes: a row of tiles that are cubes, through some slices: loaded, multiplied and stored.
        multiply: products of matrices; a row of the left one is pieced together of taps.
        moments: of every channel its mean, and the sum of the squared differences from it.
        blend: a slice scaled, shifted and sent through a leaky ReLU, times the weights of its places, added to what is
            there in half precision.
    """

    lanes: int
    load: Native
    load_frequencies: Native
    store_frequencies: Native
    convolve_cubes: Native
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
    ("moments", _MOMENTS, _write_moments),
    ("from_frequencies", FROM_FREQUENCIES, write_from_frequencies),
    ("store_frequencies", STORE_FREQUENCIES, write_store_frequencies),
    ("from_cubes", FROM_CUBES, write_from_cubes),
    ("store_cubes", STORE_FREQUENCIES, write_store_cubes),
    ("multiply", MULTIPLY, write_multiply),
    ("convolve_cubes", CONVOLVE_CUBES, write_convolve_cubes),
    ("blend", BLEND, write_blend),
)
"""Each after those that it calls."""
