"""Which cases teach a fit."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_run import SPACING, small_run

from flareseg.errors import InputError
from flareseg.model.bundle import load_bundle
from flareseg.model.catalogue import EMBEDDED
from train.config_file import load_config
from train.data.cache import load_cached
from train.data.index import CaseIndex, IndexedCase
from train.fit_config import FitConfig
from train.net_config import NetConfig
from train.training.fits import cases_of, fold_groups, job_of, weights_on_grid
from train.training.suppression import opened


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The small run, with a second CT of the patient of p0 from another source."""
    config, places, index = small_run(tmp_path_factory.mktemp("fits"))
    again = replace(index.of("mine_p0"), name="new_p0_7", source="new", patient="mine_p0")
    source = replace(config.sources[0], name="new")
    config = replace(config, sources=[*config.sources, source], fold_sources=["mine"])
    return config, places, CaseIndex((*index.cases, again))


def names(cases):
    return [case.name for case in cases]


def test_a_case_is_its_own_patient_unless_told(run):
    assert run[2].of("mine_p1").patient == "mine_p1"


def test_validation_cases_teach_nothing(run):
    config, _places, index = run
    assert names(cases_of(config, index, "final")) == ["mine_p0", "mine_p1", "mine_p2", "mine_p3", "new_p0_7"]


def test_who_leaves_out_a_case_leaves_out_its_patient(run):
    config, _places, index = run
    assert names(cases_of(config, index, "final", ["mine_p0"])) == ["mine_p1", "mine_p2", "mine_p3"]
    assert names(cases_of(config, index, "final", ["mine_p1"])) == ["mine_p0", "mine_p2", "mine_p3", "new_p0_7"]


@pytest.mark.parametrize("only", [["mine_p0", "p3"], "file"])
def test_a_fit_may_list_its_cases(run, tmp_path, only):
    config, _places, index = run
    if only == "file":
        (tmp_path / "cases.txt").write_text("# of the paper\np0\n\nmine_p3 \n")
        only = str(tmp_path / "cases.txt")
    fits = {"final": replace(config.fits["final"], only=only)}
    config = replace(config, fits=fits)
    assert names(cases_of(config, index, "final")) == ["mine_p0", "mine_p3"]
    assert names(cases_of(config, index, "final", ["mine_p0"])) == ["mine_p3"]


@pytest.mark.parametrize(
    ("fit", "only", "words"),
    [
        ("final", ["p0", "p4"], "1 of the 2 cases that the fit 'final' lists .* the first is 'p4'"),
        ("tumor", ["p1"], "no training cases of its kind, the first is 'p1'"),
        ("final", "no/such/file", "list of cases 'no/such/file' of the fit 'final' cannot be read"),
    ],
)
def test_a_list_of_cases_that_cannot_be_met_is_refused(run, fit, only, words):
    config, _places, index = run
    config = replace(config, fits=config.fits | {fit: replace(config.fits[fit], only=only)})
    with pytest.raises(InputError, match=words):
        cases_of(config, index, fit)


def test_the_papers_baseline_learns_from_labelled_images_alone(tmp_path):
    kinds = {"organs": ("liver",), "cancer": ("liver", "tumour"), "unlabelled": ()}
    index = CaseIndex(
        tuple(
            IndexedCase(name, "flare23", Path(name), Path(name) if shown else None, shown, shown, organs=Path(name))
            for name, shown in kinds.items()
        )
    )
    path = Path(__file__).parents[2] / "train" / "configs" / "paper.yaml"

    def taught(*switches):
        words = [f"sources.flare23.path={tmp_path}", *(f"ablation.{switch}" for switch in switches)]
        config = load_config(path, words)
        return {fit: names(cases_of(config, index, fit)) for fit in ("pretrain", "tumor", "final")}

    everybody, labelled = ["cancer", "organs", "unlabelled"], ["cancer", "organs"]
    assert taught() == {"pretrain": everybody, "tumor": ["cancer"], "final": everybody}
    assert taught("label_fusion=false", "pretraining=false")["final"] == everybody
    baseline = taught("label_fusion=false", "pretraining=false", "labelled_only=true")
    assert baseline == {"pretrain": everybody, "tumor": ["cancer"], "final": labelled}


def test_other_cases_of_a_patient_make_no_fold_of_their_own(run):
    config, _places, index = run
    assert fold_groups(config, index) == [["mine_p0"], ["mine_p1"]]


def test_a_fold_that_would_leave_nothing_to_learn_from_is_none(run):
    config, _places, index = run
    only = CaseIndex(tuple(case for case in index.cases if case.patient == "mine_p0"))
    assert fold_groups(config, only) == []


@pytest.mark.parametrize(("mm", "net"), [(3, "weights"), (6, "coarse_weights"), (4, "tumour_weights"), (5, "weights")])
def test_who_starts_from_a_model_takes_its_net_on_the_same_grid(mm, net):
    model = load_bundle(EMBEDDED / "tumours")
    assert weights_on_grid(model, (mm, mm, mm)) is getattr(model, net)


def test_a_fit_opens_outputs_that_the_model_it_begins_with_had_closed(run, monkeypatch):
    config, places, index = run
    model = load_bundle(EMBEDDED / "default")
    assert model.plan.silent == ("tumour",)
    net = NetConfig((3.0, 3.0, 3.0), (64, 80, 112), [16, 32, 64, 128, 160], clip_hu=(-200, 350), mean_hu=70, std_hu=100)
    config = replace(
        config,
        nets=config.nets | {"final": net},
        fits=config.fits | {"final": FitConfig(net="final", epochs=1, start="default")},
    )
    any_case = load_cached(places.grid(SPACING) / "mine_p0", None)
    monkeypatch.setattr("train.training.fits.load_cached", lambda *_: any_case)
    start = job_of(config, places, index, "final").start
    key = "output_block.conv.conv.bias"
    bias, before = start[key], model.weights[key]
    assert before[net.names.index("tumour")] < -900
    assert bias.min() > -10
    assert bias[:-1].equal(before[:-1]), "the others stay as they are"


def test_open_outputs_stay_as_they_are():
    model = load_bundle(EMBEDDED / "tumours")
    net = NetConfig(
        (4.0, 4.0, 4.0), (48, 64, 64), [16, 32, 64, 128], segments=list(model.plan.tumour.labels.values())[1:]
    )
    assert opened(model.tumour_weights, net) is model.tumour_weights


def test_a_fit_without_cases_is_refused(run):
    config, _places, index = run
    only = CaseIndex(tuple(case for case in index.cases if case.patient == "mine_p0"))
    with pytest.raises(InputError, match="no case to train on in mine, new"):
        cases_of(config, only, "final", ["mine_p0"])
