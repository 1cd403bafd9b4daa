"""A scripted module as Slicer loads it: its object in slicer.modules, and the widget that holds its panel."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import slicer
from PySide6 import QtGui, QtWidgets

from standin.mrml_widgets import qMRMLWidget


class qSlicerScriptedLoadableModule:
    """slicer.modules.NAME; what a module may say of itself, and nothing else."""

    __slots__ = (
        "_instance",
        "_widget",
        "acknowledgementText",
        "associatedNodeTypes",
        "categories",
        "contributors",
        "dependencies",
        "extensions",
        "helpText",
        "hidden",
        "icon",
        "index",
        "name",
        "path",
        "title",
    )

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.name = path.stem
        self.title = self.helpText = self.acknowledgementText = ""
        self.categories, self.contributors, self.dependencies, self.associatedNodeTypes = [], [], [], []
        self.extensions = {}
        self.hidden, self.index, self.icon = False, -1, QtGui.QIcon()
        self._widget: qSlicerScriptedLoadableModuleWidget | None = None
        self._instance = _class(path, self.name)(self)
        setattr(slicer.modules, f"{self.name}Instance", self._instance)

    def self(self) -> object:
        return self._instance

    def widgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        """The one panel of the module, made when it is first asked for."""
        if self._widget is None:
            self._widget = self.createNewWidgetRepresentation()
        return self._widget

    def createNewWidgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        widget = qSlicerScriptedLoadableModuleWidget(self)
        widget.setMRMLScene(slicer.mrmlScene)
        widget.reload()
        return widget

    def logic(self) -> slicer.vtkSlicerScriptedLoadableModuleLogic:
        """Not the module's Python logic: that hangs on its panel, where slicer.util.getModuleLogic finds it."""
        return slicer.vtkSlicerScriptedLoadableModuleLogic()


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The widget in the module panel: it calls the Python class at Slicer's times."""

    STANDS_FOR_CPP = True

    def __init__(self, module: qSlicerScriptedLoadableModule, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        QtWidgets.QVBoxLayout(self)
        self._module = module
        self._instance: object = None
        self._entered = False

    def self(self) -> object:
        return self._instance

    def module(self) -> qSlicerScriptedLoadableModule:
        return self._module

    def reload(self) -> None:
        path = Path(self._module.path)
        self._instance = _class(path, f"{path.stem}Widget")(self)
        setattr(slicer.modules, f"{path.stem}Widget", self._instance)
        self._instance.setup()

    def enter(self) -> None:
        self._entered = True
        getattr(self._instance, "enter", lambda: None)()

    def exit(self) -> None:
        self._entered = False
        getattr(self._instance, "exit", lambda: None)()


def load(path: Path) -> qSlicerScriptedLoadableModule:
    """Loads a scripted module: NAME.py becomes slicer.modules.name, and slicer.app says that it has started."""
    module = qSlicerScriptedLoadableModule(path.resolve())
    setattr(slicer.modules, module.name.lower(), module)
    slicer.app.moduleManager()._add(module.name, module)
    slicer.app.startupCompleted.emit()
    return module


def unload(module: qSlicerScriptedLoadableModule) -> None:
    """Unloads it as Slicer does when it ends: the panel cleans up, and is gone."""
    slicer.app.moduleManager()._remove(module.name)
    if module._widget is not None:
        module._widget.deleteLater()
        module._widget = None
    for name in (module.name.lower(), f"{module.name}Instance", f"{module.name}Widget"):
        if hasattr(slicer.modules, name):
            delattr(slicer.modules, name)
    sys.modules.pop(module.name, None)


def _class(path: Path, name: str) -> type:
    return getattr(_loaded(path), name)


def _loaded(path: Path) -> types.ModuleType:
    if path.stem in sys.modules:
        return sys.modules[path.stem]
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module
