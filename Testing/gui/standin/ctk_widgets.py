"""The widgets of CTK that a module's panel may hold, as far as a script meets them."""

from __future__ import annotations

from typing import ClassVar

from PySide6 import QtCore, QtWidgets


class ctkCollapsibleButton(QtWidgets.QWidget):
    """A header that folds its children away."""

    STANDS_FOR_CPP = True
    SIGNATURES: ClassVar = {
        "contentsCollapsed(bool)": "contentsCollapsed",
        "clicked(bool)": "clicked",
        "toggled(bool)": "toggled",
    }
    contentsCollapsed = QtCore.Signal(bool)
    clicked = QtCore.Signal(bool)
    toggled = QtCore.Signal(bool)

    def __init__(self, text: str | QtWidgets.QWidget | None = None, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent if isinstance(text, str) else text)
        self._header = QtWidgets.QToolButton(self)
        self._header.setObjectName("qt_header")
        self._header.setToolButtonStyle(QtCore.Qt.ToolButtonTextBesideIcon)
        self._header.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)
        self._header.setCheckable(True)
        self._header.setArrowType(QtCore.Qt.DownArrow)
        self._header.clicked.connect(lambda: self._click())
        self._collapsed = False
        self._hidden_by_us: list[QtWidgets.QWidget] = []
        self._header.setText(text if isinstance(text, str) else "")
        self.setContentsMargins(0, self._header.sizeHint.height(), 0, 0)

    def _click(self) -> None:
        self._fold(not self._collapsed)
        self.clicked.emit(not self._collapsed)

    def _fold(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self._header.setArrowType(QtCore.Qt.RightArrow if collapsed else QtCore.Qt.DownArrow)
        if collapsed:
            self._hidden_by_us = [
                child
                for child in self.children()
                if isinstance(child, QtWidgets.QWidget) and child is not self._header and not child.isHidden()
            ]
        for child in self._hidden_by_us:
            child.setVisible(not collapsed)
        if collapsed:
            self.setMaximumHeight(self._header.sizeHint.height())
        else:
            self.setMaximumHeight(16777215)
        self.contentsCollapsed.emit(collapsed)
        self.toggled.emit(not collapsed)

    def resizeEvent(self, event: object) -> None:
        self._header.setGeometry(0, 0, self.width, self._header.sizeHint.height())

    def setCollapsed(self, collapsed: bool) -> None:
        self._fold(collapsed)

    def setText(self, text: str) -> None:
        self._header.setText(text)

    text = QtCore.Property(str, lambda self: self._header.text, lambda self, value: self._header.setText(value))
    collapsed = QtCore.Property(bool, lambda self: self._collapsed, lambda self, value: self._fold(value))
    checked = QtCore.Property(bool, lambda self: not self._collapsed, lambda self, value: self._fold(not value))


class ctkPathLineEdit(QtWidgets.QWidget):
    """A line for a path, and a button to browse."""

    STANDS_FOR_CPP = True
    SIGNATURES: ClassVar = {
        "currentPathChanged(QString)": "currentPathChanged",
        "validInputChanged(bool)": "validInputChanged",
    }
    currentPathChanged = QtCore.Signal(str)
    validInputChanged = QtCore.Signal(bool)
    Dirs, Drives, Files, NoSymLinks, Readable, Writable, Executable, Hidden, System = 1, 4, 2, 8, 16, 32, 64, 256, 512

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._line = QtWidgets.QLineEdit(self)
        self._button = QtWidgets.QToolButton(self)
        self._button.setText("...")
        layout.addWidget(self._line)
        layout.addWidget(self._button)
        self._filters = self.Dirs | self.Files
        self._name_filters: list[str] = []
        self._settings_key = ""
        self._line.textChanged.connect(self.currentPathChanged)
        self._button.clicked.connect(lambda: self.browse())

    def browse(self) -> None:
        title = "Select a file or a folder"
        if self._filters & self.Files:
            chosen = QtWidgets.QFileDialog.getOpenFileName(self, title, self._line.text)
        else:
            chosen = QtWidgets.QFileDialog.getExistingDirectory(self, title, self._line.text)
        if chosen:
            self._line.setText(chosen)

    def setCurrentPath(self, path: str) -> None:
        self._line.setText(path)

    def addCurrentPathToHistory(self) -> None:
        """Remembers the path: a combo box's matter in CTK, and of no effect here."""

    def _set_filters(self, value: int) -> None:
        self._filters = value

    def _set_name_filters(self, value: list[str]) -> None:
        self._name_filters = list(value)

    def _set_settings_key(self, value: str) -> None:
        self._settings_key = value

    currentPath = QtCore.Property(str, lambda self: self._line.text, lambda self, value: self._line.setText(value))
    filters = QtCore.Property(int, lambda self: self._filters, _set_filters)
    nameFilters = QtCore.Property("QStringList", lambda self: self._name_filters, _set_name_filters)
    settingKey = QtCore.Property(str, lambda self: self._settings_key, _set_settings_key)


class ctkComboBox(QtWidgets.QComboBox):
    """A combo box with a text for when nothing is chosen."""

    STANDS_FOR_CPP = True

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)

    def _set_default_text(self, text: str) -> None:
        self.setPlaceholderText(text)

    defaultText = QtCore.Property(str, lambda self: self.placeholderText, _set_default_text)


class ctkMessageBox(QtWidgets.QMessageBox):
    """A message box; its "don't show again" tick box is never shown, so it is always answered by the user."""

    STANDS_FOR_CPP = True

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)


WIDGETS = (ctkCollapsibleButton, ctkPathLineEdit, ctkComboBox, ctkMessageBox)
