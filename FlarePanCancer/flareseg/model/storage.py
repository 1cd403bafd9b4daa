"""The files of a model, in a folder or in a zip: read within bounds, written whole or not at all."""

from __future__ import annotations

import shutil
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Protocol

from flareseg.errors import ModelError, OutputError
from flareseg.io.atomic import atomic_folder
from flareseg.model.archive import DAMAGED, is_plain_file, members, open_zip
from flareseg.system.leftovers import temporary_name
from flareseg.system.zip_bombs import is_bomb
from flareseg.text import shortened

JSON, WEIGHTS, CARD = "model.json", "weights.safetensors", "MODEL_CARD.md"
MOST_NETS = 20
"""Of one ensemble."""


def weights_file(number: int) -> str:
    """The file of net `number` of an ensemble; 0 is the first, or the only one."""
    return f"weights_{number}.safetensors" if number else WEIGHTS


FILES = (JSON, WEIGHTS, CARD, *(weights_file(number) for number in range(1, MOST_NETS)))

MOST_ZIP_MEMBERS = 64
LARGEST_ZIP_DIRECTORY_BYTES = 2**16


class ModelFiles(Protocol):
    """Where the files of one model are read from."""

    def read(self, name: str, most_bytes: int) -> bytes | None:
        """The content of a file, None where there is none.

        Raises:
            ModelError: when it is larger than `most_bytes`, or cannot be read.
        """


@contextmanager
def open_model(path: Path) -> Iterator[ModelFiles]:
    """The files of the model folder or zip `path`. Nothing is unpacked.

    Raises:
        ModelError: when it is neither, or the zip holds anything but a model.
    """
    try:
        folder, found = path.is_dir(), path.exists()
    except (OSError, ValueError) as error:  # e.g. a name longer than file systems take
        raise ModelError(f"'{path}' cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if folder:
        yield _Folder(path)
        return
    if not found:
        raise ModelError(f"There is no model at '{path}'.")
    with open_zip(path, LARGEST_ZIP_DIRECTORY_BYTES) as archive:
        yield _Zip(path, archive)


def write_model(folder: Path, files: dict[str, bytes], *, overwrite: bool = False) -> None:
    """Write a model folder; raises as `atomic_folder`."""
    with atomic_folder(folder, overwrite=overwrite) as scratch:
        for name, content in files.items():
            (scratch / name).write_bytes(content)


def delete_model(folder: Path) -> None:
    """Delete a model folder; of a link to one, only the link.

    Raises:
        OutputError: when it cannot be deleted; it is then still there.
    """
    try:
        if folder.is_symlink():
            folder.unlink()
            return
        # Renamed first, so that a model is never seen with half its files.
        doomed = folder.with_name(temporary_name())
        folder.rename(doomed)
    except OSError as error:
        raise OutputError(f"The model folder '{folder}' cannot be deleted: {error.strerror or error}.") from None
    shutil.rmtree(doomed, ignore_errors=True)


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, name: str, most_bytes: int) -> bytes | None:
        path = self._path / name
        try:
            if not path.exists():
                return None
            if not is_plain_file(path):
                raise ModelError(f"'{path}' is not a file.")
            size = path.stat().st_size
            if size > most_bytes:
                raise _too_large(str(path), size, most_bytes)
            with path.open("rb") as file:
                # Never more than its size: some files of the system have none, and no end.
                return file.read(size) if size else b""
        except OSError as error:
            raise ModelError(f"'{path}' cannot be read: {error.strerror or error}.") from None
        except MemoryError:
            raise ModelError(f"'{path}' needs more memory than there is.") from None


class _Zip:
    """The files lie at the top of the zip or in one folder; anything else in it is refused."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path, self._archive = path, archive
        self._members: dict[str, zipfile.ZipInfo] = {}
        infos = [info for info in members(archive) if not _is_litter(info.filename)]
        if len(infos) > MOST_ZIP_MEMBERS or len({PurePosixPath(info.filename).parent for info in infos}) > 1:
            raise ModelError(f"'{path}' holds files in several folders; a model's zip holds one model, nothing else.")
        for info in infos:
            inside = PurePosixPath(info.filename)
            strange = inside.is_absolute() or ".." in inside.parts or "\\" in info.filename or len(inside.parts) > 2
            link = stat.S_ISLNK(info.external_attr >> 16)
            if strange or link or inside.name not in FILES or inside.name in self._members:
                raise ModelError(f"'{path}' holds '{_shown(info.filename)}', which does not belong in a model.")
            self._members[inside.name] = info

    def read(self, name: str, most_bytes: int) -> bytes | None:
        info = self._members.get(name)
        if info is None:
            return None
        where = f"{name}' in '{self._path}"
        if info.flag_bits & 1:
            raise ModelError(f"'{where}' is encrypted; unpack the zip and give the folder.")
        if info.file_size > most_bytes:
            raise _too_large(where, info.file_size, most_bytes)
        if is_bomb(info):
            raise ModelError(f"'{where}' would unpack to {info.file_size:,} bytes from few; no network's weights do.")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ModelError(f"'{where}' is packed by a rare method; unpack the zip and give the folder.")
        try:
            with self._archive.open(info) as file:
                # With a number, zipfile unpacks no more than that, whatever the compressed data hold. (It keeps to
                # that for these two methods only.) One more than there should be makes it verify the checksum.
                return file.read(info.file_size + 1)
        except DAMAGED:
            raise ModelError(f"'{where}' is damaged; get the model again.") from None


def _is_litter(name: str) -> bool:
    """What a file manager leaves in the zips it makes."""
    return name.startswith("__MACOSX/") or PurePosixPath(name).name == ".DS_Store"


def _too_large(where: str, size: int, most_bytes: int) -> ModelError:
    return ModelError(f"'{where}' has {size:,} bytes; a model that flareseg can run has at most {most_bytes:,} there.")


def _shown(text: str) -> str:
    """A foreign name, fit for one line of a terminal."""
    return shortened(text, 80)
