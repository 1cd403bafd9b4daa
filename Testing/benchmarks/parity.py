"""Imported nnU-Net models beside nnU-Net's own predictor, label for label (`make benchmark-parity`).

    python Testing/benchmarks/parity.py [--threads 2] [--data ../shared/data] [--results DIR]

Every case is one trained-model folder on one CT with one setting, run by nnU-Net in its own environment and, imported,
by flareseg with --parity and without. The weights are the embedded model's, and those of the recordings that the tests
use (`record_nnunet.py`): a network with flat kernels that was trained for a moment, two folds, and a residual encoder
with random weights. The CTs are the public sample, a phantom, and the middles of three more that lie in the folder of
`--data`; cases whose CT is not there are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from compare import NNUNET_PYTHON
from compare_tables import agreement
from harness import DEFAULT_MODEL, RESULTS, ROOT, describe, machine, run_fresh, table, versions, write_results

from flareseg.commands.sample import sample_ct
from flareseg.interop.export import export_model
from flareseg.interop.nnunet.importer import read_nnunet
from flareseg.io.files import read_labels, read_volume, write_volume
from flareseg.model.bundle import load_bundle, save_bundle
from flareseg.model.structures import structures_of
from flareseg.volume import Geometry, Index, Triple, Volume

RECORDED = ROOT / "Testing" / "engine" / "data" / "nnunet"
PHANTOM_SEED, PHANTOM_SPACING_ZYX_MM = 11, (5.0, 1.6, 1.6)
PHANTOM_PART_ZYX = (32, 96, 112)
"""From its middle: nnU-Net needs thousands of the recordings' small windows for more."""
PHANTOM = "part of a phantom, 5 × 1.6 mm"
REAL_PARTS = {
    "part of cptac_c3l00189_lungbase, 5 × 0.86 mm": (30, 224, 256),
    "part of lidc_0001_thorax_upper_abdomen, 2.5 × 0.7 mm": (48, 192, 224),
    "part of spl_abdominal_atlas, 3 × 1.33 mm": (40, 96, 112),
}
"""Of the CTs in the folder of real ones, how much (z, y, x) of the middle."""
CPTAC, LIDC, ATLAS = REAL_PARTS
SAMPLE = "real, 3 mm"
EMBEDDED, FLAT, RESIDUAL = "embedded weights", "flat kernels, two folds", "residual encoder, random"
UNMASKED = "residual encoder, random, z-score of the whole image"
LEAST_EQUAL, LEAST_DICE = 0.9999, 0.999


@dataclass(frozen=True)
class Case:
    """One trained-model folder (a key of `Parity.models`) on one CT (a key of `Parity.cts`)."""

    model: str
    ct: str
    step: float
    mirroring: bool


CASES = (
    Case(EMBEDDED, SAMPLE, 0.5, True),
    Case(EMBEDDED, SAMPLE, 1.0, False),
    Case(EMBEDDED, PHANTOM, 1.0, False),
    Case(EMBEDDED, CPTAC, 1.0, False),
    Case(EMBEDDED, LIDC, 0.5, True),
    Case(FLAT, PHANTOM, 0.5, True),
    Case(FLAT, SAMPLE, 1.0, False),
    Case(FLAT, CPTAC, 1.0, False),
    Case(FLAT, ATLAS, 0.5, True),
    Case(RESIDUAL, PHANTOM, 0.5, True),
    Case(RESIDUAL, SAMPLE, 1.0, False),
    Case(UNMASKED, ATLAS, 0.5, True),
)


class Parity:
    """Runs both programs, each time in a fresh process, with everything they need in `scratch`."""

    def __init__(self, threads: int, nnunet_python: Path, data: Path, scratch: Path) -> None:
        self._threads, self._nnunet_python, self._scratch = threads, nnunet_python, scratch
        self.models: dict[str, Callable[[], Path]] = {
            EMBEDDED: self._embedded,
            FLAT: lambda: RECORDED / "anisotropic" / "model",
            RESIDUAL: lambda: RECORDED / "residual" / "model",
            UNMASKED: self._unmasked,
        }
        self.cts: dict[str, Callable[[], Path]] = {SAMPLE: sample_ct, PHANTOM: self._phantom}
        for name in REAL_PARTS:
            path = data / name.split()[2].rstrip(",") / "ct.nii.gz"
            if path.is_file():
                self.cts[name] = partial(self._part_of, path, REAL_PARTS[name])

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

    def _unmasked(self) -> Path:
        """The residual encoder with the other z-score normalisation."""
        folder = self._scratch / "unmasked"
        if not folder.exists():
            shutil.copytree(RECORDED / "residual" / "model", folder)
            plans = json.loads((folder / "plans.json").read_text(encoding="utf-8"))
            plans["configurations"]["3d_fullres"]["use_mask_for_norm"] = [False]
            (folder / "plans.json").write_text(json.dumps(plans), encoding="utf-8")
        return folder

    def _phantom(self) -> Path:
        from train.synthetic.phantom import make_phantom

        path = self._scratch / "phantom.nii.gz"
        if not path.exists():
            phantom = make_phantom(PHANTOM_SEED, spacing_zyx_mm=PHANTOM_SPACING_ZYX_MM, view="abdomen")
            self._write_middle(phantom.hu, phantom.spacing_zyx_mm, PHANTOM_PART_ZYX, path)
        return path

    def _part_of(self, ct: Path, part_zyx: Index) -> Path:
        path = self._scratch / f"{ct.parent.name}.nii.gz"
        if not path.exists():
            volume = read_volume(ct)
            self._write_middle(volume.hu, volume.geometry.spacing_zyx_mm, part_zyx, path)
        return path

    @staticmethod
    def _write_middle(hu: np.ndarray, spacing_zyx_mm: Triple, part_zyx: Index, path: Path) -> None:
        starts = [(size - part) // 2 for size, part in zip(hu.shape, part_zyx, strict=True)]
        box = tuple(slice(start, start + part) for start, part in zip(starts, part_zyx, strict=True))
        write_volume(Volume(np.ascontiguousarray(hu[box]), Geometry(part_zyx, spacing_zyx_mm)), path)


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
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of real CTs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for parity.json and parity.md")
    arguments = parser.parse_args()
    command, environment = shlex.join(["python", *sys.argv]), machine()
    with tempfile.TemporaryDirectory() as folder:
        parity = Parity(arguments.threads, arguments.nnunet, arguments.data, Path(folder))
        rows = [parity.row(case) for case in CASES if case.ct in parity.cts]
    numbers = versions() | {"nnunetv2": rows[0]["nnunet_versions"]["nnunetv2"]}
    facts = {"command": command, "machine": environment, "versions": numbers, "threads": arguments.threads}
    write_results("parity", facts | {"cases": rows}, text_of(rows, facts), arguments.results)


if __name__ == "__main__":
    main()
