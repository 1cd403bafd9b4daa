"""The label maps of a training case, as files and as arrays: ground truth, pseudo-labels of organs, and of tumours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError
from flareseg.io.files import read_labels
from flareseg.labels import by_names
from flareseg.results.reviews import Verdict
from flareseg.volume import Geometry
from train.common.paths import RunPaths
from train.config import Config
from train.data.index import IGNORE, TUMOUR, CaseIndex, IndexedCase, known_mask
from train.pseudolabels.fusion import ORGANS, Fused, from_truth, fuse_organs, overlay_tumours, without_fusion
from train.pseudolabels.pseudo_records import all_records
from train.pseudolabels.reviews import digest_of, judged_organs
from train.pseudolabels.stability import overlaid

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
        guessed: those of `organs` and `tumours` that nets of this round made; empty where their stability does not
            matter.
        guessed_before: label maps of the same kinds that nets of the round before made, organs before tumours.
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

    @property
    def left_out(self) -> bool:
        """Whether nothing is known of the case because its CT could not be labelled."""
        return self.failed and not self.has_labels


@dataclass(frozen=True)
class Layers:
    """The label maps of a case, on one grid; those that it does not have are None."""

    sources: Sources
    geometry: Geometry
    truth: NDArray[np.uint8] | None
    organs: NDArray[np.uint8] | None
    tumours: NDArray[np.uint8] | None

    def fused(self, label_fusion: bool = True) -> Fused:
        """The fused labels, however stable and whatever readers said; nothing is known where there are none."""
        sources, shape = self.sources, self.geometry.shape_zyx
        if self.truth is None and self.organs is None and self.tumours is None:
            return Fused(np.full(shape, IGNORE, np.uint8), known_mask(()), np.zeros(shape, bool))
        if self.organs is None:
            drawn = np.zeros(shape, np.uint8) if self.truth is None else self.truth
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

    @property
    def guessed(self) -> NDArray[np.uint8]:
        """What nets of this round made, `Sources.guessed`, as one label map."""
        layers = ((self.sources.organs, self.organs), (self.sources.tumours, self.tumours))
        return overlaid([labels for path, labels in layers if labels is not None and path in self.sources.guessed])

    def guessed_before(self) -> NDArray[np.uint8] | None:
        """What nets of the round before made, read anew; None if that is not known. Raises as `read_labels`."""
        before = self.sources.guessed_before
        return overlaid([read_labels(path)[0] for path in before]) if before else None

    def without_guesses(self) -> Layers:
        """Without what nets of this round made."""
        own, result = self.sources, self
        if own.organs in own.guessed:
            result = replace(result, sources=replace(result.sources, organs=None), organs=None)
        if own.tumours in own.guessed:
            result = replace(result, sources=replace(result.sources, tumours=None), tumours=None)
        return replace(result, sources=replace(result.sources, guessed=(), guessed_before=()))

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
