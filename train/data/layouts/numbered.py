"""CTs and label maps side by side in any folders, told apart by the beginning of their name."""

from __future__ import annotations

from pathlib import Path

from train.data.layouts.found import folders_under, images_in


def numbered(folder: Path, image: str, label: str) -> tuple[dict[str, Path], dict[str, Path]]:
    """CTs and label maps in `folder` or below that are called `image` or `label` and a number, by that number."""
    images: dict[str, Path] = {}
    maps: dict[str, Path] = {}
    for part in (folder, *folders_under(folder)):
        for name, path in images_in(part).items():
            for beginning, found in ((image, images), (label, maps)):
                number = name.removeprefix(beginning)
                if number != name and number.isdecimal():
                    found[number] = path
    return images, maps
