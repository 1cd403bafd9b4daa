"""The stages in order; each skips what is already done, so that a run can be stopped and started again.

phantoms    draw the synthetic abdomens and cache them, and the real cases
base        for each net: the fit on phantoms alone
final       from the base, with phantoms and all real cases: what is exported
folds       from the base, one fit without each real case, to be judged on that case
evaluate    DSC and NSD of each real case by the model that did not see it, and of phantoms of unseen seeds
export      the model folder
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from train.config import Config
from train.dataset import VALIDATION_SEED, Case, cache_real_cases, load_case, make_phantoms
from train.fit import fit

BASE, ALL = "base", "all"
SCORES = "evaluation.json"


def phantoms(config: Config) -> None:
    """Draw and cache the phantoms, cache the real cases."""
    cached_phantoms(config)
    validation_phantoms(config)
    real_cases(config)


def fit_base(config: Config) -> None:
    """Each net on phantoms alone."""
    for net in _nets(config):
        _base(net)


def fit_final(config: Config) -> None:
    """Each net from its base, on phantoms and all real cases."""
    real = real_cases(config)
    if real:
        _finetune(config, ALL, real)


def fit_folds(config: Config) -> None:
    """Each net from its base, once without each group of real cases that is judged together."""
    real = real_cases(config)
    for left_out in folds(config):
        names = {case.name for case in left_out}
        others = [case for case in real if case.name not in names]
        _finetune(config, fold_name(left_out), others)


def evaluate(config: Config) -> None:
    """Score, with flareseg's own pipeline, what each model has not seen."""
    from train.evaluate import predict, score, write_scores
    from train.export import export_model

    plan = [(BASE, real_cases(config)), (exported(config), validation_phantoms(config))]
    plan += [(fold_name(left_out), left_out) for left_out in folds(config)]
    rows: list[dict[str, Any]] = []
    for name, cases in plan:
        done = config.runs / "scores" / f"{name}.json"
        if cases and not done.exists():
            model = export_model(config, name, config.runs / "models" / name)
            found = []
            for case, prediction in zip(cases, predict(model, cases), strict=True):
                new = score(name, case, prediction)
                found += new
                mean = sum(row["dsc"] for row in new) / max(len(new), 1)
                print(f"{name}: {case.name}: mean DSC {mean:.3f} of {len(new)} structures", flush=True)
            done.parent.mkdir(parents=True, exist_ok=True)
            done.write_text(json.dumps(found, indent=1), encoding="utf-8")
        if cases:
            rows += json.loads(done.read_text(encoding="utf-8"))
    write_scores(rows, config.runs)


def export(config: Config) -> None:
    """The model folder, with the scores of `evaluate` where it has run."""
    from train.export import export_model

    path = config.runs / SCORES
    scores = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    print(f"Wrote {export_model(config, exported(config), config.output, scores)}.", flush=True)


def exported(config: Config) -> str:
    """The fit that is exported: the one on all real cases, or the base where there is none."""
    return ALL if real_cases(config) else BASE


def folds(config: Config) -> list[list[Case]]:
    """Groups of real cases; for each there is a fit that saw none of them.

    The configuration's groups as far as the data folder holds their cases, and every other case by itself. No group
    that would leave no real case to learn from.
    """
    real = {case.name: case for case in real_cases(config)}
    named = {name for group in config.folds for name in group}
    groups = [[real[name] for name in group if name in real] for group in config.folds]
    groups += [[case] for name, case in real.items() if name not in named]
    return [group for group in groups if 0 < len(group) < len(real)]


def fold_name(left_out: list[Case]) -> str:
    """Name of the fit without some cases."""
    return "without_" + "+".join(case.name for case in left_out)


def cached_phantoms(config: Config) -> list[Case]:
    """The phantoms that teach."""
    return _phantoms(config, 0, config.phantoms.count)


def validation_phantoms(config: Config) -> list[Case]:
    """Phantoms of seeds that never teach."""
    return _phantoms(config, VALIDATION_SEED, config.phantoms.validation)


def real_cases(config: Config) -> list[Case]:
    """The labelled CTs of the data folder; none where no folder is given."""
    if not config.data:
        return []
    return [load_case(path) for path in cache_real_cases(Path(config.data), config.runs / "real")]


def _phantoms(config: Config, first: int, count: int) -> list[Case]:
    seeds = range(first, first + count)
    return [load_case(path) for path in make_phantoms(config.runs / "phantoms", seeds, config.phantoms)]


def _nets(config: Config) -> list[Config]:
    return [config, config.coarse] if config.coarse else [config]


def _finetune(config: Config, name: str, real: list[Case]) -> None:
    for net in _nets(config):
        if net.finetune.max_steps > 0:
            fit(net.fit_folder(name), net, net.finetune, cached_phantoms(net), real, _base(net))


def _base(net: Config) -> dict[str, torch.Tensor]:
    return fit(net.fit_folder(BASE), net, net.base, cached_phantoms(net), [])


STAGES: dict[str, Callable[[Config], None]] = {
    "phantoms": phantoms,
    "base": fit_base,
    "final": fit_final,
    "folds": fit_folds,
    "evaluate": evaluate,
    "export": export,
}
