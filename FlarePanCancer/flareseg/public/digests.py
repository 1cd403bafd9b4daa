"""Digests of downloads: those that nobody publishes are noted at the first download, and compared from then on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flareseg.errors import Cancelled
from flareseg.io.atomic import atomic_path
from flareseg.public.entries import PublicModel
from flareseg.public.transport import OtherFile
from flareseg.system.user_folders import user_data_folder

FILE = "digests.json"
LARGEST_FILE_BYTES = 2**24


def sha256_of(file: Path, cancelled: Callable[[], bool]) -> str:
    """Of a file's content.

    Raises:
        Cancelled: when `cancelled` says so.
    """
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(2**22):
            if cancelled():
                raise Cancelled
            digest.update(chunk)
    return digest.hexdigest()


def check_digest(entry: PublicModel, digest: str) -> None:
    """See that a file is the one that the catalogue means, or that was downloaded before.

    Raises:
        OtherFile: when it is another.
    """
    if entry.sha256 is not None and digest != entry.sha256:
        raise OtherFile(f"The file is not the one of the catalogue: its sha256 is {digest}")
    before = _noted().get(entry.addresses[0])
    if entry.sha256 is None and before is not None and digest != before:
        raise OtherFile(
            f"The file is not the one that was downloaded before (its sha256 is {digest}); if it was replaced by its "
            f"authors, remove its line from '{user_data_folder() / FILE}'"
        )


def note_digest(entry: PublicModel, digest: str) -> None:
    """Note the digest of a downloaded file where nobody publishes it.

    Raises:
        OutputError: when it cannot be written.
    """
    noted = _noted()
    if entry.sha256 is not None or entry.addresses[0] in noted:
        return
    with atomic_path(user_data_folder() / FILE, overwrite=True) as temporary:
        text = json.dumps(noted | {entry.addresses[0]: digest}, indent=1, sort_keys=True)
        temporary.write_text(text + "\n", encoding="utf-8")


def _noted() -> dict[str, Any]:
    """Digests by the address of the file; none where the file is missing or damaged."""
    try:
        path = user_data_folder() / FILE
        with path.open("rb") as file:
            data = json.loads(file.read(LARGEST_FILE_BYTES))
        return data if isinstance(data, dict) else {}
    except (OSError, ValueError, RecursionError):
        return {}
