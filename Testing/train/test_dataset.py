"""Patches are reproducible, lie where they should, and become the channels of the net."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from flareseg.errors import InputError
from flareseg.volume import Geometry, Volume
from train.augmentation.dataset import PatchDataset, StepSampler, collate, to_batch, validation_batches
from train.augmentation.patch_sampling import Sample
from train.augmentation.pipeline import NOTHING
from train.common.distributed import Rank
from train.data.cache import load_cached, write_image, write_labels
from train.data.index import CLASSES
from train.fit_config import AugmentConfig
from train.net_config import NetConfig

CPU = torch.device("cpu")


@dataclass(frozen=True)
class MemoryCase:
    """What `dataset.py` uses of `cache.CachedCase`, in memory."""

    name: str
    array: Any
    values: Any = None
    known: Any = field(default_factory=lambda: np.ones(CLASSES, bool))
    spacing_zyx_mm: tuple[float, float, float] = (3.0, 3.0, 3.0)

    @property
    def shape_zyx(self):
        return self.array.shape

    @property
    def centres(self):
        if self.values is None:
            return {}
        occurring = [int(value) for value in np.unique(self.values) if 0 < value < CLASSES]
        return {value: np.argwhere(self.values == value)[:200] for value in occurring}

    def hu(self, box):
        return np.ascontiguousarray(self.array[box])

    def labels(self, box):
        assert self.values is not None, "nobody asks a case without labels for them"
        return np.ascontiguousarray(self.values[box])


def make_net(segments=None, **changes):
    numbers = {"clip_hu": (-1000.0, 1000.0), "mean_hu": 0.0, "std_hu": 1.0}
    return NetConfig((3.0, 3.0, 3.0), (8, 8, 8), [4, 8, 8], segments=segments, **numbers | changes)


def make_case(name="case", value=1, shape=(20, 20, 20), **changes):
    labels = np.full(shape, value, np.uint8)
    return MemoryCase(name, labels.astype(np.int16) * 10, labels, **changes)


def make_dataset(cases, net=None, augment=NOTHING, shares=None, finished=True, foreground=0.5, seed=1, length=50):
    net, shares = net or make_net(), shares or [1.0] * len(cases)
    numbers = {"foreground": foreground, "seed": seed, "length": length, "finished": finished}
    return PatchDataset(cases, shares, net, net.plan(), augment, **numbers)


@pytest.fixture
def organs():
    """Two small structures, a tumour and a large liver in a larger body."""
    rng = np.random.default_rng(0)
    labels = np.zeros((30, 40, 50), np.uint8)
    labels[5:25, 5:30, 5:30] = 1
    labels[20:22, 33:36, 40:44], labels[3:6, 35:38, 3:6], labels[10:14, 10:14, 10:14] = 7, 8, 14
    return MemoryCase("organs", rng.normal(50, 30, labels.shape).astype(np.int16), labels)


def test_cases_are_drawn_as_often_as_their_shares_say():
    dataset = make_dataset([make_case("a", 1), make_case("b", 2), make_case("c", 3)], shares=[6, 3, 0], length=300)
    names = [dataset[i].name for i in range(300)]
    assert names.count("a") / 300 == pytest.approx(2 / 3, abs=0.1)
    assert "b" in names and "c" not in names


@pytest.mark.parametrize("shares", [[], [0.0]])
def test_nothing_to_draw_is_an_error_of_one_line(shares):
    with pytest.raises(InputError, match="no case"):
        make_dataset([make_case()] * len(shares), shares=shares)


def test_each_structure_is_in_the_middle_as_often_as_the_others(organs):
    dataset = make_dataset([organs], foreground=1.0, length=200)
    seen = dict.fromkeys((1, 7, 8, 14), 0)
    for i in range(200):
        for value in np.unique(dataset[i].labels):
            if value in seen:
                seen[value] += 1
    assert seen[7] > 40 and seen[8] > 40 and seen[14] > 40


def test_an_emphasized_structure_is_in_the_middle_more_often(organs):
    def share_of_tumours(emphasis):
        net = make_net()
        dataset = PatchDataset([organs], [1], net, net.plan(), NOTHING, foreground=1.0, seed=1, length=200,
                               finished=True, emphasis=emphasis)  # fmt: skip
        return np.mean([bool((dataset[i].labels == 14).any()) for i in range(200)])

    assert share_of_tumours({}) < 0.5
    assert share_of_tumours({"tumour": 9.0}) > 0.7
    assert share_of_tumours({"tumour": 0.0}) < 0.25


def test_a_tumour_net_looks_at_tumours_and_has_two_channels(organs):
    dataset = make_dataset([organs], make_net(["tumour"]), foreground=1.0)
    patches = [dataset[i] for i in range(50)]
    assert set(np.unique(np.concatenate([patch.labels.ravel() for patch in patches]))) <= {0, 1, 255}
    assert np.mean([bool((patch.labels == 1).any()) for patch in patches]) > 0.8
    assert patches[0].known.tolist() == [True, True]


def test_without_the_nets_structures_patches_lie_anywhere(organs):
    values = np.where(organs.values == 14, 0, organs.values)
    dataset = make_dataset([replace(organs, values=values)], make_net(["tumour"]), foreground=1.0)
    assert all(bool((dataset[i].labels[dataset[i].labels < 255] == 0).all()) for i in range(5))


def test_channels_follow_the_order_of_the_net(organs):
    net = make_net(["left adrenal gland", "liver"])
    assert net.values == (0, 1, 8)
    known = np.isin(np.arange(CLASSES), [0, 8])
    dataset = make_dataset([replace(organs, known=known, array=organs.values.astype(np.int16))], net, foreground=1.0)
    for i in range(20):
        patch = dataset[i]
        inside = patch.labels < 255
        expected = np.select([patch.image[0] == 1, patch.image[0] == 8], [1, 2], 0)
        np.testing.assert_array_equal(patch.labels[inside], expected[inside.numpy()])
        assert patch.known.tolist() == [True, False, True]


def test_a_flip_makes_the_right_adrenal_gland_the_left_one_with_what_is_known(organs):
    known = np.isin(np.arange(CLASSES), [0, 7])
    case = replace(organs, known=known, array=organs.values.astype(np.int16))
    flipped = 0
    for i in range(20):
        patch = make_dataset([case], augment=replace(NOTHING, flip=0.5), foreground=1.0, length=20)[i]
        inside = patch.labels < 255
        was, now = patch.image[0][inside].round().numpy(), patch.labels[inside].numpy()
        if bool(patch.known[8]):
            flipped += 1
            assert not bool(patch.known[7])
            np.testing.assert_array_equal(now, np.select([was == 7, was == 8], [8, 7], was))
        else:
            np.testing.assert_array_equal(now, was)
    assert 4 < flipped < 16


def test_without_augmentation_a_patch_is_a_piece_of_its_case(organs):
    dataset = make_dataset([organs], foreground=0.0, finished=False)
    for i in range(10):
        sample, patch = dataset[i], make_dataset([organs], foreground=0.0)[i]
        inside = patch.labels != 255
        assert sample.hu.numel() <= 8**3
        assert torch.equal(patch.image[0][inside].short(), sample.hu.flatten())


def test_patches_of_a_case_in_the_cache_are_pieces_of_its_ct(tmp_path):
    rng = np.random.default_rng(0)
    hu = rng.integers(0, 100, (30, 40, 50)).astype(np.int16)
    labels = (hu % CLASSES).astype(np.uint8)
    geometry = Geometry(hu.shape, (3.0, 3.0, 3.0))
    write_image(tmp_path / "case", Volume(hu, geometry, "case"), (3.0, 3.0, 3.0))
    write_labels(tmp_path / "case", "truth", labels, geometry, np.ones(CLASSES, bool))
    cases = [load_cached(tmp_path / "case", kind) for kind in ("truth", None)]
    for i in range(10):
        labelled, bare = (make_dataset([case], foreground=0.0)[i] for case in cases)
        inside = labelled.labels != 255
        assert inside.any() and torch.equal(labelled.labels[inside], (labelled.image[0][inside] % CLASSES).byte())
        assert bool((bare.labels == 255).all()) and not bool(bare.known[1:].any())


def test_a_grid_that_is_as_fine_as_whole_voxels_allow_counts_as_the_nets(organs):
    case = replace(organs, spacing_zyx_mm=(2.97, 3.02, 3.0), array=organs.values.astype(np.int16))
    patch = make_dataset([case])[0]
    inside = patch.labels != 255
    assert torch.equal(patch.image[0][inside].byte(), patch.labels[inside])


def test_the_same_number_gives_the_same_patch_finished_by_a_worker_or_from_the_sample(organs):
    net, augment = make_net(), AugmentConfig(lesion=1.0, morphology=1.0, flip=0.5)
    done = make_dataset([organs], net, augment)
    raw = make_dataset([organs], net, augment, finished=False)
    batches = [to_batch([source[i] for i in (3, 4)], net, net.plan(), augment, CPU) for source in (done, raw, raw)]
    for name in ("image", "labels", "known"):
        assert torch.equal(batches[0][name], batches[1][name])
        assert torch.equal(batches[1][name], batches[2][name])
    other = to_batch([raw[i] for i in (5, 6)], net, net.plan(), augment, CPU)
    assert not torch.equal(batches[0]["image"], other["image"])


def test_a_batch_is_what_the_network_and_the_loss_take(organs):
    net, augment = make_net(), AugmentConfig()
    unlabelled = replace(organs, name="bare", values=None, known=np.arange(CLASSES) == 0)
    dataset = make_dataset([organs, unlabelled], net, augment, finished=False)
    samples = [dataset[i] for i in range(12)]
    batch = to_batch(samples, net, net.plan(), augment, CPU)
    assert batch["image"].shape == (12, 1, 8, 8, 8) and batch["image"].dtype == torch.float32
    assert batch["labels"].shape == (12, 8, 8, 8) and batch["labels"].dtype == torch.uint8
    assert batch["known"].shape == (12, CLASSES) and batch["known"].dtype == torch.bool
    assert batch["spacing"].tolist() == [[3.0, 3.0, 3.0]] * 12
    bare = torch.tensor([name == "bare" for name in batch["names"]])
    assert 0 < int(bare.sum()) < 12
    assert bool((batch["labels"][bare] == 255).all()) and not bool(batch["known"][bare, 1:].any())
    assert bool(batch["image"].isfinite().all())


def test_nothing_of_a_case_is_changed(organs):
    before = organs.array.copy(), organs.values.copy()
    dataset = make_dataset([organs], augment=AugmentConfig(lesion=1.0))
    for i in range(10):
        dataset[i]
    np.testing.assert_array_equal(organs.array, before[0])
    np.testing.assert_array_equal(organs.values, before[1])


def test_patches_reach_over_the_border_a_little_and_never_beyond(organs):
    dataset = make_dataset([organs], foreground=0.0, length=200)
    outside = [(dataset[i].labels == 255).float().mean().item() for i in range(200)]
    assert 0.05 < np.mean([share > 0 for share in outside]) < 0.9
    assert max(outside) < 0.6


def test_a_case_smaller_than_the_patch_lies_about_in_its_middle():
    dataset = make_dataset([make_case(shape=(3, 20, 20))], foreground=1.0)
    for i in range(20):
        rows = (dataset[i].labels == 1).any(2).any(1).nonzero().flatten().tolist()
        assert len(rows) == 3 and rows[0] >= 1 and rows[-1] <= 6


def test_workers_hand_over_raw_samples_of_any_size(organs):
    net, augment = make_net(), AugmentConfig()
    dataset = make_dataset([organs], net, augment, finished=False, length=6)
    loader = DataLoader(dataset, batch_size=3, collate_fn=collate, num_workers=1)
    batches = list(loader)
    assert [len(batch) for batch in batches] == [3, 3] and isinstance(batches[0][0], Sample)
    there = to_batch(batches[1], net, net.plan(), augment, CPU)
    here = to_batch([dataset[i] for i in (3, 4, 5)], net, net.plan(), augment, CPU)
    assert torch.equal(there["image"], here["image"])


def test_workers_hand_over_finished_patches_stacked(organs):
    net, augment = make_net(), AugmentConfig()
    dataset = make_dataset([organs], net, augment, length=6)
    (_, there), (_, here) = (list(DataLoader(dataset, 3, collate_fn=collate, num_workers=n)) for n in (1, 0))
    assert there["image"].is_shared() and torch.equal(there["image"], here["image"])
    batches = [to_batch(some, net, net.plan(), augment, CPU) for some in (there, [dataset[i] for i in (3, 4, 5)])]
    assert torch.equal(batches[0]["labels"], batches[1]["labels"]) and batches[0]["names"] == ["organs"] * 3
    assert list(batches[0]) == list(batches[1])


def test_validation_patches_are_the_same_on_every_call_and_come_from_all_cases_in_turn():
    net, cases = make_net(), [make_case("a", 1), make_case("b", 2)]
    first, second = (validation_batches(cases, net, net.plan(), 5, 7, CPU) for _ in range(2))
    assert [batch["names"] for batch in first] == [["a"], ["b"], ["a"], ["b"], ["a"]]
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one["image"], other["image"]) and torch.equal(one["labels"], other["labels"])
        inside = one["labels"] != 255
        assert torch.equal(one["image"][:, 0][inside], 10.0 * one["labels"][inside])
    assert validation_batches([], net, net.plan(), 5, 7, CPU) == []


def test_an_epoch_begins_where_the_training_has_come_to():
    used = 0
    sampler = StepSampler(4, lambda: used)
    assert list(sampler) == [0, 1, 2, 3]
    used = 7
    assert list(sampler) == [7, 8, 9, 10]


def test_ranks_share_the_patches_of_an_epoch():
    samplers = [StepSampler(6, lambda: 12, Rank(number, 3)) for number in range(3)]
    assert [list(sampler) for sampler in samplers] == [[12, 15], [13, 16], [14, 17]]
    assert [len(sampler) for sampler in samplers] == [2, 2, 2]
