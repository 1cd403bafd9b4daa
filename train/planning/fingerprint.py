"""What a plan is made from: spacing and size of every training CT, read from the headers alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flareseg.errors import FlareError, InputError
from flareseg.io.image import read_geometry
from flareseg.volume import Index, Orientation, Triple
from train.config import SourceConfig
from train.data.layouts import look_into


@dataclass(frozen=True)
class Fingerprint:
    """Sizes of the training CTs, slices first.

    Attributes:
        spacings_zyx_mm, shapes_zyx: of each.
        training: number of cases that a net is trained on.
    """

    spacings_zyx_mm: tuple[Triple, ...]
    shapes_zyx: tuple[Index, ...]
    training: int


def fingerprint_of(sources: Sequence[SourceConfig]) -> Fingerprint:
    """Measure the CTs of all sources in canonical orientation, as they are trained on.

    Labelled CTs count, or all if there are none, and none of a data set's own validation set. Whole CTs are measured:
    nnU-Net cuts off borders of zeros first, which CTs in HU do not have. A CT whose header cannot be read is left out;
    `prepare` refuses it.

    Raises:
        InputError: when there is no CT.
    """
    found = [case for source in sources for case in look_into(source, maps_will_do=True).cases]
    cases = [case for case in found if case.split != "validation"]
    chosen = [case for case in cases if case.labels] or cases
    spacings, shapes = [], []
    for case in chosen:
        try:
            geometry = read_geometry(case.image)
        except FlareError as error:
            print(f"plan: left out {case.name}: {error}", flush=True)
            continue
        upright = Orientation.of(geometry).geometry_to_canonical(geometry)
        spacings.append(upright.spacing_zyx_mm)
        shapes.append(upright.shape_zyx)
    if not shapes:
        raise InputError("The sources hold no CT for training whose size could be read.")
    return Fingerprint(tuple(spacings), tuple(shapes), len(shapes))


def read_fingerprint(path: Path) -> Fingerprint:
    """Read a dataset_fingerprint.json of nnU-Net v2.

    Raises:
        InputError: when it is missing or none.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        spacings = tuple((float(z), float(y), float(x)) for z, y, x in data["spacings"])
        shapes = tuple((int(z), int(y), int(x)) for z, y, x in data["shapes_after_crop"])
        numbers = [number for row in (*spacings, *shapes) for number in row]
        if not shapes or len(shapes) != len(spacings) or min(numbers) <= 0:
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"'{path}' is missing, or no fingerprint of nnU-Net v2.") from None
    return Fingerprint(spacings, shapes, len(shapes))
