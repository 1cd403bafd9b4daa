"""New patients from label maps: deformed without folds, recoloured where the map says so, seeded, written as cases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from flareseg.errors import InputError
from flareseg.io.files import read_labels, read_volume
from flareseg.volume import Geometry
from train.data.case_folder import write_ct, write_info, write_labels
from train.synthetic.body.contrast import PHASES, draw_hu
from train.synthetic.deformation import draw_deformation
from train.synthetic.resynthesis import main, synthesize_patient, synthesize_patients
from train.synthetic.tissues import FLARE, SPL_ATLAS, TOTALSEGMENTATOR

SPACING = (4.0, 3.0, 3.0)
LIVER, AORTA = 1, 5
DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def labels() -> np.ndarray:
    """A block of liver and a column of aorta."""
    labels = np.zeros((36, 60, 64), np.uint8)
    labels[8:26, 14:44, 8:34] = LIVER
    labels[:, 36:44, 40:48] = AORTA
    return labels


@pytest.fixture
def hu(labels: np.ndarray) -> np.ndarray:
    """Its plain CT: fat round it, air outside, a bone that no label map names."""
    hu = np.full(labels.shape, -1000, np.int16)
    hu[:, 4:56, 4:60] = -100
    hu[labels == LIVER] = 55
    hu[labels == AORTA] = 40
    hu[:, 48:54, 28:36] = 400
    return hu


@pytest.fixture
def source(tmp_path: Path, labels: np.ndarray, hu: np.ndarray) -> Path:
    folder = tmp_path / "someone"
    folder.mkdir()
    grid = Geometry(hu.shape, SPACING)
    write_ct(hu, grid, folder)
    write_labels(labels, grid, folder / "seg.nii.gz")
    write_info({"licence": "CC0", "labels_present": {"1": "liver", "5": "aorta"}}, folder)
    return folder


def test_the_same_seed_gives_the_same_patient_and_another_seed_another(labels: np.ndarray, hu: np.ndarray) -> None:
    first, again, other = (
        synthesize_patient(labels, SPACING, FLARE, np.random.default_rng(seed), hu_zyx=hu) for seed in (3, 3, 4)
    )
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert first[0].shape != other[0].shape or not np.array_equal(first[1], other[1])


def test_types_shapes_and_the_input_are_as_promised(labels: np.ndarray, hu: np.ndarray) -> None:
    before = labels.copy(), hu.copy()
    new_hu, new_labels = synthesize_patient(labels, SPACING, FLARE, np.random.default_rng(0), hu_zyx=hu)
    assert new_hu.dtype == np.int16
    assert new_labels.dtype == np.uint8
    assert new_hu.shape == new_labels.shape
    assert set(np.unique(new_labels)) <= {0, LIVER, AORTA, 255}
    assert np.array_equal(labels, before[0])
    assert np.array_equal(hu, before[1])


@pytest.mark.parametrize("seed", range(6))
def test_a_deformation_folds_nowhere_and_keeps_volumes_human(seed: int) -> None:
    deformation = draw_deformation((40, 60, 60), SPACING, np.random.default_rng(seed))
    jacobian = np.stack([np.stack(np.gradient(part), -1) for part in deformation.source], -2)
    change = np.linalg.det(jacobian)  # of volume, at each voxel; negative where it folds
    assert change.min() > 0.1
    assert 0.5 < change.mean() < 2


def test_without_strength_nothing_moves(labels: np.ndarray) -> None:
    still = draw_deformation(labels.shape, SPACING, np.random.default_rng(0), strength=0.0)
    assert np.array_equal(still.of_labels(labels, 255), labels)


def test_labels_and_grey_values_stay_together(labels: np.ndarray, hu: np.ndarray) -> None:
    for seed in range(3):
        new_hu, new_labels = synthesize_patient(
            labels, SPACING, FLARE, np.random.default_rng(seed), hu_zyx=hu, phase="arterial"
        )
        assert np.median(new_hu[new_labels == AORTA]) > 100
        assert 20 < np.median(new_hu[new_labels == LIVER]) < 140
        assert np.percentile(new_hu, 99.9) > 200  # the bone is still there


def test_what_the_table_leaves_out_keeps_its_grey_value(labels: np.ndarray, hu: np.ndarray) -> None:
    new_hu, new_labels = synthesize_patient(labels, SPACING, {}, np.random.default_rng(1), hu_zyx=hu)
    assert abs(np.median(new_hu[new_labels == AORTA]) - 40) < 12
    assert abs(np.median(new_hu[new_labels == LIVER]) - 55) < 12


def test_fat_and_gas_within_an_outline_are_not_enhanced(labels: np.ndarray, hu: np.ndarray) -> None:
    hu[10:24, 18:40, 12:20] = -950  # such as gas in bile ducts
    new_hu, _ = synthesize_patient(labels, SPACING, FLARE, np.random.default_rng(2), hu_zyx=hu, phase="portal")
    assert (new_hu[10:24] < -700).mean() > 0.05


def test_without_a_scan_everything_is_rendered(labels: np.ndarray) -> None:
    new_hu, new_labels = synthesize_patient(labels, SPACING, FLARE, np.random.default_rng(5), phase="arterial")
    assert np.median(new_hu[new_labels == AORTA]) > 100
    assert (new_hu < -900).any()
    around = new_hu[(new_labels == 0) & (new_hu > -400)]
    assert np.median(around) < -40  # mostly fat


def test_unknown_voxels_of_the_truth_stay_unknown(labels: np.ndarray, hu: np.ndarray) -> None:
    truth = labels.copy()
    truth[labels == AORTA] = 255
    _, new_labels = synthesize_patient(labels, SPACING, FLARE, np.random.default_rng(0), truth_zyx=truth, hu_zyx=hu)
    assert AORTA not in new_labels
    assert (new_labels == 255).sum() > 500


def test_arrays_of_different_shapes_are_refused(labels: np.ndarray, hu: np.ndarray) -> None:
    with pytest.raises(ValueError, match="different shapes"):
        synthesize_patient(labels, SPACING, FLARE, np.random.default_rng(0), hu_zyx=hu[1:])


@pytest.mark.parametrize("table", [FLARE, SPL_ATLAS, TOTALSEGMENTATOR])
def test_every_tissue_of_a_table_has_a_grey_value(table: dict[int, str]) -> None:
    derived = {"kidney", "bowel"}
    for phase in PHASES:
        assert set(table.values()) <= set(draw_hu(np.random.default_rng(0), phase)) | derived


def test_the_command_line_writes_cases_and_keeps_those_that_are_there(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([str(source), str(out), "2", "7"]) == 0
    assert capsys.readouterr().out.split() == [str(out / "someone_7"), str(out / "someone_8")]
    info = json.loads((out / "someone_7" / "info.json").read_text())
    assert info["labels_present"] == {"1": "liver", "5": "aorta"}
    assert info["licence"] == "CC0"
    assert info["patient"] == "someone"
    assert read_labels(out / "someone_7" / "seg.nii.gz")[1].same_as(
        read_volume(out / "someone_7" / "ct.nii.gz").geometry
    )
    written = (out / "someone_8" / "ct.nii.gz").stat().st_mtime_ns
    synthesize_patients(source, out, 2, 7)
    assert (out / "someone_8" / "ct.nii.gz").stat().st_mtime_ns == written


def test_wrong_arguments_and_sources_are_one_line(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(source), str(tmp_path), "many"]) == 2
    assert main([str(tmp_path / "nowhere"), str(tmp_path), "1"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_labels_on_another_grid_are_refused(source: Path, tmp_path: Path, labels: np.ndarray) -> None:
    write_labels(labels[2:], Geometry(labels[2:].shape, SPACING), source / "other.nii.gz")
    (source / "other.nii.gz").replace(source / "seg.nii.gz")
    with pytest.raises(InputError, match="another grid"):
        synthesize_patients(source, tmp_path / "out", 1)


def test_a_real_case_becomes_another_patient(tmp_path: Path) -> None:
    case = DATA / "ts_example_3mm"
    if not case.is_dir():
        pytest.skip("the real CTs of ../shared/data are not here")
    (path,) = synthesize_patients(case, tmp_path, 1, seed=1)
    old, new = read_labels(case / "seg.nii.gz")[0], read_labels(path / "seg.nii.gz")[0]
    assert set(np.unique(old)) <= set(np.unique(new)) | {0}
    hu = read_volume(path / "ct.nii.gz").hu
    assert np.median(hu[new == LIVER]) > np.median(hu[new == 9])  # liver over gallbladder in every phase
