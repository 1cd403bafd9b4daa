"""What several nets agree on counts, the rest is unknown; and what keeps changing is not learnt from."""

import numpy as np
import pytest

from train.data.index import IGNORE
from train.pseudo_config import PseudoConfig
from train.pseudolabels.agreement import agreed, mean_pairwise_dsc
from train.pseudolabels.stability import Verdict, instability, overlaid, verdict_on

LIVER, SPLEEN, TUMOUR = 1, 3, 14


def line(*values):
    return np.array(values, np.uint8).reshape(1, 1, -1)


def test_where_two_nets_differ_the_label_is_unknown():
    labels, confidence = agreed(
        [line(LIVER, LIVER, 0, 0), line(LIVER, SPLEEN, 0, LIVER)], [line(90, 80, 99, 60), line(70, 80, 97, 50)], 1.0
    )
    assert labels.ravel().tolist() == [LIVER, IGNORE, 0, IGNORE]
    assert confidence.ravel().tolist() == [80, 40, 98, 30]  # a net that gave another label adds nothing


def test_nets_that_differ_in_what_ground_truth_decides_agree():
    answers = [line(LIVER, LIVER, LIVER, SPLEEN), line(0, LIVER, SPLEEN, 0)]
    labels, _confidence = agreed(answers, [line(90, 90, 90, 90)] * 2, 1.0, settled=[LIVER])
    assert labels.ravel().tolist() == [0, LIVER, IGNORE, IGNORE]


def test_a_majority_may_be_enough_whichever_net_is_asked_first():
    answers = [line(SPLEEN, LIVER, 0), line(LIVER, LIVER, LIVER), line(LIVER, SPLEEN, SPLEEN)]
    sure = [np.full((1, 1, 3), 90, np.uint8)] * 3
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        labels, confidence = agreed([answers[n] for n in order], sure, 0.6)
        assert labels.ravel().tolist() == [LIVER, LIVER, IGNORE]
        assert confidence.ravel().tolist()[:2] == [60, 60]
    assert agreed(answers, sure, 1.0)[0].ravel().tolist() == [IGNORE, IGNORE, IGNORE]


def test_the_answer_of_a_single_net_stays_as_it_is():
    labels, confidence = line(LIVER, 0), line(51, 99)
    found = agreed([labels], [confidence], 1.0)
    assert found[0] is labels
    assert found[1] is confidence


def test_answers_are_not_changed_in_place():
    answers = [line(LIVER, 0), line(0, 0)]
    agreed(answers, [line(90, 90), line(90, 90)], 1.0)
    assert answers[0].ravel().tolist() == [LIVER, 0]


def test_the_dsc_of_pairs_is_the_mean_over_all_of_them():
    one, two, three = line(LIVER, LIVER, 0, 0), line(LIVER, 0, 0, 0), line(LIVER, LIVER, 0, SPLEEN)
    found = mean_pairwise_dsc([one, two, three], [LIVER, SPLEEN, TUMOUR])
    assert found[LIVER] == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)
    assert found[SPLEEN] == pytest.approx((1 + 0 + 0) / 3)  # the first two agree that there is none
    assert found[TUMOUR] == 1
    assert mean_pairwise_dsc([one], [LIVER]) == {LIVER: 1.0}


def test_unstable_is_what_is_unknown_and_what_has_changed():
    now = line(LIVER, LIVER, IGNORE, SPLEEN, 0, 0)
    assert instability(now) == 1 / 4
    assert instability(now, now) == pytest.approx((1 / 4 + 0) / 2)
    assert instability(now, line(LIVER, 0, SPLEEN, LIVER, 0, LIVER)) == pytest.approx((1 / 4 + 3 / 4) / 2)
    assert instability(now, line(IGNORE, LIVER, 0, SPLEEN, 0, 0)) == pytest.approx((1 / 4 + 0) / 2)


def test_where_nothing_is_drawn_nothing_is_unstable_unless_there_was_something():
    nothing = line(0, 0, 0)
    assert instability(nothing) == instability(nothing, nothing) == 0
    assert instability(nothing, line(LIVER, LIVER, 0)) == 1  # half of 2 voxels, of none drawn


def test_tumours_and_unknown_voxels_cover_organs():
    assert overlaid([line(LIVER, LIVER, LIVER, 0), line(0, TUMOUR, IGNORE, 0)]).ravel().tolist() == [
        LIVER, TUMOUR, IGNORE, 0,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("unstable", "alone", "expected"),
    [
        (0.1, False, Verdict(used=True, weight=0.9)),
        (0.1, True, Verdict(used=True, weight=1.0)),
        (0.4, False, Verdict(used=False, weight=0.0)),  # left out
        (0.4, True, Verdict(used=False, weight=1.0)),  # its ground truth remains
    ],
)
def test_unstable_cases_count_less_or_with_their_ground_truth_alone(unstable, alone, expected):
    settings = PseudoConfig(largest_instability=0.3, weigh_unstable=True)
    assert verdict_on(unstable, settings, stands_alone=alone) == expected
    assert verdict_on(unstable, PseudoConfig(), stands_alone=alone) == Verdict()
