"""Winograd's transformations of tiles of 4×4×4 voxels: 216 products make 64 outputs, in place of 1,728.

Transformations along z, y and x can follow one another in any order: a row of tiles is brought to the points along z as
it is loaded, and to those in the plane from there.
"""

from __future__ import annotations

from flareseg.inference.llvm.emitter import COUNT, Emitter, Value
from flareseg.inference.llvm.load_kernels import LOAD, activated, part_of_input
from flareseg.inference.llvm.product_kernels import MULTIPLY
from flareseg.inference.llvm.winograd_kernels import (
    FREQUENCIES,
    FROM_FREQUENCIES,
    LOAD_FREQUENCIES,
    STORE_FREQUENCIES,
    TILE,
    WINDOW,
    products_of_tiles,
    store_plane,
    to_four,
    to_six,
)

FROM_CUBES = {**FROM_FREQUENCIES, "slices": COUNT, "slice_step": COUNT}
_STEPS = {"load": LOAD_FREQUENCIES, "multiply": MULTIPLY, "store": STORE_FREQUENCIES}
CONVOLVE_CUBES = {
    "first": COUNT, "stop": COUNT, "layers": COUNT,
    **{f"{step}_{name}": kind for step, table in _STEPS.items() for name, kind in table.items()},
}  # fmt: skip
"""From slice `first` to before slice `stop`, so many `layers` of tiles at a time, each of four slices; and what the
three steps are told: of the products those at one point along z, of what is stored that of slice 0."""


def write_convolve_cubes(e: Emitter) -> None:
    of = e.arguments
    most = e.times(of["layers"], TILE)
    with e.loop(of["stop"], most, start=of["first"]) as z:
        left = e.minus(of["stop"], z.index)
        slices = e.either(e.below(left, most), left, most)
        layers = e.quotient(e.plus(slices, TILE - 1), TILE)
        with e.loop(layers) as layer:
            target = e.at(of["load_target"], _slices_of(e, layer.index, 0))
            first_z = e.plus(e.minus(z.index, 1), e.times(layer.index, TILE))
            e.call("load_points", **_told(e, "load", LOAD) | {"target": target, "first_z": first_z})
        with e.loop(WINDOW) as point:  # one after the other, so that what is multiplied stays in the cache
            _multiply_at(e, point.index, layers)
        result = e.at(of["store_result"], e.times(z.index, of["store_slice_step"]))
        moments = e.at(of["store_moments"], e.times(z.index, e.times(of["store_channels"], 2)))
        e.call("store_cubes", **_told(e, "store") | {"slices": slices, "result": result, "moments": moments})


def _multiply_at(e: Emitter, point: Value, layers: Value) -> None:
    """What was loaded of one point along z, brought to frequencies and multiplied."""
    of = e.arguments
    with e.loop(layers) as layer:
        e.call(
            "to_frequencies", source=e.at(of["load_block"], _slices_of(e, layer.index, point)),
            row_step=of["load_row_step"], frequency_step=of["load_frequency_step"], tiles=of["load_tiles"],
            result=e.at(of["load_result"], e.times(layer.index, e.times(of["load_tiles"], of["load_pixel_step"]))),
            channels=of["load_pixel_step"],
        )  # fmt: skip
    first = e.times(point, FREQUENCIES)
    right = e.at(of["multiply_right"], e.times(first, of["multiply_right_batch"]))
    result = e.at(of["multiply_result"], e.times(first, of["multiply_result_batch"]))
    rows = e.times(layers, of["load_tiles"])
    e.call("multiply", **_told(e, "multiply") | {"right": right, "result": result, "rows": rows})


def _slices_of(e: Emitter, layer: Value, point: Value) -> Value:
    """Where the block has a point along z of a layer."""
    return e.times(e.plus(e.times(layer, WINDOW), point), e.arguments["load_slice_step"])


def _told(e: Emitter, step: str, table: dict[str, str] | None = None) -> dict[str, Value]:
    return {name: e.arguments[f"{step}_{name}"] for name in table or _STEPS[step]}


def write_load_points(e: Emitter) -> None:
    """Six slices from first_z on, brought to the points along z."""
    of = e.arguments
    with e.loop(of["part_count"], carried=(of["target"],)) as number:
        (target,) = number.now
        address, scale, shift, channels, slope = part_of_input(e, number.index)
        with e.loop(of["rows"]) as row, e.loop(channels, e.lanes) as channel:
            y = e.plus(of["first_row"], row.index)
            there = e.at(target, e.plus(e.times(row.index, of["row_step"]), channel.index))
            inside = e.within(y, of["height"])
            with e.when(inside):
                here = e.at(e.pointer_to(address), e.plus(e.times(e.times(y, of["width"]), channels), channel.index))
                by = e.load(e.pointer_to(scale), channel.index), e.load(e.pointer_to(shift), channel.index), slope
                _to_points(e, here, there, channels, by)
            with e.otherwise(inside), e.loop(of["width"]) as pixel:
                _store_points(e, there, pixel.index, [e.everywhere(0.0)] * WINDOW)
        number.next = (e.at(target, channels),)


def _to_points(e: Emitter, here: Value, there: Value, channels: Value, by: tuple[Value, Value, Value]) -> None:
    """A row of some channels, from the same row of six slices."""
    of, (factor, added, slope) = e.arguments, by
    slices = [e.plus(of["first_z"], number) for number in range(WINDOW)]
    exists = [e.within(z, of["depth"]) for z in slices]
    every = e.both(exists[0], exists[-1])
    step = e.times(e.times(of["height"], of["width"]), channels)
    sources = [e.at(here, e.times(e.either(is_there, z, 0), step)) for z, is_there in zip(slices, exists, strict=True)]

    def row(factors: list[Value], addends: list[Value]) -> None:
        with e.loop(of["width"]) as pixel:
            place = e.times(pixel.index, channels)
            values = [
                activated(e, e.load(source, place), factor, added, slope)
                for source, factor, added in zip(sources, factors, addends, strict=True)
            ]
            _store_points(e, there, pixel.index, to_six(e, values))

    with e.when(every):
        row([factor] * WINDOW, [added] * WINDOW)
    with e.otherwise(every):  # in place of a slice that is not there, another one times 0
        zero = e.everywhere(0.0)
        row(*([e.either(is_there, value, zero) for is_there in exists] for value in (factor, added)))


def _store_points(e: Emitter, there: Value, pixel: Value, values: list[Value]) -> None:
    of = e.arguments
    for number, value in enumerate(values):
        e.store(value, there, e.plus(e.times(of["slice_step"], number), e.times(pixel, of["pixel_step"])))


def write_store_cubes(e: Emitter) -> None:
    of = e.arguments
    with e.loop(of["slices"], TILE, carried=(of["source"],)) as z:
        (source,) = z.now
        left = e.minus(of["slices"], z.index)
        count = e.either(e.below(left, TILE), left, TILE)
        result = e.at(of["result"], e.times(z.index, of["slice_step"]))
        arguments = {name: of[name] for name in FROM_CUBES}
        e.call("from_cubes", **arguments | {"source": source, "result": result, "slices": count})
        moments = e.at(of["moments"], e.times(z.index, e.times(of["channels"], 2)))
        voxels = e.times(of["rows"], of["width"])
        with e.loop(count) as one:
            e.call(
                "moments", source=e.at(result, e.times(one.index, of["slice_step"])), voxels=voxels,
                moments=e.at(moments, e.times(one.index, e.times(of["channels"], 2))), channels=of["channels"],
            )  # fmt: skip
        z.next = (e.at(source, e.times(of["tiles"], of["channels"])),)


def write_from_cubes(e: Emitter) -> None:
    """A layer of tiles, of which there are so many slices."""
    of = e.arguments
    with products_of_tiles(e) as (here, there, width, whole):
        for z, plane in enumerate(_outputs_of(e, here)):
            with e.when(e.below(z, of["slices"])):
                store_plane(e, plane, e.at(there, e.times(of["slice_step"], z)), width, whole)


def _outputs_of(e: Emitter, here: Value) -> list[list[list[Value]]]:
    """Of a cube's products the outputs, [z][y][x]."""
    columns: list[list[list[Value]]] = [[] for _ in range(TILE)]  # [z][x][y]
    for x in range(WINDOW):
        lines = []
        for y in range(WINDOW):
            places = [(z * WINDOW + y) * WINDOW + x for z in range(WINDOW)]
            products = [e.load(here, e.times(e.arguments["frequency_step"], place)) for place in places]
            lines.append(to_four(e, products))
        for z in range(TILE):
            columns[z].append(to_four(e, [line[z] for line in lines]))
    return [[to_four(e, [column[y] for column in columns[z]]) for y in range(TILE)] for z in range(TILE)]
