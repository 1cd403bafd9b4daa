"""MODEL_CARD.md: what the model is, what it learnt from, how well it does, and what it is not."""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import Any

from flareseg.labels import structures
from flareseg.model.plan import Plan
from train.config import Config

_TEXT = """\
# {name} {version}

A small demonstration model for abdominal CT: {classes} structures, a {spacing} mm net{coarse}. It runs on a laptop's
CPU in seconds. **It is a research demonstration trained on few real cases, mostly on synthetic ones. It is not a
medical device, and nothing it draws may guide the care of a patient.**

## What it learnt from

- {phantoms} synthetic abdomens drawn by `train/phantom.py` (random anatomy, contrast phase, tumours, scanner).
- {cases} real CT{plural}:

{data}

Structures that a real case does not annotate were unknown to the loss, not background. Tumours (structure 14) were
taught with synthetic lesions only; no real tumour was labelled.

## How it was trained

DynUNet (filters {filters}, {spacing} mm, patches {patch}), Dice + cross entropy (marginal for unannotated structures),
AdamW, bf16, averaged weights. First the phantoms alone, then real cases and phantoms. Steps and wall time of each fit
(the first version: two CPU cores shared with other work):

{fits}

`make model DATA=FOLDER` (`python -m train all --config train/configs/default.yaml data=FOLDER`) trains it again. Where
a fit reaches its time limit first, the number of steps, and so the weights, depend on the machine.

## How well it does

DSC / NSD (FLARE's rules and tolerances) in percent; "-": not annotated or not in view.

{real}

"base": trained on phantoms only. "without": fine-tuned without that case{pairs}, otherwise exactly like the exported
weights. Neither ever saw the case. The labels of the "ts_" cases are the output of another network, not drawn by
people. The exported weights saw all of the real cases, so their scores on these mean nothing and are not listed.

Phantoms of unseen seeds, by the exported weights:

{phantom}
{notes}
## Limits

- Few scanners, few patients, no children, hardly any pathology; the scores above rest on {cases} case{plural}.
- Small and low-contrast structures (pancreas, adrenal glands, duodenum, esophagus, gallbladder) are often wrong; plain
  CTs are harder than contrast-enhanced ones.
- Do not rely on tumours at all: see their score on the phantoms. The absence of a tumour in a result means nothing.
- Scans of other regions, post-operative anatomy and images that are not CT give nonsense.

## How to bring a better one

Train with more labelled CTs (`python -m train all ... data=FOLDER`, one folder per case with ct.nii.gz, seg.nii.gz and
info.json), or import a model trained elsewhere: `flareseg models import FOLDER`.
"""


def model_card(config: Config, plan: Plan, provenance: dict[str, Any], scores: list[dict[str, Any]]) -> str:
    """The text of MODEL_CARD.md.

    Args:
        config: of the run.
        plan: of the exported model.
        provenance: as `export` collects it.
        scores: rows of `evaluate`, may be empty.
    """
    data = provenance["data"]
    pairs = [group for group in config.folds if len(group) > 1]
    real = [row for row in scores if not row["case"].startswith("phantom")]
    phantom = [row | {"case": "unseen"} for row in scores if row["case"].startswith("phantom")]
    return _TEXT.format(
        name=config.name,
        version=config.version,
        classes=plan.classes - 1,
        spacing=_short(plan.spacing_zyx_mm),
        coarse=f" and a {_short(plan.coarse.spacing_zyx_mm)} mm net that finds the region" if plan.coarse else "",
        phantoms=config.phantoms.count,
        cases=len(data),
        plural="" if len(data) == 1 else "s",
        data="\n".join(_source(source) for source in data) or "- none",
        filters="-".join(str(n) for n in config.plan.filters),
        patch="x".join(str(n) for n in config.plan.train_patch_zyx),
        fits=_table(
            ("fit", "steps", "minutes", "real cases"),
            (
                (name, fit["steps"], round(fit["seconds"] / 60, 1), ", ".join(fit["cases"]) or "-")
                for name, fit in provenance["fits"].items()
            ),
        ),
        notes="".join(f"\n{note}\n" for note in config.notes),
        pairs=f" ({'; '.join(' and '.join(group) for group in pairs)} left out together)" if pairs else "",
        real=_scores(real) if real else "Real cases: not measured.",
        phantom=_scores(phantom) if phantom else "Phantoms of unseen seeds: not measured.",
    )


def _scores(rows: list[dict[str, Any]]) -> str:
    columns = sorted(dict.fromkeys((row["model"].split("_")[0], row["case"]) for row in rows), key=itemgetter(1))
    cells: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for row in rows:
        for name in (row["structure"], "mean"):
            key = (row["model"].split("_")[0], row["case"], name)
            cells.setdefault(key, []).append((row["dsc"], row["nsd"]))

    def cell(column: tuple[str, str], name: str) -> str:
        values = cells.get((*column, name))
        if not values:
            return "-"
        dsc, nsd = (100 * sum(pair[i] for pair in values) / len(values) for i in (0, 1))
        return f"{dsc:.1f} / {nsd:.1f}"

    names = [(structure.name, structure.title) for structure in structures()] + [("mean", "**Mean**")]
    return _table(
        ("structure", *(f"{case} ({model})" for model, case in columns)),
        ((title, *(cell(column, name) for column in columns)) for name, title in names),
    )


def _table(head: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(str(value) for value in line) + " |" for line in lines)


def _source(source: dict[str, str]) -> str:
    parts = [source[key] for key in ("source", "licence", "citation") if key in source]
    quality = f" Labels: {source['label_quality']}." if "label_quality" in source else ""
    return f"- **{source['case']}**: {'; '.join(parts)}.{quality}"


def _short(spacing: Iterable[float]) -> str:
    values = [f"{value:g}" for value in spacing]
    return values[0] if len(set(values)) == 1 else "x".join(values)
