"""A model folder in which anything does not fit is refused with one line."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

sys.path.insert(0, str(Path(__file__).parent))

from bundles import edit_json, make_plan, make_weights, refusal, replace_weights, save_model

from flareseg.model.bundle import FORMAT, read_description
from flareseg.model.storage import JSON, WEIGHTS


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_model(tmp_path / "tiny")


# What does not fit is refused


def test_what_is_no_model_is_said_to_be_none(tmp_path: Path) -> None:
    assert "no model at" in refusal(tmp_path / "missing")
    assert "no model.json" in refusal(tmp_path)
    (tmp_path / "text.zip").write_text("hello")
    assert "neither a model folder nor a zip" in refusal(tmp_path / "text.zip")


def test_damaged_or_exchanged_weights_are_noticed(model: Path, tmp_path: Path) -> None:
    data = (model / WEIGHTS).read_bytes()
    for broken in (data[:-1], data[:-1] + bytes([data[-1] ^ 1]), b""):
        (model / WEIGHTS).write_bytes(broken)
        assert "sha256 differs" in refusal(model)
    (model / WEIGHTS).unlink()
    assert "has no weights.safetensors" in refusal(model)


def test_a_pickle_in_place_of_the_weights_is_never_opened(model: Path) -> None:
    buffer = io.BytesIO()
    torch.save(make_weights(make_plan()), buffer)
    replace_weights(model, buffer.getvalue()[:3000])
    assert "no valid safetensors" in refusal(model)


def test_weights_of_another_network_are_refused_by_name_and_shape(model: Path) -> None:
    weights = {key: value.half() for key, value in make_weights(make_plan()).items()}
    replace_weights(model, save(weights | {"more": torch.zeros(1)}))
    assert "'more', which the plan does not know" in refusal(model)
    key = "upsamples.0.transp_conv.conv.bias"
    replace_weights(model, save({k: v for k, v in weights.items() if k != key}))
    assert f"lacks '{key}'" in refusal(model)
    replace_weights(model, save(weights | {key: torch.zeros(5).half()}))
    assert "(5,); the plan asks for (4,)" in refusal(model)
    replace_weights(model, save(weights | {key: torch.zeros(4, dtype=torch.int16)}))
    assert "torch.int16" in refusal(model)
    replace_weights(model, save(weights | {key: torch.full((4,), math.nan).half()}))
    assert "NaN" in refusal(model)


def test_a_weights_file_larger_than_the_network_is_refused_unread(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (model / WEIGHTS).open("r+b") as file:
        file.truncate(2**40)  # takes no space on the disk
    monkeypatch.setattr(Path, "read_bytes", _only_json(Path.read_bytes))
    assert "has 1,099,511,627,776 bytes" in refusal(model)


def _only_json(read_bytes: Callable[[Path], bytes]) -> Callable[[Path], bytes]:
    def guarded(path: Path) -> bytes:
        assert path.name == JSON
        return read_bytes(path)

    return guarded


def test_a_newer_format_asks_for_an_update(model: Path) -> None:
    edit_json(model, lambda data: data.update(format=FORMAT + 1))
    expected = f"'tiny' is of model format {FORMAT + 1}, this flareseg reads up to {FORMAT}; update flareseg."
    assert refusal(model) == expected
    for strange in (0, -1, None, "1", [1], 1.5):
        edit_json(model, lambda data, strange=strange: data.update(format=strange))
        assert "unknown model format" in refusal(model)


def test_a_model_may_have_structures_of_its_own(model: Path) -> None:
    edit_json(model, lambda data: data["plan"]["labels"].update({"1": "prostate"}))
    assert "prostate" in read_description(model).plan.labels.values()


def test_names_that_are_none_and_repeated_labels_are_refused(model: Path) -> None:
    for name in ("", " ", "two\nlines", "x" * 81):
        edit_json(model, lambda data, name=name: data["plan"]["labels"].update({"1": name}))
        assert "no name of a structure" in refusal(model)
    edit_json(model, lambda data: data["plan"]["labels"].update({"1": "spleen"}))
    assert "segments 'spleen' twice" in refusal(model)
    edit_json(model, lambda data: data["plan"]["labels"].update({"0": "liver"}))
    assert "label 0 is 'liver'" in refusal(model)


def test_a_rule_for_a_structure_that_is_not_segmented_is_refused(model: Path) -> None:
    edit_json(model, lambda data: data["plan"].update(components={"lung": {"minimum_ml": 1}}))
    assert "components of 'lung'" in refusal(model)


def test_only_some_of_its_structures_may_be_silent(model: Path) -> None:
    for names in (["lung"], ["liver", "spleen", "lung"]):
        edit_json(model, lambda data, names=names: data["plan"].update(silent=names))
        assert "never draws" in refusal(model)


def network(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda data: data["plan"]["network"]["kwargs"].update(changes)


def plan_entry(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda data: data["plan"].update(changes)


@pytest.mark.parametrize(
    "change",
    [
        network(filters=[100000, 100000, 100000]),
        network(filters=[2048] * 3, kernel_size=[7, 7, 7]),  # fits every single bound, needs 25 GB of weights
        network(filters=[2, -4, 4]),
        network(filters=[2, True, 4]),
        network(filters=[2.5, 4, 4]),
        network(filters=[]),
        network(filters=7),
        network(strides=[0, 0, 0]),
        network(strides=[1, -2, 2]),
        network(strides=[[[0], [0], [0]], 10**9, 10**9]),
        network(strides=[10**17] * 20000),
        network(strides={"a": 1}),
        network(strides=None),
        network(kernel_size=[2, 2, 2]),
        network(kernel_size=[10**9, 3, 3]),
        network(dropout=0.5),
        plan_entry(patch_zyx=[2048, 2048, 2048]),
        plan_entry(patch_zyx=[16, 16]),
        plan_entry(patch_zyx="16"),
        plan_entry(spacing_zyx_mm=[0, 3, 3]),
        plan_entry(spacing_zyx_mm=["x" * 100000] * 3),
        plan_entry(step=0),
        plan_entry(labels={"0": "background"}),
        plan_entry(labels=[]),
        plan_entry(labels={"0": "background", "x": "liver"}),
        plan_entry(intensity={"clip_hu": [300, -200], "mean_hu": 0, "std_hu": 1}),
        plan_entry(intensity=None),
        plan_entry(network={"name": "os.system", "kwargs": {"strides": [1]}}),
        plan_entry(network=[]),
        plan_entry(coarse=5),
        plan_entry(components={"liver": 3}),
        plan_entry(windows=["fixed"]),
        lambda data: data.pop("plan"),
        lambda data: data["plan"].pop("network"),
        lambda data: data.update(plan=[]),
        lambda data: data.update(sha256=5),
        lambda data: data.update(name="a\nb"),
        lambda data: data.update(licence="\x1b[2J"),
        lambda data: data.update(citation="x" * 10000),
        lambda data: data.update(metrics=[]),
        lambda data: data["plan"].update(coarse={**data["plan"], "coarse": dict(data["plan"])}),
    ],
)
def test_a_plan_that_no_one_could_run_is_refused_before_the_weights_are_read(
    model: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    edit_json(model, change)
    (model / WEIGHTS).unlink()
    assert f"has no {WEIGHTS}" not in refusal(model)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{",
        "[" * 100000,
        '{"plan":' * 5000 + "1" + "}" * 5000,
        '{"format": 1, "plan": {"step": NaN}}',
        '{"format": 1, "plan": {"step": 1e999}}',
        '{"format": 1, "plan": {"step": ' + "9" * 500000 + "}}",
        "\ufeff{}",
        '{"a": "' + "x" * 2**21 + '"}',
    ],
)
def test_a_description_that_is_no_sensible_json_is_refused(model: Path, text: str) -> None:
    (model / JSON).write_text(text, encoding="utf-8")
    assert refusal(model)


def test_a_description_that_is_no_text_is_refused(model: Path) -> None:
    (model / JSON).write_bytes(b"\xff\xfe\x00{")
    assert "not valid JSON" in refusal(model)
