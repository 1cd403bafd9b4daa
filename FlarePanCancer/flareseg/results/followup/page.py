"""A follow-up as a page to look at, with the pictures and the tables."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from flareseg import __version__
from flareseg.errors import UsageError
from flareseg.io.atomic import atomic_path, check_destination
from flareseg.results.followup.comparison import FollowUp
from flareseg.results.followup.pictures import write_pictures
from flareseg.results.followup.table import DIAMETERS, VOLUMES, head, lesion_rows, verdicts, volume_rows
from flareseg.results.html_page import escape, head_of
from flareseg.results.picture import DISCLAIMER

PICTURE, PAGE = "followup.png", "followup.html"
GENERATOR = "flareseg compare"


def check_page(folder: Path, *, overwrite: bool = False) -> None:
    """Check that the page can be written; raises as `report.check_report`."""
    if find_spec("matplotlib") is None:
        raise UsageError("The pictures of a follow-up need matplotlib; run: pip install matplotlib")
    for name in (PICTURE, PAGE):
        check_destination(folder / name, overwrite=overwrite)


def write_page(found: FollowUp, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write followup.png, where there are lesions, and followup.html, which holds it too, into `folder`.

    Raises:
        UsageError: without matplotlib.
        OutputError: when the files exist and `overwrite` is not set, or cannot be written.
    """
    check_page(folder, overwrite=overwrite)
    picture, page = folder / PICTURE, folder / PAGE
    pixels = b""
    if found.tracks:
        with atomic_path(picture, overwrite=overwrite) as temporary:
            write_pictures(found, temporary)
        pixels = picture.read_bytes()
    with atomic_path(page, overwrite=overwrite) as temporary:
        temporary.write_text(_page(found, pixels), encoding="utf-8", newline="\n")
    return [picture, page] if pixels else [page]


def _page(found: FollowUp, picture: bytes) -> str:
    image = (
        f'<img src="data:image/png;base64,{base64.b64encode(picture).decode("ascii")}" alt="Every lesion in all scans">'
    )
    return _TEMPLATE.format(
        head=head_of("Follow-up", _STYLE, "", GENERATOR),
        disclaimer=escape(DISCLAIMER),
        verdicts="\n".join(f"<p>{escape(line)}</p>" for line in verdicts(found)),
        notes="\n".join(f"<p>{escape(note)}</p>" for note in found.notes),
        lesions=_table(DIAMETERS, [*head(found), *lesion_rows(found)]),
        volumes=_table(VOLUMES, [*head(found), *volume_rows(found)]),
        picture=image if picture else "",
        version=escape(__version__),
    )


def _table(title: str, rows: Sequence[Sequence[str]]) -> str:
    width = max(len(row) for row in rows)
    lines = []
    for number, row in enumerate(rows):
        first = title if number == 0 else row[0]
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in [*row[1:], *[""] * (width - len(row))])
        lines.append(f"<tr><th>{escape(first)}</th>{cells}</tr>")
    return "<table>\n" + "\n".join(lines) + "\n</table>"


_STYLE = """\
body { margin: 0 auto; max-width: 75rem; padding: 2rem 1.5rem 4rem; background: #0d0f13; color: #c9cdd4;
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { color: #f4f5f7; font-size: 1.6rem; margin: 0; overflow-wrap: anywhere; }
.disclaimer { margin: .25rem 0 1.5rem; color: #e0b060; }
img { width: 100%; height: auto; border-radius: 6px; }
table { border-collapse: collapse; margin: 1.5rem 0 .5rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem 0 .3rem 2.5rem; text-align: right; border-bottom: 1px solid #23272f; font-weight: normal; }
th:first-child { padding-left: 0; text-align: left; color: #f4f5f7; }
thead th, thead th:first-child { color: #868d98; }
p { margin: .25rem 0; }
@media print { body { background: #fff; color: #222; } h1, th:first-child { color: #000; } }
"""

_TEMPLATE = """\
{head}<body>
<h1>Follow-up</h1>
<p class="disclaimer">{disclaimer}</p>
{verdicts}
{notes}
{lesions}
{volumes}
{picture}
<p>* target lesion of RECIST 1.1. flareseg {version}</p>
</body>
</html>
"""
