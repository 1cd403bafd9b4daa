"""A sequence of CTs, such as the phases of one examination: a sequence of segmentations comes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from FlarePanCancerLib.logic import Callbacks, Outcome, Run, SegmentationError, segment
from FlarePanCancerLib.request import Request

KIND = "vtkMRMLSequenceNode"


def segment_sequence(sequence: Any, request: Request | None = None, callbacks: Callbacks | None = None) -> Run:
    """Begin to segment every CT of a sequence in the background, with one loaded model.

    The result is a new sequence of segmentations with the same index values. Where a browser plays the CTs it plays the
    segmentations too.

    Args:
        sequence: vtkMRMLSequenceNode of scalar volumes.
        request: how.
        callbacks: who is told; `result` is called for every CT, and once more at the end, when `segmentation` of the
            outcome is the sequence.

    Raises:
        SegmentationError: when it holds something other than volumes.
    """
    count = sequence.GetNumberOfDataNodes()
    nodes = [sequence.GetNthDataNode(number) for number in range(count)]
    if not nodes or not all(node.IsA("vtkMRMLScalarVolumeNode") for node in nodes):
        raise SegmentationError(f"'{sequence.GetName()}' is no sequence of CT volumes.")
    collected = _Collected(sequence, [_in_scene(node, sequence, number) for number, node in enumerate(nodes)])
    told = callbacks or Callbacks()
    collected.tell = told
    own = replace(told, result=collected.add, preview=None, finished=collected.finish)
    return segment(collected.cts, None, replace(request or Request(), preview=False), own, measure=False)


class _Collected:
    """The segmentations on their way from the scene into a sequence of their own."""

    def __init__(self, sequence: Any, cts: list[Any]) -> None:
        self.sequence, self.cts = sequence, cts
        self.result: Any = None
        self.tell = Callbacks()

    def add(self, outcome: Outcome) -> None:
        import slicer

        if not slicer.mrmlScene.IsNodePresent(self.sequence):
            slicer.mrmlScene.RemoveNode(outcome.segmentation)
            return
        if self.result is None:
            name = f"{self.sequence.GetName()} organs"
            self.result = slicer.mrmlScene.AddNewNodeByClass(KIND, name)
            self.result.SetIndexName(self.sequence.GetIndexName())
            self.result.SetIndexUnit(self.sequence.GetIndexUnit())
            self.result.SetIndexType(self.sequence.GetIndexType())
        number = self.cts.index(outcome.ct)
        self.result.SetDataNodeAtValue(outcome.segmentation, self.sequence.GetNthIndexValue(number))
        slicer.mrmlScene.RemoveNode(outcome.segmentation)
        if self.tell.result:
            self.tell.result(replace(outcome, ct=self.sequence, segmentation=None))

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
            if self.tell.result:
                self.tell.result(Outcome(self.sequence, self.result))
        if self.tell.finished:
            self.tell.finished(cancelled)


def _in_scene(node: Any, sequence: Any, number: int) -> Any:
    """A hidden node of the scene that shares the memory of a sequence's item."""
    import slicer

    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"{sequence.GetName()} {number + 1}")
    copy.CopyContent(node, False)
    copy.SetHideFromEditors(True)
    copy.SetSaveWithScene(False)
    return copy
