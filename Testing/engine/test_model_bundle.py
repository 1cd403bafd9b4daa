"""Models are written whole and read back as they were."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save

sys.path.insert(0, str(Path(__file__).parent))

from bundles import ALL_LABELS, ANISOTROPIC, contents, make_plan, make_weights, replace_weights, save_model, zip_of

from flareseg.errors import FlareError, ModelError, OutputError
from flareseg.model import bundle as bundle_module
from flareseg.model.bundle import copy_bundle, load_bundle, read_description
from flareseg.model.networks.dynunet import dynunet_spec
from flareseg.model.networks.registry import build_network, load_weights, parameter_shapes
from flareseg.model.plan import ComponentRule, LesionRule
from flareseg.model.plan_checks import check_plan
from flareseg.model.storage import CARD, JSON, WEIGHTS


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_model(tmp_path / "tiny")


# What is saved can be used


def test_a_saved_model_is_read_back_with_its_plan_and_its_weights_in_fp16(model: Path) -> None:
    plan = make_plan()
    loaded = load_bundle(model)
    assert loaded.plan == plan
    assert (loaded.name, loaded.version, loaded.coarse_weights) == ("tiny", "1.2", None)
    assert loaded.info["provenance"] == {"date": "2023-10-01"}
    assert loaded.sha256 == hashlib.sha256((model / WEIGHTS).read_bytes()).hexdigest()
    for key, value in make_weights(plan).items():
        assert loaded.weights[key].dtype == torch.float16
        assert torch.equal(loaded.weights[key], value.half())
    assert (model / CARD).read_text(encoding="utf-8").endswith("Über kleine Netze.\n")


def test_the_coarse_net_comes_back_under_its_own_names(tmp_path: Path) -> None:
    coarse = make_plan(network=ANISOTROPIC, spacing_zyx_mm=(6.0, 6.0, 6.0))
    loaded = load_bundle(save_model(tmp_path / "two", make_plan(coarse=coarse)))
    assert loaded.plan.coarse == coarse
    assert loaded.coarse_weights is not None
    assert {k: tuple(v.shape) for k, v in loaded.coarse_weights.items()} == parameter_shapes(coarse)
    assert {k: tuple(v.shape) for k, v in loaded.weights.items()} == parameter_shapes(make_plan())


def test_the_tumours_net_comes_back_under_its_own_names_and_older_programs_are_told(tmp_path: Path) -> None:
    tumour = make_plan(network=ANISOTROPIC, labels={0: "background", 1: "liver", 2: "tumour"}, components={})
    rule = LesionRule(-1.0, 0.5)
    folder = save_model(tmp_path / "three", make_plan(tumour=tumour, lesions=rule, coarse=make_plan()))
    loaded = load_bundle(folder)
    assert (loaded.plan.tumour, loaded.plan.lesions) == (tumour, rule)
    assert loaded.tumour_weights is not None
    assert {k: tuple(v.shape) for k, v in loaded.tumour_weights.items()} == parameter_shapes(tumour)
    assert {k: tuple(v.shape) for k, v in loaded.weights.items()} == parameter_shapes(make_plan())
    assert json.loads((folder / JSON).read_text(encoding="utf-8"))["format"] == 4
    again = save_model(tmp_path / "again", loaded.plan, weights=loaded.tensors)
    assert (again / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()


@pytest.mark.parametrize(
    ("plan", "tumour"),
    [
        ({}, {"orientation": "ras"}),
        ({}, {"axes": (1, 0, 2)}),
        ({}, {"labels": {0: "background", 1: "liver"}}),
        ({"labels": {0: "background", 1: "liver"}, "components": {}}, {"labels": ALL_LABELS}),
        ({"parity": True}, {}),
        ({}, {"tumour": make_plan(components={})}),
    ],
)
def test_a_tumours_net_that_looks_the_other_way_or_knows_no_tumour_is_refused(
    tmp_path: Path, plan: dict[str, Any], tumour: dict[str, Any]
) -> None:
    its = make_plan(**({"components": {}} | tumour))
    with pytest.raises(ModelError, match="tumour"):
        save_model(tmp_path / "three", make_plan(tumour=its, **plan))
    assert not (tmp_path / "three").exists()


def test_a_networks_own_state_dict_can_be_saved_and_gives_the_same_network_again(tmp_path: Path) -> None:
    plan = make_plan(network=ANISOTROPIC)
    trained = build_network(plan, deep_supervision_heads=1)
    loaded = load_bundle(save_model(tmp_path / "trained", plan, weights=trained.state_dict()))
    network = build_network(plan)
    load_weights(network, loaded.weights)
    network.eval(), trained.eval()
    image = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = trained(image), network(image)
    assert (expected - found).abs().max() < 0.02 * expected.abs().max()


def test_the_same_model_gives_the_same_bytes_whatever_the_order_of_its_weights(tmp_path: Path) -> None:
    first = save_model(tmp_path / "first")
    weights = make_weights(make_plan())
    second = save_model(tmp_path / "second", weights=dict(reversed(weights.items())))
    assert contents(first) == contents(second)


def test_a_zip_with_the_files_at_its_top_or_in_one_folder_is_the_same_model(model: Path, tmp_path: Path) -> None:
    flat = zip_of(contents(model), tmp_path / "flat.zip")
    nested = {f"tiny/{name}": data for name, data in contents(model).items()}
    mac = nested | {"__MACOSX/tiny/._model.json": b"x", "tiny/.DS_Store": b"x"}
    for path in (flat, zip_of(nested, tmp_path / "nested.zip"), zip_of(mac, tmp_path / "mac.zip")):
        assert load_bundle(path).sha256 == load_bundle(model).sha256


def test_a_model_without_a_card_can_be_used(model: Path) -> None:
    (model / CARD).unlink()
    assert load_bundle(model).name == "tiny"


def test_weights_in_bf16_and_fp32_are_accepted_as_they_are(model: Path) -> None:
    for dtype in (torch.bfloat16, torch.float32):
        replace_weights(model, save({k: v.to(dtype) for k, v in make_weights(make_plan()).items()}))
        assert load_bundle(model).weights["output_block.conv.conv.bias"].dtype == dtype


def test_describing_a_model_needs_no_torch_and_loading_it_no_monai(model: Path) -> None:
    code = (
        "import sys; from flareseg.model.bundle import load_bundle, read_description\n"
        f"read_description({str(model)!r}); assert 'torch' not in sys.modules\n"
        f"load_bundle({str(model)!r}); assert 'monai' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# What is saved is whole, or absent


def test_an_existing_model_is_replaced_only_when_asked(model: Path) -> None:
    with pytest.raises(OutputError, match="exists"):
        save_model(model, version="2")
    assert load_bundle(model).version == "1.2"
    save_model(model, version="2", overwrite=True)
    assert load_bundle(model).version == "2"
    assert [path.name for path in model.parent.iterdir()] == ["tiny"]


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_while_writing_leaves_the_old_model_and_nothing_else(
    model: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    def fail(self: Path, data: bytes) -> None:
        raise failure

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises((OutputError, KeyboardInterrupt)):
        save_model(model, version="2", overwrite=True)
    assert [path.name for path in model.parent.iterdir()] == ["tiny"]
    assert load_bundle(model).version == "1.2"


def test_a_failure_at_the_last_rename_brings_the_old_model_back(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def fail_for_new(self: Path, target: Path) -> Path:
        if (
            Path(target) == model
            and (self / JSON).is_file()
            and json.loads((self / JSON).read_text())["version"] == "2"
        ):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_new)
    with pytest.raises(OutputError, match="Input/output error"):
        save_model(model, version="2", overwrite=True)
    assert [path.name for path in model.parent.iterdir()] == ["tiny"]
    assert load_bundle(model).version == "1.2"


@pytest.mark.skipif(os.name == "nt", reason="permissions are POSIX's")
def test_a_model_folder_can_be_read_by_others_as_the_umask_says(model: Path) -> None:
    expected = 0o777 & ~_umask()
    assert stat.S_IMODE(model.stat().st_mode) == expected
    assert stat.S_IMODE((model / WEIGHTS).stat().st_mode) == expected & 0o666


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_weights_that_do_not_fit_the_plan_or_fp16_are_not_written(tmp_path: Path) -> None:
    weights = make_weights(make_plan())
    key = "bottleneck.conv1.conv.weight"
    for broken, words in (
        ({k: v for k, v in weights.items() if k != key}, "lacks 'bottleneck.conv1.conv.weight'"),
        (weights | {"head.weight": torch.zeros(1)}, "holds 'head.weight'"),
        (weights | {key: weights[key][:1]}, "the plan asks for"),
        (weights | {key: weights[key] * 1e6}, "NaN, or numbers that are too large"),
    ):
        with pytest.raises(ModelError, match=words):
            save_model(tmp_path / "broken", weights=broken)
    assert list(tmp_path.iterdir()) == []


# Copies


def test_a_copy_has_the_same_bytes_and_is_made_of_sound_models_only(model: Path, tmp_path: Path) -> None:
    copy_bundle(zip_of(contents(model), tmp_path / "tiny.zip"), tmp_path / "copy")
    assert contents(tmp_path / "copy") == contents(model)
    (model / WEIGHTS).write_bytes(b"x" * 2000)
    with pytest.raises(FlareError, match="sha256"):
        copy_bundle(model, tmp_path / "another")
    assert not (tmp_path / "another").exists()


def test_a_description_is_read_without_the_weights(model: Path) -> None:
    (model / WEIGHTS).unlink()
    assert read_description(model).plan == make_plan()


def test_the_largest_networks_of_the_paper_are_within_the_bounds() -> None:
    small = dynunet_spec([40, 80, 160, 320, 544, 544], [[1, 3, 3], *[3] * 5], [1, [1, 2, 2], *[2] * 4])
    large = dynunet_spec([32, 64, 128, 256, 512, 1024], strides=[1, *[2] * 4, [1, 1, 1]])
    for spec, patch in ((small, (64, 160, 192)), (large, (112, 160, 160))):
        plan = make_plan(network=spec, patch_zyx=patch)
        check_plan(plan)
        assert (
            4 * sum(math.prod(shape) for shape in parameter_shapes(plan).values()) < bundle_module.LARGEST_WEIGHTS_BYTES
        )


def test_what_is_stored_is_a_plain_safetensors_file(model: Path) -> None:
    assert set(load_file(model / WEIGHTS)) == set(parameter_shapes(make_plan()))


def test_a_rule_against_fat_survives_and_is_told_to_older_programs(tmp_path: Path) -> None:
    plain = json.loads((save_model(tmp_path / "plain") / JSON).read_text(encoding="utf-8"))
    assert plain["format"] == 1 and "without_fat" not in plain["plan"]["components"]["spleen"]
    plan = make_plan(components={"spleen": ComponentRule(1.0, without_fat=True), "liver": ComponentRule()})
    folder = save_model(tmp_path / "lean", plan)
    assert json.loads((folder / JSON).read_text(encoding="utf-8"))["format"] == 3
    assert load_bundle(folder).plan.components == plan.components
