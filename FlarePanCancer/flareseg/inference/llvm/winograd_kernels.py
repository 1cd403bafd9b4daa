"""Winograd's transformations of tiles, in the plane and in the cube (Lavin and Gray, CVPR 2016, F(4, 3))."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from flareseg.inference.llvm.emitter import COUNT, POINTER, Emitter, Value
from flareseg.inference.llvm.load_kernels import LOAD

TILE, WINDOW = 4, 6
"""Outputs of a tile along an axis, and the inputs that they are made of."""
FREQUENCIES = WINDOW * WINDOW

TO_FREQUENCIES = {
    "source": POINTER, "row_step": COUNT, "result": POINTER, "frequency_step": COUNT, "tiles": COUNT,
    "channels": COUNT,
}  # fmt: skip
LOAD_FREQUENCIES = {
    **LOAD, "block": POINTER, "result": POINTER, "frequency_step": COUNT, "tiles": COUNT,
}  # fmt: skip
FROM_FREQUENCIES = {
    "source": POINTER, "frequency_step": COUNT, "result": POINTER, "row_step": COUNT, "tiles": COUNT,
    "channels": COUNT, "rows": COUNT, "width": COUNT,
}  # fmt: skip
STORE_FREQUENCIES = {
    **FROM_FREQUENCIES, "slices": COUNT, "slice_step": COUNT, "moments": POINTER,
}  # fmt: skip


def write_load_frequencies(e: Emitter) -> None:
    of = e.arguments
    with e.loop(of["slices"]) as slot:
        z = e.plus(of["first_z"], slot.index)
        e.call("load", **{name: of[name] for name in LOAD} | {"first_z": z, "slices": 1})
        result = e.at(of["result"], e.times(slot.index, e.times(of["tiles"], of["pixel_step"])))
        e.call(
            "to_frequencies", source=of["block"], row_step=of["row_step"], result=result,
            frequency_step=of["frequency_step"], tiles=of["tiles"], channels=of["pixel_step"],
        )  # fmt: skip


def write_store_frequencies(e: Emitter) -> None:
    of = e.arguments
    with e.loop(of["slices"]) as slot:
        source = e.at(of["source"], e.times(slot.index, e.times(of["tiles"], of["channels"])))
        result = e.at(of["result"], e.times(slot.index, of["slice_step"]))
        arguments = {name: of[name] for name in FROM_FREQUENCIES}
        e.call("from_frequencies", **arguments | {"source": source, "result": result})
        moments = e.at(of["moments"], e.times(slot.index, e.times(of["channels"], 2)))
        voxels = e.times(of["rows"], of["width"])
        e.call("moments", source=result, moments=moments, voxels=voxels, channels=of["channels"])


def write_to_frequencies(e: Emitter) -> None:
    of = e.arguments
    with e.loop(of["tiles"]) as tile, e.loop(of["channels"], e.lanes) as channel:
        source = e.at(e.at(of["source"], e.times(tile.index, e.times(of["channels"], TILE))), channel.index)
        result = e.at(e.at(of["result"], e.times(tile.index, of["channels"])), channel.index)
        columns = []
        for x in range(WINDOW):
            column = e.at(source, e.times(of["channels"], x))
            columns.append(to_six(e, [e.load(column, e.times(of["row_step"], y)) for y in range(WINDOW)]))
        for y in range(WINDOW):
            for x, value in enumerate(to_six(e, [column[y] for column in columns])):
                e.store(value, result, e.times(of["frequency_step"], y * WINDOW + x))


def to_six(e: Emitter, d: Sequence[Value]) -> list[Value]:
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


def write_from_frequencies(e: Emitter) -> None:
    with products_of_tiles(e) as (here, there, width, whole):
        columns = []
        for x in range(WINDOW):
            places = [e.times(e.arguments["frequency_step"], y * WINDOW + x) for y in range(WINDOW)]
            columns.append(to_four(e, [e.load(here, place) for place in places]))
        plane = [to_four(e, [column[y] for column in columns]) for y in range(TILE)]
        store_plane(e, plane, there, width, whole)


@contextmanager
def products_of_tiles(e: Emitter) -> Iterator[tuple[Value, Value, Value, Value]]:
    """What is written in the block is done for every tile of a row and every vector of channels.

    It is told where the products are, where the outputs go, how many columns of the result there are from there on, and
    whether all voxels of a plane of the tile exist.
    """
    of = e.arguments
    with e.loop(of["tiles"]) as tile:
        source = e.at(of["source"], e.times(tile.index, of["channels"]))
        result = e.at(of["result"], e.times(tile.index, e.times(of["channels"], TILE)))
        width = e.minus(of["width"], e.times(tile.index, TILE))
        whole = e.both(e.below(TILE - 1, width), e.below(TILE - 1, of["rows"]))
        with e.loop(of["channels"], e.lanes) as channel:
            yield e.at(source, channel.index), e.at(result, channel.index), width, whole


def store_plane(e: Emitter, plane: Sequence[Sequence[Value]], there: Value, width: Value, whole: Value) -> None:
    """Those of the outputs [y][x] that exist."""
    of = e.arguments
    places = [
        (y, x, value, e.plus(e.times(of["row_step"], y), e.times(of["channels"], x)))
        for y, row in enumerate(plane)
        for x, value in enumerate(row)
    ]
    with e.when(whole):
        for _, _, value, place in places:
            e.store(value, there, place)
    with e.otherwise(whole):
        for y, x, value, place in places:
            with e.when(e.both(e.below(x, width), e.below(y, of["rows"]))):
                e.store(value, there, place)


def to_four(e: Emitter, m: Sequence[Value]) -> list[Value]:
    """The products at the six points to four neighbouring outputs."""
    sum_1, difference_1 = e.add(m[1], m[2]), e.subtract(m[1], m[2])
    sum_2, difference_2 = e.add(m[3], m[4]), e.subtract(m[3], m[4])
    return [
        e.add(e.add(m[0], sum_1), sum_2),
        e.multiply_add(difference_2, 2.0, difference_1),
        e.multiply_add(sum_2, 4.0, sum_1),
        e.add(e.multiply_add(difference_2, 8.0, difference_1), m[5]),
    ]
