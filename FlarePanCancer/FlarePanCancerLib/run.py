"""A run over CT nodes: its results on their way into the scene."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from FlarePanCancerLib import results, scene
from FlarePanCancerLib.job import Job
from FlarePanCancerLib.mrml_conversion import Labels, volume_of
from FlarePanCancerLib.process import LOGGER
from FlarePanCancerLib.run_request import RunRequest
from FlarePanCancerLib.translation import tr as _
from flareseg.errors import InputError
from flareseg.labels import Structure

POLL_S = 0.02
_OF_FILE = re.compile(r"""((?<=')[^'\n]*[/\\]|[^\s"']*[/\\])?\b(?P<number>0\d{4})\b(\.nrrd)?""")
"""A CT as the engine calls it, by the file that `Job` wrote for it."""


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
    """Functions that follow a run; each is called on the main thread, and may be left out.

    Attributes:
        progress: gets how far the whole run is (0 to 1), what is done now, and the seconds left, where that is known.
        message: gets a sentence for the log.
        preview: gets an outcome with a first, coarse segmentation.
        done: gets the outcome of a CT.
        error: gets one sentence on what happened and what to do, and the log.
        finished: gets whether the run was cancelled; nothing follows.
    """

    progress: Callable[[float, str, float | None], None] | None = None
    message: Callable[[str], None] | None = None
    preview: Callable[[Outcome], None] | None = None
    done: Callable[[Outcome], None] | None = None
    error: Callable[[str, str], None] | None = None
    finished: Callable[[bool], None] | None = None


class Run:
    """A job over CT nodes, in the background. See `segment`.

    A CT or a segmentation that somebody removes meanwhile is not missed: its result is dropped.
    """

    def __init__(self, outcomes: Sequence[Outcome], request: RunRequest, callbacks: Callbacks, measure: bool) -> None:
        self.outcomes = list(outcomes)
        self._scene = _IntoScene(self.outcomes, callbacks, measure)
        self._job = Job([volume_of(outcome.ct) for outcome in outcomes], request, self._scene)

    @property
    def running(self) -> bool:
        return self._job.running

    @property
    def log(self) -> str:
        return self._scene.named(self._job.log)

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
        self._scene.drop_previews()

    def wait(self) -> None:
        """Poll to the end; windows stay alive meanwhile."""
        import slicer

        application = getattr(slicer, "app", None)
        while self.running:
            self.poll()
            if application is not None:
                application.processEvents()
            time.sleep(POLL_S)


class _IntoScene:
    """Listens to the job: makes nodes of its results, and calls the callbacks."""

    def __init__(self, outcomes: Sequence[Outcome], callbacks: Callbacks, measure: bool) -> None:
        self._outcomes, self._callbacks, self._measure = outcomes, callbacks, measure
        self._previews: dict[int, Any] = {}
        self._done: set[int] = set()

    def progress(self, fraction: float, text: str, seconds_left: float | None) -> None:
        call(self._callbacks.progress, fraction, text, seconds_left)

    def message(self, text: str) -> None:
        text = self.named(text)
        LOGGER.info("%s", text)
        call(self._callbacks.message, text)

    def preview(self, number: int, labels: Labels) -> None:
        outcome = self._outcomes[number]
        if not _is_there(outcome.ct) or not labels.values:
            return
        node = scene.new_segmentation(outcome.ct, _("{ct} preview").format(ct=outcome.ct.GetName()))
        node.SetSaveWithScene(False)
        scene.fill(node, labels, outcome.structures)
        self._previews[number] = node
        call(self._callbacks.preview, replace(outcome, segmentation=node))

    def done(self, number: int, labels: Labels, rows: Sequence[dict[str, Any]]) -> None:
        outcome = self._outcomes[number]
        self._done.add(number)
        self.drop_previews(number)
        if not _is_there(outcome.ct):
            outcome.error = _("The CT was removed while it was segmented; its result is dropped.")
            self.message(outcome.error)
            return
        given = outcome.segmentation
        if given is None or not _is_there(given) or not scene.may_hold(given, outcome.ct):
            outcome.segmentation = scene.new_segmentation(outcome.ct)
        else:
            scene.attach(outcome.segmentation, outcome.ct)
        found = scene.fill(outcome.segmentation, labels, outcome.structures)
        missing = [structure for structure in outcome.structures if structure not in found]
        outcome.found = tuple(structure.name for structure in found)
        outcome.missing = tuple(structure.name for structure in missing)
        outcome.rows = [{**row, "case": outcome.ct.GetName()} for row in rows]
        if self._measure:
            outcome.table = results.write_table(outcome.rows, outcome.segmentation)
            outcome.lines = results.draw_diameters(outcome.rows, outcome.segmentation)
        if missing:
            titles = ", ".join(structure.title.lower() for structure in missing)
            words = _("Not found in '{ct}': {structures}.")
            self.message(words.format(ct=outcome.ct.GetName(), structures=titles))
        LOGGER.info("'%s' is segmented: %d structures found", outcome.ct.GetName(), len(found))
        call(self._callbacks.done, outcome)

    def error(self, number: int | None, text: str, details: str) -> None:
        text, details = self.named(text), self.named(details)
        for other, outcome in enumerate(self._outcomes):
            if number == other or (number is None and other not in self._done):
                outcome.error = outcome.error or text
        if number is not None:
            self.drop_previews(number)
        LOGGER.error("%s", text)
        call(self._callbacks.error, text, details)

    def finished(self, cancelled: bool) -> None:
        self.drop_previews()
        LOGGER.info("the run was cancelled" if cancelled else "the run has ended")
        call(self._callbacks.finished, cancelled)

    def named(self, text: str) -> str:
        """With the names of the CTs in place of the numbers that their files have."""

        def name(found: re.Match[str]) -> str:
            number = int(found["number"])
            known = number < len(self._outcomes) and _is_there(self._outcomes[number].ct)
            return str(self._outcomes[number].ct.GetName()) if known else found[0]

        return _OF_FILE.sub(name, text)

    def drop_previews(self, number: int | None = None) -> None:
        """Remove the coarse result of CT `number`, or of all."""
        import slicer

        for key in list(self._previews) if number is None else [number]:
            node = self._previews.pop(key, None)
            if node is not None and _is_there(node):
                slicer.mrmlScene.RemoveNode(node)


def segment(
    cts: Sequence[Any],
    segmentations: Sequence[Any] | None = None,
    request: RunRequest | None = None,
    callbacks: Callbacks | None = None,
    *,
    measure: bool = True,
) -> Run:
    """Begin to segment CT nodes in the background, one after the other with one loaded model.

    Args:
        cts: vtkMRMLScalarVolumeNodes.
        segmentations: nodes to fill, one for each CT, None for a new one; only segments of earlier runs are replaced.
        request: how.
        callbacks: follow the run.
        measure: also make a table of measurements, and a line for the diameter of each lesion.

    Returns:
        the run; call its `poll` now and then, or `wait`.

    Raises:
        InputError: when a node holds no CT, or a segmentation is the result of another CT.
    """
    request = request or RunRequest()
    wanted = request.wanted
    pairs = zip(cts, segmentations or [None] * len(cts), strict=True)
    outcomes = [Outcome(ct, segmentation, wanted) for ct, segmentation in pairs]
    for outcome in outcomes:
        if outcome.segmentation is not None and not scene.may_hold(outcome.segmentation, outcome.ct):
            words = _("'{name}' is the result of another CT; give a new segmentation for '{ct}'.")
            raise InputError(words.format(name=outcome.segmentation.GetName(), ct=outcome.ct.GetName()))
    run = Run(outcomes, request, callbacks or Callbacks(), measure)
    names = ", ".join(f"'{ct.GetName()}'" for ct in cts)
    LOGGER.info("segmenting %s with the model '%s'", names, request.model)
    run.start()
    return run


def call(callback: Callable[..., None] | None, *values: Any) -> None:
    """Call a callback, if there is one."""
    if callback:
        callback(*values)


def _is_there(node: Any) -> bool:
    import slicer

    return bool(slicer.mrmlScene.IsNodePresent(node))
