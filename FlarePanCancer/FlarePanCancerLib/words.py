"""Figures in words, as the panel shows them."""

from __future__ import annotations

from slicer.i18n import tr as _


def spoken(seconds: float) -> str:
    """A time, roughly."""
    if seconds > 90:
        return str(_("{minutes} min")).format(minutes=f"{seconds / 60:.0f}")
    return str(_("{seconds} s")).format(seconds=max(round(seconds), 1))


def megabytes(count: float) -> str:
    """So many bytes, in MB."""
    return f"{max(round(count / 1e6), 1):,}"
