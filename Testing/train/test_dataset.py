"""Real cases keep what is known about them; patches are reproducible and honour the shares."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

from flareseg.errors import InputError
from flareseg.model.network import dynunet_spec
from flareseg.model.plan import Intensity, Plan
from train.config import AugmentConfig
from train.dataset import Case, PatchDataset, StepSampler, cache_real_cases, load_case


@pytest.fixture
def data(tmp_path):
    """One labelled CT, stored head first and front last, in which only liver and spleen are annotated."""
    folder = tmp_path / "data" / "ünlabelled in part"
    folder.mkdir(parents=True)
    hu = np.zeros((6, 10, 12), np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    labels[0, 1:3, 0:4], labels[2:4, 5:, 8:], labels[5] = 1, 3, 255
    hu[labels == 1], hu[labels == 3] = 60, 50
    for name, array in (("ct.nii.gz", hu), ("seg.nii.gz", labels)):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((1.0, 1.5, 4.0))
        image.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, -1))
        sitk.WriteImage(image, str(folder / name))
    (folder / "info.json").write_text(json.dumps({"labels_present": {"1": "liver", "3": "spleen"}}))
    return tmp_path / "data"


def make_case(name, value, shape=(20, 20, 20), known=True):
    labels = np.full(shape, value, np.uint8)
    return Case(name, labels.astype(np.int16), labels, np.full(15, known), (3.0, 3.0, 3.0), {})


@pytest.fixture
def plan():
    return Plan(
        spacing_zyx_mm=(3.0, 3.0, 3.0),
        patch_zyx=(8, 8, 8),
        intensity=Intensity((-200.0, 350.0), 70.0, 100.0),
        network=dynunet_spec([4, 8]),
        labels={0: "background", 1: "liver"},
    )


def test_a_real_case_is_turned_to_canonical_order_and_knows_its_structures(data, tmp_path):
    (path,) = cache_real_cases(data, tmp_path / "cache")
    case = load_case(path)
    assert case.spacing_zyx_mm == (4.0, 1.5, 1.0)
    assert np.flatnonzero(case.known).tolist() == [0, 1, 3]
    assert set(np.unique(case.labels)) == {0, 1, 3, 255}
    assert np.argwhere(case.labels == 255)[:, 0].tolist() == [0] * 120  # the last slice was the lowest
    assert np.argwhere(case.labels == 1).min(0).tolist() == [5, 7, 0]
    assert bool((case.hu[case.labels == 1] == 60).all())
    assert sorted(case.centres) == [1, 3]


def test_a_case_whose_label_map_has_another_size_is_refused_with_its_name(data, tmp_path):
    folder = next(data.iterdir())
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 3, 3), np.uint8)), str(folder / "seg.nii.gz"))
    with pytest.raises(InputError, match="another size"):
        cache_real_cases(data, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*"))


def test_a_missing_data_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        cache_real_cases(tmp_path / "nowhere", tmp_path)


def test_real_cases_are_drawn_as_often_as_asked_and_slabs_more_rarely(plan):
    phantoms = [make_case("phantom", 1)]
    real = [make_case("abdomen", 2), make_case("slab", 3, (2, 20, 20))]
    dataset = PatchDataset(phantoms, real, plan, (8, 8, 8), AugmentConfig(lesion=0), real_share=0.5, seed=1, length=120)
    seen = [int(np.bincount(dataset[i]["labels"].numpy().ravel(), minlength=256)[1:4].argmax()) + 1 for i in range(120)]
    share = {value: seen.count(value) / len(seen) for value in (1, 2, 3)}
    assert share[1] == pytest.approx(0.5, abs=0.15)
    assert share[2] > 2.5 * share[3] > 0


def test_an_epoch_begins_where_the_training_has_come_to():
    used = 0
    sampler = StepSampler(4, lambda: used)
    assert list(sampler) == [0, 1, 2, 3]
    used = 7
    assert list(sampler) == [7, 8, 9, 10]
