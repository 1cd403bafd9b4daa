"""Slicer's own MRML scene and module logics without the Slicer application: `boot()`, once a process."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import slicer
import vtk

# slicer.modules.KEY -> (the module's name in Slicer, the class of its logic).
MODULES = {
    "units": ("Units", "vtkSlicerUnitsLogic"),
    "subjecthierarchy": ("SubjectHierarchy", "vtkSlicerSubjectHierarchyModuleLogic"),
    "terminologies": ("Terminologies", "vtkSlicerTerminologiesModuleLogic"),
    "volumes": ("Volumes", "vtkSlicerVolumesLogic"),
    "models": ("Models", "vtkSlicerModelsLogic"),
    "transforms": ("Transforms", "vtkSlicerTransformLogic"),
    "tables": ("Tables", "vtkSlicerTablesLogic"),
    "texts": ("Texts", "vtkSlicerTextsLogic"),
    "markups": ("Markups", "vtkSlicerMarkupsLogic"),
    "sequences": ("Sequences", "vtkSlicerSequencesLogic"),
    "segmentations": ("Segmentations", "vtkSlicerSegmentationsModuleLogic"),
}

# What nothing in the scene keeps alive, by name: see application_logic().
_kept: dict[str, object] = {}


class Module:
    """What slicer.modules.KEY is to a script: a name and a logic."""

    def __init__(self, name: str, logic: object) -> None:
        self.name = name
        self._logic = logic

    def logic(self) -> object:
        return self._logic


def boot(terminologies: Path | None = None) -> slicer.vtkMRMLScene:
    """Starts Slicer's MRML side once, sets slicer.mrmlScene and slicer.modules, and returns the scene.

    `terminologies` is a folder of terminology JSON files: slicer-core brings none, so without it the terminologies
    logic knows no context, and only codes that are set by hand are there.
    """
    if "scene" in _kept:
        return _kept["scene"]
    scene = slicer.vtkMRMLScene()
    scene.RegisterNodeClass(slicer.vtkMRMLCommandLineModuleNode())
    _let_the_scene_read_bundles(scene)
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    application.SetTemporaryPath(str(_temporary_folder("temporary")))
    colors = application.GetColorLogic()
    colors.SetMRMLApplicationLogic(application)
    colors.SetMRMLScene(scene)
    colors.AddDefaultColorNodes()
    application.SetModuleLogic("Colors", colors)
    modules = {"colors": Module("Colors", colors)}
    for key, (name, class_name) in MODULES.items():
        logic = getattr(slicer, class_name)()
        logic.SetMRMLApplicationLogic(application)
        application.SetModuleLogic(name, logic)
        if key == "terminologies" and terminologies is not None:
            logic.SetModuleShareDirectory(str(terminologies))
        with _quiet(key == "terminologies" and terminologies is None):
            logic.SetMRMLScene(scene)
        modules[key] = Module(name, logic)
    _kept.update(scene=scene, application=application)
    slicer.mrmlScene = scene
    slicer.modules = SimpleNamespace(**modules)
    return scene


def application_logic() -> slicer.vtkSlicerApplicationLogic:
    """What slicer.app.applicationLogic() is in Slicer."""
    return _kept["application"]


def clear(scene: slicer.vtkMRMLScene) -> None:
    """Empties the scene as File > Close Scene does: singletons and default nodes stay, everything else goes."""
    scene.Clear(False)


def _let_the_scene_read_bundles(scene: slicer.vtkMRMLScene) -> None:
    """Without a cache and a data manager the scene refuses to read .mrb files."""
    cache = slicer.vtkCacheManager()
    cache.SetRemoteCacheDirectory(str(_temporary_folder("cache")))
    cache.SetMRMLScene(scene)
    manager = slicer.vtkDataIOManager()
    manager.SetCacheManager(cache)
    logic = slicer.vtkDataIOManagerLogic()
    logic.SetAndObserveDataIOManager(manager)
    scene.SetCacheManager(cache)
    scene.SetDataIOManager(manager)
    _kept.update(cache=cache, manager=manager, manager_logic=logic)


def _temporary_folder(name: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=f"slicer-{name}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@contextmanager
def _quiet(wanted: bool):
    """The terminologies logic reports six errors on the console for the files that slicer-core does not bring."""
    if wanted:
        vtk.vtkObject.GlobalWarningDisplayOff()
    try:
        yield
    finally:
        vtk.vtkObject.GlobalWarningDisplayOn()
