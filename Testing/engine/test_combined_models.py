"""What is put together is a model like any other: made by a command, listed, described, run, and removed in order."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from flareseg.cli import main
from flareseg.errors import ModelError, UsageError
from flareseg.inference.one_model import OneModel, Request
from flareseg.interop.combine_models import combine_models
from flareseg.interop.export import export_model
from flareseg.interop.import_model import import_model
from flareseg.io.files import read_labels, write_volume
from flareseg.labels import by_name
from flareseg.model.bundle import load_bundle, save_bundle
from flareseg.model.catalogue import (
    describe,
    find_installed,
    find_model,
    fingerprint,
    list_models,
    models_folder,
    remove_model,
)
from flareseg.model.catalogue import structures_in as structures_of_model
from flareseg.model.combined import host_words, hosts_called, read_combined
from flareseg.model.members import Members
from flareseg.model.turning import turn_model
from flareseg.options import Options
from flareseg.progress import Progress
from flareseg.results.evaluate import evaluate
from flareseg.results.measure import measure
from flareseg.segmenter import Segmenter
from Testing.engine.threshold_models import LESION, ORGANS, save_threshold_model

ON_ONE_CORE = Options(device="cpu", backend="torch", threads=1)
HEPATIC = "CC BY-NC 4.0"


@pytest.fixture(autouse=True)
def own_models(tmp_path, monkeypatch):
    monkeypatch.setenv("FLARESEG_DATA", str(tmp_path / "data"))
    save_threshold_model("organs", ORGANS)
    save_threshold_model("lesions", {"liver": 1, "liver_lesion": LESION}, licence=HEPATIC, version="2.5")


def refused(error: type[Exception], *arguments, **named) -> str:
    with pytest.raises(error) as caught:
        combine_models(*arguments, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_command_makes_a_model_that_is_listed_as_others_are(capsys):
    command = ["models", "combine", "abdomen", "--organs", "organs", "--tumour", "lesions@liver+20/min=0.5"]
    assert main(command) == 0
    assert "flareseg segment CT --model abdomen" in capsys.readouterr().out
    assert main(["models", "list"]) == 0
    assert "Put together of organs + lesions (liver)." in capsys.readouterr().out
    [entry] = [one for one in list_models() if one.name == "abdomen"]
    assert [one.name for one in entry.structures] == ["liver", "right_kidney", "left_kidney", "tumour"]
    assert structures_of_model("abdomen") == entry.structures
    assert main(command) == 1 and "already a model 'abdomen'" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0


def test_licences_and_citations_of_all_members_are_shown():
    combine_models("abdomen", ["organs"], ["lesions@liver"])
    text = describe("abdomen")
    for part in (
        "Apache-2.0",
        HEPATIC,
        "The makers of organs.",
        "The makers of lesions.",
        "lesions 2.5",
        "10 mm around",
    ):
        assert part in text
    folder = models_folder() / "abdomen"
    assert sorted(path.name for path in folder.iterdir()) == ["MODEL_CARD.md", "model.json"]
    facts = json.loads((folder / "model.json").read_text())
    assert facts["licence"] == f"Apache-2.0 (organs), {HEPATIC} (lesions)"
    assert str(models_folder()) not in (folder / "MODEL_CARD.md").read_text()
    combine_models("free", ["organs", "default"])
    assert json.loads((models_folder() / "free" / "model.json").read_text())["licence"] == "Apache-2.0"


@pytest.fixture
def random_one(a_model):
    """The user's "random", which finds everything everywhere, and "ras", whose axes are others and whose "lesion" is
    what the same network calls spleen."""
    import_model(a_model)
    bundle = load_bundle(a_model)
    about = {key: bundle.info[key] for key in ("version", "description", "licence", "citation")}
    last = "output_block.conv.conv."
    kept = {key: value[[0, 3, 1]] if key.startswith(last) else value for key, value in bundle.weights.items()}
    plan = replace(bundle.plan, labels={0: "background", 1: "lesion", 2: "liver"}, orientation="ras")
    save_bundle(
        models_folder() / "ras", plan=plan, weights=kept, name="ras", provenance={}, metrics={}, card="", **about
    )


def test_results_name_all_members_and_evaluate_gives_organs_and_tumour(random_one, small_ct, tmp_path):
    combine_models("abdomen", ["random"], ["ras@liver,kidneys+10"])
    ct, out = write_volume(small_ct, tmp_path / "ct.nii.gz"), tmp_path / "organs.nii.gz"
    fast = ["--backend", "torch", "--threads", "1", "--device", "cpu", "--progress", "none"]
    table = tmp_path / "table.csv"
    command = ["segment", ct, "-o", out, "--model", "abdomen", "--measurements", table]
    assert main([str(word) for word in [*command, *fast]]) == 0
    name = "abdomen = random 1.0 + ras 1.0 (liver, kidneys)"
    assert name in table.read_text()
    assert (read_labels(out)[0] == 14).any()
    means = {mean.name: mean.dsc for mean in evaluate(out, out).means()}
    assert means["liver"] == means["tumour"] == 1


def test_each_member_runs_as_it_was_imported(random_one, a_ct):
    """The lesions are those that the model finds alone in the box, with axes of its own."""
    combine_models("abdomen", ["random"], ["ras@spleen+15/min=0"])
    organs = Segmenter("random", ON_ONE_CORE).segment(a_ct)
    result = Segmenter("abdomen", ON_ONE_CORE).segment(a_ct, confidence=True)
    spleen = np.argwhere(organs.labels == by_name("spleen").value)
    margin = np.array([3, 5, 5])
    low, high = np.maximum(spleen.min(0) - margin, 0), np.minimum(spleen.max(0) + 1 + margin, a_ct.hu.shape)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    alone = OneModel(load_bundle(find_model("ras")), ON_ONE_CORE)
    inside = alone.segment(a_ct.part(box), Request(alone.structures, Progress())).labels == 1
    tumours = result.labels == 14
    new = tumours & (organs.labels != 14)
    assert new.any() and (inside | (organs.labels[box] == 14))[tumours[box]].all()
    elsewhere = ~tumours
    assert np.array_equal(result.labels[elsewhere], organs.labels[elsewhere])
    assert result.confidence.any()
    assert result.notes[-1] == "Licence of the weights: Apache-2.0."
    assert {row.model for row in measure(result, a_ct)} == {"abdomen = random 1.0 + ras 1.0 (spleen)"}


def test_parity_is_for_members_that_were_imported_so(random_one):
    from flareseg.inference.open_members import OpenMembers

    path = models_folder() / "ras" / "model.json"
    facts = json.loads(path.read_text())
    facts["plan"]["inference"] = {"parity": True}
    path.write_text(json.dumps(facts))
    entry = combine_models("abdomen", ["random"], ["ras@liver"])
    assert entry.parity
    members = Members(read_combined(entry.folder), find_installed)
    for asked, expected in ((None, [False, True]), (True, [False, True]), (False, [False, False])):
        opened = OpenMembers(members, Options(device="cpu", backend="torch", threads=1, parity=asked))
        assert [opened.member(number).options.parity for number in range(2)] == expected


# members that are not there, or not the same


def test_a_missing_member_is_one_line_that_says_what_to_do():
    entry = combine_models("abdomen", ["organs"], ["lesions@liver"])
    shutil.rmtree(models_folder() / "lesions")
    for use in (lambda name: Segmenter(name, ON_ONE_CORE).check(), describe):
        with pytest.raises(ModelError, match=r"needs the model 'lesions' 2\.5, which is not here; get or import it"):
            use("abdomen")
    [listed] = [one for one in list_models() if one.name == entry.name]
    assert listed.version == "damaged" and "'lesions'" in listed.description


def test_a_missing_model_of_lesions_matters_only_where_they_are_wanted(random_one, small_ct, tmp_path, capsys):
    combine_models("abdomen", ["random"], ["ras@liver"])
    shutil.rmtree(models_folder() / "ras")
    ct, out = write_volume(small_ct, tmp_path / "ct.nii.gz"), tmp_path / "organs.nii.gz"
    command = ["segment", str(ct), "-o", str(out), "--model", "abdomen", "--threads", "1", "--progress", "none"]
    command += ["--backend", "torch", "--device", "cpu"]
    for everything in ([], ["--structures", "liver,tumour"]):
        assert main([*command, *everything]) == 1 and not out.exists()
        assert "needs the model 'ras' 1.0, which is not here" in capsys.readouterr().err
    assert main([*command, "--structures", "liver"]) == 0
    assert set(np.unique(read_labels(out)[0])) == {0, 1}


def test_a_member_with_the_same_weights_and_another_plan_is_another_one(capsys):
    entry = combine_models("abdomen", ["organs"], ["lesions@liver"])
    turn_model("lesions", "ras", "a test")
    with pytest.raises(ModelError, match=r"replaced since \(its axes, labels or other .* again: flareseg models comb"):
        describe("abdomen")
    with pytest.raises(ModelError, match="replaced since"):
        Segmenter("abdomen", ON_ONE_CORE).check(["tumour"])
    # One of before has no checksum of plans, and its fingerprint stays as it was.
    facts = json.loads((entry.folder / "model.json").read_text())
    for member in (*facts["combined"]["organs"], *(one["member"] for one in facts["combined"]["lesions"])):
        del member["plan"]
    (entry.folder / "model.json").write_text(json.dumps(facts))
    assert "lesions 2.5" in describe("abdomen")
    assert json.loads(json.dumps(read_combined(entry.folder).to_json())) == facts["combined"]


def test_licence_and_citation_are_those_that_a_member_has_now():
    combine_models("abdomen", ["organs"], ["lesions@liver"])
    save_threshold_model("lesions", {"liver": 1, "liver_lesion": LESION}, licence="MIT", version="2.5")
    assert "MIT" in describe("abdomen") and HEPATIC not in describe("abdomen")
    assert Members(read_combined(models_folder() / "abdomen"), find_installed).licence == (
        "Apache-2.0 (organs), MIT (lesions)"
    )


def test_structures_may_be_given_by_name(random_one, small_ct):
    segmenter = Segmenter("random", ON_ONE_CORE)
    named = segmenter.segment(small_ct, structures=["Left kidney", by_name("liver")])
    assert [one.name for one in named.structures] == ["liver", "left_kidney"]
    for wrong, says in ((["nose"], "no structure named 'nose'"), ([14], "14 is no structure; give names")):
        with pytest.raises(UsageError, match=says):
            segmenter.segment(small_ct, structures=wrong)


def test_a_member_whose_weights_changed_is_one_line_with_the_command_that_helps(capsys):
    combine_models("abdomen", ["organs"], ["lesions@liver+15/min=0.5"])
    assert Segmenter("abdomen", ON_ONE_CORE).model_name.startswith("abdomen = organs")
    save_threshold_model("lesions", {"liver": 1, "liver_lesion": LESION}, weight=2.0)
    with pytest.raises(ModelError) as caught:
        Segmenter("abdomen", ON_ONE_CORE).check()
    text = str(caught.value)
    assert "'lesions' 2.5, which has been replaced" in text and "\n" not in text
    command = text.partition("together again: ")[2].replace('"', "").split()
    assert command[0] == "flareseg" and main(command[1:]) == 0
    assert Segmenter("abdomen", ON_ONE_CORE).model_name.endswith("lesions 1.0 (liver)")


def test_a_member_is_not_removed_before_what_needs_it():
    combine_models("abdomen", ["organs"], ["lesions@liver"])
    for member in ("organs", "lesions"):
        with pytest.raises(ModelError, match=r"part of 'abdomen'.* first: flareseg models remove abdomen"):
            remove_model(member)
    remove_model("abdomen")
    remove_model("lesions")
    assert not (models_folder() / "lesions").exists()


def test_results_of_other_members_or_rules_are_told_apart():
    seen = []
    for tumour in ("lesions@liver", "lesions@liver+20", "lesions@liver/min=1"):
        combine_models("abdomen", ["organs"], [tumour], overwrite=True)
        seen.append(fingerprint("abdomen"))
    assert len({one["plan"] for one in seen}) == 3 and len(seen[0]["weights"]) == 2
    assert fingerprint("organs")["model"] == "organs 1.0"


# what cannot be put together


def test_the_tumours_label_is_found_by_its_name_or_asked_for():
    save_threshold_model("vessels", {"hepatic vessels": 1, "tumour": 2, "lesion of bone": 3})
    save_threshold_model("spleens", {"spleen": 1, "cyst": 2})
    combine_models("abdomen", ["organs"], ["lesions@liver"])
    assert "several (tumour, lesion of bone)".capitalize() in refused(UsageError, "x", ["organs"], ["vessels@liver"])
    assert "spleens:LABEL@HOST" in refused(UsageError, "x", ["organs"], ["spleens@liver"])
    assert "it has: spleen, cyst" in refused(UsageError, "x", ["organs"], ["spleens:tumour@liver"])
    combine_models("y", ["organs"], ["spleens:Cyst@kidneys"])
    save_threshold_model("pancreases", {"pancreas": 1, "tumour": 2})  # so an import calls "cancer"
    combine_models("z", ["organs"], ["pancreases:cancer@liver"])


def test_hosts_may_be_pairs_and_must_be_drawn():
    assert hosts_called(["kidneys", "Liver"]) == ("right_kidney", "left_kidney", "liver")
    assert hosts_called(["adrenal glands"]) == ("right_adrenal_gland", "left_adrenal_gland")
    assert host_words(["liver", "right_kidney", "left_kidney"]) == ["liver", "kidneys"]
    assert "draws pancreas" in refused(UsageError, "x", ["organs"], ["lesions@pancreas"])
    assert "no structure named 'nose'" in refused(UsageError, "x", ["organs"], ["lesions@nose"])
    assert "no host" in refused(UsageError, "x", ["organs"], ["lesions@tumour"])


@pytest.mark.parametrize(
    "text", ["lesions", "@liver", "lesions@", "lesions@liver+", "lesions@liver+1e9", "lesions@liver+9.9.9", "a@liver/5"]
)
def test_what_cannot_be_understood_is_refused(text):
    refused((UsageError, ModelError), "x", ["organs"], [text])
    assert not (models_folder() / "x").exists()


def test_models_that_cannot_be_members_are_refused():
    combine_models("abdomen", ["organs"], ["lesions@liver"])
    assert "put together itself" in refused(ModelError, "x", ["abdomen"], ["lesions@liver"])
    assert "put together itself" in refused(ModelError, "x", ["organs"], ["abdomen@liver"])
    assert "of itself" in refused(ModelError, "organs", ["organs"], ["lesions@liver"], overwrite=True)
    assert "no model 'none'" in refused(ModelError, "x", ["none"], ["lesions@liver"])
    assert "comes with flareseg" in refused(ModelError, "default", ["organs"], ["lesions@liver"], overwrite=True)
    assert "One model alone" in refused(UsageError, "x", ["organs"])
    assert "leave it out" in refused(UsageError, "x", ["organs", "lesions"])


def test_refusals_name_what_is_wrong_first():
    assert "no model 'nosuch'" in refused(ModelError, "x", ["nosuch"])
    for text in ("lesions@liver-5", "lesions@liver+-5", "lesions@kidneys,liver -5mm"):
        assert "'-5' is no margin in mm; take 0 to 1000" in refused(UsageError, "x", ["organs"], [text])
    assert "'-1' is no smallest volume" in refused(UsageError, "x", ["organs"], ["lesions@liver/min=-1"])
    assert "'default' draws no tumours" in refused(UsageError, "x", ["organs"], ["default@liver"])
    twice = ["lesions@kidneys,liver", "lesions@liver+20"]
    assert "look for tumours in liver twice" in refused(UsageError, "x", ["organs"], twice)
    combine_models("x", ["organs"], ["lesions@kidneys+5", "lesions@liver+20"])


def test_a_refused_removal_names_all_that_need_the_model():
    for name in ("a", "b"):
        combine_models(name, ["organs"], ["lesions@liver"])
    with pytest.raises(ModelError, match=r"part of 'a', 'b', .* models remove a and flareseg models remove b"):
        remove_model("lesions")


def test_it_has_no_weights_to_export_or_import(tmp_path):
    entry = combine_models("abdomen", ["organs"], ["lesions@liver"])
    with pytest.raises(ModelError, match="no weights of its own"):
        export_model("abdomen", "onnx", folder=tmp_path / "out")
    with pytest.raises(ModelError, match="no weights of its own"):
        import_model(entry.folder, name="copy")


@pytest.mark.parametrize(
    "wrong",
    [
        {"organs": []},
        {"organs": "organs"},
        {"lesions": [{}]},
        {"lesions": None},
        {"organs": [{"model": "a\nb", "version": "1", "licence": "", "citation": "", "sha256": ["x"]}]},
    ],
)
def test_a_damaged_description_is_one_line(wrong):
    entry = combine_models("abdomen", ["organs"], ["lesions@liver"])
    facts = json.loads((entry.folder / "model.json").read_text())
    facts["combined"] |= wrong
    (entry.folder / "model.json").write_text(json.dumps(facts))
    with pytest.raises(ModelError, match="members that make no sense"):
        Segmenter("abdomen")
    assert [one.version for one in list_models() if one.name == "abdomen"] == ["damaged"]
