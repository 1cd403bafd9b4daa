"""A CT and its segmentation that the tests of the report look at."""

import numpy as np

from flareseg.labels import by_name, structures
from flareseg.results.overlay import LEVEL_HU
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Volume

SPACING_ZYX_MM = (5.0, 2.0, 3.0)
LIVER, SPLEEN, TUMOUR = (by_name(name) for name in ("liver", "spleen", "tumour"))


def a_volume() -> Volume:
    """A body of LEVEL_HU in air, with dense marks at its right, front and top."""
    hu = np.full((40, 80, 90), -1000, np.int16)
    hu[:, 10:70, 10:80] = LEVEL_HU
    hu[:, 35:45, 12:18] = 2000  # right
    hu[:, 12:16, 42:48] = 2000  # front
    hu[36:, 38:42, 42:48] = 2000  # top
    return Volume(hu, Geometry((40, 80, 90), SPACING_ZYX_MM, (-130.0, -80.0, 50.0)), "Case 7")


def a_segmentation(volume: Volume) -> Segmentation:
    """A large liver on the right, a spleen on the left that leaves the scan at its lower end."""
    labels = np.zeros(volume.hu.shape, np.uint8)
    labels[10:30, 25:50, 22:40] = LIVER.value
    labels[0:12, 40:60, 60:75] = SPLEEN.value
    return Segmentation(labels, volume.geometry, structures(), "Case 7", "default 0.1.0", ("Tilted <12> degrees.",))
