"""Small masks with HU, made by arithmetic alone, so that PyRadiomics' answers to them, recorded once, stay valid.

Used by the tests and, in PyRadiomics' own environment, by Testing/benchmarks/record_pyradiomics.py: numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Case:
    """A mask (z, y, x) of one shape with `hu`, int16 or float32; `direction` is ITK's, row by row."""

    mask: np.ndarray
    hu: np.ndarray
    spacing_zyx_mm: tuple[float, float, float]
    direction: tuple[float, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1)


def noise(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Numbers from 0 to 999 without an order, the same on every machine and with every version of numpy."""
    number = np.arange(int(np.prod(shape)), dtype=np.uint64) + np.uint64(1000003 * seed)
    for factor, shift in ((0x9E3779B97F4A7C15, 29), (0xBF58476D1CE4E5B9, 32)):
        number *= np.uint64(factor)
        number ^= number >> np.uint64(shift)
    return (number % np.uint64(1000)).astype(np.int64).reshape(shape)


def ellipsoid(shape: tuple[int, int, int], radii: tuple[float, float, float]) -> np.ndarray:
    """In the middle of an array."""
    at = np.indices(shape).reshape(3, -1).T - (np.array(shape) - 1) / 2
    return ((at / np.array(radii)) ** 2).sum(axis=1).reshape(shape) <= 1


def cases() -> dict[str, Case]:
    """By what they show."""
    thick, fine = (5.0, 0.7, 0.7), (2.5, 0.8, 0.6)
    shape = (9, 14, 16)
    hu = (noise(shape, 1) - 450).astype(np.int16)
    organ = ellipsoid(shape, (3.5, 6.2, 7.1))
    border = np.roll(organ, (-2, 3, -4), (0, 1, 2))
    plate, line, point = (np.zeros(shape, bool) for _ in range(3))
    plate[4, 2:9, 3:13], line[4, 2:9, 3], point[4, 2, 3] = noise((7, 10), 2) < 800, True, True
    pieces = ellipsoid(shape, (1.5, 3, 3))
    pieces[0, 0, 0] = pieces[8, 13, 15] = True
    thirty = np.cos(np.pi / 6), np.sin(np.pi / 6)
    oblique = (thirty[0], -thirty[1], 0, thirty[1], thirty[0], 0, 0, 0, -1)
    return {
        "an organ in thick slices": Case(organ, hu, thick),
        "an organ at the border": Case(border, hu, fine),
        "oblique axes, feet last": Case(organ, hu, fine, oblique),
        "sparse noise": Case(noise(shape, 3) < 120, hu, fine),
        "half noise": Case(noise(shape, 4) < 500, hu, (1.0, 1.0, 1.0)),
        "dense noise": Case(noise(shape, 5) < 900, hu, thick),
        "two voxels far from an organ": Case(pieces, hu, fine),
        "one HU": Case(organ, np.full(shape, 40, np.int16), fine),
        "HU on the edges of bins": Case(organ, (noise(shape, 6) // 200 * 25 - 50).astype(np.int16), fine),
        "fractions of HU": Case(organ, (noise(shape, 7) / 8 - 60).astype(np.float32), fine),
        "a plate of one slice": Case(plate, hu, thick),
        "a line of voxels": Case(line, hu, fine),
        "one voxel": Case(point, hu, fine),
        "the whole image": Case(np.ones(shape, bool), hu, thick),
    }
