"""TotalSegmentator's way around nnU-Net, as its version 2.18.0 goes it (Wasserthal et al., Radiology: AI 2023).

Its CTs are interpolated to the grid of the net, linearly, with the centres of the first and the last voxel kept where
they are, not the outer edges as in nnU-Net, and are cut to whole HU. Labels are made on that grid, and brought back by
the nearest voxel. So all classes of 118 never exist on the grid of the CT, and the labels show the steps of the net's
grid.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from flareseg.inference.body import body_box, whole
from flareseg.inference.case import Case
from flareseg.inference.engine import Engine
from flareseg.inference.logits_to_labels import winners
from flareseg.inference.normalization import normalize
from flareseg.inference.parity import ParityEngine
from flareseg.inference.resample import NO_WEIGHT, SLAB_BYTES, target_shape
from flareseg.inference.strategy import Strategy
from flareseg.model.bundle import Bundle
from flareseg.options import Options
from flareseg.progress import Progress
from flareseg.volume import Box, Index, Triple, box_of


class TotalSegmentatorStrategy(Strategy):
    """With parity the net is computed in TotalSegmentator's precision, else in the machine's own. The windows are
    TotalSegmentator's either way: the net normalises over its window, and with others it draws other organs in thin
    slabs.

    Args:
        bundle: the model, whose plan has the resampling "corners".
        options: of the run.
    """

    def __init__(self, bundle: Bundle, options: Options) -> None:
        kind = ParityEngine if options.parity else Engine
        super().__init__(kind(bundle.plan, bundle.weights, options, ensemble=bundle.ensemble))
        self._exact = bool(options.parity)

    def find_body(self, case: Case) -> Box:
        return whole(case.ct.hu.shape)

    def label(self, case: Case, box: Box) -> NDArray[np.uint8]:
        hu, plan = case.ct.hu[box], self.plan
        with case.progress.stage("resample"):
            spacing = as_stored(case.spacing_zyx_mm)
            if spacing == plan.spacing_zyx_mm:
                image = hu.astype(np.float32)
            else:
                out = target_shape(hu.shape, spacing, plan.spacing_zyx_mm)
                image = zoomed(hu, out, plan.image_order, progress=case.progress)
        part = box_of(image)
        if part is None or self._is_air(image):
            return np.zeros(hu.shape, np.uint8)
        with case.progress.stage("network"):
            seen = torch.from_numpy(normalize(image[part], plan.intensity))
            logits = self.engine.logits(seen.to(self.engine.device), case.progress)
        with case.progress.stage("labels"):
            labels = np.zeros(image.shape, np.uint8)
            labels[part] = winners(logits).cpu().numpy()
            if case.certainty is not None:
                certainty = np.full(image.shape, 100, np.uint8)
                certainty[part] = self.engine.confidence(logits, labels[part].shape)
                case.certainty[box] = nearest(certainty, hu.shape)
            return nearest(self.values(labels), hu.shape)

    def _is_air(self, image: NDArray[np.float32]) -> bool:
        """Whether there is nothing to look at; TotalSegmentator looks all the same."""
        if self._exact or self.plan.intensity.scheme != "ct":
            return False
        return body_box(image, self.plan.spacing_zyx_mm) is None


def as_stored(spacing_zyx_mm: Triple) -> Triple:
    """As the header of a NIfTI file holds it, in single precision: that decides which halves of voxels are rounded."""
    z, y, x = (float(np.float32(mm)) for mm in spacing_zyx_mm)
    return z, y, x


def zoomed(
    hu: NDArray[Any], out_shape_zyx: Index, order: int, *, progress: Progress | None = None
) -> NDArray[np.float32]:
    """(z, y, x) HU on another grid, by splines along every axis, cut to whole numbers towards 0.

    In double precision, as scipy's `zoom`: in single, some would be cut to the next number.

    Args:
        hu: (z, y, x).
        out_shape_zyx: of the grid, whose first and last voxel have the centres of those of `hu`.
        order: of the splines.
    """
    across, rows, columns = (
        torch.from_numpy(corner_matrix(size_in, size_out, order))
        for size_in, size_out in zip(hu.shape, out_shape_zyx, strict=True)
    )
    middle = torch.empty((hu.shape[0], *out_shape_zyx[1:]), dtype=torch.float64)
    slices = max(1, SLAB_BYTES // (8 * hu.shape[1] * hu.shape[2]))
    for start in range(0, len(hu), slices):
        slab = torch.from_numpy(hu[start : start + slices].astype(np.float64, order="C"))
        middle[start : start + slices] = torch.matmul(torch.matmul(rows, slab), columns.T)
        if progress:
            progress.update(start / len(hu))
    result = (across @ middle.flatten(1)).trunc_().float()
    whole_hu: NDArray[np.float32] = result.reshape(out_shape_zyx).numpy()
    return whole_hu


def corner_matrix(size_in: int, size_out: int, order: int) -> NDArray[np.float64]:
    """(size_out, size_in) matrix of the spline interpolation along one axis, aligned at the centres of the first and of
    the last voxel."""
    if size_in == 1:
        return np.ones((size_out, 1))
    matrix: NDArray[np.float64] = ndimage.zoom(np.eye(size_in), (size_out / size_in, 1), order=order, mode="nearest")
    matrix[np.abs(matrix) < NO_WEIGHT] = 0
    return matrix


def nearest(values: NDArray[np.uint8], out_shape_zyx: Index) -> NDArray[np.uint8]:
    """(z, y, x) the nearest voxel's value on another grid, aligned as in `corner_matrix`."""
    for axis, size in enumerate(out_shape_zyx):
        places = np.arange(values.shape[axis], dtype=np.float64)
        indices = ndimage.zoom(places, size / len(places), order=0, mode="nearest").astype(np.intp)
        values = np.take(values, indices, axis)
    return values
