"""Which way a net wants the body to lie, where its files do not say so.

nnU-Net shows a net the voxels as the file stores them. Some makers of public nets turn every CT to RAS before nnU-Net
sees it, and nothing in plans or checkpoint tells. Their models are known here by what they are called.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from flareseg.interop.nnunet.makers import maker_of
from flareseg.model.plan import OrientationRule
from flareseg.text import one_line

AxesName = Literal["lps", "ras", "stored"]
"""What a user calls an `OrientationRule`."""
ORIENTATIONS: dict[AxesName, OrientationRule] = {"lps": "canonical", "ras": "ras", "stored": "stored"}
NAMES: dict[OrientationRule, AxesName] = {rule: name for name, rule in ORIENTATIONS.items()}
IN_WORDS: dict[OrientationRule, str] = {
    "canonical": "LPS, whatever the order in the file",
    "ras": "RAS, whatever the order in the file",
    "stored": "as the file stores them",
}
RECOGNISED = "recognised as a net of"
"""How the reason begins where a name told, which may be wrong."""


@dataclass(frozen=True)
class Axes:
    """Which way the body lies before the net.

    Attributes:
        rule: for the plan.
        why: how that is known; "" where it is nnU-Net's own convention.
    """

    rule: OrientationRule
    why: str = ""

    def __str__(self) -> str:
        return IN_WORDS[self.rule] + (f" ({self.why})" if self.why else "")


def axes_of(chosen: AxesName | None, reader: OrientationRule, names: Sequence[str]) -> Axes:
    """What the user chose, else what the plans' reader turns images to, else what the maker is known to do.

    Args:
        chosen: by the user.
        reader: of the plans; "stored" where it turns nothing.
        names: of the data set, and of the folders and the zip that the model came in.
    """
    if chosen:
        return Axes(ORIENTATIONS[chosen], "chosen at import")
    if reader != "stored":
        return Axes(reader, "by the reader that the plans name")
    known = maker_of(names)
    if known:
        maker, name = known
        return Axes("ras", f"{RECOGNISED} {maker} by '{one_line(name, 60)}'")
    return Axes("stored")
