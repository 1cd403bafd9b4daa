"""The region to look in: a new one starts as large as the CT, ready to be made smaller."""

from __future__ import annotations

from typing import Any


def start_at(roi: Any, ct: Any) -> None:
    """Fit a new vtkMRMLMarkupsROINode to a CT, and show the handles that move its sides.

    Args:
        roi: the node.
        ct: vtkMRMLScalarVolumeNode; where there is none with an image, only the handles are shown.
    """
    if ct is not None and ct.IsA("vtkMRMLVolumeNode") and ct.GetImageData() is not None:
        bounds = [0.0] * 6
        ct.GetRASBounds(bounds)
        low, high = bounds[::2], bounds[1::2]
        roi.SetCenter(*((a + b) / 2 for a, b in zip(low, high, strict=True)))
        roi.SetSize(*(b - a for a, b in zip(low, high, strict=True)))
    roi.CreateDefaultDisplayNodes()
    display = roi.GetDisplayNode()
    if display:
        display.SetVisibility(True)
        display.SetHandlesInteractive(True)
        display.SetTranslationHandleVisibility(True)
        display.SetScaleHandleVisibility(True)
