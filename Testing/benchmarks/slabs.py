"""Thin slabs: how much shorter than the patch a window may be before the organs suffer (`make benchmark-slabs`).

    python Testing/benchmarks/slabs.py [--model NAME] [--phantoms 48] [--thickness 40] [--results DIR]

Of every phantom, none of which taught the model, one slab at a random height among liver, spleen, kidneys and pancreas
is segmented with windows that may shrink to a share of the patch, as `flareseg.inference.sliding.SHORTEST` says.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from harness import RESULTS, describe, machine, table, versions, write_results
from numpy.typing import NDArray

from flareseg.inference import sliding
from flareseg.labels import TUMOUR, by_names
from flareseg.options import Options
from flareseg.results.metrics import score_case
from flareseg.segmenter import Segmenter
from flareseg.volume import Geometry, Triple, Volume
from train.synthetic.phantom import make_phantom
from train.synthetic.phantom_data import VALIDATION_SEED

SHARES = (0.0, 0.5, 0.75, 1.0)
SPACING: Triple = (2.5, 2.5, 2.5)
AMONG = tuple(one.value for one in by_names(["liver", "spleen", "right kidney", "left kidney", "pancreas"]))


def slab(
    hu: NDArray[np.int16], labels: NDArray[np.uint8], thickness_mm: float, seed: int
) -> tuple[Volume, NDArray[np.uint8]]:
    """Consecutive slices of a phantom (z, y, x), and their labels."""
    slices = round(thickness_mm / SPACING[0])
    among = np.flatnonzero(np.isin(labels, AMONG).any((1, 2)))
    first = int(np.random.default_rng(seed).integers(among[0], max(among[0], among[-1] - slices) + 1))
    part = slice(first, first + slices)
    shown = np.ascontiguousarray(hu[part])
    z, y, x = shown.shape
    return Volume(shown, Geometry((z, y, x), SPACING)), np.ascontiguousarray(labels[part])


def slabs(count: int, thickness_mm: float) -> Iterator[tuple[Volume, NDArray[np.uint8]]]:
    for seed in range(VALIDATION_SEED, VALIDATION_SEED + count):
        phantom = make_phantom(seed, spacing_zyx_mm=SPACING)
        if np.isin(phantom.labels, AMONG).any():
            yield slab(phantom.hu, phantom.labels, thickness_mm, seed)


def mean_dice(segmenter: Segmenter, volume: Volume, labels: NDArray[np.uint8]) -> float:
    """Of the organs in view."""
    scores = score_case(segmenter.segment(volume).labels, labels, volume.geometry.spacing_zyx_mm)
    return float(np.mean([one.dsc for one in scores if one.reference_ml > 0 and one.structure.name != TUMOUR]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", default="default", help="name or folder")
    parser.add_argument("--phantoms", type=int, default=48)
    parser.add_argument("--thickness", type=float, default=40.0, help="mm")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for slabs.json and slabs.md")
    arguments = parser.parse_args()
    command, environment = shlex.join(["python", *sys.argv]), machine()
    segmenter = Segmenter(arguments.model, Options(device="cpu", threads=arguments.threads))
    found: dict[str, list[float]] = {f"{share:g}": [] for share in SHARES}
    shipped = sliding.SHORTEST
    for volume, labels in slabs(arguments.phantoms, arguments.thickness):
        for share in SHARES:
            sliding.SHORTEST = share
            found[f"{share:g}"].append(mean_dice(segmenter, volume, labels))
    numbers = versions()
    text = "\n\n".join(
        [
            "# Thin slabs",
            describe(command, environment, numbers),
            f"Mean DSC of the organs in view in {len(found['0'])} slabs of {arguments.thickness:g} mm of phantoms that "
            f"{segmenter.model_name} never saw, with windows no shorter than this share of the patch; flareseg's is "
            f"{shipped:g}.",
            table(
                ["shortest window", "mean", "lowest", "highest"],
                [
                    [share, *(f"{100 * of(scores):.1f}" for of in (np.mean, min, max))]
                    for share, scores in found.items()
                ],
            ),
        ]
    )
    data = {"command": command, "machine": environment, "versions": numbers, "dice": found}
    write_results("slabs", data, text, arguments.results)


if __name__ == "__main__":
    main()
