"""Left stays left: a net is shown the body as it learnt it, by name, by choice, or as `models check` found out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flareseg.cli import main
from flareseg.commands.check_axes import verdict_of
from flareseg.errors import ModelError, UsageError
from flareseg.interop import axes_check
from flareseg.interop.axes_check import VIEWS, AxesCheck, Score, View, check_axes
from flareseg.interop.import_model import import_model
from flareseg.interop.nnunet.axes import AxesName, axes_of
from flareseg.interop.nnunet.importer import Choice, read_nnunet
from flareseg.io.files import write_volume
from flareseg.labels import by_names
from flareseg.model import catalogue
from flareseg.model.bundle import load_bundle, read_description
from flareseg.model.catalogue import describe
from flareseg.model.turning import turn_model
from flareseg.options import Options
from flareseg.segmentation import Segmentation
from flareseg.segmenter import Segmenter
from Testing.engine import axes_phantom

NO = (False, False, False)
GOOD = 0.75
"""DSC that every organ has where a net sees the body as it learnt it; shown mirrored, its kidneys have 0."""
STORED = (("LPS", 0), ("RAS", 0), ("LAS", 0), ("RPI", 0), ("LPS", 1), ("RAS", 2))
"""Ways in which a CT is stored: where x, y and z run to, and along which of z, y, x its slices lie."""


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without models."""
    monkeypatch.setenv("FLARESEG_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(catalogue, "EMBEDDED", tmp_path / "embedded")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The nets that learnt from bodies in LPS and in RAS, as nnU-Net folders that do not say so."""
    place = tmp_path_factory.mktemp("trained")
    return {axes: axes_phantom.trained_folder(axes, place / axes) for axes in axes_phantom.FLIPS}


def dsc(model: str, stored: tuple[str, int], seed: int = 90_001) -> dict[str, float]:
    """Of each organ, on a phantom that the nets have not seen."""
    ct, truth = axes_phantom.volume(seed, *stored)
    found = Segmenter(model, Options(device="cpu", threads=1, parity=False, backend="torch")).segment(ct)
    result = {}
    for number, organ in enumerate(axes_phantom.ORGANS, 1):
        [value] = [one.value for one in found.structures if one.name == organ]
        ours, theirs = found.labels == value, truth == number
        result[organ] = 2 * np.count_nonzero(ours & theirs) / (ours.sum() + theirs.sum())
    return result


# What a net is shown


@pytest.mark.parametrize("axes", ["lps", "ras"])
def test_a_net_finds_the_right_kidney_on_the_right_however_the_ct_is_stored(
    axes: AxesName, folders: dict[str, Path]
) -> None:
    import_model(folders[axes], name=axes, choice=Choice(axes=axes))
    for stored in STORED:
        assert min(dsc(axes, stored).values()) > GOOD, stored


@pytest.mark.parametrize("axes", ["lps", "ras"])
def test_a_net_that_is_shown_cts_as_stored_is_right_for_those_stored_as_it_learnt(
    axes: str, folders: dict[str, Path]
) -> None:
    import_model(folders[axes], name="toy")
    assert load_bundle(catalogue.find_model("toy")).plan.orientation == "stored"
    same, other = ("LPS", "RAS") if axes == "lps" else ("RAS", "LPS")
    assert min(dsc("toy", (same, 0)).values()) > GOOD
    assert min(dsc("toy", (other, 0)).values()) < 0.2, "this is the error that nobody notices"


def test_a_mirrored_net_calls_the_left_kidney_right(folders: dict[str, Path]) -> None:
    import_model(folders["lps"], name="toy")
    ct, truth = axes_phantom.volume(90_001, "RPS")  # mirrored left to right alone
    found = Segmenter("toy", Options(device="cpu", threads=1, parity=False, backend="torch")).segment(ct)
    [left] = [one.value for one in found.structures if one.name == "left_kidney"]
    where = truth[found.labels == left]
    assert np.count_nonzero(where == 3) > 5 * np.count_nonzero(where == 4)


# What is known by name


@pytest.mark.parametrize(
    ("names", "maker"),
    [
        (["Dataset297_TotalSegmentator_total_3mm_1559subj"], "TotalSegmentator"),
        (["Dataset789_kidney_cyst_501subj"], "TotalSegmentator"),
        (["Dataset551_Totalseg251"], "CADS"),
        (["Dataset123_Organs"], "MOOSE"),
        (["", "clin_ct_organs_ras_07052025"], "MOOSE"),
    ],
)
def test_nets_of_makers_who_turn_every_ct_to_ras_are_known_by_name(names: list[str], maker: str) -> None:
    found = axes_of(None, "stored", names)
    assert found.rule == "ras" and maker in found.why
    assert axes_of("stored", "stored", names).rule == "stored", "what the user says goes first"
    assert axes_of("lps", "ras", names).rule == "canonical"


@pytest.mark.parametrize(
    "names",
    [["Dataset023_FLARE", "my totals"], ["Dataset789_501subj"], ["Dataset008_HepaticVessel"], ["Dataset551_Mine"]],
)
def test_other_nets_see_cts_as_they_are_stored(names: list[str]) -> None:
    found = axes_of(None, "stored", names)
    assert (found.rule, found.why, str(found)) == ("stored", "", "as the file stores them")
    assert axes_of(None, "ras", names).rule == "ras", "as the plans' reader says"


def test_an_import_says_what_it_recognised_and_how_to_choose_otherwise(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = axes_phantom.trained_folder("ras", tmp_path, "Dataset298_TotalSegmentator_total_6mm_1559subj")
    assert main(["models", "import", str(folder), "--name", "total"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "recognised as a net of TotalSegmentator by" in lines[0] and "--axes stored" in lines[0]
    assert "axes        RAS, whatever the order in the file (recognised" in describe("total")
    assert main(["models", "import", str(folder), "--name", "total", "--axes", "stored", "--overwrite"]) == 0
    assert "Axes" not in capsys.readouterr().out
    assert read_description(catalogue.find_model("total")).plan.orientation == "stored"
    assert "chosen at import" in describe("total")
    # The folder alone, and one around it, tell as much.
    assert read_nnunet(folder.parent).plan.orientation == "ras"
    assert read_nnunet(folders["ras"]).plan.orientation == "stored"


def test_axes_are_for_models_of_nnunet(folders: dict[str, Path]) -> None:
    entry = import_model(folders["lps"], name="toy")
    with pytest.raises(UsageError, match="no nnU-Net model"):
        import_model(entry.folder, name="again", choice=Choice(axes="ras"))


# What `models check` finds out


@pytest.fixture
def embedded_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded model finds what a phantom has, by its HU and sides."""

    class Knowing:
        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def segment(self, volume: Any, *, structures: Any) -> Segmentation:
            seed, letters, along = volume.name.split()[-3:]
            _, truth = axes_phantom.volume(int(seed), letters, int(along))
            values = np.zeros(256, np.uint8)
            for structure in structures:
                values[axes_phantom.ORGANS.index(structure.name) + 1] = structure.value
            return Segmentation(values[truth], volume.geometry, structures, volume.name, "embedded")

    monkeypatch.setattr(axes_check, "Segmenter", Knowing)


def a_ct(folder: Path, letters: str, along: int = 0) -> Path:
    ct, _ = axes_phantom.volume(90_002, letters, along)
    path = folder / f"x 90002 {letters} {along}.nii.gz"
    write_volume(ct, path)
    return path


@pytest.mark.usefixtures("embedded_knows")
def test_check_finds_another_way_and_changes_the_model(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import_model(folders["ras"], name="toy", choice=Choice(axes="lps"))
    ct = str(a_ct(tmp_path, "LAS"))
    assert main(["models", "check", "toy", ct]) == 1
    said = capsys.readouterr().out
    assert "'toy' wants RAS" in said and "--axes ras --name toy --overwrite" in said and "--fix" in said
    [best] = [line for line in said.splitlines() if line.endswith("best")]
    assert best.startswith("RAS")
    assert next(line for line in said.splitlines() if line.endswith("now")).startswith("LPS")
    assert main(["models", "check", "toy", ct, "--fix"]) == 0
    assert "has RAS from now on" in capsys.readouterr().out
    assert read_description(catalogue.find_model("toy")).plan.orientation == "ras"
    assert "found with models check" in describe("toy")
    assert main(["models", "check", "toy", ct, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["best"], data["now"], data["fits"], data["axes"]) == ("RAS", "RAS", True, "ras")
    assert data["views"]["RAS"]["left_kidney"] > 0.8 > 0.2 > data["views"]["LPS"]["left_kidney"]
    assert min(dsc("toy", ("LPS", 0)).values()) > GOOD


@pytest.mark.usefixtures("embedded_knows")
@pytest.mark.parametrize(("letters", "along", "fits"), [("LPS", 0, True), ("RAS", 0, False), ("LPS", 1, False)])
def test_check_says_whether_what_is_stored_fits_this_ct(
    letters: str, along: int, fits: bool, folders: dict[str, Path]
) -> None:
    import_model(folders["lps"], name="toy")
    ct, _ = axes_phantom.volume(90_002, letters, along)
    found = check_axes("toy", replaced(ct, f"x 90002 {letters} {along}"))
    assert found.best.view == View(NO) and found.fits == fits and found.fitting_rule == "canonical"
    assert found.stored == (View(NO) if fits else None if along else View((False, True, True)))


def replaced(ct: Any, name: str) -> Any:
    from dataclasses import replace

    return replace(ct, name=name)


@pytest.mark.usefixtures("embedded_knows")
def test_check_refuses_what_it_cannot_tell(folders: dict[str, Path], tmp_path: Path) -> None:
    residual = Path(__file__).parent / "data" / "nnunet_v1" / "whole"
    import_model(residual, name="other")
    ct, _ = axes_phantom.volume(90_002, "LPS")
    with pytest.raises(UsageError, match="neither liver nor spleen nor kidneys"):
        check_axes("other", ct)
    import_model(folders["lps"], name="toy")
    empty = type(ct)(np.full_like(ct.hu, -1000), ct.geometry, "x 90002 LPS 0")

    class Finding:
        def segment(self, volume: Any, **_: Any) -> Segmentation:
            return Segmentation(np.zeros(volume.hu.shape, np.uint8), volume.geometry, (), volume.name, "embedded")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(axes_check, "Segmenter", lambda **_: Finding())
        with pytest.raises(UsageError, match="finds none of"):
            check_axes("toy", empty)


KIDNEYS = ("right_kidney", "left_kidney")


def scored(best: View, value: float, rule: Any, stored: View | None = None) -> AxesCheck:
    scores = tuple(Score(view, dict.fromkeys(KIDNEYS, value if view == best else 0.1)) for view in VIEWS)
    return AxesCheck("toy", rule, stored, scores)


def test_the_verdict_names_ways_that_no_option_can_say_and_admits_when_nothing_fits() -> None:
    upside_down = View((True, False, False))
    assert upside_down.name == "LPI"
    odd = scored(upside_down, 0.9, "ras")
    assert odd.fitting_rule is None and "wants LPI, which --axes cannot say" in verdict_of(odd)
    same_as_stored = scored(upside_down, 0.9, "ras", stored=upside_down)
    assert same_as_stored.fitting_rule == "stored" and "--axes stored" in verdict_of(same_as_stored)
    nothing = scored(upside_down, 0.4, "ras")
    assert not nothing.fits and verdict_of(nothing).startswith("Nothing fits")
    fits = scored(View(NO), 0.9, "stored", stored=View(NO))
    assert "for CTs that are stored like this one" in verdict_of(fits)


@pytest.mark.parametrize(
    ("organs", "second", "says"),
    [
        (("liver", "spleen"), 0.1, "both kidneys are needed"),
        (("liver", "left_kidney"), 0.1, "take a CT that shows both"),
        (KIDNEYS, 0.86, "LPS (0.90) and LAS (0.86) fit as well; take another CT with both kidneys"),
    ],
)
def test_a_ct_that_cannot_tell_the_ways_apart_decides_nothing(
    organs: tuple[str, ...], second: float, says: str
) -> None:
    mirrored = View((False, True, False))
    means = {View(NO): 0.896, mirrored: second}
    scores = tuple(Score(view, dict.fromkeys(organs, means.get(view, 0.1))) for view in VIEWS)
    for rule in ("canonical", "ras"):
        found = AxesCheck("toy", rule, None, scores)
        assert not found.fits and found.fitting_rule is None
        assert verdict_of(found).startswith("This CT cannot decide it") and says in verdict_of(found)
    without = AxesCheck("toy", "canonical", None, scores, draws_kidneys=False)
    assert second > 0.5 or "does not draw both kidneys" in verdict_of(without)


@pytest.mark.usefixtures("embedded_knows")
def test_check_never_changes_a_model_by_a_ct_that_decides_nothing(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import_model(folders["ras"], name="toy", choice=Choice(axes="lps"))
    monkeypatch.setattr(axes_check, "TOLERANCE", 1.0)  # every way is as good
    assert main(["models", "check", "toy", str(a_ct(tmp_path, "LPS")), "--fix", "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert (data["fits"], data["decided"], data["fixed"], data["fitting_axes"]) == (False, False, False, None)
    assert read_description(catalogue.find_model("toy")).plan.orientation == "canonical"


def test_only_models_of_the_users_own_are_turned(folders: dict[str, Path], tmp_path: Path) -> None:
    entry = import_model(folders["lps"], name="toy")
    before = {path.name: path.read_bytes() for path in entry.folder.iterdir()}
    turn_model("toy", "ras", "because")
    after = {path.name: path.read_bytes() for path in entry.folder.iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"model.json"} and set(after) == set(before)
    turn_model("toy", "canonical", "because")
    assert load_bundle(entry.folder).plan.orientation == "canonical"
    with pytest.raises(ModelError, match="none of your own"):
        turn_model("default", "ras", "because")
    with pytest.raises(ModelError, match="none of your own"):
        turn_model(str(entry.folder), "ras", "because")


def test_organs_are_those_that_both_models_have() -> None:
    assert [one.name for one in by_names(axes_check.ORGANS)] == ["liver", "right_kidney", "spleen", "left_kidney"]
