"""Names for SimpleITK, which ends the whole process when a file's name is not UTF-8."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from flareseg.errors import InputError
from flareseg.text import shown


@contextmanager
def name_for_itk(path: Path) -> Iterator[str]:
    """A name under which SimpleITK can open `path`: its own, or that of a link to it.

    Of a file with such a name in its path, the files beside it are linked too, for the data of a detached header.

    Raises:
        InputError: when no link can be made.
    """
    if _is_utf8(str(path)):
        yield str(path)
        return
    with TemporaryDirectory(prefix="flareseg-") as scratch:
        name = (
            path.name
            if _is_utf8(path.name)
            else "image" + "".join(path.suffixes[-2:]).encode("ascii", "ignore").decode()
        )
        link = Path(scratch, name)
        try:
            link.symlink_to(path.absolute())
            for other in path.parent.iterdir() if path.suffix.lower() in (".mhd", ".nhdr", ".hdr") else ():
                if other.name != link.name and _is_utf8(other.name):
                    Path(scratch, other.name).symlink_to(other.absolute())
        except OSError as error:
            raise InputError(f"'{shown(path)}' has a name that is not UTF-8; rename it ({error.strerror}).") from None
        if not _is_utf8(str(link)):
            raise InputError(f"'{shown(path)}' has a name that is not UTF-8; rename it.")
        yield str(link)


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
