"""A follow-up as lines for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from flareseg import labels
from flareseg.results.followup.comparison import FollowUp
from flareseg.results.followup.recist import CATEGORIES, Response
from flareseg.results.followup.tracks import Sighting, Track, longest_of
from flareseg.text import shortened

LONGEST_NAME = 24
DIAMETERS = "Longest axial diameters, mm"
VOLUMES = "Volumes, ml, of organs with their lesions"
NO_DIAGNOSIS = "By RECIST 1.1's numbers, no diagnosis"


def as_text(found: FollowUp) -> str:
    """The table of lesions and organs, the category, and the notes."""
    rows = [*head(found), [DIAMETERS], *lesion_rows(found), [], [VOLUMES], *volume_rows(found)]
    lines = [*_aligned(rows), "", *verdicts(found), *found.notes]
    return "\n".join(line.rstrip() for line in lines)


def verdicts(found: FollowUp) -> list[str]:
    """One line for each scan but the first: the category and where it comes from."""
    lines = []
    for scan, response in zip(found.times[1:], found.responses, strict=True):
        name = f" of {shortened(scan.name, LONGEST_NAME)}" if len(found.responses) > 1 else ""
        lines.append(f"{NO_DIAGNOSIS}{name}: {verdict_of(response)}.")
    return lines


def verdict_of(response: Response) -> str:
    """The category in words, e.g. "PD (progressive disease); new: lesion 3; by the target lesions alone SD"."""
    parts = [f"{response.overall} ({CATEGORIES[response.overall]})"]
    if response.new:
        parts.append(f"new: lesion{'s' if len(response.new) > 1 else ''} {', '.join(map(str, response.new))}")
    if response.target and response.target != response.overall:
        parts.append(f"by the target lesions alone {response.target}")
    if response.of_nadir is not None and response.of_nadir != response.of_baseline:
        parts.append(f"against the smallest sum {per_cent(response.of_nadir)}")
    if response.target and not response.complete:
        parts.append("not all target lesions are shown whole")
    return "; ".join(parts)


def per_cent(share: float | None) -> str:
    """A change, e.g. "-12.5 %"; "" where there is none."""
    return "" if share is None else f"{100 * share:+.1f} %"


def title_of(track: Track) -> str:
    """Where a lesion lies, e.g. "Liver"."""
    return labels.title_of(track.host.name) if track.host else "In none of the organs"


def diameter(sighting: Sighting, *, known: bool) -> str:
    """A lesion in one scan: "12.3", "≥ 12.3", "8.0 + 4.1", "not found", "out of view", or "–" before it is known."""
    if sighting.lesions:
        return ("≥ " if sighting.cut else "") + " + ".join(f"{longest_of(lesion):.1f}" for lesion in sighting.lesions)
    if not sighting.in_view:
        return "out of view"
    return "not found" if known else "–"


def change_of(track: Track, time: int) -> float | None:
    """Of a lesion's diameter against the scan in which it was found first, as a share."""
    before, now = track.sightings[track.first], track.sightings[time]
    if time <= track.first or not before.longest_mm or not now.in_view or before.cut or now.cut:
        return None
    return now.longest_mm / before.longest_mm - 1


def head(found: FollowUp) -> list[list[str]]:
    """Names of the columns, and where they are known the dates below."""
    rows = [["", *(shortened(scan.name, LONGEST_NAME) for scan in found.times), "change"]]
    if any(scan.scanned for scan in found.times):
        rows.append(["", *(scan.scanned.isoformat() if scan.scanned else "" for scan in found.times)])
    return rows


def lesion_rows(found: FollowUp) -> list[list[str]]:
    """Title, a diameter for each scan, change and remarks; then the sum of the target lesions, which have a star."""
    last, rows = len(found.times) - 1, []
    for track in found.tracks:
        cells = [diameter(one, known=time > track.first) for time, one in enumerate(track.sightings)]
        remarks = found.remarks(track, last)
        if (why := found.why_not[track.number]) and why != "new":
            remarks.insert(0, f"no target: {why}")
        mark = " " if why else "*"
        title = f"{track.number:3}{mark} {title_of(track)}"
        rows.append([title, *cells, per_cent(change_of(track, last)), "; ".join(remarks)])
    if any(not why for why in found.why_not.values()):
        sums = [f"{mm:.1f}" for mm in found.sums_mm]
        rows.append(["   * Sum of target lesions", *sums, per_cent(found.responses[-1].of_baseline)])
    return rows or [["  none"]]


def volume_rows(found: FollowUp) -> list[list[str]]:
    """Title, a volume for each scan, and change."""
    last, rows = len(found.times) - 1, []
    if found.tracks:
        total = [sum(one.voxels for one in scan.lesions) * scan.grid.voxel_ml for scan in found.times]
        rows.append(["  All lesions", *(f"{ml:.1f}" for ml in total)])
    for organ in found.organs:
        cells = [
            "not found" if ml is None else f"{'≥ ' if cut else ''}{ml:.1f}"
            for ml, cut in zip(organ.volume_ml, organ.cut, strict=True)
        ]
        rows.append([f"  {organ.structure.title}", *cells, per_cent(organ.change(last))])
    return rows


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width: the first and the remarks from the left, numbers from the right."""
    numbers = len(rows[0]) - 1
    full = [row for row in rows if len(row) > 1]
    first = max(len(row[0]) for row in full)
    widths = [max((len(row[k]) for row in full if len(row) > k), default=0) for k in range(1, numbers + 1)]
    lines = []
    for row in rows:
        if len(row) < 2:
            lines.append(row[0] if row else "")
            continue
        cells = [f"{cell:>{width}}" for cell, width in zip(row[1 : numbers + 1], widths, strict=False)]
        lines.append("  ".join([f"{row[0]:{first}}", *cells, *row[numbers + 1 :]]))
    return lines
