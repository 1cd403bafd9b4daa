"""Several models, one result: organs first, then lesions within and around the organs that can hold them.

1. Every organ is taken from the first model that has it. Where two models draw different organs into one voxel, that of
   the first stays.
2. A model of lesions sees its hosts only: the CT is cut to their bounding box and a margin before it looks. Hosts that
   lie apart, as kidneys do, get a box each where that is less to compute. What it says of organs is ignored.
3. A lesion is a 26-connected component. It stays where it has the least volume that was asked for, and overlaps with a
   host or borders on one.
4. Lesions are laid over organs, and all are FLARE's tumour. Where two models draw one, the confidence is the first's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from flareseg.expectation import Expectation
from flareseg.inference.host_boxes import boxes_of, cheapest, union, widened, window_cost, within
from flareseg.inference.lesion_rules import keep_lesions_at
from flareseg.inference.one_model import NOTHING_FOUND, Request, notes_of
from flareseg.inference.open_members import OpenMembers
from flareseg.labels import TUMOUR, Structure, by_name, by_names
from flareseg.model.combined import LesionMember
from flareseg.model.members import Members
from flareseg.options import Options
from flareseg.progress import Relay
from flareseg.segmentation import Segmentation
from flareseg.volume import Box, Volume


@dataclass(frozen=True)
class _Work:
    """A CT, what is asked of it, and what has been found so far.

    Attributes:
        volume: the CT.
        request: what is asked.
        needed: FLARE's structures that are wanted, or are hosts.
        relay: the progress of the models in turn.
        labels: (z, y, x) on the grid of `volume`; grows.
        certainty: the same for the confidence, None where nobody asked.
        expectations: of the organs; grows.
    """

    volume: Volume
    request: Request
    needed: Collection[Structure]
    relay: Relay
    labels: NDArray[np.uint8]
    certainty: NDArray[np.uint8] | None
    expectations: dict[str, Expectation] = field(default_factory=dict)


@dataclass(frozen=True)
class _Lesions:
    """What one model found in and around its hosts, in a box of the volume."""

    box: Box
    mask: NDArray[np.bool_]
    certainty: NDArray[np.uint8] | None


class CombinedModel:
    """A model that is put together of others; it does what `OneModel` does.

    Args:
        members: of which.
        options: of the run. Each member runs as it was imported, or without parity where the options say so.

    Attributes:
        name: with the members' names and versions.
        structures: what it segments, with FLARE's numbers.
    """

    def __init__(self, members: Members, options: Options) -> None:
        self._members, self._combined, self._drawn = members, members.combined, members.drawn
        self.name = f"{self._combined.name} = {self._combined.parts}"
        self.structures: tuple[Structure, ...] = members.structures
        self._open = OpenMembers(members, options)

    @property
    def device(self) -> torch.device:
        """Where the model runs that was loaded last."""
        return self._open.device

    @property
    def description(self) -> str:
        """What the model runs on that was loaded last."""
        return self._open.device_description

    def check(self, wanted: Collection[Structure]) -> None:
        """See that the models of lesions can be used, where lesions are wanted; raises `ModelError`."""
        for number in range(len(self._lesions_for(wanted))):
            self._members.lesions_drawn(number)
            self._open.check(len(self._combined.organs) + number)

    def _lesions_for(self, wanted: Collection[Structure]) -> tuple[LesionMember, ...]:
        return self._combined.lesions if any(one.name == TUMOUR for one in wanted) else ()

    def segment(self, volume: Volume, request: Request) -> Segmentation:
        """The wanted structures on the volume's own grid; raises as `Segmenter.segment`."""
        self.check(request.wanted)
        lesions = self._lesions_for(request.wanted)
        needed = {*request.wanted, *by_names(host for lesion in lesions for host in lesion.hosts)}
        organs = [number for number, drawn in enumerate(self._drawn) if needed & set(drawn.values())]
        work = _Work(
            volume,
            replace(request, alone=False),
            needed,
            Relay(request.progress, len(organs) + len(lesions)),
            labels=np.zeros(volume.hu.shape, np.uint8),
            certainty=np.zeros(volume.hu.shape, np.uint8) if request.confidence else None,
        )
        for turn, number in enumerate(organs):
            self._draw_organs(work, turn, number)
        if work.labels.any():
            # All look at the organs as they were drawn, and not at each other's lesions.
            found = [self._find_lesions(work, len(organs) + number, number) for number in range(len(lesions))]
            _lay_over(work, [one for one in found if one])
            _keep(work.labels, request.wanted)
        else:
            request.progress.message(NOTHING_FOUND)
        work.relay.finish()
        return self._segmentation(work)

    def _draw_organs(self, work: _Work, turn: int, number: int) -> None:
        """Draw what model `number` has, where nothing is drawn yet; it is the one at its `turn`."""
        request, model = work.request, self._open.member(number)
        drawn = {value: structure for value, structure in self._drawn[number].items() if structure in work.needed}
        numbers = _numbers({value: structure.value for value, structure in drawn.items()})
        wanted = tuple(structure for structure in model.structures if structure.value in drawn)
        preview = self._preview(request, numbers) if request.preview and turn == 0 else None
        asked = replace(request, wanted=wanted, progress=work.relay.leg(turn), preview=preview)
        result = model.segment(work.volume, asked)
        labels = numbers[result.labels]
        free = work.labels == 0
        if work.certainty is not None and result.confidence is not None:
            new = free & (labels != 0) if turn else free
            work.certainty[new] = result.confidence[new]
        np.copyto(work.labels, labels, where=free)
        own = {structure.name: drawn[structure.value].name for structure in wanted}
        work.expectations.update({own[name]: one for name, one in result.expectations.items()})

    def _preview(self, request: Request, numbers: NDArray[np.uint8]) -> Callable[[Segmentation], None]:
        def show(coarse: Segmentation) -> None:
            assert request.preview
            labels = numbers[coarse.labels]
            _keep(labels, request.wanted)
            request.preview(replace(coarse, labels=labels, structures=request.wanted, model=self.name))

        return show

    def _find_lesions(self, work: _Work, turn: int, number: int) -> _Lesions | None:
        """What the lesions' model `number`, the one at its `turn`, finds in and around its hosts."""
        lesion = self._combined.lesions[number]
        model = self._open.member(len(self._combined.organs) + number)
        hosts = {by_name(name).value: by_name(name) for name in lesion.hosts}
        around = boxes_of(work.labels, tuple(hosts))
        if missing := [structure.title.lower() for value, structure in hosts.items() if value not in around]:
            work.request.progress.message(
                f"No {' and no '.join(missing)} was found, so '{lesion.member.model}' looked for no tumour there."
            )
        grid, everywhere = work.volume.geometry, _within_roi(work)
        wide = [widened(box, lesion.margin_mm, grid.spacing_zyx_mm, everywhere) for box in around.values()]
        boxes = cheapest([box for box in wide if box], window_cost(model.plan, model.options, grid))
        if not boxes:
            return None
        whole = union(boxes)
        found = _Lesions(whole, *_empty(whole, work.request.confidence))
        for part, box in enumerate(boxes):
            progress = work.relay.leg(turn, part, len(boxes))
            asked = replace(
                work.request, wanted=self._members.lesions_drawn(number), progress=progress, roi=None, preview=None
            )
            result, own = model.segment(work.volume.part(box), asked), within(box, whole)
            drawn = result.labels != 0
            if found.certainty is not None and result.confidence is not None:
                new = drawn & ~found.mask[own]
                found.certainty[own][new] = result.confidence[new]
            found.mask[own] |= drawn
        keep_lesions_at(np.isin(work.labels[whole], list(hosts)), found.mask, lesion.minimum_ml / grid.voxel_ml)
        return found

    def _segmentation(self, work: _Work) -> Segmentation:
        volume, progress = work.volume, work.request.progress
        names = {structure.name for structure in work.request.wanted}
        return Segmentation(
            labels=work.labels,
            geometry=volume.geometry,
            structures=work.request.wanted,
            name=volume.name,
            model=self.name,
            notes=(*notes_of(volume, progress.messages), f"Licence of the weights: {self._members.licence}."),
            seconds=dict(progress.seconds),
            confidence=work.certainty,
            expectations={name: one for name, one in work.expectations.items() if name in names},
            source=volume.source,
        )


def _within_roi(work: _Work) -> Box:
    """The part of the volume in which may be looked."""
    grid, roi = work.volume.geometry, work.request.roi
    z, y, x = (slice(0, size) for size in grid.shape_zyx)
    return roi.in_grid(grid) if roi else (z, y, x)


def _empty(box: Box, confidence: bool) -> tuple[NDArray[np.bool_], NDArray[np.uint8] | None]:
    shape = tuple(part.stop - part.start for part in box)
    return np.zeros(shape, bool), np.zeros(shape, np.uint8) if confidence else None


def _lay_over(work: _Work, found: Sequence[_Lesions]) -> None:
    """Lesions over organs; those of the first model last, so that they lie on top."""
    for one in reversed(found):
        work.labels[one.box][one.mask] = by_name(TUMOUR).value
        if work.certainty is not None and one.certainty is not None:
            work.certainty[one.box][one.mask] = one.certainty[one.mask]


def _keep(labels: NDArray[np.uint8], wanted: Sequence[Structure]) -> None:
    """Make background of all but some structures, in place."""
    np.take(_numbers({one.value: one.value for one in wanted}), labels, out=labels)


def _numbers(values: dict[int, int]) -> NDArray[np.uint8]:
    """(256) what becomes of each label value; of those that are not named, background."""
    table = np.zeros(256, np.uint8)
    table[list(values)] = list(values.values())
    return table
