"""The slices by which a case is judged, small: the CT as a picture, and the labels beside it, so that they can go."""

from __future__ import annotations

import base64
import gzip
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.results.overlay import grey_levels, resized_labels
from flareseg.results.views import View, choose_views
from flareseg.segmentation import Segmentation
from flareseg.volume import Volume

LONGEST_PX = 320
"""Of a picture: 1.3 mm a pixel in most adults, at which an adrenal gland can still be judged."""
QUALITY = {"webp": 60, "jpeg": 75}
"""WebP needs half the bytes of JPEG; not every build of Pillow has it."""


@dataclass(frozen=True)
class Slice:
    """One slice as a picture.

    Attributes:
        plane: "axial", "coronal" or "sagittal".
        position: where it lies, e.g. "S 112 mm".
        letters: what lies left, right, top and bottom.
        width, height: in square pixels.
        grey: the CT in a soft-tissue window, a data: URL.
        labels: `height` rows of `width` bytes, label values, gzip in base64.
        first: whether it is one of the two that a list shows: the coronal one, and the axial one with most in it.
    """

    plane: str
    position: str
    letters: tuple[str, str, str, str]
    width: int
    height: int
    grey: str
    labels: str
    first: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Slice:
        """What `to_json` gave; raises KeyError, TypeError or ValueError for anything else."""
        left, right, top, bottom = map(str, data["letters"])
        grey = str(data["grey"])
        if not grey.startswith(tuple(map(_prefix, QUALITY))):
            raise ValueError("no picture")
        return cls(
            plane=str(data["plane"]),
            position=str(data["position"]),
            letters=(left, right, top, bottom),
            width=int(data["width"]),
            height=int(data["height"]),
            grey=grey,
            labels=str(data["labels"]),
            first=bool(data["first"]),
        )


def slices_of(segmentation: Segmentation, volume: Volume) -> tuple[Slice, ...]:
    """Coronal, axial from head to feet, sagittal: those of the report, see `choose_views`.

    Args:
        segmentation: on the grid of `volume`.
        volume: the CT.

    Raises:
        ImportError: without Pillow.
    """
    views = choose_views(segmentation, volume)
    shown = [int(np.count_nonzero(view.labels)) if view.plane == "axial" else -1 for view in views]
    order = sorted(range(len(views)), key=lambda number: ("coronal", "axial", "sagittal").index(views[number].plane))
    made = []
    for number in order:
        first = views[number].plane == "coronal" or number == int(np.argmax(shown))
        made.append(replace(_slice(views[number]), first=first))
    return tuple(made)


def _slice(view: View) -> Slice:
    height_mm, width_mm = view.size_mm
    scale = LONGEST_PX / max(height_mm, width_mm)
    width, height = (max(1, round(mm * scale)) for mm in (width_mm, height_mm))
    labels = resized_labels(view.labels, (height, width))
    grey = np.round(255 * grey_levels(view, width, height)).astype(np.uint8)
    return Slice(view.plane, view.position, view.letters, width, height, _picture(grey), _packed(labels))


def _picture(grey: NDArray[np.uint8]) -> str:
    from PIL import Image, features

    kind, file = "webp" if features.check("webp") else "jpeg", io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(grey))
    image.convert("RGB" if kind == "webp" else "L").save(file, kind, quality=QUALITY[kind])
    return _prefix(kind) + base64.b64encode(file.getvalue()).decode("ascii")


def _prefix(kind: str) -> str:
    return f"data:image/{kind};base64,"


def _packed(labels: NDArray[np.uint8]) -> str:
    return base64.b64encode(gzip.compress(labels.tobytes(), mtime=0)).decode("ascii")


def fewer(slices: Sequence[Slice]) -> list[Slice]:
    """The two that a list shows."""
    return [one for one in slices if one.first]
