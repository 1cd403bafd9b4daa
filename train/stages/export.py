"""The stage `export`: write the weights of a fit as a model folder for flareseg, with its model card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flareseg.labels import TUMOUR
from flareseg.model.bundle import COARSE, TUMOUR_NET, load_bundle, read_description, save_bundle
from flareseg.model.calibration import Calibration
from flareseg.model.catalogue import find_model
from flareseg.model.plan import Plan
from flareseg.model.shared_nets import EMBEDDED, Shared
from train.common.distributed import Rank
from train.common.json_files import read_table
from train.common.paths import RunPaths
from train.config import FP16_BITS, PHANTOMS, Config
from train.data.index import CaseIndex, read_index
from train.reporting.card import model_card
from train.reporting.provenance import lineage, provenance_of
from train.training.checkpoints import DONE, averaged_weights
from train.training.fits import check_fresh, hidden_from, plan_of
from train.training.rounding import rounded
from train.training.suppression import lower, suppress

if TYPE_CHECKING:
    import torch

LICENCE = "Apache-2.0"
CITATION = (
    "Method: Li, Han, Wang: Abdominal Organs and Pan-Cancer Segmentation Based on Self-supervised Pre-training and "
    "Self-training, FLARE 2023, doi:10.1007/978-3-031-58776-4_11. Weights: SlicerFlarePanCancer."
)


def export_model(
    config: Config,
    paths: RunPaths,
    fit: str,
    folder: Path,
    *,
    left_out: Sequence[str] = (),
    region: str = "",
    scores: list[dict[str, Any]] | None = None,
    lesions: list[dict[str, Any]] | None = None,
    calibration: dict[str, Calibration] | None = None,
) -> Path:
    """Write a fit as a model folder, replacing an existing one.

    Args:
        config: of the run. If `fit` trains the same network as `export.fit`, the coarse and the tumour network are
            included.
        paths: of the run.
        fit: name of the fit, or the model that `export.fit` names.
        folder: to write.
        left_out: cases that the fit was trained without.
        region: the fit of the coarse network to include in any case.
        scores, lesions: results of `evaluate`, for the model card.
        calibration: what it learnt of the DSC that is to be expected.

    Raises:
        InputError: when the fit is not finished.
        UsageError: when it, or one that it descends from, is of other settings or data than those of today.
    """
    if fit not in config.fits:
        return _with_tumour_net(config, paths, folder, left_out, scores or [], lesions or [])
    same_net = config.fits[fit].net == config.fits[config.export.fit].net
    helpers = {COARSE: config.export.coarse, TUMOUR_NET: config.export.tumour} if same_net else {}
    helpers |= {COARSE: region} if region else {}
    helpers = {prefix: name for prefix, name in helpers.items() if name}
    index = read_index(paths.index)
    line = lineage(config, index, fit, list(helpers.values()), left_out)
    check_line(config, paths, index, line)
    weights = averaged_weights(paths.fit(fit, left_out), config.export.weights)
    suppressed = config.export.suppressed if fit == config.export.fit else []
    suppress(weights, config.net_of(fit), suppressed)
    if fit == config.export.fit and not config.export.tumour and TUMOUR in config.net_of(fit).names:
        lower(weights, config.net_of(fit), [TUMOUR], config.export.lesions.lead)
    for prefix, name in helpers.items():
        found = averaged_weights(paths.fit(name, hidden_from(config, index, name, left_out)), config.export.weights)
        if prefix == COARSE:
            suppress(found, config.net_of(name), suppressed)
        weights |= {prefix + key: value for key, value in found.items()}
    if config.export.significant_bits < FP16_BITS:
        weights = rounded(weights, config.export.significant_bits)
    plans = {prefix: plan_of(config, paths, name) for prefix, name in helpers.items()}
    intensity = plan_of(config, paths, fit).intensity
    plan = config.net_of(fit).plan(intensity, plans.get(COARSE), plans.get(TUMOUR_NET), config.export.lesions)
    plan = replace(plan, silent=_never_drawn(plan, suppressed), calibration=calibration or {})
    provenance = provenance_of(config, paths, index, line)
    return _save(config, folder, plan, weights, provenance, scores or [], lesions or [])


@contextmanager
def model_folder(config: Config, paths: RunPaths, fit: str, name: str, rank: Rank, **more: Any) -> Iterator[Path]:
    """The model folder of a fit, made for a stage that applies it; as `export_model`, which gets `more` and raises.

    The main rank writes `paths.model(name)`, and keeps it; each of the others has one of its own for as long as the
    block lasts, because they do not wait for the main one.
    """
    folder = paths.model(name if rank.is_main else f"{name}_rank{rank.number}")
    try:
        yield export_model(config, paths, fit, folder, **more)
    finally:
        if not rank.is_main:
            shutil.rmtree(folder, ignore_errors=True)


def _with_tumour_net(
    config: Config,
    paths: RunPaths,
    folder: Path,
    left_out: Sequence[str],
    scores: list[dict[str, Any]],
    lesions: list[dict[str, Any]],
) -> Path:
    """The model `export.fit` with the tumour network of this run instead of its own, if any.

    Its organ scores on real CTs remain valid for the new model, except where tumours overlay organs.
    """
    place, net = find_model(config.export.fit), config.export.tumour
    base = load_bundle(place)
    # the nets of an embedded model are there already
    shared = read_description(place).shared or Shared(place.name, base.sha256) if place.parent == EMBEDDED else None
    kept = {key: value for key, value in base.tensors.items() if not key.startswith(TUMOUR_NET) and not shared}
    index = read_index(paths.index)
    line = lineage(config, index, net, left_out=left_out)
    check_line(config, paths, index, line)
    found = averaged_weights(paths.fit(net, left_out), config.export.weights)
    plan = config.export.with_tumour_net(base.plan, plan_of(config, paths, net))
    before, own = base.info["provenance"], provenance_of(config, paths, index, line)
    provenance = own | {
        "begun_with": f"{base.name} {base.version}",
        "data": [*(one for one in before.get("data", []) if one not in own["data"]), *own["data"]],
        "fits": before.get("fits", {}) | own["fits"],
    }
    real = [row for row in base.info["metrics"].get("rows", []) if not row["case"].startswith(f"{PHANTOMS}_")]
    weights = kept | {TUMOUR_NET + key: value for key, value in found.items()}
    return _save(config, folder, plan, weights, provenance, [*real, *scores], lesions, shared)


def check_line(config: Config, paths: RunPaths, index: CaseIndex, line: Mapping[str, Sequence[str]]) -> None:
    """Check that none of the finished fits of `line` is stale."""
    for name, hidden in line.items():
        if (paths.fit(name, hidden) / DONE).exists():
            check_fresh(config, paths, index, name, hidden)


def _save(
    config: Config,
    folder: Path,
    plan: Plan,
    weights: dict[str, torch.Tensor],
    provenance: dict[str, Any],
    scores: list[dict[str, Any]],
    lesions: list[dict[str, Any]],
    shared: Shared | None = None,
) -> Path:
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
        metrics={"rows": scores},
        card=model_card(config, plan, provenance, scores, lesions),
        overwrite=True,
        shared=shared,
    )
    return folder


def _never_drawn(plan: Plan, suppressed: Sequence[str]) -> tuple[str, ...]:
    """Those suppressed structures that no other net draws."""
    return tuple(name for name in suppressed if not (name == TUMOUR and plan.tumour))


def read_scores(paths: RunPaths, name: str = "scores") -> list[dict[str, Any]]:
    """The rows written by `evaluate`, or its "lesions"; empty if it has not run."""
    path = paths.scores / f"{name}.json"
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return rows


def read_calibration(paths: RunPaths) -> dict[str, Calibration]:
    """By structure, what `evaluate` wrote; empty if it has not run."""
    return {name: Calibration.from_json(one) for name, one in read_table(paths.calibration).items()}
