"""The cache gives back what was put in, on the grid the inference would make, and never half of it."""

import pickle
import signal

import blosc2
import numpy as np
import pytest
import torch

from flareseg.errors import InputError, OutputError
from flareseg.inference.body import body_box
from flareseg.inference.resample import resample_image
from flareseg.volume import Geometry, Volume
from train.data import cache
from train.data.cache import is_cached, load_cached, write_image, write_labels
from train.data.index import CLASSES
from train.data.label_resampling import linear_matrix, resampled_labels

SPACING = (4.0, 2.0, 2.0)
FLIPPED = ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, -1.0))
KNOWN = np.isin(np.arange(CLASSES), [0, 1, 3])


def body(shape=(40, 60, 70), spacing=SPACING, direction=FLIPPED):
    """A box of soft tissue with texture in air, with a liver, a spleen and a place nobody knows."""
    rng = np.random.default_rng(0)
    hu = np.full(shape, -1000, np.int16)
    hu[2:-2, 8:-8, 8:-8] = rng.integers(-50, 150, (shape[0] - 4, shape[1] - 16, shape[2] - 16))
    labels = np.zeros(shape, np.uint8)
    labels[5:25, 15:40, 12:30], labels[8:22, 20:40, 45:58], labels[10:12, 30:34, 30:34] = 1, 3, 255
    geometry = Geometry(shape, spacing, (10.0, -20.0, 30.0), direction)
    return Volume(hu, geometry, "patient"), labels


@pytest.fixture
def cached(tmp_path):
    volume, labels = body()
    write_image(tmp_path / "case", volume, (3.0, 3.0, 3.0))
    write_labels(tmp_path / "case", "truth", labels, volume.geometry, KNOWN)
    return load_cached(tmp_path / "case", "truth")


def everything(case):
    return tuple(slice(0, size) for size in case.shape_zyx)


def test_the_image_is_what_the_inference_sees(cached):
    ct = body()[0].canonical()
    box = body_box(ct.hu, ct.geometry.spacing_zyx_mm)
    expected = resample_image(ct.hu[box], ct.geometry.spacing_zyx_mm, (3.0, 3.0, 3.0), "auto")
    assert np.array_equal(cached.hu(everything(cached)), expected.round().to(torch.int16).numpy())


def test_a_box_is_the_same_part_of_the_whole(cached):
    box = (slice(7, 30), slice(3, 20), slice(11, 31))
    assert np.array_equal(cached.hu(box), cached.hu(everything(cached))[box])
    assert np.array_equal(cached.labels(box), cached.labels(everything(cached))[box])
    assert (cached.hu(box).dtype, cached.labels(box).dtype) == (np.int16, np.uint8)


def test_a_cache_of_an_older_version_is_read_as_it_is(cached, tmp_path, monkeypatch):
    volume, labels = body()
    monkeypatch.setattr(cache, "CHUNK", (64, 128, 128))
    monkeypatch.setattr(cache, "BLOCK", (8, 32, 64))
    monkeypatch.setattr(cache, "CODEC_LEVEL", 5)
    write_image(tmp_path / "older", volume, (3.0, 3.0, 3.0))
    write_labels(tmp_path / "older", "truth", labels, volume.geometry, KNOWN)
    older = load_cached(tmp_path / "older", "truth")
    assert (older.image_hash, older.labels_hash) == (cached.image_hash, cached.labels_hash)
    assert np.array_equal(older.hu(everything(older)), cached.hu(everything(cached)))
    assert np.array_equal(older.labels(everything(older)), cached.labels(everything(cached)))


def test_labels_keep_their_place_on_the_body_and_their_volume(cached):
    _, labels = body()
    hu, found = cached.hu(everything(cached)), cached.labels(everything(cached))
    voxel_mm3 = float(np.prod(cached.spacing_zyx_mm))
    for value in (1, 3, 255):
        truth_mm3 = (labels == value).sum() * np.prod(SPACING)
        assert abs((found == value).sum() * voxel_mm3 / truth_mm3 - 1) < (0.1 if value < 255 else 0.6)
    assert (hu[found == 1] > -300).all()
    # canonical order: the stored z axis runs to the feet, x to the patient's right
    z, _, x = (axis.mean() for axis in np.nonzero(found == 1))
    assert z > cached.shape_zyx[0] / 2
    assert x > cached.shape_zyx[2] / 2


def test_a_case_that_is_not_resampled_keeps_every_label(tmp_path):
    volume, labels = body(direction=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
    write_image(tmp_path / "case", volume, SPACING)
    write_labels(tmp_path / "case", "truth", labels, volume.geometry, KNOWN)
    case = load_cached(tmp_path / "case", "truth")
    box = body_box(volume.hu, SPACING)
    assert np.array_equal(case.labels(everything(case)), labels[box])
    assert np.array_equal(case.hu(everything(case)), volume.hu[box])


def test_centres_are_voxels_of_their_structure(cached):
    labels = cached.labels(everything(cached))
    assert set(cached.centres) == {1, 3}
    for value, points in cached.centres.items():
        assert len(points) == min(200, (labels == value).sum())
        assert (labels[tuple(points.T)] == value).all()


def test_without_labels_nothing_but_the_background_is_known(cached):
    case = load_cached(cached.folder, None)
    assert case.known.tolist() == [True] + [False] * (CLASSES - 1)
    assert case.centres == {}
    assert np.array_equal(cached.known, KNOWN)


def test_a_worker_process_gets_a_case_without_its_voxels(cached):
    cached.hu(everything(cached))
    text = pickle.dumps(cached)
    assert len(text) < 40_000
    box = (slice(2, 9), slice(0, 30), slice(5, 20))
    assert np.array_equal(pickle.loads(text).hu(box), cached.hu(box))


def test_labels_that_are_written_anew_are_read_anew(cached):
    volume, labels = body()
    assert (cached.labels(everything(cached)) == 1).any()
    write_labels(cached.folder, "truth", np.where(labels == 1, 3, labels).astype(np.uint8), volume.geometry, KNOWN)
    case = load_cached(cached.folder, "truth")
    assert set(case.centres) == {3}
    assert not (case.labels(everything(case)) == 1).any()


def test_two_kinds_of_labels_live_beside_each_other(cached):
    volume, labels = body()
    write_labels(cached.folder, "fused", np.where(labels == 1, 2, 0).astype(np.uint8), volume.geometry, KNOWN)
    assert set(load_cached(cached.folder, "fused").centres) == {2}
    assert set(load_cached(cached.folder, "truth").centres) == {1, 3}


def test_labels_on_another_grid_are_refused(cached):
    volume, labels = body()
    shifted = Geometry(volume.geometry.shape_zyx, SPACING, (11.0, -20.0, 30.0), FLIPPED)
    with pytest.raises(InputError, match="another grid"):
        write_labels(cached.folder, "truth", labels, shifted, KNOWN)


def test_what_is_not_there_is_named_with_the_stage_that_makes_it(tmp_path, cached):
    with pytest.raises(InputError, match=r"'elsewhere' is not in the cache .*prepare"):
        load_cached(tmp_path / "elsewhere", None)
    with pytest.raises(InputError, match="fuse"):
        load_cached(cached.folder, "fused")
    assert is_cached(cached.folder, "truth")
    assert not is_cached(cached.folder, "fused")


def test_an_image_of_air_is_refused(tmp_path):
    volume = Volume(np.full((20, 30, 30), -1000, np.int16), Geometry((20, 30, 30), (3.0, 3.0, 3.0)), "empty")
    with pytest.raises(InputError, match="nothing but air"):
        write_image(tmp_path / "case", volume, (3.0, 3.0, 3.0))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_half_case_and_says_why(tmp_path, cached):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    volume, _ = body()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        with pytest.raises(OutputError, match="cannot be written: File too large"):
            write_image(tmp_path / "full", volume, (3.0, 3.0, 3.0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert [path.name for path in tmp_path.iterdir()] == ["case"]


def test_resampled_labels_are_those_whose_share_is_largest():
    rng = np.random.default_rng(3)
    coarse = rng.choice(np.array([0, 1, 2, 14, 255], np.uint8), (5, 4, 6))
    labels = np.kron(coarse, np.ones((3, 4, 3), np.uint8))
    shape = (11, 13, 23)
    source = torch.from_numpy(labels)
    values = np.unique(labels)
    shares = [
        torch.nn.functional.interpolate((source == int(v)).float()[None, None], size=shape, mode="trilinear")[0, 0]
        for v in values
    ]
    stack = torch.stack(shares)
    top = stack.topk(2, dim=0).values
    clear = (top[0] - top[1] > 1e-5).numpy()
    assert clear.mean() > 0.8
    assert np.array_equal(resampled_labels(labels, shape, None)[clear], values[stack.argmax(0).numpy()][clear])


def test_thick_slices_are_not_interpolated_across():
    labels = np.zeros((6, 8, 8), np.uint8)
    labels[2], labels[3] = 1, 4
    found = resampled_labels(labels, (12, 8, 8), 0)
    assert found[:, 4, 4].tolist() == [0, 0, 0, 0, 1, 1, 4, 4, 0, 0, 0, 0]


@pytest.mark.parametrize("sizes", [(7, 3), (3, 7), (1, 4), (5, 5), (9, 1)])
def test_interpolation_keeps_what_is_constant(sizes):
    assert np.allclose(linear_matrix(*sizes).sum(axis=1), 1)


def test_a_patch_touches_a_fraction_of_the_whole_volume(tmp_path):
    """Blocks are what is decompressed at least: their voxels count, not seconds."""
    volume, _ = body((100, 300, 300), (2.5, 0.8, 0.8))
    write_image(tmp_path / "case", volume, (2.5, 0.8, 0.8))
    case = load_cached(tmp_path / "case", None)
    stored = blosc2.open(str(tmp_path / "case" / "hu.b2nd"), dparams={"nthreads": 1})
    patch = (slice(21, 53), slice(43, 139), slice(70, 182))
    touched = [
        (-(-part.stop // size) - part.start // size) * size for part, size in zip(patch, stored.blocks, strict=True)
    ]
    wanted = [part.stop - part.start for part in patch]
    assert np.prod(touched) < 3 * np.prod(wanted)
    assert np.prod(touched) < np.prod(case.shape_zyx) / 5
    assert np.array_equal(case.hu(patch), stored[:][patch])
