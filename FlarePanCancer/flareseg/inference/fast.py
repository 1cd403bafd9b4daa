"""The fast way: a coarse net finds the abdomen, the main net labels it, and a net of its own may find the tumours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from flareseg.inference.body import body_box
from flareseg.inference.case import Case
from flareseg.inference.coarse import CoarseNet
from flareseg.inference.engine import Engine
from flareseg.inference.evidence import Evidence
from flareseg.inference.head import Logits, at_hand
from flareseg.inference.normalization import own_statistics
from flareseg.inference.region import Body, can_be_abdomen, extension
from flareseg.inference.strategy import LogitsStrategy
from flareseg.inference.tumour_net import TumourLogits, merge_tumour_logits, tumour_channel
from flareseg.labels import TUMOUR
from flareseg.model.bundle import Bundle
from flareseg.model.plan import Plan
from flareseg.options import Options
from flareseg.progress import Progress, part_of
from flareseg.volume import Box, box_of


class FastStrategy(LogitsStrategy):
    """Every step in the order and precision that takes least time.

    Args:
        bundle: the model; nets that it does not have are not asked.
        options: of the run.
    """

    def __init__(self, bundle: Bundle, options: Options) -> None:
        super().__init__(Engine(bundle.plan, bundle.weights, options, ensemble=bundle.ensemble))
        # Mirroring and small steps would cost time where only a box is looked for.
        plain = Options(options.device, options.backend, options.threads, options.gpu_memory_gb)
        coarse = _engine_of(bundle.plan.coarse, bundle.coarse_weights, plain)
        self._coarse = CoarseNet(coarse) if coarse else None
        self._tumour = _engine_of(bundle.plan.tumour, bundle.tumour_weights, options)

    def new_evidence(self) -> Evidence:
        return Evidence(self.plan.classes)

    def find_body(self, case: Case) -> Box | None:
        with case.progress.stage("body"):
            if self.plan.intensity.scheme != "ct":
                return box_of(case.ct.hu)  # HU show a body only in a CT
            return body_box(case.ct.hu, case.spacing_zyx_mm)

    def find_region(self, case: Case, body: Box) -> Box | None:
        if not self._coarse:
            return body
        with case.progress.stage("region"):
            return self._coarse.find_region(case, body)

    def extend_region(self, case: Case, region: Box, body: Box) -> None:
        if not self._coarse or case.roi:
            return
        found = None if case.certainty is None else np.zeros_like(case.certainty)
        # The stages within are those of the region again; reported twice, a bar would go back.
        quiet = replace(case, progress=Progress(cancelled=case.progress.cancelled), certainty=found)
        whole = Body(body, self._coarse.body_axis(case), case.spacing_zyx_mm)
        for upwards in (True, False):
            while grown := extension(case.labels, region, whole, upwards=upwards):
                with case.progress.stage("beyond"):
                    part = self.label(replace(quiet, new=grown.new_within_seen), grown.seen)
                case.labels[grown.new] = part[grown.new_within_seen]
                if case.certainty is not None and found is not None:
                    case.certainty[grown.new] = found[grown.new]
                region = grown.box
        for text in quiet.progress.messages:
            case.progress.message(text)

    def finds_abdomen(self, case: Case) -> bool:
        if not self._coarse or case.roi or self.plan.has_own_structures:
            return True
        return can_be_abdomen(case.labels, case.ct.hu, case.spacing_zyx_mm, self._coarse.body_axis(case))

    def _logits(self, case: Case, box: Box) -> Logits:
        # Tumours that nobody wants would only be holes in organs.
        tumour = self._tumour if case.wants(TUMOUR) else None
        with case.progress.stage("resample"):
            image = _image(self.engine, case, box, case.progress)
        with case.progress.stage("network"):
            if tumour is None:
                return self.engine.logits(image, case.progress)
            organ_logits = at_hand(self.engine.logits(image, part_of(case.progress, 0, 2)))
            if not tumour.plan.same_preprocessing(self.plan):
                image = _image(tumour, case, box)
            tumour_logits = tumour.logits(image, part_of(case.progress, 1, 2))
            merge_tumour_logits(
                TumourLogits(organ_logits, tumour_channel(self.plan)),
                TumourLogits(at_hand(tumour_logits), tumour_channel(tumour.plan)),
                self.plan.lesions,
            )
            return organ_logits


def _image(engine: Engine, case: Case, box: Box, progress: Progress | None = None) -> torch.Tensor:
    """Part of a CT as the network of `engine` sees it."""
    intensity = own_statistics(case.ct.hu, engine.plan.intensity)
    return engine.resampled(case.ct.hu[box], case.spacing_zyx_mm, progress, intensity)


def _engine_of(plan: Plan | None, weights: dict[str, torch.Tensor] | None, options: Options) -> Engine | None:
    return Engine(plan, weights, options) if plan and weights else None
