"""Where there is no abdomen: what a model draws in the chests and pelves of CTs (`make benchmark-elsewhere`).

    python Testing/benchmarks/elsewhere.py [--model NAME] [--data FOLDER] [--results DIR]

Every CT of the data folder is cut above its highest and below its lowest labelled organ. Aorta, vena cava and esophagus
pass through a chest, so there all but these are false; in a pelvis everything is.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from harness import RESULTS, describe, machine, table, versions, write_results
from numpy.typing import NDArray

from flareseg.io.files import read_labels, read_volume
from flareseg.labels import by_names
from flareseg.options import Options
from flareseg.results.metrics import IGNORED
from flareseg.segmenter import Segmenter
from flareseg.volume import Orientation, Volume

MARGIN_MM = 25.0
"""Between the organs and the cut: their labels do not end where they do, to the slice."""
SHORTEST_MM = 100.0
THROUGH = tuple(one.value for one in by_names(["aorta", "inferior_vena_cava", "esophagus"]))


def pieces(labels: NDArray[np.uint8], slice_mm: float) -> dict[str, slice]:
    """Slices of a CT without an organ, "chest" and "pelvis", where they are long enough.

    Args:
        labels: (z, y, x), from the feet to the head; values above 13 may hide an organ.
        slice_mm: distance of slices.
    """
    anything = np.flatnonzero(labels.any((1, 2)))
    organs = np.flatnonzero(((labels > 0) & ~np.isin(labels, (*THROUGH, IGNORED))).any((1, 2)))
    margin, found = round(MARGIN_MM / slice_mm), {}
    chest, pelvis = slice(int(organs[-1]) + 1 + margin, len(labels)), slice(0, max(int(anything[0]) - margin, 0))
    for name, part in (("chest", chest), ("pelvis", pelvis)):
        if (part.stop - part.start) * slice_mm >= SHORTEST_MM:
            found[name] = part
    return found


def cut(folder: Path) -> Iterator[tuple[str, Volume]]:
    """The pieces of a case of the data folder, each a CT of its own."""
    labels, geometry = read_labels(folder / "seg.nii.gz")
    volume = read_volume(folder / "ct.nii.gz").canonical()
    for name, part in pieces(Orientation.of(geometry).to_canonical(labels), geometry.spacing_zyx_mm[0]).items():
        _, height, width = volume.hu.shape
        yield name, volume.part((part, slice(0, height), slice(0, width)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", default="default", help="name or folder")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for elsewhere.json and elsewhere.md")
    arguments = parser.parse_args()
    command, environment = shlex.join(["python", *sys.argv]), machine()
    segmenter = Segmenter(arguments.model, Options(device="cpu", threads=arguments.threads))
    found = []
    for folder in sorted(path.parent for path in arguments.data.glob("*/seg.nii.gz")):
        for name, volume in cut(folder):
            result = segmenter.segment(volume)
            passing = THROUGH if name == "chest" else ()
            volumes = np.bincount(result.labels.ravel(), minlength=256) * volume.geometry.voxel_ml
            false = {s.name: round(float(volumes[s.value]), 2) for s in result.structures if s.value not in passing}
            height = volume.geometry.shape_zyx[0] * volume.geometry.spacing_zyx_mm[0]
            found.append({"case": folder.name, "piece": name, "mm": round(height), "false_ml": false})
            print(json.dumps(found[-1]), flush=True)
    rows: list[list[str]] = []
    for one in found:
        drawn = {name: ml for name, ml in one["false_ml"].items() if ml >= 0.05}
        words = ", ".join(f"{name.replace('_', ' ')} {ml:.1f}" for name, ml in drawn.items())
        rows.append([one["case"], one["piece"], f"{one['mm']}", f"{sum(drawn.values()):.1f}", words])
    numbers = versions()
    text = "\n\n".join(
        [
            "# Where there is no abdomen",
            describe(command, environment, numbers),
            f"What {segmenter.model_name} draws in pieces of CTs from {MARGIN_MM:g} mm above their highest or below "
            "their lowest labelled organ; in chests without aorta, vena cava and esophagus. Most of these CTs, whole, "
            "taught the embedded models: no blind scores.",
            table(["CT", "piece", "mm", "false, ml", "of these"], rows),
        ]
    )
    data = {"command": command, "machine": environment, "versions": numbers, "pieces": found}
    write_results("elsewhere", data, text, arguments.results)


if __name__ == "__main__":
    main()
