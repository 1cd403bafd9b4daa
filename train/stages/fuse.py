"""The stage `fuse`: label fusion of ground truth and pseudo-labels for each training case."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError
from flareseg.io.files import read_labels, write_segmentation
from flareseg.labels import by_names, structures
from flareseg.results.reviews import Verdict
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Triple
from train.common.distributed import ALONE, Rank
from train.common.json_files import read_table, write_json
from train.common.parallel import in_parallel, with_progress
from train.common.paths import RunPaths
from train.config import Config
from train.data.cache import is_cached, labels_hash, write_labels
from train.data.index import TUMOUR, CaseIndex, IndexedCase
from train.pseudolabels.fusion import ORGANS, Fused, changes, from_truth, fuse_organs, overlay_tumours, without_fusion
from train.pseudolabels.fusion_report import Row, rows_of, write_report
from train.pseudolabels.pseudo_records import all_records
from train.pseudolabels.reviews import Reviews, digest_of, judged, judged_organs

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
    """

    name: str
    truth: Path | None
    annotated: tuple[int, ...]
    organs: Path | None
    pseudo_organs: tuple[int, ...]
    tumours: Path | None
    in_part: tuple[int, ...] = ()

    def facts(self) -> dict[str, Any]:
        """Identifies the inputs; changes when any of them does."""
        files = {"truth": self.truth, "organs": self.organs, "tumours": self.tumours}
        found = {key: [str(path), path.stat().st_mtime_ns] for key, path in files.items() if path}
        found |= {"in_part": list(self.in_part)} if self.in_part else {}
        return found | {"annotated": list(self.annotated), "pseudo_organs": list(self.pseudo_organs)}


def fuse(config: Config, paths: RunPaths, index: CaseIndex, rank: Rank = ALONE, processes: int | None = None) -> None:
    """Fuse all training cases in parallel; cases already fused from the same inputs are skipped.

    Args:
        config, paths, index: of the run.
        rank: of several, each fuses a share of the cases and leaves the report to a run without others.
        processes: worker processes, by default those of `config`.

    Raises:
        InputError: when pseudo-labels are missing, or a case has no labels at all.
        OutputError: when something cannot be written, or a worker process was killed.
    """
    reviews = Reviews.read(config.reviews)
    sources = rank.share(sources_of(config, paths, index))
    fits = [name for name, fit in config.fits.items() if fit.labels == "fused"]
    grids = tuple(dict.fromkeys(config.net_of(name).spacing_zyx_mm for name in fits))
    work = partial(fuse_case, paths, grids, config.ablation.label_fusion, reviews)
    found: Iterator[list[Row]] = in_parallel(work, sources, processes or config.processes, "fuse")
    rows = [row for case_rows in with_progress(found, len(sources), "fuse") for row in case_rows]
    if rank.count > 1:
        return
    write_report(rows, paths.fusion_report)
    for line in reviews.told({one.name: read_table(paths.fused_record(one.name)) for one in sources}):
        print(line, flush=True)


def unfused(config: Config, paths: RunPaths, index: CaseIndex) -> list[str]:
    """The cases that no rank has fused yet from the inputs and reviews of today; raises as `fuse`."""
    reviews, fusion = Reviews.read(config.reviews), {"label_fusion": config.ablation.label_fusion}
    missing = []
    for one in sources_of(config, paths, index):
        done = read_table(paths.fused_record(one.name))
        if done.get("made_of") != one.facts() | fusion or not _reviewed_alike(done, reviews, one.name):
            missing.append(one.name)
    return missing


def fuse_case(
    paths: RunPaths, grids: Sequence[Triple], label_fusion: bool, reviews: Reviews, sources: Sources
) -> list[Row]:
    """Fuse one case, write the labels and add them to the caches; returns its rows of the report."""
    path, record = paths.fused(sources.name), paths.fused_record(sources.name)
    folders = [paths.grid(spacing) / sources.name for spacing in grids]
    facts = sources.facts() | {"label_fusion": label_fusion}
    done = read_table(record)
    fresh = done.get("made_of") == facts and path.exists() and _reviewed_alike(done, reviews, sources.name)
    # a grid that was left out meanwhile may still have labels of before
    fresh = fresh and all(labels_hash(folder, "fused") == done.get("hash", "") for folder in folders)
    if fresh and all(is_cached(folder, "fused") for folder in folders):
        rows: list[Row] = done["rows"]
        return rows
    record.unlink(missing_ok=True)
    layers = read_layers(sources)
    fused, geometry = layers.fused(label_fusion), layers.geometry
    labels = layers.digests(fused)
    said = _said(reviews, sources.name, labels)
    if "organs" in said:
        fused = layers.after(said["organs"]).fused(label_fusion)
    if "fused" in said:
        fused = judged(fused, said["fused"])
    write_segmentation(Segmentation(fused.labels, geometry, structures(), sources.name), path, overwrite=True)
    for folder in folders:
        write_labels(folder, "fused", fused.labels, geometry, fused.known)
    rows = rows_of(sources.name, changes(layers.truth, layers.pseudo, fused.labels), geometry.voxel_ml)
    known = [structure.name for structure in structures() if fused.known[structure.value]]
    own_hash = labels_hash(folders[0], "fused") if folders else ""
    about = {"made_of": facts, "known": known, "rows": rows, "hash": own_hash, "labels": labels, "reviewed": said}
    write_json(record, about)
    return rows


def _said(reviews: Reviews, case: str, labels: Mapping[str, str]) -> dict[str, dict[str, Verdict]]:
    """What readers said of the labels of a case: of the fused ones, or of the organ pseudo-labels."""
    found = {layer: reviews.of(case, digest) for layer, digest in labels.items()}
    return {layer: verdicts for layer, verdicts in found.items() if verdicts}


def _reviewed_alike(done: Mapping[str, Any], reviews: Reviews, case: str) -> bool:
    """Whether readers say today what they said when a case was fused; older records do not know their labels."""
    if "labels" not in done:
        return not reviews.by_labels
    return bool(_said(reviews, case, done["labels"]) == done.get("reviewed", {}))


@dataclass(frozen=True)
class Layers:
    """The label maps of a case, on one grid; those that it does not have are None."""

    sources: Sources
    geometry: Geometry
    truth: NDArray[np.uint8] | None
    organs: NDArray[np.uint8] | None
    tumours: NDArray[np.uint8] | None

    def fused(self, label_fusion: bool = True) -> Fused:
        """The fused labels, whatever readers said."""
        sources = self.sources
        if self.organs is None:
            drawn = np.zeros(self.geometry.shape_zyx, np.uint8) if self.truth is None else self.truth
            fused = from_truth(drawn, sources.annotated, sources.in_part)
        else:
            combine = fuse_organs if label_fusion else without_fusion
            fused = combine(self.truth, sources.annotated, self.organs, sources.pseudo_organs, sources.in_part)
        return fused if self.tumours is None else overlay_tumours(fused, self.tumours, self.truth)

    @property
    def pseudo(self) -> NDArray[np.uint8] | None:
        """The pseudo-labels: organs, with tumours over them."""
        if self.tumours is None:
            return self.organs
        rest = np.zeros_like(self.tumours) if self.organs is None else self.organs
        return np.where(self.tumours == TUMOUR, self.tumours, rest).astype(np.uint8)

    def digests(self, fused: Fused) -> dict[str, str]:
        """By which a review knows what it is of: the fused labels, and the organ pseudo-labels as they came."""
        found = {"fused": digest_of(fused.labels, self.geometry)}
        if self.organs is not None:
            organs = digest_of(self.organs, self.geometry)
            found |= {"organs": organs} if organs != found["fused"] else {}
        return found

    def after(self, verdicts: Mapping[str, Verdict]) -> Layers:
        """After a review of the organ pseudo-labels: what is right in them is ground truth."""
        assert self.organs is not None
        own = self.sources
        truth, annotated, organs, left = judged_organs(
            self.truth, own.annotated, self.organs, own.pseudo_organs, verdicts
        )
        in_part = tuple(value for value in own.in_part if value not in annotated)
        sources = replace(own, annotated=annotated, pseudo_organs=left, in_part=in_part)
        return replace(self, sources=sources, truth=truth, organs=organs)


def read_layers(sources: Sources) -> Layers:
    """Read the label maps of a case.

    Raises:
        InputError: when files cannot be read or lie on different grids, or there is none.
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
    return Layers(sources, geometry, **read)


def sources_of(config: Config, paths: RunPaths, index: CaseIndex) -> list[Sources]:
    """The inputs of all training cases.

    Raises:
        InputError: when pseudo-labels are missing.
    """
    made: dict[tuple[str, str], tuple[str, ...]] = {}
    for records in all_records(config, paths):
        wanted = records.wanted(index)
        missing = [case.name for case in wanted if not records.is_settled(case)]
        if missing:
            raise InputError(
                f"{len(missing)} of {len(wanted)} cases lack {records.kind} pseudo-labels of '{records.model}', the "
                f"first is '{missing[0]}'; run the stage 'pseudolabel'."
            )
        done = [case for case in wanted if records.is_done(case)]
        made |= {(records.kind, case.name): tuple(records.facts(case)["structures"]) for case in done}
    return [_sources_of(case, paths, made) for case in index.split("train")]


def _sources_of(case: IndexedCase, paths: RunPaths, made: dict[tuple[str, str], tuple[str, ...]]) -> Sources:
    organs, pseudo_organs = case.organs, ORGANS
    if organs is None and ("organs", case.name) in made:
        organs = paths.pseudo("organs", case.name)
        pseudo_organs = tuple(structure.value for structure in by_names(made["organs", case.name]))
    return Sources(
        name=case.name,
        truth=case.labels,
        annotated=tuple(structure.value for structure in by_names(case.annotated)),
        organs=organs,
        pseudo_organs=pseudo_organs,
        tumours=paths.pseudo("tumour", case.name) if ("tumour", case.name) in made else None,
        in_part=tuple(structure.value for structure in by_names(case.in_part)),
    )
