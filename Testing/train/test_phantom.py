"""The synthetic abdomens: repeatable, anatomically plausible, and different from each other."""

from __future__ import annotations

import time
from functools import cache

import numpy as np
import pytest

from train.synthetic.body.contrast import draw_hu, draw_phase
from train.synthetic.body.patient import draw_person
from train.synthetic.body.scanner import thick_slices
from train.synthetic.phantom import Phantom, make_phantom

LIVER, RIGHT_KIDNEY, SPLEEN, PANCREAS, AORTA, IVC, RIGHT_ADRENAL = 1, 2, 3, 4, 5, 6, 7
LEFT_ADRENAL, GALLBLADDER, ESOPHAGUS, STOMACH, DUODENUM, LEFT_KIDNEY, TUMOUR = 8, 9, 10, 11, 12, 13, 14
SEEDS = (3, 5, 8, 13, 21, 34)
COARSE = (4.0, 4.0, 4.0)  # quick, and still fine enough for adrenals

# Smallest and largest believable median volume over patients, ml; aorta, IVC, esophagus as far as an abdomen shows.
MEDIAN_ML = {
    LIVER: (1000, 2000), RIGHT_KIDNEY: (105, 220), SPLEEN: (100, 350), PANCREAS: (40, 110), AORTA: (50, 160),
    IVC: (45, 160), RIGHT_ADRENAL: (2, 8), LEFT_ADRENAL: (2, 8), GALLBLADDER: (8, 60), ESOPHAGUS: (6, 45),
    STOMACH: (100, 700), DUODENUM: (40, 140), LEFT_KIDNEY: (105, 220),
}  # fmt: skip


@cache
def whole(seed: int) -> Phantom:
    """A phantom that shows the whole abdomen."""
    return make_phantom(seed, spacing_zyx_mm=COARSE, view="abdomen")


def millilitres(phantom: Phantom, label: int) -> float:
    return float((phantom.labels == label).sum() * np.prod(phantom.spacing_zyx_mm) / 1000)


def centre(phantom: Phantom, label: int) -> np.ndarray:
    """Mean voxel index (z, y, x) of a label."""
    return np.argwhere(phantom.labels == label).mean(axis=0)


def test_the_same_seed_gives_the_same_phantom() -> None:
    first = make_phantom(7, spacing_zyx_mm=(6.0, 6.0, 6.0))
    second = make_phantom(7, spacing_zyx_mm=(6.0, 6.0, 6.0))
    assert np.array_equal(first.hu, second.hu)
    assert np.array_equal(first.labels, second.labels)
    assert (first.phase, first.seed) == (second.phase, 7)


def test_another_seed_gives_another_patient() -> None:
    first, second = whole(SEEDS[0]), whole(SEEDS[1])
    assert first.labels.shape != second.labels.shape or (first.labels != second.labels).mean() > 0.01


def test_arrays_have_the_promised_types_and_one_shape() -> None:
    phantom = whole(SEEDS[0])
    assert phantom.hu.dtype == np.int16
    assert phantom.labels.dtype == np.uint8
    assert phantom.hu.shape == phantom.labels.shape
    assert phantom.hu.min() >= -1024
    assert phantom.labels.max() <= TUMOUR


@pytest.mark.parametrize("seed", SEEDS)
def test_a_view_of_the_whole_abdomen_holds_every_organ(seed: int) -> None:
    present = set(np.unique(whole(seed).labels).tolist())
    assert set(range(1, 14)) - {GALLBLADDER} <= present  # some patients have no gallbladder


@pytest.mark.parametrize("organ", sorted(MEDIAN_ML))
def test_the_median_volume_of_each_organ_is_believable(organ: int) -> None:
    low, high = MEDIAN_ML[organ]
    assert low <= np.median([millilitres(whole(seed), organ) for seed in SEEDS]) <= high


@pytest.mark.parametrize("seed", SEEDS)
def test_no_liver_spleen_or_kidney_is_absurdly_small_or_large(seed: int) -> None:
    phantom = whole(seed)
    for organ, low, high in ((LIVER, 700, 2600), (SPLEEN, 60, 500), (RIGHT_KIDNEY, 60, 280), (LEFT_KIDNEY, 60, 280)):
        assert low < millilitres(phantom, organ) < high


@pytest.mark.parametrize("seed", SEEDS)
def test_organs_of_the_patients_right_lie_at_lower_x(seed: int) -> None:
    phantom = whole(seed)
    assert centre(phantom, LIVER)[2] < centre(phantom, SPLEEN)[2]
    assert centre(phantom, RIGHT_KIDNEY)[2] < centre(phantom, LEFT_KIDNEY)[2]
    assert centre(phantom, RIGHT_ADRENAL)[2] < centre(phantom, LEFT_ADRENAL)[2]
    assert centre(phantom, IVC)[2] < centre(phantom, AORTA)[2]


@pytest.mark.parametrize("seed", SEEDS)
def test_front_and_top_are_where_the_axes_say(seed: int) -> None:
    phantom = whole(seed)
    assert centre(phantom, STOMACH)[1] < centre(phantom, LEFT_KIDNEY)[1]  # y runs from front to back
    assert centre(phantom, PANCREAS)[1] < centre(phantom, AORTA)[1]
    assert centre(phantom, LIVER)[0] > centre(phantom, DUODENUM)[0]  # z runs upwards
    assert centre(phantom, RIGHT_ADRENAL)[0] > centre(phantom, RIGHT_KIDNEY)[0]


@pytest.mark.parametrize(
    ("phase", "aorta", "kidney"),
    [
        ("plain", (20, 65), (10, 55)),
        ("arterial", (120, 450), (50, 240)),
        ("portal", (80, 230), (80, 260)),
        ("delayed", (60, 180), (70, 240)),
    ],
)
def test_grey_values_follow_the_contrast_phase(
    phase: str, aorta: tuple[float, float], kidney: tuple[float, float]
) -> None:
    phantom = make_phantom(11, spacing_zyx_mm=COARSE, view="abdomen", phase=phase)
    assert phantom.phase == phase
    assert aorta[0] < np.median(phantom.hu[phantom.labels == AORTA]) < aorta[1]
    assert kidney[0] < np.median(phantom.hu[phantom.labels == LEFT_KIDNEY]) < kidney[1]
    assert -20 < np.median(phantom.hu[phantom.labels == LIVER]) < 160


def test_about_a_third_of_the_patients_got_no_contrast() -> None:
    drawn = [draw_phase(np.random.default_rng(seed)) for seed in range(400)]
    assert 0.22 < drawn.count("plain") / len(drawn) < 0.38
    assert set(drawn) == {"plain", "arterial", "portal", "delayed"}


def test_air_fat_and_bone_have_their_grey_values() -> None:
    phantom = whole(SEEDS[0])
    assert np.median(phantom.hu[:, 0]) < -900  # in front of the patient
    assert ((phantom.hu > -140) & (phantom.hu < -60)).mean() > 0.03
    assert (phantom.hu > 250).any()


def test_about_two_in_five_patients_have_no_tumour() -> None:
    coarse = [make_phantom(seed, spacing_zyx_mm=(8, 8, 8), view="abdomen") for seed in range(40, 70)]
    without = sum(not (phantom.labels == TUMOUR).any() for phantom in coarse)
    assert 0.2 < without / len(coarse) < 0.65  # drawn for 40 %, some of the others are too small for this grid


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_tumours_can_be_asked_for_and_left_out(seed: int) -> None:
    with_some = make_phantom(seed, spacing_zyx_mm=COARSE, view="slab", tumours=True)
    assert (with_some.labels == TUMOUR).any()
    assert with_some.hu[with_some.labels == TUMOUR].mean() > -60  # tissue, neither fat nor gas
    without = make_phantom(seed, spacing_zyx_mm=COARSE, view="slab", tumours=False)
    assert not (without.labels == TUMOUR).any()
    assert np.isin(without.labels[with_some.labels == TUMOUR], range(14)).all()  # else it is the same patient
    assert (without.labels == with_some.labels)[with_some.labels != TUMOUR].mean() > 0.99


def test_the_spacing_is_honoured() -> None:
    fine = make_phantom(2, spacing_zyx_mm=(5.0, 3.0, 3.0), view="abdomen")
    coarse = make_phantom(2, spacing_zyx_mm=(5.0, 6.0, 6.0), view="abdomen")
    assert fine.spacing_zyx_mm == (5.0, 3.0, 3.0)
    assert fine.hu.shape[0] == pytest.approx(coarse.hu.shape[0], abs=1)
    assert fine.hu.shape[2] == pytest.approx(2 * coarse.hu.shape[2], abs=2)


def test_a_slab_may_cut_organs_off() -> None:
    slab = make_phantom(4, spacing_zyx_mm=COARSE, view="slab")
    assert slab.hu.shape[0] < whole(4).hu.shape[0]
    assert (slab.labels > 0).any()


@pytest.mark.parametrize("view", ["head", "thighs"])
def test_where_there_is_no_abdomen_nothing_is_labelled(view: str) -> None:
    phantom = make_phantom(3, spacing_zyx_mm=COARSE, view=view, tumours=True)
    assert not phantom.labels.any()
    tissue = phantom.hu[(phantom.hu > 0) & (phantom.hu < 100)].size * np.prod(COARSE) / 1000
    assert 1000 < tissue < 20_000, "ml of soft tissue"
    assert (phantom.hu > 400).mean() > 0.005, "bone"


def test_patients_are_women_and_men_of_45_to_130_kg() -> None:
    people = [draw_person(np.random.default_rng(seed)) for seed in range(400)]
    weights = np.array([person.weight_kg for person in people])
    assert 0.4 < np.mean([person.sex == "female" for person in people]) < 0.6
    assert weights.min() >= 45
    assert weights.max() <= 130
    assert np.percentile(weights, 5) < 55
    assert np.percentile(weights, 95) > 95
    thin, fat = (
        np.median([p.fat_mm for p in people if low < p.weight_kg < high]) for low, high in ((45, 58), (95, 131))
    )
    assert fat > 2 * thin


def test_the_aorta_ends_above_the_joining_of_the_caval_veins() -> None:
    for seed in SEEDS:
        lowest = [np.flatnonzero((whole(seed).labels == organ).any(axis=(1, 2)))[0] for organ in (AORTA, IVC)]
        assert lowest[0] >= lowest[1]


def test_in_an_early_arterial_phase_the_organs_are_hardly_enhanced() -> None:
    drawn = [draw_hu(np.random.default_rng(seed), "arterial") for seed in range(300)]
    assert min(hu["aorta"] for hu in drawn) > 120
    early = np.mean([hu["kidney_cortex"] < 100 for hu in drawn])
    assert 0.1 < early < 0.45


def test_thick_slices_are_the_mean_of_what_they_span() -> None:
    step = np.zeros((12, 2, 2), np.float32)
    step[6:] = 100
    thick = thick_slices(step, 3.0)
    assert thick.shape == step.shape
    assert np.allclose(thick[[1, 4, 7, 10], 0, 0], [0, 0, 100, 100])  # the middles of four slices of three
    assert np.all(np.diff(thick[:, 0, 0]) >= 0)
    assert 0 < thick[5, 0, 0] < 100  # between them it is interpolated
    assert np.allclose(thick_slices(np.full((7, 1, 1), 40, np.float32), 2.2), 40)


def test_very_thick_slices_average_what_lies_in_them() -> None:
    phantom = make_phantom(4, spacing_zyx_mm=(8.0, 2.5, 2.5), view="slab")
    assert phantom.hu.shape == phantom.labels.shape
    assert phantom.spacing_zyx_mm == (8.0, 2.5, 2.5)


def test_the_work_for_a_fine_phantom_grows_no_faster_than_its_voxels() -> None:
    """Processor time, of which other programs take none; what a voxel of a coarse phantom costs is the measure."""

    def per_voxel(**spacing: object) -> float:
        begin = time.process_time()
        phantom = make_phantom(1, view="abdomen and pelvis", **spacing)  # type: ignore[arg-type]
        return (time.process_time() - begin) / phantom.hu.size

    coarse = min(per_voxel(spacing_zyx_mm=COARSE) for _ in range(2))
    assert per_voxel() < 2 * coarse
