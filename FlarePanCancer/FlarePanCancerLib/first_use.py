"""The first press of Segment: what the engine needs and is missing is installed, after one question."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from FlarePanCancerLib.dependencies import blocking, missing


def lacks_packages() -> bool:
    """Whether the engine cannot run yet."""
    return bool(blocking(missing()))


def install_missing(message: Callable[[str], None]) -> bool:
    """Install what is missing: after a question, under a dialog that can be cancelled and lets nothing else be pressed.

    Args:
        message: gets a line about each package and every line of pip's.

    Returns:
        whether everything is there now; False also when the user did not want it.

    Raises:
        DependencyError: see `installer.install`.
    """
    from FlarePanCancerLib.installer import install

    stopped: list[bool] = []
    dialogs: list[Any] = []

    def confirm(text: str) -> bool:
        agreed = bool(slicer.util.confirmOkCancelDisplay(text))
        if agreed:
            dialogs.append(_dialog(lambda: stopped.append(True)))
        return agreed

    def progress(text: str) -> None:
        message(text)
        for dialog in dialogs:
            dialog.labelText = text
        slicer.app.processEvents()

    try:
        return install(missing(), confirm=confirm, progress=progress, cancelled=lambda: bool(stopped))
    finally:
        for dialog in dialogs:
            dialog.close()
            dialog.deleteLater()


def _dialog(cancelled: Callable[[], None]) -> Any:
    dialog = slicer.util.createProgressDialog(labelText=_("Installing …"), maximum=0)
    # pip's lines turn the event loop: whatever else is pressed meanwhile would begin in the midst of it
    dialog.setWindowModality(qt.Qt.ApplicationModal)
    dialog.connect("canceled()", cancelled)
    dialog.show()
    return dialog
