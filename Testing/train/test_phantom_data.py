"""Phantoms as a data folder: what is annotated, how labels are corrupted, and that a killed run goes on."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flareseg.errors import OutputError
from flareseg.io.files import read_labels, read_volume
from flareseg.system.leftovers import temporary_name
from train.config import PhantomConfig
from train.data.case_folder import new_case
from train.data.index import CLASSES
from train.synthetic import phantom_data
from train.synthetic.label_corruption import corrupt_labels
from train.synthetic.phantom import Phantom, make_phantom
from train.synthetic.phantom_data import annotation_of, draw_phantoms

TUMOUR = 14
NOBODYS_PID = 999_999_999
FLARE = PhantomConfig(count=3, validation=1, spacing_zyx_mm=(8.0, 8.0, 8.0), scenario="flare")
FULL = PhantomConfig(count=1, validation=1, spacing_zyx_mm=(8.0, 8.0, 8.0), scenario="full")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn by two processes."""
    folder = tmp_path_factory.mktemp("phantoms")
    draw_phantoms(folder, FLARE, processes=2)
    return folder


@pytest.fixture(scope="module")
def patient() -> Phantom:
    return make_phantom(1, spacing_zyx_mm=(4.0, 4.0, 4.0), view="abdomen", tumours=True)


def info(case: Path) -> dict:
    return json.loads((case / "info.json").read_text())


def files(case: Path) -> set[str]:
    return {path.name for path in case.iterdir()}


def test_every_case_is_there_and_nothing_else(folder: Path) -> None:
    assert files(folder) == {"phantom_0", "phantom_1", "phantom_2", "phantom_1000000"}


def test_a_phantom_with_tumour_labels_has_tumours_and_some_of_the_organs(folder: Path) -> None:
    case = folder / "phantom_1"
    present = {int(value) for value in info(case)["labels_present"]}
    seg, full = read_labels(case / "seg.nii.gz")[0], read_labels(case / "full.nii.gz")[0]
    assert annotation_of(1) == "tumour"
    assert TUMOUR in present
    assert 4 <= len(present) - 1 <= 9
    assert (full == TUMOUR).any()
    assert np.array_equal(seg, np.where(np.isin(full, sorted(present)), full, 0))


def test_a_phantom_without_annotation_has_pseudo_labels_alone(folder: Path) -> None:
    case = folder / "phantom_2"
    assert annotation_of(2) == "none"
    assert files(case) == {"ct.nii.gz", "organs.nii.gz", "full.nii.gz", "info.json"}
    assert info(case)["labels_present"] == {}


def test_pseudo_labels_know_no_tumour_and_lie_on_the_grid_of_the_ct(folder: Path) -> None:
    for seed in range(3):
        case = folder / f"phantom_{seed}"
        organs, grid = read_labels(case / "organs.nii.gz")
        assert 0 < organs.max() < TUMOUR
        assert grid.same_as(read_volume(case / "ct.nii.gz").geometry)


def test_phantoms_that_validate_are_annotated_whole(folder: Path) -> None:
    case = folder / "phantom_1000000"
    assert info(case)["split"] == "validation"
    assert [int(value) for value in info(case)["labels_present"]] == list(range(1, CLASSES))
    assert files(case) == {"ct.nii.gz", "seg.nii.gz", "info.json"}
    assert info(folder / "phantom_0")["split"] == "train"


def test_the_scenario_full_annotates_everything(tmp_path: Path) -> None:
    draw_phantoms(tmp_path, FULL)
    assert files(tmp_path / "phantom_0") == {"ct.nii.gz", "seg.nii.gz", "info.json"}
    labels = read_labels(tmp_path / "phantom_0" / "seg.nii.gz")[0]
    drawn = make_phantom(0, spacing_zyx_mm=FULL.spacing_zyx_mm)
    assert np.array_equal(labels, drawn.labels)
    assert np.array_equal(read_volume(tmp_path / "phantom_0" / "ct.nii.gz").hu, drawn.hu)


def test_a_share_of_the_phantoms_that_teach_shows_no_abdomen(tmp_path: Path) -> None:
    draw_phantoms(tmp_path, replace(FULL, count=4, elsewhere=0.5))
    views = {path.name: info(path)["view"] for path in tmp_path.glob("phantom_*")}
    assert sorted(views.values()).count("head") == sorted(views.values()).count("thighs") == 1
    assert views["phantom_1000000"] not in ("head", "thighs")
    [head] = [name for name, view in views.items() if view == "head"]
    assert not read_labels(tmp_path / head / "seg.nii.gz")[0].any()
    assert len(info(tmp_path / head)["labels_present"]) == CLASSES - 1, "known to be absent, not unknown"


@pytest.mark.parametrize("count", [3, 10, 50, 400])
def test_the_shares_are_those_of_flare_for_any_count(count: int) -> None:
    shares = Counter(annotation_of(seed) for seed in range(count))
    assert abs(shares["tumour"] - 0.18 * count) <= 1
    assert shares["tumour"] >= 1
    assert abs(shares["part"] - 0.37 * count) <= 1.5
    assert shares["none"] >= 1


def test_what_is_there_is_not_drawn_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Phantom:
        raise AssertionError("drawn again")

    monkeypatch.setattr(phantom_data, "make_phantom", refuse)
    draw_phantoms(folder, FLARE)


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(FULL, count=2, validation=0)

    def dies_at_the_second(seed: int, **kwargs: object) -> Phantom:
        if seed == 1:
            # what a kill leaves behind
            (tmp_path / temporary_name().replace(f"-{os.getpid()}-", f"-{NOBODYS_PID}-") / "a").mkdir(parents=True)
            raise KeyboardInterrupt
        return make_phantom(seed, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(phantom_data, "make_phantom", dies_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        draw_phantoms(tmp_path, config)
    first = (tmp_path / "phantom_0" / "ct.nii.gz").stat().st_mtime_ns
    monkeypatch.undo()
    draw_phantoms(tmp_path, config)
    assert files(tmp_path) == {"phantom_0", "phantom_1"}
    assert (tmp_path / "phantom_0" / "ct.nii.gz").stat().st_mtime_ns == first


def test_another_spacing_or_a_smaller_count_changes_the_folder(tmp_path: Path) -> None:
    draw_phantoms(tmp_path, replace(FULL, count=2, validation=0))
    (tmp_path / "someone_elses").mkdir()
    draw_phantoms(tmp_path, replace(FULL, validation=0, spacing_zyx_mm=(12.0, 12.0, 12.0)))
    assert files(tmp_path) == {"phantom_0", "someone_elses"}
    assert read_volume(tmp_path / "phantom_0" / "ct.nii.gz").geometry.spacing_zyx_mm == (12.0, 12.0, 12.0)


def test_a_case_that_fails_leaves_nothing_and_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No space left"), new_case(tmp_path / "case") as partial:
        (partial / "ct.nii.gz").write_bytes(b"half")
        raise OSError(28, "No space left on device")
    assert not (tmp_path / "case").exists()
    assert not any(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        draw_phantoms(tmp_path / "file" / "phantoms", FULL)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_spoiled_labels_are_close_to_the_truth_but_not_the_truth(patient: Phantom) -> None:
    scores = []
    present = [organ for organ in range(1, 14) if (patient.labels == organ).any()]
    for seed in range(4):
        labels = corrupt_labels(patient.labels, patient.hu, patient.spacing_zyx_mm, np.random.default_rng(seed))
        assert TUMOUR not in labels
        scores += [dice(labels == organ, patient.labels == organ) for organ in present]
    assert 0.8 < np.mean(scores) < 0.95
    assert np.median(scores) < 0.985
    assert min(scores) < 0.75  # some organ is cut short or lost


def test_spoiling_depends_on_the_seed_alone_and_leaves_the_truth_as_it_is(patient: Phantom) -> None:
    before = patient.labels.copy()
    first, again, other = (
        corrupt_labels(patient.labels, patient.hu, patient.spacing_zyx_mm, np.random.default_rng(seed))
        for seed in (5, 5, 6)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(patient.labels, before)


def test_spoiling_a_scan_without_organs_gives_nothing() -> None:
    nothing = np.zeros((6, 6, 6), np.uint8)
    assert not corrupt_labels(nothing, nothing.astype(np.int16), (4.0, 4.0, 4.0), np.random.default_rng(0)).any()
