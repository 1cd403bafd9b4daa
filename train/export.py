"""From a fit's weights to a model folder that flareseg loads, with its card."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flareseg.errors import InputError
from flareseg.model.bundle import COARSE, TUMOUR_NET, save_bundle
from train.card import model_card
from train.checkpoints import DONE, averaged_weights
from train.config import Config, NetConfig
from train.fits import hidden_from, plan_of
from train.index import CaseIndex, read_index
from train.json_files import read_table
from train.places import Places

if TYPE_CHECKING:
    import torch

LICENCE = "Apache-2.0"
CITATION = (
    "Method: Li, Han, Wang: Abdominal Organs and Pan-Cancer Segmentation Based on Self-supervised Pre-training and "
    "Self-training, FLARE 2023, doi:10.1007/978-3-031-58776-4_11. Weights: SlicerFlarePanCancer."
)

OUTPUT_BIAS = "output_block.conv.conv.bias"
NEVER = 1000.0
"""Subtracted from a logit that shall never win; half precision can still tell it."""


def export_model(
    config: Config,
    places: Places,
    fit: str,
    folder: Path,
    *,
    left_out: Sequence[str] = (),
    scores: list[dict[str, Any]] | None = None,
    lesions: list[dict[str, Any]] | None = None,
) -> Path:
    """Write a fit as a model folder, or replace the one that is there.

    Args:
        config: of the run. Where `fit` trains the same net as the configuration's export, the coarse net and the net
            for tumours go with it.
        places: of the run.
        fit: name of the fit.
        folder: to write.
        left_out: cases that the fit did not see.
        scores, lesions: what `evaluate` found, for the model card.

    Raises:
        InputError: when the fit is not finished.
    """
    same_net = config.fits[fit].net == config.fits[config.export.fit].net
    helpers = {COARSE: config.export.coarse, TUMOUR_NET: config.export.tumour} if same_net else {}
    helpers = {prefix: name for prefix, name in helpers.items() if name}
    index = read_index(places.index)
    weights = averaged_weights(places.fit(fit, left_out), config.export.weights)
    silent = config.export.silent if fit == config.export.fit else []
    _silence(weights, config.net_of(fit), silent)
    for prefix, name in helpers.items():
        found = averaged_weights(places.fit(name, hidden_from(config, index, name, left_out)), config.export.weights)
        if prefix == COARSE:
            _silence(found, config.net_of(name), silent)
        weights |= {prefix + key: value for key, value in found.items()}
    plans = {prefix: plan_of(config, places, name) for prefix, name in helpers.items()}
    intensity = plan_of(config, places, fit).intensity
    plan = config.net_of(fit).plan(intensity, plans.get(COARSE), plans.get(TUMOUR_NET), config.export.lesions)
    provenance = _provenance(config, places, index, _line(config, index, fit, list(helpers.values()), left_out))
    save_bundle(
        folder,
        plan=plan,
        weights=weights,
        name=config.name,
        version=config.version,
        description=config.description,
        licence=LICENCE,
        citation=CITATION,
        provenance=provenance,
        metrics={"rows": scores or []},
        card=model_card(config, plan, provenance, scores or [], lesions or []),
        overwrite=True,
    )
    return folder


def _silence(weights: dict[str, torch.Tensor], net: NetConfig, names: Sequence[str]) -> None:
    """Make these structures lose everywhere; changes `weights`."""
    bias = weights[OUTPUT_BIAS].clone()
    bias[[channel for channel, name in enumerate(net.names) if name in names]] -= NEVER
    weights[OUTPUT_BIAS] = bias


def read_scores(places: Places, name: str = "scores") -> list[dict[str, Any]]:
    """The rows that `evaluate` wrote, or its "lesions"; none where it has not run."""
    path = places.scores / f"{name}.json"
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return rows


def _provenance(config: Config, places: Places, index: CaseIndex, line: dict[str, Sequence[str]]) -> dict[str, Any]:
    fits = {name: _done(places.fit(name, hidden)) for name, hidden in line.items()}
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
            "pseudo": asdict(config.pseudo),
            "ablation": asdict(config.ablation),
            "seed": config.seed,
            "weights": config.export.weights,
        },
    }


def _line(
    config: Config, index: CaseIndex, fit: str, helpers: Sequence[str], left_out: Sequence[str]
) -> dict[str, Sequence[str]]:
    """The fits that this one and its helpers came from, first things first, as far as they are this run's, and what
    each left out."""
    result: dict[str, Sequence[str]] = {}

    def follow(name: str, hidden: Sequence[str]) -> None:
        settings = config.fits[name]
        if name in result or (settings.task == "reconstruct" and not config.ablation.pretraining):
            return
        for other in (settings.start, settings.teacher):
            if other in config.fits:
                follow(other, hidden_from(config, index, other, left_out))
        if settings.labels == "fused" and config.pseudo.tumour_fit in config.fits:
            follow(config.pseudo.tumour_fit, ())  # pseudo-labels are made once, see `fits.fit_named`
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
    """Where the data came from: case by case with what its info.json says, or, of a large source, once."""
    result: list[dict[str, str]] = []
    for source in config.sources:
        mine = [case for case in cases if case.source == source.name and case.name in seen]
        if len(mine) > 20:
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
