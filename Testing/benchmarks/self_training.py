"""What each part of the winner's recipe brings on phantoms: the same small net, taught in several ways, by seeds.

python Testing/benchmarks/self_training.py [--seeds N] [--epochs N] [--runs FOLDER] [--results DIR]

self_training.yaml says what is compared. All seeds see the same phantoms; the seed chooses weights and patches. A run
that was stopped goes on from where it was. docs/self_training.py draws what it writes.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from harness import HERE, RESULTS, describe, machine, table, versions, write_results

from flareseg.io.files import read_labels, read_volume
from flareseg.labels import by_names
from flareseg.options import Options
from flareseg.results.metrics import dice
from flareseg.segmenter import Segmenter
from train.common.json_files import read_table
from train.common.paths import RunPaths
from train.config import Config
from train.config_file import load_config
from train.data.case_folder import ORGANS
from train.data.index import IGNORE, CaseIndex, read_index
from train.pipeline import Run
from train.stages.export import export_model
from train.synthetic.phantom_data import FULL
from train.training.fits import fit_named

CONFIG = HERE / "self_training.yaml"
EPOCHS = load_config(CONFIG).fits["student"].epochs
STAGES = ("rounds", "pseudolabel", "fuse", "final", "distill")


@dataclass(frozen=True)
class Arm:
    """A net to score.

    Attributes:
        title: of its row.
        fit: that trained it.
        region: whether the region net is in front of it.
        changed: whether it differs from the arm before in the one part that its title names.
    """

    title: str
    fit: str
    region: bool = True
    changed: bool = True


ARMS = (
    Arm("ground truth alone", "taught_by_truth", changed=False),
    Arm("one round, one teacher", "taught_by_single"),
    Arm("one round, two teachers that agree", "taught_by_first"),
    Arm("two rounds, two teachers that agree", "taught_by_last"),
    Arm("… distilled from the large net (the recipe)", "student"),
    Arm("… without the region net", "student", region=False),
    Arm("the large net that it is distilled from", "final", changed=False),
    Arm("full ground truth of every phantom", "taught_by_full", changed=False),
)
LABELS = (
    ("one round, one teacher", "single"),
    ("one round, two teachers that agree", "first"),
    ("two rounds, two teachers that agree", ""),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="how often everything is trained")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of every fit, of 20 steps each")
    parser.add_argument("--runs", type=Path, default=Path("runs/self_training"), help="folder for phantoms and nets")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the results go")
    options = parser.parse_args()
    base = prepared(options.runs / "base")
    about = machine() | {"versions": versions(), "epochs": options.epochs}
    found: dict[str, Any] = about | {"scores": [], "labels": []}
    for seed in range(1, options.seeds + 1):
        config, paths = trained(base, options.runs / f"seed_{seed}", seed, options.epochs)
        index = read_index(paths.index)
        found["scores"] += [row | {"seed": seed} for arm in ARMS for row in scores(config, paths, index, arm)]
        found["labels"] += [row | {"seed": seed} for row in label_quality(config, paths, index)]
        write_results("self_training", found, page(found), options.results)


def prepared(folder: Path) -> RunPaths:
    """The phantoms, drawn and cached once for all seeds.

    Instead of imperfect pseudo-labels they come with their full ground truth, which only the round `full` makes use of.
    """
    config = load_config(CONFIG, [f"runs={folder}", f"output={folder / 'model'}"])
    Run(config).stage("prepare")
    for full in (folder / "phantoms").glob(f"*/{FULL}"):
        shutil.copyfile(full, full.with_name(ORGANS))
    return RunPaths(folder)


def trained(base: RunPaths, folder: Path, seed: int, epochs: int) -> tuple[Config, RunPaths]:
    """All fits of one seed."""
    if not folder.exists():
        partial = folder.with_name(f".{folder.name}")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(base.root, partial, ignore=shutil.ignore_patterns("phantoms"))
        partial.rename(folder)
    changes = [f"runs={folder}", f"output={folder / 'model'}", f"seed={seed}"]
    changes += [f"fits.{name}.epochs={epochs}" for name in load_config(CONFIG).fits]
    config = load_config(CONFIG, changes)
    run = Run(config)
    for name in ("region", "organs_a", "organs_b"):  # of the stage `tumor`, the fits that are compared
        fit_named(config, run.paths, run.index, name)
    for stage in STAGES:
        run.stage(stage)
    return config, run.paths


def scores(config: Config, paths: RunPaths, index: CaseIndex, arm: Arm) -> Iterator[dict[str, Any]]:
    """DSC of an arm for each validation phantom and each structure: means over what the one shows of the other."""
    export = replace(config.export, coarse="")
    region = config.export.coarse if arm.region else ""
    folder = export_model(replace(config, export=export), paths, arm.fit, paths.root / "scored", region=region)
    segmenter = Segmenter(folder, Options(device="cpu"))
    found: dict[tuple[str, str], list[float]] = {}
    for case in index.split("validation"):
        assert case.labels
        truth = read_labels(case.labels)[0]
        drawn = segmenter.segment(read_volume(case.image)).labels
        for structure in segmenter.structures:
            shown = truth == structure.value
            if shown.any():
                score = float(dice(drawn == structure.value, shown))
                for of in (("phantom", case.name), ("structure", structure.name)):
                    found.setdefault(of, []).append(score)
    for (what, name), each in found.items():
        yield {"arm": arm.title, what: name, "dsc": round(float(np.mean(each)), 4)}


def label_quality(config: Config, paths: RunPaths, index: CaseIndex) -> Iterator[dict[str, Any]]:
    """Of the voxels that the full ground truth, or the labels, draw in a phantom that nobody annotated: how many are
    right, wrong and unknown."""
    values = [structure.value for structure in by_names(config.net_of("final").names[1:])]
    for title, name in LABELS:
        here = paths.of_round(name)
        for case in index.split("train"):
            if case.labels is None:
                truth = read_labels(case.image.parent / FULL)[0]
                labels = read_labels(here.fused(case.name))[0]
                known = [structure.value for structure in by_names(read_table(here.fused_record(case.name))["known"])]
                shown = np.where(np.isin(truth, values), truth, 0)
                counted = (shown > 0) | (labels > 0)
                # where an organ is not known, 0 says nothing about it
                unknown = (labels == IGNORE) | ((labels == 0) & ~np.isin(shown, known))
                wrong = (labels != shown) & ~unknown
                parts = {"right": counted & ~unknown & ~wrong, "unknown": counted & unknown, "wrong": counted & wrong}
                shares = {key: round(float(part.sum() / max(counted.sum(), 1)), 4) for key, part in parts.items()}
                yield {"labels": title, "case": case.name} | shares


def page(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    seeds = sorted({row["seed"] for row in found["scores"]})
    each_seed = (f"seed {seed}" for seed in seeds)
    header = ("taught by", "organs, DSC", *each_seed, "beyond the row above", "phantoms better")
    rows: list[tuple[str, ...]] = []
    for before, arm in zip((None, *ARMS), ARMS, strict=False):
        each = list(means(found, arm, "seed").values())
        beyond = compared(found, arm, before) if arm.changed and before else ("–", "–")
        rows.append((arm.title, f"{np.mean(each):.1f}", *(f"{one:.1f}" for one in each), *beyond))
    quality = []
    for title, _name in LABELS:
        mine = [row for row in found["labels"] if row["labels"] == title]
        shares = (f"{100 * float(np.mean([row[key] for row in mine])):.1f}" for key in ("right", "unknown", "wrong"))
        quality.append((title, *shares))
    command = f"python Testing/benchmarks/self_training.py --seeds {len(seeds)} --epochs {found['epochs']}"
    return PAGE.format(
        steps=20 * found["epochs"],
        described=describe(command, found, found["versions"]),
        scores=table(header, rows),
        labels=table(("labels of phantoms that nobody annotated", "right", "unknown", "wrong"), quality),
    )


PAGE = """\
# What each part of the winner's recipe brings on phantoms

{described}

The same small net, but for the large one, by what taught it: {steps} steps of one patch at 8 mm. DSC in per cent on 24
phantoms that no net saw, all fully annotated: mean over six organs of the mean over phantoms, then over seeds. Of the
18 phantoms for training three have half of their organs annotated, seven another part, eight none. A seed chooses
weights and patches. Beyond the row above: mean of the seeds, and the lowest and the highest of several.

{scores}

In per cent of the voxels that the full ground truth or the labels draw, mean over phantoms and seeds:

{labels}
"""


def means(found: dict[str, Any], arm: Arm, by: str) -> dict[Any, float]:
    """Mean DSC of an arm by seed, over structures, or by phantom, over seeds; in per cent."""
    of = "structure" if by == "seed" else by
    mine = [row for row in found["scores"] if row["arm"] == arm.title and of in row]
    names = dict.fromkeys(row[by] for row in mine)
    return {name: 100 * float(np.mean([row["dsc"] for row in mine if row[by] == name])) for name in names}


def compared(found: dict[str, Any], arm: Arm, before: Arm) -> tuple[str, str]:
    """By how much an arm is better: mean of the seeds, the lowest and the highest; and in how many of the phantoms."""
    seeds, phantoms = (
        [own - above for own, above in zip(*(means(found, one, by).values() for one in (arm, before)), strict=True)]
        for by in ("seed", "phantom")
    )
    spread = f" ({min(seeds):+.1f} to {max(seeds):+.1f})" if len(seeds) > 1 else ""
    return f"{np.mean(seeds):+.1f}{spread}", f"{sum(more > 0 for more in phantoms)} of {len(phantoms)}"


if __name__ == "__main__":
    sys.exit(main())
