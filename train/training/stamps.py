"""What a fit was made of: its settings, its cases with hashes of images and labels, its starting weights.

The stamp is written into fit.json when a fit begins. Later it is compared with what a fit of today would be made of, so
that no result passes for that of other settings or data. Only what changes the weights belongs to it: the step of the
windows or the rules for components do not make a fit stale, nor do worker processes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from train.common.hashes import array_hash, weights_hash
from train.fit_config import FitConfig

if TYPE_CHECKING:
    from flareseg.model.plan import Plan
    from train.training.module import FitJob

STAMP = "stamp"
Stamp = dict[str, Any]
_TRAINED = ("spacing_zyx_mm", "patch_zyx", "intensity", "resampling", "network", "labels")
"""Parts of a plan that a network is trained with; the others tell how it is applied."""
_NAMED_ELSEWHERE = {"net", "stage", "cases", "sources", "only", "start", "teacher", "round"}
"""Settings that choose what the stamp lists itself, by content."""
_WITHOUT_EFFECT = {
    "workers", "augment_on", "validate_every", "validation_patches", "validation_drawn", "validation_memory",
}  # fmt: skip
_SHOWN, _LONGEST = 3, 60
"""Cases that are named, and characters of a setting that is shown."""


def stamp_of(job: FitJob) -> Stamp:
    """The stamp of a fit as it would be trained now, in the form in which it is read back from JSON."""
    settings = job.settings
    facts = {
        "settings": {**_settings(settings), "seed": job.seed},  # of the configuration and of the fit
        "net": {**trained_part(job.plan), "deep_supervision": job.net.deep_supervision},
        "start": weights_hash(job.start),
        "teacher": job.teacher_hash,
        "cases": {case.name: [case.image_hash, case.labels_hash] for case in job.cases},
        "shares": array_hash(np.round(np.asarray(job.shares, np.float64), 9)),
        "validation": {
            "every": settings.validate_every,
            "patches": settings.validation_patches,
            "drawn": settings.validation_drawn,
            "memory": settings.validation_memory,
            "cases": {case.name: [case.image_hash, case.labels_hash] for case in job.validation},
        },
    }
    stamp: Stamp = json.loads(json.dumps(facts))
    return stamp


def trained_part(plan: Plan) -> dict[str, Any]:
    """The parts of a plan that the weights depend on."""
    return _trained(plan.to_json())


def stored_stamp(description: Mapping[str, Any]) -> Stamp:
    """The stamp in a fit.json.

    Fits that were begun before there were stamps only tell their task, optimizer and plan; what they do not tell counts
    as unknown.
    """
    if STAMP in description:
        stamp: Stamp = description[STAMP]
        return stamp
    known: Stamp = {"settings": {key: description[key] for key in ("task", "optimizer") if key in description}}
    return known | {"net": _trained(description.get("plan", {}))}


def differences(before: Stamp, now: Stamp, *, by_score: bool = False) -> list[str]:
    """In words, what is no longer as it was; what one of the two does not tell is no difference.

    Args:
        before, now: stamps.
        by_score: whether the validation counts, because it chooses the weights.
    """
    found = _changed(before, now, "settings", _settings(FitConfig("", 1)))
    found += [f"of its net, {text}" for text in _changed(before, now, "net", {"deep_supervision": 0})]
    named = (("start", "it started from other weights"), ("teacher", "it had another teacher"))
    found += [text for key, text in named if key in before and before[key] != now[key]]
    others = _other_cases(before.get("cases"), now["cases"], "case")
    if not others and before.get("shares", now["shares"]) != now["shares"]:
        others = ["its sources had other weights"]
    if by_score and "validation" in before:
        old, new = before["validation"], now["validation"]
        found += _changed({"v": _counts(old)}, {"v": _counts(new)}, "v", {})
        others += _other_cases(old["cases"], new["cases"], "validation case")
    return found + others


def _trained(plan: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: plan[key] for key in _TRAINED if key in plan}
    network = found.pop("network", {})
    return found | ({"network": network["name"], **network["kwargs"]} if network else {})


def _settings(settings: FitConfig) -> dict[str, Any]:
    """The settings that change weights, in one table: "augment.blur" and so on."""
    left_out = _NAMED_ELSEWHERE | _WITHOUT_EFFECT
    flat: dict[str, Any] = {}
    for key, value in asdict(settings).items():
        if key in ("augment", "corrupt"):
            flat |= {f"{key}.{name}": item for name, item in value.items()}
        elif key not in left_out:
            flat[key] = value
    found: dict[str, Any] = json.loads(json.dumps(flat))
    return found


def _counts(validation: Mapping[str, Any]) -> dict[str, Any]:
    counts = {"validate_every": validation["every"], "validation_patches": validation["patches"]}
    younger = {"validation_drawn": False, "validation_memory": 0.0}
    return counts | {key: validation.get(key.partition("_")[2], value) for key, value in younger.items()}


def _changed(before: Stamp, now: Stamp, part: str, defaults: Mapping[str, Any]) -> list[str]:
    """Entries of a table that were others. A key that is younger than the stored table had its default."""
    old, new = before.get(part, {}), now[part]
    whole = "cases" in before  # a stamp, not the little that is told without one
    texts = []
    for key, value in new.items():
        if key in old or (whole and key in defaults):
            was = old.get(key, defaults.get(key))
            if was != value:
                known = max(len(json.dumps(one)) for one in (was, value)) <= _LONGEST
                texts.append(f"{key} was {json.dumps(was)}, is {json.dumps(value)}" if known else f"{key} was another")
    return texts


def _other_cases(before: Mapping[str, Sequence[str]] | None, now: Mapping[str, Sequence[str]], kind: str) -> list[str]:
    if before is None:
        return []
    both = [name for name in now if name in before]
    groups = {
        f"new {kind}": [name for name in now if name not in before],
        f"{kind} no longer used": [name for name in before if name not in now],
        f"{kind} with another image": [name for name in both if _differ(before[name][0], now[name][0])],
        f"{kind} with other labels": [name for name in both if _differ(before[name][1], now[name][1])],
    }
    return [_listed(what, names) for what, names in groups.items() if names]


def _differ(one: str, other: str) -> bool:
    """An empty hash is unknown: a cache of before there were hashes."""
    return bool(one and other) and one != other


def _listed(what: str, names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return f"{len(names)} {what.replace('case', 'cases', 1) if len(names) > 1 else what} ({shown})"
