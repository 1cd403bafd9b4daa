"""Volume and density of every structure and every lesion: one table, for files, the terminal, the report and Slicer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg import labels
from flareseg.errors import UsageError
from flareseg.expectation import expected_quality
from flareseg.io.atomic import atomic_path
from flareseg.labels import TUMOUR, Structure
from flareseg.results.lesions import Lesion, find_lesions
from flareseg.segmentation import Segmentation
from flareseg.text import Number, as_json, write_csv_rows
from flareseg.volume import Triple, Volume

DECIMALS = {"volume_ml": 3, "mean_hu": 2, "sd_hu": 2, "longest_mm": 1, "perpendicular_mm": 1, "expected_dsc": 2}
END_DECIMALS = 2
"""Of the coordinates of a diameter's ends."""
VOXELS_AT_ONCE = 2**20
ENDINGS = (".csv", ".json")


@dataclass(frozen=True)
class Measurement:
    """One structure, or one lesion, of one case; the fields are the columns of the files.

    Attributes:
        case: name of the case.
        model: name and version of the model.
        value, structure: number and name of the structure.
        lesion: number of the lesion, the largest is 1; None: the row is about the structure as a whole.
        voxels: how many it has; 0 where it was not found.
        volume_ml: their volume.
        mean_hu, sd_hu: mean and standard deviation (of all voxels, not an estimate from a sample) of the CT in it;
            None where it was not found.
        touches_border: whether it reaches a face of the volume, so that the field of view may have cut it off.
        host: of a lesion, the organ in which it lies; None: in none of those segmented.
        longest_mm, perpendicular_mm: of a lesion, its axial diameters, see `lesions.py`.
        expected_dsc: of a structure as a whole, the DSC that is expected of it, see `Expectation`; None: not known.
        longest_start_xyz_mm, longest_end_xyz_mm, perpendicular_start_xyz_mm, perpendicular_end_xyz_mm: where they end
            in the patient, LPS.
    """

    case: str
    model: str
    value: int
    structure: str
    lesion: int | None
    voxels: int
    volume_ml: float
    mean_hu: float | None
    sd_hu: float | None
    touches_border: bool
    host: str | None = None
    longest_mm: float | None = None
    perpendicular_mm: float | None = None
    longest_start_xyz_mm: Triple | None = None
    longest_end_xyz_mm: Triple | None = None
    perpendicular_start_xyz_mm: Triple | None = None
    perpendicular_end_xyz_mm: Triple | None = None
    expected_dsc: float | None = None


COLUMNS = tuple(field.name for field in fields(Measurement))


def measure(segmentation: Segmentation, volume: Volume) -> list[Measurement]:
    """Measure every structure that was looked for, by value, and then every lesion, by volume.

    Args:
        segmentation: labels on the grid of `volume`.
        volume: the CT.

    Raises:
        ValueError: when the grids differ.

    Example:
        >>> from flareseg.volume import Geometry
        >>> liver, grid = labels.by_name("liver"), Geometry((4, 8, 6), (5.0, 2.0, 2.0))
        >>> hu = np.full(grid.shape_zyx, -1000, np.int16)
        >>> hu[1:3, 2:6, 2:4] = 110
        >>> found = np.where(hu > 0, liver.value, 0).astype(np.uint8)
        >>> [row] = measure(Segmentation(found, grid, (liver,)), Volume(hu, grid))
        >>> row.structure, row.volume_ml, row.mean_hu
        ('liver', 0.32, 110.0)
    """
    array = segmentation.labels
    if array.shape != volume.hu.shape:
        raise ValueError(f"labels of shape {array.shape} on a CT of {volume.hu.shape}")
    rows = structure_rows(segmentation, volume)
    tumour = next((structure for structure in segmentation.structures if structure.name == TUMOUR), None)
    if tumour and any(row.voxels for row in rows if row.value == tumour.value):
        rows += [_lesion_row(lesion, tumour, segmentation) for lesion in find_lesions(segmentation, volume)]
    return rows


def structure_rows(segmentation: Segmentation, volume: Volume | None) -> list[Measurement]:
    """Measure every structure that was looked for, by value; without a CT on the same grid, no HU."""
    array = segmentation.labels
    counts, sums, squares = sums_by_value(array, volume.hu if volume else None)
    border = _border_values(array)
    rows = []
    for structure in segmentation.structures:
        count = int(counts[structure.value])
        mean = sums[structure.value] / count if count else 0.0
        variance = max(0.0, squares[structure.value] / count - mean**2) if count else 0.0
        rows.append(
            Measurement(
                case=segmentation.name,
                model=segmentation.model,
                value=structure.value,
                structure=structure.name,
                lesion=None,
                voxels=count,
                volume_ml=round(count * segmentation.geometry.voxel_ml, DECIMALS["volume_ml"]),
                mean_hu=round(float(mean), DECIMALS["mean_hu"]) if count and volume else None,
                sd_hu=round(float(np.sqrt(variance)), DECIMALS["sd_hu"]) if count and volume else None,
                touches_border=bool(border[structure.value]),
                expected_dsc=_expected_dsc(segmentation, structure) if count else None,
            )
        )
    return rows


def _expected_dsc(segmentation: Segmentation, structure: Structure) -> float | None:
    expectation = segmentation.expectations.get(structure.name)
    if expectation is None or expectation.expected_dsc is None:
        return None
    return round(expectation.expected_dsc, DECIMALS["expected_dsc"])


def _lesion_row(lesion: Lesion, tumour: Structure, segmentation: Segmentation) -> Measurement:
    def end(point_xyz_mm: Triple) -> Triple:
        x, y, z = (round(mm, END_DECIMALS) for mm in point_xyz_mm)
        return x, y, z

    return Measurement(
        case=segmentation.name,
        model=segmentation.model,
        value=tumour.value,
        structure=tumour.name,
        lesion=lesion.number,
        voxels=lesion.voxels,
        volume_ml=round(lesion.voxels * segmentation.geometry.voxel_ml, DECIMALS["volume_ml"]),
        mean_hu=None if lesion.mean_hu is None else round(lesion.mean_hu, DECIMALS["mean_hu"]),
        sd_hu=None if lesion.sd_hu is None else round(lesion.sd_hu, DECIMALS["sd_hu"]),
        touches_border=lesion.touches_border,
        host=lesion.host.name if lesion.host else None,
        longest_mm=round(lesion.longest.mm, DECIMALS["longest_mm"]),
        perpendicular_mm=round(lesion.perpendicular.mm, DECIMALS["perpendicular_mm"]),
        longest_start_xyz_mm=end(lesion.longest.start_xyz_mm),
        longest_end_xyz_mm=end(lesion.longest.end_xyz_mm),
        perpendicular_start_xyz_mm=end(lesion.perpendicular.start_xyz_mm),
        perpendicular_end_xyz_mm=end(lesion.perpendicular.end_xyz_mm),
    )


def write_measurements(path: Path, rows: Sequence[Measurement], *, overwrite: bool = False) -> None:
    """Write measurements as .csv or .json, by the ending, whole or not at all.

    In a .csv a text that a spreadsheet would calculate, such as the case name "=1+1", gets an apostrophe before it;
    a .json holds names as they are.

    Raises:
        UsageError: for another ending.
        OutputError: when the file exists and `overwrite` is not set, or cannot be written.
    """
    check_table_name(path)
    with atomic_path(path, overwrite=overwrite) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        if path.suffix.lower() == ".json":
            file.write(as_json([asdict(row) for row in rows], indent=1) + "\n")
            return
        write_csv_rows(file, [COLUMNS])
        write_csv_rows(file, ([_csv_cell(name, getattr(row, name)) for name in COLUMNS] for row in rows))


def check_table_name(path: Path) -> None:
    """See that measurements can be written to a file of this ending.

    Raises:
        UsageError: for another one.
    """
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"Measurements go into a file that ends in {' or '.join(ENDINGS)}, not '{path.name}'.")


def _csv_cell(name: str, value: Any) -> str:
    text = cell(name, value)
    return text if isinstance(value, str) else Number(text)


def as_table(rows: Sequence[Measurement]) -> str:
    """Measurements of one case as lines for a terminal."""
    titles = [title_of(row) for row in rows]
    width = max((len(title) for title in titles), default=0)
    lines = [f"{'':{width}}   volume ml   mean HU     SD"]
    for title, row in zip(titles, rows, strict=True):
        if not row.voxels:
            lines.append(f"{title:{width}}  {'not found':>10}")
            continue
        cut = "  cut by the field of view?" if row.touches_border else ""
        check = expected_quality(row.expected_dsc)
        if row.lesion is not None:
            cut = f"  {row.longest_mm:.0f} × {row.perpendicular_mm:.0f} mm{cut}"
        lines.append(
            f"{title:{width}}  {row.volume_ml:10.1f}  {round(row.mean_hu or 0):8}  {round(row.sd_hu or 0):5}{cut}"
            + (f"  {check}" if check else "")
        )
    return "\n".join(lines)


def in_ml(volume_ml: float) -> str:
    """A volume as people write it: tenths only where they matter."""
    return f"{volume_ml:,.0f}" if volume_ml >= 100 else f"{volume_ml:.1f}"


def title_of(row: Measurement) -> str:
    """What people read, e.g. "Lesion 2, liver"."""
    if row.lesion is None:
        return labels.title_of(row.structure)
    return f"Lesion {row.lesion}, {labels.title_of(row.host).lower() if row.host else 'in none of the organs drawn'}"


def sums_by_value(array: NDArray[np.uint8], hu: NDArray[Any] | None) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Per label value but 0: voxels, sum and sum of squares of the HU (or of anything else), in double precision;
    sums are 0 without HU."""
    totals = np.zeros(256, np.int64), np.zeros(256), np.zeros(256)
    # Slab by slab in the order of memory, whatever the order of the axes.
    axes = np.argsort([-abs(stride) for stride in array.strides], kind="stable")
    array, hu = array.transpose(axes), hu.transpose(axes) if hu is not None else None
    slices_at_once = max(1, VOXELS_AT_ONCE // max(1, array[0].size))
    for first in range(0, len(array), slices_at_once):
        part = slice(first, first + slices_at_once)
        slab = array[part].ravel()
        # Most of a CT is background and needs no adding up.
        inside = np.flatnonzero(slab)
        if inside.size == 0:
            continue
        value = slab[inside]
        totals[0][:] += np.bincount(value, minlength=256)
        if hu is None:
            continue
        weight = hu[part].ravel()[inside].astype(np.float64)
        totals[1][:] += np.bincount(value, weight, minlength=256)
        totals[2][:] += np.bincount(value, weight * weight, minlength=256)
    return totals


def _border_values(array: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Per label value, whether it lies on one of the six faces."""
    result = np.zeros(256, bool)
    for axis in range(3):
        for index in (0, -1):
            result[np.unique(array.take(index, axis=axis))] = True
    return result


def cell(name: str, value: Any) -> str:
    """A value of column `name` as text; what is not there is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(f"{mm:.{END_DECIMALS}f}" for mm in value)
    return f"{value:.{DECIMALS[name]}f}" if name in DECIMALS else str(value)
