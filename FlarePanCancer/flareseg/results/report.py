"""What people look at: a picture of the segmentation, and a page with the picture, the numbers and the CT itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from flareseg.errors import UsageError
from flareseg.io.atomic import atomic_path, check_destination
from flareseg.results.measure import Measurement, measure
from flareseg.results.page import page_of
from flareseg.results.picture import as_png, draw_picture
from flareseg.results.reported import Reported
from flareseg.results.sheet import write_sheet
from flareseg.results.warnings import warnings_of
from flareseg.segmentation import Segmentation
from flareseg.volume import Volume

PICTURE, PAGE, SHEET = "overview.png", "report.html", "report.pdf"
ANONYMOUS_NAME = "CT"
NOTES_LEFT_OUT = "Notes on how the CT was read are left out here, for they may quote names and dates."


@dataclass(frozen=True)
class ReportOptions:
    """What a report has and hides.

    Attributes:
        pdf: also write report.pdf, one page to print.
        anonymous: nothing in the files names the case: no name, and no note, which may quote a header or a file.
    """

    pdf: bool = False
    anonymous: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the files in the report's folder."""
        return (PICTURE, PAGE, SHEET) if self.pdf else (PICTURE, PAGE)


def check_report(folder: Path, *, overwrite: bool = False, options: ReportOptions | None = None) -> None:
    """Check that a report can be written, before minutes of work go into it.

    Raises:
        UsageError: without matplotlib.
        OutputError: when a report exists there (unless `overwrite`), or the folder cannot be written.
    """
    if find_spec("matplotlib") is None:
        raise UsageError("The report's picture needs matplotlib; run: pip install matplotlib")
    for name in (options or ReportOptions()).files:
        check_destination(folder / name, overwrite=overwrite)


def write_report(
    segmentation: Segmentation,
    volume: Volume,
    folder: Path,
    rows: Sequence[Measurement] | None = None,
    *,
    overwrite: bool = False,
    options: ReportOptions | None = None,
) -> list[Path]:
    """Write overview.png and report.html (which holds slices, numbers and the CT) into `folder`, made if need be.

    Args:
        segmentation: on the grid of `volume`.
        volume: the CT.
        folder: where to.
        rows: what `measure` gave, where it has run already.
        overwrite: replace an older report.
        options: what it has and hides.

    Returns:
        the files.

    Raises:
        UsageError: without matplotlib.
        OutputError: when the files exist and `overwrite` is not set, or cannot be written.
    """
    options = options or ReportOptions()
    check_report(folder, overwrite=overwrite, options=options)
    rows = measure(segmentation, volume) if rows is None else rows
    if options.anonymous:
        notes = (NOTES_LEFT_OUT,) if segmentation.notes else ()
        segmentation = replace(segmentation, name=ANONYMOUS_NAME, notes=notes, source=None)
    case = Reported(segmentation, volume, rows, warnings_of(segmentation, volume, rows))
    picture = draw_picture(case)
    page = page_of(case, as_png(picture.pixels[picture.slices]))
    with atomic_path(folder / PICTURE, overwrite=overwrite) as temporary:
        temporary.write_bytes(as_png(picture.pixels))
    with atomic_path(folder / PAGE, overwrite=overwrite) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
    if options.pdf:
        with atomic_path(folder / SHEET, overwrite=overwrite) as temporary:
            write_sheet(case, picture, temporary)
    return [folder / name for name in options.files]
