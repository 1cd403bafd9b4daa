"""The stage `fuse`: label fusion of ground truth and pseudo-labels for each training case.

Pseudo-labels of a case that are too unstable are left out first. Then come the reviews: what a reader judged right is
known all the same, what a reader judged otherwise is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from flareseg.io.files import write_segmentation
from flareseg.labels import structures
from flareseg.results.reviews import Verdict
from flareseg.segmentation import Segmentation
from flareseg.volume import Triple
from train.common.distributed import ALONE, Rank
from train.common.json_files import read_table, write_json
from train.common.parallel import in_parallel, with_progress
from train.common.paths import RunPaths
from train.config import Config
from train.data.cache import is_cached, labels_hash, write_labels, write_nothing_known
from train.data.index import CaseIndex
from train.pseudo_config import PseudoConfig
from train.pseudolabels.fusion import Fused, changes
from train.pseudolabels.fusion_report import Row, rows_of, write_report
from train.pseudolabels.layers import Layers, Sources, read_layers, sources_of
from train.pseudolabels.reviews import Reviews, judged, with_right
from train.pseudolabels.stability import instability, verdict_on

Said = Mapping[str, Mapping[str, Verdict]]
"""What readers said of the structures of a case, by what they saw: "fused" labels, or "organs" as they came."""


@dataclass(frozen=True)
class Rules:
    """How the labels of a round are fused.

    Attributes:
        label_fusion: off: the paper's baseline.
        settings: of the round; what they say of stability counts here.
        reviews: of its labels.
    """

    label_fusion: bool = True
    settings: PseudoConfig = field(default_factory=PseudoConfig)
    reviews: Reviews = field(default_factory=Reviews)

    @classmethod
    def of(cls, config: Config, of_round: str) -> Rules:
        """Those of a configuration. Readers see the labels of the last round (`review`), so no other has reviews."""
        reviews = Reviews() if of_round else Reviews.read(config.reviews)
        return cls(config.ablation.label_fusion, config.labelling(of_round), reviews)

    def facts(self, sources: Sources) -> dict[str, Any]:
        """Identifies the inputs of a case and what is done with them, but for reviews; changes when any does."""
        facts = sources.facts() | {"label_fusion": self.label_fusion}
        if sources.guessed:
            facts["unstable"] = [self.settings.largest_instability, self.settings.weigh_unstable]
        return facts

    def said(self, case: str, labels: Mapping[str, str]) -> dict[str, dict[str, Verdict]]:
        """What readers said of the labels of a case, which are known by their digests (`Layers.digests`)."""
        found = {layer: self.reviews.of(case, digest) for layer, digest in labels.items()}
        return {layer: verdicts for layer, verdicts in found.items() if verdicts}

    def said_alike(self, done: Mapping[str, Any], case: str) -> bool:
        """Whether readers say today what they said when a case was fused; older records do not know their labels."""
        if "labels" not in done:
            return not self.reviews.by_labels
        return bool(self.said(case, done["labels"]) == done.get("reviewed", {}))


def fuse(config: Config, paths: RunPaths, index: CaseIndex, rank: Rank = ALONE, processes: int | None = None) -> None:
    """Fuse all training cases in parallel; cases already fused from the same inputs are skipped.

    Args:
        config, paths, index: of the run; the round is that of `paths`. Reviews are of the last one only.
        rank: of several, each fuses a share of the cases and leaves the report to a run without others.
        processes: worker processes, by default those of `config`.

    Raises:
        InputError: when pseudo-labels are missing, or a case has no labels at all.
        OutputError: when something cannot be written, or a worker process was killed.
    """
    rules = Rules.of(config, paths.round)
    sources = rank.share(sources_of(config, paths, index))
    fits = config.learning_from(paths.round)
    grids = tuple(dict.fromkeys(config.net_of(name).spacing_zyx_mm for name in fits))
    work = partial(fuse_case, paths, grids, rules)
    found: Iterator[list[Row]] = in_parallel(work, sources, processes or config.processes, "fuse")
    rows = [row for case_rows in with_progress(found, len(sources), "fuse") for row in case_rows]
    if rank.count > 1:
        return
    write_report(rows, paths.fusion_report)
    for line in _told(paths, sources, rules):
        print(line, flush=True)


def unfused(config: Config, paths: RunPaths, index: CaseIndex) -> list[str]:
    """The cases that no rank has fused yet from the inputs and reviews of today; raises as `fuse`.

    Those that are left out are none of them: who finishes the stage leaves them out.
    """
    rules, missing = Rules.of(config, paths.round), []
    for one in sources_of(config, paths, index):
        done = read_table(paths.fused_record(one.name))
        fresh = done.get("made_of") == rules.facts(one) and rules.said_alike(done, one.name)
        if not (fresh or one.left_out):
            missing.append(one.name)
    return missing


def fuse_case(paths: RunPaths, grids: Sequence[Triple], rules: Rules, sources: Sources) -> list[Row]:
    """Fuse one case, write the labels and add them to the caches; returns its rows of the report."""
    path, record, kind = paths.fused(sources.name), paths.fused_record(sources.name), paths.fused_kind
    folders = [paths.grid(spacing) / sources.name for spacing in grids]
    facts, done = rules.facts(sources), read_table(record)
    fresh = done.get("made_of") == facts and path.exists() and rules.said_alike(done, sources.name)
    # a grid that was left out meanwhile may still have labels of before
    fresh = fresh and all(labels_hash(folder, kind) == done.get("hash", "") for folder in folders)
    if fresh and all(is_cached(folder, kind) for folder in folders):
        rows: list[Row] = done["rows"]
        return rows
    record.unlink(missing_ok=True)
    if sources.left_out:
        path.unlink(missing_ok=True)
        for folder in folders:
            write_nothing_known(folder, kind)
        return []
    layers = read_layers(sources)
    fused, geometry = layers.fused(rules.label_fusion), layers.geometry
    labels = layers.digests(fused)
    said = rules.said(sources.name, labels)
    fused, stability = _decided(layers, fused, said, rules)
    write_segmentation(Segmentation(fused.labels, geometry, structures(), sources.name), path, overwrite=True)
    for folder in folders:
        write_labels(folder, kind, fused.labels, geometry, fused.known, stability.get("weight", 1.0))
    rows = rows_of(sources.name, changes(layers.truth, layers.pseudo, fused.labels), geometry.voxel_ml)
    known = [structure.name for structure in structures() if fused.known[structure.value]]
    own_hash = labels_hash(folders[0], kind) if folders else ""
    about = {"made_of": facts, "known": known, "rows": rows, "hash": own_hash, "labels": labels, "reviewed": said}
    write_json(record, about | stability)
    return rows


def _decided(layers: Layers, shown: Fused, said: Said, rules: Rules) -> tuple[Fused, dict[str, float]]:
    """The labels of a case, after what their stability and readers say of them.

    Args:
        layers: of the case.
        shown: its labels as they are fused whatever these say, as readers saw them.
        said: by readers.
        rules: of the round.

    Returns:
        the labels; and "instability" and "weight" of the case, where these matter.
    """
    of_fused, used, stability = said.get("fused", {}), True, {}
    right = [name for verdicts in said.values() for name, verdict in verdicts.items() if verdict == "right"]
    if layers.sources.guessed:
        unstable = instability(layers.guessed, layers.guessed_before())
        # what is right stays, so that the case has labels besides its pseudo-labels
        stands_alone = bool(right) or layers.without_guesses().sources.has_labels
        verdict = verdict_on(unstable, rules.settings, stands_alone=stands_alone)
        used, stability = verdict.used, {"instability": round(unstable, 4), "weight": verdict.weight}
    if "organs" in said:
        layers = layers.after(said["organs"])
    if used:
        fused = layers.fused(rules.label_fusion) if "organs" in said else shown
    else:
        fused = with_right(layers.without_guesses().fused(rules.label_fusion), shown, of_fused)
    return (judged(fused, of_fused) if of_fused else fused), stability


def _told(paths: RunPaths, sources: Sequence[Sources], rules: Rules) -> Iterator[str]:
    """In lines: cases that are left out, how stable the others are, and what the reviews say of them."""
    if lost := [one.name for one in sources if one.left_out]:
        yield f"fuse: {len(lost)} cases that could not be labelled are left out ({', '.join(lost[:3])})"
    records = {one.name: read_table(paths.fused_record(one.name)) for one in sources}
    found = [one for one in records.values() if "weight" in one]
    if rules.settings.judges_stability and found:
        out, mean = sum(one["weight"] == 0 for one in found), sum(one["instability"] for one in found) / len(found)
        less = sum(0 < one["weight"] < 1 for one in found)
        yield (
            f"fuse: instability of {len(found)} cases with pseudo-labels {mean:.3f} in the mean; {out} of them left "
            f"out, {less} drawn less often"
        )
    yield from rules.reviews.told(records)
