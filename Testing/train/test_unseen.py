"""Tables of a cross-validation: mean and range by structure and by kind of scan."""

import numpy as np
import pytest

from train.reporting.scans import kinds_of
from train.reporting.tables import write_tables
from train.reporting.unseen import kind_table, structure_table, unseen_rows

PLAIN = ["plain", "slices of 4 mm and more", "slim"]
CONTRAST = ["contrast", "slices below 4 mm", "slim"]


def row(case, structure, dsc, scan, model="final_without_a"):
    return {"model": model, "case": case, "structure": structure, "dsc": dsc, "nsd": dsc / 2, "scan": scan} | {
        "reference_ml": 10.0
    }


ROWS = [
    row("a", "liver", 0.9, PLAIN),
    row("a", "spleen", 0.5, PLAIN),
    row("b", "liver", 0.7, CONTRAST, "final_without_b"),
    row("b", "tumour", 0.0, CONTRAST, "final_without_b"),
    row("c", "liver", 0.1, CONTRAST, "final"),
    row("phantoms_1", "liver", 0.1, CONTRAST),
]


def test_only_real_cases_of_the_folds_are_unseen():
    assert {one["case"] for one in unseen_rows(ROWS)} == {"a", "b"}


def test_structures_have_their_mean_and_range_and_organs_a_mean_in_which_each_counts_the_same():
    table = {line[0]: line[1:] for line in structure_table(unseen_rows(ROWS))}
    assert table["Liver"] == ("80.0", "70.0 to 90.0", "40.0", "35.0 to 45.0", "2")
    assert table["Spleen"] == ("50.0", "50.0 to 50.0", "25.0", "25.0 to 25.0", "1")
    assert table["**Mean**"] == ("**65.0**", "70.0 to 70.0", "**32.5**", "35.0 to 35.0", "2")
    assert "Tumour" not in table


def test_kinds_of_scans_have_the_mean_of_their_cases():
    table = {line[0]: line[1:] for line in kind_table(unseen_rows(ROWS))}
    assert list(table) == ["scans", "contrast", "plain", "slices below 4 mm", "slices of 4 mm and more", "slim"]
    assert table["plain"] == ("70.0", "70.0 to 70.0", "35.0", "35.0 to 35.0", "1")
    assert table["slim"][-1] == "2"


def test_tables_of_a_run_begin_with_the_cross_validation(tmp_path):
    write_tables(ROWS, [], [], tmp_path)
    text = (tmp_path / "scores.md").read_text(encoding="utf-8")
    assert text.index("## Cross-validation") < text.index("## final_without_a")
    assert "plain; slices of 4 mm and more; slim" in (tmp_path / "scores.csv").read_text()


def body(radius, aorta_hu):
    """A round body of 1 mm voxels with a liver and an aorta in it."""
    y, x = np.mgrid[-200:200, -200:200]
    inside = y**2 + x**2 < radius**2
    hu = np.where(inside, 40, -1000).astype(np.int16)[None].repeat(4, 0)
    labels = np.zeros(hu.shape, np.uint8)
    labels[:, 190:210, 160:180] = 1
    labels[:, 195:205, 195:205] = 5
    hu[labels == 5] = aorta_hu
    return hu, labels


@pytest.mark.parametrize(("radius", "word"), [(120, "slim"), (150, "average body"), (180, "large body")])
def test_body_and_contrast_are_measured(radius, word):
    hu, labels = body(radius, 150)
    assert kinds_of(hu, labels, (5.0, 1.0, 1.0)) == ["contrast", "slices of 4 mm and more", word]
    hu, labels = body(radius, 45)
    assert kinds_of(hu, labels, (2.5, 1.0, 1.0)) == ["plain", "slices below 4 mm", word]


def test_without_liver_or_aorta_it_is_not_known():
    hu, labels = body(150, 45)
    assert kinds_of(hu, labels * 0, (2.5, 1.0, 1.0)) == ["contrast unknown", "slices below 4 mm", "body unknown"]


def test_lesions_of_all_unseen_cases_stand_in_one_table(tmp_path):
    lesion = {"host": "liver", "mm": 30.0}
    found = [
        {
            "model": "final_without_a",
            "case": "a",
            "annotated": [lesion | {"found": True}],
            "false": 2,
            "false_in": ["", ""],
        },
        {"model": "final_without_b", "case": "b", "annotated": [lesion | {"found": False}], "false": 0, "false_in": []},
        {"model": "final", "case": "c", "annotated": [lesion | {"found": True}], "false": 9, "false_in": [""] * 9},
    ]
    write_tables(ROWS, [], found, tmp_path)
    text = (tmp_path / "scores.md").read_text(encoding="utf-8")
    of_all = text[text.index("## Cross-validation") : text.index("## final_without_a")]
    assert "Lesions of 2 cases:" in of_all and "| liver and kidneys, 20 mm and more | 1 of 2 |" in of_all
    assert "| false positives per case | 1.0 (0 to 2) |" in of_all
