"""One CT in, one segmentation out: the pipeline of one model, in the order in which it happens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from flareseg.expectation import Expectation
from flareseg.inference.case import Case, roi_in
from flareseg.inference.fast import FastStrategy
from flareseg.inference.orientation import network_orientation
from flareseg.inference.parity import ParityEngine, ParityStrategy
from flareseg.inference.parity_v1 import V1Engine
from flareseg.inference.postprocessing import clean_labels, keep_largest
from flareseg.inference.strategy import Strategy
from flareseg.inference.totalsegmentator import TotalSegmentatorStrategy
from flareseg.labels import Structure
from flareseg.model.bundle import Bundle
from flareseg.model.plan import ComponentRule
from flareseg.model.structures import structures_of
from flareseg.options import Options
from flareseg.progress import Progress
from flareseg.segmentation import Segmentation
from flareseg.volume import Orientation, Volume, WorldBox

NOTHING_FOUND = "No abdominal organ was found in this CT; the result is empty."


@dataclass(frozen=True)
class Request:
    """What is asked of a model about one CT; see `Segmenter.segment`.

    Attributes:
        wanted: the structures to keep.
        alone: False where other models look at the same CT, so that an empty result of this one says little.
    """

    wanted: tuple[Structure, ...]
    progress: Progress
    roi: WorldBox | None = None
    confidence: bool = False
    preview: Callable[[Segmentation], None] | None = None
    alone: bool = True


class OneModel:
    """A model with weights of its own, on a device.

    Args:
        bundle: the model.
        options: of the run; parity goes by the plan unless they say.

    Attributes:
        name: with its version.
        structures: what it segments.
        strategy: how it does.
        plan: of its main network.
        options: of the run, with parity decided.
    """

    def __init__(self, bundle: Bundle, options: Options) -> None:
        parity = bundle.plan.parity if options.parity is None else options.parity
        self.options = options = replace(options, parity=parity)
        self.name = f"{bundle.name} {bundle.version}"
        self.plan = bundle.plan
        self._cannot_mirror = options.mirroring and not (bundle.plan.mirror_axes or bundle.plan.mirror_sides)
        self.strategy = _strategy_of(bundle, options)
        self.structures: tuple[Structure, ...] = self.strategy.structures

    @property
    def device(self) -> torch.device:
        """Where its networks run now."""
        return self.strategy.engine.device

    @property
    def description(self) -> str:
        """What they run on now."""
        return self.strategy.engine.description

    def segment(self, volume: Volume, request: Request) -> Segmentation:
        """The wanted structures on the volume's own grid; raises as `Segmenter.segment`."""
        progress = request.progress
        if self._cannot_mirror:
            progress.message(f"The model '{self.name}' was not trained for mirroring; it runs without.")
        orientation = network_orientation(self.plan, volume.geometry)
        ct = volume.oriented(orientation)
        case = Case(
            ct=ct,
            wanted=request.wanted,
            progress=progress,
            labels=np.zeros(ct.hu.shape, np.uint8),
            certainty=np.zeros(ct.hu.shape, np.uint8) if request.confidence else None,
            evidence=self.strategy.new_evidence(),
            roi=roi_in(ct, request.roi) if request.roi else None,
            preview=request.preview,
            model=self.name,
        )
        if not self._fill(case) and request.alone:
            progress.message(NOTHING_FOUND)
        return replace(_segmentation(case, volume, orientation), expectations=self._expectations(case))

    def _fill(self, case: Case) -> bool:
        """Fill `case.labels`, and `case.certainty` where that is wanted; False where nothing can be an abdomen."""
        strategy = self.strategy
        body = strategy.find_body(case)
        region = strategy.find_region(case, body) if body else None
        box = case.within_roi(region) if region else None
        if not body or not box:
            return False
        case.labels[box] = strategy.label(case, box)
        strategy.extend_region(case, box, body)
        with case.progress.stage("components"):
            clean_labels(case.labels, case.ct, self._component_rules())
            for rule in self.plan.largest:
                values = [self._value_of(name) for name in rule.structures]
                keep_largest(case.labels, case.ct.geometry.voxel_ml, values, rule.below_ml)
            found = strategy.finds_abdomen(case)
            if not found:
                case.labels[:] = 0
            if len(case.wanted) < len(self.structures):
                case.keep_wanted()
        return found

    def _expectations(self, case: Case) -> dict[str, Expectation]:
        """Of the structures that were drawn, by name."""
        if case.evidence is None:
            return {}
        signs = case.evidence.signs(structures_of(self.plan), case.labels, case.spacing_zyx_mm)
        known = self.plan.calibration
        return {
            name: Expectation(found, known[name].expected_dsc(found) if name in known else None)
            for name, found in signs.items()
        }

    def _component_rules(self) -> dict[int, ComponentRule]:
        """By label value."""
        return {self._value_of(name): rule for name, rule in self.plan.components.items()}

    def _value_of(self, name: str) -> int:
        """The label value of the structure that the plan calls so."""
        channels = {name: channel for channel, name in self.plan.labels.items()}
        return structures_of(self.plan)[channels[name] - 1].value


def _strategy_of(bundle: Bundle, options: Options) -> Strategy:
    """How a model goes from a CT to labels."""
    if bundle.plan.resampling == "corners":
        return TotalSegmentatorStrategy(bundle, options)
    if options.parity:
        return ParityStrategy(bundle, options, ParityEngine if bundle.plan.nnunet == 2 else V1Engine)
    return FastStrategy(bundle, options)


def _segmentation(case: Case, volume: Volume, orientation: Orientation) -> Segmentation:
    """What was found, on the grid of the volume as it was given."""
    certainty, messages = case.certainty, case.progress.messages
    return Segmentation(
        labels=np.ascontiguousarray(orientation.from_canonical(case.labels)),
        geometry=volume.geometry,
        structures=case.wanted,
        name=volume.name,
        model=case.model,
        notes=notes_of(volume, messages),
        seconds=dict(case.progress.seconds),
        confidence=None if certainty is None else np.ascontiguousarray(orientation.from_canonical(certainty)),
        source=volume.source,
    )


def notes_of(volume: Volume, messages: Sequence[str]) -> tuple[str, ...]:
    """Of a result: what is to be known of the CT, and what was said while it was segmented."""
    return (*volume.notes, *(text for text in messages if text not in volume.notes))
