"""CTs in DICOM: folders, DICOMDIRs and zips of plain slices and of enhanced multi-frame images.

The way of a CT: `sources` lists the files, `series` reads their headers (`headers`, `values`, `slices`), `choice` picks
the series, `selection` its acquisition (`acquisitions`, `chains`) and accounts for every slice, `stack` makes the
volume from the pixels (`pixels`, `rescale`, `decoding`).
"""

from flareseg.io.dicom.archive import zip_holds_images
from flareseg.io.dicom.children import series_of_children, series_of_folders
from flareseg.io.dicom.headers import read_header
from flareseg.io.dicom.reading import list_series, read_dicom, series_uid
from flareseg.io.dicom.series import Series
from flareseg.io.dicom.slices import Slice
from flareseg.io.dicom.sources import is_container, is_dicomdir

__all__ = [
    "Series",
    "Slice",
    "is_container",
    "is_dicomdir",
    "list_series",
    "read_dicom",
    "read_header",
    "series_of_children",
    "series_of_folders",
    "series_uid",
    "zip_holds_images",
]
