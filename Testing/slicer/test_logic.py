"""Scripts call the logic; the engine works in a process of its own, and the scene ends as it should."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest
import slicer

sys.path.insert(0, str(Path(__file__).parent))

from helpers import alive, ct_node, ijk_to_ras, labels_array, labels_for, rotation

from FlarePanCancerLib import scene as segments
from FlarePanCancerLib.logic import Callbacks, SegmentationError, process
from FlarePanCancerLib.mrml_conversion import roi_of, volume_of
from flareseg.model.catalogue import structures_in
from flareseg.options import Options
from flareseg.segmenter import Segmenter

pytestmark = pytest.mark.slow


@pytest.fixture
def a_ct(scene, a_patient):
    return ct_node(a_patient.hu, ijk_to_ras(np.diag([-1, -1, 1]), (3.0, 3.0, 5.0)), "patient")


class Heard:
    """Everything a run tells."""

    def __init__(self):
        self.progress, self.messages, self.previews, self.results, self.errors, self.ends = [], [], [], [], [], []

    @property
    def callbacks(self):
        return Callbacks(
            progress=lambda *values: self.progress.append(values),
            message=self.messages.append,
            preview=self.previews.append,
            done=self.results.append,
            error=lambda *values: self.errors.append(values),
            finished=self.ends.append,
        )


def nodes():
    kinds = ("vtkMRMLSegmentationNode", "vtkMRMLTableNode", "vtkMRMLMarkupsLineNode")
    return [node.GetName() for kind in kinds for node in slicer.util.getNodesByClass(kind)]


def poll_until(run, condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition() and run.running and time.monotonic() < end:
        run.poll()
        time.sleep(0.01)


def test_a_ct_becomes_a_segmentation_with_measurements(a_ct):
    outcome = process(a_ct, device="cpu")
    assert {"liver", "spleen"} <= set(outcome.found)
    array = slicer.util.arrayFromSegmentBinaryLabelmap(outcome.segmentation, "liver", a_ct)
    row = next(row for row in outcome.rows if row["structure"] == "liver")
    assert array.sum() == row["voxels"]
    assert outcome.table.GetTable().GetNumberOfRows() == len(outcome.rows)
    assert set(outcome.found).isdisjoint(outcome.missing)
    assert len(outcome.found) + len(outcome.missing) == len(structures_in("default"))


def test_the_process_says_what_the_engine_says_here(a_ct):
    outcome = process(a_ct, device="cpu")
    labels = Segmenter(options=Options(device="cpu")).segment(volume_of(a_ct)).labels
    for name, value in (("liver", 1), ("aorta", 5)):
        array = slicer.util.arrayFromSegmentBinaryLabelmap(outcome.segmentation, name, a_ct)
        assert np.array_equal(array > 0, labels == value)


def test_many_cts_share_one_loaded_model_and_a_given_segmentation_is_filled(scene, a_ct, a_patient):
    other = ct_node(a_patient.hu[::-1].copy(), ijk_to_ras(np.diag([-1, -1, -1]), (3.0, 3.0, 5.0)), "upside down")
    mine = segments.new_segmentation(other, "mine")
    heard = Heard()
    first, second = process([a_ct, other], [None, mine], device="cpu", callbacks=heard.callbacks)
    assert second.segmentation is mine
    assert first.segmentation is not mine
    assert [outcome.ct for outcome in heard.results] == [a_ct, other]
    a, b = (
        slicer.util.arrayFromSegmentBinaryLabelmap(o.segmentation, "liver", ct)
        for o, ct in ((first, a_ct), (second, other))
    )
    assert np.array_equal(a, b[::-1])


def test_progress_rises_and_a_preview_comes_and_goes(a_ct):
    heard = Heard()
    run = process(a_ct, device="cpu", wait=False, callbacks=heard.callbacks)
    assert nodes() == []  # it came back at once
    poll_until(run, lambda: heard.previews)
    [preview] = heard.previews
    assert segments.own_segments(preview.segmentation)
    assert nodes() == ["patient preview"]
    run.wait()
    assert [name for name in nodes() if "preview" in name] == []
    fractions = [fraction for fraction, _, _ in heard.progress]
    assert fractions == sorted(fractions)
    assert fractions[-1] > 0.9
    assert heard.ends == [False]


def test_only_what_is_wanted_is_segmented_inside_the_region_of_interest(scene, a_ct):
    everything = process(a_ct, device="cpu", structures=["liver"])
    liver = slicer.util.arrayFromSegmentBinaryLabelmap(everything.segmentation, "liver", a_ct) > 0
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    k = int(np.argwhere(liver)[:, 0].mean())
    geometry = volume_of(a_ct).geometry
    x, y, z = geometry.world_of((k, liver.shape[1] / 2, liver.shape[2] / 2))
    roi.SetCenter(-x, -y, z)
    roi.SetSize(600, 600, 40)
    part = process(a_ct, device="cpu", structures=["liver"], roi=roi)
    found = slicer.util.arrayFromSegmentBinaryLabelmap(part.segmentation, "liver", a_ct) > 0
    slices = np.flatnonzero(found.any(axis=(1, 2)))
    assert part.found == ("liver",)
    assert k - 5 <= slices.min() and slices.max() <= k + 5


def test_a_region_of_interest_follows_the_transform_of_the_ct(scene, a_ct):
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    roi.SetCenter(10, 20, 30)
    roi.SetSize(4, 6, 8)
    assert roi_of(roi, a_ct) == pytest.approx((-12, -8, -23, -17, 26, 34))
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(90, (0, 0, 1))
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    a_ct.SetAndObserveTransformNodeID(transform.GetID())
    assert roi_of(roi, a_ct) == pytest.approx((-23, -17, 8, 12, 26, 34), abs=1e-6)


# accidents


def test_cancelling_leaves_the_scene_as_it_was(a_ct):
    heard = Heard()
    run = process(a_ct, device="cpu", wait=False, callbacks=heard.callbacks)
    poll_until(run, lambda: len(heard.progress) > 4)
    pid = run.pid
    run.cancel()
    run.wait()
    assert nodes() == []
    assert heard.ends == [True]
    assert heard.errors == []
    assert not alive(pid)


def test_killing_leaves_no_process(a_ct):
    run = process(a_ct, device="cpu", wait=False)
    poll_until(run, lambda: run.pid)
    pid = run.pid
    run.kill()
    assert not alive(pid)
    assert not run.running


def test_a_ct_that_is_removed_meanwhile_is_not_missed(scene, a_ct):
    heard = Heard()
    run = process(a_ct, device="cpu", wait=False, callbacks=heard.callbacks)
    poll_until(run, lambda: run.pid)
    scene.RemoveNode(a_ct)
    run.wait()
    assert nodes() == []
    assert heard.results == []
    assert any("removed" in text for text in heard.messages)


def test_a_scene_that_is_closed_half_way_ends_in_peace(scene, a_ct):
    heard = Heard()
    run = process(a_ct, device="cpu", wait=False, callbacks=heard.callbacks)
    poll_until(run, lambda: heard.previews)
    scene.Clear(False)
    run.wait()
    assert nodes() == []
    assert heard.ends == [False]


def test_what_is_no_ct_fails_with_one_sentence(scene):
    node = ct_node(np.random.default_rng(0).integers(0, 255, (20, 24, 30)).astype(np.int16))
    with pytest.raises(SegmentationError, match="CT") as caught:
        process(node, device="cpu")
    assert "\n" not in str(caught.value)
    assert nodes() == []


def test_a_bad_case_does_not_stop_the_others(scene, a_ct):
    bad = ct_node(np.zeros((20, 24, 30), np.int16), name="empty")
    heard = Heard()
    run = process([bad, a_ct], device="cpu", wait=False, callbacks=heard.callbacks)
    run.wait()
    assert run.outcomes[0].error
    assert "liver" in run.outcomes[1].found


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "nobody"}, "nobody"),
        ({"device": "mps"}, "Apple"),
        ({"quality": "Perfect"}, "Perfect"),
        ({"structures": ["brain"]}, "brain"),
    ],
)
def test_a_wrong_setting_is_one_sentence(a_ct, settings, words):
    with pytest.raises(SegmentationError, match=words) as caught:
        process(a_ct, **({"device": "cpu"} | settings))
    assert "Traceback" not in str(caught.value)


def test_the_result_of_one_ct_is_never_put_into_that_of_another(a_ct, scene, tmp_path):
    other = ct_node(name="other")
    node = segments.new_segmentation(other)
    segments.fill(node, labels_for(other, labels_array(), tmp_path))
    before = segments.own_segments(node)
    with pytest.raises(SegmentationError, match="'other organs' is the result of another CT"):
        process(a_ct, node, device="cpu")
    assert segments.ct_of(node) is other and segments.own_segments(node) == before


def test_an_empty_node_is_reported(scene):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    with pytest.raises(SegmentationError, match="'empty' holds no image yet"):
        process(node)


def test_axes_that_are_not_at_right_angles_are_reported(scene):
    matrix = np.eye(4)
    matrix[0, 1] = 0.2
    with pytest.raises(SegmentationError, match="not at right angles"):
        process(ct_node(matrix=matrix))
