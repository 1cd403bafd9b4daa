"""A follow-up as a table for other programs: .csv, a row for each line and scan, or .json, all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flareseg.io.atomic import atomic_path
from flareseg.results.columns import DECIMALS, END_DECIMALS
from flareseg.results.followup.comparison import FollowUp
from flareseg.results.followup.table import change_of, verdict_of
from flareseg.results.followup.tracks import Track, longest_of
from flareseg.results.lesions import Lesion
from flareseg.results.measure import cell
from flareseg.results.measurement_files import check_table_name
from flareseg.text import Number, as_json, write_csv_rows
from flareseg.volume import Triple

LESION, SUM, ORGAN = "lesion", "sum", "organ"
COLUMNS = (
    "kind", "number", "structure", "target", "scan", "case", "date", "remarks", "longest_mm", "perpendicular_mm",
    "volume_ml", "mean_hu", "change_per_cent", "category", "place_xyz_mm",
)  # fmt: skip
CHANGE_DECIMALS = 1


def write_follow_up(path: Path, found: FollowUp, *, overwrite: bool = False) -> None:
    """Write a follow-up, whole or not at all.

    Raises:
        UsageError: for another ending than .csv or .json.
        OutputError: when the file exists and `overwrite` is not set, or cannot be written.
    """
    check_table_name(path, "Follow-ups")
    with atomic_path(path, overwrite=overwrite) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        if path.suffix.lower() == ".json":
            file.write(as_json(as_data(found), indent=1) + "\n")
            return
        write_csv_rows(file, [COLUMNS])
        write_csv_rows(file, ([_cell(name, row.get(name)) for name in COLUMNS] for row in rows_of(found)))


def rows_of(found: FollowUp) -> list[dict[str, Any]]:
    """One for each lesion, the sum of the target lesions, and each organ, in each scan."""
    rows: list[dict[str, Any]] = []
    for time, scan in enumerate(found.times):
        about = {"scan": time + 1, "case": scan.name, "date": scan.scanned.isoformat() if scan.scanned else None}
        for track in found.tracks:
            rows.append({"kind": LESION, **about, **_lesion_row(found, track, time)})
        if any(not why for why in found.why_not.values()):
            rows.append({"kind": SUM, **about, "longest_mm": found.sums_mm[time], **_response(found, time)})
        for organ in found.organs:
            change = organ.change(time) if time else None
            rows.append(
                {
                    "kind": ORGAN,
                    **about,
                    "structure": organ.structure.name,
                    "volume_ml": _rounded(organ.volume_ml[time], DECIMALS["volume_ml"]),
                    "remarks": "cut by the edge of the scan" if organ.cut[time] else None,
                    "change_per_cent": _per_cent(change),
                }
            )
    return rows


def as_data(found: FollowUp) -> dict[str, Any]:
    """All of a follow-up, as JSON has it; places are in the patient, LPS mm."""
    return {
        "scans": [
            {
                "case": scan.name,
                "date": scan.scanned.isoformat() if scan.scanned else None,
                "slice_mm": scan.slice_mm,
                "sum_mm": found.sums_mm[time],
                "agreement_dsc": _rounded(found.dice[time - 1], 3) if time else None,
            }
            for time, scan in enumerate(found.times)
        ],
        "lesions": [
            {
                "number": track.number,
                "host": track.host.name if track.host else None,
                "target": not found.why_not[track.number],
                "why_no_target": found.why_not[track.number] or None,
                "scans": [
                    {
                        **{k: v for k, v in _lesion_row(found, track, time).items() if k not in ("number", "target")},
                        "in_view": sighting.in_view,
                        "apart_mm": round(sighting.apart_mm, 1),
                        "parts": [_part(lesion) for lesion in sighting.lesions],
                    }
                    for time, sighting in enumerate(track.sightings)
                ],
            }
            for track in found.tracks
        ],
        "responses": [
            {
                "scan": time,
                "sum_mm": response.sum_mm,
                "complete": response.complete,
                "change_of_baseline_per_cent": _per_cent(response.of_baseline),
                "change_of_nadir_per_cent": _per_cent(response.of_nadir),
                "target": response.target or None,
                "overall": response.overall,
                "new": list(response.new),
                "text": verdict_of(response),
            }
            for time, response in enumerate(found.responses, 2)
        ],
        "organs": [
            {
                "structure": organ.structure.name,
                "volume_ml": [_rounded(ml, DECIMALS["volume_ml"]) for ml in organ.volume_ml],
                "cut": list(organ.cut),
                "change_per_cent": [_per_cent(organ.change(time)) for time in range(1, len(found.times))],
            }
            for organ in found.organs
        ],
        "notes": list(found.notes),
    }


def _lesion_row(found: FollowUp, track: Track, time: int) -> dict[str, Any]:
    sighting, scan = track.sightings[time], found.times[time]
    lesions = sighting.lesions
    largest = max(lesions, key=lambda lesion: lesion.voxels) if lesions else None
    known = time >= track.first and sighting.in_view
    hu = [(one.mean_hu, one.voxels) for one in lesions if one.mean_hu is not None]
    mean_hu = sum(mean * voxels for mean, voxels in hu) / sum(voxels for _, voxels in hu) if hu else None
    return {
        "number": track.number,
        "structure": track.host.name if track.host else None,
        "target": not found.why_not[track.number],
        "remarks": "; ".join(found.remarks(track, time)) or None,
        "longest_mm": round(sighting.longest_mm, DECIMALS["longest_mm"]) if known else None,
        "perpendicular_mm": round(largest.perpendicular.mm, DECIMALS["perpendicular_mm"]) if largest else None,
        "volume_ml": round(sighting.voxels * scan.grid.voxel_ml, DECIMALS["volume_ml"]) if known else None,
        "mean_hu": _rounded(mean_hu, DECIMALS["mean_hu"]),
        "change_per_cent": _per_cent(change_of(track, time)),
        "place_xyz_mm": sighting.place_xyz_mm,
    }


def _part(lesion: Lesion) -> dict[str, Any]:
    return {
        "lesion": lesion.number,
        "longest_mm": longest_of(lesion),
        "longest_start_xyz_mm": _end(lesion.longest.start_xyz_mm),
        "longest_end_xyz_mm": _end(lesion.longest.end_xyz_mm),
        "perpendicular_start_xyz_mm": _end(lesion.perpendicular.start_xyz_mm),
        "perpendicular_end_xyz_mm": _end(lesion.perpendicular.end_xyz_mm),
    }


def _response(found: FollowUp, time: int) -> dict[str, Any]:
    if not time:
        return {}
    response = found.responses[time - 1]
    return {"change_per_cent": _per_cent(response.of_baseline), "category": response.overall}


def _end(place: Triple) -> list[float]:
    return [round(mm, END_DECIMALS) for mm in place]


def _rounded(value: float | None, decimals: int) -> float | None:
    return None if value is None else round(value, decimals)


def _per_cent(share: float | None) -> float | None:
    return _rounded(None if share is None else 100 * share, CHANGE_DECIMALS)


def _cell(name: str, value: Any) -> str:
    if name == "change_per_cent" and value is not None:
        return Number(f"{value:.{CHANGE_DECIMALS}f}")
    text = cell(name, value)
    return text if isinstance(value, str) else Number(text)
