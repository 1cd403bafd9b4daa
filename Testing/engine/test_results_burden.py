"""How much of each organ is tumour follows from its lesions; what was not looked for is not counted as none."""

import numpy as np
import pytest

from flareseg.labels import by_name, structures
from flareseg.results.measure import measure
from flareseg.results.warnings import warnings_of
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Volume

GRID = Geometry((20, 50, 60), (5.0, 1.0, 1.0))
LIVER, SPLEEN, TUMOUR = by_name("liver"), by_name("spleen"), by_name("tumour")
BURDEN = ("with_lesions_ml", "lesions_count", "lesions_ml", "lesions_percent", "largest_lesion_ml", "largest_lesion_mm")


def an_abdomen():
    """A liver of 24 ml in all, with lesions of 2 and 1 ml, a speck of 0.04 ml, and a healthy spleen."""
    labels = np.zeros(GRID.shape_zyx, np.uint8)
    labels[4:16, 5:25, 5:25] = LIVER.value
    labels[6:10, 8:18, 8:18] = TUMOUR.value
    labels[12:14, 10:20, 8:18] = TUMOUR.value
    labels[4:8, 22, 22:24] = TUMOUR.value
    labels[4:16, 30:45, 35:50] = SPLEEN.value
    return labels


def rows_of(labels, looked_for=(LIVER, SPLEEN, TUMOUR)):
    hu = np.where(labels > 0, 60, -1000).astype(np.int16)
    found = measure(Segmentation(labels, GRID, tuple(looked_for), "a"), Volume(hu, GRID))
    return {(row.structure, row.lesion): row for row in found}


def test_an_organ_counts_its_lesions_and_what_it_is_with_them():
    rows = rows_of(an_abdomen())
    liver, tumour = rows["liver", None], rows["tumour", None]
    assert liver.volume_ml == pytest.approx(24 - 3 - 0.04)
    assert (liver.lesions_count, liver.lesions_ml, liver.largest_lesion_ml) == (2, 3.0, 2.0)
    assert liver.with_lesions_ml == pytest.approx(24 - 0.04)
    assert liver.lesions_percent == pytest.approx(100 * 3 / (24 - 0.04), abs=0.005)
    assert liver.largest_lesion_mm == max(rows["tumour", 1].longest_mm, rows["tumour", 2].longest_mm)
    assert (tumour.lesions_count, tumour.lesions_ml, tumour.volume_ml) == (2, 3.0, 3.04)
    assert tumour.with_lesions_ml is None and tumour.lesions_percent is None


def test_a_healthy_organ_has_no_lesions_and_none_that_is_largest():
    spleen = rows_of(an_abdomen())["spleen", None]
    assert (spleen.lesions_count, spleen.lesions_ml, spleen.lesions_percent) == (0, 0.0, 0.0)
    assert spleen.with_lesions_ml == spleen.volume_ml
    assert spleen.largest_lesion_ml is None and spleen.largest_lesion_mm is None


def test_rows_of_lesions_have_no_burden_of_their_own():
    lesion = rows_of(an_abdomen())["tumour", 1]
    assert lesion.host == "liver" and all(getattr(lesion, name) is None for name in BURDEN)


def test_without_tumours_among_what_was_looked_for_nothing_is_known_of_lesions():
    rows = rows_of(an_abdomen(), (LIVER, SPLEEN))
    assert all(getattr(row, name) is None for row in rows.values() for name in BURDEN)


def test_what_was_not_found_has_empty_cells_rather_than_zeros():
    row = rows_of(np.zeros(GRID.shape_zyx, np.uint8))["liver", None]
    assert (row.voxels, row.volume_ml) == (0, 0.0)
    measured = [name for name, value in row.as_row().items() if value is not None]
    assert measured == ["case", "model", "value", "structure", "voxels", "volume_ml", "touches_border"]


def test_a_warning_of_an_unusual_volume_counts_tumours_with_their_organ():
    labels = np.zeros(GRID.shape_zyx, np.uint8)
    labels[2:-2, 2:-2, 2:-2] = SPLEEN.value
    labels[5:15, 10:40, 10:50] = TUMOUR.value
    large = Geometry(GRID.shape_zyx, (8.0, 3.0, 3.0))
    hu = np.where(labels > 0, 60, -1000).astype(np.int16)
    found, volume = Segmentation(labels, large, structures(), "a"), Volume(hu, large)
    rows = measure(found, volume)
    spleen = next(row for row in rows if row.structure == "spleen")
    [warning] = [one for one in warnings_of(found, volume, rows) if one.kind == "unusual_volume"]
    assert f"{spleen.with_lesions_ml:,.0f} ml" in warning.text
