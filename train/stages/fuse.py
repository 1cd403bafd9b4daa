"""The stage `fuse`: label fusion of ground truth and pseudo-labels for each training case."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError
from flareseg.io.files import read_labels, write_segmentation
from flareseg.labels import by_names, structures
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Triple
from train.common.json_files import read_table, write_json
from train.common.parallel import in_parallel, with_progress
from train.common.paths import RunPaths
from train.config import Config
from train.data.cache import is_cached, labels_hash, write_labels, write_nothing_known
from train.data.index import IGNORE, TUMOUR, CaseIndex, IndexedCase, known_mask
from train.pseudo_config import PseudoConfig
from train.pseudolabels.fusion import ORGANS, Fused, changes, from_truth, fuse_organs, overlay_tumours, without_fusion
from train.pseudolabels.fusion_report import Row, rows_of, write_report
from train.pseudolabels.pseudo_records import all_records
from train.pseudolabels.stability import instability, overlaid, verdict_on

TOLERANCE_MM = 0.05
"""Tolerance between the grids of a case: header fields are rounded."""


@dataclass(frozen=True)
class Sources:
    """The inputs of the label fusion of a case. All files are on the grid of its CT.

    Attributes:
        name: of the case.
        truth, organs, tumours: label maps, or None.
        annotated: label values that `truth` annotates.
        pseudo_organs: organs that the model of `organs` segments.
        in_part: label values of which `truth` has some, but perhaps not all.
        guessed: label maps that nets of this round made, organs before tumours; empty where their stability does not
            matter.
        guessed_before: those of the round before, of the same kinds.
        failed: whether its CT could not be labelled.
    """

    name: str
    truth: Path | None
    annotated: tuple[int, ...]
    organs: Path | None
    pseudo_organs: tuple[int, ...]
    tumours: Path | None
    in_part: tuple[int, ...] = ()
    guessed: tuple[Path, ...] = ()
    guessed_before: tuple[Path, ...] = ()
    failed: bool = False

    def facts(self) -> dict[str, Any]:
        """Identifies the inputs; changes when any of them does."""
        files = {"truth": self.truth, "organs": self.organs, "tumours": self.tumours}
        found = {key: [str(path), path.stat().st_mtime_ns] for key, path in files.items() if path}
        found |= {"in_part": list(self.in_part)} if self.in_part else {}
        if self.guessed_before:
            found["before"] = [[str(path), path.stat().st_mtime_ns] for path in self.guessed_before]
        return found | {"annotated": list(self.annotated), "pseudo_organs": list(self.pseudo_organs)}

    @property
    def has_labels(self) -> bool:
        """Whether there is any label map."""
        return bool(self.truth or self.organs or self.tumours)

    def without_guesses(self) -> Sources:
        """The inputs without what nets of this round made."""
        organs, tumours = (None if path in self.guessed else path for path in (self.organs, self.tumours))
        return replace(self, organs=organs, tumours=tumours, guessed=(), guessed_before=())


def fuse(config: Config, paths: RunPaths, index: CaseIndex) -> None:
    """Fuse all training cases in parallel; cases already fused from the same inputs are skipped.

    Raises:
        InputError: when pseudo-labels are missing, or a case has no labels at all.
        OutputError: when something cannot be written, or a worker process was killed.
    """
    cases, settings = index.split("train"), config.labelling(paths.round)
    sources = _sources(config, paths, index)
    fits = config.learning_from(paths.round)
    grids = tuple(dict.fromkeys(config.net_of(name).spacing_zyx_mm for name in fits))
    work = partial(fuse_case, paths, grids, config.ablation.label_fusion, settings)
    found: Iterator[list[Row]] = in_parallel(work, sources, config.processes, "fuse")
    rows = [row for case_rows in with_progress(found, len(cases), "fuse") for row in case_rows]
    write_report(rows, paths.fusion_report)
    if lost := [one.name for one in sources if one.failed and not one.has_labels]:
        print(f"fuse: {len(lost)} cases that could not be labelled are left out ({', '.join(lost[:3])})", flush=True)
    if settings.judges_stability:
        _tell_stability(paths, sources)


def fuse_case(
    paths: RunPaths, grids: Sequence[Triple], label_fusion: bool, settings: PseudoConfig, sources: Sources
) -> list[Row]:
    """Fuse one case, write the labels and add them to the caches; returns its rows of the report."""
    path, record, kind = paths.fused(sources.name), paths.fused_record(sources.name), paths.fused_kind
    folders = [paths.grid(spacing) / sources.name for spacing in grids]
    facts = sources.facts() | {"label_fusion": label_fusion}
    if sources.guessed:
        facts["unstable"] = [settings.largest_instability, settings.weigh_unstable]
    done = read_table(record)
    fresh = done.get("made_of") == facts and path.exists()
    # a grid that was left out meanwhile may still have labels of before
    fresh = fresh and all(labels_hash(folder, kind) == done.get("hash", "") for folder in folders)
    if fresh and all(is_cached(folder, kind) for folder in folders):
        rows: list[Row] = done["rows"]
        return rows
    record.unlink(missing_ok=True)
    if sources.failed and not sources.has_labels:
        path.unlink(missing_ok=True)
        for folder in folders:
            write_nothing_known(folder, kind)
        return []
    fused, geometry, pseudo, truth = fused_labels(sources, label_fusion)
    unstable, weight = 0.0, 1.0
    if sources.guessed:
        before = _guessed(sources.guessed_before) if sources.guessed_before else None
        unstable = instability(_guessed(sources.guessed), before)
        verdict = verdict_on(unstable, settings, stands_alone=sources.without_guesses().has_labels)
        weight = verdict.weight
        if not verdict.used:
            fused = _sure_labels(sources.without_guesses(), label_fusion, geometry)
    write_segmentation(Segmentation(fused.labels, geometry, structures(), sources.name), path, overwrite=True)
    for folder in folders:
        write_labels(folder, kind, fused.labels, geometry, fused.known, weight)
    rows = rows_of(sources.name, changes(truth, pseudo, fused.labels), geometry.voxel_ml)
    known = [structure.name for structure in structures() if fused.known[structure.value]]
    own_hash = labels_hash(folders[0], kind) if folders else ""
    result = {"made_of": facts, "known": known, "rows": rows, "hash": own_hash}
    write_json(record, result | ({"instability": round(unstable, 4), "weight": weight} if sources.guessed else {}))
    return rows


def _guessed(paths: Sequence[Path]) -> NDArray[np.uint8]:
    return overlaid([read_labels(path)[0] for path in paths])


def _sure_labels(sources: Sources, label_fusion: bool, geometry: Geometry) -> Fused:
    """The labels of a case without its pseudo-labels; nothing is known where there are no others."""
    if sources.has_labels:
        return fused_labels(sources, label_fusion)[0]
    shape = geometry.shape_zyx
    return Fused(np.full(shape, IGNORE, np.uint8), known_mask(()), np.zeros(shape, bool))


def _tell_stability(paths: RunPaths, sources: Sequence[Sources]) -> None:
    found = [read_table(paths.fused_record(one.name)) for one in sources if one.guessed]
    weights = [one["weight"] for one in found if "weight" in one]
    if weights:
        out, mean = weights.count(0.0), sum(one["instability"] for one in found) / len(found)
        less = sum(0 < weight < 1 for weight in weights)
        print(
            f"fuse: instability of {len(found)} cases with pseudo-labels {mean:.3f} in the mean; {out} of them left "
            f"out, {less} drawn less often",
            flush=True,
        )


def fused_labels(
    sources: Sources, label_fusion: bool = True
) -> tuple[Fused, Geometry, NDArray[np.uint8] | None, NDArray[np.uint8] | None]:
    """The fused labels of a case, their grid, the pseudo-labels and the ground truth.

    Raises:
        InputError: when files cannot be read or lie on different grids.
    """
    read: dict[str, NDArray[np.uint8] | None] = {"truth": None, "organs": None, "tumours": None}
    geometry: Geometry | None = None
    for kind in read:
        path: Path | None = getattr(sources, kind)
        if path is not None:
            read[kind], own = read_labels(path)
            if geometry is not None and not own.same_as(geometry, tolerance_mm=TOLERANCE_MM):
                raise InputError(f"'{path}' lies on another grid than the other labels of '{sources.name}'; remove it.")
            geometry = geometry or own
    if geometry is None:
        raise InputError(
            f"'{sources.name}' has neither labels nor pseudo-labels; configure pseudo.tumour_fit or organ_model."
        )
    truth, organs, tumours = read["truth"], read["organs"], read["tumours"]
    if organs is None:
        drawn = np.zeros(geometry.shape_zyx, np.uint8) if truth is None else truth
        fused = from_truth(drawn, sources.annotated, sources.in_part)
    else:
        combine = fuse_organs if label_fusion else without_fusion
        fused = combine(truth, sources.annotated, organs, sources.pseudo_organs, sources.in_part)
    pseudo = organs
    if tumours is not None:
        fused = overlay_tumours(fused, tumours, truth)
        rest = np.zeros_like(tumours) if organs is None else organs
        pseudo = np.where(tumours == TUMOUR, tumours, rest).astype(np.uint8)
    return fused, geometry, pseudo, truth


def _sources(config: Config, paths: RunPaths, index: CaseIndex) -> list[Sources]:
    """The inputs of all training cases.

    Raises:
        InputError: when pseudo-labels are missing.
    """
    made: dict[tuple[str, str], tuple[str, ...]] = {}
    failed: set[str] = set()
    for records in all_records(config, paths):
        wanted = records.wanted(index)
        missing = [case.name for case in wanted if not records.is_settled(case)]
        if missing:
            raise InputError(
                f"{len(missing)} of {len(wanted)} cases lack {records.kind} pseudo-labels of "
                f"'{', '.join(records.nets)}', the first is '{missing[0]}'; run the stage "
                f"'{'rounds' if paths.round else 'pseudolabel'}'."
            )
        done = [case for case in wanted if records.is_done(case)]
        failed |= {case.name for case in wanted} - {case.name for case in done}
        made |= {(records.kind, case.name): tuple(records.facts(case)["structures"]) for case in done}
    return [_sources_of(case, config, paths, made, case.name in failed) for case in index.split("train")]


def _sources_of(
    case: IndexedCase, config: Config, paths: RunPaths, made: dict[tuple[str, str], tuple[str, ...]], failed: bool
) -> Sources:
    settings = config.labelling(paths.round)
    organs, pseudo_organs = case.organs if settings.source_organs else None, ORGANS
    if organs is None and ("organs", case.name) in made:
        organs = paths.pseudo("organs", case.name)
        pseudo_organs = tuple(structure.value for structure in by_names(made["organs", case.name]))
    kinds = [kind for kind in ("organs", "tumour") if (kind, case.name) in made]
    before = config.round_before(paths.round) if settings.judges_stability else None
    earlier = [] if before is None else [paths.of_round(before).pseudo(kind, case.name) for kind in kinds]
    return Sources(
        name=case.name,
        truth=case.labels,
        annotated=tuple(structure.value for structure in by_names(case.annotated)),
        organs=organs,
        pseudo_organs=pseudo_organs,
        tumours=paths.pseudo("tumour", case.name) if ("tumour", case.name) in made else None,
        in_part=tuple(structure.value for structure in by_names(case.in_part)),
        guessed=tuple(paths.pseudo(kind, case.name) for kind in kinds if settings.judges_stability),
        guessed_before=tuple(earlier) if earlier and all(path.exists() for path in earlier) else (),
        failed=failed,
    )
