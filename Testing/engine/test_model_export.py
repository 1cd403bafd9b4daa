"""`flareseg models export`: what is the same for every format."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from models_to_export import a_plan, save

from flareseg.cli import main
from flareseg.errors import ModelError, OutputError
from flareseg.interop.export import WRITERS, export_model
from flareseg.model.networks.dynunet import dynunet_spec
from flareseg.model.networks.unet import unet_spec


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    coarse = a_plan(network=dynunet_spec([2, 3, 4]), labels={0: "background", 1: "liver"})
    return save(tmp_path_factory.mktemp("models") / "small", a_plan(coarse=coarse))


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("nnunet", {"plans.json", "dataset.json", "fold_0/checkpoint_final.pth"}),
        ("onnx", {"model.onnx"}),
        (
            "monai-bundle",
            {"configs/metadata.json", "configs/inference.json", "models/model.pt", "docs/README.md", "LICENSE"},
        ),
    ],
)
def test_the_command_writes_a_folder_with_the_card_and_the_provenance(
    model, tmp_path, monkeypatch, capsys, kind, files
):
    monkeypatch.chdir(tmp_path)
    assert main(["models", "export", str(model), "--format", kind]) == 0
    assert capsys.readouterr().out == f"Exported to small_{kind}\n"
    folder = tmp_path / f"small_{kind}"
    assert files_in(tmp_path) == {f"small_{kind}/{name}" for name in files | {"MODEL_CARD.md", "flareseg.json"}}
    assert "Random weights, for tests" in (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    facts = json.loads((folder / "flareseg.json").read_text(encoding="utf-8"))
    source = json.loads((model / "model.json").read_text(encoding="utf-8"))
    assert facts["weights_sha256"] == source["sha256"]
    assert {key: facts[key] for key in ("provenance", "metrics", "licence", "citation")} == {
        key: source[key] for key in ("provenance", "metrics", "licence", "citation")
    }
    assert facts["label_values"] == {"background": 0, "liver": 1, "pancreas": 4, "tumour": 14}
    assert facts["axes"] == "towards the head, towards the back, towards the left"


@pytest.mark.parametrize("kind", WRITERS)
def test_the_coarse_net_goes_out_by_its_own_plan(model, tmp_path, kind):
    folder = export_model(model, kind, net="coarse", folder=tmp_path / "coarse")
    facts = json.loads((folder / "flareseg.json").read_text(encoding="utf-8"))
    assert facts["net"] == "coarse"
    assert facts["plan"]["network"]["kwargs"]["filters"] == [2, 3, 4]
    assert facts["plan"]["labels"] == {"0": "background", "1": "liver"}


def test_the_net_for_tumours_goes_out_by_its_own_plan(tmp_path):
    plan, labels = a_plan(), {0: "background", 1: "tumour"}
    plan = replace(plan, labels={**plan.labels}, tumour=replace(plan, labels=labels, coarse=None, components={}))
    folder = export_model(save(tmp_path / "three", plan), "onnx", net="tumour", folder=tmp_path / "out")
    facts = json.loads((folder / "flareseg.json").read_text(encoding="utf-8"))
    assert facts["label_values"] == {"background": 0, "tumour": 14}
    assert "tumour" not in facts["plan"]


def test_a_coarse_net_that_is_not_there_is_told_in_one_line(tmp_path, capsys):
    folder = save(tmp_path / "small", a_plan())
    arguments = ["models", "export", str(folder), "--format", "onnx", "--net", "coarse", "-o", str(tmp_path / "out")]
    assert main(arguments) == 1
    assert capsys.readouterr().err == "flareseg: The model 'small' has no coarse net; leave out --net coarse.\n"
    assert not (tmp_path / "out").exists()


def test_an_export_that_is_there_is_replaced_only_when_asked_for(model, tmp_path, capsys):
    arguments = ["models", "export", str(model), "--format", "nnunet", "-o", str(tmp_path / "out")]
    assert main(arguments) == 0
    (tmp_path / "out" / "plans.json").write_text("mine")
    assert main(arguments) == 1
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "out" / "plans.json").read_text() == "mine"
    assert main([*arguments, "--overwrite"]) == 0
    assert json.loads((tmp_path / "out" / "plans.json").read_text())["configurations"]


def test_a_folder_of_other_things_is_never_replaced(model, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(OutputError, match="no earlier export"):
        export_model(model, "nnunet", folder=tmp_path / "thesis", overwrite=True)
    assert files_in(tmp_path) == {"thesis/chapter.tex"}


def test_a_failure_half_way_leaves_nothing_and_what_was_there(model, tmp_path, monkeypatch):
    export_model(model, "nnunet", folder=tmp_path / "out")
    before = files_in(tmp_path)

    def full(source, folder):
        (folder / "half").write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(WRITERS, "nnunet", full)
    with pytest.raises(OutputError, match="No space left on device"):
        export_model(model, "nnunet", folder=tmp_path / "out", overwrite=True)
    with pytest.raises(OutputError, match="No space left on device"):
        export_model(model, "nnunet", folder=tmp_path / "new")
    assert files_in(tmp_path) == before


def test_a_models_name_leads_to_no_other_folder(tmp_path, monkeypatch):
    model = save(tmp_path / "small", a_plan())
    description = model / "model.json"
    description.write_text(description.read_text().replace('"name": "small"', '"name": "../../up"'))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert export_model(model, "nnunet") == Path("up_nnunet")


@pytest.mark.parametrize("kind", ["nnunet", "monai-bundle"])
def test_a_network_that_the_other_program_does_not_have_is_refused(tmp_path, kind):
    spec = unet_spec([4, 6, 8], [3] * 3, [1, 2, 2], residual=True, blocks=[1, 2, 2], decoder_convolutions=[1, 1])
    model = save(tmp_path / "residual", a_plan(network=spec))
    with pytest.raises(ModelError, match="'UNet' cannot be exported as"):
        export_model(model, kind, folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"orientation": "stored"}, "in the order of their file"),
        ({"intensity": replace(a_plan().intensity, scheme="zscore")}, "normalised one by one"),
    ],
    ids=["stored order", "z-score"],
)
def test_what_no_monai_transform_does_is_refused(tmp_path, change, words):
    model = save(tmp_path / "model", a_plan(**change))
    with pytest.raises(ModelError, match=words):
        export_model(model, "monai-bundle", folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()
