"""What is exported loads, gives the weights that were asked for, and tells the whole story of how it came to be."""

import json
import shutil
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from small_run import finish, small_run

from flareseg.errors import InputError
from flareseg.model.bundle import load_bundle
from flareseg.model.catalogue import EMBEDDED
from flareseg.model.plan import LesionRule
from flareseg.model.structures import drawn_by
from train.config import AblationConfig, ExportConfig
from train.data.index import read_index
from train.fit_config import FitConfig
from train.stages.evaluate import models_to_evaluate
from train.stages.export import export_model, read_scores
from train.training.checkpoints import averaged_weights


@pytest.fixture
def run(tmp_path):
    return small_run(tmp_path)[:2]


def exported(run, fit="final", **more):
    config, paths = run
    return load_bundle(export_model(config, paths, fit, config.output, **more))


def provenance(bundle):
    return bundle.info["provenance"]


def test_the_weights_are_those_of_the_fit_in_half_precision(run):
    bundle = exported(run)
    for name, value in averaged_weights(run[1].fit("final")).items():
        assert torch.equal(bundle.weights[name].float(), value.half().float()), name


def test_weights_of_fewer_bits_take_less_room_and_differ_by_as_much(run):
    config, paths = run
    whole = exported(run).weights
    config = replace(config, export=replace(config.export, significant_bits=8))
    short = exported((config, paths)).weights
    size = {key: len(zlib.compress(b"".join(t.numpy().tobytes() for t in one.values()))) for key, one in
            (("whole", whole), ("short", short))}  # fmt: skip
    assert size["short"] < 0.9 * size["whole"]
    for name, value in whole.items():
        assert torch.allclose(short[name].float(), value.float(), rtol=2**-8, atol=1e-6), name


def test_plan_and_name_are_those_of_the_configuration(run):
    config, _ = run
    bundle = exported(run)
    assert (bundle.info["name"], bundle.info["version"]) == ("small", "1.2")
    assert bundle.plan == config.net_of("final").plan()
    assert exported(run, "tumor").plan.labels == {0: "background", 1: "tumour"}


def test_the_net_that_finds_the_region_goes_with_it(run):
    config, paths = run
    config = replace(
        config,
        nets=config.nets | {"coarse": replace(config.nets["final"], spacing_zyx_mm=(9.0, 9.0, 9.0))},
        fits=config.fits | {"coarse": FitConfig(net="coarse", epochs=1, stage="final")},
        export=ExportConfig(coarse="coarse"),
    )
    finish(config, paths, "coarse", seed=8)
    bundle = exported((config, paths))
    assert bundle.plan.coarse is not None
    assert bundle.plan.coarse.spacing_zyx_mm == (9.0, 9.0, 9.0)
    expected = averaged_weights(paths.fit("coarse"))
    assert set(bundle.coarse_weights) == set(expected)
    assert exported((config, paths), "tumor").plan.coarse is None


def test_the_net_for_tumours_goes_with_it_and_speaks_where_the_others_are_silent(run):
    config, paths = run
    config = replace(config, export=ExportConfig(tumour="tumor", lesions=LesionRule(-1.5, 0.5), suppressed=["tumour"]))
    bundle = exported((config, paths))
    assert bundle.plan.tumour == config.net_of("tumor").plan()
    assert bundle.plan.lesions == LesionRule(-1.5, 0.5)
    assert bundle.plan.silent == (), "the tumours' net draws it"
    expected = averaged_weights(paths.fit("tumor"))
    assert set(bundle.tumour_weights) == set(expected)
    assert all(torch.equal(bundle.tumour_weights[name].float(), expected[name].half().float()) for name in expected)
    assert list(provenance(bundle)["fits"]) == ["tumor", "final"]


def test_a_model_gets_the_net_for_tumours_of_this_run_and_stays_as_it_is_otherwise(run):
    config, paths = run
    base = load_bundle(EMBEDDED / "default")
    rules = ExportConfig("default", tumour="tumor", lesions=LesionRule(-1, 2), components={"tumour": {"minimum_ml": 3}})
    config = replace(config, export=rules)
    own = {"model": config.called("default"), "structure": "tumour", "dsc": 0.5, "nsd": 0.25}
    scores = [own | {"case": "phantoms_phantom_1000000"}]
    bundle = exported((config, paths), "default", scores=scores)
    for net in ("weights", "coarse_weights"):
        before, after = getattr(base, net), getattr(bundle, net)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
    expected = averaged_weights(paths.fit("tumor"))
    assert all(torch.equal(bundle.tumour_weights[name].float(), expected[name].half().float()) for name in expected)
    assert bundle.plan.tumour == config.net_of("tumor").plan()
    assert bundle.plan.components["tumour"].minimum_ml == 3
    assert {**bundle.plan.components, "tumour": None} == {**base.plan.components, "tumour": None}
    found = provenance(bundle)
    assert found["begun_with"] == f"default {base.version}"
    assert list(found["fits"]) == [*base.info["provenance"]["fits"], "tumor"]
    assert found["data"] == [*base.info["provenance"]["data"], {"case": "mine_p0"}]
    real = [row for row in base.info["metrics"]["rows"] if not row["case"].startswith("phantoms_")]
    assert real
    assert bundle.info["metrics"]["rows"] == [*real, *scores]


def test_a_net_for_tumours_can_be_made_anew(run):
    config, paths = run
    config = replace(config, export=ExportConfig("tumours", tumour="tumor"))
    bundle = exported((config, paths), "tumours")
    assert set(bundle.tumour_weights) == set(averaged_weights(paths.fit("tumor")))
    assert bundle.plan.tumour.spacing_zyx_mm == (6.0, 6.0, 6.0)


def test_the_folds_of_a_net_for_tumours_go_with_the_model_that_it_is_made_for(run):
    config, paths = run
    settings = config.fits["tumor"]
    config = replace(
        config,
        export=ExportConfig("default", tumour="tumor"),
        fits=config.fits | {"tumor": replace(settings, cases="labelled")},
        fold_sources=["mine"],
        folds=[["mine_p1"]],
    )
    index = read_index(paths.index)
    assert [job.name for job in models_to_evaluate(config, index)] == [
        "small", "tumor_without_mine_p1", "tumor_without_mine_p0",
    ]  # fmt: skip
    without = paths.fit("tumor", ["mine_p1"])
    shutil.copytree(paths.fit("tumor"), without)
    shutil.rmtree(paths.fit("tumor"))
    bundle = exported((config, paths), "default", left_out=["mine_p1"])
    expected = averaged_weights(without)
    assert all(torch.equal(bundle.tumour_weights[name].float(), expected[name].half().float()) for name in expected)
    assert [one["case"] for one in provenance(bundle)["data"]][-1:] == ["mine_p0"]


def test_the_provenance_tells_data_fits_and_recipe(run):
    found = provenance(exported(run))
    assert list(found["fits"]) == ["tumor", "final"]  # first things first
    assert found["data"] == [{"case": "mine_p0"}]
    assert found["recipe"]["nets"]["final"]["filters"] == [4, 8, 8]
    assert found["recipe"]["seed"] == 2023
    assert set(found["software"]) == {"torch", "monai", "lightning"}


def test_sources_are_named_with_licence_and_citation(run):
    config, _places = run
    info = {"source": "Somewhere", "licence": "CC BY 4.0", "citation": "Someone 2020", "other": "unsaid"}
    (Path(config.sources[0].path) / "p0" / "info.json").write_text(json.dumps(info))
    [entry] = provenance(exported(run))["data"]
    assert entry == {"case": "mine_p0", "source": "Somewhere", "licence": "CC BY 4.0", "citation": "Someone 2020"}
    assert "**mine_p0**: Somewhere; CC BY 4.0; Someone 2020." in (config.output / "MODEL_CARD.md").read_text()


def test_a_fit_that_was_not_trained_is_not_in_the_story(run):
    config, paths = run
    fits = {"pretrain": FitConfig(net="tumor", epochs=1, task="reconstruct", cases="all")} | config.fits
    fits["tumor"] = replace(fits["tumor"], start="pretrain")
    without = replace(config, fits=fits, ablation=AblationConfig(pretraining=False))
    assert list(provenance(exported((without, paths)))["fits"]) == ["tumor", "final"]
    with pytest.raises(InputError, match="fits/pretrain' is not finished"):
        exported((replace(config, fits=fits), paths))


def test_a_fit_that_left_cases_out_is_exported_from_its_own_folder(run):
    config, paths = run
    finish(config, paths, "final", seed=77, left_out=("mine_p0",))
    bundle = exported(run, left_out=("mine_p0",))
    expected = averaged_weights(paths.fit("final", ("mine_p0",)))
    assert all(torch.equal(bundle.weights[name].float(), value.half().float()) for name, value in expected.items())


def test_what_a_fold_began_with_left_the_same_cases_out(run):
    config, paths = run
    fits = config.fits | {"final": replace(config.fits["final"], start="tumor")}
    finish(config, paths, "final", seed=77, left_out=("mine_p0",))
    begun = (replace(config, fits=fits), paths)
    with pytest.raises(InputError, match="tumor_without_mine_p0' is not finished"):
        exported(begun, left_out=("mine_p0",))
    finish(config, paths, "tumor", seed=78, left_out=("mine_p0",))
    assert list(provenance(exported(begun, left_out=("mine_p0",)))["fits"]) == ["tumor", "final"]


def test_other_weights_than_the_average_can_be_asked_for(run):
    config, paths = run
    with pytest.raises(InputError, match="it was not validated"):
        exported((replace(config, export=ExportConfig(weights="best")), paths))


def test_exporting_again_replaces_the_model(run):
    config, paths = run
    exported(run)
    finish(config, paths, "final", seed=55)
    bundle = exported(run)
    expected = averaged_weights(paths.fit("final"))
    assert all(torch.equal(bundle.weights[name].float(), value.half().float()) for name, value in expected.items())


def test_an_unfinished_fit_is_not_exported(run):
    config, paths = run
    (paths.fit("final") / "done.json").unlink()
    with pytest.raises(InputError, match="fits/final' is not finished; run its stage first"):
        exported(run)
    assert not config.output.exists()


def test_the_card_shows_scores_by_case_and_means(run):
    config, _places = run
    rows = [
        {"model": "final", "case": "mine_p0", "structure": "liver", "dsc": 0.9, "nsd": 0.8},
        {"model": "final", "case": "mine_p0", "structure": "spleen", "dsc": 0.7, "nsd": 0.6},
        {"model": "final", "case": "phantoms_phantom_1", "structure": "liver", "dsc": 0.5, "nsd": 0.4},
        {"model": "final", "case": "phantoms_phantom_2", "structure": "liver", "dsc": 0.3, "nsd": 0.2},
    ]
    exported(run, scores=rows)
    card = (config.output / "MODEL_CARD.md").read_text()
    assert "| structure | mine_p0 (final) | unseen phantoms (final) |" in card
    assert "| Liver | 90.0 / 80.0 | 40.0 / 30.0 |" in card
    assert "| Pancreas | - | - |" in card
    assert "| **Mean** | 80.0 / 70.0 | 40.0 / 30.0 |" in card
    assert "| final | segment | 10 | 1.5 | 1 |" in card
    assert "not a medical device" in card


def test_the_card_counts_the_lesions_that_the_exported_model_found(run):
    config, _places = run
    rows = [{"model": "final", "case": "mine_p0", "structure": "liver", "dsc": 0.9, "nsd": 0.8}]
    found = {"annotated": [{"host": "liver", "mm": 25.0, "found": True}], "false": 3}
    other = {"annotated": [{"host": "liver", "mm": 25.0, "found": False}], "false": 9}
    lesions = [{"model": "final", "case": "phantoms_phantom_1", **found}, {"model": "fold", "case": "mine_p0", **other}]
    exported(run, scores=rows, lesions=lesions)
    card = (config.output / "MODEL_CARD.md").read_text()
    assert "| lesions of 1 phantoms | found |" in card
    assert (
        "| liver and kidneys, 20 mm and more | 1 of 1 |" in card
        and "| false positives per case | 3.0 (3 to 3) |" in card
    )


def test_a_card_without_scores_says_so(run):
    exported(run)
    assert "Not measured." in (run[0].output / "MODEL_CARD.md").read_text()
    assert read_scores(run[1]) == []


def test_a_silent_structure_never_wins_and_the_others_say_what_they_said(run):
    config, paths = run
    loud, names = exported(run).weights, config.net_of("final").names
    suppressed = replace(config, export=replace(config.export, suppressed=["tumour"]))
    bundle = exported((suppressed, paths))
    quiet = bundle.weights
    assert bundle.plan.silent == ("tumour",)
    assert "tumour" not in {one.name for one in drawn_by(bundle.plan)}
    key, channel = "output_block.conv.conv.bias", names.index("tumour")
    difference = loud[key].float() - quiet[key].float()
    assert difference[channel] > 900
    assert difference.sum() == difference[channel]
    assert all(loud[name].equal(quiet[name]) for name in loud if name != key)
