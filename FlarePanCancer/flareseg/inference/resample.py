"""From the CT's grid to the network's, equal to nnU-Net's resampling but as small matrices.

Interpolation along one axis is linear in the samples, so it is a matrix; that matrix is what interpolating the columns
of an identity gives. A volume is then three matrix products, which run at the speed of the hardware on any device.
The way back, from logits to labels, is in `logits_to_labels.py`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from flareseg.model.plan import ResamplingRule
from flareseg.progress import Progress
from flareseg.volume import Index, Triple

CPU = torch.device("cpu")
ANISOTROPY_THRESHOLD = 3.0
NO_WEIGHT = 1e-9
MIDDLE_BYTES = 2**30
"""Of slices that are interpolated in plane, but not along z: of the largest CTs all of them would take 4 GB."""
SLAB_BYTES = 16 * 2**20
"""Of single-precision slices at a time: small beside the volume, large beside the cost of starting a product."""


def target_shape(shape_zyx: Index, spacing_zyx_mm: Triple, target_spacing_zyx_mm: Triple) -> Index:
    """Voxels per axis after resampling, at least one; rounded as nnU-Net does."""
    z, y, x = (
        max(1, round(mm / target * size))
        for size, mm, target in zip(shape_zyx, spacing_zyx_mm, target_spacing_zyx_mm, strict=True)
    )
    return z, y, x


def nearest_axis(rule: ResamplingRule, spacing_zyx_mm: Triple, target_spacing_zyx_mm: Triple) -> int | None:
    """The axis along which nnU-Net takes the nearest slice instead of interpolating, or None.

    That is the coarsest axis of the original spacing where it is anisotropic by more than 3, else that of the target
    spacing where that one is; none where two axes are equally coarse.
    """
    if rule == "isotropic":
        return None
    for spacing in (spacing_zyx_mm, target_spacing_zyx_mm):
        if rule == "separate_z" or max(spacing) / min(spacing) > ANISOTROPY_THRESHOLD:
            coarsest = [axis for axis in range(3) if spacing[axis] == max(spacing)]
            return coarsest[0] if len(coarsest) == 1 else None
    return None


def centres(size_in: int, size_out: int) -> NDArray[np.floating[Any]]:
    """Where the voxels of an axis of `size_out` lie in the indices of one of `size_in` that covers the same length."""
    return (np.arange(size_out) + 0.5) * (size_in / size_out) - 0.5


def nearest_indices(size_in: int, size_out: int) -> NDArray[np.intp]:
    """The voxel of the axis of `size_in` that is nearest to each of the axis of `size_out`; the upper one of two."""
    indices: NDArray[np.intp] = np.clip(np.floor(centres(size_in, size_out) + 0.5).astype(np.intp), 0, size_in - 1)
    return indices


def spline_matrix(size_in: int, size_out: int, order: int = 3) -> NDArray[np.float64]:
    """(size_out, size_in) matrix of the spline interpolation along one axis, aligned at the outer edges of the first
    and last voxel; beyond them the border repeats. In double precision, equal to nnU-Net's to the last digit or two."""
    if size_in == 1:
        return np.ones((size_out, 1))
    matrix: NDArray[np.float64] = ndimage.zoom(
        np.eye(size_in), (size_out / size_in, 1), order=order, mode="nearest", grid_mode=True, prefilter=True
    )
    return matrix


@lru_cache(maxsize=64)
def cubic_matrix(size_in: int, size_out: int, order: int = 3) -> NDArray[np.float32]:
    """`spline_matrix` in single precision; cubic unless another order is given."""
    zoomed = spline_matrix(size_in, size_out, order)
    # A spline's weights fade by a factor of 4 per sample until they are denormal numbers, which processors multiply ten
    # times slower; these add nothing that single precision could hold.
    zoomed[np.abs(zoomed) < NO_WEIGHT] = 0
    return np.ascontiguousarray(zoomed, dtype=np.float32)


def resample_image(
    hu: NDArray[Any],
    spacing_zyx_mm: Triple,
    target_spacing_zyx_mm: Triple,
    rule: ResamplingRule,
    *,
    device: torch.device = CPU,
    clip_hu: tuple[float, float] = (-np.inf, np.inf),
    order: int = 3,
    progress: Progress | None = None,
) -> torch.Tensor:
    """Cubic interpolation to the network's grid, a few slices at a time so that the original never becomes float.

    Cubic interpolation overshoots at edges. The result is therefore limited to the range of what it was made from: the
    whole image, or the slice where slices are resampled one by one, as in nnU-Net. A target much coarser than the CT
    is sampled without smoothing first, as in nnU-Net too: networks are trained on images made in this way.

    Args:
        hu: (z, y, x) int16 or float32.
        rule: see `Plan.resampling`.
        device: where the products run and the result stays.
        clip_hu: lowest and highest HU, applied before interpolating, as nnU-Net normalises before it resamples.
        order: of the splines.

    Returns:
        (z, y, x) float32 HU on `device`.
    """
    shape: Index = (hu.shape[0], hu.shape[1], hu.shape[2])
    out = target_shape(shape, spacing_zyx_mm, target_spacing_zyx_mm)
    nearest = nearest_axis(rule, spacing_zyx_mm, target_spacing_zyx_mm)
    tables = [
        _table(size_in, size_out, None if nearest == axis else order)
        for axis, (size_in, size_out) in enumerate(zip(shape, out, strict=True))
    ]
    if nearest == 0 and tables[0] is not None and out[0] < shape[0]:
        # most slices of a thin-sliced CT are the nearest to none; what is left comes one to one
        hu, shape, tables[0] = hu[tables[0]], (out[0], shape[1], shape[2]), None
    steps = [
        _Interpolation(axis, None if table is None else torch.from_numpy(table).to(device))
        for axis, table in enumerate(tables)
    ]
    others = tuple(axis for axis in range(3) if axis != nearest)
    lows, highs, result = [], [], None
    # Rows first or columns first, whichever leaves less for the second product.
    in_plane = steps[1:] if out[1] * shape[2] <= out[2] * shape[1] else steps[:0:-1]
    slices = max(1, SLAB_BYTES // (4 * shape[1] * shape[2]))
    for part in _parts(shape[0], 4 * out[1] * out[2]) if steps[0].is_product else [slice(0, shape[0])]:
        middle = torch.empty((part.stop - part.start, out[1], out[2]), device=device)
        for start in range(part.start, part.stop, slices):
            stop = min(start + slices, part.stop)
            slab = torch.from_numpy(hu[start:stop].astype(np.float32, order="C")).to(device).clamp_(*clip_hu)
            lows.append(slab.amin(others, keepdim=True))
            highs.append(slab.amax(others, keepdim=True))
            for step in in_plane:
                slab = step(slab)
            middle[start - part.start : stop - part.start] = slab
            if progress:
                progress.update(start / shape[0])
        result = steps[0](middle, part, result)
        del middle  # before there is another
    assert result is not None
    if out == shape:
        return result
    if nearest == 0:
        low, high = steps[0](torch.cat(lows)), steps[0](torch.cat(highs))
    else:
        low, high = torch.cat(lows).amin(0, keepdim=True), torch.cat(highs).amax(0, keepdim=True)
        if nearest is not None:
            low, high = steps[nearest](low), steps[nearest](high)
    return result.clamp_(low, high)


def _parts(size: int, slice_bytes: int) -> list[slice]:
    """An axis in parts whose slices fit into `MIDDLE_BYTES`; one part, but for the largest CTs."""
    length = max(1, MIDDLE_BYTES // slice_bytes)
    return [slice(start, min(start + length, size)) for start in range(0, size, length)]


def _table(size_in: int, size_out: int, order: int | None) -> NDArray[Any] | None:
    """What interpolates along one axis: a matrix of splines, indices where `order` is None, or None for no change."""
    if size_in == size_out:
        return None
    return nearest_indices(size_in, size_out) if order is None else cubic_matrix(size_in, size_out, order)


class _Interpolation:
    """Interpolation of (z, y, x) float32 volumes along one axis, by a `_table`."""

    def __init__(self, axis: int, table: torch.Tensor | None) -> None:
        self._axis, self._table = axis, table

    @property
    def is_product(self) -> bool:
        """Whether it adds up weighted samples, so that some of the samples can be added to the others."""
        return self._table is not None and self._table.is_floating_point()

    def __call__(
        self, volume: torch.Tensor, part: slice = slice(None), so_far: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Interpolate; or add to `so_far` what `volume` contributes, which is that part of an axis 0 of products."""
        if self._table is None:
            return volume
        if so_far is not None:
            so_far.flatten(1).addmm_(self._table[:, part], volume.flatten(1))
            return so_far
        if not self._table.is_floating_point():
            return volume.index_select(self._axis, self._table)
        if self._axis == 0:
            return (self._table[:, part] @ volume.flatten(1)).reshape(-1, *volume.shape[1:])
        if self._axis == 1:
            return torch.bmm(self._table.expand(len(volume), -1, -1), volume)
        return volume @ self._table.T
