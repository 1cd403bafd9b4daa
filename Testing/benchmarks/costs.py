"""What length of scan, options and threads cost with the embedded model: seconds, memory, DSC (`make benchmark-costs`).

    python Testing/benchmarks/costs.py [--threads 2] [--results DIR]

Times are those of full-size synthetic CTs in fresh processes. DSC are means of the organs of four synthetic patients
that no training saw, so that anybody can repeat them; on real CTs they are lower (see the model's card). The model was
not trained for mirroring and has one net: for these two rows its plan is told otherwise, and its net is taken twice.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from harness import DEFAULT_MODEL, GIB, RESULTS, describe, machine, run_fresh, table, versions, write_results
from make_volume import SLICES, SPACING_ZYX_MM, benchmark_ct

from flareseg.labels import structures
from flareseg.model.bundle import load_bundle, save_bundle
from flareseg.options import Options
from flareseg.results.metrics import dice
from flareseg.segmenter import Segmenter
from flareseg.volume import Geometry, Volume
from train.synthetic.phantom import make_phantom
from train.synthetic.phantom_data import VALIDATION_SEED

LENGTHS = (55, 100, 200, 300, 400, 500, 600)
PATIENTS = 4
WARM_RUNS = 3


@dataclass(frozen=True)
class Choice:
    """One way to run the model."""

    name: str
    model: str = "default"
    backend: str = "openvino"
    threads: int | None = None
    step: float | None = None
    mirroring: bool = False


CHOICES = (
    Choice("Fast: step 0.6, OpenVINO bf16"),
    Choice("one thread", threads=1),
    Choice("torch instead of OpenVINO", backend="torch"),
    Choice("step 1.0", step=1.0),
    Choice("Accurate: step 0.5", step=0.5),
    Choice("step 0.5 and mirroring", model="mirrored", step=0.5, mirroring=True),
    Choice("an ensemble of two", model="ensemble"),
)


def write_variants(folder: Path) -> dict[str, str]:
    """Model folders by name: as shipped, allowed to mirror, its net twice."""
    bundle = load_bundle(DEFAULT_MODEL)
    mirrored = replace(bundle.plan, mirror_axes=(0, 1, 2))
    save_bundle(folder / "mirrored", plan=mirrored, weights=bundle.tensors, card="", **bundle.info)
    twice = {"plan": bundle.plan, "weights": bundle.tensors, "ensemble": [bundle.weights]}
    save_bundle(folder / "ensemble", card="", **twice, **bundle.info)
    return {"default": str(DEFAULT_MODEL), "mirrored": str(folder / "mirrored"), "ensemble": str(folder / "ensemble")}


def shortened(ct: Path, slices: int, folder: Path) -> Path:
    """The middle slices of a CT."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(ct))
    first = (image.GetSize()[2] - slices) // 2
    path = folder / f"{slices}.nii.gz"
    sitk.WriteImage(image[:, :, first : first + slices], str(path))
    return path


def timed(order: dict[str, Any], threads: int) -> dict[str, float]:
    """Median seconds of the warm runs, read to written, and peak memory of a fresh process."""
    measured = run_fresh(Path(sys.executable), "flareseg_side.py", order | {"repeats": 1 + WARM_RUNS}, threads)
    seconds = statistics.median(run["total_s"] for run in measured["runs"][1:])
    network = statistics.median(run["stages_s"]["network"] for run in measured["runs"][1:])
    return {"seconds": seconds, "network_s": network, "peak_gib": measured["peak_resident_bytes"] / GIB}


def mean_dsc(choice: Choice, model: str, threads: int) -> float:
    """Of the organs that each unseen synthetic patient shows."""
    options = Options("cpu", choice.backend, choice.threads or threads, step=choice.step, mirroring=choice.mirroring)
    segmenter, values = Segmenter(model, options), []
    for seed in range(VALIDATION_SEED, VALIDATION_SEED + PATIENTS):
        phantom = make_phantom(seed, spacing_zyx_mm=(2.5, 2.5, 2.5), view="abdomen", tumours=False)
        ct = Volume(phantom.hu, Geometry(phantom.hu.shape, phantom.spacing_zyx_mm))
        labels = segmenter.segment(ct).labels
        shown = [s.value for s in structures() if (phantom.labels == s.value).any()]
        values.append(np.mean([dice(labels == value, phantom.labels == value) for value in shown]))
    return float(np.mean(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for costs.json and costs.md")
    arguments = parser.parse_args()
    command, environment, threads = shlex.join(["python", *sys.argv]), machine(), arguments.threads
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        output = str(scratch / "labels.nii.gz")
        whole_body = benchmark_ct("whole_body")
        lengths = []
        for slices in LENGTHS:
            order = {"model": "default", "backend": "openvino", "output": output}
            ct = shortened(whole_body, slices, scratch)
            lengths.append({"slices": slices} | timed(order | {"ct": str(ct)}, threads))
            ct.unlink()
        models = write_variants(scratch)
        options = []
        for choice in CHOICES:
            model = models[choice.model]
            order = {
                "model": model, "backend": choice.backend, "step": choice.step, "mirroring": choice.mirroring,
                "ct": str(benchmark_ct("abdomen")), "output": output,
            }  # fmt: skip
            cost = timed(order, choice.threads or threads)
            options.append({"name": choice.name, "dsc": mean_dsc(choice, model, threads)} | cost)
    numbers = versions()
    data = {
        "command": command, "machine": environment, "versions": numbers, "threads": threads,
        "model": f"{load_bundle(DEFAULT_MODEL).version}", "lengths": lengths, "options": options,
    }  # fmt: skip
    write_results("costs", data, _text(data), arguments.results)


def _text(data: dict[str, Any]) -> str:
    lengths = [
        [str(one["slices"]), f"{one['seconds']:.2f}", f"{one['peak_gib']:.2f}"] for one in data["lengths"]
    ]  # fmt: skip
    options = [
        [one["name"], f"{one['seconds']:.2f}", f"{one['network_s']:.2f}", f"{one['peak_gib']:.2f}", f"{one['dsc']:.4f}"]
        for one in data["options"]
    ]
    spacing = "×".join(f"{mm:g}" for mm in SPACING_ZYX_MM)
    return "\n\n".join(
        [
            "# What length, options and threads cost",
            describe(data["command"], data["machine"], data["versions"]),
            f"Model {data['model']}, {data['threads']} threads unless said, 512×512 at {spacing} mm (z, y, x), medians "
            f"of {WARM_RUNS} warm runs, read to written.",
            table(["slices", "seconds", "peak GiB"], lengths),
            f"512×512×{SLICES['abdomen']}; DSC of {PATIENTS} unseen synthetic patients:",
            table(["option", "seconds", "of it network", "peak GiB", "organ DSC"], options),
        ]
    )


if __name__ == "__main__":
    main()
