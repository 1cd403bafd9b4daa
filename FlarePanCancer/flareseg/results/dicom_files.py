"""The DICOM results of one case, which belong together: the report refers to the segmentation, by the same UIDs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flareseg.io.atomic import atomic_path
from flareseg.io.dicom_results.planes import planes_of
from flareseg.io.dicom_results.rtstruct import write_rtstruct
from flareseg.io.dicom_results.seg import make_seg, save
from flareseg.io.dicom_results.segments import segments_of
from flareseg.results.dicom_sr import write_sr
from flareseg.results.measure import Measurement
from flareseg.segmentation import Segmentation


class DicomResults:
    """Makes and writes the DICOM objects of one result; the segmentation is made once, however many files it goes into.

    Args:
        segmentation: what was found in a CT from DICOM.

    Raises:
        InputError: when its images do not say all that is needed.
    """

    def __init__(self, segmentation: Segmentation) -> None:
        self._segmentation = segmentation
        self._segments = segments_of(segmentation, planes_of(segmentation))
        self._seg: Any = None

    def write_seg(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the segmentation; raises OutputError when it cannot be written."""
        self._write(path, overwrite, lambda temporary: save(temporary, self._made_seg()))

    def write_sr(self, path: Path, rows: Sequence[Measurement], *, overwrite: bool = False) -> None:
        """Write the report of `rows`; raises as `write_seg`."""
        self._write(path, overwrite, lambda temporary: write_sr(temporary, rows, self._segments, self._made_seg()))

    def write_rtstruct(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the structure set; raises as `write_seg`."""
        self._write(path, overwrite, lambda temporary: write_rtstruct(temporary, self._segmentation, self._segments))

    def _made_seg(self) -> Any:
        if self._seg is None:
            self._seg = make_seg(self._segmentation, self._segments)
        return self._seg

    @staticmethod
    def _write(path: Path, overwrite: bool, write: Callable[[Path], None]) -> None:
        with atomic_path(path, overwrite=overwrite) as temporary:
            write(temporary)
