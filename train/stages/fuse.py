"""The stage `fuse`: the labels of each training case from its ground truth and its pseudo-labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from train.data.cache import is_cached, write_labels
from train.data.index import TUMOUR, CaseIndex, IndexedCase
from train.pseudolabels.fusion import ORGANS, Fused, changes, from_truth, fuse_organs, lay_tumours, without_fusion
from train.pseudolabels.fusion_report import Row, rows_of, write_report
from train.pseudolabels.pseudo_records import all_records

TOLERANCE_MM = 0.05
"""By which grids of one case may differ: header fields hold rounded numbers."""


@dataclass(frozen=True)
class Sources:
    """What the labels of a case are made from. Files are on the grid of its CT.

    Attributes:
        name: of the case.
        truth, organs, tumours: label maps, or None.
        covered: label values that `truth` annotates.
        said: organs that `organs` speaks of.
    """

    name: str
    truth: Path | None
    covered: tuple[int, ...]
    organs: Path | None
    said: tuple[int, ...]
    tumours: Path | None

    def facts(self) -> dict[str, Any]:
        """Changes when any of it does."""
        files = {"truth": self.truth, "organs": self.organs, "tumours": self.tumours}
        found = {key: [str(path), path.stat().st_mtime_ns] for key, path in files.items() if path}
        return found | {"covered": list(self.covered), "said": list(self.said)}


def fuse(config: Config, paths: RunPaths, index: CaseIndex) -> None:
    """Fuse every training case, in parallel; those that are fused already, of the same sources, are left alone.

    Raises:
        InputError: when pseudo-labels are missing, or a case has no labels at all.
        OutputError: when something cannot be written, or a process was ended from outside.
    """
    cases = index.split("train")
    sources = _sources(config, paths, index)
    fits = [name for name, fit in config.fits.items() if fit.labels == "fused"]
    grids = tuple(dict.fromkeys(config.net_of(name).spacing_zyx_mm for name in fits))
    work = partial(fuse_case, paths, grids, config.ablation.label_fusion)
    found: Iterator[list[Row]] = in_parallel(work, sources, config.processes, "fuse")
    rows = [row for case_rows in with_progress(found, len(cases), "fuse") for row in case_rows]
    write_report(rows, paths.fusion_report)


def fuse_case(paths: RunPaths, grids: Sequence[Triple], label_fusion: bool, sources: Sources) -> list[Row]:
    """Fuse one case, write it and put it into the caches of the grids; returns its rows of the report."""
    path = paths.fused(sources.name)
    record = path.with_name(f"{sources.name}.json")
    folders = [paths.grid(spacing) / sources.name for spacing in grids]
    facts = sources.facts() | {"label_fusion": label_fusion}
    done = read_table(record)
    fresh = done.get("made_of") == facts and path.exists()
    if fresh and all(is_cached(folder, "fused") for folder in folders):
        rows: list[Row] = done["rows"]
        return rows
    record.unlink(missing_ok=True)
    fused, geometry, pseudo, truth = fused_labels(sources, label_fusion)
    write_segmentation(Segmentation(fused.labels, geometry, structures(), sources.name), path, overwrite=True)
    for folder in folders:
        write_labels(folder, "fused", fused.labels, geometry, fused.known)
    rows = rows_of(sources.name, changes(truth, pseudo, fused.labels), geometry.voxel_ml)
    known = [structure.name for structure in structures() if fused.known[structure.value]]
    write_json(record, {"made_of": facts, "known": known, "rows": rows})
    return rows


def fused_labels(
    sources: Sources, label_fusion: bool = True
) -> tuple[Fused, Geometry, NDArray[np.uint8] | None, NDArray[np.uint8] | None]:
    """The fused labels of a case and their grid; and what they are made from: pseudo-labels and ground truth.

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
        fused = from_truth(np.zeros(geometry.shape_zyx, np.uint8) if truth is None else truth, sources.covered)
    else:
        combine = fuse_organs if label_fusion else without_fusion
        fused = combine(truth, sources.covered, organs, sources.said)
    pseudo = organs
    if tumours is not None:
        fused = lay_tumours(fused, tumours, truth)
        rest = np.zeros_like(tumours) if organs is None else organs
        pseudo = np.where(tumours == TUMOUR, tumours, rest).astype(np.uint8)
    return fused, geometry, pseudo, truth


def _sources(config: Config, paths: RunPaths, index: CaseIndex) -> list[Sources]:
    """Of every training case.

    Raises:
        InputError: when pseudo-labels are missing.
    """
    made: dict[tuple[str, str], tuple[str, ...]] = {}
    for records in all_records(config, paths):
        wanted = records.wanted(index)
        missing = [case.name for case in wanted if not records.is_answered(case)]
        if missing:
            raise InputError(
                f"{len(missing)} of {len(wanted)} cases lack {records.kind} pseudo-labels of '{records.model}', the "
                f"first is '{missing[0]}'; run the stage 'pseudolabel'."
            )
        done = [case for case in wanted if records.is_done(case)]
        made |= {(records.kind, case.name): tuple(records.facts(case)["structures"]) for case in done}
    return [_sources_of(case, paths, made) for case in index.split("train")]


def _sources_of(case: IndexedCase, paths: RunPaths, made: dict[tuple[str, str], tuple[str, ...]]) -> Sources:
    organs, said = case.organs, ORGANS
    if organs is None and ("organs", case.name) in made:
        organs = paths.pseudo("organs", case.name)
        said = tuple(structure.value for structure in by_names(made["organs", case.name]))
    return Sources(
        name=case.name,
        truth=case.labels,
        covered=tuple(structure.value for structure in by_names(case.covered)),
        organs=organs,
        said=said,
        tumours=paths.pseudo("tumour", case.name) if ("tumour", case.name) in made else None,
    )
