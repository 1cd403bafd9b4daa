"""A window's last features, weighed and added to those of the windows beside it."""

from __future__ import annotations

from flareseg.inference.llvm.emitter import COUNT, POINTER, Emitter, Value
from flareseg.inference.llvm.load_kernels import activated

BLEND = {
    "source": POINTER, "scale": POINTER, "shift": POINTER, "slope": POINTER, "width": COUNT, "rows": COUNT,
    "columns": COUNT, "z_weight": POINTER, "y_weights": POINTER, "x_weights": POINTER, "scratch": POINTER,
    "target": COUNT, "channels": COUNT, "channel_step": COUNT, "row_step": COUNT,
}  # fmt: skip
"""Of `source` a slice (rows, columns, width), of which there are `channels`; `target` is the address of halves, each
channel by itself; `scratch` holds a vector of floats for each column."""


def write_blend(e: Emitter) -> None:
    of = e.arguments
    slope = e.everywhere(e.load_number(of["slope"], 0))
    with e.loop(of["rows"]) as row:
        source = e.at(of["source"], e.times(row.index, e.times(of["columns"], of["width"])))
        weight = e.multiply(e.load_number(of["z_weight"], 0), e.load_number(of["y_weights"], row.index))
        with e.loop(of["width"], e.lanes) as channel:
            by = e.load(of["scale"], channel.index), e.load(of["shift"], channel.index), slope
            _turn(e, e.at(source, channel.index), by)
            with e.loop(e.lanes) as one:
                number = e.plus(channel.index, one.index)
                with e.when(e.below(number, of["channels"])):
                    place = e.plus(e.times(number, of["channel_step"]), e.times(row.index, of["row_step"]))
                    _add_row(e, e.at(of["scratch"], e.times(one.index, of["columns"])), place, weight)


def _turn(e: Emitter, here: Value, by: tuple[Value, Value, Value]) -> None:
    """Some channels of a row, activated, to the scratch: each by itself."""
    of = e.arguments
    with e.loop(of["columns"]) as column:
        values = activated(e, e.load(here, e.times(column.index, of["width"])), *by)
        for lane in range(e.lanes):
            place = e.plus(e.times(of["columns"], lane), column.index)
            e.store_number(e.part_of(values, lane), of["scratch"], place)


def _add_row(e: Emitter, here: Value, place: Value, weight: Value) -> None:
    of = e.arguments
    target, weights = e.halves_at(of["target"]), e.everywhere(weight)
    vectors = e.whole_steps(of["columns"], e.lanes)
    with e.loop(vectors, e.lanes) as x:
        shares = e.multiply(weights, e.load(of["x_weights"], x.index))
        e.add_to_halves(target, e.plus(place, x.index), e.multiply(shares, e.load(here, x.index)))
    with e.loop(of["columns"], start=vectors) as x:
        share = e.multiply(weight, e.load_number(of["x_weights"], x.index))
        e.add_to_halves(target, e.plus(place, x.index), e.multiply(share, e.load_number(here, x.index)))
