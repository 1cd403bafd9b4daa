"""What measuring costs: CPU seconds and memory of the default columns and of features (`make benchmark-measurements`).

    python Testing/benchmarks/measurements.py [--repeats 5]

The synthetic CT of 100 slices of 512×512 with the embedded model's result, and both once more behind themselves, which
makes every structure twice as long. CPU seconds of one thread, the least of the runs, which alternate; memory is what
numpy and Python held at most beyond CT and labels.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from harness import RESULTS, describe, machine, table, versions, write_results
from make_volume import benchmark_ct

from flareseg.io.files import read_volume
from flareseg.results.measure import measure
from flareseg.segmentation import Segmentation
from flareseg.segmenter import Segmenter
from flareseg.volume import Volume

MIB = 2**20
WAYS = {"default": False, "features": True}


def twice(result: Segmentation, volume: Volume) -> tuple[Segmentation, Volume]:
    """Both, once more behind themselves."""
    depth, rows, columns = volume.geometry.shape_zyx
    grid = replace(volume.geometry, shape_zyx=(2 * depth, rows, columns), nifti=None)
    labels = np.concatenate([result.labels, result.labels])
    hu = np.concatenate([volume.hu, volume.hu])
    return replace(result, labels=labels, geometry=grid, confidence=None), replace(volume, hu=hu, geometry=grid)


def costs_of(result: Segmentation, volume: Volume, repeats: int) -> dict[str, dict[str, float]]:
    """CPU seconds and MiB of each way."""
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(repeats + 1):
        for way, features in WAYS.items():
            began = time.process_time()
            measure(result, volume, features=features)
            if number:  # the first run imports
                seconds[way].append(time.process_time() - began)
    found = {}
    for way, features in WAYS.items():
        tracemalloc.start()
        measure(result, volume, features=features)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        found[way] = {"cpu_seconds": round(min(seconds[way]), 3), "peak_mib": round(peak / MIB)}
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args(arguments).repeats
    data = machine()
    volume = read_volume(benchmark_ct("abdomen"))
    result = Segmenter("default").segment(volume)
    found = {"100 slices": costs_of(result, volume, repeats), "200 slices": costs_of(*twice(result, volume), repeats)}
    rows = [
        [f"{size}, {way}", f"{cost['cpu_seconds']:.2f}", f"{cost['peak_mib']:.0f}"]
        for size, ways in found.items()
        for way, cost in ways.items()
    ]
    text = "\n\n".join(
        [
            "# What measuring costs",
            describe("make benchmark-measurements", data, versions()),
            f"{len(result.present())} structures of the embedded model in slices of 512×512.",
            table(["columns", "CPU seconds a case", "MiB beyond CT and labels"], rows),
        ]
    )
    write_results("measurements", {"machine": data, "costs": found}, text, RESULTS)


if __name__ == "__main__":
    main()
