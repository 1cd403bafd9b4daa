"""Where the DICOM results of each case go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flareseg.cases.find import Case
from flareseg.errors import UsageError

ENDING = ".dcm"


@dataclass(frozen=True)
class DicomFiles:
    """The DICOM files of one case; None is not asked for."""

    seg: Path | None = None
    sr: Path | None = None
    rtstruct: Path | None = None

    def __iter__(self) -> Iterator[Path]:
        return (path for path in (self.seg, self.sr, self.rtstruct) if path)


@dataclass(frozen=True)
class DicomWanted:
    """What is asked for of all cases: a file that ends in .dcm, for a single case, or a folder; or None."""

    seg: Path | None = None
    sr: Path | None = None
    rtstruct: Path | None = None

    def of(self, case: Case, alone: bool) -> DicomFiles:
        """The files of a case.

        Args:
            case: which.
            alone: whether there is no other.

        Raises:
            UsageError: for several cases and one file.
        """
        return DicomFiles(
            _path(self.seg, f"{case.name}_seg", alone),
            _path(self.sr, f"{case.name}_sr", alone),
            _path(self.rtstruct, f"{case.name}_rtstruct", alone),
        )


def _path(wanted: Path | None, name: str, alone: bool) -> Path | None:
    if wanted is None:
        return None
    if wanted.suffix.lower() != ENDING or wanted.is_dir():
        return wanted / f"{name}{ENDING}"
    if not alone:
        raise UsageError(f"With several cases, '{wanted.name}' must be a folder (a name that does not end in .dcm).")
    return wanted
