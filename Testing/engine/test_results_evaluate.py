"""Folders of label maps are matched by name, compared on one grid, and summed up."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from flareseg.errors import FlareError, InputError, OutputError
from flareseg.io.files import write_segmentation
from flareseg.labels import structures
from flareseg.results.evaluate import evaluate, summary, write_csv
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, as_rows

ORGANS = len(structures()) - 1


GRID = Geometry((8, 9, 10), (2.0, 1.0, 1.0), (5.0, 6.0, 7.0))


def save(path, geometry=GRID, shift=0):
    labels = np.zeros(geometry.shape_zyx, np.uint8)
    labels[2:6, 2:6, 2 + shift : 6 + shift] = 1
    write_segmentation(Segmentation(labels, geometry, structures()), path)
    return path


@pytest.mark.parametrize("name", ["a.nii.gz", "a.seg.nrrd", "a_flareseg.nii.gz", "a_flareseg.seg.nrrd"])
def test_predictions_are_found_by_the_references_name(tmp_path, name):
    save(tmp_path / "reference" / "a.nii.gz")
    save(tmp_path / "prediction" / name)
    table = evaluate(tmp_path / "prediction", tmp_path / "reference")
    assert [case.case for case in table.cases] == ["a"]
    assert table.cases[0].scores[0].dsc == table.cases[0].scores[0].nsd == 1


def test_references_without_a_prediction_are_named(tmp_path):
    for name in ("a", "b", "c"):
        save(tmp_path / "reference" / f"{name}.nii.gz")
    save(tmp_path / "prediction" / "b.nii.gz")
    with pytest.raises(InputError, match=r"'a'.*'c'") as failure:
        evaluate(tmp_path / "prediction", tmp_path / "reference")
    assert "\n" not in str(failure.value)


def test_grids_must_agree(tmp_path):
    reference = save(tmp_path / "r.nii.gz")
    moved = save(tmp_path / "p.nii.gz", Geometry(GRID.shape_zyx, GRID.spacing_zyx_mm, (9.0, 6.0, 7.0)))
    with pytest.raises(InputError, match="different places"):
        evaluate(moved, reference)
    larger = save(tmp_path / "q.nii.gz", Geometry((9, 9, 10), GRID.spacing_zyx_mm, GRID.origin_xyz_mm))
    with pytest.raises(InputError, match="voxels"):
        evaluate(larger, reference)


def test_a_missing_path_is_one_line(tmp_path):
    with pytest.raises(FlareError, match="nowhere"):
        evaluate(tmp_path / "nowhere", tmp_path)


def test_slices_are_the_patients_however_the_file_lies(tmp_path):
    """The aorta's highest slice is the one nearest to the head, also where the file runs from head to feet."""
    upside_down = Geometry(GRID.shape_zyx, GRID.spacing_zyx_mm, GRID.origin_xyz_mm, as_rows(np.diag([1.0, -1.0, -1.0])))
    reference = np.zeros(GRID.shape_zyx, np.uint8)
    reference[2:6, 2:6, 2:6] = 5
    for wrong_slice, expected in ((2, 1.0), (5, 2 * 2 / 5)):
        prediction = reference.copy()
        prediction[wrong_slice] = 0
        paths = [tmp_path / f"{side}{wrong_slice}.nii.gz" for side in "pr"]
        for path, labels in zip(paths, (prediction, reference), strict=True):
            write_segmentation(Segmentation(labels, upside_down, structures()), path)
        assert evaluate(*paths).cases[0].scores[4].dsc == pytest.approx(expected)


def test_the_csv_holds_every_score_and_the_means(tmp_path):
    for name, shift in (("a", 0), ("b", 2)):
        save(tmp_path / "reference" / f"{name}.nii.gz")
        save(tmp_path / "prediction" / f"{name}.nii.gz", shift=shift)
    table = evaluate(tmp_path / "prediction", tmp_path / "reference")
    write_csv(table, tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = {(row["case"], row["structure"]): row for row in csv.DictReader(file)}
    assert float(rows["a", "liver"]["dsc"]) == 1 and float(rows["b", "liver"]["dsc"]) == 0.5
    assert float(rows["mean", "liver"]["dsc"]) == 0.75
    average = float(rows["mean", f"average of {ORGANS} organs"]["dsc"])
    assert average == pytest.approx((ORGANS - 0.25) / ORGANS, abs=1e-4)
    with pytest.raises(OutputError, match="exists"):
        write_csv(table, tmp_path / "scores.csv")


def test_the_summary_names_organs_and_tumour(tmp_path):
    path = save(tmp_path / "r.nii.gz")
    text = summary(evaluate(path, path))
    assert f"average of {ORGANS} organs" in text.lower() and "Tumour" in text and "Liver" in text


def test_a_structure_that_flare_does_not_have_is_not_averaged_with_the_organs(tmp_path, monkeypatch):
    path = save(tmp_path / "r.nii.gz")
    more = (*structures(), replace(structures()[0], value=15, name="prostate", title="Prostate", flare_organ=False))
    monkeypatch.setattr("flareseg.labels.structures", lambda: more)
    table = evaluate(path, path)
    assert [mean.name for mean in table.means()][-2:] == ["tumour", "prostate"]
    assert table.organ_average().name == "average of 13 organs"
    assert [line.split("  ")[0] for line in summary(table).splitlines()][-4:-1] == [
        "Average of 13 organs", "Tumour", "Prostate",
    ]  # fmt: skip
