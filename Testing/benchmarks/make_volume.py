"""Synthetic CTs of the sizes that scanners deliver, for timing: always the same, kept in the user's cache folder.

    python Testing/benchmarks/make_volume.py {abdomen,whole_body} [FILE]

One synthetic patient of train.synthetic.phantom is scanned at 1.6 mm in plane, brought to 0.8 mm with fresh noise, and
cut or continued to the wanted size. Above and below what the phantom shows, the whole body goes on with its chest and
its pelvis, back and forth, so that abdominal organs fill the same small part of it as in a patient.
"""

from __future__ import annotations

import argparse
import uuid
from pathlib import Path

import numpy as np

from flareseg.system.user_folders import user_cache_folder

SPACING_ZYX_MM = (2.5, 0.8, 0.8)
IN_PLANE = 512
SLICES = {"abdomen": 100, "whole_body": 600}
SEED = 11
COARSER = 2
"""How much coarser in plane the patient is drawn; drawing at full resolution takes minutes and 7 GiB."""
NOISE_HU = 9.0
AIR_HU = -1000
LIVER, ABOVE_LIVER = 1, 8
"""Label of the liver; slices of the abdominal scan above its highest one."""
CONTINUED = 32
"""Slices at either end of the phantom with which the whole body goes on."""
VERSION = 2
"""Raise it when the recipe changes, so that cached volumes are made anew."""


def benchmark_ct(name: str) -> Path:
    """The file of the CT "abdomen" (512×512×100) or "whole_body" (512×512×600), made on first use."""
    path = user_cache_folder() / "benchmarks" / f"{name}_v{VERSION}.nii.gz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(make_ct(name), path)
    return path


def make_ct(name: str) -> np.ndarray:
    """The CT as int16 HU, (z, y, x): z upwards, y to the back, x to the left."""
    from train.synthetic.phantom import make_phantom

    z, y, x = SPACING_ZYX_MM
    drawn_mm = (z, y * COARSER, x * COARSER)
    phantom = make_phantom(SEED, spacing_zyx_mm=drawn_mm, phase="portal", view="chest, abdomen and pelvis")
    hu = _fitted_in_plane(phantom.hu, IN_PLANE // COARSER)
    slices = SLICES[name]
    if name == "abdomen":
        top = int(np.flatnonzero((phantom.labels == LIVER).any(axis=(1, 2))).max()) + ABOVE_LIVER
        top = min(max(top, slices), len(hu))
        numbers = np.arange(top - slices, top)
    else:
        numbers = continued(len(hu), slices)
    rng = np.random.default_rng(SEED)
    ct = np.empty((slices, IN_PLANE, IN_PLANE), np.int16)
    for target, source in zip(ct, numbers, strict=True):
        noisy = _twice_as_fine(hu[source].astype(np.float32)) + rng.normal(0, NOISE_HU, target.shape)
        target[:] = np.clip(np.rint(noisy), -1024, 3071)
    return ct


def continued(available: int, wanted: int) -> np.ndarray:
    """Which slices make a longer scan: all there are in the middle, and the last ones back and forth at the ends."""
    below = (wanted - available) // 2
    numbers = np.arange(wanted) - below
    period = 2 * CONTINUED

    def back_and_forth(beyond: np.ndarray) -> np.ndarray:
        return CONTINUED - np.abs(beyond % period - CONTINUED)

    low, high = numbers < 0, numbers >= available
    numbers[low] = back_and_forth(-numbers[low])
    numbers[high] = available - 1 - back_and_forth(numbers[high] - available + 1)
    return numbers


def _fitted_in_plane(hu: np.ndarray, size: int) -> np.ndarray:
    """Cut or filled with air to `size` by `size`, about the middle."""
    for axis in (1, 2):
        have = hu.shape[axis]
        if have > size:
            start = (have - size) // 2
            hu = hu[(slice(None),) * axis + (slice(start, start + size),)]
        elif have < size:
            before = (size - have) // 2
            sides = [(before, size - have - before) if a == axis else (0, 0) for a in range(3)]
            hu = np.pad(hu, sides, constant_values=AIR_HU)
    return hu


def _twice_as_fine(image: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    return ndimage.zoom(image, COARSER, order=1, mode="nearest", grid_mode=True)


def _write(hu: np.ndarray, path: Path) -> None:
    """Write beside and rename, so that a stopped run leaves no half file."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(hu)
    image.SetSpacing(SPACING_ZYX_MM[::-1])
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}.nii.gz")
    try:
        sitk.WriteImage(image, str(temporary), useCompression=True)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("name", choices=sorted(SLICES))
    parser.add_argument("file", type=Path, nargs="?", help="write it there (default: into the cache)")
    arguments = parser.parse_args()
    if arguments.file:
        _write(make_ct(arguments.name), arguments.file)
        print(arguments.file)
    else:
        print(benchmark_ct(arguments.name))
