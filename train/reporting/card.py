"""Model card (MODEL_CARD.md): training data, training, scores and limitations."""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import Any

from flareseg.labels import structures
from flareseg.model.plan import Plan
from train.config import PHANTOMS, Config, NewPatientsConfig
from train.reporting.lesions import lesion_table
from train.reporting.unseen import kind_table, structure_table, unseen_rows

MOST_COLUMNS = 6

_TEXT = """\
# {name} {version}

{description} {classes} structures, a {spacing} mm net{helpers}.
**It is for research. It is not a medical device, and
its output must not guide the care of a patient.**

## Training data

- {phantoms} synthetic abdomens drawn by `train/synthetic/` (random anatomy, contrast phase, tumours, scanner).
{patients}- Real CTs:

{data}

Structures that are not annotated in a case were treated as unknown by the loss, not as background.

## Training

DynUNet (filters {filters}, {spacing} mm, patches {patch}), Dice + cross entropy (marginal for unannotated structures);
the averaged weights of every fit, in this order:

{fits}

The full configuration is in model.json. `python -m train all` with the configuration `{name}` reproduces the training.
Fits that end at their time limit depend on the machine.

## Scores

DSC / NSD (FLARE's rules and tolerances) in per cent; "-": not annotated or not in view. No case was in
the training set of the weights that it evaluates: a training case of the exported weights is evaluated by the same fit
trained without its patient.

{scores}
{lesions}{notes}
## Limits

- Small and low-contrast structures (pancreas, adrenal glands, duodenum, esophagus, gallbladder) are the hardest; plain
  CTs are harder than contrast-enhanced ones.
- A result without a tumour does not mean that there is none.
- Scans of other regions, post-operative anatomy and images that are not CT give nonsense.
"""


def model_card(
    config: Config,
    plan: Plan,
    provenance: dict[str, Any],
    scores: list[dict[str, Any]],
    lesions: list[dict[str, Any]],
) -> str:
    """The text of MODEL_CARD.md.

    Args:
        config: of the run.
        plan: of the exported model.
        provenance: as collected by `export`.
        scores, lesions: results of `evaluate`, possibly empty.
    """
    phantoms = f"{PHANTOMS}_"
    columns = [
        row | {"case": "unseen phantoms" if row["case"].startswith(phantoms) else row["case"]}
        for row in scores
        if row["model"] != "distill"
    ]
    return _TEXT.format(
        name=config.name,
        version=config.version,
        description=config.description,
        classes=plan.classes - 1,
        spacing=_short(plan.spacing_zyx_mm),
        helpers=_helpers(plan),
        phantoms=config.phantoms.count if config.phantoms else 0,
        patients=_new_patients(config.new_patients) if config.new_patients else "",
        data="\n".join(_source(source) for source in provenance["data"]) or "- none",
        filters="-".join(str(n) for n in plan.network.kwargs["filters"]),
        patch="x".join(str(n) for n in plan.patch_zyx),
        fits=_table(
            ("fit", "task", "steps", "minutes", "cases"),
            (
                (name, fit.get("task", "-"), fit["steps"], round(fit["seconds"] / 60, 1), len(fit["cases"]))
                for name, fit in provenance["fits"].items()
            ),
        ),
        notes="".join(f"\n{note}\n" for note in config.notes),
        scores=_scores(columns) if columns else "Not measured.",
        lesions=_lesions(config, lesions),
    )


def _helpers(plan: Plan) -> str:
    coarse = f" and a {_short(plan.coarse.spacing_zyx_mm)} mm net that finds the region" if plan.coarse else ""
    return coarse + (" and a net of its own for tumours" if plan.tumour else "")


def _new_patients(made: NewPatientsConfig) -> str:
    *others, last = made.cases
    cases = f"{', '.join(others)} and {last}" if others else last
    patients = "1 new patient" if made.count == 1 else f"{made.count} new patients"
    return f"- {patients} of each of {cases}, made by `train/synthetic/`: deformed, other contrast.\n"


def _lesions(config: Config, lesions: list[dict[str, Any]]) -> str:
    """Lesion detection of the exported model on unseen cases."""
    mine = [case for case in lesions if case["model"] == config.called(config.export.fit)]
    if not mine or ("tumour" in config.export.suppressed and not config.export.tumour):
        return ""
    phantoms = all(case["case"].startswith(f"{PHANTOMS}_") for case in mine)
    table = _table((f"lesions of {len(mine)} {'phantoms' if phantoms else 'cases'}", "found"), lesion_table(mine))
    return f"\n{table}\n"


def _scores(rows: list[dict[str, Any]]) -> str:
    """A column for each case, or, of a cross-validation of more than some, their mean and range."""
    unseen = unseen_rows(rows)
    if len({row["case"] for row in unseen}) <= MOST_COLUMNS:
        return _by_case(rows)
    tables = [_table(head, body) for head, *body in (structure_table(unseen), kind_table(unseen))]
    others = [row for row in rows if row not in unseen]
    return "\n\n".join([*tables, *([_by_case(others)] if others else [])])


def _by_case(rows: list[dict[str, Any]]) -> str:
    columns = sorted(dict.fromkeys((row["model"].split("_without")[0], row["case"]) for row in rows), key=itemgetter(1))
    cells: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for row in rows:
        for name in (row["structure"], "mean"):
            key = (row["model"].split("_without")[0], row["case"], name)
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
