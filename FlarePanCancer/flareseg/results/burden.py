"""How much of each organ is tumour: what follows from the rows of its lesions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from flareseg.labels import TUMOUR
from flareseg.results.columns import DECIMALS

if TYPE_CHECKING:
    from flareseg.results.measure import Measurement


def with_burden(rows: Sequence[Measurement], voxel_ml: float) -> list[Measurement]:
    """The same rows; those of structures that were found say which lesions lie in them, that of the tumour all of them.

    Where tumours were not looked for, nothing is known of lesions, and the rows stay as they are.

    Args:
        rows: of one case, structures and lesions.
        voxel_ml: volume of a voxel.
    """
    if not any(row.structure == TUMOUR and row.lesion is None for row in rows):
        return list(rows)
    lesions = [row for row in rows if row.lesion is not None]
    return [
        _with_lesions(row, [one for one in lesions if row.structure in (TUMOUR, one.host)], voxel_ml)
        if row.lesion is None and row.voxels
        else row
        for row in rows
    ]


def _with_lesions(row: Measurement, lesions: Sequence[Measurement], voxel_ml: float) -> Measurement:
    voxels = sum(one.voxels for one in lesions)
    together = None if row.structure == TUMOUR else row.voxels + voxels
    return replace(
        row,
        with_lesions_ml=None if together is None else round(together * voxel_ml, DECIMALS["with_lesions_ml"]),
        lesions_count=len(lesions),
        lesions_ml=round(voxels * voxel_ml, DECIMALS["lesions_ml"]),
        lesions_percent=None if together is None else round(100 * voxels / together, DECIMALS["lesions_percent"]),
        largest_lesion_ml=max((one.volume_ml for one in lesions), default=None),
        largest_lesion_mm=max((one.longest_mm for one in lesions if one.longest_mm is not None), default=None),
    )
