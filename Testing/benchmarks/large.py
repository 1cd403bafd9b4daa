"""A net of the paper's size beside nnU-Net's own predictor: an nnU-Net model folder, run by both, on 512×512×100.

    python Testing/benchmarks/large.py [--ct FILE] [--threads 2] [--results DIR]

The net is S of train/configs/paper.yaml (72 million parameters, 56×160×192 at 2.5×0.8×0.8 mm) with random weights.
Their labels are noise, the worst case for flareseg, which skips what lies inside an organ. The CT is said to have 3 mm
slices and 0.7 mm pixels, so that image and logits must be resampled. nnU-Net runs twice: with its defaults (step 0.5,
mirroring), of whose windows only a few are computed and the others' time is that of the mean one; and as fast as its
options allow (step 1.0, no mirroring, resampling by torch), in full. flareseg imports the same folder and runs it the
fast way.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from compare import NNUNET_PYTHON
from compare_tables import FLARESEG_STAGES, NNUNET_STAGES, Column
from harness import RESULTS, ROOT, describe, machine, run_fresh, table, versions, write_results
from make_volume import benchmark_ct

SPACING_ZYX_MM = (3.0, 0.7, 0.7)
SEED = 3
TIMED_WINDOWS = 3
TORCH_RESAMPLING = {
    f"resampling_fn_{what}{part}": value
    for what in ("data", "seg", "probabilities")
    for part, value in (
        ("", "resample_torch_fornnunet"),
        ("_kwargs", {"is_seg": what == "seg", "force_separate_z": None, "memefficient_seg_resampling": False}),
    )
}
LIMITS = {"nnU-Net, default": 50.0, "nnU-Net, fastest": 3.5}
MEMORY_LIMIT = 3.0


def write_models(scratch: Path) -> dict[str, Path]:
    """The same random net as nnU-Net folders with either resampling, and as flareseg imports the first."""
    import torch

    from flareseg.interop.export import export_model
    from flareseg.interop.nnunet.importer import Choice, read_nnunet
    from flareseg.model.bundle import save_bundle
    from flareseg.model.networks.registry import build_network
    from flareseg.model.plan import Intensity
    from train.config_file import load_config

    net = load_config(ROOT / "train" / "configs" / "paper.yaml", ["sources={}"]).net_of("final")
    plan = net.plan(Intensity((-200.0, 350.0), 70.0, 100.0))
    torch.manual_seed(SEED)
    texts = dict.fromkeys(("description", "licence", "citation", "card"), "random weights")
    save_bundle(
        scratch / "S", plan=plan, weights=build_network(plan).state_dict(), name="S", version="1", provenance={},
        metrics={}, **texts,
    )  # fmt: skip
    models = {name: export_model(scratch / "S", "nnunet", folder=scratch / name) for name in ("nnunet", "torch")}
    _edit(models["torch"] / "plans.json", TORCH_RESAMPLING)
    for name, region in (("whole body", False), ("region", True)):
        models[name] = scratch / name
        choice = Choice(parity=False, region=region)
        read_nnunet(models["nnunet"], choice).save(models[name], name="S", overwrite=False)
    return models


def _edit(plans: Path, changes: dict[str, Any]) -> None:
    data = json.loads(plans.read_text(encoding="utf-8"))
    for configuration in data["configurations"].values():
        configuration.update(changes)
    plans.write_text(json.dumps(data), encoding="utf-8")


def resampled_ct(ct: Path, folder: Path) -> Path:
    """The CT with other voxel sizes than the net's; its voxels stay as they are."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(ct))
    image.SetSpacing(SPACING_ZYX_MM[::-1])
    path = folder / "ct.nii.gz"
    sitk.WriteImage(image, str(path))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--ct", type=Path, help="a .nii.gz (default: the synthetic 512×512×100 abdomen)")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--nnunet", type=Path, default=NNUNET_PYTHON, help="Python of nnU-Net's environment")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for large.json and large.md")
    arguments = parser.parse_args()
    command, environment = shlex.join(["python", *sys.argv]), machine()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        models, ct = write_models(scratch), resampled_ct(arguments.ct or benchmark_ct("abdomen"), scratch)
        output = scratch / "labels.nii.gz"
        order = {"ct": str(ct), "output": str(output), "repeats": 1, "step": 1.0, "mirroring": False}
        nothing = np.zeros((1, 1, 1), np.uint8)

        def nnunet(name: str, **changes: Any) -> Column:
            variables = {"nnUNet_def_n_proc": str(arguments.threads)}
            measured = run_fresh(arguments.nnunet, "nnunet_side.py", order | changes, arguments.threads, **variables)
            return Column.of(name, measured, NNUNET_STAGES, nothing)

        def flareseg(name: str, model: str, backend: str) -> Column:
            changes = {"model": str(models[model]), "backend": backend, "repeats": 2}
            measured = run_fresh(Path(sys.executable), "flareseg_side.py", order | changes, arguments.threads)
            return Column.of(name, measured, FLARESEG_STAGES, nothing)

        slow = {"model": str(models["nnunet"]), "step": 0.5, "mirroring": True, "timed_windows": TIMED_WINDOWS}
        columns = [
            nnunet("nnU-Net, default", **slow),
            nnunet("nnU-Net, fastest", model=str(models["torch"])),
            flareseg("flareseg, OpenVINO", "whole body", "openvino"),
            flareseg("flareseg --region, OpenVINO", "region", "openvino"),
            flareseg("flareseg --region, torch", "region", "torch"),
        ]
    numbers = versions() | {"nnunetv2": columns[0].measured["versions"]["nnunetv2"]}
    facts = {"command": command, "machine": environment, "versions": numbers, "threads": arguments.threads}
    text = "\n\n".join(
        [
            "# A net of the paper's size beside nnU-Net's predictor",
            describe(command, environment, numbers),
            f"512×512×100 at {'×'.join(map(str, SPACING_ZYX_MM))} mm (z, y, x), S with 72 million parameters, "
            f"{arguments.threads} threads on as many cores, read .nii.gz to written. Of nnU-Net's default "
            f"{_estimated(columns[0])}; everything else was run. flareseg's seconds are those of the second run.",
            _seconds(columns),
            _ratios(columns),
        ]
    )
    shown = [{key: value for key, value in asdict(one).items() if key != "labels"} for one in columns]
    write_results("large", facts | {"columns": shown}, text, arguments.results)


def _estimated(column: Column) -> str:
    [run] = column.measured["runs"]
    return (
        f"{TIMED_WINDOWS} of {_windows(column)} windows were computed, and the others' {run['estimated_s']:.0f} s are "
        "estimated from them"
    )


def _windows(column: Column) -> int:
    """Windows of the main net, mirrored ones counted once."""
    if "windows" in column.measured:
        return int(column.measured["windows"])
    return int(column.measured["runs"][-1]["windows"])


def _seconds(columns: list[Column]) -> str:
    rows = [[stage, *(f"{one.stages_s[stage]:.2f}" for one in columns)] for stage in columns[0].stages_s]
    rows.append(["**total**", *(f"**{one.total_s:.1f}**" for one in columns)])
    rows.append(["windows", *(str(_windows(one)) for one in columns)])
    rows.append(["peak resident memory, GiB", *(f"{one.peak_gib:.2f}" for one in columns)])
    return table(["seconds", *(one.program for one in columns)], rows)


def _ratios(columns: list[Column]) -> str:
    rows = []
    for peer in columns[:2]:
        ratios = [f"{peer.total_s / one.total_s:.1f}" for one in columns[2:]]
        rows.append([f"{peer.program} ÷ flareseg, time", f"{LIMITS[peer.program]:g}", *ratios])
    for peer in columns[:2]:
        ratios = [f"{peer.peak_gib / one.peak_gib:.1f}" for one in columns[2:]]
        rows.append([f"{peer.program} ÷ flareseg, memory", f"{MEMORY_LIMIT:g}", *ratios])
    return table(["ratio", "wanted", *(one.program for one in columns[2:])], rows)


if __name__ == "__main__":
    main()
