"""Pseudo-labels: everyone gets theirs, once, whatever happens in between; and only tumours that one can believe in."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_run import GRID, TUMOUR, finish, small_run

from flareseg.errors import InputError, ModelError
from flareseg.io.files import read_labels
from flareseg.segmenter import Segmenter
from train.common.distributed import Rank
from train.config import AblationConfig, PseudoConfig
from train.data.index import IGNORE
from train.pseudolabels.pseudo_records import Records
from train.stages.pseudolabel import confident_tumours, pseudolabel, unlabelled

ALONE = Rank(0, 1)


@pytest.fixture
def run(tmp_path):
    """A run in which S_tum labels p1, p2 and p3; no net for organs."""
    return small_run(tmp_path, pseudo=PseudoConfig(device="cpu"))


def names_in(paths, kind="tumour"):
    return sorted(path.name.removesuffix(".nii.gz") for path in paths.pseudo(kind, "x").parent.glob("*.nii.gz"))


def facts_of(paths, case, kind="tumour"):
    return json.loads(paths.confidence(kind, case).read_text())


# which cases


def test_cases_whose_tumours_nobody_looked_for_get_pseudo_labels(run):
    pseudolabel(*run, ALONE)
    assert names_in(run[1]) == ["mine_p1", "mine_p2", "mine_p3"]
    assert not unlabelled(*run)


def test_organs_are_labelled_where_neither_annotator_nor_source_did(tmp_path):
    config, paths, index = small_run(tmp_path)  # with the embedded model for organs
    pseudolabel(config, paths, index, ALONE)
    assert names_in(paths, "organs") == ["mine_p3"]
    facts = facts_of(paths, "mine_p3", "organs")
    assert len(facts["structures"]) == 13 and "tumour" not in facts["structures"], "it never draws one"
    assert all(0 < value <= 1 for value in facts["confidence"].values())
    assert facts["model"].startswith("default")


def test_without_label_fusion_nobody_asks_the_tumour_net(run):
    config, paths, index = run
    pseudolabel(replace(config, ablation=AblationConfig(label_fusion=False)), paths, index, ALONE)
    assert names_in(paths) == []


# what they are


def test_they_are_what_the_exported_net_says_on_the_grid_of_the_ct(run):
    config, paths, index = run
    pseudolabel(config, paths, index, ALONE)
    segmenter = Segmenter(paths.model("tumor"))
    from flareseg.io.files import read_volume

    labels, geometry = read_labels(paths.pseudo("tumour", "mine_p2"))
    expected = segmenter.segment(read_volume(index.of("mine_p2").image)).labels
    assert geometry.same_as(GRID)
    assert np.array_equal(labels, expected)
    assert set(np.unique(labels)) == {0, TUMOUR}
    found = facts_of(paths, "mine_p2")["tumours"]
    assert sum(tumour["ml"] for tumour in found) == pytest.approx((labels == TUMOUR).sum() * GRID.voxel_ml, rel=1e-4)


def three_tumours():
    """Large and sure; large with an unsure half; small."""
    labels, confidence = np.zeros((10, 10, 30), np.uint8), np.full((10, 10, 30), 99, np.uint8)
    labels[2:6, 2:6, 2:6], labels[2:6, 2:6, 10:14], labels[2, 2, 20:22] = TUMOUR, TUMOUR, TUMOUR
    confidence[labels == TUMOUR] = 90
    confidence[2:6, 2:6, 12:14] = 40
    return labels, confidence


def test_unsure_voxels_become_unknown_and_small_tumours_vanish():
    labels, confidence = three_tumours()
    settings = PseudoConfig(least_confidence=0.5, smallest_tumour_ml=1.0)
    result, tumours = confident_tumours(labels, confidence, voxel_ml=0.1, settings=settings)
    assert (result[2:6, 2:6, 2:6] == TUMOUR).all()
    assert (result[2:6, 2:6, 10:12] == TUMOUR).all()
    assert (result[2:6, 2:6, 12:14] == IGNORE).all()
    assert not result[..., 20:22].any()
    assert tumours == [{"ml": 6.4, "confidence": 0.9}, {"ml": 6.4, "confidence": 0.65}]


def test_without_limits_every_tumour_counts():
    labels, confidence = three_tumours()
    result, tumours = confident_tumours(labels, confidence, voxel_ml=0.1, settings=PseudoConfig())
    assert np.array_equal(result, labels)
    assert len(tumours) == 3


def test_no_tumour_is_an_answer():
    nothing = np.zeros((4, 4, 4), np.uint8)
    result, tumours = confident_tumours(nothing, nothing, 1.0, PseudoConfig(least_confidence=0.5))
    assert not result.any()
    assert tumours == []


# again, in parts, and after accidents


def test_what_is_done_is_not_done_again(run):
    pseudolabel(*run, ALONE)
    before = {name: run[1].pseudo("tumour", name).stat().st_mtime_ns for name in names_in(run[1])}
    pseudolabel(*run, ALONE)
    assert {name: run[1].pseudo("tumour", name).stat().st_mtime_ns for name in names_in(run[1])} == before


def test_a_case_whose_record_was_not_written_is_done_again(run):
    _config, paths, _index = run
    pseudolabel(*run, ALONE)
    paths.confidence("tumour", "mine_p2").unlink()  # as after a crash between the two files
    before = paths.pseudo("tumour", "mine_p1").stat().st_mtime_ns
    assert unlabelled(*run)
    pseudolabel(*run, ALONE)
    assert not unlabelled(*run)
    assert paths.pseudo("tumour", "mine_p1").stat().st_mtime_ns == before


@pytest.mark.parametrize("limits", [{"least_confidence": 0.9}, {"smallest_tumour_ml": 3.0}, {"mirroring": True}])
def test_other_limits_make_other_labels(run, limits):
    config, paths, index = run
    pseudolabel(*run, ALONE)
    assert unlabelled(replace(config, pseudo=replace(config.pseudo, **limits)), paths, index)


def test_another_image_or_step_makes_labels_stale_and_records_of_before_count(run, capsys):
    config, paths, index = run
    pseudolabel(*run, ALONE)
    tumor = replace(config.nets["tumor"], step=1.0)
    assert unlabelled(replace(config, nets=config.nets | {"tumor": tumor}), paths, index)
    os.utime(index.of("mine_p1").image, (1, 1))
    assert unlabelled(*run)
    pseudolabel(*run, ALONE)
    assert "pseudolabel tumour: the labels of 1 of 1 cases are stale" in capsys.readouterr().out
    path = paths.confidence("tumour", "mine_p1")
    facts = json.loads(path.read_text())
    del facts["made_of"]
    path.write_text(json.dumps(facts))
    os.utime(index.of("mine_p1").image, (2, 2))
    assert not unlabelled(*run)


def test_a_new_training_of_the_net_makes_all_labels_anew(run):
    config, paths, _index = run
    pseudolabel(*run, ALONE)
    before = read_labels(paths.pseudo("tumour", "mine_p2"))[0]
    finish(config, paths, "tumor", seed=99)
    assert unlabelled(*run)
    pseudolabel(*run, ALONE)
    assert not np.array_equal(read_labels(paths.pseudo("tumour", "mine_p2"))[0], before)


def test_every_rank_takes_its_share_and_together_they_have_all(run):
    _config, paths, _index = run
    pseudolabel(*run, Rank(1, 2))
    first = names_in(paths)
    assert 0 < len(first) < 3
    assert unlabelled(*run)
    pseudolabel(*run, Rank(0, 2))
    assert not unlabelled(*run)
    assert [path.name for path in paths.model("x").parent.iterdir()] == ["tumor"]  # copies of other ranks are gone


def test_a_damaged_ct_is_told_and_the_others_are_labelled(run, capsys):
    _config, paths, index = run
    path = index.of("mine_p2").image
    whole = path.read_bytes()
    path.write_bytes(whole[:500])
    pseudolabel(*run, ALONE)
    assert names_in(paths) == ["mine_p1", "mine_p3"]
    assert "failed" in facts_of(paths, "mine_p2")
    assert "pseudolabel tumour: mine_p2:" in capsys.readouterr().out
    assert not unlabelled(*run)  # the fusion can go on without it
    path.write_bytes(whole)
    pseudolabel(*run, ALONE)  # and the next run tries again
    assert names_in(paths) == ["mine_p1", "mine_p2", "mine_p3"]


def test_when_every_case_fails_it_stops_with_the_reason(run):
    _config, _places, index = run
    for case in index.cases:
        case.image.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"None of 3 cases got tumour pseudo-labels; the first failed because: .*p1"):
        pseudolabel(*run, ALONE)


def test_a_net_that_is_not_trained_yet_is_named(run):
    _config, paths, _index = run
    for path in paths.fit("tumor").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"fits/tumor.*run its stage first"):
        pseudolabel(*run, ALONE)


def test_a_model_that_is_not_there_is_named(tmp_path):
    config, paths, index = small_run(tmp_path, pseudo=PseudoConfig(tumour_fit="", organ_model="nobody"))
    with pytest.raises(ModelError, match="nobody"):
        pseudolabel(config, paths, index, ALONE)


def test_records_that_are_no_json_count_as_none(run):
    config, paths, index = run
    pseudolabel(*run, ALONE)
    paths.confidence("tumour", "mine_p1").write_text("{half")
    assert Records("tumour", config, paths).facts(index.of("mine_p1")) == {}
    assert unlabelled(*run)
