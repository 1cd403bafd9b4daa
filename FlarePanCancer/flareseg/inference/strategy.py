"""The steps from a CT to its labels; `fast.py` and `parity.py` hold the two ways to take them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from flareseg.inference.case import Case
from flareseg.inference.engine import Engine
from flareseg.inference.evidence import Evidence, part_on_grid
from flareseg.inference.head import Logits, grid_of
from flareseg.model.structures import drawn_by, structures_of
from flareseg.volume import Box


class Strategy(ABC):
    """One way to segment a CT. `Segmenter` takes the steps in the order in which they stand here.

    Attributes:
        engine: the main network, applied to parts of CTs.
        plan: of the main network.
        structures: what it draws.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine, self.plan = engine, engine.plan
        self.structures = drawn_by(engine.plan)
        # Label values of the output channels; None where they are the same numbers, as in a model of all structures.
        values = [0, *(structure.value for structure in structures_of(engine.plan))]
        self._values = None if values == list(range(len(values))) else np.array(values, np.uint8)

    def new_evidence(self) -> Evidence | None:
        """Where to add up what the network says of one CT; None where its output is no logits of one network."""
        return None

    @abstractmethod
    def find_body(self, case: Case) -> Box | None:
        """The part of the CT that is not air; None where all is."""

    def find_region(self, case: Case, body: Box) -> Box | None:
        """The part of the body that can hold what is looked for; None where nothing does."""
        return body

    @abstractmethod
    def label(self, case: Case, box: Box) -> NDArray[np.uint8]:
        """The labels of a part of the CT; its confidence, where that is wanted, is put into `case.certainty`."""

    def extend_region(self, case: Case, region: Box, body: Box) -> None:
        """Follow structures that leave the region; `case.labels` grow in place."""
        return

    def finds_abdomen(self, case: Case) -> bool:
        """Whether `case.labels` can be abdominal organs."""
        return True

    def values(self, channels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Output channels to label values."""
        return channels if self._values is None else self._values[channels]


class LogitsStrategy(Strategy):
    """One whose logits are interpolated to the grid of the CT, where the highest gives the label."""

    def label(self, case: Case, box: Box) -> NDArray[np.uint8]:
        """The labels of a part of the CT; its confidence, where that is wanted, is put into `case.certainty`."""
        logits = self._logits(case, box)
        shape = case.ct.hu[box].shape
        with case.progress.stage("labels"):
            if case.certainty is not None:
                case.certainty[box] = self.engine.confidence(logits, shape)
            if case.evidence is not None:
                voxel_ml = case.ct.geometry.voxel_ml * math.prod(shape) / math.prod(grid_of(logits))
                new = part_on_grid(case.new, shape, logits) if case.new else None
                case.evidence.add(logits, voxel_ml, new)
            return self.values(self.engine.labels(logits, shape, case.spacing_zyx_mm, case.progress))

    @abstractmethod
    def _logits(self, case: Case, box: Box) -> Logits:
        """(classes, z, y, x) logits of a part of the CT, on the grid of the network."""
