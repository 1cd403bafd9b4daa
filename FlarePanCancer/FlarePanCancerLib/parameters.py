"""What the panel remembers in the scene."""

from typing import Annotated, Optional, Union

import slicer
from slicer.parameterNodeWrapper import Choice, parameterNodeWrapper

from FlarePanCancerLib.run_request import FAST, QUALITIES

NO_STRUCTURE = "none"


# No `from __future__ import annotations` here: the wrapper reads the types themselves.
@parameterNodeWrapper
class Parameters:
    """The panel's choices. Those named like a field of `RunRequest` or of the engine's `Options` are passed on as such.

    Attributes:
        ct: the CT, or a sequence of them.
        roi: where to look; everywhere unless given.
        segmentation: what to fill; a new one unless given.
        model, quality, device: see `RunRequest` and `Options`.
        structures: names of what is wanted, with commas between; "" is all, `NO_STRUCTURE` is none.
    """

    ct: Optional[Union[slicer.vtkMRMLScalarVolumeNode, slicer.vtkMRMLSequenceNode]]  # noqa: UP007, UP045 - no | here
    roi: slicer.vtkMRMLMarkupsROINode
    segmentation: slicer.vtkMRMLSegmentationNode
    model: str = "default"
    quality: Annotated[str, Choice(list(QUALITIES))] = FAST
    device: str = "auto"
    structures: str = ""
