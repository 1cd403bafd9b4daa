"""`python -m train review`: the page on which readers judge the labels that `fuse` would make, before training on them.

It shows the cases with pseudo-labels of the last round as they are fused without any review, however stable they are:
so a review stays one of these labels after `fuse` has read it, and a reader can save what is unstable.
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from flareseg.errors import FlareError, InputError
from flareseg.io.files import read_volume
from flareseg.labels import structures
from flareseg.results.cohort.page import PAGE, CohortCase, write_page
from flareseg.results.cohort.summary import (
    STORE,
    Summary,
    check_pictures,
    labels_digest,
    read_slices,
    read_summary,
    summarise,
    write_summary,
)
from flareseg.results.measure import measure
from flareseg.segmentation import Segmentation
from train.common.hashes import file_stamp
from train.common.parallel import in_parallel, with_progress
from train.common.paths import RunPaths
from train.config import Config
from train.data.index import CLASSES, CaseIndex
from train.pseudolabels.layers import TOLERANCE_MM, Sources, read_layers, sources_of


@dataclass(frozen=True)
class Shown:
    """A case that the page shows: its CT, the labels that `fuse` reads, and whether it fuses them."""

    image: Path
    sources: Sources
    label_fusion: bool

    @property
    def stamp(self) -> tuple[int, int]:
        """Changes with the labels and the CT."""
        facts = json.dumps([self.sources.facts(), self.label_fusion, file_stamp(self.image)]).encode()
        return int.from_bytes(hashlib.sha256(facts).digest()[:6], "big"), 0


def review(config: Config, paths: RunPaths, index: CaseIndex, count: int = 0) -> Path:
    """Write the page, and give its path; cases of which it has everything are not read again.

    Args:
        count: show so many, drawn at random but the same at every call; 0: all.

    Raises:
        InputError: when pseudo-labels are missing, or no case has any.
        OutputError: when something cannot be written, or a worker process was killed.
        UsageError: without Pillow.
    """
    check_pictures()
    images = {case.name: case.image for case in index.split("train")}
    fusion = config.ablation.label_fusion
    sources = [one for one in sources_of(config, paths, index) if one.organs or one.tumours]
    found = [Shown(images[one.name], one, fusion) for one in sources]
    if not found:
        raise InputError("No training case has pseudo-labels that could be reviewed.")
    if 0 < count < len(found):
        found = sorted(random.Random(config.seed).sample(found, count), key=lambda one: one.sources.name)
    made = in_parallel(partial(_case, paths), found, config.processes, "review")
    cases = list(with_progress(made, len(found), "review"))
    path = paths.review / PAGE
    write_page(cases, path)
    return path


def _case(paths: RunPaths, shown: Shown) -> CohortCase:
    """A row of the page; what goes wrong with a case is said there."""
    file = paths.review / STORE / f"{shown.sources.name}.json"
    summary = read_summary(file)
    if summary is None or summary.stamp != shown.stamp:
        try:
            summary = _summary(shown)
        except (FlareError, MemoryError) as error:
            return CohortCase(shown.sources.name, failure=str(error) or "There is not enough memory.")
        write_summary(summary, file)
    stored = partial(read_slices, file, summary.labels_sha256)
    return CohortCase(shown.sources.name, replace(summary, slices=()), stored_slices=stored)


def _summary(shown: Shown) -> Summary:
    layers = read_layers(shown.sources)
    fused = layers.fused(shown.label_fusion)
    volume = read_volume(shown.image)
    if not volume.geometry.same_as(layers.geometry, tolerance_mm=TOLERANCE_MM):
        raise InputError(f"The labels of '{shown.sources.name}' lie on another grid than its CT.")
    drawn = np.where(fused.labels < CLASSES, fused.labels, 0).astype(np.uint8)
    # what is not known has no row, so that accepting a case does not say that it shows none of that
    known = tuple(one for one in structures() if fused.known[one.value])
    segmentation = Segmentation(drawn, layers.geometry, known, shown.sources.name)
    made = summarise(segmentation, volume, measure(segmentation, volume))
    return replace(made, labels_sha256=labels_digest(fused.labels, layers.geometry), stamp=shown.stamp)
