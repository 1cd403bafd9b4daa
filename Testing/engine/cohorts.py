"""Cases for the tests of the page over many: small pictures, volumes to choose."""

from __future__ import annotations

import numpy as np

from flareseg.labels import by_name
from flareseg.results.cohort.page import CohortCase
from flareseg.results.cohort.pictures import slices_of
from flareseg.results.cohort.summary import Found, FoundLesion, Summary, Warned
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Volume

GRID = Geometry((12, 24, 32), (10.0, 10.0, 10.0))
USUAL_ML = {"liver": 1500.0, "spleen": 200.0, "pancreas": 70.0}
HOSTILE = "</script><script>window.broken=1</script><img src=x onerror=window.broken=1>\"'`${1}<!--\n=1+1"


def a_result() -> tuple[Segmentation, Volume]:
    """A liver on the right and a spleen on the left of a small body; no pancreas."""
    labels = np.zeros(GRID.shape_zyx, np.uint8)
    labels[3:9, 6:18, 4:14], labels[3:9, 8:16, 20:26] = by_name("liver").value, by_name("spleen").value
    hu = np.full(GRID.shape_zyx, -1000, np.int16)
    hu[:, 3:21, 2:30] = 40
    structures = tuple(by_name(name) for name in USUAL_ML)
    return Segmentation(labels, GRID, structures, "phantom", "default 0.5.0"), Volume(hu, GRID, "phantom")


def a_summary(number: int, *, warnings: tuple[Warned, ...] = (), **volumes_ml: float | None) -> Summary:
    """Case `number`, some per cent around the usual volumes, with pictures and labels of its own."""
    around = 1 + 0.02 * (number % 5 - 2)
    found = []
    for name, ml in USUAL_ML.items():
        one = by_name(name)
        found.append(Found(name, one.title, one.value, one.colour, volumes_ml.get(name, ml * around)))
    lesions = (FoundLesion("Lesion 1, liver", 3.2, 21.0),) if number % 4 == 3 else ()
    return Summary("default 0.5.0", tuple(found), lesions, warnings, (), f"{number:064x}", PICTURES, (number, 1))


PICTURES = slices_of(*a_result())


def a_cohort(count: int = 12) -> list[CohortCase]:
    """Usual cases, one whose spleen is too small, one with a hostile name, and one that failed."""
    cases = [CohortCase(f"case_{number}", a_summary(number)) for number in range(count)]
    cases[4] = CohortCase("small_spleen", a_summary(4, spleen=3.0))
    cases[7] = CohortCase(
        HOSTILE, a_summary(7, warnings=(Warned("metal", HOSTILE, ()),)), report="./case_7/report.html"
    )
    return [*cases, CohortCase("not_read", failure=f"It is damaged: {HOSTILE}")]
