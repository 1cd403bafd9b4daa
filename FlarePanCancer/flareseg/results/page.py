"""The report as one HTML file: picture, numbers and warnings, and the CT to scroll through."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from string import Template
from typing import Any

from flareseg import __version__
from flareseg.labels import TUMOUR, Structure
from flareseg.results.html_page import PARTS, as_script, escape, head_of, script_of, text_of
from flareseg.results.measure import Measurement, title_of
from flareseg.results.overlay import LEVEL_HU, WINDOW_HU
from flareseg.results.picture import DISCLAIMER
from flareseg.results.reported import Reported
from flareseg.results.voxels import PageVoxels, fitting, levels_hu
from flareseg.results.warnings import CaseWarning
from flareseg.segmentation import Segmentation
from flareseg.text import visible
from flareseg.volume import Triple

GENERATOR = "flareseg report"
SCRIPTS = ("unpack.js", "data.js", "planes.js", "surface.js", "solid.js", "main.js")
WINDOWS = (
    ("Soft tissue", WINDOW_HU, LEVEL_HU),
    ("Liver", 160.0, 90.0),
    ("Lung", 1500.0, -600.0),
    ("Bone", 1800.0, 400.0),
)
"""Name, width and level in HU."""
_CUT = '<p class="small">≥ The structure reaches the edge of the scan, which may have cut it off.</p>'


def page_of(case: Reported, picture: bytes) -> str:
    """The page; everything is inside it, so that one file can be sent or archived.

    Args:
        case: what it is about.
        picture: a PNG, slices only.
    """
    segmentation, rows = case.segmentation, case.rows
    voxels, ct, labels = fitting(segmentation, case.volume)
    script = script_of(PARTS / name for name in SCRIPTS)
    name = escape(segmentation.name)
    known = {structure.name: structure for structure in segmentation.structures}
    return Template(text_of(PARTS / "page.html")).substitute(
        head=head_of(name, text_of(PARTS / "page.css"), script, GENERATOR),
        script=script,
        name=name,
        disclaimer=escape(DISCLAIMER),
        warnings=_warnings(case.warnings),
        picture=base64.b64encode(picture).decode("ascii"),
        caption=f"Window {WINDOW_HU:.0f}, level {LEVEL_HU:.0f} HU. The colours are those of the table.",
        rows="\n".join(_row(row, known[row.structure]) for row in rows if row.lesion is None),
        lesions=_lesions([row for row in rows if row.lesion is not None]),
        cut=_CUT if any(row.touches_border for row in rows) else "",
        resolution=escape(_resolution(voxels)),
        notes="\n".join(f"<p>{escape(note)}</p>" for note in segmentation.notes),
        details="\n".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in _details(segmentation)),
        facts=as_script(_facts(segmentation, voxels, rows)),
        ct=ct.decode("ascii"),
        labels=labels.decode("ascii"),
    )


def _details(segmentation: Segmentation) -> list[tuple[str, str]]:
    geometry = segmentation.geometry
    size = " × ".join(str(n) for n in geometry.shape_zyx[::-1])
    spacing = " × ".join(f"{mm:.3g}" for mm in geometry.spacing_zyx_mm[::-1])
    details = [("CT", f"{size} voxels of {spacing} mm"), ("Software", f"flareseg {__version__}")]
    if segmentation.model:
        details.insert(1, ("Model", segmentation.model))
    if segmentation.seconds:
        stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in segmentation.seconds.items())
        details.append(("Time", f"{sum(segmentation.seconds.values()):.1f} s ({stages})"))
    return details


def _resolution(voxels: PageVoxels) -> str:
    if voxels.blocks == (1, 1, 1):
        return "The slices are the CT's own, in steps of 3 HU in soft tissue."
    spacing = " × ".join(f"{mm:.2g}" for mm in voxels.geometry.spacing_zyx_mm[::-1])
    return (
        f"To fit, the CT is shown in voxels of {spacing} mm, each the mean of its own, in steps of 3 HU in soft tissue."
    )


def _warnings(warnings: Sequence[CaseWarning]) -> str:
    if not warnings:
        return ""
    items = "\n".join(f"<li>{escape(one.text)}</li>" for one in warnings)
    return f'<section class="warnings">\n<h2>Please note</h2>\n<ul>\n{items}\n</ul>\n</section>'


def _row(row: Measurement, structure: Structure) -> str:
    red, green, blue = structure.colour
    swatch = f'<span class="swatch" style="background: rgb({red} {green} {blue})"></span>'
    title = f"{swatch}<span>{escape(structure.title)}</span>"
    if not row.voxels:
        return f'<tr class="absent"><th><label>{title}</label></th><td colspan="3">not found</td></tr>'
    box = f'<input type="checkbox" data-value="{structure.value}" checked>'
    cut = "≥ " if row.touches_border else ""
    numbers = (f"{cut}{row.volume_ml:,.1f}", f"{round(row.mean_hu or 0)}", f"{round(row.sd_hu or 0)}")
    return f"<tr><th><label>{box}{title}</label></th>{''.join(f'<td>{number}</td>' for number in numbers)}</tr>"


def _lesions(rows: Sequence[Measurement]) -> str:
    """The table of lesions; nothing where there is none."""
    if not rows:
        return ""
    titles = ("Lesion", "Volume, ml", "Diameters, mm", "Mean HU")
    lines = []
    for row in rows:
        name = escape(title_of(row).removeprefix("Lesion "))
        button = f'<button type="button" data-lesion="{row.lesion}">{name}</button>'
        cut = "≥ " if row.touches_border else ""
        numbers = (
            f"{cut}{row.volume_ml:,.1f}",
            f"{row.longest_mm:.0f} × {row.perpendicular_mm:.0f}",
            f"{round(row.mean_hu or 0)}",
        )
        lines.append(f"<tr><th>{button}</th>{''.join(f'<td>{number}</td>' for number in numbers)}</tr>")
    head = "".join(f"<th>{title}</th>" for title in titles)
    return (
        f'<table class="lesions">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{chr(10).join(lines)}\n</tbody>\n</table>'
    )


def _facts(segmentation: Segmentation, voxels: PageVoxels, rows: Sequence[Measurement]) -> dict[str, Any]:
    """What the script must know besides the voxels; indices are (z, y, x) on the page's grid."""
    geometry = voxels.geometry
    found = {row.structure for row in rows if row.voxels}
    lesions = [_lesion_facts(row, voxels) for row in rows if row.lesion is not None]
    return {
        "shape": geometry.shape_zyx,
        "spacing": geometry.spacing_zyx_mm,
        "origin": geometry.origin_xyz_mm,
        "direction": geometry.direction,
        "levels": levels_hu().tolist(),
        "windows": [{"name": name, "width": width, "level": level} for name, width, level in WINDOWS],
        "structures": [
            {
                "value": one.value,
                "title": visible(one.title),
                "colour": one.colour,
                "found": one.name in found,
                "lesion": one.name == TUMOUR,
            }
            for one in segmentation.structures
        ],
        "lesions": lesions,
        "start": lesions[0]["middle"] if lesions else _start(voxels),
    }


def _lesion_facts(row: Measurement, voxels: PageVoxels) -> dict[str, Any]:
    def line(start: Triple | None, end: Triple | None, mm: float | None) -> dict[str, Any]:
        assert start and end and mm is not None
        return {"from": voxels.index_of(start), "to": voxels.index_of(end), "mm": mm}

    longest = line(row.longest_start_xyz_mm, row.longest_end_xyz_mm, row.longest_mm)
    across = line(row.perpendicular_start_xyz_mm, row.perpendicular_end_xyz_mm, row.perpendicular_mm)
    middle = [(a + b) / 2 for a, b in zip(longest["from"], longest["to"], strict=True)]
    return {
        "number": row.lesion,
        "value": row.value,
        "middle": middle,
        "slice": round(middle[0]),
        "longest": longest,
        "perpendicular": across,
    }


def _start(voxels: PageVoxels) -> list[int]:
    """The slice that shows most of what was found, in the middle of it; the middle of the CT where nothing was."""
    areas = [int((plane > 0).sum()) for plane in voxels.labels]
    if not any(areas):
        return [size // 2 for size in voxels.labels.shape]
    best = areas.index(max(areas))
    y, x = (voxels.labels[best] > 0).nonzero()
    return [best, int(y.mean()), int(x.mean())]
