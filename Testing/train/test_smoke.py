"""The paper's two stages from nothing to a model, on synthetic abdomens labelled as sparsely as FLARE23: they learn.

A shorter form of `make smoke`, with smaller nets. What a net learns in a minute at 6 mm is of no use to anybody, but it
must be more than what one could say without looking, and every stage must make the next one better.
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parent))

from smoke_config import SMALLER, SMOKE

from flareseg.io.files import read_labels, read_volume
from flareseg.labels import by_name
from flareseg.model.bundle import load_bundle
from flareseg.results.metrics import dice
from flareseg.segmenter import Segmenter
from train.__main__ import main
from train.common.paths import RunPaths
from train.data.index import CLASSES, read_index
from train.training.checkpoints import LOG

TUMOUR = by_name("tumour").value
EVERYTHING = range(1, CLASSES)
ORGANS = [value for value in EVERYTHING if value != TUMOUR]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smoke")
    epochs = {"pretrain": 4, "tumor": 4, "final": 10, "distill": 4}
    shorter = ["phantoms.count=16", "phantoms.validation=2", *(f"fits.{fit}.epochs={n}" for fit, n in epochs.items())]
    return ["--config", str(SMOKE), f"runs={folder}", f"output={folder / 'model'}", *SMALLER, *shorter]


@pytest.fixture(scope="module")
def paths(command):
    """A whole run."""
    assert main(["all", *command]) == 0
    return RunPaths(Path(command[2].removeprefix("runs=")))


@pytest.fixture(scope="module")
def index(paths):
    return read_index(paths.index)


def log(paths, fit):
    with (paths.fit(fit) / LOG).open(newline="") as file:
        return list(csv.DictReader(file))


def whole_truth(case):
    return read_labels(case.image.parent / "full.nii.gz")[0]


def mean_dice(pairs, values):
    """Mean over cases and the structures that occur."""
    found = [
        dice(predicted == value, true == value)
        for predicted, true in pairs
        for value in values
        if (true == value).any()
    ]
    return sum(found) / len(found)


@pytest.mark.parametrize("fit", ["pretrain", "tumor", "final", "distill"])
def test_the_loss_of_every_fit_falls(paths, fit):
    losses = [float(row["loss"]) for row in log(paths, fit)]
    assert losses[-1] < 0.9 * losses[0]


def test_the_pre_trained_net_reconstructs_better_than_anything_simple(paths):
    found = json.loads((paths.fit("pretrain") / "reconstruction.json").read_text())
    assert (paths.fit("pretrain") / "reconstruction.png").stat().st_size > 10_000
    assert len(found["baselines"]) >= 3
    assert all(found["error"] < baseline for baseline in found["baselines"].values()), found


def test_fused_labels_are_better_than_either_source(paths, index):
    cases = index.split("train")
    truths = [whole_truth(case) for case in cases]
    drawn = [read_labels(case.labels)[0] if case.labels else np.zeros_like(whole_truth(case)) for case in cases]
    pseudo = [read_labels(case.organs)[0] for case in cases]
    fused = [read_labels(paths.fused(case.name))[0] for case in cases]
    scores = [mean_dice(zip(labels, truths, strict=True), EVERYTHING) for labels in (drawn, pseudo, fused)]
    assert scores[2] > max(scores[:2]), scores
    assert paths.fusion_report.exists()


def test_only_cases_with_tumours_teach_the_tumour_net(paths, index):
    done = json.loads((paths.fit("tumor") / "done.json").read_text())
    assert set(done["cases"]) == {case.name for case in index.split("train") if case.has_tumour}
    assert 0 < len(done["cases"]) < len(index.split("train"))


def test_the_final_net_is_better_than_the_mean_shape_on_unseen_phantoms(paths, index):
    segmenter = Segmenter(paths.root / "model")
    mean_shape = MeanShape([(read_volume(case.image).hu, whole_truth(case)) for case in index.split("train")])
    volumes = [read_volume(case.image) for case in index.split("validation")]
    truths = [read_labels(case.labels)[0] for case in index.split("validation")]
    ours = mean_dice(zip([segmenter.segment(volume).labels for volume in volumes], truths, strict=True), ORGANS)
    shape = mean_dice(zip([mean_shape.guess(volume.hu) for volume in volumes], truths, strict=True), ORGANS)
    majority = mean_dice(((np.zeros_like(truth), truth) for truth in truths), ORGANS)
    assert ours > 1.2 * shape > majority, (ours, shape, majority)


def test_what_is_exported_knows_where_it_comes_from(paths):
    bundle = load_bundle(paths.root / "model")
    found = bundle.info["provenance"]
    assert list(found["fits"]) == ["pretrain", "tumor", "final"]
    assert found["phantoms"]["count"] == 16
    assert (paths.root / "model" / "MODEL_CARD.md").exists()
    assert any(paths.scores.glob("*.csv"))
    assert any(paths.scores.glob("*.md"))
    assert any(paths.scores.glob("*.png"))


def test_a_second_run_finds_everything_done(paths, command, capsys):
    files = [*paths.root.rglob("*.ckpt")] + [paths.fused(case) for case in fused_names(paths)]
    before = {path: path.stat().st_mtime_ns for path in files}
    assert main(["all", *command]) == 0
    assert {path: path.stat().st_mtime_ns for path in files} == before


def fused_names(paths):
    return [case.name for case in read_index(paths.index).split("train")]


class MeanShape:
    """The label that most training cases bear at a place of the body's box: what one knows without looking."""

    GRID = (24, 32, 40)

    def __init__(self, cases):
        stack = np.stack([resized(labels[body(hu)], self.GRID) for hu, labels in cases])
        votes = np.stack([(stack == value).sum(0) for value in range(CLASSES)])
        self.labels = votes.argmax(0).astype(np.uint8)

    def guess(self, hu):
        box, result = body(hu), np.zeros(hu.shape, np.uint8)
        result[box] = resized(self.labels, result[box].shape)
        return result


def body(hu):
    """The box of the largest thing that is not air."""
    labelled, _ = ndimage.label(hu > -400)
    sizes = np.bincount(labelled.ravel())
    sizes[0] = 0
    return ndimage.find_objects((labelled == sizes.argmax()).astype(np.uint8))[0]


def resized(labels, shape):
    """Nearest neighbours."""
    index = [((np.arange(new) + 0.5) * old / new).astype(int) for old, new in zip(labels.shape, shape, strict=True)]
    return labels[np.ix_(*index)]
