"""The two transforms of a NIfTI header, kept with a CT's grid, so that a result can state both as its CT does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""NIfTI's and Slicer's world is RAS, ours is LPS; the same matrix leads back."""
MOST_SHEAR = 1e-4
"""ITK's: axes of the sform count as perpendicular when no cosine between them is larger."""
SIMILAR = 1e-4
"""ITK's: qform and sform whose numbers differ by less say the same."""
SCANNER_ANATOMICAL = 1
METRES, MILLIMETRES, MICRONS = 1, 2, 3

Row = tuple[float, float, float, float]


@dataclass(frozen=True)
class NiftiForms:
    """Where a NIfTI header says that its voxels are, in its own words and unit of length; all numbers are finite.

    Attributes:
        qform_code, sform_code: what each transform refers to; 0 says that it does not count.
        qfac: -1 where the third axis of the quaternion's rotation runs backwards, otherwise 1.
        pixdim_xyz: voxel size.
        quaternion_bcd: rotation of the qform.
        qoffset_xyz: RAS position of the first voxel by the qform.
        srow_xyz: upper three rows of the sform, voxel (x, y, z, 1) to RAS.
        unit_code: 1 for metres, 2 for millimetres, 3 for microns, 0 where the header does not say.
    """

    qform_code: int
    sform_code: int
    qfac: float
    pixdim_xyz: tuple[float, float, float]
    quaternion_bcd: tuple[float, float, float]
    qoffset_xyz: tuple[float, float, float]
    srow_xyz: tuple[Row, Row, Row]
    unit_code: int

    @property
    def unit_mm(self) -> float:
        """Length of the header's unit; an unknown one is taken for a millimetre, as everybody does."""
        return {METRES: 1000.0, MICRONS: 0.001}.get(self.unit_code, 1.0)

    def sizes_mm(self) -> NDArray[np.float64]:
        """Voxel size along x, y, z by pixdim."""
        return np.asarray(self.pixdim_xyz) * self.unit_mm

    def qform(self) -> NDArray[np.float64]:
        """4 by 4 matrix from (x, y, z) voxel index to RAS mm."""
        b, c, d = self.quaternion_bcd
        rest = 1.0 - (b * b + c * c + d * d)
        if rest < 1e-7:  # half a turn; rounding may leave it longer than 1
            a, length = 0.0, float(np.sqrt(b * b + c * c + d * d))
            b, c, d = b / length, c / length, d / length
        else:
            a = float(np.sqrt(rest))
        rotation = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
            ]
        )
        matrix = np.eye(4)
        matrix[:3, :3] = rotation * self.sizes_mm() * [1.0, 1.0, self.qfac]
        matrix[:3, 3] = np.asarray(self.qoffset_xyz) * self.unit_mm
        return matrix

    def sform(self) -> NDArray[np.float64]:
        """4 by 4 matrix from (x, y, z) voxel index to RAS mm."""
        matrix = np.eye(4)
        matrix[:3] = np.asarray(self.srow_xyz) * self.unit_mm
        return matrix

    def followed(self) -> str:
        """Which of both counts: "sform", "qform", or "" where the header states no position.

        The rule is ITK's, hence also Slicer's: the sform where it is the only one, refers to the scanner, or says the
        same as the qform; never while its axes are sheared and there is a qform.
        """
        if self.qform_code <= 0:
            return "sform" if self.sform_code > 0 else ""
        if self.sform_code <= 0 or shear_of(self.sform()[:3, :3]) > MOST_SHEAR:
            return "qform"
        if self.sform_code == SCANNER_ANATOMICAL or np.allclose(self.sform(), self.qform(), rtol=0, atol=SIMILAR):
            return "sform"
        return "qform"

    def axes_and_origin(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """By the transform that counts: LPS unit vectors along x, y, z as columns, and LPS mm of the first voxel."""
        chosen = self.followed()
        if not chosen:
            return np.eye(3), np.zeros(3)
        lps = LPS_TO_RAS @ (self.sform() if chosen == "sform" else self.qform())
        return lps[:3, :3] / np.linalg.norm(lps[:3, :3], axis=0), lps[:3, 3]

    def index_to_world(self) -> NDArray[np.float64]:
        """4 by 4 matrix from (x, y, z) voxel index to LPS mm: the transform that counts, with voxel sizes by pixdim."""
        matrix = np.eye(4)
        axes, matrix[:3, 3] = self.axes_and_origin()
        matrix[:3, :3] = axes * self.sizes_mm()
        return matrix

    def disagreement_mm(self, shape_zyx: tuple[int, int, int]) -> float:
        """How far apart both transforms put a voxel, at most; 0 where there are no two."""
        if self.qform_code <= 0 or self.sform_code <= 0:
            return 0.0
        return farthest_mm(self.sform(), self.qform(), shape_zyx)


def shear_of(axes: NDArray[np.float64]) -> float:
    """The largest cosine between any two columns of a 3 by 3 matrix."""
    unit = axes / np.linalg.norm(axes, axis=0)
    return float(np.abs(unit.T @ unit - np.eye(3)).max())


def farthest_mm(one: NDArray[np.float64], other: NDArray[np.float64], shape_zyx: tuple[int, int, int]) -> float:
    """The largest distance between where two 4 by 4 matrices put a voxel of the grid."""
    last = np.subtract(shape_zyx[::-1], 1)
    corners = np.array([[*np.multiply(corner, last), 1.0] for corner in np.ndindex(2, 2, 2)])
    return float(np.linalg.norm(corners @ (one - other).T, axis=1).max())
