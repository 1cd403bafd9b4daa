"""A model as a MONAI bundle: MONAI's own checks pass, and its inference configuration gives flareseg's labels."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parent))

from models_to_export import FLAT_FIRST, ISOTROPIC, a_plan, save

from flareseg.interop.export import export_model
from flareseg.io.files import read_volume
from flareseg.options import Options
from flareseg.segmenter import Segmenter

pytest.importorskip("ignite", reason="pytorch-ignite is not installed")
SCHEMA = "MONAI_METADATA_SCHEMA"
"""Environment variable: a copy of MONAI's metadata schema, for machines that cannot download it."""


def monai_bundle(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "monai.bundle", *map(str, words)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def files_of(folder: Path) -> list[object]:
    return ["--meta_file", folder / "configs" / "metadata.json", "--config_file", folder / "configs" / "inference.json"]


@pytest.mark.parametrize("network", [ISOTROPIC, FLAT_FIRST], ids=["isotropic", "flat kernels"])
def test_monai_finds_the_network_to_be_what_the_metadata_says(tmp_path, network):
    plan = a_plan(network=network, patch_zyx=(16, 32, 32))
    folder = export_model(save(tmp_path / "model", plan), "monai-bundle", folder=tmp_path / "bundle")
    done = monai_bundle(
        folder,
        "verify_net_in_out",
        "--net_id",
        "network_def",
        *files_of(folder),
        "--device",
        "cpu",
        "--bundle_root",
        ".",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "data shape of network is verified" in done.stderr + done.stdout


def test_the_metadata_pass_monais_schema(tmp_path):
    schema = Path(os.environ.get(SCHEMA, ""))
    if not schema.is_file():
        pytest.skip(f"{SCHEMA} names no copy of MONAI's metadata schema")
    folder = export_model(save(tmp_path / "model", a_plan()), "monai-bundle", folder=tmp_path / "bundle")
    done = monai_bundle(
        folder, "verify_metadata", "--meta_file", folder / "configs" / "metadata.json", "--filepath", schema.resolve()
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "metadata is verified" in done.stderr + done.stdout


def test_the_metadata_say_what_every_bundle_must_say(tmp_path):
    folder = export_model(save(tmp_path / "model", a_plan()), "monai-bundle", folder=tmp_path / "bundle")
    metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    needed = {
        "schema", "version", "changelog", "monai_version", "pytorch_version", "numpy_version", "task", "description",
        "authors", "copyright", "network_data_format",
    }  # fmt: skip
    assert needed <= set(metadata)
    assert metadata["version"] in metadata["changelog"]
    outputs = metadata["network_data_format"]["outputs"]["pred"]
    assert outputs["channel_def"] == {"0": "background", "1": "liver", "2": "pancreas", "3": "tumour"}
    assert outputs["num_channels"] == 4


def test_its_inference_gives_flaresegs_labels(tmp_path):
    """Much the same: random weights tell every difference of the windows. docs/export.md has it for a trained net."""
    plan = a_plan(patch_zyx=(16, 32, 32))
    model = save(tmp_path / "model", plan)
    folder = export_model(model, "monai-bundle", folder=tmp_path / "bundle")
    noise = np.random.default_rng(3).normal(size=(24, 48, 52))
    smooth = ndimage.gaussian_filter(noise, 2)
    image = sitk.GetImageFromArray((60 + 60 * smooth / smooth.std()).astype(np.int16).clip(-250, 500))
    image.SetSpacing((4.0, 4.0, 4.0))
    (tmp_path / "cts").mkdir()
    sitk.WriteImage(image, str(tmp_path / "cts" / "patient.nii.gz"))
    places = ["--dataset_dir", tmp_path / "cts", "--output_dir", tmp_path / "labels", "--bundle_root", "."]
    done = monai_bundle(folder, "run", *files_of(folder), *places)
    assert done.returncode == 0, done.stderr[-2000:]
    [written] = (tmp_path / "labels").glob("*.nii.gz")
    found = sitk.ReadImage(str(written))
    assert found.GetSize() == image.GetSize()
    assert np.allclose(found.GetOrigin(), image.GetOrigin()) and np.allclose(found.GetDirection(), image.GetDirection())
    volume = read_volume(tmp_path / "cts" / "patient.nii.gz")
    ours = Segmenter(model, Options(device="cpu", backend="torch", threads=1)).segment(volume).labels
    theirs = sitk.GetArrayFromImage(found)
    assert len(np.unique(ours)) > 2 and set(np.unique(theirs)) <= {0, 1, 4, 14}
    assert (ours == theirs).mean() > 0.9
