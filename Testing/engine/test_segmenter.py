"""The pipeline as a whole: labels follow the CT however it lies in its file, and every stage can be cancelled."""

import subprocess
import sys
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from reordered import reordered, reordered_array

from flareseg.errors import Cancelled, UsageError
from flareseg.inference.confidence import confidence_of
from flareseg.inference.devices import openvino_installed
from flareseg.model.bundle import load_bundle, save_bundle
from flareseg.options import Options
from flareseg.progress import Progress
from flareseg.segmenter import Segmenter
from flareseg.volume import Geometry, Source, SourceSlice, Volume, WorldBox, as_rows

ON_ONE_CORE = Options(device="cpu", backend="torch", threads=1)


@pytest.fixture(scope="module")
def a_segmenter(a_model):
    return Segmenter(a_model, ON_ONE_CORE)


@pytest.fixture(scope="module")
def labels_of_a_ct(a_segmenter, a_ct):
    return a_segmenter.segment(a_ct).labels


@pytest.mark.parametrize("flips", list(product((False, True), repeat=3)))
@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_labels_follow_every_permutation_and_flip_of_the_file_exactly(a_segmenter, a_ct, labels_of_a_ct, axes, flips):
    assert len(np.unique(labels_of_a_ct)) > 3
    result = a_segmenter.segment(reordered(a_ct, axes, flips))
    assert np.array_equal(result.labels, reordered_array(labels_of_a_ct, axes, flips))


def test_the_result_has_the_geometry_of_an_oblique_ct(a_segmenter, a_ct):
    tilt = as_rows(np.array([[1, 0, 0], [0, np.cos(0.3), -np.sin(0.3)], [0, np.sin(0.3), np.cos(0.3)]]))
    oblique = Volume(a_ct.hu, Geometry(a_ct.hu.shape, (5.0, 3.0, 3.0), (1.0, 2.0, 3.0), tilt))
    result = a_segmenter.segment(oblique)
    assert result.geometry == oblique.geometry
    assert np.array_equal(result.labels, a_segmenter.segment(a_ct).labels)


def test_the_result_names_the_dicom_images_of_the_ct(a_segmenter, a_ct):
    source = Source(tuple(SourceSlice(f"1.2.{z}", "1.2.840.10008.5.1.4.1.1.2", "1.2") for z in range(24)))
    assert a_segmenter.segment(replace(a_ct, source=source)).source == source
    assert a_segmenter.segment(a_ct).source is None


def test_the_same_ct_gives_the_same_labels_again(a_segmenter, a_ct):
    assert np.array_equal(a_segmenter.segment(a_ct).labels, a_segmenter.segment(a_ct).labels)


def test_the_ct_itself_is_not_changed(a_segmenter, a_ct):
    before = a_ct.hu.copy()
    a_segmenter.segment(a_ct)
    assert np.array_equal(a_ct.hu, before)


@pytest.mark.parametrize("shape", [(2, 60, 80), (24, 2, 3), (3, 3, 3)])
def test_volumes_smaller_than_a_window_work(a_segmenter, a_ct, shape):
    part = Volume(
        a_ct.hu[: shape[0], 25 : 25 + shape[1], 30 : 30 + shape[2]].copy(),
        a_ct.geometry.__class__(
            tuple(np.minimum(shape, a_ct.hu[: shape[0], 25 : 25 + shape[1], 30 : 30 + shape[2]].shape)), (5.0, 3.0, 3.0)
        ),
    )
    assert a_segmenter.segment(part).labels.shape == part.hu.shape


def test_only_the_wanted_structures_stay(a_segmenter, a_ct):
    everything = a_segmenter.segment(a_ct).labels
    values = [value for value in np.unique(everything) if value][:2]
    wanted = [structure for structure in a_segmenter.structures if structure.value in values]
    some = a_segmenter.segment(a_ct, structures=wanted)
    assert np.array_equal(some.labels, np.where(np.isin(everything, values), everything, 0))
    assert some.structures == tuple(wanted)


def test_nothing_is_labelled_outside_the_region_of_interest(a_segmenter, a_ct):
    low, high = a_ct.geometry.world_of((5, 20, 30)), a_ct.geometry.world_of((15, 40, 60))
    labels = a_segmenter.segment(a_ct, roi=WorldBox(low, high)).labels
    outside = np.ones(labels.shape, bool)
    outside[5:16, 20:41, 30:61] = False
    assert labels.any() and not labels[outside].any()


def test_a_region_of_interest_outside_the_ct_is_told_also_where_there_is_nothing_to_find(a_segmenter, a_ct):
    for ct in (a_ct, replace(a_ct, hu=np.full_like(a_ct.hu, -1000))):
        with pytest.raises(UsageError, match="lies outside the CT 'phantom'"):
            a_segmenter.segment(ct, roi=WorldBox((900.0, 900.0, 900.0), (950.0, 950.0, 950.0)))


def test_a_cancel_is_heeded_at_every_report(a_segmenter, a_ct):
    reports = []
    a_segmenter.segment(a_ct, progress=Progress(cancelled=lambda: bool(reports.append(1))))
    assert len(reports) > 20
    for stop in range(len(reports)):
        left = iter([False] * stop + [True])
        with pytest.raises(Cancelled):
            a_segmenter.segment(a_ct, progress=Progress(cancelled=lambda left=left: next(left)))


def test_every_stage_is_timed(a_segmenter, a_ct):
    assert list(a_segmenter.segment(a_ct).seconds) == ["body", "resample", "network", "labels", "components"]


def test_mirroring_is_refused_with_a_note_by_a_model_that_knows_left_from_right(a_model, a_ct):
    segmenter = Segmenter(a_model, Options(device="cpu", backend="torch", threads=1, mirroring=True))
    assert any("mirroring" in note for note in segmenter.segment(a_ct).notes)


# models of other structures than all, and confidence


@pytest.fixture(scope="module")
def a_model_of(a_model, tmp_path_factory):
    """The same network with the first channels only, in the given order of structures."""

    def make(*names):
        bundle = load_bundle(a_model)
        plan = replace(bundle.plan, labels=dict(enumerate(["background", *names])))
        last = "output_block.conv.conv."
        weights = {
            name: value[: plan.classes] if name.startswith(last) else value for name, value in bundle.weights.items()
        }
        folder = tmp_path_factory.mktemp("models") / "some"
        about = {key: bundle.info[key] for key in ("name", "version", "description", "licence", "citation")}
        save_bundle(folder, plan=plan, weights=weights, provenance={}, metrics={}, card="Some.", **about)
        return Segmenter(folder, ON_ONE_CORE)

    return make


def test_a_net_of_some_structures_gives_them_the_numbers_of_flare(a_model_of, a_ct):
    in_order = a_model_of("liver", "right_kidney").segment(a_ct)
    others = a_model_of("tumour", "spleen").segment(a_ct)
    assert set(np.unique(in_order.labels)) == {0, 1, 2}
    assert np.array_equal(others.labels, np.array([0, 14, 3], np.uint8)[in_order.labels])
    assert [structure.name for structure in others.structures] == ["tumour", "spleen"]


@pytest.mark.parametrize("coarser", [1.0, 1.5])
def test_tumours_are_what_their_own_net_says_and_organs_what_is_left(a_model, a_ct, tmp_path, coarser):
    bundle = load_bundle(a_model)
    last, channel = "output_block.conv.conv.", 14
    # of two classes: the background stands for every organ, the tumour is what the network calls liver
    weights = {name: value[[0, 1]] if name.startswith(last) else value for name, value in bundle.weights.items()}
    z, y, x = bundle.plan.spacing_zyx_mm
    grid = (coarser * z, coarser * y, coarser * x)
    plan = replace(bundle.plan, spacing_zyx_mm=grid, labels={0: "background", 1: "tumour"}, components={})
    silent = bundle.weights | {f"{last}bias": bundle.weights[f"{last}bias"].index_fill(0, torch.tensor(channel), -1e3)}
    about = {key: bundle.info[key] for key in ("name", "version", "description", "licence", "citation")}
    models = {
        "both": (replace(bundle.plan, tumour=plan), bundle.weights | {f"tumour.{k}": v for k, v in weights.items()}),
        "tumours": (plan, weights),
        "organs": (bundle.plan, silent),
    }
    # on the main network's own grid no organ is interpolated
    ct = Volume(a_ct.hu, Geometry(a_ct.hu.shape, bundle.plan.spacing_zyx_mm))
    found = {}
    for name, (its_plan, tensors) in models.items():
        its_plan = replace(its_plan, components={})
        save_bundle(tmp_path / name, plan=its_plan, weights=tensors, provenance={}, metrics={}, card=name, **about)
        found[name] = Segmenter(tmp_path / name, ON_ONE_CORE).segment(ct).labels
    tumours = found["tumours"] == channel
    assert 0.05 < tumours[found["organs"] > 0].mean() < 0.95
    expected = np.where(tumours, channel, found["organs"])
    # but for a tie in half precision here and there
    assert (found["both"] != expected).mean() < 0.001
    both = Segmenter(tmp_path / "both", ON_ONE_CORE)
    organs = [structure for structure in both.structures if structure.name != "tumour"]
    assert np.array_equal(both.segment(ct, structures=organs).labels, found["organs"])  # no holes in them


def test_confidence_is_the_probability_of_the_class_that_won(a_segmenter, a_ct):
    result = a_segmenter.segment(a_ct, confidence=True)
    assert result.confidence.shape == result.labels.shape
    assert result.confidence.dtype == np.uint8
    looked = result.confidence > 0
    assert looked.any()
    assert not looked.all()  # air around the body is not looked at
    assert result.confidence[looked].min() >= 100 // 15  # of 15 classes one has at least its share
    assert result.confidence.max() <= 100
    assert np.array_equal(result.labels, a_segmenter.segment(a_ct).labels)
    assert a_segmenter.segment(a_ct).confidence is None


def test_confidence_follows_the_orientation_of_the_file(a_segmenter, a_ct):
    axes, flips = (2, 0, 1), (True, False, True)
    expected = a_segmenter.segment(a_ct, confidence=True).confidence
    result = a_segmenter.segment(reordered(a_ct, axes, flips), confidence=True).confidence
    assert np.array_equal(result, reordered_array(expected, axes, flips))


def test_confidence_on_the_networks_grid_is_the_softmax():
    logits = torch.randn(5, 11, 6, 7, generator=torch.Generator().manual_seed(1))
    expected = (logits.softmax(0).amax(0) * 100).round().to(torch.uint8).numpy()
    assert np.array_equal(confidence_of(logits, (11, 6, 7)), expected)
    assert confidence_of(logits, (22, 12, 21)).shape == (22, 12, 21)


def test_a_segmenter_dropped_by_another_thread_leaves_ctrl_c_alone(a_model):
    if not openvino_installed():
        pytest.skip("OpenVINO is not installed")
    program = f"""
import gc, os, signal, threading
from flareseg.options import Options
from flareseg.segmenter import Segmenter

held = [Segmenter({str(a_model)!r}, Options(backend="openvino", threads=1))]
dropper = threading.Thread(target=lambda: (held.clear(), gc.collect()))
dropper.start()
dropper.join()
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the tests were started by ignores
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert (result.returncode, result.stdout) == (0, "interrupted\n"), result.stderr
