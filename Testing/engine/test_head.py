"""A network of many classes: its features are blended, and its head is applied late; the answer stays the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from flareseg.inference import head as module
from flareseg.inference.confidence import confidence_of
from flareseg.inference.engine import Engine
from flareseg.inference.head import Head, LazyLogits, at_hand
from flareseg.inference.logits_to_labels import lazy_logits_to_labels, logits_to_labels
from flareseg.model.networks.dynunet import dynunet_spec
from flareseg.model.networks.registry import build_network, own_weights
from flareseg.model.plan import Intensity, Plan
from flareseg.options import Options
from flareseg.progress import Progress, Silent

CLASSES = 20
MARGIN = 0.05


def a_plan(classes):
    return Plan(
        spacing_zyx_mm=(3.0, 3.0, 3.0),
        patch_zyx=(16, 16, 32),
        intensity=Intensity((-200.0, 300.0), 50.0, 100.0),
        network=dynunet_spec([4, 8, 8]),
        labels={0: "background"} | {number: f"part {number}" for number in range(1, classes)},
        step=0.6,
    )


def random_weights(plan):
    torch.manual_seed(3)
    return own_weights(build_network(plan).state_dict())


@pytest.fixture
def many_classes():
    """A plan with more classes than its network has features, and random weights for it."""
    plan = a_plan(CLASSES)
    return plan, random_weights(plan)


def lazy(shape, seed=0):
    """Smooth features and a random head."""
    generator = torch.Generator().manual_seed(seed)
    knots = torch.randn(1, 6, 4, 5, 6, generator=generator)
    features = torch.nn.functional.interpolate(knots, size=shape, mode="trilinear")[0]
    weight, bias = torch.randn(CLASSES, 6, generator=generator), torch.randn(CLASSES, generator=generator)
    return LazyLogits(features, Head("head", weight, bias))


@pytest.mark.parametrize("nearest", [None, 0, 2])
@pytest.mark.parametrize("shapes", [((12, 20, 22), (31, 47, 50)), ((20, 9, 20), (7, 11, 13)), ((1, 5, 30), (4, 1, 31))])
@pytest.mark.parametrize("slices", [1, 3, 100])
def test_labels_made_slab_by_slab_are_those_of_all_logits(monkeypatch, shapes, nearest, slices):
    logits = lazy(shapes[0])
    monkeypatch.setattr(LazyLogits, "slices_at_once", slices)
    expected = logits_to_labels(at_hand(logits), shapes[1], nearest)
    assert len(np.unique(expected)) > 3
    assert np.array_equal(lazy_logits_to_labels(logits, shapes[1], nearest), expected)


def test_confidence_is_that_of_all_logits():
    logits = lazy((20, 10, 12))
    assert np.array_equal(confidence_of(logits, (40, 21, 22)), confidence_of(at_hand(logits), (40, 21, 22)))


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_the_engine_gives_the_logits_of_the_whole_network(monkeypatch, many_classes, backend):
    plan, weights = many_classes
    options = Options(device="cpu", backend=backend, threads=1)
    patch = np.array(plan.patch_zyx)
    image = torch.randn(*(patch + patch // 2).tolist(), generator=torch.Generator().manual_seed(5))
    late = Engine(plan, weights, options).logits(image)
    monkeypatch.setattr(Head, "worth_cutting", lambda *_: None)
    early = Engine(plan, weights, options).logits(image)
    assert isinstance(late, LazyLogits) and isinstance(early, torch.Tensor)
    assert late.shape == tuple(early.shape)
    ours, theirs = at_hand(late), early.float()
    assert float((ours - theirs).abs().max()) < MARGIN * float(theirs.abs().max())
    assert float((ours.argmax(0) == theirs.argmax(0)).float().mean()) > 0.97


def test_all_classes_exist_for_a_few_slices_at_a_time(monkeypatch):
    logits, seen = lazy((40, 16, 16)), []
    monkeypatch.setattr(module, "SLAB_BYTES", 4 * CLASSES * 16 * 16 * 5)
    real = LazyLogits.slices

    def spied(self, part):
        seen.append(part.stop - part.start)
        return real(self, part)

    monkeypatch.setattr(LazyLogits, "slices", spied)
    lazy_logits_to_labels(logits, (80, 20, 20), None)
    assert max(seen) == 6  # five cells and the slice that ends the last one
    assert len(seen) == 8


def test_progress_rises_through_all_slabs(monkeypatch):
    seen = []

    class Listener(Silent):
        def stage(self, name, fraction):
            seen.append(fraction)

    monkeypatch.setattr(LazyLogits, "slices_at_once", 4)
    progress = Progress(Listener())
    with progress.stage("labels"):
        lazy_logits_to_labels(lazy((20, 16, 16)), (60, 40, 40), None, progress)
    assert seen == sorted(seen)
    assert len({round(fraction, 3) for fraction in seen}) > 5


def test_a_head_stays_where_there_are_more_features_than_classes_and_in_ensembles(many_classes):
    plan, weights = many_classes
    few = a_plan(3)
    assert Head.worth_cutting(few, random_weights(few)) is None
    assert Head.worth_cutting(plan, weights) is not None
    assert Head.worth_cutting(plan, {}) is None
    options = Options(device="cpu", backend="torch", threads=1)
    image = torch.zeros(plan.patch_zyx)
    assert isinstance(Engine(plan, weights, options, ensemble=[weights]).logits(image), torch.Tensor)
    assert isinstance(Engine(plan, weights, replace(options, parity=True)).logits(image), torch.Tensor)


def test_a_coarse_look_of_a_network_of_many_classes(many_classes):
    plan, weights = many_classes
    engine = Engine(plan, weights, Options(device="cpu", backend="torch", threads=1))
    hu = np.random.default_rng(0).integers(-100, 200, plan.patch_zyx).astype(np.int16)
    labels, seen_hu = engine.coarse_labels(hu, plan.spacing_zyx_mm)
    assert np.allclose(seen_hu, np.clip(hu, *plan.intensity.clip_hu), atol=1e-3)
    logits = at_hand(engine.logits(engine.resampled(hu, plan.spacing_zyx_mm)))
    assert np.array_equal(labels, logits.argmax(0).numpy())
