"""What people look at: a picture of the segmentation, and a page with the picture, the numbers and the notes."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape as escape_html
from importlib.util import find_spec
from pathlib import Path

from flareseg import __version__
from flareseg.errors import UsageError
from flareseg.io.atomic import atomic_path, check_destination
from flareseg.labels import Structure
from flareseg.results.measure import Measurement, measure, title_of
from flareseg.results.picture import DISCLAIMER, write_picture
from flareseg.segmentation import Segmentation
from flareseg.text import visible
from flareseg.volume import Volume

PICTURE, PAGE = "overview.png", "report.html"


def check_report(folder: Path, *, overwrite: bool = False) -> None:
    """Check that a report can be written, before minutes of work go into it.

    Raises:
        UsageError: without matplotlib.
        OutputError: when a report exists there (unless `overwrite`), or the folder cannot be written.
    """
    if find_spec("matplotlib") is None:
        raise UsageError("The report's picture needs matplotlib; run: pip install matplotlib")
    for name in (PICTURE, PAGE):
        check_destination(folder / name, overwrite=overwrite)


def write_report(
    segmentation: Segmentation,
    volume: Volume,
    folder: Path,
    rows: Sequence[Measurement] | None = None,
    *,
    overwrite: bool = False,
) -> list[Path]:
    """Write overview.png and report.html (which holds the picture too) into `folder`, which is made if need be.

    Args:
        segmentation: on the grid of `volume`.
        volume: the CT.
        folder: where to.
        rows: what `measure` gave, where it has run already.
        overwrite: replace an older report.

    Returns:
        the files.

    Raises:
        UsageError: without matplotlib.
        OutputError: when the files exist and `overwrite` is not set, or cannot be written.
    """
    check_report(folder, overwrite=overwrite)
    rows = measure(segmentation, volume) if rows is None else rows
    picture, page = folder / PICTURE, folder / PAGE
    with atomic_path(picture, overwrite=overwrite) as temporary:
        write_picture(segmentation, volume, rows, temporary)
    text = _page(segmentation, volume, rows, picture.read_bytes())
    with atomic_path(page, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return [picture, page]


def escape(text: str) -> str:
    return escape_html(visible(text))


def _page(segmentation: Segmentation, volume: Volume, rows: Sequence[Measurement], picture: bytes) -> str:
    """The page; everything is inside it, so that one file can be sent or archived."""
    geometry = volume.geometry
    size = " × ".join(str(n) for n in geometry.shape_zyx[::-1])
    spacing = " × ".join(f"{mm:.3g}" for mm in geometry.spacing_zyx_mm[::-1])
    details = [("CT", f"{size} voxels of {spacing} mm"), ("Software", f"flareseg {__version__}")]
    if segmentation.model:
        details.insert(1, ("Model", segmentation.model))
    if segmentation.seconds:
        stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in segmentation.seconds.items())
        details.append(("Time", f"{sum(segmentation.seconds.values()):.1f} s ({stages})"))
    known = {structure.name: structure for structure in segmentation.structures}
    return _TEMPLATE.format(
        name=escape(segmentation.name),
        disclaimer=escape(DISCLAIMER),
        picture=base64.b64encode(picture).decode("ascii"),
        rows="\n".join(_row(row, known[row.structure]) for row in rows if row.lesion is None),
        lesions=_lesions([row for row in rows if row.lesion is not None]),
        cut=_CUT if any(row.touches_border for row in rows) else "",
        notes="\n".join(f"<p>{escape(note)}</p>" for note in segmentation.notes),
        details="\n".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in details),
    )


def _row(row: Measurement, structure: Structure) -> str:
    red, green, blue = structure.colour
    swatch = f'<span class="swatch" style="background: rgb({red} {green} {blue})"></span>'
    if not row.voxels:
        return f'<tr class="absent"><th>{swatch}{escape(structure.title)}</th><td colspan="3">not found</td></tr>'
    cut = "≥ " if row.touches_border else ""
    numbers = (f"{cut}{row.volume_ml:,.1f}", f"{round(row.mean_hu or 0)}", f"{round(row.sd_hu or 0)}")
    return f"<tr><th>{swatch}{escape(structure.title)}</th>{''.join(f'<td>{number}</td>' for number in numbers)}</tr>"


def _lesions(rows: Sequence[Measurement]) -> str:
    """The table of lesions; nothing where there is none."""
    if not rows:
        return ""
    titles = ("Lesion", "Volume, ml", "Longest, mm", "Perpendicular, mm", "Mean HU", "SD")
    lines = []
    for row in rows:
        cut = "≥ " if row.touches_border else ""
        numbers = (
            f"{cut}{row.volume_ml:,.1f}", f"{row.longest_mm:.0f}", f"{row.perpendicular_mm:.0f}",
            f"{round(row.mean_hu or 0)}", f"{round(row.sd_hu or 0)}",
        )  # fmt: skip
        cells = "".join(f"<td>{number}</td>" for number in numbers)
        lines.append(f"<tr><th>{escape(title_of(row).removeprefix('Lesion '))}</th>{cells}</tr>")
    head = "".join(f"<th>{title}</th>" for title in titles)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{chr(10).join(lines)}\n</tbody>\n</table>"


_CUT = "<p>≥ The structure reaches the edge of the scan, which may have cut it off.</p>"

_TEMPLATE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}</title>
<style>
body {{ margin: 0 auto; max-width: 75rem; padding: 2rem 1.5rem 4rem; background: #0d0f13; color: #c9cdd4;
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }}
h1 {{ color: #f4f5f7; font-size: 1.6rem; margin: 0; overflow-wrap: anywhere; }}
.disclaimer {{ margin: .25rem 0 1.5rem; color: #e0b060; }}
img {{ width: 100%; height: auto; border-radius: 6px; }}
table {{ border-collapse: collapse; margin: 1.5rem 0 .5rem; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem 0 .3rem 2.5rem; text-align: right; border-bottom: 1px solid #23272f; font-weight: normal; }}
th:first-child {{ padding-left: 0; text-align: left; color: #f4f5f7; }}
thead th, thead th:first-child {{ color: #868d98; }}
.absent th, .absent td {{ color: #6b727d; }}
.swatch {{ display: inline-block; width: .9em; height: .9em; margin-right: .7em; border-radius: 3px;
  vertical-align: -.08em; }}
.absent .swatch {{ opacity: .3; }}
p {{ margin: .25rem 0; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.5rem; margin-top: 1.5rem; }}
dt {{ color: #868d98; }}
dd {{ margin: 0; }}
@media print {{ body {{ background: #fff; color: #222; }} h1, th:first-child {{ color: #000; }} }}
</style>
</head>
<body>
<h1>{name}</h1>
<p class="disclaimer">{disclaimer}</p>
<img src="data:image/png;base64,{picture}" alt="Slices of the CT with the structures in colour">
<table>
<thead><tr><th>Structure</th><th>Volume, ml</th><th>Mean HU</th><th>SD</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
{lesions}
{cut}
{notes}
<dl>
{details}
</dl>
</body>
</html>
"""
