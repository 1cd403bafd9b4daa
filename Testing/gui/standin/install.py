"""Puts the stand-in where a scripted module looks for Slicer: `install(scene, application_logic)`, once a process.

With the folder Base/Python of Slicer's sources in the environment variable SLICER_PYTHON_SOURCES, Slicer's own
ScriptedLoadableModule and parameterNodeWrapper take the place of their stand-ins.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import types
from pathlib import Path

import slicer
from PySide6 import QtWidgets

from standin import ctk_widgets, dialogs, mrml_widgets, pythonqt, sample_data, segment_widgets

_installed: list[object] = []


def install(scene: slicer.vtkMRMLScene, application_logic: slicer.vtkSlicerApplicationLogic) -> QtWidgets.QApplication:
    """After this, `import qt`, `import ctk`, slicer.app and slicer.ScriptedLoadableModule are there."""
    if _installed:
        return _installed[0]
    pythonqt.patch()
    dialogs.patch()
    from standin import application, module, packages, parameter_node, qt_module, scripted

    sys.modules["qt"] = qt_module.build()
    sys.modules["ctk"] = _module("ctk", {kind.__name__: kind for kind in ctk_widgets.WIDGETS})
    sys.modules["SampleData"] = sample_data
    for kind in (*mrml_widgets.WIDGETS, *segment_widgets.WIDGETS):
        setattr(slicer, kind.__name__, kind)
    slicer.qSlicerScriptedLoadableModule = module.qSlicerScriptedLoadableModule
    slicer.qSlicerScriptedLoadableModuleWidget = module.qSlicerScriptedLoadableModuleWidget
    _below_slicer("i18n", {"tr": _tr, "translate": _translate})
    own = os.environ.get("SLICER_PYTHON_SOURCES")
    if not own:
        _below_slicer("ScriptedLoadableModule", {name: getattr(scripted, name) for name in scripted.NAMES})
        _below_slicer("parameterNodeWrapper", {name: getattr(parameter_node, name) for name in parameter_node.__all__})
    sys.modules["slicer.packaging"] = slicer.packaging = packages
    app = application.qSlicerApplication(scene, application_logic)
    slicer.app = app
    if own:
        _slicers_own(Path(own), "ScriptedLoadableModule", "parameterNodeWrapper")
    app._open_window()
    _installed.append(app)
    return app


def _module(name: str, content: dict[str, object]) -> types.ModuleType:
    made = types.ModuleType(name)
    vars(made).update(content, __all__=list(content))
    return made


def _below_slicer(name: str, content: dict[str, object]) -> None:
    made = _module(f"slicer.{name}", content)
    sys.modules[made.__name__] = made
    # In Slicer too, `from slicer.ScriptedLoadableModule import *` comes with the module as an attribute of slicer.
    setattr(slicer, name, made)


def _slicers_own(sources: Path, *names: str) -> None:
    """Import modules of Slicer's package from its sources; slicer-core brings the package without them."""
    folder = sources.resolve() / "slicer"
    slicer.__path__.append(str(folder))
    _name_widgets((folder / "parameterNodeWrapper" / "guiConnectors.py").read_text(encoding="utf-8"))
    for name in names:
        setattr(slicer, name, importlib.import_module(f"slicer.{name}"))


def _name_widgets(source: str) -> None:
    """Let every widget that Slicer's connectors name exist; one that the stand-in does not know cannot be made."""
    widgets = r"\b(qt|ctk|slicer)\.(q\w+Widget|Q[A-Z]\w+|ctk\w+|qMRML\w+)"
    for module, kind in set(re.findall(widgets, source)):
        home = sys.modules[module]
        if not hasattr(home, kind):
            setattr(home, kind, type(kind, (), {"__new__": _unknown}))


def _unknown(kind: type, *arguments: object) -> object:
    raise NotImplementedError(f"the stand-in has no {kind.__name__}")


def _tr(text: str) -> str:
    """The text is in English already; that it is one text, and not two, is checked."""
    if not isinstance(text, str):
        raise TypeError(f"tr() takes a text, not {text!r}")
    return text


def _translate(context: str, text: str) -> str:
    return _tr(text)
