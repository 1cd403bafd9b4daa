"""The command of another commit and that of this checkout, side by side: nothing may become slower or heavier.

    python Testing/benchmarks/before_after.py [--before COMMIT] [--runs 5] [--results DIR]

Both run `flareseg segment` of the same CT (512×512×100) with the same model, embedded version 0.4.0, in fresh processes
by turns. The model comes from the repository's history, as `make runs/default_0.4/model` does it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from harness import GIB, RESULTS, ROOT, describe, machine, run_watched, table, versions, write_results
from make_volume import benchmark_ct

from flareseg.io.files import read_labels

BEFORE = "6848bb3"
"""The last commit before the house was put in order."""
MODEL = ROOT / "runs" / "default_0.4" / "model"


def in_turns(places: dict[str, Path], runs: int, threads: int, scratch: Path) -> dict[str, list[dict[str, Any]]]:
    """Seconds and peak memory of every run, by name; the first of each warms up and is left out."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in places}
    ct = benchmark_ct("abdomen")
    for _ in range(1 + runs):
        for name, checkout in places.items():
            command = [sys.executable, "-m", "flareseg", "segment", str(ct), "-o", str(scratch / f"{name}.nii.gz")]
            command += ["--model", str(MODEL), "--device", "cpu", "--threads", str(threads), "--overwrite"]
            environment = {"PYTHONPATH": str(checkout / "FlarePanCancer"), "OMP_NUM_THREADS": str(threads)}
            found[name].append(run_watched(command, environment))
    return {name: runs[1:] for name, runs in found.items()}


def rows(found: dict[str, list[dict[str, Any]]]) -> list[list[str]]:
    """Name, median and range of seconds, highest memory, and both as ratios to the first name's."""
    cells, first = [], None
    for name, runs in found.items():
        seconds = [run["seconds"] for run in runs]
        middle, peak = statistics.median(seconds), max(run["peak_resident_bytes"] for run in runs)
        first = first or (middle, peak)
        cells.append(
            [
                name,
                f"{middle:.2f}",
                f"{min(seconds):.2f} to {max(seconds):.2f}",
                f"{middle / first[0]:.2f}",
                f"{peak / GIB:.2f}",
                f"{peak / first[1]:.2f}",
            ]
        )
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--before", default=BEFORE, help="a commit (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="of each")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for before_after.json and .md")
    arguments = parser.parse_args()
    command, environment = shlex.join(["python", *sys.argv]), machine()
    if not MODEL.is_dir():
        subprocess.run(["make", "-C", str(ROOT), str(MODEL.relative_to(ROOT))], check=True)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        tree = scratch / "before"
        subprocess.run(["git", "-C", str(ROOT), "worktree", "add", "--detach", str(tree), arguments.before], check=True)
        try:
            places = {arguments.before: tree, "this checkout": ROOT}
            found = in_turns(places, arguments.runs, arguments.threads, scratch)
        finally:
            subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(tree)], check=True)
        ours, theirs = (read_labels(scratch / f"{name}.nii.gz")[0] for name in places)
    equal = float(np.mean(ours == theirs))
    text = "\n\n".join(
        [
            "# The command before and after",
            describe(command, environment, versions()),
            f"`flareseg segment` of 512×512×100, model default 0.4.0, {arguments.threads} threads, from the start of "
            f"the process to the written labels; {arguments.runs} runs of each by turns, after one that warms up. "
            f"Equal voxels: {100 * equal:.4f} %.",
            table(("commit", "seconds", "range", "ratio", "peak GiB", "ratio"), rows(found)),
        ]
    )
    facts = {"command": command, "machine": environment, "versions": versions(), "equal": equal, "runs": found}
    write_results("before_after", facts, text, arguments.results)


if __name__ == "__main__":
    main()
