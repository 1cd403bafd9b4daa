"""Volume, shape and density of every structure and every lesion: one table, for files, the terminal, the report and
Slicer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg import labels
from flareseg.expectation import expected_quality
from flareseg.labels import TUMOUR, Structure
from flareseg.results import columns
from flareseg.results.burden import with_burden
from flareseg.results.columns import DECIMALS, END_DECIMALS
from flareseg.results.densities import Densities
from flareseg.results.features import features_of
from flareseg.results.lesions import Lesion, find_lesions
from flareseg.results.mesh import largest_diameter_mm, mesh_of
from flareseg.results.regions import Regions
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Orientation, Triple, Volume

COLUMNS = tuple(column.name for column in columns.COLUMNS)
PERCENTILES = {"hu_p5": 5, "hu_p25": 25, "hu_median": 50, "hu_p75": 75, "hu_p95": 95}


@dataclass(frozen=True)
class Measurement:
    """One structure, or one lesion, of one case; `columns.py` says of every field what it is.

    What is None was not measured: of a structure that was not found, everything but its volume of 0.

    Attributes:
        lesion: number of the lesion, the largest is 1; None: the row is about the structure as a whole.
        voxels: how many it has; 0 where it was not found.
        longest_start_xyz_mm, longest_end_xyz_mm, perpendicular_start_xyz_mm, perpendicular_end_xyz_mm: where a lesion's
            diameters end in the patient, LPS.
        features: PyRadiomics' by their names; None where nobody asked for them.
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
    surface_cm2: float | None = None
    diameter_3d_mm: float | None = None
    hu_p5: float | None = None
    hu_p25: float | None = None
    hu_median: float | None = None
    hu_p75: float | None = None
    hu_p95: float | None = None
    with_lesions_ml: float | None = None
    lesions_count: int | None = None
    lesions_ml: float | None = None
    lesions_percent: float | None = None
    largest_lesion_ml: float | None = None
    largest_lesion_mm: float | None = None
    features: dict[str, float] | None = field(default=None, hash=False)

    def as_row(self) -> dict[str, Any]:
        """Every column by its name; with features, also every one of these, None where it was not measured."""
        row = {name: getattr(self, name) for name in COLUMNS}
        if self.features is not None:
            row |= {column.name: self.features.get(column.name) for column in columns.FEATURES}
        return row


def measure(segmentation: Segmentation, volume: Volume, *, features: bool = False) -> list[Measurement]:
    """Measure every structure that was looked for, by value, and then every lesion, by volume.

    Args:
        segmentation: labels on the grid of `volume`.
        volume: the CT.
        features: also PyRadiomics' features of shape and first order, which take longer.

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
    if segmentation.labels.shape != volume.hu.shape:
        raise ValueError(f"labels of shape {segmentation.labels.shape} on a CT of {volume.hu.shape}")
    rows = structure_rows(segmentation, volume, features=features)
    tumour = next((structure for structure in segmentation.structures if structure.name == TUMOUR), None)
    if tumour and any(row.voxels for row in rows if row.value == tumour.value):
        rows += _lesion_rows(tumour, segmentation, volume, features)
    return with_burden(rows, segmentation.geometry.voxel_ml)


def structure_rows(segmentation: Segmentation, volume: Volume | None, *, features: bool = False) -> list[Measurement]:
    """Measure every structure that was looked for, by value; without a CT on the same grid, no HU."""
    array = segmentation.labels
    regions = Regions(array)
    rows = []
    for structure in segmentation.structures:
        region = regions.of(structure.value)
        row = Measurement(
            case=segmentation.name,
            model=segmentation.model,
            value=structure.value,
            structure=structure.name,
            lesion=None,
            voxels=0,
            volume_ml=0.0,
            mean_hu=None,
            sd_hu=None,
            touches_border=region is not None and region.touches_border(array.shape),
            features={} if features else None,
        )
        if region:
            hu = region.of(volume.hu) if volume else None
            row = replace(row, expected_dsc=_expected_dsc(segmentation, structure))
            row = _of_voxels(row, region.mask, hu, segmentation.geometry)
        rows.append(row)
    return rows


def _of_voxels(row: Measurement, mask: NDArray[np.bool_], hu: NDArray[Any] | None, geometry: Geometry) -> Measurement:
    """The row with all that follows from a mask, in the order of the file's axes, and the HU in it."""
    voxels, spacing = int(np.count_nonzero(mask)), geometry.spacing_zyx_mm
    densities = None if hu is None else Densities.of(hu)
    numbers = {
        "volume_ml": voxels * geometry.voxel_ml,
        "surface_cm2": mesh_of(mask, spacing).area_mm2 / 100,
        "diameter_3d_mm": largest_diameter_mm(mask, spacing),
    }
    if densities:
        numbers |= {"mean_hu": densities.mean, "sd_hu": float(np.sqrt(densities.variance))}
        numbers |= {name: densities.percentile(per_cent) for name, per_cent in PERCENTILES.items()}
    features = None if row.features is None else features_of(mask, densities, spacing)
    rounded: dict[str, Any] = {name: round(value, DECIMALS[name]) for name, value in numbers.items()}
    return replace(row, voxels=voxels, features=features, **rounded)


def _expected_dsc(segmentation: Segmentation, structure: Structure) -> float | None:
    expectation = segmentation.expectations.get(structure.name)
    if expectation is None or expectation.expected_dsc is None:
        return None
    return round(expectation.expected_dsc, DECIMALS["expected_dsc"])


def _lesion_rows(
    tumour: Structure, segmentation: Segmentation, volume: Volume, features: bool
) -> Iterator[Measurement]:
    orientation = Orientation.of(segmentation.geometry)
    hu = orientation.to_canonical(volume.hu)
    for lesion in find_lesions(segmentation, volume):
        row = _lesion_row(lesion, tumour, segmentation, features)
        mask = np.ascontiguousarray(orientation.from_canonical(lesion.mask))
        yield _of_voxels(row, mask, hu[lesion.box][lesion.mask], segmentation.geometry)


def _lesion_row(lesion: Lesion, tumour: Structure, segmentation: Segmentation, features: bool) -> Measurement:
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
        volume_ml=0.0,
        mean_hu=None,
        sd_hu=None,
        touches_border=lesion.touches_border,
        host=lesion.host.name if lesion.host else None,
        longest_mm=round(lesion.longest.mm, DECIMALS["longest_mm"]),
        perpendicular_mm=round(lesion.perpendicular.mm, DECIMALS["perpendicular_mm"]),
        longest_start_xyz_mm=end(lesion.longest.start_xyz_mm),
        longest_end_xyz_mm=end(lesion.longest.end_xyz_mm),
        perpendicular_start_xyz_mm=end(lesion.perpendicular.start_xyz_mm),
        perpendicular_end_xyz_mm=end(lesion.perpendicular.end_xyz_mm),
        features={} if features else None,
    )


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


def cell(name: str, value: Any) -> str:
    """A value of column `name` as text; what is not there is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(f"{mm:.{END_DECIMALS}f}" for mm in value)
    return f"{value:.{DECIMALS[name]}f}" if name in DECIMALS else str(value)
