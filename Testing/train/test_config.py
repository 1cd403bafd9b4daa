"""A configuration either fits or says which word does not."""

from pathlib import Path

import pytest

from flareseg.errors import UsageError
from train.config import load_config

CONFIGS = Path(__file__).parents[2] / "train" / "configs"


@pytest.mark.parametrize("name", ["default", "smoke"])
def test_the_configurations_are_valid_and_give_plans(name):
    config = load_config(CONFIGS / f"{name}.yaml")
    assert config.coarse is not None
    plan = config.plan.plan(coarse=config.coarse.plan.plan())
    assert plan.classes == 15
    assert plan.coarse is not None
    assert plan.coarse.spacing_zyx_mm[0] > plan.spacing_zyx_mm[0]
    assert config.coarse.folder != config.folder
    assert config.coarse.runs == config.runs


def test_command_line_values_replace_those_of_the_file_and_coarse_ones_only_its_own():
    config = load_config(CONFIGS / "default.yaml", ["base.max_steps=7", "data=some folder", "coarse.base.max_steps=5"])
    assert config.coarse is not None
    assert (config.base.max_steps, config.coarse.base.max_steps) == (7, 5)
    assert config.data == config.coarse.data == "some folder"


@pytest.mark.parametrize(
    ("override", "word"),
    [("nonsense", "nonsense"), ("base.steps=3", "steps"), ("seed=red", "seed"), ("plan.filters.x=1", "plan.filters.x")],
)
def test_what_does_not_fit_is_named(override, word):
    with pytest.raises(UsageError, match=word):
        load_config(CONFIGS / "default.yaml", [override])


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"none\.yaml"):
        load_config(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1")
    with pytest.raises(UsageError, match=r"broken\.yaml"):
        load_config(broken)
