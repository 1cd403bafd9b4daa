"""Which tumours a model finds in phantoms that it never saw, and what it takes for one in real CTs
(`make benchmark-lesions`).

    python Testing/benchmarks/lesions.py [--model NAME] [--phantoms 40] [--rules="LEAD,PEAK ..."] [--data FOLDER]

The phantoms' seeds are those from 1,000,000 on, which teach nothing. The first 16 validate in the training's
configurations, and a model's rule of lesions may have been chosen on them, so they are told apart from the others.
A lesion is found if a tenth of it is drawn; a false one touches no tumour (train/reporting/lesions.py). Real CTs
have no tumours annotated: of them every drawn one is listed, for the reader to look at.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from harness import RESULTS, ROOT, describe, machine, table, versions, write_results

from flareseg.io.files import read_labels, read_volume
from flareseg.labels import by_name
from flareseg.model.bundle import TEXTS, load_bundle, read_description, save_bundle
from flareseg.model.catalogue import find_model
from flareseg.model.plan import LesionRule
from flareseg.options import Options
from flareseg.results.lesions import find_lesions
from flareseg.results.metrics import dice
from flareseg.segmenter import Segmenter
from train.config import PhantomConfig
from train.reporting.lesions import compare_lesions, lesion_table
from train.synthetic.phantom_data import draw_phantoms, drawings

CHOSEN_ON = 16
SPACING = (2.5, 2.5, 2.5)
"""Of the phantoms, as train/configs/default_0.4.yaml draws them."""
TUMOUR = by_name("tumour").value
PARTS = (
    "liver, kidneys ≥ 20 mm",
    "smaller",
    "elsewhere ≥ 20 mm",
    "smaller",
    "false ones a case",
    "in liver, kidneys",
    "DSC",
)
"""Columns of each group of phantoms: those of `lesion_table`, and the DSC."""


def with_rule(model: Path, rule: LesionRule, folder: Path) -> Path:
    """A copy of the model, as a folder, that draws lesions by another rule."""
    bundle = load_bundle(model)
    texts = {key: bundle.info[key] for key in TEXTS}
    plan = replace(bundle.plan, lesions=rule)
    save_bundle(folder, plan=plan, weights=bundle.tensors, provenance={}, metrics={}, card="", **texts)
    return folder


def in_phantom(segmenter: Segmenter, folder: Path) -> dict[str, Any]:
    """What `compare_lesions` says of one phantom, and the DSC of its tumours, None where it has none."""
    volume, (reference, _) = read_volume(folder / "ct.nii.gz"), read_labels(folder / "seg.nii.gz")
    drawn = segmenter.segment(volume).labels
    score = dice(drawn == TUMOUR, reference == TUMOUR) if (reference == TUMOUR).any() else None
    return {"case": folder.name, "dsc": score} | compare_lesions(reference, drawn, volume)


def in_real_ct(segmenter: Segmenter, folder: Path) -> list[dict[str, Any]]:
    """Every drawn lesion: organ, ml, longest diameter (mm) and mean HU."""
    volume = read_volume(folder / "ct.nii.gz")
    found = find_lesions(segmenter.segment(volume), volume)
    return [
        {
            "host": one.host.title if one.host else "no organ",
            "ml": round(one.voxels * volume.geometry.voxel_ml, 1),
            "mm": round(one.longest.mm, 1),
            "hu": round(one.mean_hu or 0),
        }
        for one in found
    ]


def rows(found: dict[str, list[dict[str, Any]]]) -> Iterator[list[str]]:
    """A line for each rule: the phantoms that it may have been chosen on, and the others."""
    for rule, cases in found.items():
        line = [rule]
        for some in (cases[:CHOSEN_ON], cases[CHOSEN_ON:]):
            line += [value for _, value in lesion_table(some)] + [_mean_dsc(some)] if some else len(PARTS) * ["–"]
        yield line


def _mean_dsc(cases: Sequence[dict[str, Any]]) -> str:
    scores = [case["dsc"] for case in cases if case["dsc"] is not None]
    return f"{100 * float(np.mean(scores)):.1f}" if scores else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", default="tumours", help="name or folder")
    parser.add_argument("--phantoms", type=int, default=40, help="how many")
    parser.add_argument("--rules", default="", help='further rules to try: --rules="-1,2 -1,1" is lead, peak twice')
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="real CTs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for lesions.json and lesions.md")
    arguments = parser.parse_args()
    command, environment = shlex.join(["python", *sys.argv]), machine()

    home = ROOT / "runs" / "lesions" / "phantoms"
    wanted = PhantomConfig(0, arguments.phantoms, SPACING)
    draw_phantoms(home, wanted, arguments.threads)
    phantoms = [home / drawing.name for drawing in drawings(wanted)]
    model, options = find_model(arguments.model), Options(device="cpu", threads=arguments.threads)
    segmenter, own = Segmenter(model, options), read_description(model).plan.lesions
    found = {_named(own): [in_phantom(segmenter, phantom) for phantom in phantoms]}
    for rule in [LesionRule(*(float(value) for value in rule.split(","))) for rule in arguments.rules.split()]:
        with tempfile.TemporaryDirectory() as folder:
            other = Segmenter(with_rule(model, rule, Path(folder) / "model"), options)
        found[_named(rule)] = [in_phantom(other, phantom) for phantom in phantoms]
    folders = sorted(path.parent for path in arguments.data.glob("*/ct.nii.gz"))
    real = {folder.name: in_real_ct(segmenter, folder) for folder in folders}

    numbers = versions()
    text = "\n\n".join(
        [
            f"# Tumours that the model {segmenter.model_name} finds",
            describe(command, environment, numbers),
            f"{arguments.phantoms} phantoms that taught nothing; the rule may stem from the first {CHOSEN_ON} of them."
            " The first row is the model as it is.",
            table(
                ["lead, peak", *(f"{part}, first" for part in PARTS), *(f"{part}, others" for part in PARTS)],
                rows(found),
            ),
            "Real CTs, without annotated tumours: every lesion that is drawn.",
            table(["CT", "lesions", "organ, ml, longest diameter, mean HU"], [_told(*item) for item in real.items()]),
        ]
    )
    data = {"command": command, "machine": environment, "versions": numbers, "phantoms": found, "real": real}
    write_results("lesions", data, text, arguments.results)


def _named(rule: LesionRule) -> str:
    return f"{rule.lead:g}, {rule.peak:g}"


def _told(name: str, lesions: list[dict[str, Any]]) -> list[str]:
    each = "; ".join(f"{one['host']} {one['ml']} ml, {one['mm']} mm, {one['hu']} HU" for one in lesions)
    return [name, str(len(lesions)), each or "–"]


if __name__ == "__main__":
    main()
