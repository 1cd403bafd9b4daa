"""Cases resampled to the spacing of a network, compressed in blocks so that a patch can be read on its own.

A case is a folder: hu.b2nd (int16), case.json, and per kind of labels labels_KIND.b2nd (uint8, FLARE label values, 255
unknown) with labels_KIND.json. Arrays are (z, y, x) in canonical orientation, cropped to the body.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from flareseg.errors import InputError, OutputError
from flareseg.inference.body import body_box
from flareseg.inference.resample import nearest_axis, resample_image
from flareseg.io.atomic import atomic_path
from flareseg.model.plan import ResamplingRule
from flareseg.volume import Box, Geometry, Index, Orientation, Triple, Volume, as_rows
from train.common.hashes import array_hash
from train.common.json_files import read_table
from train.data.index import CLASSES, IGNORE
from train.data.label_resampling import resampled_labels

FORMAT = 2
Kind = str
"""Of labels: "truth", or `RunPaths.fused_kind` of a round."""
HU, CASE = "hu.b2nd", "case.json"
CENTRES = 200
"""Voxels stored per structure, as centres for foreground patches."""
CHUNK, BLOCK = (32, 96, 96), (16, 32, 32)
"""The smallest unit of decompression is a block: 32 KiB of HU. Of a chunk that a patch touches, most is read; with
smaller ones there is less to read, in more reads."""
CODEC_LEVEL = 3
"""Of zstd. 5 takes three times as long for files that are half a per cent smaller."""
SAME_GRID_MM = 0.05


@dataclass(frozen=True)
class CachedCase:
    """One case at one spacing.

    Attributes:
        name: of its folder.
        folder: its cache folder.
        kind: of its labels, or None.
        shape_zyx, spacing_zyx_mm: of its arrays.
        known: bool per class. If a class is not known, label 0 means "background or that class".
        centres: up to 200 voxels (n, 3) of each class in the labels.
        image_hash, labels_hash: change with the image and with the labels; empty in caches that are older than hashes.
        weight: how often it is drawn compared with others, 0 to 1: less where its pseudo-labels are not stable.
    """

    name: str
    folder: Path
    kind: Kind | None
    shape_zyx: Index
    spacing_zyx_mm: Triple
    known: NDArray[np.bool_]
    centres: dict[int, NDArray[np.int64]]
    image_hash: str = ""
    labels_hash: str = ""
    weight: float = 1.0

    def hu(self, box: Box) -> NDArray[np.int16]:
        """HU in a box.

        Raises:
            InputError: when the array is damaged or gone.
        """
        return self._read(HU, box)

    def labels(self, box: Box) -> NDArray[np.uint8]:
        """Labels in a box; raises as `hu`."""
        return self._read(f"labels_{self.kind}.b2nd", box)

    def _read(self, name: str, box: Box) -> NDArray[Any]:
        path = self.folder / name
        try:
            return np.asarray(_opened(path)[box])
        except (OSError, RuntimeError, ValueError):  # blosc2 raises a RuntimeError for a file that is cut off
            fuse = " and 'fuse'" if self.kind not in (None, "truth") else ""
            raise InputError(
                f"The cached array '{path}' of the case '{self.name}' is damaged; remove '{self.folder}', then run "
                f"'prepare'{fuse} again."
            ) from None


def write_image(folder: Path, volume: Volume, spacing_zyx_mm: Triple, rule: ResamplingRule = "auto") -> None:
    """Cache a CT. The folder is written completely or not at all.

    Args:
        folder: of the case; an existing one is replaced.
        volume: the CT, in any orientation.
        spacing_zyx_mm: of the network.
        rule: resampling rule of the network, as in inference.

    Raises:
        InputError: when the image contains nothing but air.
        OutputError: when it cannot be written.
    """
    ct = volume.canonical()
    box = body_box(ct.hu, ct.geometry.spacing_zyx_mm)
    if box is None:
        raise InputError(f"'{volume.name}' shows nothing but air.")
    hu = resample_image(ct.hu[box], ct.geometry.spacing_zyx_mm, spacing_zyx_mm, rule)
    array = hu.round_().clamp_(-32768, 32767).to(torch.int16).numpy()
    del hu  # of the largest CTs 1.3 GB
    own = [
        mm * (part.stop - part.start) / size
        for mm, part, size in zip(ct.geometry.spacing_zyx_mm, box, array.shape, strict=True)
    ]
    facts = {
        "format": FORMAT,
        "hash": array_hash(array),
        "stored": asdict(volume.geometry),
        "shape_zyx": list(array.shape),
        "spacing_zyx_mm": own,
        "box": [[part.start, part.stop] for part in box],
        "nearest_axis": nearest_axis(rule, ct.geometry.spacing_zyx_mm, spacing_zyx_mm),
    }
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        (partial / HU).write_bytes(_compressed(array))
        (partial / CASE).write_text(json.dumps(facts), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
    except OSError as error:
        raise OutputError(
            f"The cache '{folder}' cannot be written: {error.strerror or error}; make room and start again."
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_labels(
    folder: Path,
    kind: Kind,
    labels_zyx: NDArray[np.uint8],
    geometry: Geometry,
    known: NDArray[np.bool_],
    weight: float = 1.0,
) -> None:
    """Cache the labels of a CT whose image is cached.

    Args:
        folder: of the case.
        kind: ground truth or fused labels.
        labels_zyx: on the grid of the CT as stored.
        geometry: of that grid.
        known: bool per class.
        weight: of the case, see `CachedCase`.

    Raises:
        InputError: when the image is not cached or has another grid.
        OutputError: when they cannot be written.
    """
    facts = _facts(folder)
    if not _geometry(facts["stored"]).same_as(geometry, SAME_GRID_MM):
        raise InputError(f"The {kind} labels of '{folder.name}' lie on another grid than their CT.")
    box = tuple(slice(start, stop) for start, stop in facts["box"])
    labels = np.ascontiguousarray(Orientation.of(geometry).to_canonical(labels_zyx)[box])
    z, y, x = facts["shape_zyx"]
    array = resampled_labels(labels, (z, y, x), facts["nearest_axis"])
    _write_labels(folder, kind, array, known, {"hash": array_hash(labels_zyx, known), "weight": weight})


def write_nothing_known(folder: Path, kind: Kind) -> None:
    """Cache that nothing is known of a CT, so that no fit draws it.

    Raises:
        InputError: when the image is not cached.
        OutputError: when it cannot be written.
    """
    unknown = np.full(_facts(folder)["shape_zyx"], IGNORE, np.uint8)
    _write_labels(folder, kind, unknown, np.eye(CLASSES, dtype=bool)[0], {"hash": "", "weight": 0.0})


def _write_labels(
    folder: Path, kind: Kind, array: NDArray[np.uint8], known: NDArray[np.bool_], more: dict[str, Any]
) -> None:
    """Write labels on the grid of the cache."""
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {}
    for value, part in enumerate(ndimage.find_objects(array, max_label=CLASSES - 1), 1):
        if part is not None:
            points = np.argwhere(array[part] == value) + [side.start for side in part]
            found[str(value)] = points[rng.choice(len(points), min(CENTRES, len(points)), replace=False)].tolist()
    about = folder / f"labels_{kind}.json"
    about.unlink(missing_ok=True)  # written last: it exists only with the array that it describes
    with atomic_path(folder / f"labels_{kind}.b2nd", overwrite=True) as partial:
        partial.write_bytes(_compressed(array))
    with atomic_path(about, overwrite=True) as partial:
        partial.write_text(json.dumps({"known": known.tolist(), "centres": found} | more), encoding="utf-8")


def load_cached(folder: Path, kind: Kind | None) -> CachedCase:
    """Open a cached case; without labels if `kind` is None.

    Raises:
        InputError: when the image or these labels are not cached.
    """
    facts = _facts(folder)
    known, voxels, labelled, weight = np.eye(CLASSES, dtype=bool)[0], {}, "", 1.0
    if kind:
        try:
            found = json.loads((folder / f"labels_{kind}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            stage = {"truth": "prepare", "fused": "fuse"}.get(kind, "rounds")
            raise InputError(f"'{folder.name}' has no {kind} labels in '{folder}'; run the stage '{stage}'.") from None
        known = np.asarray(found["known"], bool)
        voxels = {int(value): np.asarray(points) for value, points in found["centres"].items()}
        labelled, weight = found.get("hash", ""), found.get("weight", 1.0)
    shape, spacing = tuple(facts["shape_zyx"]), tuple(facts["spacing_zyx_mm"])
    return CachedCase(folder.name, folder, kind, shape, spacing, known, voxels, facts.get("hash", ""), labelled, weight)


def is_cached(folder: Path, kind: Kind | None) -> bool:
    """Whether `load_cached` would find it."""
    try:
        _facts(folder)
    except InputError:
        return False
    return kind is None or (folder / f"labels_{kind}.json").exists()


def labels_hash(folder: Path, kind: Kind) -> str:
    """The hash of cached labels; empty if they are not cached, or were before there were hashes."""
    return str(read_table(folder / f"labels_{kind}.json").get("hash", ""))


def _compressed(array: NDArray[Any]) -> bytes:
    """A blosc2 array as bytes. Python writes them to disk, because errors of blosc2's own writer give no reason."""
    import blosc2

    chunk = tuple(min(size, most) for size, most in zip(array.shape, CHUNK, strict=True))
    block = tuple(min(size, most) for size, most in zip(chunk, BLOCK, strict=True))
    cparams = {"codec": blosc2.Codec.ZSTD, "clevel": CODEC_LEVEL, "nthreads": 1}
    stored = blosc2.asarray(np.ascontiguousarray(array), chunks=chunk, blocks=block, cparams=cparams)
    frame: bytes = stored.to_cframe()
    return frame


def _opened(path: Path) -> Any:
    return _open(str(path), path.stat().st_mtime_ns)


@lru_cache(maxsize=128)  # each takes 0.2 MB in every worker, and of thousands of cases hardly one is drawn again
def _open(path: str, _changed: int) -> Any:
    """An array on disk; opened once per process, and again if the file was rewritten."""
    import blosc2

    return blosc2.open(path, mode="r", dparams={"nthreads": 1})


def _facts(folder: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads((folder / CASE).read_text(encoding="utf-8"))
        if facts["format"] == FORMAT:
            return facts
    except (OSError, ValueError, KeyError):
        pass
    raise InputError(f"'{folder.name}' is not in the cache '{folder.parent}'; run the stage 'prepare'.")


def _geometry(stored: dict[str, Any]) -> Geometry:
    z, y, x = stored["shape_zyx"]
    return Geometry(
        shape_zyx=(z, y, x),
        spacing_zyx_mm=tuple(stored["spacing_zyx_mm"]),
        origin_xyz_mm=tuple(stored["origin_xyz_mm"]),
        direction=as_rows(np.asarray(stored["direction"])),
    )
