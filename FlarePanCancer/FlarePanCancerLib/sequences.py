"""A sequence of CTs, such as the phases of one examination: a sequence of segmentations comes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from FlarePanCancerLib.run import Callbacks, Outcome, Run, SegmentationError, call, segment
from FlarePanCancerLib.run_request import RunRequest
from FlarePanCancerLib.translation import tr as _

KIND = "vtkMRMLSequenceNode"


def segment_sequence(sequence: Any, request: RunRequest | None = None, callbacks: Callbacks | None = None) -> Run:
    """Begin to segment every CT of a sequence in the background, with one loaded model.

    The result is a new sequence of segmentations with the same index values. Where a browser plays the CTs it plays the
    segmentations too.

    Args:
        sequence: vtkMRMLSequenceNode of scalar volumes.
        request: how.
        callbacks: follow the run; `done` is called for every CT, and once more at the end, when `segmentation` of the
            outcome is the sequence.

    Raises:
        SegmentationError: when it holds something other than volumes.
    """
    count = sequence.GetNumberOfDataNodes()
    nodes = [sequence.GetNthDataNode(number) for number in range(count)]
    if not nodes or not all(node.IsA("vtkMRMLScalarVolumeNode") for node in nodes):
        raise SegmentationError(_("'{name}' is no sequence of CT volumes.").format(name=sequence.GetName()))
    cts = [_in_scene(node, sequence, number) for number, node in enumerate(nodes)]
    callbacks = callbacks or Callbacks()
    collected = _Collected(sequence, cts, callbacks)
    own = replace(callbacks, done=collected.add, preview=None, finished=collected.finish)
    return segment(cts, None, replace(request or RunRequest(), preview=False), own, measure=False)


class _Collected:
    """The segmentations on their way from the scene into a sequence of their own."""

    def __init__(self, sequence: Any, cts: list[Any], callbacks: Callbacks) -> None:
        self.sequence, self.cts, self.callbacks = sequence, cts, callbacks
        self.result: Any = None

    def add(self, outcome: Outcome) -> None:
        import slicer

        if not slicer.mrmlScene.IsNodePresent(self.sequence):
            slicer.mrmlScene.RemoveNode(outcome.segmentation)
            return
        if self.result is None:
            name = _("{ct} organs").format(ct=self.sequence.GetName())
            self.result = slicer.mrmlScene.AddNewNodeByClass(KIND, name)
            self.result.SetIndexName(self.sequence.GetIndexName())
            self.result.SetIndexUnit(self.sequence.GetIndexUnit())
            self.result.SetIndexType(self.sequence.GetIndexType())
        number = self.cts.index(outcome.ct)
        self.result.SetDataNodeAtValue(outcome.segmentation, self.sequence.GetNthIndexValue(number))
        slicer.mrmlScene.RemoveNode(outcome.segmentation)
        call(self.callbacks.done, replace(outcome, ct=self.sequence, segmentation=None))

    def finish(self, cancelled: bool) -> None:
        import slicer

        for ct in self.cts:
            if slicer.mrmlScene.IsNodePresent(ct):
                slicer.mrmlScene.RemoveNode(ct)
        if cancelled and self.result is not None:
            slicer.mrmlScene.RemoveNode(self.result)
        elif self.result is not None:
            browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(self.sequence)
            if browser is not None:
                browser.AddSynchronizedSequenceNode(self.result)
            call(self.callbacks.done, Outcome(self.sequence, self.result))
        call(self.callbacks.finished, cancelled)


def _in_scene(node: Any, sequence: Any, number: int) -> Any:
    """A hidden node of the scene that shares the memory of a sequence's item."""
    import slicer

    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"{sequence.GetName()} {number + 1}")
    copy.CopyContent(node, False)
    copy.SetHideFromEditors(True)
    copy.SetSaveWithScene(False)
    return copy
