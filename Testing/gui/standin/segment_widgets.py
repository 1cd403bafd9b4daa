"""Slicer's own widgets for a segmentation, as far as a script meets them."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from standin.mrml_widgets import Observers, qMRMLWidget

_SURFACE = "Closed surface"
_LABELMAP = "Binary labelmap"


class _OfASegmentation:
    """Shows one segmentation node, and follows its changes: `_watch` says which, and `_update` shows them."""

    _node: slicer.vtkMRMLSegmentationNode | None = None
    _observers: Observers

    def segmentationNode(self) -> slicer.vtkMRMLSegmentationNode | None:
        return self._node

    def setSegmentationNode(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        for observed in self._observers.observed():
            self._observers.forget(observed)
        self._node = node
        if node is not None:
            self._watch(node)
        self._update()


class qMRMLSegmentationShow3DButton(_OfASegmentation, QtWidgets.QPushButton):
    """Pressed: the segmentation has closed surfaces, shown in 3D. Released: it has none."""

    STANDS_FOR_CPP = True

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._locked = False
        self._observers = Observers(self)
        self.setText("Show 3D")
        self.setCheckable(True)
        self.setEnabled(False)
        self.toggled.connect(self._apply)

    def _watch(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        self._observers.observe(node, vtk.vtkCommand.ModifiedEvent, "_update")
        segmentation = node.GetSegmentation()
        for event in (
            segmentation.SegmentAdded,
            segmentation.SegmentRemoved,
            segmentation.ContainedRepresentationNamesModified,
            segmentation.SourceRepresentationModified,
        ):
            self._observers.observe(segmentation, event, "_update")

    def setLocked(self, locked: bool) -> None:
        self._locked = locked
        self._update()

    locked = QtCore.Property(bool, lambda self: self._locked, lambda self, value: self.setLocked(value))

    def _update(self) -> None:
        segmentation = self._node.GetSegmentation() if self._node is not None else None
        if segmentation is None:
            self.setEnabled(False)
            return
        source = segmentation.GetSourceRepresentationName()
        self.setEnabled(not self._locked and segmentation.GetNumberOfSegments() > 0 and source != _SURFACE)
        before = self.blockSignals(True)
        self.setChecked(segmentation.ContainsRepresentation(_SURFACE))
        self.blockSignals(before)

    def _apply(self, on: bool) -> None:
        if self._node is None:
            return
        segmentation = self._node.GetSegmentation()
        with slicer.util.NodeModify(self._node):
            if not on:
                if segmentation.GetSourceRepresentationName() != _SURFACE:
                    segmentation.RemoveRepresentation(_SURFACE)
            elif segmentation.CreateRepresentation(_SURFACE):
                display = self._node.GetDisplayNode()
                if display is not None:
                    display.SetPreferredDisplayRepresentationName3D(_SURFACE)
                    if segmentation.ContainsRepresentation(_LABELMAP):
                        display.SetPreferredDisplayRepresentationName2D(_LABELMAP)


class qMRMLSegmentsTableView(_OfASegmentation, qMRMLWidget):
    """A row for each segment of a segmentation: whether it is seen, its colour and its name."""

    STANDS_FOR_CPP = True
    SIGNATURES: ClassVar = {**qMRMLWidget.SIGNATURES}

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._ids: list[str] = []
        self._quiet = self._header = self._status = False
        self._observers = Observers(self)
        self._table = QtWidgets.QTableWidget(0, 3, self)
        self._table.verticalHeader().setVisible(False)
        self._table.horizontalHeader().setSectionResizeMode(QtWidgets.QHeaderView.ResizeToContents)
        self._table.horizontalHeader().setSectionResizeMode(2, QtWidgets.QHeaderView.Stretch)
        self._table.horizontalHeader().setVisible(False)
        self._table.itemChanged.connect(self._changed)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._table)

    def _watch(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        kinds = slicer.vtkSegmentation
        for event in (kinds.SegmentAdded, kinds.SegmentRemoved, kinds.SegmentModified):
            self._observers.observe(node.GetSegmentation(), event, "_update")
        if node.GetDisplayNode() is not None:
            self._observers.observe(node.GetDisplayNode(), vtk.vtkCommand.ModifiedEvent, "_update")

    def tableWidget(self) -> QtWidgets.QTableWidget:
        return self._table

    def rowForSegmentID(self, segment_id: str) -> int:
        return self._ids.index(segment_id) if segment_id in self._ids else -1

    def setHeaderVisible(self, visible: bool) -> None:
        self._header = visible
        self._table.horizontalHeader().setVisible(visible)

    def setStatusColumnVisible(self, visible: bool) -> None:
        self._status = visible

    headerVisible = QtCore.Property(bool, lambda self: self._header, lambda self, value: self.setHeaderVisible(value))
    statusColumnVisible = QtCore.Property(
        bool, lambda self: self._status, lambda self, value: self.setStatusColumnVisible(value)
    )
    segmentCount = QtCore.Property(int, lambda self: len(self._ids))

    def _update(self) -> None:
        segmentation = self._node.GetSegmentation() if self._node is not None else None
        count = segmentation.GetNumberOfSegments() if segmentation is not None else 0
        self._ids = [segmentation.GetNthSegmentID(number) for number in range(count)]
        self._quiet = True
        self._table.setRowCount(count)
        display = self._node.GetDisplayNode() if self._node is not None else None
        for row, segment_id in enumerate(self._ids):
            segment = segmentation.GetSegment(segment_id)
            tick, colour = QtWidgets.QTableWidgetItem(), QtWidgets.QTableWidgetItem()
            seen = display is None or display.GetSegmentVisibility(segment_id)
            tick.setCheckState(QtCore.Qt.Checked if seen else QtCore.Qt.Unchecked)
            colour.setBackground(QtGui.QBrush(QtGui.QColor.fromRgbF(*segment.GetColor())))
            for column, item in enumerate((tick, colour, QtWidgets.QTableWidgetItem(segment.GetName()))):
                self._table.setItem(row, column, item)
        self._quiet = False

    def _changed(self, item: QtWidgets.QTableWidgetItem) -> None:
        if self._quiet or self._node is None:
            return
        segment_id, column = self._ids[item.row()], item.column()  # a change of the node makes the items anew
        if column == 0 and self._node.GetDisplayNode() is not None:
            self._node.GetDisplayNode().SetSegmentVisibility(segment_id, item.checkState() == QtCore.Qt.Checked)
        if column == 2:
            self._node.GetSegmentation().GetSegment(segment_id).SetName(item.text())


WIDGETS: tuple[Callable, ...] = (qMRMLSegmentationShow3DButton, qMRMLSegmentsTableView)
