"""Slicer's own widgets that follow the MRML scene, as far as a script meets them."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import ClassVar

import shiboken6
import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from standin.ctk_widgets import ctkCollapsibleButton

_ID = QtCore.Qt.UserRole


class Observers:
    """VTK observers that neither keep a widget alive nor call a dead one."""

    def __init__(self, widget: QtWidgets.QWidget) -> None:
        self._widget = weakref.ref(widget)
        self._tags: dict[object, list[int]] = {}

    def observe(self, node: vtk.vtkObject, event: object, method: str) -> None:
        widget = self._widget

        def call(*_: object) -> None:
            target = widget()
            if target is not None and shiboken6.isValid(target):
                getattr(target, method)()

        self._tags.setdefault(node, []).append(node.AddObserver(event, call))

    def forget(self, node: vtk.vtkObject) -> None:
        for tag in self._tags.pop(node, []):
            node.RemoveObserver(tag)

    def observed(self) -> list[vtk.vtkObject]:
        return list(self._tags)


class _WithScene:
    """The scene of a widget, and the signal that hands it on."""

    _scene: slicer.vtkMRMLScene | None = None

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:
        return self._scene

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class qMRMLWidget(_WithScene, QtWidgets.QWidget):
    """The usual root of a module's .ui file."""

    STANDS_FOR_CPP = True
    SIGNATURES: ClassVar = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}
    mrmlSceneChanged = QtCore.Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        QtWidgets.QWidget.__init__(self, parent)


class qMRMLCollapsibleButton(_WithScene, ctkCollapsibleButton):
    """A collapsible button that hands the scene on to what it holds."""

    STANDS_FOR_CPP = True
    SIGNATURES: ClassVar = {**ctkCollapsibleButton.SIGNATURES, "mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}
    mrmlSceneChanged = QtCore.Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        ctkCollapsibleButton.__init__(self, parent)


def _stored(kind: str, name: str, changed: str | None = None) -> QtCore.Property:
    """A property that keeps its value under _name, and calls a method when it changes."""

    def read(self: QtWidgets.QWidget) -> object:
        return getattr(self, f"_{name}")

    def write(self: QtWidgets.QWidget, value: object) -> None:
        value = tuple(one for one in value if one) if kind == "QStringList" else value
        if value != read(self):
            setattr(self, f"_{name}", value)
            if changed:
                getattr(self, changed)()

    return QtCore.Property(kind if kind == "QStringList" else {"bool": bool, "str": str}[kind], read, write)


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """The nodes of some classes in the scene, of which one or none is chosen.

    Which node becomes current when one is added or removed is QComboBox's doing, as it is in Slicer: the first one
    into an empty box, the one before the one that goes. The box has none of Slicer's menu items (Create, Rename,
    Delete); their slots are there.
    """

    STANDS_FOR_CPP = True
    SIGNATURES: ClassVar = {
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "currentNodeChanged(bool)": "currentNodeValid",
        "currentNodeIDChanged(QString)": "currentNodeIDChanged",
        "nodeActivated(vtkMRMLNode*)": "nodeActivated",
        "nodeAdded(vtkMRMLNode*)": "nodeAdded",
        "nodeAddedByUser(vtkMRMLNode*)": "nodeAddedByUser",
        "nodeAboutToBeRemoved(vtkMRMLNode*)": "nodeAboutToBeRemoved",
        "currentNodeRenamed(QString)": "currentNodeRenamed",
    }
    currentNodeChanged = QtCore.Signal(object)
    currentNodeValid = QtCore.Signal(bool)
    currentNodeIDChanged = QtCore.Signal(str)
    nodeActivated = QtCore.Signal(object)
    nodeAdded = QtCore.Signal(object)
    nodeAddedByUser = QtCore.Signal(object)
    nodeAboutToBeRemoved = QtCore.Signal(object)
    currentNodeRenamed = QtCore.Signal(str)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._nodeTypes = self._hideChildNodeTypes = ()
        self._noneEnabled = self._showHidden = False
        self._addEnabled = self._removeEnabled = self._showChildNodeTypes = self._selectNodeUponCreation = True
        self._renameEnabled = self._editEnabled = False
        self._noneDisplay, self._interactionNodeSingletonTag = "None", ""
        self._base_names: dict[str, str] = {}
        self._attributes: list[tuple[str, str, str | None]] = []
        self._scene: slicer.vtkMRMLScene | None = None
        self._requested = ""
        self._quiet = False
        self._observers = Observers(self)
        self._box = QtWidgets.QComboBox(self)
        self._box.setSizeAdjustPolicy(QtWidgets.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        self._box.setMinimumContentsLength(12)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._box.currentIndexChanged.connect(lambda _: self._tell())
        self._box.activated.connect(lambda _: self.nodeActivated.emit(self.currentNode()))
        self.setEnabled(False)

    # Which nodes

    nodeTypes = _stored("QStringList", "nodeTypes", "_follow")
    hideChildNodeTypes = _stored("QStringList", "hideChildNodeTypes", "_follow")
    showChildNodeTypes = _stored("bool", "showChildNodeTypes", "_follow")
    showHidden = _stored("bool", "showHidden", "_follow")
    noneEnabled = _stored("bool", "noneEnabled", "_follow")
    noneDisplay = _stored("str", "noneDisplay", "_follow")
    addEnabled = _stored("bool", "addEnabled")
    removeEnabled = _stored("bool", "removeEnabled")
    renameEnabled = _stored("bool", "renameEnabled")
    editEnabled = _stored("bool", "editEnabled")
    selectNodeUponCreation = _stored("bool", "selectNodeUponCreation")
    interactionNodeSingletonTag = _stored("str", "interactionNodeSingletonTag")

    def addAttribute(self, node_type: str, name: str, value: str | None = None) -> None:
        """Shows, of that class, only the nodes with the attribute."""
        self._attributes.append((node_type, name, value))
        self._follow()

    def removeAttribute(self, node_type: str, name: str) -> None:
        self._attributes = [one for one in self._attributes if one[:2] != (node_type, name)]
        self._follow()

    def _shows(self, node: slicer.vtkMRMLNode) -> bool:
        if node.GetHideFromEditors() and not self._showHidden:
            return False
        of = [kind for kind in self._nodeTypes if node.IsA(kind)]
        if not of or any(node.IsA(kind) for kind in self._hideChildNodeTypes):
            return False
        if not self._showChildNodeTypes and node.GetClassName() not in self._nodeTypes:
            return False
        return all(
            node.GetAttribute(name) is not None and value in (None, node.GetAttribute(name))
            for kind, name, value in self._attributes
            if node.IsA(kind)
        )

    # The scene

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:
        return self._scene

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        if scene is self._scene:
            return
        before = self.currentNodeID if self._scene is not None else self._requested
        for observed in self._observers.observed():
            self._observers.forget(observed)
        self._scene = scene
        if scene is not None:
            for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndImportEvent):
                self._observers.observe(scene, event, "_follow")
        self._follow()
        if before:
            self.setCurrentNodeID(before)
        self._requested = ""
        self.setEnabled(scene is not None)

    def _nodes(self) -> list[slicer.vtkMRMLNode]:
        if self._scene is None:
            return []
        nodes = self._scene.GetNodes()
        return [node for node in map(nodes.GetItemAsObject, range(nodes.GetNumberOfItems())) if self._shows(node)]

    def _follow(self) -> None:
        """Brings the box in line with the scene, item by item, so that QComboBox moves the choice as it does."""
        nodes = self._nodes()
        wanted = ([""] if self._noneEnabled and self._scene is not None else []) + [node.GetID() for node in nodes]
        self._watch(nodes)
        for index in reversed(range(self._box.count)):
            if self._box.itemData(index, _ID) not in wanted:
                gone = self._box.itemData(index, _ID)
                self.nodeAboutToBeRemoved.emit(self._scene.GetNodeByID(gone) if self._scene and gone else None)
                self._box.removeItem(index)
        for index, node_id in enumerate(wanted):
            label = self._scene.GetNodeByID(node_id).GetName() if node_id else self._noneDisplay
            if self._box.count > index and self._box.itemData(index, _ID) == node_id:
                if self._box.itemText(index) != label:
                    self._box.setItemText(index, label)
                continue
            self._box.insertItem(index, label, node_id)
            if node_id:
                self.nodeAdded.emit(self._scene.GetNodeByID(node_id))

    def _watch(self, nodes: list[slicer.vtkMRMLNode]) -> None:
        # A hidden node may be shown later, but Slicer too looks at a node again only when it, or the scene, changes.
        known = set(self._observers.observed()) - {self._scene}
        for gone in known - set(nodes):
            self._observers.forget(gone)
        for node in set(nodes) - known:
            self._observers.observe(node, vtk.vtkCommand.ModifiedEvent, "_rename")

    def _rename(self) -> None:
        for index in range(self._box.count):
            node = self._scene.GetNodeByID(self._box.itemData(index, _ID)) if self._box.itemData(index, _ID) else None
            if node is None:
                continue
            if not self._shows(node):
                self._follow()
                return
            if node.GetName() != self._box.itemText(index):
                self._box.setItemText(index, node.GetName())

    # The choice

    def currentNode(self) -> slicer.vtkMRMLNode | None:
        node_id = self._box.itemData(self._box.currentIndex, _ID)
        return self._scene.GetNodeByID(node_id) if self._scene is not None and node_id else None

    def setCurrentNode(self, node: slicer.vtkMRMLNode | None) -> None:
        if node is not None and not isinstance(node, slicer.vtkMRMLNode):
            raise TypeError(f"setCurrentNode takes a node or None, not {node!r}")
        self.setCurrentNodeID(node.GetID() if node is not None else "")

    def setCurrentNodeID(self, node_id: str | None) -> None:
        if self._scene is None:
            self._requested = node_id or ""
            return
        index = self._box.findData(node_id, _ID) if node_id else -1
        self._box.setCurrentIndex(index if index >= 0 else (0 if self._noneEnabled else -1))

    def setCurrentNodeIndex(self, index: int) -> None:
        index = index if index < self.nodeCount() else -1
        self._box.setCurrentIndex(index + 1 if self._noneEnabled else index)

    def nodeCount(self) -> int:
        return self._box.count - (1 if self._noneEnabled and self._scene is not None else 0)

    def nodeFromIndex(self, index: int) -> slicer.vtkMRMLNode | None:
        node_id = self._box.itemData(index + 1 if self._noneEnabled else index, _ID)
        return self._scene.GetNodeByID(node_id) if self._scene is not None and node_id else None

    def _tell(self) -> None:
        node = self.currentNode()
        self.currentNodeChanged.emit(node)
        self.currentNodeValid.emit(node is not None)
        self.currentNodeIDChanged.emit(node.GetID() if node is not None else "")

    currentNodeID = QtCore.Property(
        str,
        lambda self: node.GetID() if (node := self.currentNode()) is not None else "",
        lambda self, value: self.setCurrentNodeID(value),
    )

    # What its menu does

    def addNode(self, node_type: str | None = None) -> slicer.vtkMRMLNode:
        node_type = node_type or self._nodeTypes[0]
        if node_type not in self._nodeTypes:
            raise ValueError(f"{node_type} is none of {self._nodeTypes}")
        name = self._base_names.get(node_type) or self._scene.GetTypeDisplayNameByClassName(node_type)
        node = self._scene.AddNewNodeByClass(node_type, self._scene.GenerateUniqueName(name))
        for kind, attribute, value in self._attributes:
            if kind == node_type:
                node.SetAttribute(attribute, value or "")
        if self._selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        self._scene.RemoveNode(self.currentNode())

    def _base_name(self) -> str:
        return self._base_names.get(self._nodeTypes[0], "") if self._nodeTypes else ""

    def setBaseName(self, name: str, node_type: str = "") -> None:
        for kind in (node_type,) if node_type else self._nodeTypes:
            self._base_names[kind] = name

    baseName = QtCore.Property(str, _base_name, lambda self, value: self.setBaseName(value))


WIDGETS: tuple[Callable, ...] = (qMRMLWidget, qMRMLCollapsibleButton, qMRMLNodeComboBox)
