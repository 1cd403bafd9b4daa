"""Record what nnU-Net's ExperimentPlanner plans for fingerprints of many kinds, for the tests of `train plan`.

.venv-nnunet/bin/python Testing/benchmarks/record_nnunet_planner.py Testing/train/data/nnunet_plans.json

The fingerprints are made up: a few cases each, drawn around the spacing and size of a kind of CT. The planner sees no
image, and the network is only built to count its feature maps.
"""

import json
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

KINDS = {  # spacing (z, y, x) in mm and its spread, voxels and their spread, cases drawn, cases of the data set
    "abdomen 2.5 mm": ((2.5, 0.8, 0.8), 0.05, (133, 512, 512), 0.2, 7, 2200),
    "abdomen 5 mm": ((5.0, 0.75, 0.75), 0.25, (60, 512, 512), 0.3, 9, 50),
    "thick slices, few voxels": ((8.0, 0.7, 0.7), 0.3, (20, 512, 512), 0.2, 8, 40),
    "thin slices": ((0.8, 0.75, 0.75), 0.1, (400, 512, 512), 0.1, 5, 131),
    "isotropic 1.5 mm": ((1.5, 1.5, 1.5), 0.0, (220, 250, 250), 0.3, 10, 1228),
    "isotropic 6 mm, small": ((6.0, 6.0, 6.0), 0.0, (40, 60, 60), 0.2, 4, 4),
    "sagittal": ((0.8, 0.8, 3.0), 0.05, (512, 512, 90), 0.1, 6, 300),
    "coronal": ((0.9, 2.0, 0.9), 0.02, (400, 160, 512), 0.1, 5, 30),
    "two kinds": ((3.0, 0.9, 0.9), 0.6, (120, 512, 512), 0.5, 12, 100),
    "whole body": ((3.0, 1.0, 1.0), 0.2, (800, 512, 512), 0.4, 6, 500),
    "slab": ((5.0, 0.9, 0.9), 0.0, (12, 400, 400), 0.2, 4, 16),
    "micro": ((1.0, 1.0, 1.0), 0.0, (24, 24, 24), 0.0, 3, 3),
    "small volumes": ((2.0, 2.0, 2.0), 0.02, (64, 96, 97), 0.1, 6, 500),
    "small and anisotropic": ((5.0, 1.2, 1.2), 0.1, (21, 130, 130), 0.3, 4, 80),
    "few small volumes": ((2.0, 2.0, 2.0), 0.0, (40, 64, 64), 0.2, 6, 12),
}
SETTINGS = [(8.0, 15), (8.0, 2), (24.0, 15), (3.0, 5)]
"""GPU memory in GB and number of labels with the background."""
RESIDUAL = {
    "resenc_m": ("nnUNetPlannerResEncM", 8.0),
    "resenc_l": ("nnUNetPlannerResEncL", 24.0),
    "resenc_xl": ("nnUNetPlannerResEncXL", 40.0),
}
RESIDUAL_KINDS = ("abdomen 5 mm", "coronal", "isotropic 1.5 mm", "small volumes", "few small volumes")


def fingerprint(kind, rng):
    spacing, spread, shape, voxels, count, _ = KINDS[kind]
    spacings = np.round(np.array(spacing) * np.exp(rng.normal(0, spread, (count, 3)) * (1, 0.3, 0)), 4)
    spacings[:, 2] = spacings[:, 1] if spacing[1] == spacing[2] else spacings[:, 2]
    shapes = np.maximum(1, np.array(shape) * np.exp(rng.normal(0, voxels, (count, 3)) * (1, 0, 0))).astype(int)
    return {"spacings": spacings.tolist(), "shapes_after_crop": shapes.tolist()}


def plan_of(given, found, folder):
    from nnunetv2.experiment_planning.experiment_planners import default_experiment_planner
    from nnunetv2.experiment_planning.experiment_planners.residual_unets import residual_encoder_unet_planners

    training, labels, memory_gb = given["training"], given["labels"], given["memory_gb"]
    if given["preset"] in RESIDUAL:
        kind = getattr(residual_encoder_unet_planners, RESIDUAL[given["preset"]][0])
    else:
        kind = default_experiment_planner.ExperimentPlanner

    name = "Dataset001_Recorded"
    raw, done = Path(folder, "raw", name), Path(folder, "preprocessed", name)
    for path in (raw / "imagesTr", raw / "labelsTr", done):
        path.mkdir(parents=True, exist_ok=True)
    names = {"background": 0} | {f"organ {number}": number for number in range(1, labels)}
    about = {"channel_names": {"0": "CT"}, "labels": names, "numTraining": training, "file_ending": ".nii.gz"}
    (raw / "dataset.json").write_text(json.dumps(about))
    for path in (raw / "imagesTr" / "a_0000.nii.gz", raw / "labelsTr" / "a.nii.gz"):
        path.touch()
    zero = dict.fromkeys(("mean", "median", "std", "min", "max", "percentile_99_5", "percentile_00_5"), 0.0)
    known = {"foreground_intensity_properties_per_channel": {"0": zero}, "median_relative_size_after_cropping": 1.0}
    (done / "dataset_fingerprint.json").write_text(json.dumps(found | known))
    planner = kind(1, gpu_memory_target_in_gb=memory_gb)
    planner.determine_reader_writer = lambda: str  # it would open an image
    planner.save_plans = lambda plans: None
    with torch.device("meta"):  # only the sizes of the nets count
        plans = planner.plan_experiment()
    configurations = {}
    for key, entry in plans["configurations"].items():
        if key in ("3d_fullres", "3d_lowres"):
            network = entry["architecture"]["arch_kwargs"]
            configurations[key] = {
                "spacing": [float(mm) for mm in entry["spacing"]],
                "patch_size": [int(size) for size in entry["patch_size"]],
                "batch_size": int(entry["batch_size"]),
                "features_per_stage": list(network["features_per_stage"]),
                "kernel_sizes": [list(sizes) for sizes in network["kernel_sizes"]],
                "strides": [list(sizes) for sizes in network["strides"]],
            } | ({"blocks": list(network["n_blocks_per_stage"])} if "n_blocks_per_stage" in network else {})
    return {"transpose_forward": [int(axis) for axis in plans["transpose_forward"]], "plans": configurations}


def settings_of(kind):
    """Preset, GPU memory in GB and number of labels."""
    residual = [(preset, memory_gb, 15) for preset, (_, memory_gb) in RESIDUAL.items() if kind in RESIDUAL_KINDS]
    return [("plain", *setting) for setting in SETTINGS] + residual


def main():
    with tempfile.TemporaryDirectory() as folder:
        for name in ("raw", "preprocessed", "results"):
            os.environ[f"nnUNet_{name}"] = str(Path(folder, name))

        rng, recorded = np.random.default_rng(2023), []
        for kind in KINDS:
            found = fingerprint(kind, rng)
            for preset, memory_gb, labels in settings_of(kind):
                given = {"preset": preset, "kind": kind, "training": KINDS[kind][-1], "labels": labels}
                given["memory_gb"] = memory_gb
                recorded.append(given | found | plan_of(given, found, folder))
                print(given, recorded[-1]["plans"], file=sys.stderr)
    facts = {"program": f"nnunetv2 {version('nnunetv2')}"}
    lines = ",\n".join(json.dumps(entry) for entry in recorded)
    Path(sys.argv[1]).write_text(f'{json.dumps(facts)[:-1]}, "recorded": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
