"""From the averaged weights of a fit to a model folder that flareseg loads, with its card."""

from __future__ import annotations

import json
import platform
import subprocess
from dataclasses import asdict
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flareseg.errors import InputError
from flareseg.model.bundle import COARSE, save_bundle
from flareseg.model.plan import Plan
from train.card import model_card
from train.config import Config
from train.fit import DONE, averaged_weights

LICENCE = "Apache-2.0"
DESCRIPTION = "Demonstration model: 13 abdominal organs and tumours, trained on phantoms and few real CTs."
CITATION = (
    "Method: Li, Han, Wang: Abdominal Organs and Pan-Cancer Segmentation Based on Self-supervised Pre-training and "
    "Self-training, FLARE 2023, doi:10.1007/978-3-031-58776-4_11. Weights: SlicerFlarePanCancer."
)


def full_plan(config: Config) -> Plan:
    """The plan of the net with its coarse companion."""
    return config.plan.plan(coarse=config.coarse.plan.plan() if config.coarse else None)


def export_model(config: Config, fit_name: str, folder: Path, scores: list[dict[str, Any]] | None = None) -> Path:
    """Write the nets of the fit `fit_name` ("all", "base", "without_...") as a model folder.

    Args:
        config: of the run; the coarse net is taken from the fit of the same name.
        fit_name: sub-folder of the nets' folders.
        folder: to write, or to replace.
        scores: rows of the evaluation that the model card reports.
    """
    provenance = _provenance(config, fit_name)
    weights = averaged_weights(config.fit_folder(fit_name))
    if config.coarse:
        coarse = averaged_weights(config.coarse.fit_folder(fit_name))
        weights |= {COARSE + name: value for name, value in coarse.items()}
    save_bundle(
        folder,
        plan=full_plan(config),
        weights=weights,
        name=config.name,
        version=config.version,
        description=DESCRIPTION,
        licence=LICENCE,
        citation=CITATION,
        provenance=provenance,
        metrics={"rows": scores or []},
        card=model_card(config, full_plan(config), provenance, scores or []),
        overwrite=True,
    )
    return folder


def _provenance(config: Config, fit_name: str) -> dict[str, Any]:
    nets = [config, config.coarse] if config.coarse else [config]
    fits = {}
    for net in nets:
        for folder in dict.fromkeys((net.fit_folder("base"), net.fit_folder(fit_name))):
            fits[f"{net.net}/{folder.name}"] = _done(folder)
    cases = fits[f"{config.net}/{config.fit_folder(fit_name).name}"]["cases"]
    return {
        "date": date.today().isoformat(),
        "code": _revision(),
        "software": {name: version(name) for name in ("torch", "monai", "lightning")},
        "machine": platform.machine(),
        "phantoms": {"count": config.phantoms.count, "spacing_zyx_mm": config.phantoms.spacing_zyx_mm},
        "data": [_source(Path(config.data) / name) for name in cases],
        "fits": fits,
        "recipe": {
            net.net: {name: asdict(getattr(net, name)) for name in ("plan", "base", "finetune", "augment")}
            for net in nets
        },
    }


def _done(folder: Path) -> dict[str, Any]:
    try:
        done: dict[str, Any] = json.loads((folder / DONE).read_text(encoding="utf-8"))
    except OSError:
        raise InputError(f"The fit '{folder}' is not finished; run the stage 'fit' first.") from None
    return done


def _source(case: Path) -> dict[str, str]:
    """What the data folder says about a case's origin."""
    info = json.loads((case / "info.json").read_text(encoding="utf-8"))
    wanted = ("source", "licence", "citation", "label_quality")
    return {"case": case.name} | {key: str(info[key]) for key in wanted if key in info}


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
