"""Presets of the catalogue: members are got one after the other and put together; a wrong one is one line."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from flareseg.cli import main
from flareseg.model.bundle import load_bundle
from flareseg.model.catalogue import find_installed, list_models
from flareseg.model.combined import hosts_called, read_combined
from flareseg.public.entries import CatalogueError, read_catalogue
from flareseg.public.presets import read_presets

sys.path.insert(0, str(Path(__file__).parent))
from file_server import Served
from public_replicas import catalogue_of, entry, get, installed

PRESET = {"name": "both", "title": "Both", "purpose": "To try", "organs": ["default"], "lesions": ["first", "second"]}
LESIONS = {"label": "tumor", "host": ["right_kidney", "left_kidney"], "margin_mm": 20}


pytestmark = pytest.mark.usefixtures("own_folders")


def write(tmp_path: Path, address: str, preset: Any = PRESET, **second: Any) -> Path:
    """The user's catalogue: two nets for lesions of the kidneys, and a preset of both."""
    rows = (
        entry(address, name="first", lesions=LESIONS),
        entry(address.replace("model", "other"), name="second", lesions=LESIONS, **second),
    )
    return catalogue_of(tmp_path / "data" / "catalogue.json")(*rows, presets=[preset])


def test_the_presets_that_come_with_flareseg_are_of_models_that_can_be_put_together() -> None:
    entries = read_catalogue()
    by_name = {one.name: one for one in entries}
    presets = read_presets(entries)
    assert len(presets) == 5 and not any(preset.own for preset in presets)
    for preset in presets:
        for lesions in (by_name[name].lesions for name in preset.lesions):
            assert lesions is not None and hosts_called(lesions.hosts), "hosts are organs of FLARE"


def test_members_that_are_missing_are_got_one_after_the_other_and_put_together(
    server: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, server.address)
    assert get("first", "--yes", "--name", "mine", "--progress", "none") == 0
    assert get("both", "--yes", "--progress", "json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {(event["case"], event["number"], event["count"]) for event in events[:-1]} == {("second", 1, 1)}
    assert (events[-1]["event"], events[-1]["case"], events[-1]["model"]) == ("done", "both", "both")
    assert installed() == ["both", "mine", "second"]
    folder = find_installed("both")
    assert folder is not None
    combined = read_combined(folder)
    assert combined is not None
    assert [member.model for member in combined.members] == ["default", "mine", "second"]
    assert [(one.hosts, one.margin_mm) for one in combined.lesions] == [(("right_kidney", "left_kidney"), 20.0)] * 2
    assert get("both", "--progress", "json") == 0
    assert json.loads(capsys.readouterr().out) == events[-1], "as if it had been put together now"
    assert get("both", "--yes", "--name", "again", "--progress", "none") == 0 and len(server.asked) == 2
    assert main(["models", "available", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["presets"][-1]["installed"] == ["both"]
    assert main(["models", "available"]) == 0
    shown = capsys.readouterr().out
    assert "default + first + second  installed" in shown and "\n\nSeveral of them" in shown
    assert get("both", "--from", "x.zip", "--progress", "none") == 2
    assert "--from takes one of them" in capsys.readouterr().err


@pytest.mark.parametrize("loss", ["gone", "no weights", "other weights", "no description"])
def test_an_installed_preset_that_lacks_a_member_gets_it_again(server: Served, tmp_path: Path, loss: str) -> None:
    write(tmp_path, server.address)
    assert get("both", "--yes", "--progress", "none") == 0 and len(server.asked) == 2
    first = find_installed("first")
    assert first is not None
    if loss == "gone":
        shutil.rmtree(first)
    elif loss == "no weights":
        (first / "weights.safetensors").unlink()
    elif loss == "other weights":
        (first / "weights.safetensors").write_bytes(b"damaged")
    else:
        (first / "model.json").write_text("{")
    assert get("both", "--yes", "--progress", "none") == 0
    assert len(server.asked) == 3 and all(model.version != "damaged" for model in list_models())
    assert load_bundle(first).plan.labels[1] == "liver"


def test_names_that_cannot_be_are_refused_before_any_download(
    server: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, server.address)
    file = tmp_path / "model.zip"
    file.write_bytes(server.data)
    for name, words in (("Second", "is the name of a member"), ("default", "is the name of a member")):
        assert get("both", "--yes", "--name", name, "--progress", "none") == 2
        assert words in capsys.readouterr().err
    assert main(["models", "import", str(file), "--name", "second"]) == 0
    assert main(["models", "import", str(file), "--name", "both"]) == 0
    capsys.readouterr()
    for arguments in (["both"], ["both", "--name", "both"], ["both", "--name", "second"]):
        assert get(*arguments, "--yes", "--progress", "none") != 0
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "both" in error
    assert get("both", "--yes", "--name", "other", "--progress", "none") == 1
    assert "is not the public model of that name" in capsys.readouterr().err
    assert server.asked == [] and installed() == ["both", "second"]


def test_a_licence_of_a_missing_member_has_to_be_accepted_and_what_came_before_a_failure_stays(
    server: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, server.address, terms="non-commercial", licence="CC-BY-NC-4.0", sha256="0" * 64)
    assert get("both", "--yes") == 2
    assert "'second' are not for commercial use" in capsys.readouterr().err and server.asked == []
    assert get("both", "--progress", "none", "--accept-licence") == 2
    assert "'first'" in (error := capsys.readouterr().err) and "'second'" in error and server.asked == []
    assert get("both", "--from", "x.zip", "--progress", "none") == 2
    assert "default, first, second" in capsys.readouterr().err
    assert get("both", "--yes", "--accept-licence", "--progress", "json") == 1
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (events[-1]["event"], events[-1]["case"]) == ("error", "second")
    assert "By hand:" in events[-1]["message"] and installed() == ["first"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "first"}, "the name 'first' is taken"),
        ({"name": "default"}, "the name 'default' is taken"),
        ({"name": "../x"}, "is not made of letters"),
        ({"organs": ["nobody"]}, "there is no model 'nobody'"),
        ({"lesions": ["totalsegmentator-3mm"]}, "no model 'totalsegmentator-3mm' with 'lesions'"),
        ({"organs": []}, "is no list"),
        ({"colour": "red"}, "colour"),
        ({"organs": ["default"], "lesions": ...}, "one model alone"),
    ],
)
def test_what_is_wrong_in_a_preset_is_one_line(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    preset = {key: value for key, value in (PRESET | changes).items() if value is not ...}
    path = write(tmp_path, "https://example.org/model.zip", preset)
    with pytest.raises(CatalogueError) as caught:
        read_presets(read_catalogue(path), path)
    text = str(caught.value)
    assert words in text and "preset 1" in text and "\n" not in text
