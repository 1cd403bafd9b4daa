"""Which annotated tumours a model found, and which it made up."""

import numpy as np
import pytest

from flareseg.labels import TUMOUR, by_name
from flareseg.volume import Geometry, Volume
from train.reporting.lesions import compare_lesions

SHAPE = (20, 40, 60)
LIVER, SPLEEN, LESION = (by_name(name).value for name in ("liver", "spleen", TUMOUR))
UNKNOWN = 255
TURNED = Geometry(SHAPE, (3.0, 2.0, 2.0), (0.0, 0.0, 0.0), ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)))


@pytest.fixture(params=[Geometry(SHAPE, (3.0, 2.0, 2.0)), TURNED], ids=["as stored", "turned"])
def ct(request):
    return Volume(np.zeros(SHAPE, np.int16), request.param)


@pytest.fixture
def organs():
    """A liver and a spleen beside each other."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:18, 5:35, 2:28], labels[2:18, 5:35, 34:58] = LIVER, SPLEEN
    return labels


def with_tumours(labels, *boxes):
    drawn = labels.copy()
    for z, y, x in boxes:
        drawn[z : z + 4, y : y + 5, x : x + 6] = LESION
    return drawn


def test_each_annotated_lesion_is_found_or_missed(ct, organs):
    truth = with_tumours(organs, (4, 10, 8), (12, 25, 40))
    found = compare_lesions(truth, with_tumours(organs, (5, 12, 9)), ct)
    assert {(one["host"], one["found"]) for one in found["annotated"]} == {("liver", True), ("spleen", False)}
    assert all(one["mm"] == pytest.approx(np.hypot(10, 11), abs=1) for one in found["annotated"])
    assert found["false"] == 0 and found["false_in"] == []


def test_false_ones_are_counted_where_they_lie_and_not_where_nothing_is_known(ct, organs):
    drawn = with_tumours(organs, (4, 10, 8), (12, 10, 8), (4, 25, 40), (14, 0, 28))
    drawn[0, 0, 59] = LESION  # too small
    truth = organs.copy()
    truth[4, 25, 40] = UNKNOWN
    found = compare_lesions(truth, drawn, ct)
    assert found == {"annotated": [], "false": 3, "false_in": found["false_in"]}
    assert sorted(found["false_in"]) == ["", "liver", "liver"]
    assert compare_lesions(truth, organs, ct) == {"annotated": [], "false": 0, "false_in": []}
