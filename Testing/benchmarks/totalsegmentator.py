"""Replicas of TotalSegmentator's 3 mm net in its own command and, imported, here.

    python Testing/benchmarks/totalsegmentator.py [--ct FILE | --data DIR] [--replica NAME] [--isa avx2] [--runs N]
                                                  [--results DIR]

Each program is its command, in a fresh process, from the CT's file to the file of labels, by turns: seconds by the wall
clock and of the processor, and the highest resident memory of its processes together. flareseg runs as `segment
--model` with a model that was imported with --no-parity, and once with --parity for the labels. The replicas are in
`totalsegmentator_replicas.py`. With --isa avx2, the results' files are called totalsegmentator_avx2.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from compare_tables import agreement
from harness import GIB, RESULTS, ROOT, describe, machine, run_watched, table, versions, write_results
from totalsegmentator_replicas import random_replica, trained_replica

from flareseg.io.files import read_labels

COMMAND = ROOT / ".venv-totalsegmentator" / "bin" / "TotalSegmentator"
CASE = "tcga_ov_09_2043"
REPLICAS: dict[str, Callable[[Path], Path]] = {"random": random_replica, "trained": trained_replica}
ISA = {
    "native": {},
    "avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "OV_CPU_MAX_ISA": "AVX2"},
}
"""Variables that bound the instructions of both programs; what flareseg runs on is written down."""
BIG_ML = 5.0
SPEED = ("replica", "program", "seconds", "faster", "s of processor", "fewer", "peak GiB", "less memory")
OURS, THEIRS, PARITY = "flareseg --no-parity", "TotalSegmentator", "flareseg --parity"


class Race:
    """One replica on one CT in both programs."""

    def __init__(self, ct: Path, arguments: argparse.Namespace, scratch: Path) -> None:
        self._ct, self._command, self._scratch = ct, arguments.totalsegmentator, scratch
        self._threads, self._runs = arguments.threads, arguments.runs
        self._environment = ISA[arguments.isa] | {
            "XDG_DATA_HOME": str(scratch / "data"),
            "OMP_NUM_THREADS": str(arguments.threads),
        }

    def row(self, name: str) -> dict[str, Any]:
        """All runs of a replica, and how far the labels agree."""
        home = self._scratch / name
        trained = REPLICAS[name](home)
        self._import(trained, name)
        runs: dict[str, list[dict[str, Any]]] = {OURS: [], THEIRS: []}
        for _ in range(self._runs):
            runs[OURS].append(self._ours(name, "--no-parity"))
            runs[THEIRS].append(self._theirs(home))
        exact = self._ours(name, "--parity")
        expected, geometry = read_labels(self._file(THEIRS))
        found = {"replica": name, "device": self._device(name), "runs": runs | {PARITY: [exact]}, "agreement": {}}
        for program in (OURS, PARITY):
            labels, _ = read_labels(self._file(program))
            found["agreement"][program] = agreement(labels, expected)
        counts = np.bincount(expected.ravel(), minlength=256) * geometry.voxel_ml
        found["ml"] = {str(value): float(counts[value]) for value in np.unique(expected) if value}
        return found

    def _file(self, program: str) -> Path:
        return self._scratch / f"{program.replace(' ', '_')}.nii.gz"

    def _device(self, name: str) -> str:
        """What flareseg's network runs on without parity."""
        script = (
            "from flareseg.options import Options; from flareseg.segmenter import Segmenter; "
            f"print(Segmenter({name!r}, Options(device='cpu', threads={self._threads})).device_description)"
        )
        return str(run_watched([sys.executable, "-c", script], self._environment)["output"]).strip().splitlines()[-1]

    def _import(self, trained: Path, name: str) -> None:
        run_watched(
            [*_flareseg(), "models", "import", str(trained), "--name", name, "--no-parity", "--overwrite"],
            self._environment,
        )

    def _ours(self, model: str, parity: str) -> dict[str, Any]:
        output = self._file(OURS if parity == "--no-parity" else PARITY)
        return run_watched(
            [
                *_flareseg(), "segment", str(self._ct), "-o", str(output), "--model", model, "--device", "cpu", parity,
                "--threads", str(self._threads), "--overwrite", "--progress", "none",
            ],
            self._environment,
        )  # fmt: skip

    def _theirs(self, home: Path) -> dict[str, Any]:
        output = self._file(THEIRS)
        command = [str(self._command), "-i", str(self._ct), "-o", str(output), "--fast", "--ml", "-d", "cpu"]
        return run_watched(command, self._environment | {"TOTALSEG_HOME_DIR": str(home)})


def _flareseg() -> list[str]:
    return [sys.executable, "-m", "flareseg"]


def text_of(rows: list[dict[str, Any]], facts: dict[str, Any]) -> str:
    """The results as Markdown."""
    sections = [
        "# Replicas of TotalSegmentator's 3 mm net in TotalSegmentator and here",
        describe(facts["command"], facts["machine"], facts["versions"]),
        f"{facts['ct']}, instructions: {facts['isa']}; flareseg on {facts['device']}; {facts['threads']} threads. "
        f"Commands in fresh processes by turns, runs of each: {facts['runs']}, from the file of the CT to the file of "
        "labels; memory and seconds of the processor are those of all processes of a command together. Where the "
        "load average says that the machine had other work, too, only the seconds of the processor compare.",
        table(SPEED, speed_rows(rows)),
        "The trained replica's kernels are widened with zeros, to turn it (see totalsegmentator_replicas.py): flareseg "
        "leaves these out, TotalSegmentator multiplies them. The random one has none. Each writes a file of labels and "
        "measures nothing.",
        f"DSC with TotalSegmentator's labels of structures above {BIG_ML:g} ml:",
        table(("replica", "program", "equal voxels, %", "structures", "mean DSC", "lowest DSC"), label_rows(rows)),
    ]
    return "\n\n".join(sections)


def speed_rows(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Replica, program, then seconds, seconds of the processor and peak GiB, each with how many times the peer's."""
    cells = []
    for row in rows:
        peer = _costs(row["runs"][THEIRS])
        for program, runs in row["runs"].items():
            own = _costs(runs)
            ratios = [f"{one / other:.1f}×" if one and other else "–" for one, other in zip(peer, own, strict=True)]
            seconds, processor_s, peak = own
            figures = [f"{seconds:.1f}", f"{processor_s:.1f}" if processor_s else "–", f"{peak / GIB:.2f}"]
            pairs = zip(figures, ratios, strict=True)
            cells.append([row["replica"], program, *(cell for pair in pairs for cell in pair)])
    return cells


def label_rows(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Replica, program, equal voxels, number of big structures, mean and lowest DSC."""
    cells = []
    for row in rows:
        big = [value for value, ml in row["ml"].items() if ml > BIG_ML]
        for program, one in row["agreement"].items():
            scores = [score for value, score in one["dice"].items() if str(value) in big]
            mean, lowest = (sum(scores) / len(scores), min(scores)) if scores else (1.0, 1.0)
            cells.append(
                [row["replica"], program, f"{100 * one['equal']:.3f}", str(len(scores)), f"{mean:.4f}", f"{lowest:.4f}"]
            )
    return cells


def _costs(runs: list[dict[str, Any]]) -> tuple[float, float, float]:
    """Mean seconds, mean seconds of the processor (0 where they were not recorded), and the highest memory."""
    return (
        sum(one["seconds"] for one in runs) / len(runs),
        sum(one.get("processor_s", 0.0) for one in runs) / len(runs),
        max(one["peak_resident_bytes"] for one in runs),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--ct", type=Path, help=f"a .nii.gz (default: {CASE} of --data)")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of real CTs")
    parser.add_argument("--replica", choices=REPLICAS, action="append", help="only this one (default: all)")
    parser.add_argument("--isa", choices=ISA, default="native", help="the newest instructions that both may use")
    parser.add_argument("--runs", type=int, default=2, help="of each program (default: 2)")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--totalsegmentator", type=Path, default=COMMAND, help="TotalSegmentator's command")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for totalsegmentator.json and .md")
    arguments = parser.parse_args()
    command, environment = shlex.join(["python", *sys.argv]), machine()
    ct = arguments.ct or arguments.data / CASE / "ct.nii.gz"
    with tempfile.TemporaryDirectory() as folder:
        race = Race(ct, arguments, Path(folder))
        rows = [race.row(name) for name in arguments.replica or REPLICAS]
    facts = {
        "command": command,
        "machine": environment,
        "versions": versions() | {"TotalSegmentator": _peer_version(arguments.totalsegmentator)},
        "ct": ct.parent.name if ct.name.startswith("ct.") else ct.name.partition(".")[0],
        "isa": arguments.isa,
        "device": " and ".join(sorted({row["device"] for row in rows})),
        "threads": arguments.threads,
        "runs": arguments.runs,
    }
    name = "totalsegmentator" if arguments.isa == "native" else f"totalsegmentator_{arguments.isa}"
    write_results(name, facts | {"replicas": rows}, text_of(rows, facts), arguments.results)


def _peer_version(command: Path) -> str:
    script = "from importlib.metadata import version; print(version('TotalSegmentator'))"
    done = subprocess.run([str(command.parent / "python"), "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
