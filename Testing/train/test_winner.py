"""The winner's recipe from nothing to a model, on a few minuscule phantoms: the way, not what it leads to."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from flareseg.errors import Cancelled
from flareseg.io.files import read_labels, read_volume
from flareseg.model.bundle import load_bundle
from flareseg.segmenter import Segmenter
from train import pipeline
from train.common.hashes import array_hash, weights_hash
from train.common.paths import RunPaths
from train.config_file import load_config
from train.data.index import IGNORE, read_index
from train.pipeline import STAGES, Run
from train.stages import pseudolabel
from train.training.checkpoints import DONE, averaged_weights

CONFIG = Path(__file__).parents[2] / "train" / "configs" / "winner_phantoms.yaml"
NETS = ("region", "organs_a", "organs_b", "tumours_a", "tumours_b", "large_a", "large_b", "final", "student")
PHANTOMS = ["phantoms.count=7", "phantoms.validation=1", "phantoms.spacing_zyx_mm=[12, 12, 12]"]
ROUNDS = ("first", "")


def tiny(folder):
    """Nets of a thousand weights that see two patches: their answers are arbitrary, but always the same."""
    changes = [f"runs={folder}", f"output={folder / 'model'}", *PHANTOMS, "pseudo.largest_instability=null"]
    for net in NETS:
        changes += [f"nets.{net}.spacing_zyx_mm=[12, 12, 12]", f"nets.{net}.patch_zyx=[16, 16, 20]"]
        changes += [f"nets.{net}.filters=[4, 6, 8]"]
    config = load_config(CONFIG, changes)
    for fit in config.fits:
        changes += [f"fits.{fit}.epochs=1", f"fits.{fit}.steps_per_epoch=2", f"fits.{fit}.batch_size=1"]
    return load_config(CONFIG, changes)


def run_all(config):
    run = Run(config)
    for stage in STAGES:
        run.stage(stage)


def outcome(paths, config, index):
    """What a run came to: every fused label map, and every net."""
    labels = {
        f"{name} {case.name}": array_hash(read_labels(paths.of_round(name).fused(case.name))[0])
        for name in ROUNDS
        for case in index.split("train")
    }
    return labels | {fit: weights_hash(averaged_weights(paths.fit(fit))) for fit in config.fits}


@pytest.fixture(scope="module")
def winner(tmp_path_factory):
    folder = tmp_path_factory.mktemp("winner")
    config = tiny(folder)
    run_all(config)
    paths = RunPaths(folder)
    index = read_index(paths.index)
    return config, paths, index, outcome(paths, config, index)


def test_every_net_of_every_round_is_trained_and_the_student_exported(winner):
    config, paths, _index, _outcome = winner
    assert all((paths.fit(fit) / DONE).exists() for fit in config.fits)
    bundle = load_bundle(config.output)
    assert list(bundle.info["provenance"]["fits"])[-2:] == ["final", "student"]
    assert set(bundle.info["provenance"]["fits"]) == set(config.fits)
    assert bundle.plan.coarse is not None
    assert json.loads((paths.scores / "scores.json").read_text())


def test_every_round_labels_what_nobody_drew_with_the_nets_of_the_round_before(winner):
    config, paths, index, _outcome = winner
    for name, organ_nets in zip(ROUNDS, ("organs_a, organs_b", "large_1a, large_1b"), strict=True):
        here = paths.of_round(name)
        assert ", ".join(config.labelling(name).nets("organs")) == organ_nets
        for case in index.split("train"):
            facts = json.loads(here.confidence("organs", case.name).read_text())
            assert facts["made_by"].startswith(organ_nets.replace(",", ""))
            assert "tumour" in case.annotated or here.pseudo("tumour", case.name).exists()


def test_unknown_voxels_are_where_the_nets_of_the_round_disagree(winner):
    _config, paths, index, _outcome = winner
    case = next(case for case in index.split("train") if case.labels is None)
    for name, nets in (("first", ("organs_a", "organs_b")), ("", ("large_1a", "large_1b"))):
        answers = [Segmenter(paths.model(net)).segment(read_volume(case.image)).labels for net in nets]
        labels = read_labels(paths.of_round(name).pseudo("organs", case.name))[0]
        assert np.array_equal(labels == IGNORE, answers[0] != answers[1])


def test_a_run_that_was_interrupted_twice_ends_as_one_that_was_not(winner, monkeypatch):
    config, paths, index, expected = winner
    for folder in (paths.root / "rounds", paths.root / "fused", paths.root / "pseudo", paths.root / "models"):
        shutil.rmtree(folder)
    for fit in ("large_1a", "large_1b", "final", "student"):
        shutil.rmtree(paths.fit(fit))
    for labels in paths.root.glob("cache/*/*/labels_fused*"):
        labels.unlink()

    def stopping(work, after):
        """`work` that is interrupted in the call after so many."""
        calls = iter(range(after))

        def stopped(*arguments):
            if next(calls, None) is None:
                raise Cancelled
            return work(*arguments)

        return stopped

    run = Run(config)
    with monkeypatch.context() as patch, pytest.raises(Cancelled):
        patch.setattr(pseudolabel, "_label", stopping(pseudolabel._label, 3))
        run.stage("rounds")
    with monkeypatch.context() as patch, pytest.raises(Cancelled):
        patch.setattr(pipeline, "fit_named", stopping(pipeline.fit_named, 1))
        run.stage("rounds")
    assert (paths.fit("large_1a") / DONE).exists()
    assert not (paths.fit("large_1b") / DONE).exists()
    run_all(config)
    assert outcome(paths, config, index) == expected
