"""flareseg: 13 abdominal organs and tumours from a CT, without Slicer.

    from flareseg import Segmenter, read_volume, write_segmentation

    segmenter = Segmenter()                       # loads the embedded model once
    result = segmenter.segment(read_volume("ct.nii.gz"))
    write_segmentation(result, "ct_organs.seg.nrrd")

Names are resolved on first use: `import flareseg` alone loads neither torch nor SimpleITK.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # typing itself takes a third of the time to import us, in which Ctrl+C is not yet ours
__version__ = "0.1.0"

if TYPE_CHECKING:
    from typing import Any

    from flareseg.errors import FlareError
    from flareseg.io.files import read_volume, write_segmentation
    from flareseg.segmentation import Segmentation
    from flareseg.segmenter import Segmenter
    from flareseg.volume import Geometry, Volume

_HOME = {
    "FlareError": "flareseg.errors",
    "Geometry": "flareseg.volume",
    "Segmentation": "flareseg.segmentation",
    "Segmenter": "flareseg.segmenter",
    "Volume": "flareseg.volume",
    "read_volume": "flareseg.io.files",
    "write_segmentation": "flareseg.io.files",
}

__all__ = [
    "FlareError",
    "Geometry",
    "Segmentation",
    "Segmenter",
    "Volume",
    "__version__",
    "read_volume",
    "write_segmentation",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'flareseg' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
