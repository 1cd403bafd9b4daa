"""What a user waits for, as ratios of one run: Ctrl+C until the command has ended, and the start of the command.

python Testing/benchmarks/limits.py [--repeats N] [--results DIR]

Tests assert what happens, not how fast: a machine that does other things too would fail them. The limit in seconds that
they once had, two for a cancel, stands here beside what was measured.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import RESULTS, describe, machine, table, versions, write_results
from make_volume import benchmark_ct

LIMIT_STOP_S = 2.0
SEGMENT = [sys.executable, "-m", "flareseg", "segment"]


def seconds_of(command: list[str]) -> float:
    """Wall time of a command that must succeed."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def stop_after(command: list[str], stage: str) -> float:
    """Seconds from SIGINT, sent when the command says that it is at `stage`, until it has ended."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout
    for line in process.stdout:
        if json.loads(line).get("stage") == stage:
            break
    sent = time.perf_counter()
    process.send_signal(signal.SIGINT)
    process.communicate()
    taken = time.perf_counter() - sent
    if process.returncode != 130:
        raise RuntimeError(f"The command ended with {process.returncode}, not as a cancelled one.")
    return taken


def measure(repeats: int) -> list[dict[str, float | str]]:
    """One row a wait: its median, its longest, and how it compares to a yardstick of the same run."""
    rows: list[dict[str, float | str]] = []
    with tempfile.TemporaryDirectory() as folder:
        ct, out = benchmark_ct("whole_body"), Path(folder) / "out.nii.gz"
        command = [*SEGMENT, str(ct), "-o", str(out), "--progress", "json", "--overwrite"]
        whole = seconds_of(command)
        for stage in ("read", "network", "labels"):
            waits = [stop_after(command, stage) for _ in range(repeats)]
            rows.append(_row(f"Ctrl+C during '{stage}' of a 600-slice CT", waits, whole, "the whole command"))
    python = statistics.median(seconds_of([sys.executable, "-c", "pass"]) for _ in range(repeats))
    for name, arguments in (("flareseg --version", ["--version"]), ("flareseg models list", ["models", "list"])):
        waits = [seconds_of([sys.executable, "-m", "flareseg", *arguments]) for _ in range(repeats)]
        rows.append(_row(name, waits, python, "an empty Python"))
    return rows


def _row(what: str, waits: list[float], yardstick: float, name: str) -> dict[str, float | str]:
    middle = statistics.median(waits)
    return {
        "what": what, "median_s": middle, "longest_s": max(waits), "of": name, "of_s": yardstick,
        "ratio": middle / yardstick,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for limits.json and limits.md")
    arguments = parser.parse_args()
    command, environment = shlex.join(["python", *sys.argv]), machine()
    rows = measure(arguments.repeats)
    cells = [
        [
            str(row["what"]),
            *(f"{row[key]:.2f}" for key in ("median_s", "longest_s")),
            f"{row['ratio']:.2f} × {row['of']}",
        ]
        for row in rows
    ]
    how = describe(command, environment, versions())
    text = (
        f"# What a user waits for\n\n{how} {arguments.repeats} times each.\n\n"
        + table(["", "median, s", "longest, s", "compared"], cells)
        + f"\n\nA cancelled command is to end within {LIMIT_STOP_S:g} s on a machine that does nothing else."
    )
    data = {"command": command, "machine": environment, "versions": versions(), "rows": rows}
    write_results("limits", data, text, arguments.results)


if __name__ == "__main__":
    main()
