"""Who made a net, known by what it is called, and what its maker does that its files do not say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from flareseg.model.plan import Plan

TOTALSEGMENTATOR = "TotalSegmentator"
_MAKERS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (TOTALSEGMENTATOR, re.compile(r"total_?segmentator", re.IGNORECASE)),
    ("CADS", re.compile(r"Dataset55\d_Totalseg25\d", re.IGNORECASE)),
    ("MOOSE", re.compile(r"(^|[^a-z])clin_ct_|Dataset123_Organs", re.IGNORECASE)),
)
_SUBJECTS = re.compile(r"Dataset\d{3}_\w+_\d+subj$")
"""How TotalSegmentator names its further data sets."""
_WHOLE_BODY = re.compile(r"_TotalSegmentator_", re.IGNORECASE)
_WHOLE_BODY_STEP, _STEP = 0.8, 0.5
"""How far apart TotalSegmentator's windows are, for its own structures and for its further tasks."""
LINEAR = 1


def maker_of(names: Iterable[str]) -> tuple[str, str] | None:
    """The maker of a net and the name that gives it away, of the data set, the folders and the zip that it came in."""
    for name in names:
        for maker, pattern in _MAKERS:
            if pattern.search(name):
                return maker, name
        if _SUBJECTS.search(name):
            return TOTALSEGMENTATOR, name
    return None


def in_the_way_of(maker: str, plan: Plan, dataset: str) -> Plan:
    """The plan with what the maker does around nnU-Net.

    TotalSegmentator resamples by itself, linearly unless its user says otherwise and to the very spacing of the plans,
    so that nothing is left to nnU-Net; see `inference/totalsegmentator.py`. Its net of the Decathlon's hepatic vessels,
    Dataset008, is called as no other, and is resampled by nnU-Net. The windows are the same with parity and without, so
    that parity is left to who asks for it when a CT is segmented.
    """
    if maker != TOTALSEGMENTATOR:
        return plan
    step = _WHOLE_BODY_STEP if _WHOLE_BODY.search(dataset) else _STEP
    return replace(plan, resampling="corners", image_order=LINEAR, step=step, parity=False)
