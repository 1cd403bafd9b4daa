"""Rounds of self-training: what they may be, whose labels are whose, and what a changed teacher makes stale."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_run import GRID, LIVER, SPACING, finish, small_run, truth_of

from flareseg.errors import InputError, UsageError
from flareseg.io.files import read_labels, read_volume
from flareseg.segmenter import Segmenter
from train.__main__ import main
from train.common.distributed import Rank
from train.config import PseudoConfig
from train.config_file import load_config
from train.data.cache import load_cached, write_labels
from train.data.index import IGNORE, TUMOUR, CaseIndex, known_mask
from train.fit_config import FitConfig
from train.net_config import NetConfig
from train.pseudolabels.pseudo_records import Records
from train.pseudolabels.stability import instability
from train.reporting.provenance import lineage
from train.stages.fuse import fuse
from train.stages.pseudolabel import confident_tumours, pseudolabel, unlabelled
from train.training.fits import job_of, weighed
from train.training.stamps import differences

CONFIGS = Path(__file__).parents[2] / "train" / "configs"
ALONE = Rank(0, 1)
ORGANS = NetConfig(
    spacing_zyx_mm=SPACING,
    patch_zyx=(16, 16, 16),
    filters=[4, 8, 8],
    segments=["liver", "spleen"],
    step=0.5,
    clip_hu=(-200.0, 300.0),
    mean_hu=50.0,
    std_hu=100.0,
)
FIRST = PseudoConfig(tumour_fit="", organ_model=["one", "two"], source_organs=False, device="cpu")


def with_rounds(folder, first=FIRST):
    """The small run with a round before the last, in which two nets label the organs of p1, p2 and p3."""
    nets = {"organs": ORGANS}
    fits = {
        "one": FitConfig(net="organs", epochs=1, stage="tumor"),
        "two": FitConfig(net="organs", epochs=1, stage="tumor", seed=1),
        "next": FitConfig(net="organs", epochs=1, stage="rounds", round="first", labels="fused", cases="all"),
        "final": FitConfig(net="organs", epochs=1, labels="fused", cases="all"),
    }
    last = replace(first, organ_model="next")
    config, paths, index = small_run(folder, nets=nets, fits=fits, rounds={"first": first}, pseudo=last)
    return config, paths.of_round("first"), CaseIndex(index.split("train"))


def changed(config, **settings):
    """With another setting of the first round."""
    return replace(config, rounds={"first": replace(config.rounds["first"], **settings)})


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """With the pseudo-labels of the first round."""
    run = with_rounds(tmp_path_factory.mktemp("rounds"))
    pseudolabel(*run, ALONE)
    return run


# what may be asked for


def test_the_winners_recipe_begins_with_ground_truth_and_ends_with_the_student(tmp_path):
    large = load_config(CONFIGS / "winner.yaml", [f"sources.flare23.path={tmp_path}"])
    small = load_config(CONFIGS / "winner_phantoms.yaml")
    for config in (large, small):
        assert config.fits_of("tumor") == ["region", "organs_a", "organs_b", "tumours_a", "tumours_b"]
        assert config.parents("large_1a") == ["region", "organs_a", "organs_b", "tumours_a", "tumours_b"]
        assert config.parents("student")[0] == "final"
        assert config.export.fit == "student"
    assert large.fits_of("rounds") == ["large_1a", "large_1b", "large_2a", "large_2b"]
    assert [large.round_before(one) for one in ("first", "second", "")] == [None, "first", "second"]
    assert [small.round_before(one) for one in ("first", "")] == [None, "first"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("rounds.first.organ_model=[large_1b, organs_a]", r"would learn from itself \(large_1b ← large_1b\)"),
        ("pseudo.tumour_fit=[student, large_1a]", "final: it would learn from itself"),
        ("pseudo.tumour_fit=[large_1a, nobody]", "no fit 'nobody'"),
        ("rounds.first.tumour_fit=organs_a", "rounds: first: the net of the fit 'organs_a' does not segment tumours"),
        ("pseudo.organ_model=[large_1a, large_1a]", "each of several nets for organs needs a name of its own"),
        ("rounds.first.coarse=nobody", "no fit 'nobody'"),
        ("rounds.third={tumour_fit: large_1a}", "no fit learns from 'third'"),
        ("rounds={'../x': {tumour_fit: tumours_a}}", "'../x' is no name"),
        ("fits.large_1a.round=zeroth", "there is no round 'zeroth'"),
        ("fits.large_1a.labels=truth", "large_1a: it has a round, so its labels are fused"),
        ("fits.final.stage=rounds", "final: the stage 'rounds' is for fits with a round"),
        ("pseudo.agreement=0.5", "agreement is a share of the nets, more than 0.5"),
        ("pseudo.least_agreement=1.5", "numbers from 0 to 1"),
        ("pseudo.largest_instability=-1", "largest_instability is a number from 0 up"),
        ("pseudo.largest_instability=.nan", "largest_instability is a number from 0 up"),
    ],
)
def test_rounds_that_cannot_be_are_named_in_one_line(override, words):
    with pytest.raises(UsageError, match=words) as caught:
        load_config(CONFIGS / "winner_phantoms.yaml", [override])
    assert "\n" not in str(caught.value)


def test_a_round_that_is_not_there_is_named(tmp_path, capsys):
    command = ["fuse", "--config", str(CONFIGS / "winner_phantoms.yaml"), "--round", "third", f"runs={tmp_path}"]
    assert main(command) != 0
    assert "There is no round 'third' in rounds; there are: first." in capsys.readouterr().err


# pseudo-labels of several nets


def test_unknown_is_where_the_nets_differ_and_nothing_else(labelled):
    _config, paths, index = labelled
    for case in ("mine_p1", "mine_p2", "mine_p3"):
        volume = read_volume(index.of(case).image)
        answers = [Segmenter(paths.model(net)).segment(volume) for net in ("one", "two")]
        one, two = (
            np.where(answer.labels == LIVER, 0, answer.labels) if case == "mine_p1" else answer.labels
            for answer in answers
        )  # an annotator drew the liver of p1, so it is no matter what they say of it
        labels = read_labels(paths.pseudo("organs", case))[0]
        assert (one != two).any()
        assert np.array_equal(labels == IGNORE, one != two)
        assert np.array_equal(labels[(one == two) & (one > 0)], one[(one == two) & (one > 0)])


def test_labels_of_a_round_are_kept_apart_from_those_of_the_last(labelled):
    _config, paths, _index = labelled
    assert "rounds/first/pseudo/organs" in paths.pseudo("organs", "x").as_posix()
    assert paths.of_round("").pseudo("organs", "x") == paths.root / "pseudo" / "organs" / "x.nii.gz"
    assert paths.of_round("").fused_kind == "fused"
    assert not paths.of_round("").pseudo("organs", "x").parent.exists()


def test_nets_of_different_organs_are_refused(tmp_path):
    config, paths, index = with_rounds(tmp_path, replace(FIRST, organ_model=["one", "default"]))
    with pytest.raises(UsageError, match="'default' and 'one' segment different organs"):
        pseudolabel(config, paths, index, ALONE)


def test_an_organ_that_the_nets_see_differently_is_not_annotated_in_that_case(labelled):
    config, paths, index = labelled
    records = Records("organs", config, paths)
    agreement = records.facts(index.of("mine_p2"))["agreement"]
    assert set(agreement) == {"liver", "spleen"}
    assert records.facts(index.of("mine_p2"))["structures"] == ["liver", "spleen"]
    doubted = min(agreement, key=agreement.get)
    stricter = changed(config, least_agreement=agreement[doubted] + 1e-3)
    assert unlabelled(stricter, paths, index)
    pseudolabel(stricter, paths, index, ALONE)
    assert doubted not in Records("organs", stricter, paths).facts(index.of("mine_p2"))["structures"]
    fuse(stricter, paths, index)
    known = load_cached(paths.grid(SPACING) / "mine_p2", "fused_first").known
    assert not known[[*known_mask((doubted,))].index(True, 1)]
    pseudolabel(config, paths, index, ALONE)  # as it was, for the other tests


def test_a_changed_teacher_makes_its_labels_stale_and_no_others(labelled, capsys):
    config, paths, index = labelled
    fuse(config, paths, index)
    assert not unlabelled(config, paths, index)
    last = (config, paths.of_round(""), index)
    pseudolabel(*last, ALONE)
    fuse(*last)
    assert not unlabelled(*last)
    before = job_of(config, paths, index, "next").stamp
    finish(config, paths, "two", seed=99)
    assert unlabelled(config, paths, index)
    assert not unlabelled(*last)  # until the net of the next round is trained again
    with pytest.raises(
        InputError, match=r"4 of 4 cases lack organs pseudo-labels of 'one, two'.*run the stage 'rounds'"
    ):
        fuse(config, paths, index)
    pseudolabel(config, paths, index, ALONE)
    assert "the labels of 4 of 4 cases are stale" in capsys.readouterr().out
    fuse(config, paths, index)
    assert "cases with other labels (mine_p1, mine_p2, mine_p3)" in str(
        differences(before, job_of(config, paths, index, "next").stamp)
    )
    finish(config, paths, "two", seed=1)
    pseudolabel(config, paths, index, ALONE)


def test_the_whole_line_of_teachers_is_told_in_training_order(labelled):
    config, _paths, index = labelled
    assert list(lineage(config, index, "final")) == ["one", "two", "next", "final"]


# unstable cases


def unstable_of(paths, case):
    return json.loads(paths.fused_record(case).read_text())["instability"]


def test_unstable_cases_are_left_out_or_keep_their_ground_truth_alone(labelled, capsys):
    config, paths, index = labelled
    strict = changed(config, largest_instability=0.0)
    fuse(strict, paths, index)
    assert "2 of them left out" in capsys.readouterr().out
    assert unstable_of(paths, "mine_p2") > 0
    assert (read_labels(paths.fused("mine_p2"))[0] == IGNORE).all()
    drawn = np.where(truth_of(1) == 1, 1, 0)
    assert np.array_equal(read_labels(paths.fused("mine_p1"))[0], drawn)
    job = job_of(strict, paths, index, "next")
    assert [case.name for case in job.cases] == ["mine_p0", "mine_p1"]
    assert job.shares == [0.5, 0.5]


def test_unstable_cases_are_drawn_less_often(labelled):
    config, paths, index = labelled
    weighing = changed(config, weigh_unstable=True)
    fuse(weighing, paths, index)
    job = job_of(weighing, paths, index, "next")
    shares = dict(zip([case.name for case in job.cases], job.shares, strict=True))
    assert shares["mine_p0"] == shares["mine_p1"]
    assert shares["mine_p2"] / shares["mine_p0"] == pytest.approx(1 - unstable_of(paths, "mine_p2"), abs=1e-3)
    fuse(config, paths, index)
    assert job_of(config, paths, index, "next").shares == [0.25] * 4


def test_what_changed_since_the_round_before_makes_a_case_unstable(labelled):
    config, paths, index = labelled
    last = replace(
        config, pseudo=replace(FIRST, organ_model=["one", "two", "next"], agreement=0.6, weigh_unstable=True)
    )
    here = paths.of_round("")
    pseudolabel(last, here, index, ALONE)
    fuse(last, here, index)
    labels, before = (read_labels(one.pseudo("organs", "mine_p2"))[0] for one in (here, paths))
    assert unstable_of(here, "mine_p2") == pytest.approx(instability(labels, before), abs=1e-4)
    assert instability(labels, before) != pytest.approx(instability(labels), abs=1e-3)


def test_a_ct_that_no_net_could_label_is_left_out_and_ends_nothing(tmp_path, capsys):
    config, paths, index = with_rounds(tmp_path)
    image = index.of("mine_p3").image
    image.write_bytes(image.read_bytes()[:500])
    pseudolabel(config, paths, index, ALONE)
    fuse(config, paths, index)
    assert "fuse: 1 cases that could not be labelled are left out (mine_p3)" in capsys.readouterr().out
    assert [case.name for case in job_of(config, paths, index, "next").cases] == ["mine_p0", "mine_p1", "mine_p2"]


def test_unstable_cases_leave_their_patches_to_the_others():
    assert weighed([0.5, 0.5], [1.0, 1.0]) == [0.5, 0.5]
    assert weighed([0.5, 0.5], [1.0, 0.25]) == [0.8, 0.2]


def test_labels_cached_before_there_were_weights_count_as_any_other(labelled):
    _config, paths, _index = labelled
    folder = paths.grid(SPACING) / "mine_p0"
    write_labels(folder, "fused_old", truth_of(0), GRID, known_mask(("liver",)))
    path = folder / "labels_fused_old.json"
    path.write_text(path.read_text().replace(', "weight": 1.0', ""))
    assert load_cached(folder, "fused_old").weight == 1.0


def test_tumours_that_only_some_nets_see_are_unknown():
    labels = np.zeros((4, 4, 12), np.uint8)
    labels[1:3, 1:3, 1:3], labels[1:3, 1:3, 3:5], labels[1:3, 1:3, 8:10] = TUMOUR, IGNORE, IGNORE
    sure = np.full(labels.shape, 80, np.uint8)
    found, tumours = confident_tumours(labels, sure, 0.1, PseudoConfig(least_confidence=0.5, smallest_tumour_ml=1.0))
    assert (found[1:3, 1:3, 1:3] == TUMOUR).all()
    assert (found[1:3, 1:3, 3:5] == IGNORE).all()
    assert not found[..., 8:10].any()  # too small to matter
    assert [tumour["ml"] for tumour in tumours] == [1.6]
