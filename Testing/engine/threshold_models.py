"""Models that draw what has certain HU, to be put together: what they draw is known, what they were shown is kept."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from flareseg.model.bundle import Bundle, save_bundle
from flareseg.model.catalogue import models_folder
from flareseg.model.networks.dynunet import dynunet_spec
from flareseg.model.networks.registry import parameter_shapes
from flareseg.model.plan import Intensity, Plan
from flareseg.model.structures import structures_of
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Volume

PLAN = Plan(
    spacing_zyx_mm=(5.0, 5.0, 5.0),
    patch_zyx=(8, 8, 8),
    intensity=Intensity((-200.0, 300.0), 50.0, 90.0),
    network=dynunet_spec([2, 4, 4]),
    labels={0: "background"},
)
BODY, LIVER, RIGHT_KIDNEY, LEFT_KIDNEY, SPLEEN, LESION = 0, 100, 200, 210, 150, 50
ORGANS = {"liver": LIVER, "right_kidney": RIGHT_KIDNEY, "left_kidney": LEFT_KIDNEY}


def save_threshold_model(
    name: str, drawn: dict[str, int], *, version: str = "1.0", licence: str = "Apache-2.0", weight: float = 1.0
) -> Path:
    """One of the user's models, which draws each structure where the CT has exactly its HU."""
    plan = replace(PLAN, labels=dict(enumerate(["background", *drawn])))
    save_bundle(
        models_folder() / name,
        plan=plan,
        weights={key: torch.full(shape, weight) for key, shape in parameter_shapes(plan).items()},
        name=name,
        version=version,
        description="thresholds",
        licence=licence,
        citation=f"The makers of {name}.",
        provenance={"hu": list(drawn.values())},
        metrics={},
        card="",
        overwrite=True,
    )
    return models_folder() / name


class ThresholdModel:
    """Stands for `OneModel`."""

    opened: ClassVar[list[str]] = []
    shown: ClassVar[list[tuple[str, Volume]]] = []
    most_alive: ClassVar[int] = 0
    _alive: ClassVar[weakref.WeakSet] = weakref.WeakSet()

    def __init__(self, bundle: Bundle, options) -> None:
        self.name, self.plan = f"{bundle.name} {bundle.version}", bundle.plan
        self.options = replace(options, parity=bool(options.parity))
        self.structures = structures_of(bundle.plan)
        self.device, self.description = torch.device("cpu"), "thresholds"
        self._hu = bundle.info["provenance"]["hu"]
        self._alive.add(self)
        ThresholdModel.most_alive = max(ThresholdModel.most_alive, len(self._alive))
        self.opened.append(bundle.name)

    def segment(self, volume, request):
        self.shown.append((self.name.split()[0], volume))
        with request.progress.stage("body"):
            pass
        labels = np.zeros(volume.hu.shape, np.uint8)
        with request.progress.stage("network"):
            for number, (structure, hu) in enumerate(zip(self.structures, self._hu, strict=True)):
                request.progress.update(number / len(self._hu))
                if structure in request.wanted:
                    labels[volume.hu == hu] = structure.value
        if request.roi:
            inside = np.zeros(labels.shape, bool)
            inside[request.roi.in_grid(volume.geometry)] = True
            labels[~inside] = 0
        certainty = np.full(labels.shape, 10 * len(self.name.split()[0]), np.uint8) if request.confidence else None
        result = Segmentation(labels, volume.geometry, request.wanted, volume.name, self.name, confidence=certainty)
        if request.preview:
            request.preview(result)
        return result


def forget() -> Iterator[None]:
    """For a fixture: nothing was opened or shown before."""
    ThresholdModel.opened.clear()
    ThresholdModel.shown.clear()
    ThresholdModel.most_alive = 0
    yield


def a_patient() -> Volume:
    """(16, 40, 50) voxels of 5 mm, an eighth of a millilitre each: a liver, and two kidneys far apart."""
    hu = np.full((16, 40, 50), -1000, np.int16)
    hu[1:15, 2:38, 2:48] = BODY
    hu[3:11, 6:18, 5:17] = LIVER
    hu[4:10, 26:34, 4:9] = RIGHT_KIDNEY
    hu[4:10, 26:34, 40:45] = LEFT_KIDNEY
    return Volume(hu, Geometry(hu.shape, (5.0, 5.0, 5.0), (-100.0, -80.0, 30.0)), "patient")
