"""Score plots: DSC per structure, DSC over size, run time over slices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flareseg.io.atomic import atomic_path
from flareseg.labels import structures
from flareseg.system.private_imports import import_matplotlib


def write_plots(rows: Sequence[dict[str, Any]], costs: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write scores.png with three panels for the exported model (the first of the rows)."""
    import_matplotlib()
    from matplotlib.figure import Figure

    if not rows:
        return
    model = rows[0]["model"]
    rows = [row for row in rows if row["model"] == model]
    shown = [s for s in structures() if any(row["structure"] == s.name for row in rows)]
    figure = Figure(figsize=(12, 6.2), dpi=110, layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1.5, 1))
    boxes, sizes, times = (figure.add_subplot(cell) for cell in (grid[:, 0], grid[0, 1], grid[1, 1]))
    values = [[100 * row["dsc"] for row in rows if row["structure"] == s.name] for s in shown]
    colours = [tuple(part / 255 for part in s.colour) for s in shown]
    drawn = boxes.boxplot(values, orientation="horizontal", patch_artist=True, widths=0.6)
    for patch, colour in zip(drawn["boxes"], colours, strict=True):
        patch.set_facecolor(colour)
    for line in drawn["medians"]:
        line.set_color("black")
    boxes.set_yticks(range(1, len(shown) + 1), [s.title for s in shown])
    boxes.invert_yaxis()
    boxes.set_xlim(-2, 102)
    boxes.set_xlabel("DSC, %")
    boxes.set_title(f"{model}: {len({row['case'] for row in rows})} cases")
    for s, colour in zip(shown, colours, strict=True):
        mine = [row for row in rows if row["structure"] == s.name and row["reference_ml"] > 0]
        sizes.scatter(
            [r["reference_ml"] for r in mine], [100 * r["dsc"] for r in mine], color=colour, edgecolor="black", s=22
        )
    sizes.set_xscale("log")
    sizes.set_xlabel("volume in the reference, ml")
    sizes.set_ylabel("DSC, %")
    sizes.set_ylim(-4, 104)
    mine = [cost for cost in costs if cost["model"] == model]
    times.scatter([cost["shape_zyx"][0] for cost in mine], [cost["seconds"] for cost in mine], color="black", s=22)
    times.set_xlabel("slices")
    times.set_ylabel("seconds, read to labels")
    times.set_ylim(bottom=0)
    for axes in (boxes, sizes, times):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(folder / "scores.png", overwrite=True) as partial, partial.open("wb") as file:
        figure.savefig(file, format="png")
