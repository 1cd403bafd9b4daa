"""flareseg beside nnU-Net's own predictor: the same weights, CT, threads and machine, in one run (`make benchmark`).

    python Testing/benchmarks/compare.py [--model FOLDER] [--ct FILE] [--threads 2] [--results DIR]

Needs nnU-Net in an environment of its own, which the Makefile beside this file makes. Both settings of nnU-Net that
people use are run: step 1.0 without mirroring, and its default, step 0.5 with mirroring. flareseg runs each of them
twice, with OpenVINO and with torch: doing the same work (nnU-Net's fixed windows, no coarse net, no component rules),
and as the model is shipped, where "no mirroring" goes with the plan's own step.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from compare_tables import FLARESEG_STAGES, NNUNET_STAGES, Column, agreement, section
from harness import DEFAULT_MODEL, RESULTS, ROOT, describe, machine, run_fresh, versions, write_results
from make_volume import benchmark_ct

from flareseg.interop.export import export_model
from flareseg.model.bundle import load_bundle, save_bundle

NNUNET_PYTHON = ROOT / ".venv-nnunet" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
LARGEST_LOGIT_DIFFERENCE = 1e-4
BACKENDS = {"openvino": "OpenVINO", "torch": "torch"}
SAME_WORK, AS_SHIPPED = "same work", "as shipped"
MIRROR_AXES = (0, 1, 2)


@dataclass(frozen=True)
class Setting:
    """How both programs move their windows, and how often each is run."""

    title: str
    step: float
    mirroring: bool
    nnunet_runs: int
    flareseg_runs: int


SETTINGS = (
    Setting("Step 1.0, no mirroring", 1.0, False, nnunet_runs=2, flareseg_runs=4),
    Setting("Step 0.5 with mirroring: nnU-Net's default", 0.5, True, nnunet_runs=1, flareseg_runs=2),
)


class Comparison:
    """Runs both programs on one CT, each time in a fresh process, with everything they need in `scratch`."""

    def __init__(self, model: Path, ct: Path, threads: int, nnunet_python: Path, scratch: Path) -> None:
        self._ct, self._threads, self._nnunet_python = _as_the_net_learnt(ct, scratch), threads, nnunet_python
        self._output, self._patch = scratch / "labels.nii.gz", scratch / "patch.npy"
        self._models = {kind: _variant(model, scratch / kind, kind) for kind in (SAME_WORK, AS_SHIPPED)}
        self._nnunet_model = export_model(self._models[SAME_WORK], "nnunet", folder=scratch / "nnunet")
        shape = load_bundle(model).plan.patch_zyx
        np.save(self._patch, np.random.default_rng(0).normal(size=shape).astype(np.float32))

    def columns(self, setting: Setting) -> list[Column]:
        """nnU-Net's column and flareseg's four."""
        own = [self._flareseg(setting, kind, backend) for kind in (SAME_WORK, AS_SHIPPED) for backend in BACKENDS]
        return [self._nnunet(setting), *own]

    def largest_logit_difference(self) -> float:
        """Between both networks on the patch that nnU-Net's side was given.

        Raises:
            RuntimeError: when they are not the same network, and the comparison would mean nothing.
        """
        import torch

        from flareseg.model.networks.registry import build_network, load_weights

        bundle = load_bundle(self._models[SAME_WORK])
        network = build_network(bundle.plan).eval()
        load_weights(network, bundle.weights)
        with torch.inference_mode():
            logits = network(torch.from_numpy(np.load(self._patch))[None, None])[0].numpy()
        difference = float(np.abs(logits - np.load(self._patch.with_suffix(".logits.npy"))).max())
        if not difference < LARGEST_LOGIT_DIFFERENCE:
            raise RuntimeError(f"The logits of both networks differ by up to {difference:g}; they are not the same.")
        return difference

    def _nnunet(self, setting: Setting) -> Column:
        order = self._order(self._nnunet_model, setting, setting.nnunet_runs) | {"patch": str(self._patch)}
        # nnU-Net takes eight threads for the export unless told otherwise, however many cores there are.
        variables = {"nnUNet_def_n_proc": str(self._threads)}
        measured = run_fresh(self._nnunet_python, "nnunet_side.py", order, self._threads, **variables)
        return Column.of("nnU-Net", measured, NNUNET_STAGES, self._written())

    def _flareseg(self, setting: Setting, kind: str, backend: str) -> Column:
        order = self._order(self._models[kind], setting, setting.flareseg_runs) | {"backend": backend}
        if kind == AS_SHIPPED and not setting.mirroring:
            order["step"] = None  # the plan's
        measured = run_fresh(Path(sys.executable), "flareseg_side.py", order, self._threads)
        return Column.of(f"flareseg, {kind}, {BACKENDS[backend]}", measured, FLARESEG_STAGES, self._written())

    def _order(self, model: Path, setting: Setting, runs: int) -> dict[str, Any]:
        return {
            "ct": str(self._ct),
            "model": str(model),
            "step": setting.step,
            "mirroring": setting.mirroring,
            "repeats": runs,
            "output": str(self._output),
        }

    def _written(self) -> np.ndarray:
        import SimpleITK as sitk

        labels: np.ndarray = sitk.GetArrayFromImage(sitk.ReadImage(str(self._output)))
        self._output.unlink()
        return labels


def _as_the_net_learnt(ct: Path, scratch: Path) -> Path:
    """The CT stored left-posterior-superior: flareseg turns it so by itself, nnU-Net takes voxels as they lie."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(ct))
    if sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection()) == "LPS":
        return ct
    turned = scratch / ct.name
    sitk.WriteImage(sitk.DICOMOrient(image, "LPS"), str(turned))
    return turned


def _variant(model: Path, folder: Path, kind: str) -> Path:
    """The model with nnU-Net's mirroring allowed; for the same work also with its windows and nothing around them."""
    bundle = load_bundle(model)
    plan = replace(bundle.plan, mirror_axes=MIRROR_AXES)
    if kind == SAME_WORK:
        plan = replace(plan, windows="fixed", coarse=None, tumour=None, components={})
    weights = bundle.weights if kind == SAME_WORK else bundle.tensors
    save_bundle(folder, plan=plan, weights=weights, card="", **bundle.info)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="a flareseg model folder")
    parser.add_argument("--ct", type=Path, help="a .nii.gz (default: the synthetic 512×512×100 abdomen)")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--nnunet", type=Path, default=NNUNET_PYTHON, help="Python of nnU-Net's environment")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for compare.json and compare.md")
    arguments = parser.parse_args()
    ct = (arguments.ct or benchmark_ct("abdomen")).resolve()
    command, environment = shlex.join(["python", *sys.argv]), machine()
    with tempfile.TemporaryDirectory() as folder:
        comparison = Comparison(arguments.model, ct, arguments.threads, arguments.nnunet, Path(folder))
        columns = {setting.title: comparison.columns(setting) for setting in SETTINGS}
        difference = comparison.largest_logit_difference()
    every = [one for row in columns.values() for one in row]
    numbers = versions() | {"nnunetv2": every[0].measured["versions"]["nnunetv2"]}
    facts = {
        "command": command,
        "machine": environment,
        "versions": numbers,
        "ct": ct.name,
        "model": every[-1].measured["model"],
        "threads": arguments.threads,
        "devices": list(dict.fromkeys(one.measured["device"] for one in every)),
        "largest_logit_difference": difference,
    }
    text = "\n\n".join(
        [
            "# flareseg beside nnU-Net's predictor",
            describe(command, environment, numbers),
            _what_ran(facts),
            *(section(title, row) for title, row in columns.items()),
        ]
    )
    settings = {title: [_as_json(one, row[0]) for one in row] for title, row in columns.items()}
    write_results("compare", facts | {"settings": settings}, text, arguments.results)


def _what_ran(facts: dict[str, Any]) -> str:
    return (
        f"CT: {facts['ct']}. Weights: {facts['model']}; the logits of nnU-Net's network and ours differ by "
        f"{facts['largest_logit_difference']:.1g} at most. {facts['threads']} threads on as many cores: "
        f"{'; '.join(facts['devices'])}. Every column is a process of its own. Seconds are medians of warm runs, "
        "except for nnU-Net's default, which is run once. All read and write .nii.gz."
    )


def _as_json(one: Column, nnunet: Column) -> dict[str, Any]:
    return {
        "program": one.program,
        "total_s": one.total_s,
        "stages_s": one.stages_s,
        "times_faster_than_nnunet": nnunet.total_s / one.total_s,
        "agreement_with_nnunet": agreement(one.labels, nnunet.labels),
        "measured": one.measured,
    }


if __name__ == "__main__":
    main()
