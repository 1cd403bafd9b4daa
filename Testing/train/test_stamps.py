"""No result passes for that of other settings or other data; what makes no difference to it costs nothing."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from small_fit import NET, SETTINGS, run, small_case, small_work
from small_run import GRID, SPACING, small_run, truth_of

from flareseg.errors import UsageError
from train.__main__ import main
from train.common.distributed import Rank
from train.common.json_files import read_table, write_json
from train.data.cache import write_labels
from train.data.index import known_mask
from train.pipeline import STAGES, Run
from train.stages.export import export_model
from train.training import claim as claiming
from train.training.checkpoints import DONE, LAST
from train.training.claim import DESCRIPTION, claim
from train.training.fits import job_of
from train.training.stamps import STAMP, differences

SHORT = replace(SETTINGS, epochs=1, steps_per_epoch=2)
WEIGHTS = {"a": torch.zeros(3)}


def cases(*labels):
    return [replace(small_case(n), image_hash=f"image {n}", labels_hash=text) for n, text in enumerate(labels)]


def work(folder, **changes):
    return small_work(folder, **({"settings": SHORT, "cases": cases("x", "y", "z")} | changes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stamps") / "fit"
    run(work(folder))
    return folder


def steps(folder):
    return json.loads((folder / DONE).read_text())["steps"]


def test_what_changes_no_weights_makes_no_fit_stale(finished):
    before = (finished / LAST).stat().st_mtime_ns
    applied = {"step": 0.5, "windows": "fitted", "mirror_axes": [2], "components": {"liver": {"largest_only": True}}}
    settings = replace(SHORT, workers=2, validate_every=5, stage="final", augment_on="workers")
    run(work(finished, net=replace(NET, **applied), settings=settings, validation=[small_case(9)]))
    assert (finished / LAST).stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"settings": replace(SHORT, epochs=7)}, r"'fit' is stale: epochs was 1, is 7\. Train it again with --redo"),
        ({"settings": replace(SHORT, learning_rate=0.5)}, "learning_rate was 0.01, is 0.5"),
        ({"settings": replace(SHORT, augment=replace(SHORT.augment, blur=0.9))}, "augment.blur was 0.3, is 0.9"),
        ({"seed": 6}, "seed was 5, is 6"),
        ({"net": replace(NET, clip_hu=(-100.0, 350.0))}, "of its net, intensity was another"),
        ({"net": replace(NET, segments=["liver", "pancreas"])}, "of its net, labels was"),
        ({"net": replace(NET, deep_supervision=0)}, "of its net, deep_supervision was 1, is 0"),
        ({"cases": cases("x", "new", "new")}, r"2 cases with other labels \(patient_1, patient_2\)"),
        ({"cases": cases("x", "y"), "shares": [1, 1]}, r"1 case no longer used \(patient_2\)"),
        ({"cases": cases(*"xyzabcd"), "shares": [1] * 7}, r"4 new cases \(patient_3, patient_4, patient_5, …\)"),
        ({"shares": [1, 2, 3]}, "its sources had other weights"),
        ({"start": WEIGHTS}, "it started from other weights"),
        ({"teacher_hash": "another"}, "it had another teacher"),
        ({"by_score": True, "settings": replace(SHORT, validate_every=2)}, "validate_every was 0, is 2"),
    ],
)
def test_what_is_no_longer_as_it_was_is_named_in_one_line(finished, changes, words):
    with pytest.raises(UsageError, match=words) as caught:
        run(work(finished, **changes))
    assert "\n" not in str(caught.value)
    assert steps(finished) == 2


def test_who_wants_it_redone_gets_it_redone_once(tmp_path, capsys):
    folder = tmp_path / "fit"
    run(work(folder))
    (folder / "reconstruction.json").write_text("{}")
    longer = work(folder, settings=replace(SHORT, epochs=2), redo=True)
    run(longer)
    assert "fit: trained again: epochs was 1, is 2" in capsys.readouterr().out
    assert steps(folder) == 4
    assert not (folder / "reconstruction.json").exists()
    before = (folder / LAST).stat().st_mtime_ns
    run(longer)
    assert (folder / LAST).stat().st_mtime_ns == before


def test_a_fit_that_was_interrupted_is_not_continued_with_other_settings(finished, tmp_path):
    folder = tmp_path / "fit"
    folder.mkdir()
    for name in (DESCRIPTION, LAST):
        (folder / name).write_bytes((finished / name).read_bytes())
    with pytest.raises(UsageError, match="epochs was 1, is 2"):
        run(work(folder, settings=replace(SHORT, epochs=2)))
    run(work(folder, settings=replace(SHORT, steps_per_epoch=1), redo=True))
    assert steps(folder) == 1


def test_what_was_only_announced_may_become_anything(tmp_path):
    work_now, rank = work(tmp_path / "fit"), Rank()
    claim(work_now, rank)
    claim(replace(work_now, seed=9), rank)
    assert read_table(tmp_path / "fit" / DESCRIPTION)[STAMP]["settings"]["seed"] == 9


def test_a_fit_that_goes_on_with_another_number_of_processes_says_so(tmp_path, capsys):
    job = work(tmp_path / "fit")
    claim(job, Rank(0, 8))
    claim(job, Rank())  # nothing is done yet, so that it begins anew
    assert capsys.readouterr().out == ""
    claim(job, Rank(0, 8))
    (job.folder / LAST).touch()
    claim(job, Rank(3, 4))
    claim(job, Rank(0, 8))
    assert capsys.readouterr().out == ""
    claim(job, Rank(0, 4))
    said = "fit: begun with 8 processes, goes on with 4: a step sees 8 patches instead of 16."
    assert capsys.readouterr().out.strip() == said
    (job.folder / DONE).touch()
    claim(job, Rank())
    assert capsys.readouterr().out == ""


def test_a_fit_of_before_stamps_is_taken_as_it_is_and_named_once(finished, tmp_path, capsys):
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / DONE).write_text("{}")
    description = read_table(finished / DESCRIPTION)
    del description[STAMP]
    write_json(folder / DESCRIPTION, description)
    for settings in (SHORT, replace(SHORT, epochs=9)):
        run(work(folder, settings=settings, net=replace(NET, step=0.5)))
    assert capsys.readouterr().out.count("old: taken as it is") == 1
    with pytest.raises(UsageError, match="filters was"):
        run(work(folder, net=replace(NET, filters=[6, 8, 12])))


def test_unknown_hashes_and_settings_of_later_versions_are_no_difference():
    now = work(Path("x")).stamp
    before = json.loads(json.dumps(now))
    before["cases"]["patient_0"] = ["", ""]
    del before["settings"]["poly"]
    assert differences(before, now) == []
    other = json.loads(json.dumps(now))
    other["settings"]["poly"] = 0.5
    assert differences(before, other) == ["poly was 0.9, is 0.5"]


def test_ranks_wait_until_the_main_one_has_cleared_the_folder(finished, tmp_path, monkeypatch):
    folder = tmp_path / "fit"
    folder.mkdir()
    for name in (DESCRIPTION, LAST, DONE):
        (folder / name).write_bytes((finished / name).read_bytes())
    monkeypatch.setattr(claiming, "_POLL_S", 0.01)
    job = work(folder, seed=77, redo=True)
    other = Thread(target=claim, args=(job, Rank(1, 2)))
    other.start()
    other.join(0.1)
    assert other.is_alive()
    assert (folder / DONE).exists()
    claim(job, Rank(0, 2))
    other.join(60)
    assert not other.is_alive()
    assert [path.name for path in folder.iterdir()] == [DESCRIPTION]


def test_no_model_is_exported_of_a_stale_fit(tmp_path, capsys):
    config, paths, index = small_run(tmp_path)
    folder = paths.fit("tumor")
    export_model(config, paths, "tumor", tmp_path / "model")
    assert "tumor: taken as it is; of which settings" in capsys.readouterr().out
    write_json(folder / DESCRIPTION, {STAMP: {}})
    export_model(config, paths, "tumor", tmp_path / "model")
    assert "whether it is stale cannot be seen ('mine_p0' has no truth labels" in capsys.readouterr().out
    for number in (0, 4):
        known = known_mask(("liver", "spleen", "tumour"))
        write_labels(paths.grid(SPACING) / f"mine_p{number}", "truth", truth_of(number), GRID, known)
    write_json(folder / DESCRIPTION, {STAMP: job_of(config, paths, index, "tumor").stamp})
    export_model(config, paths, "tumor", tmp_path / "model")
    write_labels(paths.grid(SPACING) / "mine_p0", "truth", np.minimum(truth_of(0), 1), GRID, known)
    with pytest.raises(UsageError, match=r"'tumor' is stale: 1 case with other labels \(mine_p0\)"):
        export_model(config, paths, "tumor", tmp_path / "model")


def test_a_stage_has_the_threads_of_the_program_whatever_ran_before(tmp_path, monkeypatch):
    config, _paths, _index = small_run(tmp_path)
    seen = []

    def greedy(run):
        seen.append(torch.get_num_threads())
        torch.set_num_threads(3)

    monkeypatch.setattr("train.pipeline.WORK", dict.fromkeys(STAGES, greedy))
    torch.set_num_threads(2)
    every = Run(config)
    for name in STAGES:
        every.stage(name)
    assert seen == [2] * len(STAGES)


def test_the_hash_of_labels_is_that_of_the_label_map_on_every_grid(tmp_path):
    _config, paths, _index = small_run(tmp_path)
    from small_run import hu_of

    from flareseg.volume import Volume
    from train.data.cache import labels_hash, load_cached, write_image

    known = known_mask(("liver",))
    folders = [paths.grid(SPACING) / "mine_p0", tmp_path / "other" / "mine_p0"]
    write_image(folders[1], Volume(hu_of(0), GRID), (9.0, 9.0, 9.0))
    for folder in folders:
        write_labels(folder, "truth", truth_of(0), GRID, known)
    assert labels_hash(folders[0], "truth") == labels_hash(folders[1], "truth") != ""
    assert labels_hash(folders[0], "fused") == ""
    images = [load_cached(folder, None).image_hash for folder in folders]
    assert images[0] != images[1]
    assert load_cached(folders[0], "truth").labels_hash == labels_hash(folders[0], "truth")


@pytest.mark.parametrize("flag", [[], ["--redo"]])
def test_the_command_line_says_whether_stale_fits_are_redone(tmp_path, monkeypatch, flag):
    seen = []
    monkeypatch.setattr("train.pipeline.Run.stage", lambda run, name, of_round: seen.append((name, run.config.redo)))
    config = Path(__file__).parents[2] / "train" / "configs" / "smoke.yaml"
    assert main(["tumor", "--config", str(config), *flag, f"runs={tmp_path}"]) == 0
    assert seen == [("tumor", bool(flag))]
