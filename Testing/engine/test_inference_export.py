"""From logits to labels: the shortcuts must give what interpolating every class everywhere gives."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from flareseg.errors import Cancelled
from flareseg.inference import logits_to_labels as export
from flareseg.inference.logits_to_labels import logits_to_labels, rows_of, winning_class
from flareseg.inference.resample import nearest_indices
from flareseg.progress import Progress, Silent


def all_classes_everywhere(
    logits: torch.Tensor, shape: tuple[int, ...], nearest: int | None, *, rounded: bool = False
) -> np.ndarray:
    """Every class interpolated to the whole grid, one axis after the other, then argmax."""
    values = logits.float().numpy()
    for axis, (size_in, size_out) in enumerate(zip(values.shape[1:], shape, strict=True)):
        if axis == nearest:
            values = values.take(nearest_indices(size_in, size_out), axis + 1)
            continue
        place = np.clip((np.arange(size_out) + 0.5) * (size_in / size_out) - 0.5, 0, size_in - 1)
        low = np.floor(place).astype(int)
        weight = (place - low).astype(np.float32).reshape([-1 if i == axis + 1 else 1 for i in range(4)])
        high = np.minimum(low + 1, size_in - 1)
        values = values.take(low, axis + 1) * (1 - weight) + values.take(high, axis + 1) * weight
    return (values.astype(np.float16) if rounded else values).argmax(0).astype(np.uint8)


def smooth_logits(seed: int, classes: int, shape: tuple[int, int, int]) -> torch.Tensor:
    knots = torch.randn(1, classes, 4, 5, 6, generator=torch.Generator().manual_seed(seed))
    logits = torch.nn.functional.interpolate(knots, size=shape, mode="trilinear")[0] * 4
    logits[0] += 3
    return logits


SHAPES = [
    ((12, 20, 22), (31, 77, 90)),
    ((9, 33, 17), (9, 120, 130)),
    ((20, 20, 20), (7, 11, 13)),
    ((1, 5, 30), (4, 1, 31)),
]


@pytest.fixture(params=["by cells", "by rows", "as measured"])
def either_way(request, monkeypatch):
    """Undecided cells alone, every row of every slice, or what is faster slice by slice."""
    if request.param != "as measured":
        monkeypatch.setattr(export, "CELL_COST", 0 if request.param == "by cells" else 1e9)
        monkeypatch.setattr(export, "OUTPUT_COST", 0)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("nearest", [None, 0, 1, 2])
@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_the_labels_are_those_of_interpolating_every_class_everywhere(shapes, nearest, kind):
    logits = smooth_logits(6, 15, shapes[0]).to(kind)
    expected = all_classes_everywhere(logits, shapes[1], nearest)
    assert np.array_equal(logits_to_labels(logits, shapes[1], nearest), expected)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("nearest", [None, 0])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_values_that_rounding_makes_equal_go_to_the_lowest_class(scale, nearest):
    logits = (smooth_logits(7, 6, (9, 11, 10)) + scale).half()
    expected = all_classes_everywhere(logits, (23, 25, 31), nearest, rounded=True)
    assert np.array_equal(logits_to_labels(logits, (23, 25, 31), nearest, rounded=True), expected)


@pytest.mark.usefixtures("either_way")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 2**31),
    st.integers(2, 6),
    st.tuples(*[st.integers(1, 9)] * 3),
    st.tuples(*[st.integers(1, 24)] * 3),
    st.sampled_from([None, 0, 1, 2]),
)
def test_noise_of_any_size_gives_the_labels_of_interpolating_everything(seed, classes, small, large, nearest):
    logits = torch.randn(classes, *small, generator=torch.Generator().manual_seed(seed))
    assert np.array_equal(logits_to_labels(logits, large, nearest), all_classes_everywhere(logits, large, nearest))


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("values", [1, 5000])
def test_the_size_of_a_batch_does_not_matter(values, monkeypatch):
    logits = smooth_logits(9, 6, (7, 9, 8))
    expected = logits_to_labels(logits, (15, 21, 30), None)
    monkeypatch.setattr(export, "BATCH_VALUES", {"cpu": values})
    assert np.array_equal(logits_to_labels(logits, (15, 21, 30), None), expected)


@pytest.mark.usefixtures("either_way")
def test_a_part_of_a_larger_array_is_read_where_it_lies():
    logits = smooth_logits(10, 5, (12, 14, 16))
    part = logits[:, 2:9, 3:14, 1:12]
    assert np.array_equal(
        logits_to_labels(part, (20, 30, 25), None), logits_to_labels(part.contiguous(), (20, 30, 25), None)
    )


def test_the_grid_is_aligned_as_scipys_zoom():
    logits = smooth_logits(11, 4, (10, 12, 14))
    factors = (2.5, 3.25, 3.0)
    zoomed = np.stack([ndimage.zoom(c, factors, order=1, mode="nearest", grid_mode=True) for c in logits.numpy()])
    labels = logits_to_labels(logits, zoomed.shape[1:], None)
    assert (labels == zoomed.argmax(0)).mean() > 0.9999


def test_a_class_that_is_first_at_no_sample_can_still_win_between_two():
    logits = torch.tensor([[10.0, 0.0], [0.0, 10.0], [9.0, 9.0]]).view(3, 1, 1, 2)
    assert 2 in logits_to_labels(logits, (1, 1, 9), None)


def test_of_equal_values_the_lowest_class_wins():
    assert not logits_to_labels(torch.zeros(4, 3, 3, 3), (5, 6, 7), None).any()
    assert not winning_class(torch.zeros(4, 3, 3, 3)).any()


def test_the_winning_class_is_the_argmax():
    logits = torch.randn(15, 9, 10, 11, generator=torch.Generator().manual_seed(12))
    assert torch.equal(winning_class(logits).long(), logits.argmax(0))


def test_the_way_back_can_be_cancelled():
    with pytest.raises(Cancelled):
        logits_to_labels(smooth_logits(8, 3, (8, 8, 8)), (32, 32, 32), None, Progress(cancelled=lambda: True))


class Fractions(Silent):
    def __init__(self) -> None:
        self.heard: list[float] = []

    def stage(self, name: str, fraction: float) -> None:
        self.heard.append(fraction)


def test_slices_full_of_borders_are_interpolated_whole_and_others_by_their_borders(monkeypatch):
    logits = torch.full((4, 12, 40, 40), -1.0)
    logits[1, :, 10:20, 10:20] = 1
    logits[:, 8:] = torch.randn(4, 4, 40, 40, generator=torch.Generator().manual_seed(13))
    whole = []
    monkeypatch.setattr(export, "rows_of", lambda slices, *others: whole.extend(slices) or rows_of(slices, *others))
    labels = logits_to_labels(logits, (24, 50, 50), None)
    assert 14 < min(whole) <= 18 and max(whole) == 23 and len(whole) == len(set(whole))
    assert np.array_equal(labels, all_classes_everywhere(logits, (24, 50, 50), None))


@pytest.mark.usefixtures("either_way")
def test_progress_only_goes_forward_and_comes_often(monkeypatch):
    monkeypatch.setattr(export, "BATCH_VALUES", {"cpu": 2000})
    listener = Fractions()
    logits_to_labels(smooth_logits(8, 4, (9, 12, 10)), (40, 40, 40), None, Progress(listener))
    assert listener.heard == sorted(listener.heard)
    assert min(listener.heard) == 0 and max(listener.heard) > 0.9
    assert max(np.diff(listener.heard)) <= 0.2


def test_a_cancel_leaves_the_number_of_threads_as_it_was():
    threads = torch.get_num_threads()
    with pytest.raises(Cancelled):
        logits_to_labels(smooth_logits(8, 3, (8, 8, 8)), (32, 32, 32), None, Progress(cancelled=lambda: True))
    assert torch.get_num_threads() == threads
