"""Where the files of an nnU-Net v2 trained model are (those of version 1: `v1/folder.py`).

That is a folder with plans.json, dataset.json and fold_*/checkpoint_*.pth, a folder of such folders, or a zip of either
(as nnU-Net's export writes them).
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, Any

from flareseg.errors import ModelError
from flareseg.interop.nnunet.checkpoint import LARGEST_CHECKPOINT_BYTES
from flareseg.interop.nnunet.choosing import Candidate, choose_folds, choose_model
from flareseg.interop.nnunet.plans import CONFIGURATIONS
from flareseg.model.archive import DAMAGED, is_plain_file, members, open_zip
from flareseg.system.temporary import temporary_folder
from flareseg.system.zip_bombs import is_bomb

PLANS, V1_PLANS, DATASET = "plans.json", "plans.pkl", "dataset.json"
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth", "checkpoint_latest.pth")
"""In the order in which they are taken; the first is nnU-Net's own choice."""
FOLD = re.compile(r"fold_(\d{1,2}|all)")
LARGEST_JSON_BYTES = 2**24
MOST_MEMBERS = 20_000
LARGEST_ZIP_DIRECTORY_BYTES = 2**23
DEEPEST = 5
"""Folders within the one that was given: of version 1 nnU-Net's, the configuration's, the data set's, the trained
model's, the fold's."""


@dataclass(frozen=True)
class TrainedModel:
    """One trained model: its files by their names within it, e.g. "fold_0/checkpoint_final.pth".

    Attributes:
        name: of its folder, e.g. "nnUNetTrainer__nnUNetPlans__3d_fullres".
        files: by name; where each is, on the disk or in the zip.
        around: the names of the folders and the zip that it lies in, its own included.
    """

    name: str
    files: dict[str, Any] = field(repr=False)
    _archive: zipfile.ZipFile | None = field(default=None, repr=False)
    around: tuple[str, ...] = ()

    def read_json(self, name: str) -> dict[str, Any]:
        """A table from one of its JSON files.

        Raises:
            ModelError: when it is missing, too large or damaged.
        """
        text = self.read_bytes(name, LARGEST_JSON_BYTES + 1)
        try:
            data = json.loads(text.decode("utf-8")) if len(text) <= LARGEST_JSON_BYTES else None
        except (ValueError, RecursionError, MemoryError):
            data = None
        if not isinstance(data, dict):
            raise ModelError(f"The {name} of '{self.name}' is damaged: it is no table in JSON.")
        return data

    def read_bytes(self, name: str, most: int) -> bytes:
        """The first `most` bytes of one of its files.

        Raises:
            ModelError: when it is missing or damaged.
        """
        if name not in self.files:
            raise ModelError(f"The nnU-Net model '{self.name}' has no {name}.")
        with self._open(name) as file:
            return file.read(min(self._size(name), most))

    def folds(self, wanted: tuple[str, ...] | None, checkpoint: str | None) -> dict[str, str]:
        """Folds and the checkpoint file of each, as `choose_folds` chooses them.

        Raises:
            ModelError: when there is none.
            UsageError: when one that is wanted is not there.
        """
        found: dict[str, set[str]] = {}
        for name in self.files:
            folder, _, file = name.partition("/")
            match = FOLD.fullmatch(folder)
            if match and file.startswith("checkpoint_") and file.endswith(".pth"):
                found.setdefault(match[1], set()).add(file)
        if not found:
            raise ModelError(f"The nnU-Net model '{self.name}' has no checkpoint (fold_0/{CHECKPOINTS[0]}).")
        chosen = choose_folds(self.name, found, wanted, checkpoint, CHECKPOINTS)
        return {fold: f"fold_{fold}/{file}" for fold, file in chosen.items()}

    @contextmanager
    def file(self, name: str) -> Iterator[Path]:
        """One of its files on the disk; out of a zip, a temporary copy.

        Raises:
            ModelError: when it is larger than any network needs, or damaged.
        """
        if self._archive is None:
            yield self.files[name]
            return
        with temporary_folder() as folder:
            path = folder / PurePosixPath(name).name
            with self._open(name) as source, path.open("wb") as target:
                shutil.copyfileobj(source, target, 2**22)
            yield path

    def _size(self, name: str) -> int:
        """Of a file; some of the system's state none, and have no end."""
        found = self.files[name]
        return int(found.stat().st_size if self._archive is None else found.file_size)

    @contextmanager
    def _open(self, name: str) -> Iterator[IO[bytes]]:
        try:
            if self._archive is None:
                with self.files[name].open("rb") as file:
                    yield file
                return
            info = self.files[name]
            if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ModelError(f"'{name}' is encrypted or packed by a rare method; unpack the zip, give the folder.")
            if info.file_size > LARGEST_CHECKPOINT_BYTES or is_bomb(info):
                raise ModelError(f"'{name}' would have {info.file_size:,} bytes, more than any network needs.")
            with self._archive.open(info) as member:
                yield member
        except OSError as error:
            raise ModelError(f"'{name}' cannot be read: {error.strerror or error}.") from None
        except DAMAGED as error:
            raise ModelError(f"'{name}' is damaged ({str(error)[:80]}); get the model again.") from None


def is_nnunet(path: Path) -> bool:
    """Whether a folder or zip holds nnU-Net models; a plans.json of one counts as its folder."""
    try:
        with listed_files(path) as (names, _):
            return bool(_roots(names))
    except (ModelError, OSError):
        return False


@contextmanager
def open_trained_model(path: Path, configuration: str | None = None) -> Iterator[TrainedModel]:
    """The nnU-Net model in a folder or zip.

    Args:
        path: folder, zip, or plans.json.
        configuration: which one, where there are several ("3d_fullres", or what its folder is called).

    Raises:
        ModelError: when there is none.
        UsageError: when there are several that can be run, and none is chosen.
    """
    with listed_files(path) as (names, archive):
        root = _chosen(_roots(names), configuration, path)
        prefix = f"{root}/" if root else ""
        files = {name.removeprefix(prefix): source for name, source in names.items() if name.startswith(prefix)}
        given = given_folder(path, archive)
        own = PurePosixPath(root).name or given.stem
        yield TrainedModel(own, files, archive, around(given, root))


def given_folder(path: Path, archive: zipfile.ZipFile | None) -> Path:
    """What was given: the folder, also where one file in it was named, or the zip."""
    return (path if archive or _is_folder(path) else path.parent).resolve()


def around(given: Path, root: str) -> tuple[str, ...]:
    """The names around a model: within what was given, and of that; of a folder of nnU-Net's also that of the data set,
    which is the folder above."""
    above = [given.parent.name] if not root and "__" in given.name else []
    return (*PurePosixPath(root).parts, given.name, *above)


@contextmanager
def listed_files(path: Path) -> Iterator[tuple[dict[str, Any], zipfile.ZipFile | None]]:
    """Every file by its name within `path`."""
    is_folder = _is_folder(path)
    if is_folder or (path.name in (PLANS, V1_PLANS) and is_plain_file(path)):
        folder = path if is_folder else path.parent
        try:
            files = dict(islice(_files_of(folder), MOST_MEMBERS + 1))
        except OSError as error:
            raise ModelError(f"'{folder}' cannot be read: {error.strerror or error}.") from None
        if len(files) > MOST_MEMBERS:
            raise ModelError(f"'{folder}' holds too much to be a model's folder.")
        yield files, None
        return
    with open_zip(path, LARGEST_ZIP_DIRECTORY_BYTES) as archive:
        infos = members(archive)
        if len(infos) > MOST_MEMBERS:
            raise ModelError(f"'{path}' holds too much to be a model's zip.")
        yield {info.filename: info for info in infos if ".." not in PurePosixPath(info.filename).parts}, archive


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # not even a possible path
        return False


def _files_of(folder: Path, prefix: str = "", above: tuple[Path, ...] = ()) -> Iterator[tuple[str, Path]]:
    above = (*above, folder.resolve())
    for child in sorted(islice(folder.iterdir(), MOST_MEMBERS + 1)):
        if is_plain_file(child):
            yield f"{prefix}{child.name}", child
        elif _is_folder(child) and len(above) <= DEEPEST and not child.name.startswith("."):
            if child.resolve() in above:  # a link that leads back up
                continue
            yield from _files_of(child, f"{prefix}{child.name}/", above)


def _roots(names: dict[str, Any]) -> list[str]:
    """Folders that have plans, a data set's description and folds."""
    folders = [name.removesuffix(PLANS).rstrip("/") for name in names if PurePosixPath(name).name == PLANS]
    roots = []
    for folder in folders:
        prefix = f"{folder}/" if folder else ""
        folds = (name.removeprefix(prefix).partition("/")[0] for name in names if name.startswith(prefix))
        if f"{prefix}{DATASET}" in names and any(FOLD.fullmatch(fold) for fold in folds):
            roots.append(folder)
    return sorted(roots)


def _chosen(roots: list[str], wanted: str | None, path: Path) -> str:
    if not roots:
        raise ModelError(f"'{path}' holds no nnU-Net model ({PLANS}, {DATASET} and fold_*).")
    candidates = []
    for root in roots:
        name = PurePosixPath(root).name
        configuration = name.rpartition("__")[2]
        candidates.append(Candidate(root, name, (name, configuration), configuration in CONFIGURATIONS))
    return choose_model(path, candidates, wanted)
