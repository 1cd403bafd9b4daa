"""The embedded model on full-size CTs: time and memory against what was promised (`make bench`).

    python Testing/benchmarks/embedded.py [--model NAME|FOLDER] [--threads 2] [--repeats 5] [--results DIR]

Every figure comes from fresh processes held to `--threads` cores. Exit status 0 also when a limit is missed: timings
are for people to judge, and a busy machine is no defect of the program.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import GIB, RESULTS, describe, machine, run_fresh, table, versions, write_results
from make_volume import SLICES, benchmark_ct

BACKENDS = {"openvino": "OpenVINO", "torch": "torch alone"}
MOST_SECONDS = {"openvino": 3.0, "torch": 5.0}
MOST_GIB = {"abdomen": 1.5, "whole_body": 3.0}
MOST_TIMES_LONGER = 8.0
MOST_START_SECONDS = 4.0


@dataclass(frozen=True)
class Finding:
    """One promise: what was measured and what was allowed."""

    what: str
    value: float
    limit: float | None
    unit: str

    @property
    def met(self) -> bool | None:
        return None if self.limit is None else self.value <= self.limit

    def row(self) -> list[str]:
        limit = "–" if self.limit is None else f"≤ {self.limit:g} {self.unit}"
        return [self.what, f"{self.value:.2f} {self.unit}", limit, {True: "yes", False: "**no**", None: "–"}[self.met]]


def measure(model: str, threads: int, repeats: int, cts: dict[str, Path]) -> dict[str, Any]:
    """Everything that is measured, by backend: {"first_start", "start", "abdomen", "whole_body"}."""
    measured: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        # A cache folder of our own, so that the first start is a first one.
        cache = {"FLARESEG_CACHE": str(Path(folder) / "cache")}

        def process(backend: str, ct: Path | None, runs: int) -> dict[str, Any]:
            order = {
                "model": model,
                "backend": backend,
                "ct": str(ct),
                "repeats": runs,
                "output": str(Path(folder) / "segmentation.nii.gz"),
            }
            return run_fresh(Path(sys.executable), "flareseg_side.py", order, threads, **cache)

        for backend in BACKENDS:
            measured[backend] = {
                "first_start": process(backend, None, 0),
                "starts": [process(backend, None, 0) for _ in range(3)],
                # one run more, to warm up
                "abdomen": process(backend, cts["abdomen"], 1 + repeats),
                "whole_body": process(backend, cts["whole_body"], 1 + max(1, repeats // 2)),
            }
    return measured


def warm_seconds(process: dict[str, Any]) -> float:
    """Median of a process's runs but the first, read to written."""
    return statistics.median(run["total_s"] for run in process["runs"][1:])


def warm_stages(process: dict[str, Any]) -> dict[str, float]:
    """Median seconds per stage of a process's runs but the first, and what is left of the total."""
    runs = process["runs"][1:]
    stages = {name: statistics.median(run["stages_s"].get(name, 0.0) for run in runs) for name in runs[0]["stages_s"]}
    return {**stages, "rest": max(0.0, warm_seconds(process) - sum(stages.values()))}


def findings(measured: dict[str, Any]) -> Iterator[Finding]:
    for backend, name in BACKENDS.items():
        part = measured[backend]
        short, long = warm_seconds(part["abdomen"]), warm_seconds(part["whole_body"])
        yield Finding(f"512×512×100, read to written, warm, {name}", short, MOST_SECONDS[backend], "s")
        yield Finding(f"512×512×600, read to written, warm, {name}", long, None, "s")
        yield Finding(f"512×512×600 against 512×512×100, {name}", long / short, MOST_TIMES_LONGER, "times")
        for ct, size in (("abdomen", "512×512×100"), ("whole_body", "512×512×600")):
            peak = part[ct]["peak_resident_bytes"] / GIB
            yield Finding(f"{size}, peak resident memory, {name}", peak, MOST_GIB[ct], "GiB")
        start = statistics.median(start["ready_s"] for start in part["starts"])
        yield Finding(f"process start to model loaded, {name}", start, MOST_START_SECONDS, "s")
        first = part["first_start"]["ready_s"]
        yield Finding(f"the same, very first start on a machine, {name}", first, MOST_START_SECONDS, "s")


def report(measured: dict[str, Any], threads: int, origin: str) -> str:
    """The Markdown text."""
    stage_rows = []
    for backend, name in BACKENDS.items():
        for ct, slices in SLICES.items():
            totals = [run["total_s"] for run in measured[backend][ct]["runs"]]
            stages = ", ".join(
                f"{stage} {seconds:.2f}" for stage, seconds in warm_stages(measured[backend][ct]).items()
            )
            spread = f"{min(totals[1:]):.2f} to {max(totals[1:]):.2f}"
            stage_rows.append([f"512×512×{slices}, {name}", stages, f"{totals[0]:.2f}", spread])
    devices = "; ".join(measured[backend]["abdomen"]["device"] for backend in BACKENDS)
    return f"""# The embedded model on full-size CTs

{origin}

Model {measured["torch"]["abdomen"]["model"]}; {threads} threads on {threads} cores: {devices}.

{table(["what", "measured", "limit", "met"], [finding.row() for finding in findings(measured)])}

Seconds per stage (medians of the warm runs), of the first run in its process, and the range of the warm runs:

{table(["CT", "stages", "first", "warm"], stage_rows)}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", default="default", help="name or folder")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--repeats", type=int, default=5, help="warm runs of the smaller CT (default 5)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for embedded.json and embedded.md")
    arguments = parser.parse_args()
    cts = {name: benchmark_ct(name) for name in SLICES}
    command, environment, numbers = shlex.join(["python", *sys.argv]), machine(), versions()
    measured = measure(arguments.model, arguments.threads, arguments.repeats, cts)
    data = {
        "command": command,
        "machine": environment,
        "versions": numbers,
        "threads": arguments.threads,
        "findings": [asdict(finding) | {"met": finding.met} for finding in findings(measured)],
        "measured": measured,
    }
    text = report(measured, arguments.threads, describe(command, environment, numbers))
    write_results("embedded", data, text, arguments.results)


if __name__ == "__main__":
    main()
