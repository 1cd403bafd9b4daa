"""The tables show the figures that were measured, averaged as the paper does."""

import json

import pytest

from flareseg.errors import InputError
from train.reporting.plots import write_plots
from train.reporting.tables import ablation, write_tables


def row(case, structure, dsc, nsd=0.5, model="final", ml=100.0):
    return {"model": model, "case": case, "structure": structure, "dsc": dsc, "nsd": nsd, "reference_ml": ml}


COST = {
    "model": "final", "case": "a", "shape_zyx": [100, 512, 500], "seconds": 1.5, "peak_gpu_mib": 0.0,
    "area_gpu_mib_s": 0.0, "area_cpu_percent_s": 80.0, "device": "CPU",
}  # fmt: skip
LESIONS = {
    "model": "final", "case": "a", "false": 1,
    "annotated": [{"host": "liver", "mm": 31.0, "found": True}, {"host": "", "mm": 9.0, "found": False}],
}  # fmt: skip
# liver twice, spleen once: each structure counts the same
ROWS = [row("a", "liver", 0.9), row("b", "liver", 0.7), row("a", "spleen", 0.4), row("a", "tumour", 0.25, 0.125)]


def run(folder, rows, label_fusion, pretraining):
    scores = folder / "scores"
    scores.mkdir(parents=True)
    switches = {"label_fusion": label_fusion, "pretraining": pretraining}
    (scores / "scores.json").write_text(json.dumps(rows))
    (scores / "run.json").write_text(json.dumps({"name": "x", "ablation": switches, "model": "final"}))
    return folder


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_structures_are_averaged_over_cases_and_organs_over_structures(tmp_path):
    write_tables(ROWS, [COST], [LESIONS], tmp_path)
    lines = {
        cells(line)[0]: cells(line)[1:] for line in (tmp_path / "scores.md").read_text().splitlines() if "|" in line
    }
    assert lines["Liver"] == ["80.0 ± 10.0", "50.0 ± 0.0", "2"]
    assert lines["**Organs**"] == ["60.00", "50.00", "2"]
    assert lines["**Tumour**"] == ["25.00", "12.50", "1"]
    assert lines["final"] == ["a", "500×512×100", "1.5", "0", "0", "80", "CPU"]
    assert "Pancreas" not in lines
    assert lines["liver and kidneys, 20 mm and more"] == ["1 of 1"]
    assert lines["elsewhere, smaller"] == ["0 of 1"]
    assert lines["false positives per case"] == ["1.0 (1 to 1)"]


def test_the_csv_holds_every_figure(tmp_path):
    write_tables(ROWS, [], [], tmp_path)
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert lines[0] == "model,case,structure,dsc,nsd,reference_ml,scan"
    assert lines[4] == "final,a,tumour,0.25,0.125,100.0,"
    assert len(lines) == 5


def test_every_model_has_its_own_table(tmp_path):
    write_tables([*ROWS, row("a", "liver", 0.1, model="distill")], [], [], tmp_path)
    text = (tmp_path / "scores.md").read_text()
    assert text.index("## final") < text.index("## distill") < text.index("10.0 ± 0.0")


def test_the_ablation_shows_what_each_step_brought_beside_the_paper(tmp_path):
    runs = [
        run(tmp_path / "one", [row("a", "liver", 0.5), row("a", "tumour", 0.1)], False, False),
        run(tmp_path / "two", [row("a", "liver", 0.6), row("a", "liver", 0.1, model="distill")], True, False),
        run(tmp_path / "three", ROWS, True, True),
    ]
    table = [cells(line) for line in ablation(runs).splitlines()]
    assert table[2] == [f"baseline ({runs[0]})", "50.00", "50.00", "10.00", "50.00", "1"]
    assert table[3] == [f"+ label fusion ({runs[1]})", "60.00", "50.00", "-", "-", "1"]
    assert table[4] == [f"+ label fusion + pre-training ({runs[2]})", "60.00", "50.00", "25.00", "12.50", "2"]
    assert table[5][1:5] == ["92.17", "95.44", "54.99", "42.45"]


def test_a_run_without_scores_is_named(tmp_path):
    with pytest.raises(InputError, match=f"'{tmp_path}' has no scores; run its stage 'evaluate' first"):
        ablation([tmp_path])


def test_the_plot_is_a_picture_and_without_rows_there_is_none(tmp_path):
    write_plots(ROWS, [COST], tmp_path)
    assert (tmp_path / "scores.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "scores.png").unlink()
    write_plots([], [], tmp_path)
    assert not (tmp_path / "scores.png").exists()
