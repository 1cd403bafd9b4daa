"""Models that take nets of an embedded model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parent))

from bundles import contents, make_plan, make_weights, save_model, zip_of

from flareseg.errors import ModelError
from flareseg.model import shared_nets
from flareseg.model.bundle import TUMOUR_NET, copy_bundle, load_bundle, read_description
from flareseg.model.catalogue import find_model
from flareseg.model.members import fingerprint_of
from flareseg.model.shared_nets import EMBEDDED, Shared
from flareseg.model.storage import JSON, WEIGHTS

TUMOUR_PLAN = make_plan(spacing_zyx_mm=(4.0, 4.0, 4.0))


@pytest.fixture
def embedded(tmp_path, monkeypatch):
    """An embedded model called "base"."""
    monkeypatch.setattr(shared_nets, "EMBEDDED", tmp_path / "embedded")
    return save_model(tmp_path / "embedded" / "base")


@pytest.fixture
def model(tmp_path, embedded):
    """A model with a tumours' net of its own; the main net is that of "base"."""
    return save_model(
        tmp_path / "lesions",
        make_plan(tumour=TUMOUR_PLAN),
        weights=make_weights(TUMOUR_PLAN, TUMOUR_NET),
        shared=Shared("base", load_bundle(embedded).sha256),
    )


def change(model, **entries):
    data = json.loads((model / JSON).read_text(encoding="utf-8")) | entries
    (model / JSON).write_text(json.dumps(data), encoding="utf-8")


def test_the_nets_that_it_lacks_are_those_of_the_embedded_model(embedded, model):
    loaded, base = load_bundle(model), load_bundle(embedded)
    assert loaded.weights.keys() == base.weights.keys()
    assert all(torch.equal(loaded.weights[name], base.weights[name]) for name in base.weights)
    assert all(name.startswith(TUMOUR_NET) for name in load_file(model / WEIGHTS))
    assert json.loads((model / JSON).read_text(encoding="utf-8"))["format"] == 8


def test_a_copy_and_a_zip_are_the_same_model(tmp_path, model):
    copy_bundle(model, tmp_path / "copy")
    for other in (tmp_path / "copy", zip_of(contents(model), tmp_path / "model.zip")):
        assert load_bundle(other).tensors.keys() == load_bundle(model).tensors.keys()


def test_another_version_of_the_embedded_model_is_not_taken(tmp_path, embedded, model):
    weights = {name: value + 1 for name, value in make_weights(make_plan()).items()}
    save_model(embedded, weights=weights, overwrite=True)
    with pytest.raises(ModelError, match="made for another version of the embedded model 'base'"):
        load_bundle(model)


def test_a_missing_embedded_model_is_named(embedded, model):
    embedded.rename(embedded.with_name("gone"))
    with pytest.raises(ModelError, match="embedded model 'base', whose nets it uses"):
        load_bundle(model)


@pytest.mark.parametrize(
    "entry", ["base", {"model": "../base", "sha256": ""}, {"model": "base"}, {"model": 1, "sha256": 2}]
)
def test_a_damaged_entry_is_refused(model, entry):
    change(model, shares=entry)
    with pytest.raises(ModelError, match="needs 'shares' as an embedded model and a checksum"):
        read_description(model)


def test_results_of_other_shared_nets_are_told_apart(model):
    before = fingerprint_of(read_description(model))
    change(model, shares={"model": "base", "sha256": "0" * 64})
    assert fingerprint_of(read_description(model))["weights"] != before["weights"]


def test_the_embedded_tumours_have_the_organs_of_the_embedded_default():
    assert find_model("default").parent == EMBEDDED
    default, tumours = load_bundle(EMBEDDED / "default"), load_bundle(EMBEDDED / "tumours")
    assert all(torch.equal(tumours.weights[name], value) for name, value in default.weights.items())
    assert (EMBEDDED / "tumours" / WEIGHTS).stat().st_size < 4e6
