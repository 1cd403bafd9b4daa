"""What each stage of a training costs a CT outside the networks (`make benchmark-training-costs`).

    python Testing/benchmarks/training_costs.py [--ct FILE] [--slices 133 310] [--rounds 3] [--work DIR] [--results DIR]

CPU seconds, wall seconds, peak memory, bytes read and written of `prepare`, `pseudolabel`, `fuse`, `evaluate` and
`export` with train/configs/paper.yaml, and of a patch of each fit. Every measurement is a fresh process on one core,
warmed up on a tiny CT; figures are medians of rounds. CPU seconds hold on a busy machine, wall seconds do not.

133 and 310 slices are about the median (134) and the mean of FLARE23's CTs. A CT of another length is continued back
and forth. Without --ct it is the synthetic one of make_volume.py. Networks are left out, see training_costs_side.py:
`python -m train costs` reckons them, and reads what this writes.

Measurements are kept in the folder --work, and not taken again: a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from harness import GIB, RESULTS, describe, machine, run_fresh, table, versions, write_results
from make_volume import benchmark_ct
from training_costs_data import HELD_OUT, PAPER, SOURCE, UNSEARCHED, labelled, write_cases

STAGES = ("prepare", "pseudolabel", "fuse", "evaluate")
FITS, STEPS = ("pretrain", "tumor", "final"), ("tumor", "final")
"""Fits whose patches are measured, and those whose training step is, once: it takes long, and training.md has more."""
CASES = {"prepare": 2}
"""CTs of the measured size that a stage goes through; one in the others."""
MOVED = ("resample", "network", "labels")
"""Steps of the inference that run where the network does."""
PATCHES = 12
WIDTH = 0.2
"""Of the filters of the paper's nets in the training step: whole ones need more memory than small machines have."""
TINY = (32, 128, 128)
MB = 1e6


class Measurements:
    """Answers of fresh processes, kept in files; without `threads` no new ones are asked."""

    def __init__(self, work: Path, threads: int | None) -> None:
        self._work, self._threads = work, threads

    def take(self, name: str, number: int, order: dict[str, Any]) -> dict[str, Any] | None:
        """The measurement `name` of a round: that of before, or a new one."""
        path = self._work / f"{name}_{number}.json"
        if not path.exists():
            if self._threads is None:
                return None
            print(f"{name}, round {number}", file=sys.stderr, flush=True)
            order = {"warm": str(self._work / "warm")} | order
            answer = run_fresh(Path(sys.executable), "training_costs_side.py", order, self._threads)
            path.write_text(json.dumps(answer), encoding="utf-8")
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found


def draw_cases(work: Path, ct: Path, slices: Sequence[int]) -> None:
    """The folders of cases that are not there yet: one a length, and a tiny one."""
    missing = [count for count in slices if not (work / str(count) / "config.yaml").exists()]
    tiny_ones = [name for name in ("warm", "export") if not (work / name / "config.yaml").exists()]
    if not missing and not tiny_ones:
        return
    from flareseg.volume import Geometry, Volume

    volume, labels = labelled(ct)
    middle = tuple(slice((size - part) // 2, (size + part) // 2) for size, part in zip(labels.shape, TINY, strict=True))
    hu = np.ascontiguousarray(volume.hu[middle])
    tiny = Volume(hu, Geometry(TINY, volume.geometry.spacing_zyx_mm))
    drawn = [(name, tiny, labels[middle], TINY[0]) for name in tiny_ones]
    drawn += [(str(count), volume, labels, count) for count in missing]
    for name, its_volume, its_labels, count in drawn:
        shutil.rmtree(work / name, ignore_errors=True)
        write_cases(work / name, its_volume, its_labels, count)


def measure(taken: Measurements, work: Path, slices: Sequence[int], rounds: int) -> dict[str, list[dict[str, Any]]]:
    """All measurements, by "stage_slices", "load_fit", "step_fit" and "export"."""
    found: dict[str, list[dict[str, Any]]] = {}
    largest = str(work / str(max(slices)))
    for number in range(rounds):
        orders = {
            f"{stage}_{count}": {"what": "stage", "stage": stage, "folder": str(work / str(count))}
            for count in slices
            for stage in STAGES
        }
        for fit in FITS:
            orders[f"load_{fit}"] = {"what": "load", "fit": fit, "folder": largest, "count": PATCHES}
        for fit in STEPS if number == 0 else ():
            step = {"what": "step", "fit": fit, "folder": largest, "width": WIDTH, "batch_size": 1, "count": 2}
            orders[f"step_{fit}"] = step | {"precision": _precision()}
        orders["export"] = {"what": "stage", "stage": "export", "folder": str(work / "export")}
        for name, order in orders.items():
            if answer := taken.take(name, number, order):
                found.setdefault(name, []).append(answer)
    return found


def _precision() -> str:
    from flareseg.inference.devices import cpu_multiplies_bf16

    return "bf16-mixed" if cpu_multiplies_bf16() else "32-true"


def of_a_case(stage: str, answer: dict[str, Any]) -> dict[str, float]:
    """What one CT cost in a stage, without the start of the process and without what stands in for the network."""
    steps = answer.get("stages_cpu_s", {})
    count = CASES.get(stage, 1)
    alone = answer["cpu_s"] - answer.get("start_cpu_s", 0.0) - answer.get("stand_in_cpu_s", 0.0)
    return {
        "cpu_s": alone / count,
        "moved_to_gpu_cpu_s": sum(steps.get(step, 0.0) for step in MOVED),
        "wall_s": answer["wall_s"] / count,
        "read_mb": answer.get("read_bytes", 0) / count / MB,
        "written_mb": answer.get("write_bytes", 0) / count / MB,
        "peak_gib": answer["peak_resident_bytes"] / GIB,
    }


def medians(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of every figure over the rounds."""
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def rates(found: dict[str, list[dict[str, Any]]], work: Path, slices: Sequence[int]) -> dict[str, Any]:
    """What `python -m train costs` reckons with, see train/planning/rates.py: medians at two sizes, and of a patch."""
    from train.common.paths import RunPaths
    from train.config_file import load_config

    low, high = min(slices), max(slices)
    config = load_config(PAPER, with_data=False)
    grids = {
        "prepare": config.grids(),
        "pseudolabel": [config.net_of("tumor").spacing_zyx_mm],
        "fuse": [config.net_of("final").spacing_zyx_mm],
        "evaluate": [config.net_of("final").spacing_zyx_mm],
    }
    stages = {}
    for stage in STAGES:
        pair = [medians([of_a_case(stage, one) for one in found[f"{stage}_{count}"]]) for count in (low, high)]
        stages[stage] = {key: [one[key] for one in pair] for key in pair[0]} | {"grids": grids[stage]}
    patches = {}
    for fit in FITS:
        names = ("patch_voxels", "cpu_s", "augment_cpu_s", "read_bytes")
        median = medians([{key: answer[key] for key in names} for answer in found[f"load_{fit}"]])
        patches[fit] = {
            "voxels": int(median["patch_voxels"]),
            "read_cpu_s": median["cpu_s"],
            "augment_cpu_s": median["augment_cpu_s"],
            "read_mb": median["read_bytes"] / MB,
            "unlabelled": config.fits[fit].task == "reconstruct",
        }
    cache = RunPaths(work / str(high) / "run").grid(config.grids()[0]) / f"{SOURCE}_{HELD_OUT}" / "case.json"
    facts = json.loads(cache.read_text(encoding="utf-8"))
    return {"slices": [low, high], **_body(facts), "stages": stages, "patches": patches}


def _body(facts: dict[str, Any]) -> dict[str, Any]:
    """Spacing of the CT, and the box of the body in it, from a case of the cache."""
    stored = facts["stored"]
    sizes = [stop - start for start, stop in facts["box"]]
    spacing = stored["spacing_zyx_mm"]
    return {
        "spacing_zyx_mm": spacing,
        "body_mm": [size * mm for size, mm in zip(sizes[1:], spacing[1:], strict=True)],
        "body_share": float(np.prod(sizes) / np.prod(stored["shape_zyx"])),
    }


def text_of(data: dict[str, Any]) -> str:
    """The results as Markdown."""
    found, low, high = data["measurements"], *data["rates"]["slices"]
    return "\n\n".join(
        [
            "# What a CT costs in the stages of a training",
            describe(data["command"], data["machine"], data["versions"]),
            f"train/configs/paper.yaml; {data['ct']}, 512×512, of {low} and {high} slices. One CT, on "
            f"{data['threads']} core{'s' if data['threads'] > 1 else ''}; medians of rounds, each a fresh process. "
            "Networks and the start of processes are left out.",
            _stage_table(found, (low, high)),
            "“Of it movable”: resampling, putting windows together and the way back to the CT's grid, which run where "
            "the network does. Read and written are bytes that the process asked the system for, cached or not. Wall "
            "seconds are those of a machine that did other things as well. `evaluate` looks at its own memory 50 times "
            "a second, which costs CPU seconds while it waits, too.",
            _disk_table(found, (low, high)),
            f"A patch, the mean of {PATCHES}; where there is a GPU, workers only read.",
            _patch_table(found),
            f"A training step on the CPU, batch 1, with {WIDTH:.0%} of the filters of the paper's nets, the faster of "
            "two; of a whole one: training.md.",
            _step_table(found),
        ]
    )


def _stage_table(found: dict[str, Any], slices: Sequence[int]) -> str:
    head = ["stage", "slices", "CPU s", "of it movable", "wall s", "peak GiB", "read MB", "written MB", "rounds"]
    rows = []
    for name in [f"{stage}_{count}" for stage in STAGES for count in slices] + ["export"]:
        stage, _, count = name.partition("_")
        one = medians([of_a_case(stage, answer) for answer in found[name]])
        seconds = [f"{one[key]:.2f}" for key in ("cpu_s", "moved_to_gpu_cpu_s", "wall_s", "peak_gib")]
        moved = [f"{one[key]:.1f}" for key in ("read_mb", "written_mb")]
        rows.append([stage, count or "–", *seconds, *moved, str(len(found[name]))])
    return table(head, rows)


def _disk_table(found: dict[str, Any], slices: Sequence[int]) -> str:
    """Files of a case that stay, by stage; those of the cache by grid."""
    kinds: dict[str, list[float]] = {}
    for number, count in enumerate(slices):
        for stage in STAGES[:3]:
            for folder, files in found[f"{stage}_{count}"][0]["written_bytes"].items():
                for name, size in files.items():
                    if name.startswith(UNSEARCHED):
                        kind = f"{folder}: {name.removeprefix(UNSEARCHED).strip()}"
                        kinds.setdefault(kind, [0.0] * len(slices))[number] = size / MB
    rows = [[kind, *(f"{size:.2f}" for size in sizes)] for kind, sizes in kinds.items() if max(sizes) >= 0.005]
    return table(["MB on the disk", *(f"{count} slices" for count in slices)], rows)


def _patch_table(found: dict[str, Any]) -> str:
    rows = []
    for fit in FITS:
        one = medians(
            [{key: value for key, value in answer.items() if key != "versions"} for answer in found[f"load_{fit}"]]
        )
        rows.append(
            [
                fit,
                f"{one['patch_voxels'] / 1e6:.2f}",
                f"{1000 * one['cpu_s']:.0f}",
                f"{one['read_bytes'] / MB:.2f}",
                f"{one['reads']:.0f}",
                f"{1000 * one['augment_cpu_s']:.0f}",
                f"{one['peak_resident_bytes'] / GIB:.2f}",
                str(len(found[f"load_{fit}"])),
            ]
        )
    head = ["fit", "million voxels", "CPU ms to read", "MB read", "reads", "CPU ms to augment", "peak GiB", "rounds"]
    return table(head, rows)


def _step_table(found: dict[str, Any]) -> str:
    rows = []
    for fit in STEPS:
        [answer] = found[f"step_{fit}"]
        filters, seconds = "-".join(map(str, answer["filters"])), min(answer["steps_cpu_s"])
        peak = answer["peak_resident_bytes"] / GIB
        rows.append([fit, filters, f"{answer['multiply_adds'] / 1e9:.1f}", f"{seconds:.1f}", f"{peak:.1f}"])
    return table(["fit", "filters", "GMAC a patch", "CPU s", "peak GiB"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--ct", type=Path, help="a CT of 512×512 (default: a synthetic one)")
    parser.add_argument("--slices", type=int, nargs=2, default=[133, 310], help="the two lengths")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, help="where cases and measurements are kept (default: nowhere)")
    parser.add_argument("--report", action="store_true", help="measure nothing: the results of what --work holds")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for training_costs.json and .md")
    arguments = parser.parse_args()
    command, environment = shlex.join(["python", *sys.argv]), machine()
    with tempfile.TemporaryDirectory() as folder:
        work = arguments.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        ct = arguments.ct or benchmark_ct("whole_body")
        draw_cases(work, ct, arguments.slices)
        taken = Measurements(work, None if arguments.report else arguments.threads)
        found = measure(taken, work, arguments.slices, arguments.rounds)
        reckoned = rates(found, work, arguments.slices)
    numbers = versions()
    data = {
        "command": command, "machine": environment, "versions": numbers, "threads": arguments.threads,
        "ct": "a real CT" if arguments.ct else "synthetic", "rates": reckoned, "measurements": found,
    }  # fmt: skip
    write_results("training_costs", data, text_of(data), arguments.results)


if __name__ == "__main__":
    main()
