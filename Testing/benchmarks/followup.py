"""How well `flareseg compare` finds places and lesions again, and how well organs of patients agree.

python Testing/benchmarks/followup.py deform CASE_FOLDER     deforms one patient at random, plants lesions, follows them
python Testing/benchmarks/followup.py agree CASE_FOLDER ...   lays every two of these upon each other

CASE_FOLDER holds seg.nii.gz, FLARE's numbers.
"""

from __future__ import annotations

import argparse
import time
from itertools import combinations
from pathlib import Path

import numpy as np

from flareseg.io.files import read_labels
from flareseg.labels import TUMOUR, by_name, structures
from flareseg.results.followup.comparison import COMPACT, follow_up
from flareseg.results.followup.registration import register
from flareseg.results.followup.shapes import places_of
from flareseg.results.followup.timepoint import Timepoint
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry
from train.synthetic.deformation import draw_deformation

STRENGTHS, SEEDS, LESIONS = (0.3, 0.6, 1.0), range(5), 6
MOVED_MM = (40.0, -30.0, 25.0)
CUT_SLICES = 25
LIVER, LESION = by_name("liver").value, by_name(TUMOUR).value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("deform", "agree"))
    parser.add_argument("cases", nargs="+", type=Path)
    arguments = parser.parse_args()
    if arguments.what == "deform":
        for strength in STRENGTHS:
            deform(arguments.cases[0], strength)
    else:
        agree(arguments.cases)


def deform(case: Path, strength: float) -> None:
    """The same patient deformed: lesion 0 is there later only, lesion 1 earlier only, the others at both dates."""
    labels, grid = organs_of(case)
    labels = labels[:, ::2, ::2]
    spacing = grid.spacing_zyx_mm[0], 2 * grid.spacing_zyx_mm[1], 2 * grid.spacing_zyx_mm[2]
    errors, right, planted, seconds = [], 0, 0, []
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        change = draw_deformation(labels.shape, spacing, rng, strength=strength)
        first, second = labels.copy(), change.of_labels(labels, 0)
        before = Geometry(first.shape, spacing)
        cut = CUT_SLICES if seed % 2 else 0
        after = Geometry(second.shape, spacing, MOVED_MM)
        pairs = [(place, landing(change.source, place, spacing)) for place in places(labels, spacing, rng)]
        for number, (here, there) in enumerate(pairs):
            if number != 0:
                plant(first, here, 7 + number, spacing)
            if number != 1:
                plant(second, there, 6 + number if number % 2 else 9 + number, spacing)
        shown = Geometry(second[cut:].shape, spacing, after.world_of((cut, 0, 0)))
        start = time.process_time()
        scans = [a_time(first, before, "before"), a_time(second[cut:], shown, "after")]
        result = follow_up(scans)
        seconds.append(time.process_time() - start)
        liver = register(*scans).of(by_name("liver"))
        world = [(places_of(np.array([a]), before), places_of(np.array([b]), after)) for a, b in pairs]
        errors += [float(np.linalg.norm(liver.of(a) - b)) for a, b in world]
        planted += len(pairs)
        for number, (a, b) in enumerate(world):
            track = min(result.tracks, key=lambda one: np.linalg.norm(one.sightings[0].place_xyz_mm - a[0]))
            there = [bool(one.lesions) for one in track.sightings]
            apart = [np.linalg.norm(one.place_xyz_mm - at[0]) for one, at in zip(track.sightings, (a, b), strict=True)]
            right += there == [number != 0, number != 1] and max(apart) < 12
    middle, most = np.percentile(errors, [50, 100])
    print(f"strength {strength}: median {middle:.1f} mm, largest {most:.1f} mm, {right} of {planted} lesions right, "
          f"{np.mean(seconds):.1f} s of one core")  # fmt: skip


def agree(cases: list[Path]) -> None:
    """Mean overlap of the compact organs of every two cases."""
    scans = [a_time(*organs_of(case), case.name) for case in cases]
    for first, second in combinations(scans, 2):
        fits = register(first, second).fits
        dice = [fit.dice for value, fit in fits.items() if first.present[value].name in COMPACT]
        print(f"{np.mean(dice):.2f}  {first.name}  {second.name}", flush=True)


def organs_of(case: Path) -> tuple[np.ndarray, Geometry]:
    labels, grid = read_labels(case / "seg.nii.gz")
    return np.where(labels > LESION, 0, labels), grid


def a_time(labels: np.ndarray, grid: Geometry, name: str) -> Timepoint:
    return Timepoint.of(Segmentation(np.ascontiguousarray(labels), grid, structures(), name))


def places(labels: np.ndarray, spacing: tuple[float, ...], rng: np.random.Generator) -> list[np.ndarray]:
    """Voxels deep in the liver and away from each other."""
    from scipy.ndimage import distance_transform_edt

    inside = np.argwhere(distance_transform_edt(labels == LIVER, sampling=spacing) > 8)
    chosen: list[np.ndarray] = []
    for place in rng.permutation(inside):
        if len(chosen) < LESIONS and all(np.linalg.norm((place - other) * spacing) > 28 for other in chosen):
            chosen.append(place)
    return chosen


def landing(source: np.ndarray, place: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """The voxel of the deformed scan that shows a voxel of the first."""
    apart = sum(((source[axis] - place[axis]) * spacing[axis]) ** 2 for axis in range(3))
    return np.array(np.unravel_index(int(np.argmin(apart)), source.shape[1:]))


def plant(labels: np.ndarray, place: np.ndarray, radius_mm: float, spacing: tuple[float, ...]) -> None:
    z, y, x = ((np.arange(n) - at) * mm for n, at, mm in zip(labels.shape, place, spacing, strict=True))
    labels[z[:, None, None] ** 2 + y[:, None] ** 2 + x**2 <= radius_mm**2] = LESION


if __name__ == "__main__":
    main()
