"""The table of structures: FLARE's order, tolerances and sides."""

import pytest

from flareseg.errors import UsageError
from flareseg.labels import by_name, by_names, paired_sides, structures

FLARES = structures()[:14]
"""Those of FLARE come first, however many follow."""


def test_values_run_from_1_in_the_order_of_flare():
    assert [s.value for s in structures()] == list(range(1, len(structures()) + 1))
    assert [s.name for s in structures()][:3] == ["liver", "right_kidney", "spleen"]
    assert structures()[12].name == "left_kidney"
    assert structures()[13].name == "tumour"


def test_tolerances_are_those_of_the_official_evaluation():
    assert [s.nsd_tolerance_mm for s in FLARES] == [5, 3, 3, 5, 2, 2, 2, 2, 2, 3, 5, 7, 3, 2]


def test_every_structure_has_a_colour_of_its_own():
    assert len({s.colour for s in structures()}) == len(structures())


def test_sides_are_told_by_the_modifier_and_fit_the_name():
    for structure in structures():
        side = structure.name.split("_")[0]
        expected = {"right": ("24028007", "Right"), "left": ("7771000", "Left")}.get(side)
        found = (structure.modifier.value, structure.modifier.meaning) if structure.modifier else None
        assert found == expected


@pytest.mark.parametrize("name", ["Left kidney", "left_kidney", " LEFT-KIDNEY "])
def test_names_are_found_however_they_are_written(name):
    assert by_name(name).value == 13


def test_tumor_is_tumour():
    assert by_name("tumor").value == 14


def test_names_come_in_the_order_of_the_table_and_once():
    assert [s.value for s in by_names(["tumour", "liver", "Liver"])] == [1, 14]


def test_an_unknown_name_is_told_with_the_known_ones():
    with pytest.raises(UsageError, match=r"'heart'.*liver"):
        by_name("heart")


def test_structures_of_both_sides_are_paired():
    pairs = {(one.name, other.name) for one, other in paired_sides()}
    assert pairs >= {("right_kidney", "left_kidney"), ("right_adrenal_gland", "left_adrenal_gland")}


def test_the_table_says_what_the_training_and_the_scoring_need():
    assert [s.name for s in FLARES if s.scored_where_labelled] == ["aorta", "inferior_vena_cava", "esophagus"]
    assert [s.name for s in FLARES if s.hollow] == ["esophagus", "stomach", "duodenum"]
    assert [s.name for s in FLARES if s.typical_hu is None] == ["tumour"]
    assert by_name("aorta").typical_hu == (41, 290, 150, 115)
