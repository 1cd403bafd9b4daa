"""A model as ONNX: ONNX Runtime gives the logits that torch gives, at every size that the strides allow."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from models_to_export import FLAT_FIRST, ISOTROPIC, a_plan, network_of, save

from flareseg.cli import main
from flareseg.interop.export import export_model
from flareseg.model.networks.dynunet import dynunet_spec
from flareseg.model.networks.unet import unet_spec

RELATIVE = 1e-4
"""Of the largest logit: both add up the same products in single precision, in another order."""


def session(path: Path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def check_same_logits(path: Path, network: torch.nn.Module, shapes: list[tuple[int, ...]]) -> None:
    opened = session(path)
    for seed, shape in enumerate(shapes):
        image = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
        (logits,) = opened.run(["logits"], {"image": image})
        with torch.inference_mode():
            expected = network(torch.from_numpy(image)).numpy()
        assert logits.shape == expected.shape and logits.dtype == np.float32
        assert np.abs(logits - expected).max() < RELATIVE * np.abs(expected).max()


@pytest.mark.parametrize(
    "network",
    [
        ISOTROPIC,
        FLAT_FIRST,
        dynunet_spec([3, 4, 5], strides=[1, 4, [1, 2, 4]]),
        unet_spec([4, 6, 8], [3] * 3, [1, 2, 2], residual=True, blocks=[1, 2, 2], decoder_convolutions=[1, 1]),
    ],
    ids=["isotropic", "flat kernels", "strides of 4", "residual encoder"],
)
def test_the_logits_are_those_of_torch_at_sizes_other_than_the_exported_one(tmp_path, network):
    plan = a_plan(network=network, patch_zyx=(16, 16, 32))
    folder = export_model(save(tmp_path / "model", plan), "onnx", folder=tmp_path / "out")
    z, y, x = plan.stride_zyx
    shapes = [(1, 1, 2 * z, 2 * y, 2 * x), (1, 1, 3 * z, 2 * y, 5 * x), (2, 1, 4 * z, 3 * y, 2 * x)]
    check_same_logits(folder / "model.onnx", network_of(plan), shapes)


def test_every_net_of_an_ensemble_is_a_file(tmp_path):
    plan = a_plan()
    folder = export_model(save(tmp_path / "model", plan, nets=3), "onnx", folder=tmp_path / "out")
    for seed, name in enumerate(["model.onnx", "model_1.onnx", "model_2.onnx"]):
        check_same_logits(folder / name, network_of(plan, seed), [(1, 1, 8, 12, 16)])
    assert json.loads((folder / "flareseg.json").read_text())["nets_whose_logits_are_averaged"] == 3


def test_the_file_itself_says_how_it_is_applied(tmp_path):
    plan = a_plan(padding_hu=-1024.0)
    folder = export_model(save(tmp_path / "model", plan), "onnx", folder=tmp_path / "out")
    facts = json.loads(session(folder / "model.onnx").get_modelmeta().custom_metadata_map["flareseg"])
    assert facts["plan"]["spacing_zyx_mm"] == [4.0, 4.0, 4.0]
    assert facts["plan"]["patch_zyx"] == [16, 16, 24]
    assert facts["plan"]["intensity"] == {"clip_hu": [-200.0, 300.0], "mean_hu": 50.0, "std_hu": 100.0}
    assert facts["plan"]["labels"]["2"] == "pancreas" and facts["label_values"]["pancreas"] == 4
    assert facts["normalised_padding"] == -2.5
    assert facts["sizes_are_multiples_of"] == [4, 4, 4]
    assert facts["licence"] == "CC-BY-4.0" and facts["provenance"] == {"data": [{"case": "noise"}]}


def test_without_the_package_one_line_says_what_to_install(tmp_path, monkeypatch, capsys):
    model = save(tmp_path / "model", a_plan())
    monkeypatch.setitem(sys.modules, "onnx", None)  # what Python itself does for a package that cannot be imported
    assert main(["models", "export", str(model), "--format", "onnx", "-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == (
        "flareseg: Exporting as onnx needs the package 'onnx'; install it: pip install onnx\n"
    )
    assert not (tmp_path / "out").exists()
