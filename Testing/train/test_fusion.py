"""Who is believed where: one test for each way in which annotators and nets can disagree (equation 3)."""

import numpy as np
import pytest

from train.data.index import CLASSES, IGNORE, TUMOUR
from train.pseudolabels.fusion import changes, from_truth, fuse_organs, overlay_tumours, without_fusion

LIVER, KIDNEY, SPLEEN, PANCREAS, GALLBLADDER = 1, 2, 3, 4, 9
EVERY_ORGAN = [value for value in range(1, CLASSES) if value != TUMOUR]


def line(*values):
    """A volume of one line of voxels."""
    return np.array(values, np.uint8).reshape(1, 1, -1)


def read(fused):
    return fused.labels.ravel().tolist()


def known(fused):
    return np.flatnonzero(fused.known).tolist()


def test_an_annotator_speaks_of_what_the_annotation_covers():
    fused = from_truth(line(0, LIVER, SPLEEN, IGNORE), annotated=[LIVER])
    assert read(fused) == [0, LIVER, 0, IGNORE]  # the spleen is not annotated: what was drawn of it counts for nothing
    assert known(fused) == [0, LIVER]


def test_tumours_drawn_in_part_count_and_others_are_looked_for():
    fused = from_truth(line(0, TUMOUR, LIVER), [LIVER], in_part=[TUMOUR])
    assert (read(fused), known(fused)) == ([0, TUMOUR, LIVER], [0, LIVER])
    fused = fuse_organs(line(0, TUMOUR, TUMOUR, 0), [LIVER], line(SPLEEN, LIVER, 0, 0), in_part=[TUMOUR])
    assert read(fused) == [SPLEEN, TUMOUR, TUMOUR, 0]
    assert TUMOUR not in known(fused)
    both = overlay_tumours(fused, line(TUMOUR, IGNORE, 0, IGNORE))
    assert read(both) == [TUMOUR, TUMOUR, TUMOUR, IGNORE]
    assert TUMOUR in known(both)
    alone = without_fusion(line(0, TUMOUR), (), line(LIVER, LIVER), in_part=[TUMOUR])
    assert read(alone) == [LIVER, TUMOUR]
    assert TUMOUR not in known(alone)


@pytest.mark.parametrize(
    ("drawn", "said", "expected"),
    [
        pytest.param(LIVER, LIVER, LIVER, id="both agree"),
        pytest.param(LIVER, 0, LIVER, id="the net missed it"),
        pytest.param(LIVER, SPLEEN, LIVER, id="the net said another annotated organ"),
        pytest.param(LIVER, KIDNEY, LIVER, id="the net said an organ that is not annotated"),
        pytest.param(0, LIVER, 0, id="the net says more of an annotated organ than was drawn"),
        pytest.param(0, KIDNEY, KIDNEY, id="an organ that nobody drew"),
        pytest.param(0, 0, 0, id="nothing"),
        pytest.param(IGNORE, LIVER, IGNORE, id="unknown to the annotator, annotated"),
        pytest.param(IGNORE, KIDNEY, IGNORE, id="unknown to the annotator, not annotated"),
        pytest.param(0, IGNORE, IGNORE, id="unknown to the net"),
        pytest.param(LIVER, IGNORE, LIVER, id="drawn where the net does not know"),
        pytest.param(0, TUMOUR, IGNORE, id="a tumour of a net for organs is no organ, and that is all"),
    ],
)
def test_ground_truth_over_pseudo_labels(drawn, said, expected):
    fused = fuse_organs(line(drawn), [LIVER, SPLEEN], line(said))
    assert read(fused) == [expected]
    assert known(fused) == [0, *EVERY_ORGAN]


def test_without_ground_truth_the_pseudo_labels_stand():
    fused = fuse_organs(None, (), line(0, LIVER, IGNORE))
    assert read(fused) == [0, LIVER, IGNORE]


def test_a_net_that_speaks_of_some_organs_makes_only_these_known():
    fused = fuse_organs(line(LIVER, 0, 0), [LIVER], line(0, SPLEEN, KIDNEY), pseudo_organs=[LIVER, SPLEEN])
    assert read(fused) == [LIVER, SPLEEN, 0]
    assert known(fused) == [0, LIVER, SPLEEN]


def test_drawn_tumours_stay_where_a_net_saw_an_organ():
    fused = fuse_organs(line(TUMOUR, 0), [LIVER, TUMOUR], line(LIVER, LIVER))
    assert read(fused) == [TUMOUR, 0]
    assert known(fused) == sorted([0, *EVERY_ORGAN, TUMOUR])


def test_tumours_lie_over_organs_and_outside_of_them():
    organs = fuse_organs(None, (), line(LIVER, LIVER, 0, 0))
    fused = overlay_tumours(organs, line(TUMOUR, 0, TUMOUR, 0))
    assert read(fused) == [TUMOUR, LIVER, TUMOUR, 0]
    assert TUMOUR in known(fused)


def test_a_tumour_that_is_not_sure_enough_makes_its_voxels_unknown():
    assert read(overlay_tumours(fuse_organs(None, (), line(LIVER)), line(IGNORE))) == [IGNORE]


def test_an_annotator_who_drew_the_tumours_is_believed_over_the_tumour_net():
    organs = fuse_organs(line(0, TUMOUR), [TUMOUR], line(LIVER, LIVER))
    assert read(overlay_tumours(organs, line(TUMOUR, 0))) == [LIVER, TUMOUR]


def test_a_tumour_wins_over_a_drawn_organ_but_not_over_what_an_annotator_left_open():
    truth = line(LIVER, IGNORE)
    fused = overlay_tumours(fuse_organs(truth, [LIVER], line(LIVER, LIVER)), line(TUMOUR, TUMOUR), truth)
    assert read(fused) == [TUMOUR, IGNORE]


def test_where_an_annotator_left_a_hole_in_an_organ_silence_of_the_tumour_net_is_not_background():
    truth = line(LIVER, 0, 0, 0)
    organs = fuse_organs(truth, [LIVER], line(LIVER, LIVER, 0, SPLEEN))
    assert organs.denied.ravel().tolist() == [False, True, False, False]
    assert read(organs) == [LIVER, 0, 0, SPLEEN]
    assert read(overlay_tumours(organs, line(0, 0, 0, 0), truth)) == [LIVER, IGNORE, 0, SPLEEN]
    assert read(overlay_tumours(organs, line(0, TUMOUR, 0, 0), truth)) == [LIVER, TUMOUR, 0, SPLEEN]


def test_the_baseline_takes_pseudo_labels_as_they_came_and_drawn_tumours():
    truth, pseudo = line(LIVER, 0, TUMOUR), line(SPLEEN, LIVER, LIVER)
    assert read(without_fusion(truth, [LIVER, TUMOUR], pseudo)) == [SPLEEN, LIVER, TUMOUR]
    assert read(without_fusion(truth, [LIVER], pseudo)) == [SPLEEN, LIVER, LIVER]
    assert read(without_fusion(None, (), pseudo)) == [SPLEEN, LIVER, LIVER]


def test_every_changed_voxel_is_counted_once():
    pseudo = line(LIVER, LIVER, LIVER, LIVER, SPLEEN, 0)
    fused = line(LIVER, 0, TUMOUR, IGNORE, LIVER, LIVER)
    found = changes(line(LIVER, 0, 0, 0, LIVER, LIVER), pseudo, fused)
    assert found[LIVER] == {
        "truth": 3, "pseudo": 4, "fused": 3, "added": 2, "removed": 1, "replaced": 1, "unknown": 1,
    }  # fmt: skip
    assert found[SPLEEN]["replaced"] == 1
    assert (found[TUMOUR]["added"], found[TUMOUR]["pseudo"]) == (1, 0)
    assert GALLBLADDER not in found


def test_the_inputs_stay_as_they_are_whatever_their_memory():
    truth, pseudo = line(LIVER, 0), line(0, SPLEEN)
    for array in (truth, pseudo):
        array.flags.writeable = False
    organs = fuse_organs(truth, [LIVER], pseudo)
    assert read(overlay_tumours(organs, line(0, TUMOUR))) == [LIVER, TUMOUR]
    assert PANCREAS in known(organs)
