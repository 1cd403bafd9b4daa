"""What scripts call: CT nodes in, segmentation nodes out. Free of any user interface."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from FlarePanCancerLib import scene
from FlarePanCancerLib.mrml_conversion import is_sequence, roi_of
from FlarePanCancerLib.run import Callbacks, Outcome, Run, SegmentationError, call, segment
from FlarePanCancerLib.run_request import RunRequest, with_choices
from FlarePanCancerLib.sequences import segment_sequence
from flareseg.errors import FlareError

__all__ = ["Callbacks", "Outcome", "Run", "RunRequest", "SegmentationError", "process"]


def process(
    ct: Any,
    segmentation: Any = None,
    request: RunRequest | None = None,
    *,
    roi: Any = None,
    measure: bool = True,
    surfaces: bool = False,
    wait: bool = True,
    callbacks: Callbacks | None = None,
    **choices: Any,
) -> Any:
    """Segment one CT node, or several.

    Args:
        ct: a vtkMRMLScalarVolumeNode, or a list of them, or a vtkMRMLSequenceNode; the model is loaded once.
        segmentation: node to fill, or a sequence as long; new ones unless given.
        request: how; the embedded model as it is unless given.
        choices: single fields of `RunRequest` or of the engine's `Options` instead, such as quality="Accurate",
            device="cpu", structures=["liver", "spleen"].
        roi: vtkMRMLMarkupsROINode to look in; everywhere unless given. Only with a single CT.
        measure: also make a table of measurements, and a line for the diameter of each lesion. Of a sequence's CTs
            `callbacks.done` gets the measurements, and nothing is made of them.
        surfaces: also make smoothed closed surfaces and show them; not of a sequence.
        wait: come back with the result. False: come back at once with a `Run` to poll.
        callbacks: follow the run.

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
        if roi is not None:
            choices["roi_lps_mm"] = roi_of(roi, _first_volume(cts[0]))
        if request is None:
            choices.setdefault("preview", not wait)
        request = with_choices(request, **choices)
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


def _process_sequence(sequence: Any, request: RunRequest, callbacks: Callbacks | None, wait: bool) -> Any:
    callbacks = callbacks or Callbacks()
    outcomes: list[Outcome] = []

    def done(outcome: Outcome) -> None:
        outcomes.append(outcome)
        call(callbacks.done, outcome)

    run = segment_sequence(sequence, request, replace(callbacks, done=done))
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
