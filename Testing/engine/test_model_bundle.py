"""Models are written whole, read back as they were, and refused with one line when anything does not fit."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save

from flareseg.errors import FlareError, ModelError, OutputError
from flareseg.labels import structures
from flareseg.model import bundle as bundle_module
from flareseg.model.bundle import COARSE, TUMOUR_NET, copy_bundle, load_bundle, read_description, save_bundle
from flareseg.model.networks.dynunet import dynunet_spec
from flareseg.model.networks.registry import build_network, load_weights, parameter_shapes
from flareseg.model.plan import ComponentRule, Intensity, LesionRule, Plan
from flareseg.model.plan_checks import check_plan
from flareseg.model.storage import CARD, JSON, WEIGHTS
from flareseg.system import zip_bombs

ALL_LABELS = {0: "background"} | {structure.value: structure.name for structure in structures()}
ANISOTROPIC = dynunet_spec([4, 6, 8], [[1, 3, 3], 3, 3], [1, [1, 2, 2], 2])


def make_plan(**changes: Any) -> Plan:
    plan = Plan(
        spacing_zyx_mm=(3.0, 3.0, 3.0),
        patch_zyx=(16, 16, 16),
        intensity=Intensity((-200.0, 300.0), 50.0, 90.0),
        network=dynunet_spec([2, 4, 4]),
        labels=ALL_LABELS,
        components={"spleen": ComponentRule(minimum_ml=1.0)},
    )
    return replace(plan, **changes)


def make_weights(plan: Plan, prefix: str = "") -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {prefix + k: torch.randn(*shape, generator=generator) for k, shape in parameter_shapes(plan).items()}


def save_model(folder: Path, plan: Plan | None = None, **changes: Any) -> Path:
    plan = plan or make_plan()
    weights = make_weights(plan)
    if plan.coarse:
        weights |= make_weights(plan.coarse, COARSE)
    if plan.tumour:
        weights |= make_weights(plan.tumour, TUMOUR_NET)
    arguments: dict[str, Any] = {
        "plan": plan,
        "weights": weights,
        "name": "tiny",
        "version": "1.2",
        "description": "a model for tests",
        "licence": "Apache-2.0",
        "citation": "nobody, never",
        "provenance": {"date": "2023-10-01"},
        "metrics": {"rows": []},
        "card": "# Tiny\nÜber kleine Netze.\n",
    }
    save_bundle(folder, **(arguments | changes))
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_model(tmp_path / "tiny")


def edit_json(model: Path, change: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads((model / JSON).read_text(encoding="utf-8"))
    change(data)
    (model / JSON).write_text(json.dumps(data), encoding="utf-8")


def replace_weights(model: Path, data: bytes) -> None:
    """Other weights with the right checksum, as someone who edits a model would make them."""
    (model / WEIGHTS).write_bytes(data)
    edit_json(model, lambda info: info.update(sha256=hashlib.sha256(data).hexdigest()))


def zip_of(files: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def contents(model: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in model.iterdir()}


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load_bundle(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400 + len(str(path))
    return message


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
    edit_json(model, lambda data: data.update(format=5))
    assert refusal(model) == "'tiny' is of model format 5, this flareseg reads up to 4; update flareseg."
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


# Hostile zips


@pytest.mark.parametrize(
    "name",
    ["../evil.txt", "tiny/../../evil", "/model.json", "a/b/model.json", "tiny\\evil", "setup.py", "tiny/setup.py"],
)
def test_a_zip_with_anything_but_a_model_is_refused_and_nothing_is_unpacked(
    model: Path, tmp_path: Path, name: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    path = zip_of(contents(model) | {name: b"evil"}, tmp_path / "evil.zip")
    assert "evil.zip' holds" in refusal(path)
    only = zip_of({name: b"evil"}, path)
    assert refusal(only)
    path.unlink()
    assert sorted(tmp_path.rglob("*")) == before


def test_links_doubles_and_unknown_packing_in_a_zip_are_refused(model: Path, tmp_path: Path) -> None:
    link = zipfile.ZipInfo(CARD)
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = tmp_path / "link.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(JSON, (model / JSON).read_bytes())
        archive.writestr(link, "/etc/passwd")
    assert "does not belong" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(JSON, b"{}")
        archive.writestr(JSON, b"{}")
    assert "does not belong" in refusal(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr(JSON, (model / JSON).read_bytes())
    assert "rare method" in refusal(path)


def test_a_zip_bomb_is_refused_unpacked_neither_by_its_true_nor_by_a_forged_size(model: Path, tmp_path: Path) -> None:
    bomb = zip_of({JSON: b" " * 50_000_000}, tmp_path / "bomb.zip")
    assert "50,000,000 bytes" in refusal(bomb)
    data = bomb.read_bytes().replace((50_000_000).to_bytes(4, "little"), (5000).to_bytes(4, "little"))
    bomb.write_bytes(data)
    assert "damaged" in refusal(bomb)
    weights = zip_of(contents(model) | {WEIGHTS: bytes(50_000_000)}, tmp_path / "weights.zip")
    assert "50,000,000 bytes" in refusal(weights)


def test_weights_that_unpack_to_a_thousand_times_their_size_are_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zip_bombs, "LARGE_BYTES", 1000)
    path = zip_of(contents(model) | {WEIGHTS: bytes((model / WEIGHTS).stat().st_size)}, tmp_path / "zeros.zip")
    assert "would unpack to" in refusal(path)


def test_a_zip_with_thousands_of_entries_is_refused_unread(tmp_path: Path) -> None:
    path = zip_of({f"{n}/model.json": b"" for n in range(2000)}, tmp_path / "many.zip")
    assert "too much to be a model" in refusal(path)


def test_a_second_end_hides_no_long_table_of_contents(tmp_path: Path) -> None:
    path = zip_of({f"{n}/model.json": b"" for n in range(2000)}, tmp_path / "many.zip")
    data = path.read_bytes()
    # In the last record, where the directory begins: zipfile takes this record, a search from behind the other.
    path.write_bytes(data[:-6] + b"PK\5\6" + data[-2:])
    assert "too much to be a model" in refusal(path)


def test_a_zip_with_a_nameless_entry_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nameless.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(zipfile.ZipInfo(""), b"")
    assert "does not belong in a model" in refusal(path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_devices_pipes_and_files_without_a_size_are_refused_at_once(model: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path / "pipe"):
        assert "neither a model folder nor a zip" in refusal(path)
        (model / JSON).unlink()
        (model / JSON).symlink_to(path)
        assert "is not a file" in refusal(model)
    if Path("/proc/self/environ").exists():  # it states no size, and holds something
        (model / JSON).unlink()
        (model / JSON).symlink_to("/proc/self/environ")
        assert "not valid JSON" in refusal(model)


def test_names_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for name in ("x" * 5000, "nul\0"):
        assert refusal(tmp_path / name)


def test_a_truncated_or_altered_zip_is_refused(model: Path, tmp_path: Path) -> None:
    path = zip_of(contents(model), tmp_path / "tiny.zip")
    data = path.read_bytes()
    middle = len(data) // 2
    for broken in (data[:middle], data[middle:], data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]):
        path.write_bytes(broken)
        assert refusal(path)


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
