"""Models put together: whose voxel wins, what a model of lesions is shown, and what of it is drawn."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from flareseg.errors import Cancelled
from flareseg.inference import open_members
from flareseg.inference.host_boxes import cheapest
from flareseg.interop.combine_models import combine_models
from flareseg.labels import by_name, by_names
from flareseg.options import Options
from flareseg.progress import Progress, share_done
from flareseg.segmenter import NOTHING_FOUND, Segmenter
from flareseg.volume import Orientation, WorldBox
from Testing.engine.threshold_models import (
    LESION,
    LIVER,
    ORGANS,
    SPLEEN,
    ThresholdModel,
    a_patient,
    forget,
    save_threshold_model,
)

TUMOUR = 14
forgotten = pytest.fixture(autouse=True)(forget)


@pytest.fixture(autouse=True)
def own_models(tmp_path, monkeypatch):
    """A user with two models that draw by thresholds."""
    monkeypatch.setenv("FLARESEG_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(open_members, "OneModel", ThresholdModel)
    save_threshold_model("organs", ORGANS)
    save_threshold_model("lesions", {"liver": SPLEEN, "lesion": LESION})


@pytest.fixture
def patient():
    return a_patient()


def together(*tumours: str, organs: tuple[str, ...] = ("organs",)) -> Segmenter:
    return Segmenter(combine_models("abdomen", organs, tumours, overwrite=True).name, Options(device="cpu", threads=1))


def shown_to(model: str) -> list:
    return [volume for name, volume in ThresholdModel.shown if name == model]


def values(labels: np.ndarray) -> set[int]:
    return {int(value) for value in np.unique(labels)} - {0}


def test_a_lesion_in_its_host_is_laid_over_it_and_nothing_else_changes(patient):
    lesion = np.s_[5:8, 9:12, 9:12]
    patient.hu[lesion] = LESION
    result = together("lesions@liver").segment(patient)
    assert (result.labels[lesion] == TUMOUR).all() and (result.labels == TUMOUR).sum() == 27
    rest = result.labels != TUMOUR
    for name, hu in ORGANS.items():
        assert np.array_equal(result.labels[rest] == by_name(name).value, patient.hu[rest] == hu)
    assert [one.name for one in result.structures] == ["liver", "right_kidney", "left_kidney", "tumour"]


def test_a_lesion_must_overlap_with_its_host_or_border_on_it(patient):
    bordering, beside, far = np.s_[5:7, 18:20, 9:11], np.s_[5:7, 19:21, 13:15], np.s_[5:7, 6:8, 20:22]
    at_a_corner = np.s_[11:12, 18:19, 17:18]  # the liver ends at (10, 17, 16)
    for place in (bordering, beside, far, at_a_corner):
        patient.hu[place] = LESION
    labels = together("lesions@liver+40").segment(patient).labels
    assert (labels[bordering] == TUMOUR).all() and (labels[at_a_corner] == TUMOUR).all()
    assert not labels[beside].any() and not labels[far].any()


def test_small_lesions_are_left_out_and_the_organ_stays_as_it_was(patient):
    small, large = np.s_[5:6, 9:10, 9:12], np.s_[5:7, 13:15, 9:11]  # 3 and 8 voxels of 0.125 ml
    patient.hu[small] = patient.hu[large] = LESION
    labels = together("lesions@liver/min=0.5").segment(patient).labels
    assert not labels[small].any() and (labels[large] == TUMOUR).all()
    assert (together("lesions@liver/min=0").segment(patient).labels[small] == TUMOUR).all()


def test_what_a_model_of_lesions_calls_an_organ_is_ignored(patient):
    patient.hu[5:8, 9:12, 9:12] = SPLEEN  # what it calls liver
    assert not together("lesions@liver").segment(patient).labels[5:8, 9:12, 9:12].any()


def test_several_labels_of_one_model_become_tumours(patient):
    save_threshold_model("kidney-lesions", {"kidney": 1, "tumour": LESION, "cyst": 20})
    patient.hu[5:7, 27:29, 5:7], patient.hu[5:7, 30:32, 5:7] = LESION, 20
    assert (together("kidney-lesions:tumour,cyst@kidneys").segment(patient).labels == TUMOUR).sum() == 16
    assert (together("kidney-lesions@kidneys").segment(patient).labels == TUMOUR).sum() == 8


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1)])
def test_a_model_of_lesions_is_shown_the_box_of_its_host_and_the_margin_alone(patient, axes):
    ct = patient.oriented(Orientation(axes, (False, True, False)))
    together("lesions@liver+10").segment(ct)
    [seen] = shown_to("lesions")
    own = seen.oriented(Orientation.of(seen.geometry))
    assert np.array_equal(own.hu, patient.hu[1:13, 4:20, 3:19])  # the liver, and two voxels around
    assert own.geometry.world_of((0, 0, 0)) == pytest.approx(patient.geometry.world_of((1, 4, 3)))


def test_kidneys_far_apart_get_a_box_each_where_that_is_less_to_compute(patient):
    patient.hu[5:7, 27:29, 5:7] = patient.hu[5:7, 27:29, 41:43] = LESION
    result = together("lesions@kidneys+10").segment(patient)
    assert [volume.hu.shape for volume in shown_to("lesions")] == [(10, 12, 9), (10, 12, 9)]
    assert (result.labels == TUMOUR).sum() == 16


def test_boxes_are_joined_while_that_costs_no_more():
    a, b, c = ((slice(0, 2), slice(0, 2), slice(x, x + 2)) for x in (0, 3, 40))

    def windows(box):  # of 8 voxels
        return np.prod([-(-(part.stop - part.start) // 8) for part in box])

    assert cheapest([a, b, c], windows) == [(slice(0, 2), slice(0, 2), slice(0, 5)), c]
    assert cheapest([], windows) == []


def test_a_host_that_was_not_found_is_told_and_its_model_is_not_asked(patient):
    patient.hu[patient.hu == LIVER] = 0
    heard = together("lesions@liver").segment(patient)
    assert "No liver was found, so 'lesions' looked for no tumour there." in heard.notes
    assert shown_to("lesions") == [] and values(heard.labels) == {2, 13}


def test_of_two_kidneys_the_one_that_is_there_is_looked_at(patient):
    patient.hu[5:7, 27:29, 5:7] = LESION
    patient.hu[patient.hu == ORGANS["left_kidney"]] = 0
    result = together("lesions@kidneys").segment(patient)
    assert "No left kidney was found, so 'lesions' looked for no tumour there." in result.notes
    assert (result.labels == TUMOUR).sum() == 8 and len(shown_to("lesions")) == 1


def test_where_no_organ_is_found_nothing_else_is_asked_and_the_result_says_so_once(patient):
    result = together("lesions@liver", "lesions@kidneys").segment(replace(patient, hu=np.full_like(patient.hu, -1000)))
    assert result.notes[:-1] == (NOTHING_FOUND,) and not result.labels.any()
    assert shown_to("lesions") == []


def test_organs_are_those_of_the_first_model_that_has_them(patient):
    save_threshold_model("others", {"liver": 0, "gallbladder": 40, "spleen": 40, "atlas": LIVER, "stomach": LIVER})
    patient.hu[12:14, 6:10, 20:24] = 40
    labels = together(organs=("organs", "others")).segment(patient).labels
    assert values(labels) == {1, 2, 3, 13}  # no atlas; the stomach lies where the liver is
    assert (labels[12:14, 6:10, 20:24] == 3).all()
    assert np.array_equal(labels == 1, patient.hu == LIVER)
    first = together(organs=("others", "organs")).segment(patient).labels
    assert np.array_equal(first == 11, patient.hu == LIVER) and (first[patient.hu == 0] == 1).all()


def test_where_two_models_draw_a_lesion_the_confidence_is_the_first_ones(patient):
    save_threshold_model("more-lesions", {"cancer": LESION})
    lesion = np.s_[5:8, 9:12, 9:12]
    patient.hu[lesion] = LESION
    for order, expected in ((("lesions", "more-lesions"), 70), (("more-lesions", "lesions"), 120)):
        result = together(*(f"{name}@liver" for name in order)).segment(patient, confidence=True)
        assert (result.confidence[lesion] == expected).all()
        assert result.confidence[4, 7, 6] == 60  # an organ's, of "organs"


def test_tumours_are_looked_for_only_where_they_are_wanted(patient):
    save_threshold_model("others", {"spleen": SPLEEN})
    patient.hu[5:8, 9:12, 9:12] = LESION
    segmenter = together("lesions@liver", organs=("organs", "others"))
    assert values(segmenter.segment(patient, structures=by_names(["right_kidney"])).labels) == {2}
    assert [name for name, _ in ThresholdModel.shown] == ["organs"]
    ThresholdModel.shown.clear()
    only = segmenter.segment(patient, structures=by_names(["tumour"]))
    assert values(only.labels) == {TUMOUR} and [one.name for one in only.structures] == ["tumour"]
    assert [name for name, _ in ThresholdModel.shown] == ["organs", "lesions"]


def test_nothing_is_looked_at_outside_the_region_of_interest(patient):
    patient.hu[5:8, 9:12, 9:12] = LESION
    low, high = (patient.geometry.world_of(corner) for corner in ((6, 8, 8), (9, 13, 13)))
    labels = together("lesions@liver+20").segment(patient, roi=WorldBox(low, high)).labels
    [seen] = shown_to("lesions")
    assert seen.hu.shape == (4, 6, 6)
    assert (labels == TUMOUR).sum() == 2 * 3 * 3 and not labels[:6].any()


def test_a_preview_has_flares_numbers_and_the_whole_models_name(patient):
    save_threshold_model("mixed", {"atlas": 0, "liver": LIVER})
    shown = []
    together("lesions@liver", organs=("mixed",)).segment(patient, preview=shown.append)
    [coarse] = shown
    assert values(coarse.labels) == {1} and coarse.model.startswith("abdomen = mixed 1.0 + lesions 1.0 (liver)")


# memory, processes, progress


def test_large_models_are_in_memory_one_at_a_time(patient, monkeypatch):
    monkeypatch.setattr(open_members, "MOST_RESIDENT_BYTES", 0)
    segmenter = together("lesions@liver", "lesions@kidneys")
    for _ in range(2):
        segmenter.segment(patient)
    assert ThresholdModel.most_alive == 1
    # the last of the first case is what the second has to replace
    assert ThresholdModel.opened == ["organs", "lesions", "lesions"] * 2


def test_small_models_are_loaded_once(patient):
    segmenter = together("lesions@liver")
    for _ in range(3):
        segmenter.segment(patient)
    assert ThresholdModel.opened == ["organs", "lesions"]


def test_it_can_be_sent_to_another_process(patient):
    patient.hu[5:8, 9:12, 9:12] = LESION
    segmenter = together("lesions@liver")
    again = pickle.loads(pickle.dumps(segmenter))
    assert ThresholdModel.opened == ["organs", "lesions"]  # the other one loads when it is used
    assert np.array_equal(again.segment(patient).labels, segmenter.segment(patient).labels)
    assert again.model_name == segmenter.model_name == "abdomen = organs 1.0 + lesions 1.0 (liver)"


def test_a_cancel_is_heeded_at_every_report(patient):
    segmenter, reports = together("lesions@liver", "lesions@kidneys"), []
    segmenter.segment(patient, progress=Progress(cancelled=lambda: bool(reports.append(1))))
    assert len(reports) > 20
    for stop in range(len(reports)):
        left = iter([False] * stop + [True])
        with pytest.raises(Cancelled):
            segmenter.segment(patient, progress=Progress(cancelled=lambda left=left: next(left)))


@pytest.mark.parametrize("missing", [None, LIVER])
def test_the_bar_never_goes_back_and_comes_to_its_end(patient, missing):
    if missing:
        patient.hu[patient.hu == missing] = 0
    reached, shares = {}, [0.0]

    class Bar:
        def stage(self, name, fraction):
            reached[name] = fraction
            shares.append(share_done(reached))

        def message(self, text):
            pass

    progress = Progress(Bar())
    result = together("lesions@kidneys", "lesions@liver").segment(patient, progress=progress)
    assert shares == sorted(shares) and set(reached.values()) == {1.0}
    assert list(result.seconds) == ["body", "network"]
