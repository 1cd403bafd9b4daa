"""Modal dialogs: a test says beforehand what the user does, and every dialog that nobody expected is an error."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from PySide6 import QtWidgets


class UnexpectedDialogError(AssertionError):
    """A modal dialog opened, and the test had not said what the user does with it."""


@dataclass(frozen=True)
class Shown:
    """A dialog as the user met it."""

    kind: str
    title: str
    text: str
    details: str = ""


# What the user met since the last forget(), and what the user will do with the next ones.
shown: list[Shown] = []
_answers: deque[object] = deque()


def expect(*answers: object) -> None:
    """What the user does with the next dialogs: a button or a value to return, or a function of the dialog's widget."""
    _answers.extend(answers)


def expected() -> int:
    """How many answers have not been asked for."""
    return len(_answers)


def forget() -> None:
    shown.clear()
    _answers.clear()


def patch() -> None:
    """Puts the answers in place of Qt's modal loops."""
    for name in ("exec", "exec_"):
        setattr(QtWidgets.QDialog, name, _run)
        setattr(QtWidgets.QMessageBox, name, _run)
        setattr(QtWidgets.QFileDialog, name, _run)
    for name in ("information", "question", "warning", "critical"):
        setattr(QtWidgets.QMessageBox, name, staticmethod(_message(name)))
    for name in ("getOpenFileName", "getOpenFileNames", "getSaveFileName", "getExistingDirectory"):
        setattr(QtWidgets.QFileDialog, name, staticmethod(_question(name)))
    for name in ("getText", "getItem", "getInt", "getDouble"):
        setattr(QtWidgets.QInputDialog, name, staticmethod(_question(name)))


def _run(dialog: QtWidgets.QDialog) -> int:
    is_message = isinstance(dialog, QtWidgets.QMessageBox)
    met = Shown(
        kind=dialog.className(),
        title=dialog.windowTitle.strip(),
        text=dialog.text if is_message else "",
        details=dialog.detailedText if is_message else "",
    )
    answer = _next(met)
    if callable(answer):
        dialog.show()
        QtWidgets.QApplication.processEvents()
        answer = answer(dialog)
    dialog.done(int(answer))
    return int(answer)


def _message(name: str) -> Callable:
    def ask(parent: object, title: str, text: str, *_: object) -> object:
        return _next(Shown(f"QMessageBox.{name}", title, text))

    return ask


def _question(name: str) -> Callable:
    # PythonQt returns what the user chose, and not, as PySide6 does, a pair with the filter.
    def ask(parent: object = None, title: str = "", text: str = "", *_: object) -> object:
        return _next(Shown(name, title, str(text)))

    return ask


def _next(met: Shown) -> object:
    shown.append(met)
    if not _answers:
        raise UnexpectedDialogError(f"{met.kind} “{met.title}”: {met.text} {met.details}")
    return _answers.popleft()
