"""Imported nnU-Net models beside nnU-Net's own predictor, label for label (`make -C Testing/benchmarks parity`).

    python Testing/benchmarks/parity.py [--threads 2] [--results DIR]

Every case is one trained-model folder on one CT with one setting, run by nnU-Net in its own environment and, imported,
by flareseg with --parity and without. The weights are the embedded model's, and those of the recordings that the tests
use (`record_nnunet.py`): a network with flat kernels that was trained for a moment, two folds, and a residual encoder
with random weights.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from compare import NNUNET_PYTHON
from compare_tables import agreement
from harness import DEFAULT_MODEL, RESULTS, ROOT, describe, machine, run_fresh, table, versions, write_results

from flareseg.io.files import read_labels, write_volume
from flareseg.model.bundle import load_bundle, save_bundle
from flareseg.model.exports.export import export_model
from flareseg.model.nnunet_import import read_nnunet
from flareseg.model.structures import structures_of
from flareseg.sample import sample_ct
from flareseg.volume import Geometry, Volume

RECORDED = ROOT / "Testing" / "engine" / "data" / "nnunet"
PHANTOM_SEED, PHANTOM_SPACING_ZYX_MM = 11, (5.0, 1.6, 1.6)
PHANTOM_PART_ZYX = (32, 96, 112)
"""From its middle: nnU-Net needs thousands of the recordings' small windows for more."""
LEAST_EQUAL, LEAST_DICE = 0.9999, 0.999


@dataclass(frozen=True)
class Case:
    """One trained-model folder (a key of `Parity.models`) on one CT (a key of `Parity.cts`)."""

    model: str
    ct: str
    step: float
    mirroring: bool


CASES = (
    Case("embedded weights", "real, 3 mm", 0.5, True),
    Case("embedded weights", "real, 3 mm", 1.0, False),
    Case("embedded weights", "part of a phantom, 5 × 1.6 mm", 1.0, False),
    Case("flat kernels, two folds", "part of a phantom, 5 × 1.6 mm", 0.5, True),
    Case("flat kernels, two folds", "real, 3 mm", 1.0, False),
    Case("residual encoder, random", "part of a phantom, 5 × 1.6 mm", 0.5, True),
    Case("residual encoder, random", "real, 3 mm", 1.0, False),
)


class Parity:
    """Runs both programs, each time in a fresh process, with everything they need in `scratch`."""

    def __init__(self, threads: int, nnunet_python: Path, scratch: Path) -> None:
        self._threads, self._nnunet_python, self._scratch = threads, nnunet_python, scratch
        self.models: dict[str, Callable[[], Path]] = {
            "embedded weights": self._embedded,
            "flat kernels, two folds": lambda: RECORDED / "anisotropic" / "model",
            "residual encoder, random": lambda: RECORDED / "residual" / "model",
        }
        self.cts: dict[str, Callable[[], Path]] = {
            "real, 3 mm": sample_ct,
            "part of a phantom, 5 × 1.6 mm": self._phantom,
        }

    def row(self, case: Case) -> dict[str, Any]:
        """How far both programs agree, and how long they took."""
        trained, ct = self.models[case.model](), self.cts[case.ct]()
        folds = [int(path.name.removeprefix("fold_")) for path in sorted(trained.glob("fold_*"))]
        imported = self._scratch / "imported" / case.model.replace(" ", "_")
        if not imported.exists():
            read_nnunet(trained).save(imported, name="imported", overwrite=False)
        order = {"ct": str(ct), "step": case.step, "mirroring": case.mirroring, "repeats": 1}
        theirs, expected = self._run(
            self._nnunet_python, "nnunet_side.py", order | {"model": str(trained), "folds": folds}
        )
        values = np.array([0, *(s.value for s in structures_of(load_bundle(imported).plan))], np.uint8)
        found: dict[str, Any] = {"model": case.model, "ct": case.ct, "step": case.step, "mirroring": case.mirroring}
        found |= {"nnunet_s": theirs["runs"][0]["total_s"], "nnunet_versions": theirs["versions"]}
        for kind, changes in (
            ("parity", {"parity": True, "backend": "auto"}),
            ("fast", {"parity": False, "backend": "auto"}),
        ):
            ours, labels = self._run(
                Path(sys.executable), "flareseg_side.py", order | changes | {"model": str(imported)}
            )
            found[kind] = agreement(labels, values[expected]) | {"seconds": ours["runs"][0]["total_s"]}
            found[kind]["device"] = ours["device"]
        found["labels_found"] = len(np.unique(expected)) - 1
        return found

    def _run(self, python: Path, script: str, order: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
        output = self._scratch / "labels.nii.gz"
        measured = run_fresh(
            python, script, order | {"output": str(output)}, self._threads, nnUNet_def_n_proc=str(self._threads)
        )
        labels, _ = read_labels(output)
        output.unlink()
        return measured, labels

    def _embedded(self) -> Path:
        """The embedded main net as nnU-Net's folder, with mirroring allowed; nothing that nnU-Net does not do."""
        exported = self._scratch / "exported"
        if exported.exists():
            return exported
        bundle = load_bundle(DEFAULT_MODEL)
        plan = replace(bundle.plan, mirror_axes=(0, 1, 2), windows="fixed", coarse=None, components={})
        save_bundle(self._scratch / "own", plan=plan, weights=dict(bundle.weights), card="", **bundle.info)
        return export_model(self._scratch / "own", "nnunet", folder=exported)

    def _phantom(self) -> Path:
        sys.path.insert(0, str(ROOT))
        from train.phantom import make_phantom

        path = self._scratch / "phantom.nii.gz"
        if path.exists():
            return path
        phantom = make_phantom(PHANTOM_SEED, spacing_zyx_mm=PHANTOM_SPACING_ZYX_MM, view="abdomen")
        starts = [(size - part) // 2 for size, part in zip(phantom.hu.shape, PHANTOM_PART_ZYX, strict=True)]
        box = tuple(slice(start, start + part) for start, part in zip(starts, PHANTOM_PART_ZYX, strict=True))
        hu = np.ascontiguousarray(phantom.hu[box])
        write_volume(Volume(hu, Geometry(PHANTOM_PART_ZYX, phantom.spacing_zyx_mm)), path)
        return path


def text_of(rows: list[dict[str, Any]], facts: dict[str, Any]) -> str:
    """The results as Markdown."""

    def cells(row: dict[str, Any]) -> list[str]:
        parity, fast = row["parity"], row["fast"]
        return [
            f"{row['model']}; {row['ct']}; step {row['step']}{', mirroring' if row['mirroring'] else ''}",
            f"{100 * parity['equal']:.4f}",
            f"{min(parity['dice'].values(), default=1.0):.5f}",
            f"{row['nnunet_s']:.1f}",
            f"{parity['seconds']:.1f} ({row['nnunet_s'] / parity['seconds']:.1f}×)",
            f"{100 * fast['equal']:.2f}",
            f"{fast['seconds']:.1f} ({row['nnunet_s'] / fast['seconds']:.1f}×)",
        ]

    head = ("case", "equal, %", "lowest DSC", "nnU-Net, s", "--parity, s", "--no-parity equal, %", "--no-parity, s")
    good = sum(
        row["parity"]["equal"] >= LEAST_EQUAL and min(row["parity"]["dice"].values(), default=1.0) >= LEAST_DICE
        for row in rows
    )
    return "\n\n".join(
        [
            "# Imported models beside nnU-Net's predictor",
            describe(facts["command"], facts["machine"], facts["versions"]),
            f"{good} of {len(rows)} cases reach {100 * LEAST_EQUAL:g} % of equal voxels and a DSC of {LEAST_DICE} in "
            f"every structure with `--parity`. {facts['threads']} threads; one case a process, models loaded before "
            "the clock starts, seconds from reading to written, one run each. `--no-parity` has the same step and "
            "mirroring.",
            table(head, [cells(row) for row in rows]),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--nnunet", type=Path, default=NNUNET_PYTHON, help="Python of nnU-Net's environment")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for parity.json and parity.md")
    arguments = parser.parse_args()
    command, environment = shlex.join(["python", *sys.argv]), machine()
    with tempfile.TemporaryDirectory() as folder:
        parity = Parity(arguments.threads, arguments.nnunet, Path(folder))
        rows = [parity.row(case) for case in CASES]
    numbers = versions() | {"nnunetv2": rows[0]["nnunet_versions"]["nnunetv2"]}
    facts = {"command": command, "machine": environment, "versions": numbers, "threads": arguments.threads}
    write_results("parity", facts | {"cases": rows}, text_of(rows, facts), arguments.results)


if __name__ == "__main__":
    main()
