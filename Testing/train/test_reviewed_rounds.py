"""Where rounds, reviews and shares of the cases meet: readers have the last word on labels that are unstable."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_run import GRID, LIVER, SPACING, SPLEEN, TUMOUR, small_run, truth_of, write_label_map

from flareseg.errors import InputError
from flareseg.io.files import read_labels
from flareseg.labels import structures
from flareseg.results.cohort.summary import labels_digest
from train.__main__ import main
from train.common.distributed import Rank
from train.config import PseudoConfig
from train.data.cache import load_cached
from train.data.index import IGNORE, CaseIndex, write_index
from train.fit_config import FitConfig
from train.pipeline import Run
from train.pseudolabels.layers import read_layers, sources_of
from train.pseudolabels.pseudo_records import FAILED, Records
from train.stages.fuse import fuse, unfused
from train.training.fits import cases_of, job_of

STRICT = PseudoConfig(organ_model="tumor", largest_instability=0.2, device="cpu")


@pytest.fixture
def run(tmp_path):
    """In both rounds nets agree on the tumours of p1 and p2, and on half of the liver of p3, which nobody annotated."""
    fits = {
        "tumor": FitConfig(net="tumor", epochs=1, cases="tumour"),
        "next": FitConfig(net="final", epochs=1, stage="rounds", round="first", labels="fused", cases="all"),
        "final": FitConfig(net="final", epochs=1, labels="fused", cases="all"),
    }
    config, paths, index = small_run(tmp_path, fits=fits, pseudo=STRICT, rounds={"first": STRICT})
    index = CaseIndex(index.split("train"))
    write_index(index, paths.index)
    for here in (paths, paths.of_round("first")):
        tumours, organs = Records("tumour", config, here), Records("organs", config, here)
        for number in (1, 2, 3):
            seen = np.where(truth_of(number) == TUMOUR, TUMOUR, 0) if number < 3 else np.zeros(GRID.shape_zyx)
            write_label_map(seen, here.pseudo("tumour", f"mine_p{number}"))
            tumours.write(index.of(f"mine_p{number}"), {"structures": ["tumour"]})
        doubted = truth_of(3)
        doubted[:, :15][doubted[:, :15] == LIVER] = IGNORE
        doubted[doubted == TUMOUR] = 0
        write_label_map(doubted, here.pseudo("organs", "mine_p3"))
        organs.write(index.of("mine_p3"), {"structures": ["liver", "spleen"]})
    return config, paths, index


def shown(config, paths, index):
    """The labels of p3 as `review` shows them."""
    [sources] = [one for one in sources_of(config, paths, index) if one.name == "mine_p3"]
    return read_layers(sources).fused().labels


def reviewed(config, path, labels, **said):
    names = [one.name for one in structures()]
    review = {
        "case": "mine_p3", "labels_sha256": labels_digest(labels, GRID), "reviewer": "A", "verdict": None,
        "time": "2026-01-31T12:00:00.000Z", "structures": said, "shown": names, "absent": [],
    }  # fmt: skip
    path.write_text(json.dumps({"flareseg_review": 1, "saved": "2026-01-31T12:00:00Z", "reviews": [review]}))
    return replace(config, reviews=[str(path)])


def taught(paths):
    """Fused labels of p3 on its own grid, names of what is known, and the weight of the case."""
    cached = load_cached(paths.grid(SPACING) / "mine_p3", paths.fused_kind)
    known = {one.name for one in structures() if cached.known[one.value]}
    return read_labels(paths.fused("mine_p3"))[0], known, cached.weight


def names(job):
    return [case.name for case in job.cases]


def test_without_a_review_an_unstable_case_is_left_out(run):
    config, paths, index = run
    fuse(config, paths, index)
    labels, known, weight = taught(paths)
    assert (labels == IGNORE).all() and not known and weight == 0
    assert names(job_of(config, paths, index, "final")) == ["mine_p0", "mine_p1", "mine_p2"]


def test_what_a_reader_judged_right_is_known_however_unstable_the_case_is(run, tmp_path):
    config, paths, index = run
    drawn = shown(config, paths, index)
    config = reviewed(config, tmp_path / "a.json", drawn, spleen="right", liver="wrong")
    for _ in range(2):  # it stays a review of these labels
        fuse(config, paths, index)
        labels, known, weight = taught(paths)
        assert np.array_equal(labels == SPLEEN, drawn == SPLEEN)
        assert np.array_equal(labels == IGNORE, (drawn == LIVER) | (drawn == IGNORE))
        assert known == {"spleen"} and weight == 1
    job = job_of(config, paths, index, "final")
    assert names(job) == ["mine_p0", "mine_p1", "mine_p2", "mine_p3"] and job.shares == [0.25] * 4


def test_right_organ_pseudo_labels_stay_when_the_case_is_unstable(run, tmp_path):
    config, paths, index = run
    organs = read_labels(paths.pseudo("organs", "mine_p3"))[0]
    fused = shown(config, paths, index)
    tumours = np.zeros(GRID.shape_zyx, np.uint8)
    tumours[(organs == SPLEEN) & (np.indices(organs.shape)[2] < 24)] = TUMOUR
    write_label_map(tumours, paths.pseudo("tumour", "mine_p3"))
    assert not np.array_equal(shown(config, paths, index), fused)  # so that a review is of the organs alone
    config = reviewed(config, tmp_path / "a.json", organs, spleen="right")
    fuse(config, paths, index)
    labels, known, weight = taught(paths)
    assert np.array_equal(labels == SPLEEN, organs == SPLEEN)
    assert not np.isin(labels, (LIVER, TUMOUR)).any()
    assert known == {"spleen"} and weight == 1


def test_a_stable_case_that_is_judged_wrong_in_part_is_drawn_as_often_as_before(run, tmp_path):
    config, paths, index = run
    config = replace(config, pseudo=replace(STRICT, largest_instability=None, weigh_unstable=True))
    fuse(config, paths, index)
    _labels, _known, weight = taught(paths)
    assert 0 < weight < 1
    config = reviewed(config, tmp_path / "a.json", shown(config, paths, index), spleen="wrong")
    fuse(config, paths, index)
    labels, known, after = taught(paths)
    assert not (labels == SPLEEN).any() and "spleen" not in known and "liver" in known
    assert after == weight
    config = reviewed(config, tmp_path / "a.json", shown(config, paths, index), spleen="right")
    fuse(config, paths, index)
    assert taught(paths)[2] == 1  # a label as good as ground truth


def test_reviews_are_of_the_last_round_only(run, tmp_path, capsys):
    config, paths, index = run
    first = paths.of_round("first")
    config = reviewed(config, tmp_path / "a.json", shown(config, first, index), liver="right", spleen="right")
    fuse(config, first, index)
    assert taught(first)[1:] == (set(), 0)
    assert "review" not in capsys.readouterr().out
    assert unfused(config, first, index) == [] and len(unfused(config, paths, index)) == 4
    labelled = replace(config, fits={name: replace(fit, cases="labelled") for name, fit in config.fits.items()})
    fuse(config, paths, index)
    assert "mine_p3" in [case.name for case in cases_of(labelled, index, "final")]
    assert "mine_p3" not in [case.name for case in cases_of(labelled, index, "next")]
    assert "1 of 4 cases are reviewed: 2 structures right" in capsys.readouterr().out


def test_a_fit_whose_cases_are_all_unstable_says_so(run):
    config, paths, index = run
    fuse(config, paths, index)
    alone = replace(config, fits=config.fits | {"final": replace(config.fits["final"], only=["mine_p3"])})
    with pytest.raises(InputError, match=r"too unstable \(raise pseudo\.largest_instability"):
        job_of(alone, paths, index, "final")


def test_shards_divide_the_cases_of_a_round_too(run, capsys):
    config, paths, index = run
    first = paths.of_round("first")
    Run(config, Rank(0, 2)).stage("fuse", "first")
    said = capsys.readouterr().out
    assert "cases left to others: 2, the first is 'mine_p1'" in said
    assert "'fuse --round first' without --shard does what is missing" in said
    assert not first.fusion_report.exists() and not paths.fused("mine_p0").exists()
    Run(config, Rank(1, 2)).stage("fuse", "first")
    assert first.fusion_report.exists()
    assert "instability of 3 cases with pseudo-labels" in capsys.readouterr().out
    assert unfused(config, first, index) == []


def test_a_ct_that_could_not_be_labelled_is_left_out_by_whoever_finishes(run, capsys):
    config, paths, index = run
    for kind in ("tumour", "organs"):
        records = Records(kind, config, paths)
        records.remove(index.of("mine_p3"))
        records.write(index.of("mine_p3"), {FAILED: "It is damaged."})
    Run(config, Rank(0, 2)).stage("fuse")
    Run(config, Rank(1, 2)).stage("fuse")
    assert "1 cases that could not be labelled are left out (mine_p3)" in capsys.readouterr().out
    assert paths.fusion_report.exists() and not paths.fused("mine_p3").exists()
    assert names(job_of(config, paths, index, "final")) == ["mine_p0", "mine_p1", "mine_p2"]


def test_the_command_line_takes_a_round_and_a_shard_together(capsys):
    config = Path(__file__).parents[2] / "train" / "configs" / "winner_phantoms.yaml"
    for stage in ("pseudolabel", "fuse"):
        assert main([stage, "--config", str(config), "--round", "third", "--shard", "1/2"]) == 2
        assert "There is no round 'third' in rounds; there are: first." in capsys.readouterr().err
