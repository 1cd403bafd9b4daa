"""The stage `fuse`: from files to files, only what has changed, and a report that adds up."""

import csv
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_run import GRID, LIVER, SPACING, SPLEEN, TUMOUR, small_run, truth_of, write_label_map

from flareseg.errors import InputError
from flareseg.io.files import read_labels, write_segmentation
from flareseg.labels import structures
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry
from train.config import AblationConfig, PseudoConfig
from train.data.cache import labels_hash, load_cached, write_labels
from train.data.index import IGNORE, known_mask
from train.pseudolabels.fusion_report import COLUMNS
from train.pseudolabels.pseudo_records import Records
from train.stages.fuse import fuse


@pytest.fixture
def run(tmp_path):
    """All pseudo-labels are there: S_tum saw the tumour of p1, was unsure of that of p2, and saw nothing in p3."""
    config, paths, index = small_run(tmp_path, pseudo=PseudoConfig(organ_model="tumor", device="cpu"))
    tumours = {"mine_p1": TUMOUR, "mine_p2": IGNORE, "mine_p3": 0}
    records = Records("tumour", config, paths)
    for number, (name, value) in enumerate(tumours.items(), 1):
        write_label_map(np.where(truth_of(number) == TUMOUR, value, 0), paths.pseudo("tumour", name))
        records.write(index.of(name), {"structures": ["tumour"]})
    write_label_map(np.where(truth_of(3) == LIVER, LIVER, 0), paths.pseudo("organs", "mine_p3"))
    Records("organs", config, paths).write(index.of("mine_p3"), {"structures": ["liver"]})
    return config, paths, index


def fused(paths, number):
    return read_labels(paths.fused(f"mine_p{number}"))[0]


def report(paths):
    with paths.fusion_report.open(newline="") as file:
        return {(row["case"], row["structure"]): row for row in csv.DictReader(file)}


def test_each_case_gets_the_best_that_is_known_of_it(run):
    config, paths, index = run
    fuse(config, paths, index)
    whole, second, third, fourth = (truth_of(number) for number in range(4))
    assert np.array_equal(fused(paths, 0)[whole > 0], whole[whole > 0])  # the annotator drew all
    assert np.array_equal(fused(paths, 1)[second > 0], second[second > 0])  # liver drawn, spleen and tumour from nets
    expected = np.where(third == TUMOUR, IGNORE, third)
    assert np.array_equal(fused(paths, 2)[third > 0], expected[third > 0])
    assert np.array_equal(fused(paths, 3), np.where(fourth == LIVER, LIVER, 0))


def test_what_is_known_of_a_case_goes_with_its_labels(run):
    config, paths, index = run
    fuse(config, paths, index)
    known = {n: load_cached(paths.grid(SPACING) / f"mine_p{n}", "fused").known for n in range(4)}
    assert all(known[n].all() for n in range(3))
    assert np.flatnonzero(known[3]).tolist() == [0, LIVER, TUMOUR]


def test_the_cache_holds_the_fused_labels(run):
    config, paths, index = run
    fuse(config, paths, index)
    cached = load_cached(paths.grid(SPACING) / "mine_p1", "fused")
    labels = cached.labels(tuple(slice(0, size) for size in cached.shape_zyx))
    assert {value: int((labels == value).sum()) for value in (LIVER, TUMOUR)} == {
        value: int((fused(paths, 1) == value).sum()) for value in (LIVER, TUMOUR)
    }


def test_the_report_adds_up(run):
    config, paths, index = run
    fuse(config, paths, index)
    rows = report(paths)
    spleen = rows["mine_p0", "spleen"]
    too_large = int(spleen["pseudo_voxels"]) - int(spleen["truth_voxels"])
    assert too_large > 0
    assert int(spleen["removed_voxels"]) + int(spleen["replaced_voxels"]) == too_large
    tumour = rows["mine_p1", "tumour"]
    assert int(tumour["fused_voxels"]) == (truth_of(1) == TUMOUR).sum()
    assert float(tumour["fused_ml"]) == pytest.approx(int(tumour["fused_voxels"]) * 0.216, abs=1e-3)
    for row in rows.values():
        kept = int(row["pseudo_voxels"]) - sum(
            int(row[f"{what}_voxels"]) for what in ("removed", "replaced", "unknown")
        )
        assert int(row["fused_voxels"]) == kept + int(row["added_voxels"])
    assert set(COLUMNS) == set(spleen)
    assert "| Spleen |" in paths.fusion_report.with_suffix(".md").read_text()


def test_the_baseline_leaves_pseudo_labels_as_they_came(run):
    config, paths, index = run
    config = replace(config, ablation=AblationConfig(label_fusion=False))
    fuse(config, paths, index)
    organs = read_labels(index.of("mine_p0").organs)[0]
    expected = np.where(truth_of(0) == TUMOUR, TUMOUR, organs)
    assert np.array_equal(fused(paths, 0), expected)
    assert np.array_equal(fused(paths, 1), read_labels(index.of("mine_p1").organs)[0])


def test_a_second_run_does_nothing_and_a_changed_source_only_its_case(run):
    config, paths, index = run
    fuse(config, paths, index)
    before = {n: paths.fused(f"mine_p{n}").stat().st_mtime_ns for n in range(4)}
    fuse(config, paths, index)
    assert {n: paths.fused(f"mine_p{n}").stat().st_mtime_ns for n in range(4)} == before
    write_label_map(np.where(truth_of(2) == SPLEEN, SPLEEN, 0), index.of("mine_p2").organs)
    fuse(config, paths, index)
    changed = [n for n in range(4) if paths.fused(f"mine_p{n}").stat().st_mtime_ns != before[n]]
    assert changed == [2]
    assert not (fused(paths, 2) == LIVER).any()


def test_missing_pseudo_labels_are_counted_and_named(run):
    config, paths, index = run
    paths.confidence("tumour", "mine_p2").unlink()
    with pytest.raises(InputError, match="1 of 3 cases lack tumour pseudo-labels of 'tumor', the first is 'mine_p2'"):
        fuse(config, paths, index)


def test_labels_on_another_grid_are_refused(run):
    config, paths, index = run
    moved = Geometry(GRID.shape_zyx, SPACING, (99.0, 0.0, 0.0), GRID.direction)
    labels = Segmentation(truth_of(2), moved, structures())
    write_segmentation(labels, index.of("mine_p2").organs, overwrite=True)
    with pytest.raises(InputError, match="lies on another grid than the other labels of 'mine_p2'"):
        fuse(config, paths, index)


def test_a_case_that_nothing_is_known_of_is_refused(run):
    config, paths, index = run
    config = replace(config, pseudo=PseudoConfig(tumour_fit="", organ_model=""))
    with pytest.raises(InputError, match="'mine_p3' has neither labels nor pseudo-labels"):
        fuse(config, paths, index)


def test_a_grid_with_fused_labels_of_before_gets_those_of_now(run):
    config, paths, index = run
    fuse(config, paths, index)
    folder = paths.grid(SPACING) / "mine_p1"
    before = labels_hash(folder, "fused")
    write_labels(
        folder, "fused", truth_of(2), GRID, known_mask(("liver",))
    )  # as when the grid was left out for a while
    assert labels_hash(folder, "fused") != before
    fuse(config, paths, index)
    assert labels_hash(folder, "fused") == before
