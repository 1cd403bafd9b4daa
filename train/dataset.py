"""Cases to learn from, phantoms and real CTs alike, and the endless stream of augmented patches cut from them.

A cached case is a folder with hu.npy (int16), labels.npy (uint8, 255 unknown) and case.json, in canonical orientation
and on its own grid: the one interpolation of the training is that of the augmentation. Arrays are memory-mapped.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from flareseg.errors import InputError
from flareseg.labels import structures
from flareseg.model.plan import Plan
from flareseg.volume import Geometry, Index, Orientation, Triple, as_rows
from train.augment import augmented_patch
from train.config import AugmentConfig, PhantomConfig

CLASSES = len(structures()) + 1
IGNORE = 255
VALIDATION_SEED = 1_000_000


@dataclass(frozen=True)
class Case:
    """One labelled CT.

    Attributes:
        name: of its folder.
        hu: int16 (z, y, x), canonical orientation.
        labels: uint8; 255 where unknown.
        known: bool per class 0..14. Where a class is not known, 0 in `labels` means "background or that class".
        spacing_zyx_mm: of both arrays.
        centres: up to 200 voxel indices per class that occurs, to draw patches around.
    """

    name: str
    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    known: NDArray[np.bool_]
    spacing_zyx_mm: Triple
    centres: dict[int, NDArray[np.int64]]


def make_phantoms(folder: Path, seeds: Sequence[int], config: PhantomConfig) -> list[Path]:
    """Cache the phantoms of `seeds` under `folder`, those that are not there yet, in parallel processes."""
    paths = [folder / f"phantom_{seed}" for seed in seeds]
    wanted = zip(paths, seeds, strict=True)
    missing = [(path, seed, config.spacing_zyx_mm) for path, seed in wanted if not path.exists()]
    if config.processes > 1 and len(missing) > 1:
        # spawned: forking a process in which torch has started its threads may hang
        with ProcessPoolExecutor(config.processes, mp_context=get_context("spawn")) as pool:
            for _ in pool.map(_cache_phantom, missing, chunksize=4):
                pass
    else:
        for item in missing:
            _cache_phantom(item)
    return paths


def cache_real_cases(data: Path, folder: Path) -> list[Path]:
    """Cache every labelled CT of the folder `data`: sub-folders with ct.nii.gz, seg.nii.gz and info.json.

    Raises:
        InputError: when `data` holds none, or a case's files do not fit together.
    """
    if not data.is_dir():
        raise InputError(f"The data folder '{data}' does not exist; give one with data=FOLDER.")
    sources = sorted(path.parent for path in data.glob("*/seg.nii.gz"))
    if not sources:
        raise InputError(f"The data folder '{data}' holds no case with ct.nii.gz, seg.nii.gz and info.json.")
    paths = []
    for source in sources:
        path = folder / source.name
        if not path.exists():
            hu, labels, known, spacing = _read_case(source)
            _write_case(path, hu, labels, known, spacing)
        paths.append(path)
    return paths


def load_case(path: Path) -> Case:
    """A cached case, arrays memory-mapped."""
    info = json.loads((path / "case.json").read_text(encoding="utf-8"))
    return Case(
        name=path.name,
        hu=np.load(path / "hu.npy", mmap_mode="r"),
        labels=np.load(path / "labels.npy", mmap_mode="r"),
        known=np.asarray(info["known"], bool),
        spacing_zyx_mm=tuple(info["spacing_zyx_mm"]),
        centres={int(value): np.asarray(points) for value, points in info["centres"].items()},
    )


def _cache_phantom(item: tuple[Path, int, list[float]]) -> None:
    from train.phantom import make_phantom

    path, seed, spacing = item
    phantom = make_phantom(seed, spacing_zyx_mm=(spacing[0], spacing[1], spacing[2]))
    _write_case(path, phantom.hu, phantom.labels, np.ones(CLASSES, bool), phantom.spacing_zyx_mm)


def _read_case(source: Path) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.bool_], Triple]:
    import SimpleITK as sitk

    try:
        image, mask = (sitk.ReadImage(str(source / name)) for name in ("ct.nii.gz", "seg.nii.gz"))
        info = json.loads((source / "info.json").read_text(encoding="utf-8"))
        present = [int(value) for value in info["labels_present"]]
    except (RuntimeError, OSError, ValueError, KeyError):
        raise InputError(f"The case '{source}' lacks a readable ct.nii.gz, seg.nii.gz or info.json.") from None
    if image.GetSize() != mask.GetSize():
        raise InputError(f"The case '{source}' has labels of another size than its CT.")
    hu, labels = sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(mask)
    spacing = image.GetSpacing()
    geometry = Geometry(
        shape_zyx=hu.shape,
        spacing_zyx_mm=(spacing[2], spacing[1], spacing[0]),
        origin_xyz_mm=image.GetOrigin(),
        direction=as_rows(np.reshape(image.GetDirection(), (3, 3))),
    )
    orientation = Orientation.of(geometry)
    known = np.zeros(CLASSES, bool)
    known[[0, *present]] = True
    return (
        np.ascontiguousarray(orientation.to_canonical(hu).astype(np.int16)),
        np.ascontiguousarray(orientation.to_canonical(labels).astype(np.uint8)),
        known,
        orientation.geometry_to_canonical(geometry).spacing_zyx_mm,
    )


def _write_case(
    path: Path, hu: NDArray[np.int16], labels: NDArray[np.uint8], known: NDArray[np.bool_], spacing: Triple
) -> None:
    rng = np.random.default_rng(0)
    centres = {}
    for value in range(1, CLASSES):
        points = np.argwhere(labels == value)
        if len(points):
            centres[value] = points[rng.choice(len(points), min(200, len(points)), replace=False)].tolist()
    info = {"known": known.tolist(), "spacing_zyx_mm": list(spacing), "centres": centres}
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.mkdir(parents=True, exist_ok=True)
    try:
        np.save(partial / "hu.npy", hu)
        np.save(partial / "labels.npy", labels)
        (partial / "case.json").write_text(json.dumps(info), encoding="utf-8")
        partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class PatchDataset(Dataset[dict[str, torch.Tensor]]):
    """Patch number i is always the same: its case, place and augmentation are drawn from (seed, i).

    A share `real_share` of the patches comes from `real`, the rest from `phantoms`. Real cases are drawn in proportion
    to how much of a patch's height they fill, so that a slab of a few slices does not count as much as an abdomen.
    """

    def __init__(
        self,
        phantoms: Sequence[Case],
        real: Sequence[Case],
        plan: Plan,
        patch_zyx: Index,
        augment: AugmentConfig,
        *,
        real_share: float,
        seed: int,
        length: int,
    ) -> None:
        if not phantoms and not real:
            raise InputError("There is no case to train on.")
        self._groups = (list(phantoms), list(real))
        self._real_share = real_share if phantoms and real else float(bool(real))
        self._plan, self._patch, self._augment = plan, patch_zyx, augment
        self._seed, self._length = seed, length
        height_mm = patch_zyx[0] * plan.spacing_zyx_mm[0]
        self._weights = [
            np.array([min(1.0, case.hu.shape[0] * case.spacing_zyx_mm[0] / height_mm) for case in group])
            for group in self._groups
        ]

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([self._seed, index])
        is_real = bool(rng.random() < self._real_share)
        cases, weights = self._groups[is_real], self._weights[is_real]
        case = cases[rng.choice(len(cases), p=weights / weights.sum())]
        extent = np.multiply(self._patch, self._plan.spacing_zyx_mm) / case.spacing_zyx_mm
        centre = _centre(case, extent, rng)
        image, labels = augmented_patch(
            case.hu, case.labels, case.spacing_zyx_mm, centre, self._plan, self._patch, self._augment, rng
        )
        return {"image": image[None], "labels": labels, "known": torch.from_numpy(case.known.copy())}


def _centre(case: Case, extent: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """The middle of a patch that is `extent` voxels of the case large: two of three lie around some structure.

    Each structure is chosen as often as the others. Patches stay inside the case, as windows do at inference, but for a
    seventh of their length.
    """
    shape = np.array(case.hu.shape)
    if case.centres and rng.random() < 0.67:
        points = case.centres[int(rng.choice(sorted(case.centres)))]
        middle = points[rng.integers(len(points))] + rng.uniform(-0.3, 0.3, 3) * extent
    else:
        middle = rng.uniform(0, 1, 3) * shape
    low, high = 0.35 * extent, shape - 0.35 * extent
    free = shape / 2 + rng.uniform(-0.12, 0.12, 3) * extent
    return np.where(low < high, np.clip(middle, low, np.maximum(low, high)), free)


class StepSampler(Sampler[int]):
    """The indices that follow those already used, `size` at a time: a resumed training sees what it would have seen."""

    def __init__(self, size: int, used: Callable[[], int]) -> None:
        """`used` tells, whenever an epoch begins, how many patches the training has taken so far."""
        self._size, self._used = size, used

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[int]:
        first = self._used()
        return iter(range(first, first + self._size))
