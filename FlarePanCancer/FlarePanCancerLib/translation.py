"""Texts in the user's language: Slicer's own `tr`, and the English text where there is no Slicer application.

Slicer finds a text's context by the file that calls, so that this is its function itself and nothing around it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable


def _as_it_is(text: str) -> str:
    return text


def _slicers() -> Callable[[str], str]:
    if "slicer" not in sys.modules:
        return _as_it_is  # a script without a window, for which Slicer is not loaded
    try:
        from slicer.i18n import tr as slicers_tr
    except ImportError:
        return _as_it_is
    found: Callable[[str], str] = slicers_tr
    return found


tr = _slicers()
