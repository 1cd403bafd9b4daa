"""Patients rendered from label maps without a CT: slim or stout, with ascites, and what their bowel holds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flareseg.errors import FlareError, InputError
from flareseg.io.files import read_labels, read_volume
from flareseg.volume import Geometry
from train.common.paths import RunPaths
from train.config import NewPatientsConfig, SourceConfig
from train.data.case_folder import write_info, write_labels
from train.data.layouts import look_into
from train.stages.prepare import generate, survey
from train.synthetic.label_map import EXTRA, synthesize_from_labels
from train.synthetic.lumen import GAS_HU, GUTS, fill_gut
from train.synthetic.resynthesis import synthesize_patients
from train.synthetic.tissues import HRA_NAMES, TOTALSEGMENTATOR_NAMES, draw_whole_body_hu, tissues_of
from train.synthetic.whole_body import Body, draw_body, render_body

SPACING = (5.0, 4.0, 4.0)
NAMES = {
    1: "liver", 2: "kidney_right", 3: "spleen", 4: "aorta", 5: "colon", 6: "stomach", 7: "vertebrae_L1",
    8: "lung_lower_lobe_left", 9: "lung_lower_lobe_right", 10: "rib_left_9", 11: "autochthon_left",
}  # fmt: skip
FLARE_OF = {1: 1, 2: 2, 3: 3, 4: 5, 6: 11}
SLIM, STOUT = Body(3, 8, 0.05), Body(28, 12, 1.0)


@pytest.fixture
def labels() -> np.ndarray:
    """Blocks for organs in a trunk of 30 slices, with room for the wall."""
    labels = np.zeros((30, 60, 72), np.uint8)
    labels[18:, 18:40, 14:32] = 9
    labels[18:, 18:40, 40:58] = 8
    labels[6:18, 18:34, 14:34] = 1
    labels[8:16, 36:42, 18:28] = 2
    labels[10:18, 30:40, 48:56] = 3
    labels[:, 36:40, 36:40] = 4
    labels[:6, 16:30, 20:50] = 5
    labels[8:16, 16:28, 40:54] = 6
    labels[:, 41:48, 32:40] = 7
    labels[12:24, 20:36, 59:61] = 10
    labels[:, 44:50, 42:50] = 11
    return labels


@pytest.fixture
def truth(labels: np.ndarray) -> np.ndarray:
    truth = np.zeros_like(labels)
    for value, target in FLARE_OF.items():
        truth[labels == value] = target
    return truth


@pytest.fixture
def source(tmp_path: Path, labels: np.ndarray, truth: np.ndarray) -> Path:
    """A source of one label map without a CT."""
    folder = tmp_path / "maps" / "someone"
    folder.mkdir(parents=True)
    grid = Geometry(labels.shape, SPACING)
    write_labels(truth, grid, folder / "seg.nii.gz")
    write_labels(labels, grid, folder / EXTRA)
    names = {str(value): name for value, name in NAMES.items()}
    write_info({"licence": "CC BY 4.0", "citation": "Someone", "extra_labels": names}, folder)
    return folder


def rendered(
    labels: np.ndarray, body: Body, seed: int = 0, phase: str = "plain"
) -> tuple[np.ndarray, dict[str, float]]:
    rng = np.random.default_rng(seed)
    hu = draw_whole_body_hu(rng, phase)
    return render_body(labels, tissues_of(NAMES), SPACING, hu, body, rng), hu


def share_of_fat(scan: np.ndarray) -> float:
    return float(((scan > -130) & (scan < -60)).sum() / (scan > -200).sum())


def test_the_same_seed_gives_the_same_patient_and_another_seed_another(labels: np.ndarray, truth: np.ndarray) -> None:
    given = labels, SPACING, tissues_of(NAMES), truth
    first, again, other = (
        synthesize_from_labels(*given, np.random.default_rng(seed), phase="portal") for seed in (3, 3, 4)
    )
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert first[2] == again[2] != other[2]


def test_rendering_changes_no_label_and_a_patient_has_all_organs(labels: np.ndarray, truth: np.ndarray) -> None:
    before = labels.copy()
    rendered(labels, STOUT)
    assert np.array_equal(labels, before)
    hu, moved, _ = synthesize_from_labels(
        labels, SPACING, tissues_of(NAMES), truth, np.random.default_rng(1), phase="portal"
    )
    assert hu.shape == moved.shape
    assert {*FLARE_OF.values()} <= set(np.unique(moved)) <= {0, 255, *FLARE_OF.values()}
    for value in FLARE_OF.values():
        assert 0.5 < (moved == value).sum() / (truth == value).sum() < 2


def test_the_voxels_may_be_of_another_size(labels: np.ndarray, truth: np.ndarray) -> None:
    _, moved, _ = synthesize_from_labels(
        labels, SPACING, tissues_of(NAMES), truth, np.random.default_rng(1), phase="portal", grid_mm=(8.0, 8.0, 8.0)
    )
    ml = (moved == 1).sum() * 8.0**3, (truth == 1).sum() * np.prod(SPACING)
    assert 0.5 < ml[0] / ml[1] < 2


@pytest.mark.parametrize("phase", ["plain", "arterial", "portal"])
def test_organs_have_the_hu_that_was_drawn(labels: np.ndarray, phase: str) -> None:
    scan, hu = rendered(labels, STOUT, phase=phase)
    for value, name in ((1, "liver"), (3, "spleen"), (4, "aorta")):
        assert abs(np.median(scan[labels == value]) - hu[name]) < 10 + 0.15 * hu[name]  # edges blur
    assert np.median(scan[np.isin(labels, (8, 9))]) < -600
    assert np.median(scan[labels == 7]) > 100


def test_slim_patients_have_less_fat_than_stout_ones(labels: np.ndarray) -> None:
    slim, stout = (rendered(labels, body)[0] for body in (SLIM, STOUT))
    assert (slim > -200).sum() < (stout > -200).sum()
    assert share_of_fat(slim) < 0.5 * share_of_fat(stout)
    between = np.zeros(labels.shape, bool)
    between[9:15, 20:32, 34:40] = True  # between liver and stomach
    assert np.median(slim[between]) > 0 > -60 > np.median(stout[between])


def test_a_patient_with_ascites_has_free_fluid(labels: np.ndarray) -> None:
    dry, wet = (rendered(labels, replace(STOUT, ascites=share))[0] for share in (0.0, 1.0))
    free = labels == 0
    fluid = [int(((scan > -15) & (scan < 30) & free).sum()) for scan in (dry, wet)]
    assert fluid[1] > 1.3 * fluid[0]


def test_effusion_lies_at_the_back_of_the_lung_of_its_side(labels: np.ndarray) -> None:
    scan, _ = rendered(labels, replace(STOUT, effusion=(0.3, 0.0)))
    wet = (scan > -40) & (scan < 90)
    right, left = labels == 9, labels == 8
    assert wet[right].mean() > 0.2 > wet[left].mean()
    rows = np.indices(labels.shape)[1]
    assert rows[right & wet].mean() > rows[right & ~wet].mean()


def test_gas_lies_above_fluid(labels: np.ndarray) -> None:
    scan = np.zeros(labels.shape, np.float32)
    fill_gut(scan, labels == 6, SPACING, GUTS["stomach_wall"], {"stomach_wall": 40.0}, np.random.default_rng(2),
             contents="gas")  # fmt: skip
    gas = scan < GAS_HU + 200
    assert gas.sum() > 50
    rows = np.indices(labels.shape)[1]
    assert rows[gas].mean() < rows[(labels == 6) & ~gas].mean()
    assert not gas[labels != 6].any()


@pytest.mark.parametrize("contents", ["collapsed", "fluid", "food", "stool", "contrast"])
def test_a_lumen_holds_what_was_asked_for_within_a_wall(labels: np.ndarray, contents: str) -> None:
    scan = np.zeros(labels.shape, np.float32)
    fill_gut(
        scan, labels == 5, SPACING, GUTS["bowel"], {"bowel_wall": 40.0}, np.random.default_rng(4), contents=contents
    )
    inner = np.median(scan[2:4, 20:26, 26:44])
    low, high = {"collapsed": (0, 60), "fluid": (-40, 60), "contrast": (90, 800)}.get(contents, (-700, 100))
    assert low < inner < high


def test_about_a_third_of_the_patients_are_slim_and_all_kinds_occur() -> None:
    bodies = [draw_body(np.random.default_rng(seed)) for seed in range(300)]
    assert 0.3 < np.mean([body.fat_mm <= 6 for body in bodies]) < 0.5
    assert 2 <= min(body.fat_mm for body in bodies) < max(body.fat_mm for body in bodies) <= 40
    for found in (
        [b.ascites > 0 for b in bodies],
        [any(b.effusion) for b in bodies],
        [b.oral_contrast for b in bodies],
    ):
        assert 0.1 < np.mean(found) < 0.4


def test_every_name_has_a_tissue_with_a_grey_value() -> None:
    known = draw_whole_body_hu(np.random.default_rng(0), "portal")
    assert {*TOTALSEGMENTATOR_NAMES.values(), *HRA_NAMES.values()} <= {*known, "body"}
    names = {1: "rib_left_1", 2: "kidney_cyst_left", 3: "kidney_left", 4: "subclavian_artery_left", 5: "nonsense"}
    assert tissues_of(names) == {1: "spongy_bone", 2: "bile", 3: "kidney", 4: "arteries"}


def test_a_map_with_the_bodys_outline_gets_spine_and_lungs(labels: np.ndarray, truth: np.ndarray) -> None:
    names = {1: "liver", 2: "kidney_right", 3: "spleen", 4: "aorta", 20: "body"}
    sparse = np.where(np.isin(labels, (1, 2, 3, 4)), labels, 0).astype(np.uint8)
    body = np.zeros(labels.shape, bool)
    body[:, 10:58, 6:66] = True
    sparse[body & (sparse == 0)] = 20
    hu, moved, _ = synthesize_from_labels(
        sparse, SPACING, tissues_of(names), truth, np.random.default_rng(0), phase="plain", body=SLIM
    )
    assert (hu[moved == 0] > 150).sum() > 100
    assert set(np.unique(moved)) <= {0, 255, *FLARE_OF.values()}


# as cases


def test_new_patients_of_a_map_say_what_it_annotates(source: Path, tmp_path: Path) -> None:
    (path,) = synthesize_patients(source, tmp_path / "out", 1, seed=7, absent=["tumour"])
    info = json.loads((path / "info.json").read_text())
    assert {*info["labels_present"]} == {"1", "2", "3", "5", "11", "14"}
    assert (info["licence"], info["citation"], info["patient"]) == ("CC BY 4.0", "Someone", "someone")
    assert {"phase", "seed", "body"} <= {*info}
    grid = read_volume(path / "ct.nii.gz").geometry
    assert grid.spacing_zyx_mm == (2.5, 2.5, 2.5)
    assert read_labels(path / "seg.nii.gz")[1].same_as(grid)


def test_names_in_notes_and_structures_with_spaces_are_understood(source: Path, tmp_path: Path) -> None:
    listed = ", ".join(f"{value} {name}" for value, name in NAMES.items())
    present: dict[str, Any] = {"1": {"name": "liver", "ml": 1.0}, "2": {"name": "right kidney", "ml": 1.0}}
    write_info({"notes": f"Meshes. extra_labels: {listed}. More.", "labels_present": present}, source)
    (path,) = synthesize_patients(source, tmp_path / "out", 1)
    info = json.loads((path / "info.json").read_text())
    assert info["labels_present"] == {"1": "liver", "2": "right_kidney"}


@pytest.mark.parametrize("missing", ["seg.nii.gz", EXTRA, "names"])
def test_a_case_without_a_ct_or_a_map_is_one_line(source: Path, tmp_path: Path, missing: str) -> None:
    if missing == "names":
        write_info({}, source)
    else:
        (source / missing).unlink()
    with pytest.raises(InputError, match="someone") as caught:
        synthesize_patients(source, tmp_path / "out", 1)
    assert "\n" not in str(caught.value)


def test_maps_on_different_grids_are_refused(source: Path, tmp_path: Path, labels: np.ndarray) -> None:
    write_labels(labels[2:], Geometry(labels[2:].shape, SPACING), source / "other.nii.gz")
    (source / "other.nii.gz").replace(source / EXTRA)
    with pytest.raises(InputError, match="another grid"):
        synthesize_patients(source, tmp_path / "out", 1)


def test_a_source_of_maps_alone_is_no_data_but_for_new_patients(source: Path) -> None:
    maps = SourceConfig("maps", "cases", str(source.parent))
    with pytest.raises(FlareError, match="without its CT"):
        look_into(maps)
    found = look_into(maps, maps_will_do=True)
    assert (found.cases, found.left_out["a label map without its CT"]) == ((), ("someone",))


def test_prepare_draws_patients_of_a_source_without_any_ct(source: Path, tmp_path: Path) -> None:
    import sys

    sys.path.insert(0, str(Path(__file__).parent))
    from small_data import config_for

    config = config_for(
        SourceConfig("maps", "cases", str(source.parent)), new_patients=NewPatientsConfig(["maps/someone"], 1, 5)
    )
    paths = RunPaths(tmp_path / "runs")
    generate(config, paths)
    jobs = survey(config, paths).jobs
    assert [job.name for job in jobs] == ["new_patients_someone_5"]
