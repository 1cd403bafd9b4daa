"""The first press of Segment: what the engine needs and is missing is installed, after one question."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from FlarePanCancerLib.dependencies import blocking, missing


def lacks_packages() -> bool:
    """Whether the engine cannot run yet."""
    return bool(blocking(missing()))


def install_missing(message: Callable[[str], None]) -> bool:
    """Install what is missing, under a dialog that can be cancelled.

    Args:
        message: gets a line about each package and every line of pip's.

    Returns:
        whether everything is there now; False also when the user did not want it.

    Raises:
        DependencyError: see `installer.install`.
    """
    from FlarePanCancerLib.installer import install

    stopped: list[bool] = []
    dialog: Any = slicer.util.createProgressDialog(labelText=_("Installing …"), maximum=0)
    dialog.connect("canceled()", lambda: stopped.append(True))

    def progress(text: str) -> None:
        message(text)
        dialog.labelText = text
        slicer.app.processEvents()

    try:
        return install(
            missing(),
            confirm=slicer.util.confirmOkCancelDisplay,
            progress=progress,
            cancelled=lambda: bool(stopped),
        )
    finally:
        dialog.close()
