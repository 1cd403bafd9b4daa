"""What the sizes of public nets cost: replicas with random weights on one CT, here alone (`make benchmark-public`).

    python Testing/benchmarks/public_models.py [--ct FILE | --data DIR] [--threads 2] [--results DIR]

The whole command in a fresh process, from the CT's file to the file of labels. docs/models.md tells of it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import GIB, RESULTS, ROOT, describe, machine, run_watched, table, versions, write_results
from totalsegmentator_replicas import full_resolution_replica, random_replica

CASE = "tcga_ov_09_2043"
FLARESEG = [sys.executable, "-m", "flareseg"]
REPLICAS: dict[str, Callable[[Path], Path]] = {
    "3 mm, 118 classes": random_replica,
    "1.5 mm, 25 classes": full_resolution_replica,
}


def measure(ct: Path, threads: int, home: Path) -> dict[str, dict[str, Any]]:
    """Seconds and peak memory by replica."""
    environment = {"XDG_DATA_HOME": str(home / "data"), "OMP_NUM_THREADS": str(threads)}
    found = {}
    for number, (name, make) in enumerate(REPLICAS.items()):
        trained, model = make(home / str(number)), f"replica{number}"
        run_watched([*FLARESEG, "models", "import", str(trained), "--name", model, "--no-parity"], environment)
        command = [*FLARESEG, "segment", str(ct), "-o", str(home / "labels.nii.gz"), "--model", model]
        command += ["--device", "cpu", "--threads", str(threads), "--overwrite", "--progress", "none"]
        found[name] = run_watched(command, environment)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--ct", type=Path, help=f"a .nii.gz (default: {CASE} of --data)")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of real CTs")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for public_models.json and .md")
    arguments = parser.parse_args()
    command, environment = shlex.join(["python", *sys.argv]), machine()
    ct = arguments.ct or arguments.data / CASE / "ct.nii.gz"
    with tempfile.TemporaryDirectory() as folder:
        found = measure(ct, arguments.threads, Path(folder))
    lines = [[name, f"{one['seconds']:.1f}", f"{one['peak_resident_bytes'] / GIB:.2f}"] for name, one in found.items()]
    text = "\n\n".join(
        [
            "# What the sizes of public nets cost",
            describe(command, environment, versions()),
            f"{ct.parent.name if ct.name.startswith('ct.') else ct.name}, {arguments.threads} threads; random weights, "
            "with which labels are as slow as they can be.",
            table(("net", "seconds", "peak GiB"), lines),
        ]
    )
    facts = {"command": command, "machine": environment, "versions": versions(), "runs": found}
    write_results("public_models", facts, text, arguments.results)


if __name__ == "__main__":
    main()
