"""The post-processing of tumours is chosen on unseen cases, kept only where it helps, and part of the exported plan."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_run import TUMOUR, finish, small_run, truth_of

from flareseg.errors import InputError, UsageError
from flareseg.inference.postprocessing import remove_small_components
from flareseg.labels import structures
from flareseg.model.bundle import load_bundle
from flareseg.model.plan import ComponentRule, LesionRule
from flareseg.results.metrics import score_case
from flareseg.segmentation import Segmentation
from train.config import TumourRulesConfig
from train.config_file import load_config
from train.stages import tumour_rule
from train.stages.export import export_model
from train.stages.tumour_rule import Drawn, Rule, candidates_of, choose, choose_tumour_rule, with_chosen_rule

ANY, PLAIN = LesionRule(), Rule(LesionRule(), ComponentRule())
SIZES = TumourRulesConfig(minimum_ml=[0.0, 1.0, 5.0])


def cases(*lesions, groups=None):
    """Cases with a tumour of 100 voxels, and what was drawn: ml, voxels and right voxels of each component."""
    groups = groups or range(len(lesions))
    return [Drawn(str(group), 100, tuple(parts)) for group, parts in zip(groups, lesions, strict=True)]


def test_lesions_that_are_dropped_score_as_the_model_would_score_without_them(monkeypatch):
    rng = np.random.default_rng(0)
    truth, found = np.zeros((20, 20, 20), np.uint8), np.zeros((20, 20, 20), np.uint8)
    truth[4:9, 4:9, 4:9], truth[15:17, 15:17, 15:17] = TUMOUR, 255
    for size in (2, 3, 4, 5, 6):
        z, y, x = rng.integers(0, 14, 3)
        found[z : z + size, y : y + size, x : x + size] = TUMOUR
    found[16, 16, 16:18] = TUMOUR

    monkeypatch.setattr(tumour_rule, "read_labels", lambda path: (truth, SimpleNamespace(voxel_ml=0.001)))
    monkeypatch.setattr(tumour_rule, "read_volume", lambda path: None)
    net = SimpleNamespace(segment=lambda volume: SimpleNamespace(labels=found))
    facts = tumour_rule.lesions_in(SimpleNamespace(labels="", image=""), net)
    drawn = Drawn("a", facts["reference"], tuple(map(tuple, facts["lesions"])))
    assert len(drawn.lesions) >= 3
    for rule in (ComponentRule(), ComponentRule(0.03), ComponentRule(0.1), ComponentRule(0, True), ComponentRule(9.0)):
        after = remove_small_components(found.copy(), (1.0, 1.0, 1.0), {TUMOUR: rule})
        (score,) = score_case(after, truth, (1.0, 1.0, 1.0), [s for s in structures() if s.value == TUMOUR])
        assert drawn.dsc(rule) == pytest.approx(score.dsc, abs=1e-6)


def test_where_small_lesions_are_false_they_are_dropped_if_that_holds_for_cases_that_were_left_out():
    drawn = cases(*[[(10.0, 100, 90), (0.5, 50, 0)]] * 4)
    choice = choose({ANY: drawn}, candidates_of(SIZES, PLAIN), PLAIN)
    assert choice.helps and choice.rule == Rule(ANY, ComponentRule(1.0)) and choice.cases == 4
    assert choice.configured == pytest.approx(180 / 250) and choice.chosen == pytest.approx(180 / 200)


def test_a_rule_that_is_best_by_chance_does_not_help():
    """In one case a lesion of 3 ml is false, in the other right: only with the first in sight is 5 ml best."""
    drawn = cases([(3.0, 300, 0), (9.0, 100, 100)], [(3.0, 60, 60), (9.0, 40, 38)])
    choice = choose({ANY: drawn}, candidates_of(SIZES, PLAIN), PLAIN)
    assert choice.rule.components.minimum_ml == 5.0 and not choice.helps


def test_ties_go_to_the_configured_rule_then_to_the_mildest():
    drawn = cases(*[[(10.0, 100, 90)]] * 3)
    configured = Rule(ANY, ComponentRule(1.0, without_fat=True))
    candidates = candidates_of(SIZES, configured)
    assert all(rule.components.without_fat for rule in candidates) and candidates[0].components.minimum_ml == 0
    choice = choose({ANY: drawn}, candidates, configured)
    assert choice.rule == configured and not choice.helps


def test_a_case_without_any_tumour_counts_as_right_only_if_none_is_drawn():
    drawn = [Drawn("a", 0, ((0.4, 40, 0),)), Drawn("b", 0, ()), Drawn("c", 100, ((3.0, 100, 100),))]
    choice = choose({ANY: drawn}, candidates_of(SIZES, PLAIN), PLAIN)
    assert choice.rule.components.minimum_ml == 1.0 and choice.configured == pytest.approx(2 / 3)
    assert choose({ANY: drawn[:1]}, candidates_of(SIZES, PLAIN), PLAIN) is None


def test_how_sure_the_net_must_be_is_chosen_too():
    sure = LesionRule(1.0, 1.0)
    drawn = {ANY: cases(*[[(10.0, 200, 80)]] * 3), sure: cases(*[[(8.0, 90, 80)]] * 3)}
    wanted = TumourRulesConfig(minimum_ml=[0.0], largest_only=False, leads=[0.0, 1.0])
    choice = choose(drawn, candidates_of(wanted, PLAIN), PLAIN)
    assert choice.helps and choice.rule.lesions == sure and str(choice.rule) == "all lesions, lead 1"
    alone = Rule(LesionRule(-1.0, 2.0), ComponentRule(0.5, largest_only=True))
    assert str(alone) == "the largest lesion of at least 0.5 ml, lead -1, peak 2"
    both = TumourRulesConfig(minimum_ml=[], leads=[-1.0, 1.0], peaks=[0.0, 2.0], largest_only=False)
    assert [(rule.lesions.lead, rule.lesions.peak) for rule in candidates_of(both, PLAIN)] == [
        (-1, 0), (-1, 2), (1, 1), (1, 2),
    ]  # fmt: skip


class Speckled:
    """Draws the tumour of p4, and two specks of 0.2 ml."""

    asked = 0

    def __init__(self, folder, options):
        self.structures, self.device_description = tuple(structures()), "none"

    def segment(self, volume):
        Speckled.asked += 1
        labels = truth_of(4)
        labels[0, 0, 0] = labels[0, 0, 5] = TUMOUR
        return Segmentation(labels, volume.geometry, self.structures)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The small run with two folds, p0 and p1, whose models draw specks."""
    config, paths, index = small_run(tmp_path)
    cases = [replace(case, annotated=("liver", "spleen", "tumour")) for case in index.cases[:2]]
    index = replace(index, cases=(*cases, *index.cases[2:]))
    config = replace(config, fold_sources=["mine"], tumour_rules=SIZES)
    for case in cases:
        finish(config, paths, "final", left_out=(case.name,))
    monkeypatch.setattr(tumour_rule, "Segmenter", Speckled)
    return config, paths, index


def test_what_evaluate_chooses_is_part_of_the_exported_plan_and_is_made_once(run, tmp_path, capsys):
    config, paths, index = run
    choose_tumour_rule(config, paths, index)
    assert "evaluate: tumours: all lesions of at least 1 ml: DSC" in capsys.readouterr().out
    asked = Speckled.asked
    choose_tumour_rule(config, paths, index)
    assert Speckled.asked == asked > 0
    chosen = with_chosen_rule(config, paths)
    plan = load_bundle(export_model(chosen, paths, "final", tmp_path / "exported")).plan
    assert plan.components["tumour"].minimum_ml == 1.0
    card = (tmp_path / "exported" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Tumours, chosen by `evaluate`: all lesions of at least 1 ml" in card
    plain = load_bundle(export_model(config, paths, "final", tmp_path / "plain")).plan
    assert "tumour" not in plain.components


def test_the_rule_of_other_weights_is_not_taken(run, capsys):
    config, paths, index = run
    choose_tumour_rule(config, paths, index)
    finish(config, paths, "final", seed=9)
    (paths.fit("final") / "done.json").write_text("{}")
    assert with_chosen_rule(config, paths) == config
    assert "other weights" in capsys.readouterr().out
    assert with_chosen_rule(replace(config, tumour_rules=None), paths).notes == []


def test_a_case_that_fails_is_left_out_and_tried_again(run, capsys):
    config, paths, index = run

    class Failing(Speckled):
        def segment(self, volume):
            raise InputError("It failed.")

    with pytest.MonkeyPatch().context() as now:
        now.setattr(tumour_rule, "Segmenter", Failing)
        choose_tumour_rule(config, paths, index)
    assert "too few cases" in capsys.readouterr().out and with_chosen_rule(config, paths) == config
    choose_tumour_rule(config, paths, index)
    assert with_chosen_rule(config, paths) != config


def test_a_lead_lowers_the_bias_of_an_exported_net_that_has_no_other_for_tumours(run, tmp_path):
    config, paths, _ = run
    surer = replace(config, export=replace(config.export, lesions=LesionRule(1.5, 1.5)))
    before, after = (
        load_bundle(export_model(one, paths, "final", tmp_path / name)).weights
        for one, name in ((config, "before"), (surer, "after"))
    )
    changed = {name: (before[name] - after[name]).double() for name in before if not before[name].equal(after[name])}
    ((name, difference),) = changed.items()
    assert name.endswith("bias") and difference[-1] == pytest.approx(1.5, abs=2e-3) and not difference[:-1].any()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("{peaks: [1]}", "peaks need a net of its own"),
        ("{minimum_ml: [-1]}", "volumes are ml from 0 up"),
        ("{leads: [.nan]}", "numbers"),
        ("{sizes: [1]}", "unknown key 'sizes'"),
    ],
)
def test_candidates_that_cannot_be_tried_are_refused(words, reason):
    path = Path(__file__).parents[2] / "train" / "configs" / "smoke.yaml"
    assert load_config(path, ["tumour_rules={}"]).tumour_rules.largest_only
    with pytest.raises(UsageError, match=reason):
        load_config(path, [f"tumour_rules={words}"])
