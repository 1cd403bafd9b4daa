"""Products of matrices."""

from __future__ import annotations

from collections.abc import Sequence

from flareseg.inference.llvm.emitter import COUNT, OFFSETS, POINTER, Emitter, Value

LANES_OF_AVX2, LANES_OF_AVX512 = 8, 16
"""Floats in a vector."""
ROWS = {LANES_OF_AVX2: 6, LANES_OF_AVX512: 8}
"""Rows of a product that are computed at a time, by the floats of a vector: their sums fill the registers."""
PANEL_VECTORS = 2
"""Vectors of columns that are computed at a time."""

MULTIPLY = {
    "left": POINTER, "left_batch": COUNT, "left_rows": OFFSETS, "taps": OFFSETS, "tap_count": COUNT, "depth": COUNT,
    "right": POINTER, "right_batch": COUNT, "result": POINTER, "result_batch": COUNT, "result_rows": OFFSETS,
    "rows": COUNT, "panels": COUNT, "batches": COUNT,
}  # fmt: skip


def write_multiply(e: Emitter) -> None:
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
