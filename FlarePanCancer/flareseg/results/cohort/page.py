"""All cases on one page: a table, unusual ones first, and a view in which one case after the other is judged.

One HTML file that loads nothing, as the report's page is, with the same rule against connections and foreign scripts.
Pictures lie in it as text, each case's on its own, and are unpacked when they come into view.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template
from typing import Any

from flareseg import __version__
from flareseg.io.atomic import atomic_path, check_destination
from flareseg.labels import structures
from flareseg.results.cohort.outliers import Standing, standings
from flareseg.results.cohort.pictures import Slice, fewer
from flareseg.results.cohort.summary import Found, Summary
from flareseg.results.html_page import PARTS as REPORT_PARTS
from flareseg.results.html_page import as_script, escape, head_of, script_of, text_of
from flareseg.results.measure import in_ml
from flareseg.results.picture import DISCLAIMER
from flareseg.results.warnings import reference_volumes
from flareseg.text import visible

PAGE = "index.html"
GENERATOR = "flareseg cohort"
"""By it a page is known for one of ours, which may be replaced."""
PARTS = Path(__file__).with_name("viewer")
SCRIPTS = ("store.js", "files.js", "slices.js", "table.js", "review.js", "main.js")
ALL_SLICES_UP_TO, TWO_SLICES_UP_TO = 800, 4000
"""Cases: with more, each has the two slices of the list alone; with still more, only the most unusual have those. So a
page stays below 60 MB or so."""
MOST_REASONS = 4
"""In a row; the case's own view has all."""
_PEEK_BYTES = 4096
LEFT_OUT = "The reason may quote the case's name, and is left out."


@dataclass(frozen=True)
class CohortCase:
    """One row of the page.

    Attributes:
        name: of the case.
        summary: what is known of its result; None where there is none.
        failure: why there is none.
        report: address of its report, relative to the page; "" without one.
        stored_slices: reads the pictures where `summary` is without them, so that those of many cases need not be in
            memory.
    """

    name: str
    summary: Summary | None = None
    failure: str = ""
    report: str = ""
    stored_slices: Callable[[], Sequence[Slice]] | None = None

    def slices(self) -> Sequence[Slice]:
        """Its pictures."""
        if self.stored_slices:
            return self.stored_slices()
        return self.summary.slices if self.summary else ()


def check_page(path: Path, *, overwrite: bool = False) -> None:
    """Check that the page can be written; an earlier one may be there.

    Raises:
        OutputError: when another file is there (unless `overwrite`), or it cannot be written.
    """
    check_destination(path, overwrite=overwrite or _is_page(path))


def _is_page(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return f'name="generator" content="{GENERATOR}"'.encode() in file.read(_PEEK_BYTES)
    except OSError:
        return False


def write_page(cases: Sequence[CohortCase], path: Path, *, anonymous: bool = False) -> None:
    """Write the page, whole or not at all; one that is there is replaced.

    Args:
        cases: in any order.
        path: the file.
        anonymous: cases are called by numbers, and nothing is shown that may quote their names.

    Raises:
        OutputError: when it cannot be written.
    """
    with atomic_path(path, overwrite=True) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for part in page_of(cases, anonymous=anonymous):
            file.write(part)


Ranked = tuple[CohortCase, Summary, Standing]


def page_of(cases: Sequence[CohortCase], *, anonymous: bool = False) -> Iterable[str]:
    """The page, in parts."""
    ranked, failed = _ranked(cases, anonymous)
    columns = _columns([summary for _, summary, _ in ranked])
    script = script_of([REPORT_PARTS / "unpack.js", *(PARTS / name for name in SCRIPTS)])
    style = text_of(REPORT_PARTS / "page.css") + text_of(PARTS / "cohort.css")
    unusual = sum(standing.unusual for _, _, standing in ranked)
    counts = _counts(len(ranked), len(failed), unusual)
    rows = [_failed_row(case, len(columns)) for case in failed]
    rows += [_row(number, *one, columns) for number, one in enumerate(ranked)]
    yield Template(text_of(PARTS / "page.html")).substitute(
        head=head_of(f"Cohort: {counts}", style, script, GENERATOR),
        disclaimer=escape(DISCLAIMER),
        counts=counts,
        heads="".join(_head(number, one) for number, one in enumerate(columns)),
        rows="\n".join(rows),
        version=escape(__version__),
        facts=as_script(
            {
                "version": __version__,
                "structures": [_column_facts(one) for one in columns],
                "cases": [_case_facts(*one, anonymous=anonymous) for one in ranked],
            }
        ),
    )
    for number, (case, _, _) in enumerate(ranked):
        slices = [one.to_json() for one in _shown(case, number, len(ranked))]
        yield f'<script type="application/json" id="slices-{number}">{as_script(slices)}</script>\n'
    yield f"<script>{script}</script>\n</body>\n</html>\n"


def _ranked(cases: Sequence[CohortCase], anonymous: bool) -> tuple[list[Ranked], list[CohortCase]]:
    """Cases with results, those that stand out first, and those that failed, by name; or all by numbers."""
    failed = sorted((case for case in cases if case.summary is None), key=lambda case: case.name)
    known = [(case, case.summary) for case in cases if case.summary]
    placed = zip(known, standings([summary for _, summary in known]), strict=True)
    ranked = sorted(((*one, standing) for one, standing in placed), key=lambda one: one[0].name)
    ranked.sort(key=lambda one: one[2].rank, reverse=True)
    if anonymous:
        ranked = [
            (_nameless(one, number), summary, standing) for number, (one, summary, standing) in enumerate(ranked, 1)
        ]
        failed = [_nameless(case, number) for number, case in enumerate(failed, len(ranked) + 1)]
    return ranked, failed


def _nameless(case: CohortCase, number: int) -> CohortCase:
    return replace(case, name=f"Case {number}", report="", failure=LEFT_OUT if case.failure else "")


def _shown(case: CohortCase, rank: int, count: int) -> Sequence[Slice]:
    if count <= ALL_SLICES_UP_TO:
        return case.slices()
    return fewer(case.slices()) if rank < TWO_SLICES_UP_TO else ()


def _columns(cases: Sequence[Summary]) -> list[Found]:
    """Every structure that was looked for in any case, in the order of FLARE's table, then of their values."""
    order = {one.name: number for number, one in enumerate(structures())}
    found: dict[str, Found] = {}
    for case in cases:
        for one in case.structures:
            found.setdefault(one.name, one)
    return sorted(found.values(), key=lambda one: (order.get(one.name, len(order)), one.value, one.name))


def _counts(done: int, failed: int, unusual: int) -> str:
    parts = [f"{done:,} case{'' if done == 1 else 's'}"]
    parts += [f"{unusual:,} unusual"] if unusual else []
    parts += [f"{failed:,} failed"] if failed else []
    return escape(" · ".join(parts))


def _head(number: int, column: Found) -> str:
    red, green, blue = column.colour
    swatch = f'<span class="swatch" style="background: rgb({red} {green} {blue})"></span>'
    return (
        f'<th class="number upright"><button type="button" data-sort="{number}">'
        f"<span>{swatch}{escape(column.title)}</span></button></th>"
    )


def _row(number: int, case: CohortCase, summary: Summary, standing: Standing, columns: Sequence[Found]) -> str:
    found = {one.name: one for one in summary.structures}
    cells = "".join(f'<td class="number">{_cell(found.get(one.name))}</td>' for one in columns)
    texts = [escape(reason.text) for reason in standing.reasons]
    more = len(texts) - MOST_REASONS
    shown = texts if more <= 1 else [*texts[:MOST_REASONS], f"and {more} more"]
    reasons = "".join(f"<li>{text}</li>" for text in shown)
    longest = max((one.longest_mm or 0.0 for one in summary.lesions), default=0.0)
    lesions = f"{len(summary.lesions)}, {longest:.0f}&nbsp;mm" if summary.lesions else ""
    return (
        f'<tr data-case="{number}"><td class="slices"></td>'
        f'<th><button type="button" class="open">{_broken(case.name)}</button></th>'
        f'<td class="why"><ul>{reasons}</ul></td>{cells}<td class="number">{lesions}</td><td class="verdict"></td></tr>'
    )


def _broken(name: str) -> str:
    """A name that may go on in the next line after an underscore, before anywhere else."""
    return escape(name).replace("_", "_<wbr>")


def _cell(found: Found | None) -> str:
    if found is None:
        return ""
    if found.volume_ml is None:
        return "–"
    return f"{'≥' if found.cut else ''}{in_ml(found.volume_ml)}"


def _failed_row(case: CohortCase, columns: int) -> str:
    return (
        f'<tr class="failed"><td></td><th>{_broken(case.name)}</th>'
        f'<td colspan="{columns + 3}"><strong>Failed.</strong> {escape(case.failure)}</td></tr>'
    )


def _column_facts(column: Found) -> dict[str, Any]:
    reference = reference_volumes().get(column.name)
    return {
        "name": column.name,
        "title": visible(column.title),
        "colour": column.colour,
        "usual": [reference.low_ml, reference.high_ml] if reference else None,
    }


def _case_facts(case: CohortCase, summary: Summary, standing: Standing, *, anonymous: bool) -> dict[str, Any]:
    return {
        "name": case.name,
        "title": visible(case.name),
        "labels": summary.labels_sha256,
        "model": visible(summary.model),
        "structures": {one.name: _structure_facts(one, standing.scores) for one in summary.structures},
        "values": {one.value: one.name for one in summary.structures},
        "lesions": [[visible(one.title), in_ml(one.volume_ml), one.longest_mm] for one in summary.lesions],
        "reasons": [visible(one.text) for one in standing.reasons],
        "unusual": standing.unusual,
        "warnings": [visible(one.text) for one in summary.warnings],
        "notes": [] if anonymous else [visible(one) for one in summary.notes],
        "report": case.report,
    }


def _structure_facts(one: Found, scores: Mapping[str, float]) -> list[Any]:
    """Volume in ml, z-score and expected DSC, null where there is none; whether it is cut off; the volume as text."""
    score = scores.get(one.name)
    text = "" if one.volume_ml is None else in_ml(one.volume_ml)
    return [one.volume_ml, None if score is None else round(score, 2), one.expected_dsc, one.cut, text]
