"""Which tumours a model shall keep, chosen on cases that its nets have not seen (part of the stage `evaluate`).

As nnU-Net's find_best_configuration does with components, every candidate of `tumour_rules` is scored on the blind
cases of `evaluate`: how sure the net must be (`LesionRule`), the least volume of a lesion, and whether the largest
lesion alone is kept. A candidate that is best on the same cases looks better than it is; so the choice is made again
without each fold (or, of a single model, without each patient) and judged on what was left out. It is kept only if it
is better there than what is configured. `export` puts it into the model's plan.

A case counts by FLARE's rule: where neither the reference nor the model has a tumour, the DSC is 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from flareseg.errors import FlareError
from flareseg.io.files import read_labels, read_volume
from flareseg.labels import TUMOUR as TUMOUR_NAME
from flareseg.model.bundle import load_bundle
from flareseg.model.catalogue import find_model
from flareseg.model.plan import ComponentRule, LesionRule
from flareseg.segmenter import Segmenter
from train.common.hashes import file_stamp
from train.common.json_files import read_table, write_json
from train.common.paths import RunPaths
from train.config import Config, TumourRulesConfig
from train.data.index import IGNORE, TUMOUR, CaseIndex, IndexedCase
from train.net_config import component_rules
from train.stages.evaluate import EvaluationJob, fingerprint_of, inputs_of, models_to_evaluate, options_of
from train.stages.export import export_model
from train.training.checkpoints import DONE


@dataclass(frozen=True)
class Rule:
    """A candidate: what the net must say of a lesion, and what is kept of the lesions."""

    lesions: LesionRule
    components: ComponentRule

    def __str__(self) -> str:
        lead, peak = self.lesions.lead, self.lesions.peak
        kept = "the largest lesion" if self.components.largest_only else "all lesions"
        least = f" of at least {self.components.minimum_ml:g} ml" if self.components.minimum_ml else ""
        sure = f", lead {lead:g}{f', peak {peak:g}' if peak > lead else ''}" if lead or peak > lead else ""
        return f"{kept}{least}{sure}"


@dataclass(frozen=True)
class Drawn:
    """What a model drew as tumours in a case that it had not seen.

    Attributes:
        group: what is left out together when the choice is judged.
        reference: voxels of the tumours in the ground truth.
        lesions: of each 26-connected component its volume in ml, its voxels and how many of these are right; voxels
            whose truth is not known count as neither.
    """

    group: str
    reference: int
    lesions: tuple[tuple[float, int, int], ...]

    def dsc(self, rule: ComponentRule) -> float:
        """Of what a rule keeps."""
        kept = list(self.lesions)
        if rule.largest_only and kept:
            kept = [max(kept, key=lambda lesion: lesion[0])]
        kept = [lesion for lesion in kept if lesion[0] >= rule.minimum_ml]
        both = self.reference + sum(voxels for _, voxels, _ in kept)
        return 2 * sum(right for *_, right in kept) / both if both else 1.0


@dataclass(frozen=True)
class Choice:
    """The best candidate, and whether it is of use.

    Attributes:
        rule: the best on all cases.
        configured, chosen: mean DSC over the cases that were left out, of the configured rule, and of those that were
            best without them.
        cases: how many.
    """

    rule: Rule
    configured: float
    chosen: float
    cases: int

    @property
    def helps(self) -> bool:
        return self.chosen > self.configured


def choose(drawn: Mapping[LesionRule, Sequence[Drawn]], candidates: Sequence[Rule], configured: Rule) -> Choice | None:
    """Choose among candidates; None where nothing can be left out to judge the choice.

    Args:
        drawn: the cases, in one order, by what the net had to say of a lesion.
        candidates: the mildest first, which wins where several are as good.
        configured: today's rule, one of them or not.
    """
    groups = [case.group for case in drawn[configured.lesions]]
    if len(set(groups)) < 2:
        return None
    scores = {
        rule: np.array([case.dsc(rule.components) for case in drawn[rule.lesions]])
        for rule in dict.fromkeys([configured, *candidates])
    }
    found = np.zeros(len(groups))
    for group in dict.fromkeys(groups):
        out = np.array([own == group for own in groups])
        best = max(scores, key=lambda rule: float(scores[rule][~out].mean()))
        found[out] = scores[best][out]
    rule = max(scores, key=lambda rule: float(scores[rule].mean()))
    return Choice(rule, float(scores[configured].mean()), float(found.mean()), len(groups))


def choose_tumour_rule(config: Config, paths: RunPaths, index: CaseIndex) -> None:
    """Score the candidates of the configuration, and write what `export` shall take, or that it shall take nothing."""
    wanted = config.tumour_rules
    if wanted is None:
        return
    configured = configured_rule(config)
    candidates = candidates_of(wanted, configured)
    jobs = [job for job in models_to_evaluate(config, index) if job.fit == config.export.fit]
    leads = dict.fromkeys(rule.lesions for rule in [configured, *candidates])
    by_case = {lesions: _drawn_by_all(config, paths, jobs, lesions, configured) for lesions in leads}
    cases = [name for name in by_case[configured.lesions] if all(name in drawn for drawn in by_case.values())]
    drawn = {lesions: [found[name] for name in cases] for lesions, found in by_case.items()}
    choice = choose(drawn, candidates, configured)
    facts: dict[str, Any] = {"made_of": _weights(config, paths), "rule": None}
    if choice is None:
        text = "too few cases with searched tumours to choose a rule"
    else:
        facts |= {"cases": choice.cases, "configured_dsc": choice.configured, "chosen_dsc": choice.chosen}
        text = (
            f"{choice.rule}: DSC {choice.chosen:.3f} of {choice.cases} cases that were left out, "
            f"as configured {choice.configured:.3f}"
        )
        if choice.helps:
            facts["rule"] = {"lesions": choice.rule.lesions.to_json(), "components": choice.rule.components.to_json()}
        else:
            text += "; nothing is changed"
    write_json(paths.tumour_rule, facts | {"text": text})
    print(f"evaluate: tumours: {text}", flush=True)


def with_chosen_rule(config: Config, paths: RunPaths) -> Config:
    """The configuration with the rule that `evaluate` chose, if it helps and is of today's weights."""
    facts = read_table(paths.tumour_rule) if config.tumour_rules else {}
    rule = facts.get("rule")
    if not rule:
        return config
    if facts.get("made_of") != _weights(config, paths):
        print("export: the rule for tumours is that of other weights and not taken; run the stage 'evaluate'.")
        return config
    chosen = Rule(LesionRule.from_json(rule["lesions"]), ComponentRule.from_json(rule["components"]))
    return replace(with_rule(config, chosen), notes=[*config.notes, f"Tumours, chosen by `evaluate`: {facts['text']}."])


def with_rule(config: Config, rule: Rule) -> Config:
    """The configuration of a model with this rule."""
    export, nets = replace(config.export, lesions=rule.lesions), config.nets
    table = {TUMOUR_NAME: asdict(rule.components)}
    if export.fit in config.fits:
        name = config.fits[export.fit].net
        nets = nets | {name: replace(nets[name], components=nets[name].components | table)}
    else:
        export = replace(export, components=export.components | table)
    return replace(config, export=export, nets=nets)


def configured_rule(config: Config) -> Rule:
    """The rule of the configuration, or of the model that it exports."""
    export = config.export
    if export.fit in config.fits:
        rules = component_rules(config.net_of(export.fit).components)
    else:
        rules = load_bundle(find_model(export.fit)).plan.components | component_rules(export.components)
    return Rule(export.lesions, rules.get(TUMOUR_NAME, ComponentRule()))


def candidates_of(wanted: TumourRulesConfig, configured: Rule) -> list[Rule]:
    """All candidates, the mildest first; what is not listed is as configured."""
    lesions, components = configured.lesions, configured.components
    leads, peaks = wanted.leads or [lesions.lead], wanted.peaks or [lesions.peak]
    sure = dict.fromkeys(LesionRule(lead, max(lead, peak)) for lead, peak in product(sorted(leads), sorted(peaks)))
    volumes = sorted(wanted.minimum_ml) or [components.minimum_ml]
    alone = (False, True) if wanted.largest_only else (components.largest_only,)
    return [
        Rule(one, replace(components, minimum_ml=least, largest_only=largest))
        for largest, one, least in product(alone, sure, volumes)
    ]


def _drawn_by_all(
    config: Config, paths: RunPaths, jobs: Sequence[EvaluationJob], lesions: LesionRule, configured: Rule
) -> dict[str, Drawn]:
    """What all models draw in their cases, by case, if they need not be surer than `lesions`; nothing is taken away."""
    everything = replace(configured.components, minimum_ml=0.0, largest_only=False)
    config = with_rule(config, Rule(lesions, everything))
    options = options_of(config)
    drawn = {}
    for job in jobs:
        name = f"{job.name}_lead{lesions.lead:g}_peak{lesions.peak:g}"
        folder = export_model(config, paths, job.fit, paths.model(name), left_out=job.left_out)
        fingerprint, segmenter = fingerprint_of(load_bundle(folder), options), None
        for case in (case for case in job.cases if TUMOUR_NAME in case.annotated):
            path, stamp = paths.scores / "tumours" / name / f"{case.name}.json", [fingerprint, *inputs_of(case)]
            facts = read_table(path)
            if facts.get("stamp") != stamp:
                segmenter = segmenter or Segmenter(folder, options)
                try:
                    facts = lesions_in(case, segmenter) | {"stamp": stamp}
                except FlareError as error:
                    print(f"evaluate: tumours: {job.name}: {case.name}: {error}", flush=True)
                    continue  # the next run tries it again
                write_json(path, facts)
            parts = tuple((float(ml), int(voxels), int(right)) for ml, voxels, right in facts["lesions"])
            group = job.name if len(jobs) > 1 else case.patient
            drawn[f"{job.name} {case.name}"] = Drawn(group, facts["reference"], parts)
    return drawn


def lesions_in(case: IndexedCase, segmenter: Segmenter) -> dict[str, Any]:
    """The components that a model draws in a case, as `Drawn` has them."""
    import cc3d

    assert case.labels is not None
    truth, geometry = read_labels(case.labels)
    found = segmenter.segment(read_volume(case.image)).labels == TUMOUR
    parts, count = cc3d.connected_components(found, connectivity=26, return_N=True)

    def voxels(where: Any) -> list[int]:
        return np.bincount(parts[where], minlength=count + 1)[1:].tolist()

    volumes = [one * geometry.voxel_ml for one in voxels(found)]
    table = zip(volumes, voxels(found & (truth != IGNORE)), voxels(found & (truth == TUMOUR)), strict=True)
    return {"reference": int((truth == TUMOUR).sum()), "lesions": [list(row) for row in table]}


def _weights(config: Config, paths: RunPaths) -> list[Any]:
    """Changes with the weights of the exported nets."""
    names = [name for name in (config.export.fit, config.export.tumour) if name in config.fits]
    return [file_stamp(paths.fit(name) / DONE) for name in names]
