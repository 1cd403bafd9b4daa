"""How sure a network was, what score that promises, and what a reader is told of it."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from bundles import edit_json, make_plan, refusal, save_model
from reported import a_segmentation, a_volume

from flareseg.cli import main
from flareseg.expectation import TERMS, Expectation, Signs, expected_quality
from flareseg.inference.evidence import Evidence, part_on_grid
from flareseg.inference.head import Head, LazyLogits
from flareseg.interop.combine_models import combine_models
from flareseg.interop.import_model import import_model
from flareseg.io.files import write_volume
from flareseg.labels import structures
from flareseg.model.bundle import load_bundle
from flareseg.model.calibration import Calibration
from flareseg.model.networks.dynunet import dynunet_spec
from flareseg.model.networks.registry import build_network
from flareseg.model.plan import Plan
from flareseg.model.storage import JSON
from flareseg.options import Options
from flareseg.results.measure import as_table, measure
from flareseg.segmenter import Segmenter

ON_ONE_CORE = Options(device="cpu", backend="torch", threads=1)
SPACING = (3.0, 3.0, 3.0)
DOUBTFUL = Calibration(-1.0, {"sureness": 0.1})


def some_logits():
    """Smooth, with much background."""
    knots = 4 * torch.randn(1, 5, 4, 5, 6, generator=torch.Generator().manual_seed(2))
    knots[:, 0] += 4
    return torch.nn.functional.interpolate(knots, size=(21, 20, 22), mode="trilinear")[0]


def signs_of(sureness=0.9, agreement=0.9, volume_ml=100.0, kept=1.0):
    return Signs(sureness, agreement, volume_ml, kept)


# what is added up


def test_the_signs_are_sums_of_the_softmax(monkeypatch):
    monkeypatch.setattr("flareseg.inference.evidence.FAINT", 100.0)
    monkeypatch.setattr("flareseg.inference.evidence.ROWS", 1)
    logits = some_logits()
    p, labels = torch.softmax(logits.double(), 0).numpy(), logits.argmax(0).numpy().astype(np.uint8)
    evidence = Evidence(5)
    evidence.add(logits.half(), 0.027)
    labels[labels == 3] = 0  # as if post-processing had taken it away
    labels[:10][labels[:10] == 2] = 0
    found = evidence.signs(structures()[:4], labels, SPACING)
    assert list(found) == ["liver", "right_kidney", "pancreas"]
    won = logits.argmax(0).numpy() == 2
    inside = p[2][won].sum()
    kidney = found["right_kidney"]
    assert kidney.sureness == pytest.approx(inside / won.sum(), abs=1e-3)
    assert kidney.agreement == pytest.approx(2 * inside / (p[2].sum() + won.sum()), abs=1e-3)
    assert kidney.volume_ml == pytest.approx(0.027 * (labels == 2).sum())
    assert kidney.kept == pytest.approx((labels == 2).sum() / won.sum(), abs=1e-6)


def test_what_is_background_beyond_doubt_hardly_counts():
    logits, exact, quick = some_logits(), Evidence(5), Evidence(5)
    quick.add(logits, 1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flareseg.inference.evidence.FAINT", 100.0)
        exact.add(logits, 1.0)
    assert np.array_equal(exact.drawn_ml[1:], quick.drawn_ml[1:])
    assert np.allclose(exact.within_ml[1:], quick.within_ml[1:])
    assert (quick.total_ml[1:] <= exact.total_ml[1:]).all() and np.allclose(
        exact.total_ml[1:], quick.total_ml[1:], rtol=0.2
    )


def test_every_second_row_says_nearly_what_all_say(monkeypatch):
    logits, some, all_ = some_logits(), Evidence(5), Evidence(5)
    some.add(logits, 1.0)
    monkeypatch.setattr("flareseg.inference.evidence.ROWS", 1)
    all_.add(logits, 1.0)
    assert np.allclose(some.drawn_ml[1:], all_.drawn_ml[1:], rtol=0.12)
    assert np.allclose(some.within_ml[1:] / some.drawn_ml[1:], all_.within_ml[1:] / all_.drawn_ml[1:], atol=0.03)


def test_a_part_thinner_than_the_networks_voxels_is_nothing():
    evidence, nothing = Evidence(5), slice(3, 3)
    evidence.add(some_logits(), 1.0, (slice(0, 5), nothing, slice(0, 5)))
    evidence.add(some_logits(), 1.0, (nothing, slice(0, 5), slice(0, 5)))
    assert not evidence.drawn_ml.any()


def test_a_ct_in_parts_counts_as_a_whole():
    logits, whole, parts = some_logits(), Evidence(5), Evidence(5)
    whole.add(logits, 0.5)
    shape = (42, 20, 22)  # of the CT, two voxels to one
    for start, stop in ((0, 16), (16, 42)):
        parts.add(logits, 0.5, part_on_grid((slice(start, stop), slice(0, 20), slice(0, 22)), shape, logits))
    assert np.allclose(whole.drawn_ml, parts.drawn_ml) and np.allclose(whole.total_ml, parts.total_ml)


def test_nothing_is_said_of_a_network_of_many_classes():
    evidence = Evidence(9)
    evidence.add(LazyLogits(torch.ones(3, 4, 4, 4), Head("head", torch.ones(9, 3), torch.zeros(9))), 1.0)
    assert evidence.signs(structures()[:8], np.ones((4, 4, 4), np.uint8), SPACING) == {}


def test_volumes_on_a_fine_grid_are_near_those_of_all_voxels():
    labels = np.zeros((20, 200, 200), np.uint8)
    labels[3:15, 40:101, 50:121] = 1
    evidence = Evidence(2)
    evidence.add(torch.tensor([0.0, 5.0])[:, None, None, None].expand(2, 4, 4, 4), 1.0)
    [found] = evidence.signs(structures()[:1], labels, (2.5, 0.7, 0.7)).values()
    assert found.volume_ml == pytest.approx((labels == 1).sum() * 2.5 * 0.7**2 / 1000, rel=0.05)


# what it promises


def test_an_expected_dsc_grows_with_what_speaks_for_it():
    calibration = Calibration(-0.5, {"sureness": 0.5, "agreement": 0.3, "volume": 0.2, "kept": 1.0})
    start = signs_of(0.6, 0.6, 10, 0.5)
    better = [{"sureness": 0.9}, {"agreement": 0.9}, {"volume_ml": 100.0}, {"kept": 1.0}]
    base = calibration.expected_dsc(start)
    assert all(calibration.expected_dsc(replace(start, **change)) > base for change in better)


@pytest.mark.parametrize("signs", [signs_of(0, 0, 0, 0), signs_of(1, 1, 1e9, 1)])
def test_an_expected_dsc_is_one_whatever_the_signs(signs):
    assert 0 <= Calibration(999, dict.fromkeys(TERMS, 999)).expected_dsc(signs) <= 1
    assert 0 <= Calibration(-999, dict.fromkeys(TERMS, -999)).expected_dsc(signs) <= 1


@pytest.mark.parametrize(
    ("expected", "text"), [(None, ""), (0.7, ""), (0.696, ""), (0.694, "check this: expected DSC 0.69"), (0.0, "check")]
)
def test_words_are_for_what_should_be_looked_at(expected, text):
    assert expected_quality(expected).startswith(text) and bool(expected_quality(expected)) == bool(text)


def test_a_model_is_read_with_the_calibration_with_which_it_was_written(tmp_path):
    plan = make_plan(calibration={"spleen": DOUBTFUL})
    assert load_bundle(save_model(tmp_path / "m", plan)).plan == plan
    assert plan.needs_format == make_plan().needs_format  # older programs read it, and leave it out
    assert "calibration" not in make_plan().to_json()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"spleen": {"offset": 1, "weights": {"colour": 1}}}, "colour"),
        ({"spleen": {"offset": 1e9, "weights": {}}}, "1000"),
        ({"spleen": {"weights": {}}}, "offset"),
        ({"spleen": 3}, "sense"),
        ({"tail": {"offset": 1, "weights": {}}}, "does not segment"),
        ([1], "sense"),
    ],
)
def test_a_calibration_without_sense_is_refused(tmp_path, change, says):
    model = save_model(tmp_path / "m")
    edit_json(model, lambda data: data["plan"].update(calibration=change))
    assert says in refusal(model)


# of a CT


@pytest.fixture(scope="module")
def plain(a_model, tmp_path_factory):
    """A model of random weights with more features than classes."""
    plan = replace(load_bundle(a_model).plan, network=dynunet_spec([16, 8, 8]))
    torch.manual_seed(7)
    weights = build_network(plan).state_dict()
    return save_model(tmp_path_factory.mktemp("plain") / "random", plan, weights=weights)


@pytest.fixture(scope="module")
def calibrated(plain, tmp_path_factory):
    """The same model, calibrated for the liver."""
    bundle, folder = load_bundle(plain), tmp_path_factory.mktemp("calibrated") / "random"
    return save_model(folder, replace(bundle.plan, calibration={"liver": DOUBTFUL}), weights=bundle.weights)


def test_a_calibration_changes_no_label_and_says_what_is_expected(plain, calibrated, a_ct):
    before, result = (Segmenter(model, ON_ONE_CORE).segment(a_ct) for model in (plain, calibrated))
    assert np.array_equal(before.labels, result.labels) and "liver" in before.expectations
    assert set(before.expectations) <= {structure.name for structure in before.present()}
    assert all(one.expected_dsc is None and 0 < one.signs.sureness < 1 for one in before.expectations.values())
    known = {name: one for name, one in result.expectations.items() if one.expected_dsc is not None}
    assert list(known) == ["liver"]
    assert known["liver"].expected_dsc == DOUBTFUL.expected_dsc(before.expectations["liver"].signs)


def test_only_structures_that_are_wanted_are_spoken_of(calibrated, a_ct):
    result = Segmenter(calibrated, ON_ONE_CORE).segment(a_ct, structures=["liver"])
    assert list(result.expectations) == ["liver"]


def test_a_model_knows_of_which_structures_it_can_say_what_to_expect(plain, calibrated):
    assert Segmenter(calibrated, ON_ONE_CORE).expects_dsc(["liver"])
    assert not Segmenter(calibrated, ON_ONE_CORE).expects_dsc(["liver", "spleen"])
    assert not Segmenter(calibrated, ON_ONE_CORE).expects_dsc()
    assert not Segmenter(calibrated, replace(ON_ONE_CORE, parity=True)).expects_dsc(["liver"])
    assert not Segmenter(plain, ON_ONE_CORE).expects_dsc(["liver"])
    assert Segmenter("default", ON_ONE_CORE).expects_dsc()


@pytest.mark.parametrize(("wanted", "asks"), [("liver", False), ("liver,spleen", True)])
def test_a_report_asks_for_the_confidence_only_where_no_dsc_is_expected(
    calibrated, a_ct, tmp_path, monkeypatch, wanted, asks
):
    pytest.importorskip("matplotlib", reason="reports need matplotlib")
    asked, segment = [], Segmenter.segment

    def watched(self, volume, **options):
        asked.append(options["confidence"])
        return segment(self, volume, **options)

    monkeypatch.setattr(Segmenter, "segment", watched)
    ct = write_volume(a_ct, tmp_path / "ct.nii.gz")
    words = ["segment", ct, "-o", tmp_path / "o.nii.gz", "--report", tmp_path / "r", "--model", calibrated]
    fast = ["--structures", wanted, "--backend", "torch", "--threads", "1", "--device", "cpu", "--progress", "none"]
    assert main([str(word) for word in [*words, *fast]]) == 0
    assert asked == [asks]
    assert "Check this: liver" in (tmp_path / "r" / "report.html").read_text(encoding="utf-8")


def test_measurements_and_their_table_say_what_to_check():
    volume = a_volume()
    plain = a_segmentation(volume)
    doubtful = replace(
        plain, expectations={"liver": Expectation(signs_of(), 0.41), "spleen": Expectation(signs_of(), 0.93)}
    )
    rows = measure(doubtful, volume)
    assert {row.structure: row.expected_dsc for row in rows if row.voxels} == {"liver": 0.41, "spleen": 0.93}
    assert [line.split()[0] for line in as_table(rows).splitlines() if "check this: expected DSC 0.41" in line] == [
        "Liver"
    ]
    assert "check this" not in as_table(measure(plain, volume))
    assert all(row.expected_dsc is None for row in measure(plain, volume))


def test_the_embedded_model_is_calibrated_for_every_organ_that_it_draws():
    folder = Path(sys.modules["flareseg"].__file__).parent / "models" / "default"
    plan = Plan.from_json(json.loads((folder / JSON).read_text(encoding="utf-8"))["plan"])
    assert set(plan.calibration) == {structure.name for structure in structures() if structure.flare_organ}
    for calibration in plan.calibration.values():
        sure, unsure = calibration.expected_dsc(signs_of()), calibration.expected_dsc(signs_of(0.6, 0.5))
        assert 0 < unsure < sure < 1


def test_a_model_put_together_of_others_passes_on_what_its_members_expect(calibrated, a_ct, tmp_path, monkeypatch):
    monkeypatch.setenv("FLARESEG_DATA", str(tmp_path / "data"))
    import_model(calibrated, name="one")
    combine_models("together", ["one"], ["one@liver"])
    alone = Segmenter(calibrated, ON_ONE_CORE).segment(a_ct)
    together = Segmenter("together", ON_ONE_CORE).segment(a_ct, structures=["liver", "spleen"])
    assert together.expectations == {name: alone.expectations[name] for name in ("liver", "spleen")}
