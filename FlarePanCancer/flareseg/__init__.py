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
__version__ = "0.2.0"

_HOME = {
    "FlareError": "flareseg.errors",
    "Geometry": "flareseg.volume",
    "Options": "flareseg.options",
    "Progress": "flareseg.progress",
    "Segmentation": "flareseg.segmentation",
    "Segmenter": "flareseg.segmenter",
    "Volume": "flareseg.volume",
    "evaluate": "flareseg.results.evaluate",
    "measure": "flareseg.results.measure",
    "read_labels": "flareseg.io.files",
    "read_volume": "flareseg.io.files",
    "write_segmentation": "flareseg.io.files",
    "write_volume": "flareseg.io.files",
}
"""The public names, each with the module that defines it."""

__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:  # type checkers do not follow `__getattr__`; a test compares both lists
    from typing import Any

    from flareseg.errors import FlareError as FlareError
    from flareseg.io.files import read_labels as read_labels
    from flareseg.io.files import read_volume as read_volume
    from flareseg.io.files import write_segmentation as write_segmentation
    from flareseg.io.files import write_volume as write_volume
    from flareseg.options import Options as Options
    from flareseg.progress import Progress as Progress
    from flareseg.results.evaluate import evaluate as evaluate
    from flareseg.results.measure import measure as measure
    from flareseg.segmentation import Segmentation as Segmentation
    from flareseg.segmenter import Segmenter as Segmenter
    from flareseg.volume import Geometry as Geometry
    from flareseg.volume import Volume as Volume


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'flareseg' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
