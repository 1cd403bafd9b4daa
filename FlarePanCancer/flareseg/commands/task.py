"""A case on its way to be segmented, here or in another process, and who is told about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from flareseg.cases.dicom_files import DicomFiles
from flareseg.cases.find import Case
from flareseg.errors import FlareError
from flareseg.progress import Listener

if TYPE_CHECKING:
    from flareseg.results.measure import Measurement


@dataclass(frozen=True)
class Task:
    """What is to be done of a case; it can be sent to another process.

    Attributes:
        case: which.
        files: all that it writes.
        dicom: DICOM results among them.
        report: folder of its report, or None.
        cohort: folder of the page over all cases that shows it, or None.
        preview: file for what the coarse net finds, or None.
        replace: whether its files may be replaced.
        message: what the user should read first, such as why it is done again.
        problem: why it cannot be done.
        measured: whether somebody wants to have it measured.
    """

    case: Case
    files: tuple[Path, ...] = ()
    dicom: DicomFiles = field(default_factory=DicomFiles)
    report: Path | None = None
    cohort: Path | None = None
    preview: Path | None = None
    replace: bool = False
    message: str = ""
    problem: FlareError | None = None
    measured: bool = True


class Feed(Protocol):
    """Where tasks come from."""

    def next(self) -> Task | None:
        """The next task, which may have to be waited for; None when there will be no more."""

    def following(self) -> Task | None:
        """The task that `next` will give, where that is known already."""


class Follower(Listener, Protocol):
    """Hears of one task, in this order; it ends with `done`, `failed` or `left`. Its messages are what the user should
    read even without progress."""

    def preview(self, output: str) -> None:
        """A first, coarse result lies in the file `output`."""

    def started(self) -> None:
        """Files are about to be written.

        Raises:
            TakenOver: when they must not be.
            FlareError: when they cannot be.
        """

    def done(self, rows: Sequence[Measurement], times: str) -> None:
        """The results are there, and were measured; `times` is a line on where the time went."""

    def failed(self, text: str, unusable: bool) -> None:
        """It cannot be done; `unusable` says that no other can be done either, for want of a model or a device."""

    def left(self) -> None:
        """Another run does it."""
