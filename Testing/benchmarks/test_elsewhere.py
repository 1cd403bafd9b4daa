"""Where the benchmark of chests and pelves cuts."""

import numpy as np
from elsewhere import pieces

LIVER, AORTA, UNKNOWN = 1, 5, 255


def test_a_ct_is_cut_above_and_below_its_organs_and_vessels_pass_through_the_chest():
    labels = np.zeros((100, 4, 4), np.uint8)
    labels[40:60] = LIVER
    labels[30:90, 0, 0] = AORTA
    assert pieces(labels, 5.0) == {"chest": slice(65, 100), "pelvis": slice(0, 25)}


def test_what_is_unknown_or_too_short_is_no_piece():
    labels = np.zeros((100, 4, 4), np.uint8)
    labels[30:90] = LIVER
    assert list(pieces(labels, 5.0)) == ["pelvis"]
    labels[5, 0, 0] = UNKNOWN
    assert pieces(labels, 5.0) == {}
