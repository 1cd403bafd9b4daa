"""Phantoms as a data folder in the layout "cases", fully or partially annotated.

`draw_phantoms` writes a folder `phantom_SEED` per patient: ct.nii.gz, the annotated labels, and info.json. A folder is
complete or absent: it is written under a hidden name and then renamed, so that a killed run can be resumed.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from flareseg.labels import structures
from flareseg.system.leftovers import remove_leftovers
from flareseg.volume import Geometry, Triple
from train.common.parallel import in_parallel, with_progress
from train.config import PhantomConfig
from train.data.case_folder import (
    ORGANS,
    TRUTH,
    disk_errors,
    new_case,
    read_info,
    write_ct,
    write_info,
    write_labels,
)
from train.data.index import CLASSES, TUMOUR
from train.synthetic.body.patient import DRAWN
from train.synthetic.label_corruption import corrupt_labels
from train.synthetic.phantom import ELSEWHERE, make_phantom

VALIDATION_SEED = 1_000_000
"""Seed of the first validation phantom; seeds for training start at 0."""
VERSION = 4
"""Version of the phantoms; those of another version are drawn again."""
TUMOUR_SHARE, PART_SHARE = 0.18, 0.45
"""As in FLARE 2023: 2,200 of 4,000 training CTs are partially annotated, 735 of them with tumours."""
FULL = "full.nii.gz"
"""Full ground truth beside the partial one; for scoring, never for training."""
_LICENCE = "Apache-2.0 (synthetic, drawn by train/synthetic/phantom.py)"

Annotation = Literal["all", "tumour", "part", "none"]


@dataclass(frozen=True)
class Drawing:
    """Specification of one phantom."""

    seed: int
    spacing_zyx_mm: Triple
    scenario: str
    annotation: Annotation
    view: str | None = None
    """Random if None."""

    @property
    def name(self) -> str:
        return f"phantom_{self.seed}"

    @property
    def for_training(self) -> bool:
        return self.seed < VALIDATION_SEED

    def facts(self) -> dict[str, Any]:
        """Entries of info.json that must match for a phantom to be kept."""
        return {
            "version": VERSION, "seed": self.seed, "spacing_zyx_mm": [float(mm) for mm in self.spacing_zyx_mm],
            "scenario": self.scenario, "annotation": self.annotation, "wanted_view": self.view,
        }  # fmt: skip


def draw_phantoms(folder: Path, config: PhantomConfig, processes: int = 1) -> None:
    """Write the phantoms of a configuration as cases under `folder`; existing ones are kept.

    Scenario "full": seg.nii.gz annotates all structures. Scenario "flare" mimics the training set of FLARE 2023, see
    `annotation_of`: training phantoms also have organs.nii.gz, imperfect organ pseudo-labels (`corrupt_labels`), and
    full.nii.gz, the full ground truth for scoring only. Validation phantoms are fully annotated in both scenarios.

    Args:
        folder: data folder in the layout "cases"; phantoms that are not in the configuration are removed from it.
        config: number, spacing and scenario.
        processes: number of worker processes.

    Raises:
        OutputError: when a phantom cannot be written, or a worker process was killed.
    """
    wanted = drawings(config)
    with disk_errors(folder):
        remove_leftovers(folder)
        _remove_others(folder, {drawing.name for drawing in wanted})
        missing = [drawing for drawing in wanted if not _is_there(folder / drawing.name, drawing)]
        if not missing:
            return
        folder.mkdir(parents=True, exist_ok=True)
    drawn = in_parallel(partial(_draw, folder), missing, processes, "phantoms")
    for _ in with_progress(drawn, len(missing), "phantoms"):
        pass


def drawings(config: PhantomConfig) -> list[Drawing]:
    """All phantoms of a configuration, first for training, then for validation."""
    seeds = [*range(config.count), *range(VALIDATION_SEED, VALIDATION_SEED + config.validation)]
    spacing, scenario = config.spacing_zyx_mm, config.scenario
    return [
        Drawing(
            seed,
            spacing,
            scenario,
            annotation_of(seed) if scenario == "flare" else "all",
            view_of(seed, config.elsewhere),
        )
        for seed in seeds
    ]


def view_of(seed: int, elsewhere: float) -> str | None:
    """Alternately head and thighs for the fraction `elsewhere` of the training phantoms, otherwise None."""
    if seed >= VALIDATION_SEED or not _takes(seed, elsewhere, 0.5):
        return None
    return tuple(ELSEWHERE)[math.floor(seed * elsewhere + 0.5) % len(ELSEWHERE)]


def annotation_of(seed: int) -> Annotation:
    """Annotation of a phantom in the scenario "flare"; the fractions hold for the first n seeds, for any n.

    "tumour": tumours and about half of the organs; "part": some organs; "none": nothing; "all": validation phantoms.
    """
    if seed >= VALIDATION_SEED:
        return "all"
    if _takes(seed, TUMOUR_SHARE, 0.7):
        return "tumour"
    others = seed - math.floor(seed * TUMOUR_SHARE + 0.7)
    return "part" if _takes(others, PART_SHARE, 0.6) else "none"


def _takes(number: int, share: float, offset: float) -> bool:
    """Whether `number` is selected when the fraction `share` of all integers is selected evenly."""
    return math.floor((number + 1) * share + offset) > math.floor(number * share + offset)


def _draw(folder: Path, drawing: Drawing) -> None:
    """Draw and write one phantom."""
    phantom = make_phantom(
        drawing.seed,
        spacing_zyx_mm=drawing.spacing_zyx_mm,
        view=drawing.view,
        tumours=True if drawing.annotation == "tumour" else None,
    )
    geometry = Geometry(phantom.hu.shape, phantom.spacing_zyx_mm)
    annotated = _annotated_values(drawing)
    with new_case(folder / drawing.name) as case:
        write_ct(phantom.hu, geometry, case)
        if annotated:
            kept = np.where(np.isin(phantom.labels, annotated), phantom.labels, 0).astype(np.uint8)
            write_labels(kept, geometry, case / TRUTH)
        if drawing.scenario == "flare" and drawing.for_training:
            rng = np.random.default_rng((drawing.seed, 2))
            organs = corrupt_labels(phantom.labels, phantom.hu, phantom.spacing_zyx_mm, rng)
            write_labels(organs, geometry, case / ORGANS)
            write_labels(phantom.labels, geometry, case / FULL)
        info = {
            "case": drawing.name, "licence": _LICENCE, "split": "train" if drawing.for_training else "validation",
            "labels_present": {str(value): _names()[value] for value in annotated},
            **drawing.facts(), "phase": phantom.phase, "view": phantom.view, "sex": phantom.sex,
            "weight_kg": phantom.weight_kg, "volumes_ml": _volumes_ml(phantom.labels, geometry),
        }  # fmt: skip
        write_info(info, case)


def _annotated_values(drawing: Drawing) -> list[int]:
    """The label values that seg.nii.gz annotates."""
    organs = [value for value in DRAWN if value != TUMOUR]
    if drawing.annotation == "all":
        return [*organs, TUMOUR]
    if drawing.annotation == "none":
        return []
    rng = np.random.default_rng((drawing.seed, 1))
    share = rng.uniform(0.35, 0.65) if drawing.annotation == "tumour" else rng.uniform(0.1, 0.9)
    count = max(1, round(share * len(organs)))
    chosen = sorted(int(value) for value in rng.choice(organs, count, replace=False))
    return [*chosen, TUMOUR] if drawing.annotation == "tumour" else chosen


def _names() -> dict[int, str]:
    return {structure.value: structure.name for structure in structures()}


def _volumes_ml(labels: NDArray[np.uint8], geometry: Geometry) -> dict[str, float]:
    """Volume of each structure within the field of view, ml."""
    counts = np.bincount(labels.ravel(), minlength=CLASSES)
    return {name: round(float(counts[value]) * geometry.voxel_ml, 2) for value, name in _names().items()}


def _is_there(path: Path, drawing: Drawing) -> bool:
    info = read_info(path)
    return info is not None and all(info.get(key) == value for key, value in drawing.facts().items())


def _remove_others(folder: Path, names: set[str]) -> None:
    """Remove phantoms of an earlier configuration, which would count as cases of this one."""
    for path in folder.glob("phantom_*"):
        info = read_info(path)
        if path.name not in names and info is not None and info.get("licence") == _LICENCE:
            shutil.rmtree(path)
