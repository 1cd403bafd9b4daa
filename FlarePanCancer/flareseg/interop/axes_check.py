"""Which way a model wants the body to lie, found out by trying: `flareseg models check`.

The model's net is shown a part of a CT in all eight ways in which its axes can run. What it calls liver, spleen and
kidneys is compared with what the embedded model finds there, on the grid of the net, so that the CT is resampled once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flareseg.errors import Cancelled, UsageError
from flareseg.inference.engine import Engine
from flareseg.inference.logits_to_labels import winners
from flareseg.inference.normalization import own_statistics
from flareseg.inference.resample import nearest_indices
from flareseg.inference.turns import Turns
from flareseg.labels import by_names
from flareseg.model.bundle import Bundle, load_bundle
from flareseg.model.catalogue import find_model
from flareseg.model.plan import OrientationRule, Plan
from flareseg.model.structures import structures_of
from flareseg.options import Options
from flareseg.results.metrics import dice
from flareseg.segmenter import Segmenter
from flareseg.volume import Box, Orientation, Triple, Volume, box_of

KIDNEYS = ("right_kidney", "left_kidney")
ORGANS = ("liver", "spleen", *KIDNEYS)
LEAST_DSC = 0.5
"""Of the best way, in the mean: below it, nothing is known."""
TOLERANCE = 0.05
"""Of the mean DSC: ways that are nearer to the best one cannot be told from it."""
MARGIN_MM = 10.0
LEAST_VOXELS = 20
"""Of an organ on the net's grid, for a DSC that means something."""
RULES: tuple[OrientationRule, ...] = ("canonical", "ras", "stored")
Report = Callable[[int, int], None]
"""Called with how many of how many ways were tried."""


@dataclass(frozen=True)
class View:
    """A way in which the body can lie: along which of z, y, x it runs against LPS."""

    flipped: tuple[bool, bool, bool]

    @property
    def name(self) -> str:
        """Where x, y and z run to, as radiology has it: "LPS" is left, back, head."""
        z, y, x = self.flipped
        return "LR"[x] + "PA"[y] + "SI"[z]


VIEWS = tuple(View((z, y, x)) for z, y, x in product((False, True), repeat=3))


@dataclass(frozen=True)
class Score:
    """How well the net does in one view: DSC with the embedded model, by organ."""

    view: View
    dsc: dict[str, float]

    @property
    def mean(self) -> float:
        return sum(self.dsc.values()) / len(self.dsc)


@dataclass(frozen=True)
class AxesCheck:
    """What was found.

    Attributes:
        model: its name.
        rule: which way the model has the body lie now.
        stored: the view in which this CT is stored; None where its slices are not axial.
        scores: of every view.
        draws_kidneys: whether the model draws both; otherwise no CT decides it.
    """

    model: str
    rule: OrientationRule
    stored: View | None
    scores: tuple[Score, ...]
    draws_kidneys: bool = True

    @property
    def best(self) -> Score:
        return max(self.scores, key=lambda score: score.mean)

    @property
    def finds_organs(self) -> bool:
        """Whether any view gives what the embedded model finds."""
        return self.best.mean >= LEAST_DSC

    @property
    def decides(self) -> bool:
        """Whether this CT can tell the ways apart: left and right by both kidneys, and no way as good as the best."""
        reached = [score for score in self.scores if score.mean >= self.best.mean - TOLERANCE]
        return self.has_both_kidneys and len(reached) == 1

    @property
    def has_both_kidneys(self) -> bool:
        """Whether both were compared; liver and spleen alone look much alike from the other side."""
        return set(KIDNEYS) <= set(self.best.dsc)

    @property
    def fits(self) -> bool:
        """Whether the way in which the model is used now is certain to be the best one."""
        return self.finds_organs and self.decides and self.view_of(self.rule) == self.best.view

    @property
    def fitting_rule(self) -> OrientationRule | None:
        """The rule that gives the best view; None where no rule does, or nothing is certain.

        A rule that turns every CT the same way goes first: what is "stored" differs from CT to CT.
        """
        if not self.finds_organs or not self.decides:
            return None
        return next((rule for rule in RULES if self.view_of(rule) == self.best.view), None)

    def view_of(self, rule: OrientationRule) -> View | None:
        """How this CT lies before the net by that rule."""
        fixed = {"canonical": View((False, False, False)), "ras": View((False, True, True))}
        return fixed.get(rule, self.stored)


def check_axes(
    model: str | Path,
    ct: Volume,
    report: Report = lambda done, of: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> AxesCheck:
    """Try the main net of a model in every view of a CT of the abdomen.

    Raises:
        ModelError: when there is no such model.
        UsageError: when it has none of the organs, or the embedded model finds none in the CT.
        Cancelled: when `cancelled` says so.
    """
    bundle = load_bundle(find_model(model))
    plan, options = bundle.plan, Options()
    channels = {one.name: n for n, one in enumerate(structures_of(plan), 1) if one.name in ORGANS}
    if not channels:
        raise UsageError(
            f"The model '{bundle.name}' segments neither liver nor spleen nor kidneys; nothing to compare."
        )
    organs = by_names(channels)
    found = Segmenter(options=options).segment(ct, structures=organs)
    order = Orientation.of(ct.geometry)
    lps = ct.canonical()
    expected = order.to_canonical(found.labels)
    kidneys = [organ.value for organ in organs if "kidney" in organ.name]
    box = _part(expected, np.isin(expected, kidneys), _window_mm(plan), lps.geometry.spacing_zyx_mm)
    if box is None:
        raise UsageError(f"The embedded model finds none of {', '.join(channels)} in '{ct.name}'; try another CT.")
    with Turns(options.threads, options.gpu_memory_gb).turn(cancelled):
        net = _Net(bundle, options, lps, box)
        truth = net.on_its_grid(expected[box])
        truths = {organ.name: truth == organ.value for organ in organs}
        known = {name: mask for name, mask in truths.items() if np.count_nonzero(mask) >= LEAST_VOXELS}
        if not known:
            raise UsageError(f"Too little of the organs lies in '{ct.name}' to compare; try another CT.")
        scores = []
        for number, view in enumerate(VIEWS):
            report(number, len(VIEWS))
            if cancelled():
                raise Cancelled
            labels = net.labels(view)
            scores.append(Score(view, {name: dice(labels == channels[name], mask) for name, mask in known.items()}))
    stored = View(order.flipped) if order.axes == (0, 1, 2) else None
    return AxesCheck(Path(model).name, plan.orientation, stored, tuple(scores), set(KIDNEYS) <= set(channels))


class _Net:
    """A model's first net on part of a CT.

    Args:
        bundle: the model.
        options: of the run.
        ct: in LPS order.
        box: the part.
    """

    def __init__(self, bundle: Bundle, options: Options, ct: Volume, box: Box) -> None:
        self._engine = Engine(bundle.plan, bundle.weights, options)
        self._axes = bundle.plan.axes
        spacing = ct.geometry.spacing_zyx_mm
        z, y, x = self._axes
        hu = np.ascontiguousarray(ct.hu[box].transpose(self._axes))
        intensity = own_statistics(ct.hu, bundle.plan.intensity)
        self._image = self._engine.resampled(hu, (spacing[z], spacing[y], spacing[x]), intensity=intensity)

    def on_its_grid(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(z, y, x) labels of the part, nearest neighbours."""
        turned = labels.transpose(self._axes)
        sizes = zip(turned.shape, self._image.shape, strict=True)
        near: NDArray[np.uint8] = turned[np.ix_(*(nearest_indices(old, new) for old, new in sizes))]
        return near

    def labels(self, view: View) -> NDArray[Any]:
        """What the net says of a view, turned back."""
        flips = [axis for axis, of in enumerate(self._axes) if view.flipped[of]]
        logits = self._engine.logits(self._image.flip(flips).contiguous())
        labels: torch.Tensor = winners(logits.cpu()).flip(flips)
        return labels.numpy()


def _window_mm(plan: Plan) -> Triple:
    """How far the net looks along z, y, x of the body."""
    by_axis = {axis: plan.patch_zyx[n] * plan.spacing_zyx_mm[n] for n, axis in enumerate(plan.axes)}
    return by_axis[0], by_axis[1], by_axis[2]


def _part(
    labels: NDArray[np.uint8], kidneys: NDArray[np.bool_], window_mm: Triple, spacing_zyx_mm: Triple
) -> Box | None:
    """A slab as high as one window around the kidneys (or the other organs), as wide as the organs in it; None where
    there are none. Nowhere smaller than a window, as far as the CT goes."""
    slices = kidneys if kidneys.any() else labels > 0
    heights = np.flatnonzero(slices.any((1, 2)))
    if not len(heights):
        return None
    windows = [round(mm / step) for mm, step in zip(window_mm, spacing_zyx_mm, strict=True)]
    middle = int((heights[0] + heights[-1]) / 2)
    slab = _at_least(slice(middle, middle + 1), windows[0], labels.shape[0])
    inner = box_of(labels[slab])
    assert inner is not None  # the middle of the kidneys lies in it
    sides = []
    for axis in (1, 2):
        margin = round(MARGIN_MM / spacing_zyx_mm[axis])
        wide = slice(max(0, inner[axis].start - margin), min(labels.shape[axis], inner[axis].stop + margin))
        sides.append(_at_least(wide, windows[axis], labels.shape[axis]))
    return slab, sides[0], sides[1]


def _at_least(part: slice, size: int, whole: int) -> slice:
    """`part` grown on both sides to `size`, within 0 to `whole`."""
    missing = max(0, size - (part.stop - part.start))
    start = max(0, min(part.start - missing // 2, whole - max(size, part.stop - part.start)))
    return slice(start, min(whole, max(part.stop, start + size)))
