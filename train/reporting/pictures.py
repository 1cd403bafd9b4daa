"""Image of a pre-training: original, corrupted and reconstructed patches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from flareseg.io.atomic import atomic_path
from flareseg.system.private_imports import import_matplotlib

COLUMNS = ("original", "corrupted", "reconstructed")


def write_reconstructions(
    path: Path,
    original: Sequence[torch.Tensor],
    corrupted: Sequence[torch.Tensor],
    reconstructed: Sequence[torch.Tensor],
    *,
    names: Sequence[str],
) -> None:
    """Write a PNG: one row per patch with its central axial and coronal slices in all three states, and the errors.

    Args:
        path: of the PNG.
        original, corrupted, reconstructed: one (z, y, x) volume per row, intensities from 0 to 1.
        names: of the rows.
    """
    import_matplotlib()
    from matplotlib.figure import Figure

    rows = len(original)
    figure = Figure(figsize=(10.5, 0.55 + 1.75 * rows), facecolor="black", dpi=110)
    axes = figure.subplots(rows, 6, squeeze=False)
    for row, volumes in enumerate(zip(original, corrupted, reconstructed, strict=True)):
        for column, volume in enumerate(volumes):
            error = float(((volume - volumes[0]) ** 2).mean())
            for view in range(2):
                panel = axes[row][2 * column + view]
                plane = volume[volume.shape[0] // 2] if view == 0 else volume[:, volume.shape[1] // 2].flip(0)
                panel.imshow(plane.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="bilinear")
                panel.set_xticks([])
                panel.set_yticks([])
                if row == 0:
                    title = f"{COLUMNS[column]}, {('axial', 'coronal')[view]}"
                    panel.set_title(title, color="white", fontsize=9)
            if column:
                axes[row][2 * column].set_xlabel(f"MSE {error:.4f}", color="white", fontsize=8)
        axes[row][0].set_xlabel(names[row], color="white", fontsize=8)
    figure.tight_layout(pad=0.6)
    with atomic_path(path, overwrite=True) as partial, partial.open("wb") as file:
        figure.savefig(file, format="png", facecolor="black")
