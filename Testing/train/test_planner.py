"""Nets planned from the sizes of CTs: the same as nnU-Net v2's planner, which `make record-planner` asked."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_data import patients

from flareseg.errors import InputError, UsageError
from flareseg.io.files import write_volume
from flareseg.volume import Geometry, Volume
from train.__main__ import main
from train.config import SourceConfig
from train.config_file import load_config
from train.planning.fingerprint import Fingerprint, fingerprint_of, read_fingerprint
from train.planning.planner import plan_nets
from train.planning.topology import PRESETS
from train.stages.plan import PlanRequest, plan

RECORDED = json.loads((Path(__file__).parent / "data" / "nnunet_plans.json").read_text())["recorded"]


def fingerprint(entry):
    spacings, shapes = (tuple(map(tuple, entry[key])) for key in ("spacings", "shapes_after_crop"))
    return Fingerprint(spacings, shapes, entry["training"])


@pytest.mark.parametrize(
    "entry", RECORDED, ids=lambda entry: f"{entry['preset']}, {entry['kind']}, {entry['memory_gb']:g} GB"
)
def test_the_plan_is_nnunets(entry):
    preset = PRESETS[entry["preset"]]
    found = plan_nets(fingerprint(entry), entry["labels"], entry["memory_gb"], preset)
    order = entry["transpose_forward"]
    assert (found.lowres is None) == ("3d_lowres" not in entry["plans"])
    for name, wanted in entry["plans"].items():
        net = getattr(found, name.removeprefix("3d_"))
        assert [net.spacing_zyx_mm[axis] for axis in order] == pytest.approx(wanted["spacing"], rel=1e-12)
        assert [net.patch_zyx[axis] for axis in order] == wanted["patch_size"]
        assert net.batch_size == wanted["batch_size"]
        assert list(net.filters) == wanted["features_per_stage"]
        assert list(net.blocks) == wanted.get("blocks", [])
        assert [[sizes[axis] for axis in order] for sizes in net.kernels] == wanted["kernel_sizes"]
        assert [[sizes[axis] for axis in order] for sizes in net.strides] == wanted["strides"]


def test_the_recorded_plans_cover_what_can_differ():
    assert {len(entry["plans"]) for entry in RECORDED} == {1, 2}
    assert {entry["preset"] for entry in RECORDED} == set(PRESETS)
    assert len({tuple(entry["transpose_forward"]) for entry in RECORDED}) == 3
    nets = [net for entry in RECORDED for net in entry["plans"].values()]
    assert len({net["batch_size"] for net in nets}) >= 3
    assert {1, 3} == {size for net in nets for sizes in net["kernel_sizes"] for size in sizes}


# from data


def ct_of(folder, name, geometry):
    (folder / name).mkdir(parents=True)
    hu = np.full(geometry.shape_zyx, -1000, np.int16)
    hu[2:-2, 2:-2, 2:-2] = 50
    write_volume(Volume(hu, geometry), folder / name / "ct.nii.gz")


def test_cts_are_measured_upright_from_their_headers(tmp_path):
    sagittal = Geometry((30, 20, 40), (1.0, 4.0, 2.0), direction=((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)))
    ct_of(tmp_path, "a", sagittal)
    ct_of(tmp_path, "b", Geometry((10, 20, 30), (5.0, 1.0, 1.0)))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "ct.nii.gz").write_bytes(b"no image")
    path = tmp_path / "b" / "ct.nii.gz"
    path.write_bytes(path.read_bytes()[:-100])  # the voxels are not looked at
    found = fingerprint_of([SourceConfig("mine", "cases", str(tmp_path))])
    assert found.spacings_zyx_mm == ((4.0, 2.0, 1.0), (5.0, 1.0, 1.0))
    assert found.shapes_zyx == ((20, 40, 30), (10, 20, 30))
    assert found.training == 2


def test_labelled_cts_are_measured_where_there_are_some(tmp_path):
    data = patients(tmp_path / "data")
    assert fingerprint_of([SourceConfig("mine", "cases", str(data))]).training == 4


def test_a_fingerprint_of_nnunet_is_read_and_another_file_refused(tmp_path):
    path = tmp_path / "dataset_fingerprint.json"
    path.write_text(json.dumps({key: RECORDED[0][key] for key in ("spacings", "shapes_after_crop")}))
    found = read_fingerprint(path)
    assert found.training == len(found.shapes_zyx) == len(RECORDED[0]["spacings"])
    for text in ("{", "{}", '{"spacings": [[1, 1, 1]], "shapes_after_crop": []}', '{"spacings": [[1, 1]]}'):
        path.write_text(text)
        with pytest.raises(InputError, match="no fingerprint"):
            read_fingerprint(path)


# into a configuration


@pytest.fixture
def config_path(tmp_path):
    data = patients(tmp_path / "data")
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"""
name: mine
version: "1"
runs: {tmp_path / "run"}
output: {tmp_path / "model"}
sources:
  mine: {{layout: cases, path: {data}}}
nets:
  organs: {{spacing_zyx_mm: [3, 3, 3], patch_zyx: [32, 32, 32], filters: [8, 16, 16], segments: [liver, spleen]}}
  whole: {{spacing_zyx_mm: [6, 6, 6], patch_zyx: [32, 32, 32], filters: [8, 16, 16], segments: [liver]}}
fits:
  final: {{net: organs, epochs: 1, batch_size: 7}}
  coarse: {{net: whole, epochs: 1, stage: final}}
export: {{coarse: coarse}}
pseudo: {{tumour_fit: ""}}
"""
    )
    return path


def test_the_command_writes_a_plan_elsewhere(config_path, tmp_path, capsys):
    (tmp_path / "plans").mkdir()
    out = tmp_path / "plans" / "planned.yaml"
    assert main(["plan", "--config", str(config_path), "--out", str(out), "--net", "organs", "name=other"]) == 0
    assert "plan: organs: 6×6×6 mm" in capsys.readouterr().out
    assert load_config(out).name == "mine"
    assert main(["plan", "--config", str(config_path), "--out", str(out), "--gpu-memory", "-1"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_plan_becomes_a_configuration_that_extends_the_one_given(config_path):
    out = config_path.with_name("planned.yaml")
    plan(PlanRequest(config_path, out, nets=["organs"]))
    before, after = load_config(config_path), load_config(out)
    found = plan_nets(fingerprint_of(before.sources), 3).fullres
    net = after.nets["organs"]
    assert (net.spacing_zyx_mm, net.patch_zyx, tuple(net.filters)) == ((6.0, 6.0, 6.0), found.patch_zyx, found.filters)
    assert after.fits["final"].batch_size == found.batch_size != 7
    assert (net.segments, after.nets["whole"]) == (["liver", "spleen"], before.nets["whole"])
    assert out.read_text().startswith("# Planned from the sizes of 4 CTs for 8 GB")


def test_the_coarse_net_gets_the_coarse_plan_or_an_error(config_path, tmp_path):
    thin = tmp_path / "fingerprint.json"
    thin.write_text(json.dumps({"spacings": [[0.8, 0.8, 0.8]] * 3, "shapes_after_crop": [[500, 512, 512]] * 3}))
    out = config_path.with_name("planned.yaml")
    plan(PlanRequest(config_path, out, fingerprint=thin))
    found, config = plan_nets(read_fingerprint(thin), 2), load_config(out)
    assert config.nets["whole"].spacing_zyx_mm == pytest.approx(found.lowres.spacing_zyx_mm)
    assert config.fits["coarse"].batch_size == found.lowres.batch_size
    assert config.nets["organs"].spacing_zyx_mm == (0.8, 0.8, 0.8)
    with pytest.raises(UsageError, match="no coarse net is needed"):
        plan(PlanRequest(config_path, out))


def test_a_plan_that_cannot_be_made_is_one_line(config_path, tmp_path):
    for options, message in (
        ({"nets": ["nothing"]}, "no net 'nothing'"),
        ({"memory_gb": 0.0}, "more than 0"),
        ({"out": config_path}, "itself"),
    ):
        with pytest.raises(UsageError, match=message):
            plan(PlanRequest(config_path, **({"out": tmp_path / "planned.yaml", "nets": ["organs"]} | options)))
    assert not (tmp_path / "planned.yaml").exists()
    assert "organs" in config_path.read_text()
