"""Which widget shows a parameter of which type, as slicer.parameterNodeWrapper pairs them."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PySide6 import QtWidgets

from standin.ctk_widgets import ctkComboBox, ctkPathLineEdit
from standin.mrml_widgets import qMRMLNodeComboBox
from standin.parameter_types import Choice, WithinRange, node_classes, split

_COMBO = (QtWidgets.QComboBox, ctkComboBox)


@dataclass
class Connector:
    """Reads the widget, writes to it, and tells of a change."""

    read: Callable[[], object]
    write: Callable[[object], None]
    signal: object
    slot: Callable | None = None

    def on_changed(self, slot: Callable | None) -> None:
        if self.slot is not None:
            self.signal.disconnect(self.slot)
        self.slot = None if slot is None else (lambda *_: slot())
        if self.slot is not None:
            self.signal.connect(self.slot)


def connector(widget: QtWidgets.QWidget, datatype: object) -> Connector:
    """The pair of that widget and that type; the class of the widget must be the very one that Slicer names."""
    type_, annotations = split(datatype)
    kind = type(widget)
    if type_ is bool and kind is QtWidgets.QCheckBox:
        return _attribute(widget, "checked", widget.stateChanged)
    if type_ is bool and kind is QtWidgets.QPushButton:
        widget.checkable = True
        return _attribute(widget, "checked", widget.toggled)
    if (type_ is int and kind in (QtWidgets.QSlider, QtWidgets.QSpinBox)) or (
        type_ in (int, float) and kind is QtWidgets.QDoubleSpinBox
    ):
        for within in (one for one in annotations if isinstance(one, WithinRange)):
            widget.setRange(within.minimum, within.maximum)
        return _attribute(widget, "value", widget.valueChanged)
    if type_ is str and kind is QtWidgets.QLineEdit:
        return _attribute(widget, "text", widget.textChanged)
    if type_ is str and kind is QtWidgets.QTextEdit:
        return Connector(widget.toPlainText, widget.setPlainText, widget.textChanged)
    if type_ is Path and kind is ctkPathLineEdit:
        return Connector(
            lambda: Path(widget.currentPath),
            lambda value: setattr(widget, "currentPath", str(value)),
            widget.currentPathChanged,
        )
    if type_ in (int, float, str, bool) and kind in _COMBO:
        choices = [one for one in annotations if isinstance(one, Choice)]
        if not choices:
            raise RuntimeError(f"a combo box for a {type_.__name__} wants the annotation Choice")
        return _choice(widget, [(str(one), one) for one in choices[0].choices])
    if isinstance(type_, type) and issubclass(type_, enum.Enum) and kind in _COMBO:
        label = getattr(type_, "label", lambda one: one.name)
        return _choice(widget, [(label(one), one) for one in type_])
    if kind is qMRMLNodeComboBox and node_classes(datatype) is not None:
        widget.nodeTypes = node_classes(datatype)
        return Connector(widget.currentNode, widget.setCurrentNode, widget.currentNodeChanged)
    raise RuntimeError(f"no widget of class {kind.__name__} shows a parameter of type {datatype}")


def _attribute(widget: QtWidgets.QWidget, name: str, signal: object) -> Connector:
    return Connector(lambda: getattr(widget, name), lambda value: setattr(widget, name, value), signal)


def _choice(widget: QtWidgets.QComboBox, choices: list[tuple[str, object]]) -> Connector:
    """Slicer empties the combo box and fills it with the choices, whatever the .ui file says."""
    widget.clear()
    for label, _ in choices:
        widget.addItem(label)
    values = [value for _, value in choices]
    return Connector(
        lambda: values[widget.currentIndex],
        lambda value: setattr(widget, "currentIndex", values.index(value)),
        widget.currentIndexChanged,
    )
