"""Waiting for a CT that another program still writes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from flareseg.errors import Cancelled

LOOK_EVERY_S = 0.02


def wait_for_file(path: Path, cancelled: Callable[[], bool]) -> None:
    """Until there is a file of that name; whoever writes it must write it whole, beside it, and then rename it.

    Raises:
        Cancelled: when `cancelled` said so.
    """
    while not path.exists():
        if cancelled():
            raise Cancelled
        time.sleep(LOOK_EVERY_S)
