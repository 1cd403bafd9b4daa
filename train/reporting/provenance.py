"""Provenance of an exported model: data and licences, fits in training order, configuration, code version."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flareseg.errors import InputError
from train.common.json_files import read_table
from train.common.paths import RunPaths
from train.config import Config
from train.data.index import CaseIndex
from train.training.checkpoints import DONE
from train.training.fits import hidden_from

MOST_LISTED = 60
"""Cases of one source that are listed one by one; of more, only how many they are, and their licences."""


def provenance_of(config: Config, paths: RunPaths, index: CaseIndex, line: dict[str, Sequence[str]]) -> dict[str, Any]:
    """Provenance in model.json of a model trained by the fits of `line`.

    Raises:
        InputError: when one of them is not finished.
    """
    fits = {name: _done(paths.fit(name, hidden)) for name, hidden in line.items()}
    seen = sorted({case for done in fits.values() for case in done["cases"]})
    phantoms, patients = config.phantoms, config.new_patients
    return {
        "date": date.today().isoformat(),
        "code": _revision(),
        "software": {name: version(name) for name in ("torch", "monai", "lightning")},
        "machine": platform.machine(),
        "phantoms": {"count": phantoms.count, "spacing_zyx_mm": list(phantoms.spacing_zyx_mm)} if phantoms else {},
        "new_patients": {"of": patients.cases, "count": patients.count} if patients else {},
        "data": _sources(config, index.cases, seen),
        "fits": fits,
        "recipe": {
            "nets": {config.fits[name].net: asdict(config.net_of(name)) for name in fits},
            "fits": {name: asdict(config.fits[name]) for name in fits},
            "rounds": {name: asdict(settings) for name, settings in config.rounds.items()},
            "pseudo": asdict(config.pseudo),
            "ablation": asdict(config.ablation),
            "seed": config.seed,
            "weights": config.export.weights,
        },
    }


def lineage(
    config: Config, index: CaseIndex, fit: str, helpers: Sequence[str] = (), left_out: Sequence[str] = ()
) -> dict[str, Sequence[str]]:
    """The fits of this run that `fit` and its helpers depend on, in training order, each with the cases it left out."""
    result: dict[str, Sequence[str]] = {}

    def follow(name: str, hidden: Sequence[str]) -> None:
        settings = config.fits[name]
        if name in result or (settings.task == "reconstruct" and not config.ablation.pretraining):
            return
        for other in (settings.start, settings.teacher):
            if other in config.fits:
                follow(other, hidden_from(config, index, other, left_out))
        if settings.labels == "fused":
            for teacher in config.labelling(settings.round).teachers:
                if teacher in config.fits:
                    follow(teacher, ())  # pseudo-labels are predicted once, see `fits.fit_named`
        result[name] = hidden

    for helper in helpers:
        follow(helper, hidden_from(config, index, helper, left_out))
    follow(fit, left_out)
    return result


def _done(folder: Path) -> dict[str, Any]:
    try:
        done: dict[str, Any] = json.loads((folder / DONE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"The fit '{folder}' is not finished; run its stage first.") from None
    return done


def _sources(config: Config, cases: Sequence[Any], seen: list[str]) -> list[dict[str, str]]:
    """Origin of the data: per case from its info.json, or one entry for a large source."""
    result: list[dict[str, str]] = []
    for source in config.sources:
        mine = [case for case in cases if case.source == source.name and case.name in seen]
        if len(mine) > MOST_LISTED:
            licences = sorted({case.licence for case in mine if case.licence})
            result.append({"case": source.name, "source": f"{len(mine)} CTs", "licence": ", ".join(licences)})
            continue
        for case in mine:
            info = read_table(case.image.parent / "info.json")
            wanted = ("source", "licence", "citation", "label_quality")
            result.append({"case": case.name} | {key: str(info[key]) for key in wanted if key in info})
    return result


def _revision() -> str:
    """The commit of this code, or "unknown" outside a checkout."""
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return result.stdout.strip()
