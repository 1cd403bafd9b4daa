"""QUiLoader for .ui files with Slicer's widgets: every widget is made in Python, so that it stays what it is."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from PySide6 import QtCore, QtUiTools, QtWidgets

from standin import ctk_widgets, mrml_widgets, segment_widgets
from standin.pythonqt import connect, no_shortcuts_to_children

# Dynamic properties that Slicer itself looks for.
_KNOWN_DYNAMIC = ("SlicerParameterName", "SlicerPackParameterName")
_CUSTOM = {kind.__name__: kind for kind in (*ctk_widgets.WIDGETS, *mrml_widgets.WIDGETS, *segment_widgets.WIDGETS)}
_LAYOUT_ONLY = ("Line",)


class UiLoader(QtUiTools.QUiLoader):
    """Loads a .ui file; what it does not know it refuses."""

    def load(self, file: QtCore.QFile, parent: QtWidgets.QWidget | None = None) -> QtWidgets.QWidget:
        tree = ElementTree.fromstring(file.readAll().data())
        connections = tree.find("connections")
        if connections is not None:
            tree.remove(connections)
        enums = _take_enums_of_custom_widgets(tree)
        data = QtCore.QBuffer()
        data.setData(ElementTree.tostring(tree))
        data.open(QtCore.QIODevice.ReadOnly)
        # Python owns a widget without a parent, and lets go of it when createWidget() returns: hold it meanwhile.
        self._made = []
        with no_shortcuts_to_children():
            root = super().load(data, parent)
        widgets = {child.objectName: child for child in (root, *root.findChildren(QtCore.QObject))}
        for name, attribute, value in enums:
            setattr(widgets[name], attribute, value)
        for widget in tree.iter("widget"):
            _check_properties(widget, widgets[widget.get("name")])
        for one in connections if connections is not None else ():
            _wire(widgets, *(one.findtext(part) for part in ("sender", "signal", "receiver", "slot")))
        return root

    def createWidget(
        self, class_name: str, parent: QtWidgets.QWidget | None = None, name: str = ""
    ) -> QtWidgets.QWidget:
        if class_name in _LAYOUT_ONLY:
            return super().createWidget(class_name, parent, name)
        kind = _CUSTOM.get(class_name) or getattr(QtWidgets, class_name, None)
        if kind is None:
            raise ValueError(f"the .ui file wants a {class_name}, which this stand-in does not have")
        widget = kind(parent)
        widget.setObjectName(name)
        self._made.append(widget)
        return widget


def _take_enums_of_custom_widgets(tree: ElementTree.Element) -> list[tuple[str, str, object]]:
    """Takes out the enumerations of ctk's and Slicer's own classes: Qt's loader cannot read those of a Python class."""
    found = []
    for widget in tree.iter("widget"):
        for one in list(widget.findall("property")):
            value = one.find("set") if one.find("set") is not None else one.find("enum")
            if value is not None and (value.text or "").startswith(("ctk", "qMRML")):
                kind = _CUSTOM[widget.get("class")]
                total = 0
                for part in value.text.split("|"):
                    total |= int(getattr(kind, part.split("::")[-1]))
                found.append((widget.get("name"), one.get("name"), total))
                widget.remove(one)
    return found


def _check_properties(element: ElementTree.Element, widget: QtWidgets.QWidget) -> None:
    """Qt turns a misspelt property of a .ui file into a dynamic one without a word."""
    for one in element.findall("property"):
        name = one.get("name")
        known = widget.metaObject().indexOfProperty(name) >= 0 or name in _KNOWN_DYNAMIC
        if not known and element.get("class") not in _LAYOUT_ONLY:
            raise ValueError(f"{element.get('class')} {element.get('name')} has no property {name}")


def _wire(widgets: dict[str, QtCore.QObject], sender: str, signal: str, receiver: str, slot: str) -> None:
    """A connection of the .ui file: both ends must be there, and both must take the same."""
    name, types = slot.rstrip(")").split("(")
    target = widgets[receiver]
    method = getattr(target, name, None)
    if not callable(method):
        raise ValueError(f"{target.className()} {receiver} has no slot {slot}")
    taken = len(types.split(",")) if types else 0
    connect(widgets[sender], signal, lambda *arguments: method(*arguments[:taken]))
