"""The network of TotalSegmentator's 3 mm net, compiled and in OpenVINO, on one window, by turns in one process.

    python Testing/benchmarks/compiled.py [--isa avx2] [--window Z Y X] [--rounds N] [--threads N] [--results DIR]

Random weights, both in fp32. Seconds of the processor, which are the same on a busy machine, and of the clock; of every
backend the first window, in which it arranges weights and memory, and the fastest of the others.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import torch
from harness import RESULTS, describe, hold_to_cores, machine, table, versions, write_results
from totalsegmentator import ISA
from totalsegmentator_replicas import INTENSITY, PATCH_ZYX, STRIDES, replica_spec

from flareseg.inference.llvm.network import CompiledNetwork
from flareseg.inference.openvino_network import OpenVinoNetwork
from flareseg.model.networks.registry import build_network, own_weights
from flareseg.model.plan import Plan

FEATURES = 32
"""Of the head, which is cut off a network with more classes."""


def measure(window: tuple[int, int, int], rounds: int, threads: int) -> dict[str, Any]:
    """Seconds of every window by backend, and how far the last logits differ, beside their standard deviation."""
    labels = {0: "background"} | {number: f"part {number}" for number in range(1, FEATURES)}
    plan = Plan((3.0, 3.0, 3.0), PATCH_ZYX, INTENSITY, replica_spec(STRIDES), labels)
    torch.manual_seed(0)
    weights = own_weights(build_network(plan).state_dict())
    image = torch.randn(1, 1, *window)
    openvino, compiled = OpenVinoNetwork(plan, weights, threads, exact=True), CompiledNetwork(plan, weights, threads)
    networks = {openvino.description: openvino, compiled.description: compiled}
    seconds: dict[str, list[dict[str, float]]] = {name: [] for name in networks}
    logits = {}
    for _ in range(rounds):
        for name, network in networks.items():
            clock, processor = time.perf_counter(), time.process_time()
            logits[name] = network(image).clone()
            seconds[name].append({"processor": time.process_time() - processor, "clock": time.perf_counter() - clock})
    one, other = logits.values()
    return {"seconds": seconds, "difference": float((one - other).abs().max()), "deviation": float(one.std())}


def rows(seconds: dict[str, list[dict[str, float]]]) -> list[list[str]]:
    """Backend; seconds of the first window and of the fastest other; how many times faster than the first backend."""
    least = {
        name: [min(run[kind] for run in runs[1:]) for kind in ("processor", "clock")] for name, runs in seconds.items()
    }
    reference = next(iter(least.values()))
    return [
        [
            name,
            f"{seconds[name][0]['processor']:.2f}",
            *(f"{value:.2f}" for value in least[name]),
            *(f"{before / now:.2f}×" for before, now in zip(reference, least[name], strict=True)),
        ]
        for name in seconds
    ]  # fmt: skip


def text_of(facts: dict[str, Any]) -> str:
    """The results as Markdown."""
    z, y, x = facts["window"]
    head = ("fp32", "first window, s of processor", "later, s of processor", "s of clock", "faster", "by the clock")
    sections = [
        "# A large network, compiled and in OpenVINO",
        describe(facts["command"], facts["machine"], facts["versions"]),
        f"TotalSegmentator's 3 mm net with random weights, a window of {z}×{y}×{x}, by turns in one process; "
        f"instructions: {facts['isa']}. Logits differ by at most {facts['difference']:.1e}, at a standard deviation of "
        f"{facts['deviation']:.2f}.",
        table(head, rows(facts["seconds"])),
    ]
    return "\n\n".join(sections)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--isa", choices=ISA, default="native", help="the newest instructions that both may use")
    parser.add_argument("--window", type=int, nargs=3, default=PATCH_ZYX, help="multiples of 16, 16, 32")
    parser.add_argument("--rounds", type=int, default=4, help="at least 2 (default: 4)")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for compiled.json and .md")
    arguments = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in ISA[arguments.isa].items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ISA[arguments.isa])
    command, environment = shlex.join(["python", *sys.argv]), machine()
    hold_to_cores(arguments.threads)
    z, y, x = arguments.window
    found = measure((z, y, x), max(2, arguments.rounds), arguments.threads)
    facts = {"command": command, "machine": environment, "versions": versions()}
    facts |= {"isa": arguments.isa, "window": [z, y, x]} | found
    name = "compiled" if arguments.isa == "native" else f"compiled_{arguments.isa}"
    write_results(name, facts, text_of(facts), arguments.results)


if __name__ == "__main__":
    main()
