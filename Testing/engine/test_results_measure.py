"""Volume and HU of every structure are those of its voxels, in the table and in the files."""

import csv
import json

import numpy as np
import pytest

from flareseg.errors import OutputError, UsageError
from flareseg.labels import structures
from flareseg.results.measure import COLUMNS, as_table, measure
from flareseg.results.measurement_files import write_measurements
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Volume


@pytest.fixture
def rows():
    geometry = Geometry((6, 8, 10), (5.0, 2.0, 1.0))
    labels = np.zeros(geometry.shape_zyx, np.uint8)
    hu = np.full(geometry.shape_zyx, -1000, np.int16)
    labels[2, 3, 4:8], hu[2, 3, 4:8] = 1, (40, 60, 40, 60)
    labels[0, 3, 4], hu[0, 3, 4] = 3, 100
    return measure(Segmentation(labels, geometry, structures(), name="a"), Volume(hu, geometry, "a"))


def test_numbers_are_those_worked_by_hand(rows):
    liver = rows[0]
    assert (liver.case, liver.structure, liver.value, liver.voxels) == ("a", "liver", 1, 4)
    assert liver.volume_ml == pytest.approx(0.04)
    assert (liver.mean_hu, liver.sd_hu, liver.touches_border) == (50, 10, False)


def test_a_structure_on_a_face_of_the_volume_is_marked(rows):
    spleen = rows[2]
    assert spleen.touches_border and (spleen.mean_hu, spleen.sd_hu) == (100, 0)
    assert not rows[1].touches_border


def test_a_structure_that_was_not_found_has_no_hu(rows):
    assert [row.voxels for row in rows[3:]] == [0] * (len(structures()) - 3)
    assert rows[3].mean_hu is None and rows[3].volume_ml == 0


def test_any_order_of_memory_gives_the_same_numbers():
    random = np.random.default_rng(0)
    labels = random.integers(0, len(structures()) + 1, (9, 10, 11), dtype=np.uint8)
    hu = random.integers(-1000, 1000, labels.shape).astype(np.int16)
    geometry = Geometry(labels.shape, (1.0, 2.0, 3.0))
    turned = labels[::-1].copy(order="F")[::-1]
    one = measure(Segmentation(labels, geometry, structures()), Volume(hu, geometry))
    assert one == measure(Segmentation(turned, geometry, structures()), Volume(hu, geometry))
    for row in one[: len(structures())]:
        inside = hu[labels == row.value].astype(float)
        assert row.mean_hu == pytest.approx(inside.mean(), abs=0.006)
        assert row.sd_hu == pytest.approx(inside.std(), abs=0.006)


def test_files_hold_one_row_per_structure(rows, tmp_path):
    write_measurements(tmp_path / "m.csv", rows)
    write_measurements(tmp_path / "m.json", rows)
    with (tmp_path / "m.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    stored = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    assert len(table) == len(stored) == len(structures())
    assert float(table[0]["volume_ml"]) == stored[0]["volume_ml"] == rows[0].volume_ml
    assert table[3]["mean_hu"] == "" and stored[3]["mean_hu"] is None


def test_another_ending_and_an_existing_file_are_refused(rows, tmp_path):
    with pytest.raises(UsageError, match="csv"):
        write_measurements(tmp_path / "m.txt", rows)
    write_measurements(tmp_path / "m.csv", rows)
    with pytest.raises(OutputError, match="exists"):
        write_measurements(tmp_path / "m.csv", rows)


def test_the_terminal_table_names_every_structure(rows):
    text = as_table(rows)
    assert all(structure.title in text for structure in structures())
    assert "not found" in text


@pytest.fixture
def with_lesion():
    """A liver of 10 slices with a lesion of 4 slices of 8 by 10 mm in it."""
    geometry = Geometry((14, 40, 40), (5.0, 1.0, 1.0), (100.0, 0.0, -20.0))
    labels = np.zeros(geometry.shape_zyx, np.uint8)
    hu = np.full(geometry.shape_zyx, -1000, np.int16)
    labels[2:12, 5:35, 5:35], hu[2:12, 5:35, 5:35] = 1, 110
    labels[4:8, 10:18, 10:20], hu[4:8, 10:18, 10:20] = 14, 40
    return measure(Segmentation(labels, geometry, structures(), name="a"), Volume(hu, geometry, "a"))


def test_every_lesion_is_a_row_after_the_structures(with_lesion):
    assert [row.structure for row in with_lesion] == [structure.name for structure in structures()] + ["tumour"]
    assert all(row.lesion is None and row.longest_mm is None for row in with_lesion[:14])
    lesion = with_lesion[-1]
    assert (lesion.lesion, lesion.host, lesion.voxels, lesion.volume_ml) == (1, "liver", 320, 1.6)
    assert (lesion.mean_hu, lesion.sd_hu, lesion.touches_border) == (40, 0, False)
    assert lesion.longest_mm == pytest.approx(np.hypot(10, 7), abs=0.05)
    assert all(100 + 9.5 <= x <= 100 + 19.5 for x, _, _ in (lesion.longest_start_xyz_mm, lesion.longest_end_xyz_mm))


def test_lesions_are_in_the_same_table_of_every_file(with_lesion, tmp_path):
    write_measurements(tmp_path / "m.csv", with_lesion)
    write_measurements(tmp_path / "m.json", with_lesion)
    with (tmp_path / "m.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    stored = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    assert list(table[0]) == list(stored[0])
    assert (table[-1]["lesion"], table[-1]["host"], stored[-1]["host"]) == ("1", "liver", "liver")
    assert [float(mm) for mm in table[-1]["longest_start_xyz_mm"].split()] == stored[-1]["longest_start_xyz_mm"]
    assert (table[0]["lesion"], stored[0]["lesion"]) == ("", None)


def test_without_tumour_among_what_was_looked_for_there_are_no_lesion_rows():
    labels = np.full((4, 4, 4), 14, np.uint8)
    geometry, organs = Geometry(labels.shape, (5.0, 5.0, 5.0)), tuple(s for s in structures() if s.name != "tumour")
    rows = measure(Segmentation(labels, geometry, organs), Volume(np.zeros(labels.shape, np.int16), geometry))
    assert len(rows) == len(organs)


def test_the_terminal_shows_diameters_of_lesions(with_lesion):
    assert "Lesion 1, liver" in as_table(with_lesion)
    assert "12 ×" in as_table(with_lesion)


def test_oblique_and_turned_scans_measure_the_same(with_lesion):
    geometry = Geometry((14, 40, 40), (5.0, 1.0, 1.0))
    labels = np.zeros(geometry.shape_zyx, np.uint8)
    labels[2:12, 5:35, 5:35], labels[4:8, 10:18, 10:20] = 1, 14
    hu = np.where(labels == 1, 110, np.where(labels == 14, 40, -1000)).astype(np.int16)
    cosine, sine = np.cos(0.3), np.sin(0.3)
    tilted = ((1.0, 0.0, 0.0), (0.0, cosine, -sine), (0.0, sine, cosine))
    sideways = ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    columns = [name for name in COLUMNS if not name.endswith("_xyz_mm")]
    for direction in (tilted, sideways):
        grid = Geometry(geometry.shape_zyx, geometry.spacing_zyx_mm, direction=direction)
        turned = measure(Segmentation(labels, grid, structures(), name="a"), Volume(hu, grid, "a"))
        kept = columns if direction is tilted else [name for name in columns if "_mm" not in name or "3d" in name]
        for row, straight in zip(turned, with_lesion, strict=True):
            assert {name: getattr(row, name) for name in kept} == {name: getattr(straight, name) for name in kept}


def test_percentiles_are_those_of_numpy():
    random = np.random.default_rng(1)
    labels = random.integers(0, 4, (6, 9, 10), dtype=np.uint8)
    geometry = Geometry(labels.shape, (1.0, 2.0, 3.0))
    whole = random.integers(-300, 300, labels.shape).astype(np.int16)
    for hu in (whole, (whole / 7).astype(np.float32)):
        rows = measure(Segmentation(labels, geometry, structures()), Volume(hu, geometry))
        for row in rows[:3]:
            expected = np.percentile(hu[labels == row.value].astype(float), [5, 25, 50, 75, 95])
            found = [row.hu_p5, row.hu_p25, row.hu_median, row.hu_p75, row.hu_p95]
            assert found == pytest.approx(expected, abs=0.006)


def test_one_voxel_in_a_corner_is_measured():
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[0, 4, 5] = 1
    geometry = Geometry(labels.shape, (5.0, 0.8, 0.7))
    row = measure(Segmentation(labels, geometry, structures()), Volume(labels.astype(np.int16) * 7, geometry))[0]
    assert (row.voxels, row.touches_border, row.mean_hu, row.sd_hu) == (1, True, 7, 0)
    assert row.hu_p5 == row.hu_median == row.hu_p95 == 7
    assert row.diameter_3d_mm == 5.0 and row.surface_cm2 > 0


def test_hu_that_are_no_numbers_do_not_count():
    labels = np.ones((3, 4, 5), np.uint8)
    hu = np.arange(labels.size, dtype=np.float32).reshape(labels.shape)
    hu[0, 0, 0], hu[2, 3, 4] = np.nan, np.inf
    geometry = Geometry(labels.shape, (1.0, 1.0, 1.0))
    row = measure(Segmentation(labels, geometry, structures()), Volume(hu, geometry))[0]
    assert row.voxels == labels.size and row.mean_hu == pytest.approx(29.5) and row.hu_p95 == pytest.approx(55.15)
    row = measure(Segmentation(labels, geometry, structures()), Volume(np.full_like(hu, np.nan), geometry))[0]
    assert row.volume_ml == 0.06 and row.surface_cm2 and row.mean_hu is None and row.hu_median is None
    assert "liver" in as_table([row]).lower()


def test_values_that_mean_nothing_here_change_nothing(with_lesion):
    labels = np.full((4, 5, 6), 255, np.uint8)
    labels[1:3, 1:4, 1:5] = 1
    geometry = Geometry(labels.shape, (1.0, 1.0, 1.0))
    volume = Volume(np.zeros(labels.shape, np.int16), geometry)
    alone = np.where(labels == 255, 0, labels).astype(np.uint8)
    one, other = (measure(Segmentation(array, geometry, structures()), volume) for array in (labels, alone))
    assert one == other


def test_a_lesions_axial_diameter_is_no_longer_than_its_largest(with_lesion):
    lesion = with_lesion[-1]
    assert lesion.longest_mm < lesion.diameter_3d_mm == pytest.approx(np.linalg.norm([20, 7, 9]), abs=0.05)
