"""The columns of measurements, each described once: files, Slicer's table and the data dictionary follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

TEXT, WHOLE, NUMBER, FLAG, POINT = "text", "whole number", "number", "yes or no", "point"
BOTH, STRUCTURE, LESION = "structure, lesion", "structure", "lesion"
END_DECIMALS = 2
"""Of the coordinates of a point."""

_OWN = "flareseg"
_RECIST = "axial diameters of RECIST 1.1 (Eisenhauer et al., Eur J Cancer 2009)"
_PYRADIOMICS = "PyRadiomics 3.0.1, {} (van Griethuysen et al., Cancer Res 2017)"
_SHAPE, _FIRST_ORDER = _PYRADIOMICS.format("class shape"), _PYRADIOMICS.format("class firstorder")


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: as in files; it ends with the unit, but for PyRadiomics' own names.
        unit: "" for what has none.
        kind: what its cells hold.
        rows: which rows have it; it is empty in the others, and where it was not measured.
        definition: one line.
        source: who defined it so.
        decimals: of a number; None: ten significant digits.
    """

    name: str
    unit: str
    kind: str
    rows: str
    definition: str
    source: str = _OWN
    decimals: int | None = None


def _ends(of: str) -> tuple[Column, ...]:
    return tuple(
        Column(f"{of}_{end}_xyz_mm", "mm", POINT, LESION, f"{end} of {of}_mm in the patient, LPS x, y, z", _RECIST)
        for end in ("start", "end")
    )


def _percentile(name: str, words: str) -> Column:
    text = f"{words} of the HU of its voxels, interpolated linearly"
    return Column(name, "HU", NUMBER, BOTH, text, "numpy's default percentile", 2)


COLUMNS = (
    Column("case", "", TEXT, BOTH, "name of the case"),
    Column("model", "", TEXT, BOTH, "name and version of the model"),
    Column("value", "", WHOLE, BOTH, "number of the structure in the label map"),
    Column("structure", "", TEXT, BOTH, "name of the structure"),
    Column("lesion", "", WHOLE, LESION, "number of the lesion, the largest is 1; empty: the row is about a structure"),
    Column("voxels", "", WHOLE, BOTH, "how many it has; 0: it was looked for and not found"),
    Column("volume_ml", "ml", NUMBER, BOTH, "volume of its voxels", decimals=3),
    Column("mean_hu", "HU", NUMBER, BOTH, "mean HU of its voxels", decimals=2),
    Column("sd_hu", "HU", NUMBER, BOTH, "standard deviation of their HU, of all, not from a sample", decimals=2),
    Column("touches_border", "", FLAG, BOTH, "whether it reaches a face of the CT, which may have cut it off"),
    Column("host", "", TEXT, LESION, "organ in which it lies; empty: in none of those segmented"),
    Column("longest_mm", "mm", NUMBER, LESION, "longest diameter in an axial plane", _RECIST, 1),
    Column("perpendicular_mm", "mm", NUMBER, LESION, "longest one at a right angle to it in its plane", _RECIST, 1),
    *_ends("longest"),
    *_ends("perpendicular"),
    Column("expected_dsc", "", NUMBER, STRUCTURE, "DSC that is expected of it by the model's calibration", decimals=2),
    Column("surface_cm2", "cm2", NUMBER, BOTH, "area of its mesh by marching cubes", _SHAPE, 3),
    Column("diameter_3d_mm", "mm", NUMBER, BOTH, "largest distance of two vertices of its mesh", _SHAPE, 1),
    _percentile("hu_p5", "5th percentile"),
    _percentile("hu_p25", "25th percentile"),
    _percentile("hu_median", "median"),
    _percentile("hu_p75", "75th percentile"),
    _percentile("hu_p95", "95th percentile"),
    Column("with_lesions_ml", "ml", NUMBER, STRUCTURE, "volume of the organ and the lesions in it", decimals=3),
    Column("lesions_count", "", WHOLE, STRUCTURE, "lesions in the organ; of the tumour: in all"),
    Column("lesions_ml", "ml", NUMBER, STRUCTURE, "their volume together", decimals=3),
    Column("lesions_percent", "%", NUMBER, STRUCTURE, "lesions_ml as a share of with_lesions_ml", decimals=2),
    Column("largest_lesion_ml", "ml", NUMBER, STRUCTURE, "volume of the largest of them", decimals=3),
    Column("largest_lesion_mm", "mm", NUMBER, STRUCTURE, "the greatest longest_mm among them", _RECIST, 1),
)
"""Of every measurement. Names and order stay: new ones come after."""
DECIMALS = {column.name: column.decimals for column in COLUMNS if column.decimals is not None}


def _shape(name: str, unit: str, definition: str) -> Column:
    return Column(f"original_shape_{name}", unit, NUMBER, BOTH, definition, _SHAPE)


def _first_order(name: str, unit: str, definition: str) -> Column:
    return Column(f"original_firstorder_{name}", unit, NUMBER, BOTH, definition, _FIRST_ORDER)


FEATURES = (
    _shape("Elongation", "", "MinorAxisLength / MajorAxisLength"),
    _shape("Flatness", "", "LeastAxisLength / MajorAxisLength"),
    _shape("LeastAxisLength", "mm", "4 times the root of the least variance of the places of its voxels"),
    _shape("MajorAxisLength", "mm", "4 times the root of the greatest variance of the places of its voxels"),
    _shape("Maximum2DDiameterColumn", "mm", "largest distance of two mesh vertices of one y in the array"),
    _shape("Maximum2DDiameterRow", "mm", "largest distance of two mesh vertices of one x in the array"),
    _shape("Maximum2DDiameterSlice", "mm", "largest distance of two mesh vertices of one z in the array"),
    _shape("Maximum3DDiameter", "mm", "largest distance of two mesh vertices"),
    _shape("MeshVolume", "mm3", "what the mesh encloses"),
    _shape("MinorAxisLength", "mm", "4 times the root of the second greatest variance of the places of its voxels"),
    _shape("Sphericity", "", "surface of a ball of MeshVolume / SurfaceArea"),
    _shape("SurfaceArea", "mm2", "area of the mesh"),
    _shape("SurfaceVolumeRatio", "1/mm", "SurfaceArea / MeshVolume"),
    _shape("VoxelVolume", "mm3", "volume of its voxels"),
    _first_order("10Percentile", "HU", "10th percentile"),
    _first_order("90Percentile", "HU", "90th percentile"),
    _first_order("Energy", "HU2", "sum of the squared HU"),
    _first_order("Entropy", "bit", "of the shares of voxels in bins of 25 HU"),
    _first_order("InterquartileRange", "HU", "75th less 25th percentile"),
    _first_order("Kurtosis", "", "fourth central moment / squared variance; 3 of a normal distribution"),
    _first_order("Maximum", "HU", "greatest HU"),
    _first_order("MeanAbsoluteDeviation", "HU", "mean distance from the mean"),
    _first_order("Mean", "HU", "mean HU"),
    _first_order("Median", "HU", "median HU"),
    _first_order("Minimum", "HU", "least HU"),
    _first_order("Range", "HU", "Maximum less Minimum"),
    _first_order(
        "RobustMeanAbsoluteDeviation", "HU", "as MeanAbsoluteDeviation, of HU from 10Percentile to 90Percentile"
    ),
    _first_order("RootMeanSquared", "HU", "root of the mean squared HU"),
    _first_order("Skewness", "", "third central moment / variance to the power of 1.5"),
    _first_order("TotalEnergy", "mm3 HU2", "Energy times the volume of a voxel"),
    _first_order("Uniformity", "", "sum of the squared shares of voxels in bins of 25 HU"),
    _first_order("Variance", "HU2", "of all voxels, not an estimate from a sample"),
)
"""Of measurements with features."""


@cache
def column_of(name: str) -> Column | None:
    """The column of that name."""
    return next((column for column in (*COLUMNS, *FEATURES) if column.name == name), None)
