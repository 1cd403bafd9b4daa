"""Figures in words, as the panel shows them."""

from __future__ import annotations

import re

from slicer.i18n import tr as _

_TAKE_CPU = re.compile(r"take --device cpu(, or install a CUDA build of torch)?")
_WITH_OPTION = re.compile(r"[;,] (or |and )?[^;,.]*--[a-z][^;,.]*(?=[;,.]|$)")
"""A part of a sentence that names an option."""


def spoken(seconds: float) -> str:
    """A time, roughly."""
    if seconds > 90:
        return str(_("{minutes} min")).format(minutes=f"{seconds / 60:.0f}")
    return str(_("{seconds} s")).format(seconds=max(round(seconds), 1))


def for_window(text: str) -> str:
    """What the engine says, without the options of its command line: a window has other ways."""
    text = _TAKE_CPU.sub(lambda _found: _("choose Automatic or the CPU as device"), text)
    return _WITH_OPTION.sub("", text)


def megabytes(count: float) -> str:
    """So many bytes, in MB."""
    return f"{max(round(count / 1e6), 1):,}"
