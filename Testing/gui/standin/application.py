"""slicer.app: Slicer's QApplication, its module manager, main window, settings and slice views."""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

VERSION = (5, 13)
_SLICES = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}


class qSlicerModuleManager(QtCore.QObject):
    """The modules that are loaded, by name."""

    STANDS_FOR_CPP = True
    SIGNATURES: ClassVar = {
        "moduleAboutToBeUnloaded(QString)": "moduleAboutToBeUnloaded",
        "moduleLoaded(QString)": "moduleLoaded",
    }
    moduleAboutToBeUnloaded = QtCore.Signal(str)
    moduleLoaded = QtCore.Signal(str)

    def __init__(self, parent: QtCore.QObject) -> None:
        super().__init__(parent)
        self._modules: dict[str, object] = {}

    def module(self, name: str) -> object | None:
        return self._modules.get(name) or getattr(slicer.modules, name.lower(), None)

    def modulesNames(self) -> list[str]:
        return list(self._modules)

    def factoryManager(self) -> SimpleNamespace:
        return SimpleNamespace(loadedModuleNames=self.modulesNames)

    def _add(self, name: str, module: object) -> None:
        self._modules[name] = module
        self.moduleLoaded.emit(name)

    def _remove(self, name: str) -> None:
        self.moduleAboutToBeUnloaded.emit(name)
        del self._modules[name]


class ModuleSelector:
    """The main window's module selector: changing the module leaves the one and enters the other."""

    def __init__(self) -> None:
        self.selectedModule = ""

    def selectModule(self, name: str) -> None:
        manager = slicer.app.moduleManager()
        if manager.module(name) is None:
            raise ValueError(f"there is no module {name}")
        left, self.selectedModule = self.selectedModule, name
        for module, step in ((manager.module(left) if left else None, "exit"), (manager.module(name), "enter")):
            if isinstance(module, slicer.qSlicerScriptedLoadableModule):
                getattr(module.widgetRepresentation(), step)()


class qSlicerMainWindow(QtWidgets.QMainWindow):
    """Slicer's main window, empty; dialogs have it as their parent."""

    STANDS_FOR_CPP = True

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self._selector = ModuleSelector()

    def moduleSelector(self) -> ModuleSelector:
        return self._selector


class SliceWidget:
    """A slice view without a view: its nodes and its logic are Slicer's own."""

    def __init__(self, name: str, logic: slicer.vtkMRMLSliceLogic) -> None:
        self._name = name
        self._logic = logic

    def sliceLogic(self) -> slicer.vtkMRMLSliceLogic:
        return self._logic

    def mrmlSliceNode(self) -> slicer.vtkMRMLSliceNode:
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> slicer.vtkMRMLSliceCompositeNode:
        return self._logic.GetSliceCompositeNode()


class LayoutManager:
    """Three slice views and no 3D view."""

    def __init__(self, scene: slicer.vtkMRMLScene, application_logic: slicer.vtkSlicerApplicationLogic) -> None:
        self._logics = vtk.vtkCollection()
        self._widgets: dict[str, SliceWidget] = {}
        for name, orientation in _SLICES.items():
            logic = slicer.vtkMRMLSliceLogic()
            logic.SetMRMLApplicationLogic(application_logic)
            logic.SetMRMLScene(scene)
            node = logic.AddSliceNode(name)
            node.SetOrientation(orientation)
            self._logics.AddItem(logic)
            self._widgets[name] = SliceWidget(name, logic)
        application_logic.SetSliceLogics(self._logics)
        self.layout = int(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)

    def setLayout(self, layout: int) -> None:
        """Which arrangement of views is wanted; all three are there in any."""
        self.layout = layout
        self.threeDViewCount = 0

    def sliceViewNames(self) -> tuple[str, ...]:
        return tuple(self._widgets)

    def sliceWidget(self, name: str) -> SliceWidget | None:
        return self._widgets.get(name)

    def mrmlSliceLogics(self) -> object:
        return self._logics

    def resetSliceViews(self) -> None:
        for widget in self._widgets.values():
            widget.sliceLogic().FitSliceToAll()

    def resetThreeDViews(self) -> None:
        """There is no 3D view to reset."""


class qSlicerApplication(QtWidgets.QApplication):
    """slicer.app."""

    STANDS_FOR_CPP = True
    SIGNATURES: ClassVar = {
        "startupCompleted()": "startupCompleted",
        "mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged",
    }
    startupCompleted = QtCore.Signal()
    mrmlSceneChanged = QtCore.Signal(object)

    def __init__(self, scene: slicer.vtkMRMLScene, application_logic: slicer.vtkSlicerApplicationLogic) -> None:
        super().__init__(["Slicer"])
        self.setApplicationName("Slicer")
        self.setOrganizationName("StandIn")
        self.setApplicationVersion(".".join(map(str, (*VERSION, 0))))
        self._scene = scene
        self._logic = application_logic
        self._home = Path(tempfile.mkdtemp(prefix="slicer-home-"))
        atexit.register(shutil.rmtree, self._home, ignore_errors=True)
        self._environment = dict(os.environ)
        self._testing = False
        self._paused = 0
        self._manager = qSlicerModuleManager(self)
        self._window: qSlicerMainWindow | None = None
        self._layout: LayoutManager | None = None
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, str(self._home / "settings"))
        self._write_python_slicer()

    def _write_python_slicer(self) -> None:
        """PythonSlicer is on Slicer's PATH: here it is the Python of the tests."""
        program = self._home / "bin" / "PythonSlicer"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        os.environ["PATH"] = f"{program.parent}{os.pathsep}{os.environ['PATH']}"

    def _open_window(self) -> None:
        self._window = qSlicerMainWindow()
        self._layout = LayoutManager(self._scene, self._logic)

    # The application

    def mrmlScene(self) -> slicer.vtkMRMLScene:
        return self._scene

    def applicationLogic(self) -> slicer.vtkSlicerApplicationLogic:
        return self._logic

    def moduleManager(self) -> qSlicerModuleManager:
        return self._manager

    def layoutManager(self) -> LayoutManager | None:
        return self._layout

    def settings(self) -> QtCore.QSettings:
        return QtCore.QSettings()

    userSettings = settings

    def testingEnabled(self) -> bool:
        return self._testing

    def pauseRender(self) -> None:
        self._paused += 1

    def resumeRender(self) -> None:
        if not self._paused:
            raise RuntimeError("resumeRender() without pauseRender()")
        self._paused -= 1

    def startupEnvironment(self) -> QtCore.QProcessEnvironment:
        environment = QtCore.QProcessEnvironment()
        for name, value in self._environment.items():
            environment.insert(name, value)
        return environment

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"

    def restart(self) -> None:
        raise RuntimeError("the application cannot be restarted in a test")

    temporaryPath = QtCore.Property(str, lambda self: self._logic.GetTemporaryPath())
    slicerHome = QtCore.Property(str, lambda self: str(self._home))
    majorVersion = QtCore.Property(int, lambda self: VERSION[0])
    minorVersion = QtCore.Property(int, lambda self: VERSION[1])
    revision = QtCore.Property(str, lambda self: "stand-in")
    repositoryRevision = QtCore.Property(str, lambda self: "stand-in")
    mainApplicationName = QtCore.Property(str, lambda self: "Slicer")
    isInstalled = QtCore.Property(bool, lambda self: True)
    os = QtCore.Property(str, lambda self: {"win32": "win", "darwin": "macosx"}.get(sys.platform, "linux"))
    documentationBaseUrl = QtCore.Property(str, lambda self: "https://slicer.readthedocs.io/en/latest/")
