"""PyRadiomics' features of shape (3-D) and of first order, by its names and default definitions.

All that `RadiomicsFeatureExtractor` 3.0.1 gives of an original image with both classes enabled and no other setting:
no resampling, no normalization, bins of 25 HU from 0, no shift. docs/measurements.md says where they differ.

Definitions: van Griethuysen et al., Cancer Research 2017; Zwanenburg et al. (IBSI), Radiology 2020.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flareseg.results.densities import Densities
from flareseg.results.mesh import largest_diameter_mm, largest_diameters_in_planes_mm, mesh_of
from flareseg.volume import Triple

BIN_HU = 25
DIGITS = 10
"""Significant ones that are kept."""
LEAST_AXES = 2
"""PyRadiomics measures nothing that is thicker than one voxel along fewer axes."""


def features_of(mask: NDArray[np.bool_], densities: Densities | None, spacing_zyx_mm: Triple) -> dict[str, float]:
    """Features by their names; none of what is a line of voxels or a single one, none of first order without HU, and
    none that is not finite.

    Args:
        mask: (z, y, x) in the order of the file's axes, the smallest box that holds all of it.
        densities: the HU in it.
        spacing_zyx_mm: voxel size.
    """
    if sum(size > 1 for size in mask.shape) < LEAST_AXES:
        return {}
    voxel_mm3 = float(np.prod(spacing_zyx_mm))
    shape = {f"original_shape_{name}": value for name, value in _shape(mask, spacing_zyx_mm).items()}
    if densities:
        first = _first_order(densities, voxel_mm3).items()
        shape |= {f"original_firstorder_{name}": value for name, value in first}
    return {name: float(f"{value:.{DIGITS}g}") for name, value in shape.items() if np.isfinite(value)}


def _shape(mask: NDArray[np.bool_], spacing_zyx_mm: Triple) -> dict[str, float]:
    mesh = mesh_of(mask, spacing_zyx_mm)
    across_z, across_y, across_x = largest_diameters_in_planes_mm(mask, spacing_zyx_mm)
    least, minor, major = np.sqrt(_variances_mm2(mask, spacing_zyx_mm))
    return {
        "Elongation": minor / major,
        "Flatness": least / major,
        "LeastAxisLength": 4 * least,
        "MajorAxisLength": 4 * major,
        "Maximum2DDiameterColumn": across_y,
        "Maximum2DDiameterRow": across_x,
        "Maximum2DDiameterSlice": across_z,
        "Maximum3DDiameter": largest_diameter_mm(mask, spacing_zyx_mm),
        "MeshVolume": mesh.volume_mm3,
        "MinorAxisLength": 4 * minor,
        "Sphericity": (36 * np.pi * mesh.volume_mm3**2) ** (1 / 3) / mesh.area_mm2,
        "SurfaceArea": mesh.area_mm2,
        "SurfaceVolumeRatio": mesh.area_mm2 / mesh.volume_mm3 if mesh.volume_mm3 else np.inf,
        "VoxelVolume": int(np.count_nonzero(mask)) * float(np.prod(spacing_zyx_mm)),
    }


def _variances_mm2(mask: NDArray[np.bool_], spacing_zyx_mm: Triple) -> NDArray[np.float64]:
    """Of the places of voxels along their three main directions, ascending; none is below 0."""
    count = np.count_nonzero(mask)
    moments = np.zeros((3, 3))
    along = [np.arange(size) - (size - 1) / 2 for size in mask.shape]
    # How many voxels lie at each pair of indices is all that the products of two coordinates need.
    pairs = {(0, 1): mask.sum(axis=2), (0, 2): mask.sum(axis=1), (1, 2): mask.sum(axis=0)}
    singles = (pairs[0, 1].sum(axis=1), pairs[0, 1].sum(axis=0), pairs[0, 2].sum(axis=0))
    means = [float(n @ place) / count for n, place in zip(singles, along, strict=True)]
    for axis, (n, place) in enumerate(zip(singles, along, strict=True)):
        moments[axis, axis] = n @ (place - means[axis]) ** 2
    for (a, b), n in pairs.items():
        moments[a, b] = moments[b, a] = (along[a] - means[a]) @ n @ (along[b] - means[b])
    mm = np.asarray(spacing_zyx_mm)
    found = np.linalg.eigvalsh(moments / count * np.outer(mm, mm))
    # Rounding may bring that across a flat mask below 0.
    return np.array([max(float(variance), 0.0) for variance in found])


def _first_order(densities: Densities, voxel_mm3: float) -> dict[str, float]:
    hu, mean = densities.hu, densities.mean
    middle = densities.between(densities.percentile(10), densities.percentile(90))
    bins = np.floor(hu / BIN_HU)
    share = np.add.reduceat(densities.voxels, np.flatnonzero(np.diff(bins, prepend=-np.inf))) / densities.count
    energy = float(hu**2 @ densities.voxels)
    third, fourth = (densities.average((hu - mean) ** power) for power in (3, 4))
    variance = densities.variance
    return {
        "10Percentile": densities.percentile(10),
        "90Percentile": densities.percentile(90),
        "Energy": energy,
        "Entropy": abs(float(share @ np.log2(share))),
        "InterquartileRange": densities.percentile(75) - densities.percentile(25),
        "Kurtosis": fourth / variance**2 if variance else 0.0,
        "Maximum": float(hu[-1]),
        "MeanAbsoluteDeviation": densities.average(np.abs(hu - mean)),
        "Mean": mean,
        "Median": densities.percentile(50),
        "Minimum": float(hu[0]),
        "Range": float(hu[-1] - hu[0]),
        "RobustMeanAbsoluteDeviation": middle.average(np.abs(middle.hu - middle.mean)),
        "RootMeanSquared": float(np.sqrt(energy / densities.count)),
        "Skewness": third / variance**1.5 if variance else 0.0,
        "TotalEnergy": voxel_mm3 * energy,
        "Uniformity": float(share @ share),
        "Variance": variance,
    }
