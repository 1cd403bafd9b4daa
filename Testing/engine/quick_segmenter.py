"""A model for tests of what is around it."""

from __future__ import annotations

import numpy as np

from flareseg.labels import structures as every_structure
from flareseg.segmentation import Segmentation


class QuickSegmenter:
    """Calls what is brighter than 80 HU liver."""

    model_name = "quick 1.0"

    def __init__(self, *_: object) -> None:
        pass

    def check(self, structures=None):
        """It can give any."""

    def expects_dsc(self, structures=None):
        return False

    def segment(self, volume, *, structures=None, preview=None, **_):
        chosen = tuple(structures or every_structure())
        labels = (volume.hu > 80).astype(np.uint8) * (1 if any(one.value == 1 for one in chosen) else 0)
        result = Segmentation(labels, volume.geometry, chosen, volume.name, self.model_name, source=volume.source)
        if preview:
            preview(result)
        return result
