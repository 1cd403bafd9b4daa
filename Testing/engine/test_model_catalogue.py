"""Models are found by name or path, imported only when sound, and removed only from the user's own."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

import flareseg
from flareseg.errors import ModelError, OutputError
from flareseg.interop.import_model import import_model
from flareseg.model import catalogue
from flareseg.model.bundle import load_bundle, read_description, save_bundle
from flareseg.model.catalogue import describe, find_model, list_models, models_folder, remove_model, structures_in
from flareseg.model.networks.dynunet import dynunet_spec
from flareseg.model.networks.registry import parameter_shapes
from flareseg.model.plan import Intensity, Plan
from flareseg.model.structures import drawn_by

PLAN = Plan(
    spacing_zyx_mm=(3.0, 3.0, 3.0),
    patch_zyx=(16, 16, 16),
    intensity=Intensity((-200.0, 300.0), 50.0, 90.0),
    network=dynunet_spec([2, 4, 4]),
    labels={0: "background", 1: "liver", 2: "right_kidney"},
)


def save_model(folder: Path, name: str = "abdomen", version: str = "1.0") -> Path:
    save_bundle(
        folder,
        plan=PLAN,
        weights={key: torch.ones(shape) for key, shape in parameter_shapes(PLAN).items()},
        name=name,
        version=version,
        description="two organs",
        licence="CC BY 4.0",
        citation="A. Author, 2023",
        provenance={"date": "2023-10-01", "fits": {"deep": {"er": 1}}},
        metrics={"rows": [{"model": "all", "case": "ct1", "structure": s, "dsc": d, "nsd": 0.5} for s, d in SCORES]},
        card="# Abdomen\n",
    )
    return folder


SCORES = (("liver", 0.9), ("right_kidney", 0.8))


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without models, and a flareseg that comes with one."""
    monkeypatch.setenv("FLARESEG_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(catalogue, "EMBEDDED", tmp_path / "embedded")
    save_model(tmp_path / "embedded" / "default", name="default")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return save_model(tmp_path / "source")


def names() -> list[tuple[str, str]]:
    return [(entry.name, entry.origin) for entry in list_models()]


def message(caught: pytest.ExceptionInfo[Exception]) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_looking_creates_nothing(tmp_path: Path) -> None:
    assert names() == [("default", "embedded")]
    find_model("default")
    assert not (tmp_path / "data").exists()


def test_an_imported_model_is_listed_found_and_loads(source: Path) -> None:
    entry = import_model(source)
    assert (entry.name, entry.version, entry.description, entry.origin) == ("abdomen", "1.0", "two organs", "yours")
    assert names() == [("default", "embedded"), ("abdomen", "yours")]
    assert find_model("abdomen") == entry.folder == models_folder() / "abdomen"
    shutil.rmtree(source)
    assert load_bundle(find_model("abdomen")).name == "abdomen"


def test_a_zip_is_imported_like_a_folder_and_under_another_name(source: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        for file in source.iterdir():
            archive.write(file, f"abdomen/{file.name}")
    import_model(tmp_path / "model.zip", name="Other-1.5")
    assert ("Other-1.5", "yours") in names()
    assert load_bundle(find_model("Other-1.5")).sha256 == load_bundle(source).sha256


def test_a_path_is_a_model_too_and_an_unknown_name_lists_what_there_is(source: Path, tmp_path: Path) -> None:
    assert find_model(source) == source
    assert find_model(str(source)) == source
    import_model(source)
    for unknown in ("lung", "a/b", "../x", "x" * 5000, "nul\0"):
        with pytest.raises(ModelError, match="at hand: abdomen, default"):
            find_model(unknown)
    with pytest.raises(ModelError, match=r"model\.json is missing"):
        find_model(tmp_path)


def test_a_damaged_model_is_not_imported(source: Path) -> None:
    (source / "weights.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="sha256"):
        import_model(source)
    assert names() == [("default", "embedded")]
    assert not models_folder().exists()


def test_a_name_that_is_taken_needs_another_or_overwrite(source: Path, tmp_path: Path) -> None:
    import_model(source)
    newer = save_model(tmp_path / "newer", version="2.0")
    for name in ("abdomen", "Abdomen"):  # one folder on Windows and macOS
        with pytest.raises(ModelError, match="already a model 'abdomen'"):
            import_model(newer, name=name)
    assert import_model(newer, overwrite=True).version == "2.0"
    assert [path.name for path in models_folder().iterdir()] == ["abdomen"]
    for name in ("default", "DEFAULT"):
        with pytest.raises(ModelError, match="comes with flareseg"):
            import_model(newer, name=name, overwrite=True)


@pytest.mark.parametrize(
    "name", ["../evil", "/tmp/evil", ".hidden", "a b", "a\\b", "ä", "con", "NUL.1", "x.", "x" * 65]
)
def test_a_name_that_is_no_plain_file_name_everywhere_is_refused(source: Path, name: str) -> None:
    with pytest.raises(ModelError, match="cannot name a model") as caught:
        import_model(source, name=name)
    assert "--name" in message(caught)
    assert not models_folder().exists()


def test_a_removed_model_is_gone_and_the_embedded_one_stays(source: Path) -> None:
    import_model(source)
    remove_model("abdomen")
    assert list(models_folder().iterdir()) == []
    with pytest.raises(ModelError, match="comes with flareseg"):
        remove_model("default")
    assert names() == [("default", "embedded")]


@pytest.mark.parametrize("name", ["../precious", "..", ".", "", "abdomen/..", "abdomen/"])
def test_nothing_outside_the_models_folder_can_be_removed(source: Path, tmp_path: Path, name: str) -> None:
    import_model(source)
    precious = save_model(tmp_path / "data" / "precious")
    for wanted in (name, str(precious)):
        with pytest.raises(ModelError, match="among yours; they are: abdomen"):
            remove_model(wanted)
    assert (precious / "model.json").is_file()
    assert ("abdomen", "yours") in names()


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_of_a_linked_model_only_the_link_is_removed(source: Path) -> None:
    models_folder().mkdir(parents=True)
    (models_folder() / "linked").symlink_to(source, target_is_directory=True)
    assert ("linked", "yours") in names()
    remove_model("linked")
    assert names() == [("default", "embedded")]
    assert (source / "model.json").is_file()


def test_a_damaged_model_is_listed_as_such_and_can_be_removed(source: Path) -> None:
    folder = import_model(source).folder
    (folder / "model.json").write_text("{", encoding="utf-8")
    entry = next(entry for entry in list_models() if entry.name == "abdomen")
    assert entry.version == "damaged"
    assert "not valid JSON" in entry.description
    remove_model("abdomen")
    assert names() == [("default", "embedded")]


def test_a_description_tells_source_licence_network_and_scores(source: Path) -> None:
    import_model(source)
    text = describe("abdomen")
    for expected in ("abdomen 1.0", "two organs", "CC BY 4.0", "A. Author, 2023", "liver, right_kidney", "2023-10-01"):
        assert expected in text
    parameters = sum(torch.Size(shape).numel() for shape in parameter_shapes(PLAN).values())
    assert f"{parameters / 1e6:.2f} M parameters, windows of 16 x 16 x 16 at 3 x 3 x 3 mm" in text
    row = next(line for line in text.splitlines() if "ct1" in line)
    assert row.split() == ["0.850", "0.500", "2", "ct1", "(model:", "all)"]


def test_scores_of_an_unknown_form_are_left_out_of_a_description(source: Path) -> None:
    data = json.loads((source / "model.json").read_text(encoding="utf-8"))
    for metrics in ({"rows": 3}, {"rows": [3]}, {"rows": [{"case": "a", "model": "b", "dsc": "x", "nsd": 1}]}, {}):
        (source / "model.json").write_text(json.dumps(data | {"metrics": metrics}), encoding="utf-8")
        assert "mean DSC" not in describe(source)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_a_models_folder_that_cannot_be_written_is_said_to_be_so(source: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="cannot be written"):
        import_model(source)


def test_a_models_folder_that_is_a_file_is_said_to_be_in_the_way(source: Path, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        import_model(source)
    assert names() == [("default", "embedded")]


def test_a_structure_that_a_model_never_draws_is_not_offered() -> None:
    folder = catalogue.EMBEDDED / "default"
    data = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    data["plan"]["silent"] = ["liver"]
    (folder / "model.json").write_text(json.dumps(data), encoding="utf-8")
    assert [one.name for one in list_models()[0].structures] == ["right_kidney"]
    assert [one.value for one in structures_in("default")] == [2], "its number stays"
    assert "structures  right_kidney" in describe("default")


def test_the_embedded_models_say_whether_they_look_for_lesions() -> None:
    for name, looks in (("default", False), ("tumours", True)):
        plan = read_description(Path(flareseg.__file__).parent / "models" / name).plan
        assert ("tumour" in {one.name for one in drawn_by(plan)}) == looks
