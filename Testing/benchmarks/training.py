"""train beside nnU-Net's own trainer: patches a second, and seconds a training step (`make benchmark-training`).

    python Testing/benchmarks/training.py [--rounds 3] [--paper-size] [--threads 2] [--results DIR]

Needs nnU-Net in an environment of its own, which the Makefile beside this file makes. Both sides preprocess the same
phantoms their own way, then take turns: every measurement is a fresh process, so that what else the machine does hits
both. Loading is measured with as many worker processes as threads, which both sides use to load; a step on batches that
are there already. Networks have the same layers, and patches, batches and outputs of the same sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from compare import NNUNET_PYTHON
from harness import GIB, RESULTS, ROOT, describe, machine, run_fresh, table, versions, write_results

from flareseg.interop.nnunet.exporter import nnunet_plans

CASES = 4
COARSER = 2
"""How much coarser in plane a phantom is drawn than its CT, see make_volume.py."""
BATCH_SIZE = 2
WARM_BATCHES = 20
"""More than either side keeps in advance."""
NNUNET, OWN = "nnU-Net", "train"
NET = {
    "spacing_zyx_mm": [2.5, 0.8, 0.8],
    "patch_zyx": [56, 160, 192],
    "kernels": [[3, 3, 3]] * 6,
    "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]],
    "clip_hu": [-200.0, 350.0],
    "mean_hu": 70.0,
    "std_hu": 100.0,
    "deep_supervision": 3,
}
"""The paper's S, but for its first kernel (1, 3, 3), which DynUNet and nnU-Net's PlainConvUNet use in other places."""
SMALL = [16, 32, 64, 128, 160, 160]
PAPER = [40, 80, 160, 320, 544, 544]


@dataclass
class Row:
    """One program in one setting: what it was told, and what it measured in every round."""

    program: str
    setting: str
    order: dict[str, Any]
    answers: list[dict[str, Any]] = field(default_factory=list)

    @property
    def patches_per_second(self) -> list[float]:
        """Of every round; of a step its median time counts."""
        return [
            answer["patches"] / answer["seconds"]
            if "patches" in answer
            else answer["batch_size"] / statistics.median(answer["steps_s"])
            for answer in self.answers
        ]

    @property
    def speed(self) -> float:
        """Median patches a second."""
        return statistics.median(self.patches_per_second)

    def times_faster_than(self, other: Row) -> float:
        """Median over the rounds, in which both took turns."""
        pairs = zip(self.patches_per_second, other.patches_per_second, strict=True)
        return statistics.median(own / theirs for own, theirs in pairs)


class Benchmark:
    """Runs both sides, each time in a fresh process, with everything they need in `scratch`."""

    def __init__(self, scratch: Path, threads: int, nnunet_python: Path) -> None:
        self._scratch, self._threads, self._nnunet_python = scratch, threads, nnunet_python
        self._data = scratch / "data"
        self._variables = {
            f"nnUNet_{name}": str(scratch / "nnunet" / name) for name in ("raw", "preprocessed", "results")
        } | {"nnUNet_n_proc_DA": str(threads), "nnUNet_def_n_proc": str(threads)}
        draw_cases(self._data)

    def run(self, row: Row) -> None:
        """Do what the row's order says, and keep what was measured."""
        order = {"data": str(self._data), "workers": self._threads} | row.order
        filters = order.pop("filters")
        net = NET | {"filters": filters}
        print(f"{row.setting}: {row.program}", file=sys.stderr, flush=True)
        if row.program == NNUNET:
            order |= self._nnunet_files(net)
            side = self._nnunet_python, "training_nnunet_side.py", order, self._threads
            row.answers.append(run_fresh(*side, **self._variables))
        else:
            order |= {"net": net, "cache": str(self._scratch / "cache"), "batch_size": BATCH_SIZE}
            row.answers.append(run_fresh(Path(sys.executable), "training_flareseg_side.py", order, self._threads))

    def _nnunet_files(self, net: dict[str, Any]) -> dict[str, str]:
        from train.net_config import NetConfig
        from train.settings import build

        plan = build(NetConfig, net, "net").plan()
        name = "x".join(map(str, net["filters"]))
        plans, dataset = (self._scratch / f"{name}_{kind}.json" for kind in ("plans", "dataset"))
        labels = {structure: value for value, structure in plan.labels.items()}
        facts = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": CASES, "file_ending": ".nii.gz"}
        kernels, strides = net["kernels"], net["strides"]
        plans.write_text(json.dumps(nnunet_plans(plan, net["filters"], kernels, strides)), encoding="utf-8")
        dataset.write_text(json.dumps(facts), encoding="utf-8")
        return {"plans": str(plans), "dataset": str(dataset)}


def draw_cases(folder: Path) -> None:
    """Phantoms as CTs at the net's spacing, with fresh noise."""
    import SimpleITK as sitk
    from scipy import ndimage

    from train.synthetic.phantom import make_phantom

    z, y, x = NET["spacing_zyx_mm"]  # type: ignore[misc]
    for seed in range(CASES):
        phantom = make_phantom(seed, spacing_zyx_mm=(z, y * COARSER, x * COARSER))
        fine = ndimage.zoom(
            phantom.hu.astype(np.float32), (1, COARSER, COARSER), order=1, mode="nearest", grid_mode=True
        )
        noisy = fine + np.random.default_rng(seed).normal(0, 9, fine.shape)
        arrays = {
            "ct": np.clip(np.rint(noisy), -1024, 3071).astype(np.int16),
            "seg": phantom.labels.repeat(COARSER, 1).repeat(COARSER, 2).astype(np.uint8),
        }
        case = folder / f"phantom_{seed}"
        case.mkdir(parents=True)
        for name, array in arrays.items():
            image = sitk.GetImageFromArray(array)
            image.SetSpacing((x, y, z))
            sitk.WriteImage(image, str(case / f"{name}.nii.gz"))


def loading(batches: int) -> list[Row]:
    """nnU-Net's loader with its default augmentation, and ours with the paper's, the embedded model's and nnU-Net's."""
    from train.settings import read_tables

    paper = read_tables(ROOT / "train" / "configs" / "paper.yaml", [])["fits"]["final"]["augment"]
    order = {"what": "load", "warm": WARM_BATCHES, "count": batches, "filters": SMALL}
    return [
        Row(NNUNET, "its default augmentation", order),
        Row(OWN, "augmentation of paper.yaml", order | {"augment": paper}),
        Row(OWN, "default augmentation (all of it)", order | {"augment": {}}),
        Row(OWN, "nnU-Net's augmentation, `recipe: nnunet`", order | {"augment": {"recipe": "nnunet"}}),
    ]


def stepping(filters: list[int], steps: int) -> list[Row]:
    """nnU-Net's step, which is in fp32 where there is no GPU, and ours in fp32 and, where the CPU has bf16, in that."""
    from flareseg.inference.devices import cpu_multiplies_bf16

    order = {"what": "step", "warm": 1, "count": steps, "filters": filters}
    rows = [Row(NNUNET, "fp32", order), Row(OWN, "fp32", order | {"augment": {}, "precision": "32-true"})]
    if cpu_multiplies_bf16():
        rows.append(Row(OWN, "bf16-mixed, the default", order | {"augment": {}, "precision": "bf16-mixed"}))
    return rows


def section(title: str, rows: list[Row]) -> str:
    """A table: patches a second, ratio, range of the rounds, memory of the measuring process."""
    lines = []
    for row in rows:
        speeds, peak = row.patches_per_second, max(answer["peak_resident_bytes"] for answer in row.answers)
        lines.append(
            [
                row.program,
                row.setting,
                f"{row.speed:.3g}",
                f"{min(speeds):.3g} to {max(speeds):.3g}",
                f"{row.times_faster_than(rows[0]):.2f}",
                f"{peak / GIB:.1f}",
            ]
        )
    header = ["program", "setting", "patches/s", "range of rounds", "times nnU-Net", "peak GiB"]
    return f"## {title}\n\n{table(header, lines)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=60, help="measured batches of a loader and round")
    parser.add_argument("--steps", type=int, default=2, help="measured steps of a round")
    parser.add_argument("--paper-size", action="store_true", help="also a step of the paper's S (16 GiB)")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--nnunet", type=Path, default=NNUNET_PYTHON, help="Python of nnU-Net's environment")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for training.json and training.md")
    arguments = parser.parse_args()
    command, environment = shlex.join(["python", *sys.argv]), machine()
    with tempfile.TemporaryDirectory() as folder:
        benchmark = Benchmark(Path(folder), arguments.threads, arguments.nnunet)
        prepared = [Row(program, "prepare", {"what": "prepare", "filters": SMALL}) for program in (NNUNET, OWN)]
        for row in prepared:
            benchmark.run(row)
        measured = {
            "Loading and augmentation": (loading(arguments.batches), arguments.rounds),
            f"Training step of a small net ({_listed(SMALL)})": (stepping(SMALL, arguments.steps), arguments.rounds),
        }
        if arguments.paper_size:
            # in fp32 ours would need more memory than most machines of two cores have
            nnunet, *_, fastest = stepping(PAPER, 1)
            measured[f"Training step of the paper's S ({_listed(PAPER)})"] = ([nnunet, fastest], 1)
        for rows, rounds in measured.values():
            for _ in range(rounds):
                for row in rows:
                    benchmark.run(row)
    nnunet = prepared[0].answers[0]["versions"]["nnunetv2"]
    numbers = versions() | {"nnunetv2": nnunet}
    text = "\n\n".join(
        [
            "# train beside nnU-Net's trainer",
            describe(command, environment, numbers),
            _what_ran(arguments.threads, prepared),
            *(section(title, rows) for title, (rows, _) in measured.items()),
        ]
    )
    facts = {"command": command, "machine": environment, "versions": numbers, "threads": arguments.threads, "net": NET}
    everything = {"Preprocessing": prepared} | {title: rows for title, (rows, _) in measured.items()}
    sections = {title: [_as_json(row, rows[0]) for row in rows] for title, rows in everything.items()}
    write_results("training", facts | {"sections": sections}, text, arguments.results)


def _listed(filters: list[int]) -> str:
    return "-".join(map(str, filters))


def _what_ran(threads: int, prepared: list[Row]) -> str:
    sizes = {row.program: row.answers[0]["bytes"] / 2**20 / CASES for row in prepared}
    patch = "×".join(map(str, NET["patch_zyx"]))  # type: ignore[arg-type]
    return (
        f"{CASES} phantoms at 2.5×0.8×0.8 mm, patch {patch}, batch {BATCH_SIZE}, {threads} threads on as many cores; "
        f"loaders with {threads} worker processes. A preprocessed case has {sizes[NNUNET]:.0f} MiB for nnU-Net and "
        f"{sizes[OWN]:.0f} MiB here. Every figure is the median of rounds in which the programs took turns, each in a "
        "fresh process. nnU-Net rotates and scales one patch in three, here slices only for this patch, and mirrors; "
        "train turns, scales and bends every patch in space, but with `recipe: nnunet`."
    )


def _as_json(row: Row, nnunet: Row) -> dict[str, Any]:
    result: dict[str, Any] = {"program": row.program, "setting": row.setting, "answers": row.answers}
    if row.order["what"] != "prepare":
        result |= {"patches_per_second": row.speed, "times_nnunet": row.times_faster_than(nnunet)}
    return result


if __name__ == "__main__":
    main()
