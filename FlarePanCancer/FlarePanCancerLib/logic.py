"""What scripts call: CT nodes in, segmentation nodes out. Free of any user interface."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from FlarePanCancerLib import results, scene
from FlarePanCancerLib.job import Job
from FlarePanCancerLib.mrml_conversion import Labels, is_sequence, volume_of
from FlarePanCancerLib.request import Request
from flareseg.errors import FlareError
from flareseg.labels import Structure
from flareseg.nifti_transforms import LPS_TO_RAS

POLL_S = 0.02


class SegmentationError(RuntimeError):
    """One sentence on what happened and what to do; `details` is the log."""

    def __init__(self, text: str, details: str = "") -> None:
        super().__init__(text)
        self.details = details


@dataclass
class Outcome:
    """What has come of one CT.

    Attributes:
        ct: the node that was segmented.
        segmentation: the node with the result; None before there is one.
        structures: what was looked for.
        rows: measurements, as the engine's results/measure.py gives them.
        table, lines: nodes made of them.
        found, missing: names of structures that were found, and of those that were looked for and were not.
        error: why there is no result.
    """

    ct: Any
    segmentation: Any = None
    structures: tuple[Structure, ...] = ()
    rows: list[dict[str, Any]] = field(default_factory=list)
    table: Any = None
    lines: list[Any] = field(default_factory=list)
    found: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    error: str = ""


@dataclass
class Callbacks:
    """Who is told while a run goes on; each is called on the main thread, and may be left out."""

    progress: Callable[[float, str, float | None], None] | None = None
    message: Callable[[str], None] | None = None
    preview: Callable[[Outcome], None] | None = None
    result: Callable[[Outcome], None] | None = None
    error: Callable[[str, str], None] | None = None
    finished: Callable[[bool], None] | None = None


class Run:
    """A job over CT nodes, and its results on their way into the scene. See `segment`.

    A CT or a segmentation that somebody removes meanwhile is not missed: its result is dropped.
    """

    def __init__(
        self, cts: Sequence[Any], segmentations: Sequence[Any], request: Request, callbacks: Callbacks, measure: bool
    ) -> None:
        self._wanted = request.wanted
        self.outcomes = [Outcome(ct, node, self._wanted) for ct, node in zip(cts, segmentations, strict=True)]
        self._callbacks, self._measure = callbacks, measure
        self._previews: dict[int, Any] = {}
        self._done: set[int] = set()
        self._job = Job([volume_of(ct) for ct in cts], request, self)

    @property
    def running(self) -> bool:
        return self._job.running

    @property
    def log(self) -> str:
        return self._job.log

    @property
    def pid(self) -> int | None:
        return self._job.pid

    def start(self) -> None:
        self._job.start()

    def poll(self) -> None:
        """To be called now and then, e.g. by a QTimer; never waits."""
        self._job.poll()

    def cancel(self) -> None:
        """Stop; the scene will be as it was, but for CTs that are done."""
        self._job.cancel()

    def kill(self) -> None:
        """Stop at once, without a word."""
        self._job.kill()
        self._drop_previews()

    def wait(self) -> None:
        """Poll to the end; windows stay alive meanwhile."""
        import slicer

        application = getattr(slicer, "app", None)
        while self.running:
            self.poll()
            if application is not None:
                application.processEvents()
            time.sleep(POLL_S)

    # what the job tells

    def progressed(self, fraction: float, text: str, seconds_left: float | None) -> None:
        _call(self._callbacks.progress, fraction, text, seconds_left)

    def said(self, text: str) -> None:
        _call(self._callbacks.message, text)

    def previewed(self, number: int, labels: Labels) -> None:
        outcome = self.outcomes[number]
        if not _is_there(outcome.ct) or not labels.values:
            return
        node = scene.new_segmentation(outcome.ct, f"{outcome.ct.GetName()} preview")
        node.SetSaveWithScene(False)
        scene.fill(node, labels, self._wanted)
        self._previews[number] = node
        _call(self._callbacks.preview, replace(outcome, segmentation=node))

    def segmented(self, number: int, labels: Labels, rows: Sequence[dict[str, Any]]) -> None:
        outcome = self.outcomes[number]
        self._done.add(number)
        self._drop_previews(number)
        if not _is_there(outcome.ct):
            outcome.error = "The CT was removed while it was segmented; its result is dropped."
            _call(self._callbacks.message, outcome.error)
            return
        if outcome.segmentation is None or not _is_there(outcome.segmentation):
            outcome.segmentation = scene.new_segmentation(outcome.ct)
        else:
            scene.attach(outcome.segmentation, outcome.ct)
        found = scene.fill(outcome.segmentation, labels, self._wanted)
        outcome.found = tuple(structure.name for structure in found)
        outcome.missing = tuple(s.name for s in self._wanted if s not in found)
        outcome.rows = list(rows)
        if self._measure:
            outcome.table = results.write_table(rows, outcome.segmentation)
            outcome.lines = results.draw_diameters(rows, outcome.segmentation)
        if outcome.missing:
            titles = ", ".join(s.title.lower() for s in self._wanted if s not in found)
            _call(self._callbacks.message, f"Not found in '{outcome.ct.GetName()}': {titles}.")
        _call(self._callbacks.result, outcome)

    def failed(self, number: int | None, text: str, details: str) -> None:
        for other, outcome in enumerate(self.outcomes):
            if number == other or (number is None and other not in self._done):
                outcome.error = outcome.error or text
        if number is not None:
            self._drop_previews(number)
        _call(self._callbacks.error, text, details)

    def finished(self, cancelled: bool) -> None:
        self._drop_previews()
        _call(self._callbacks.finished, cancelled)

    def _drop_previews(self, number: int | None = None) -> None:
        import slicer

        for key in list(self._previews) if number is None else [number]:
            node = self._previews.pop(key, None)
            if node is not None and _is_there(node):
                slicer.mrmlScene.RemoveNode(node)


def segment(
    cts: Sequence[Any],
    segmentations: Sequence[Any] | None = None,
    request: Request | None = None,
    callbacks: Callbacks | None = None,
    *,
    measure: bool = True,
) -> Run:
    """Begin to segment CT nodes in the background, one after the other with one loaded model.

    Args:
        cts: vtkMRMLScalarVolumeNodes.
        segmentations: nodes to fill, one for each CT, None for a new one; only segments of earlier runs are replaced.
        request: how.
        callbacks: who is told.
        measure: also make a table of measurements, and a line for the diameter of each lesion.

    Returns:
        the run; call its `poll` now and then, or `wait`.

    Raises:
        InputError: when a node holds no CT.
    """
    run = Run(cts, segmentations or [None] * len(cts), request or Request(), callbacks or Callbacks(), measure)
    run.start()
    return run


def process(
    ct: Any,
    segmentation: Any = None,
    *,
    model: str = "default",
    quality: str = "",
    device: str = "auto",
    structures: Sequence[str] = (),
    roi: Any = None,
    measure: bool = True,
    surfaces: bool = False,
    wait: bool = True,
    callbacks: Callbacks | None = None,
) -> Any:
    """Segment one CT node, or several.

    Args:
        ct: a vtkMRMLScalarVolumeNode, or a list of them, or a vtkMRMLSequenceNode; the model is loaded once.
        segmentation: node to fill, or a sequence as long; new ones unless given.
        model, quality, device, structures: see `Request`.
        roi: vtkMRMLMarkupsROINode to look in; everywhere unless given. Only with a single CT.
        measure: also make a table of measurements, and a line for the diameter of each lesion. Of a sequence's CTs
            `callbacks.result` gets the measurements, and nothing is made of them.
        surfaces: also make smoothed closed surfaces and show them; not of a sequence.
        wait: come back with the result. False: come back at once with a `Run` to poll.
        callbacks: who is told meanwhile.

    Returns:
        an `Outcome`, or a list of them for a list; a `Run` with `wait=False`. The outcome of a sequence node holds a
        sequence of segmentations.

    Raises:
        SegmentationError: when a CT could not be segmented and `wait` is set; the other CTs are done.
    """
    many = isinstance(ct, list | tuple)
    cts = list(ct) if many else [ct]
    nodes = list(segmentation) if isinstance(segmentation, list | tuple) else [segmentation] * len(cts)
    try:
        request = Request(
            model=model,
            quality=quality,
            device=device,
            structures=tuple(structures),
            roi_lps_mm=roi_of(roi, _first_volume(cts[0])) if roi is not None else None,
            preview=not wait,
        )
        if not many and is_sequence(ct):
            return _process_sequence(ct, request, callbacks, wait)
        run = segment(cts, nodes, request, callbacks, measure=measure)
    except (FlareError, ValueError) as error:
        raise SegmentationError(str(error)) from error
    if not wait:
        return run
    run.wait()
    for outcome in run.outcomes:
        if outcome.error:
            raise SegmentationError(outcome.error, run.log)
        if surfaces:
            scene.show_surfaces(outcome.segmentation)
    return run.outcomes if many else run.outcomes[0]


def _process_sequence(sequence: Any, request: Request, callbacks: Callbacks | None, wait: bool) -> Any:
    from FlarePanCancerLib.sequences import segment_sequence

    told = callbacks or Callbacks()
    outcomes: list[Outcome] = []

    def result(outcome: Outcome) -> None:
        outcomes.append(outcome)
        _call(told.result, outcome)

    run = segment_sequence(sequence, request, replace(told, result=result))
    if not wait:
        return run
    run.wait()
    errors = [outcome.error for outcome in run.outcomes if outcome.error]
    if errors:
        raise SegmentationError(errors[0], run.log)
    return outcomes[-1]


def _first_volume(ct: Any) -> Any:
    """The CT itself, or the first of a sequence."""
    return ct.GetNthDataNode(0) if is_sequence(ct) else ct


def roi_of(roi: Any, ct: Any) -> tuple[float, ...]:
    """The box around a region-of-interest node in the CT's own coordinates, as the engine wants it (LPS, mm)."""
    import numpy as np
    import slicer
    import vtk

    bounds = [0.0] * 6
    roi.GetRASBounds(bounds)
    corners = np.array([[x, y, z] for x in bounds[:2] for y in bounds[2:4] for z in bounds[4:]])
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, ct.GetParentTransformNode(), transform)
    local = np.array([transform.TransformPoint(corner) for corner in corners]) @ LPS_TO_RAS[:3, :3]
    low, high = local.min(axis=0), local.max(axis=0)
    return tuple(float(value) for pair in zip(low, high, strict=True) for value in pair)


def _is_there(node: Any) -> bool:
    import slicer

    return bool(slicer.mrmlScene.IsNodePresent(node))


def _call(callback: Callable[..., None] | None, *values: Any) -> None:
    if callback:
        callback(*values)
