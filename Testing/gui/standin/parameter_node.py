"""slicer.parameterNodeWrapper: a class of typed attributes over a vtkMRMLScriptedModuleNode."""

from __future__ import annotations

import typing
import weakref

import slicer
import vtk
from PySide6 import QtWidgets

from standin.parameter_gui import connector
from standin.parameter_types import Choice, Default, Kind, Validator, WithinRange, kind_of, split

SlicerParameterNamePropertyName = "SlicerParameterName"
_OWN = "StartModify EndModify AddObserver RemoveObserver Modified connectGui disconnectGui connectParametersToGui"
__all__ = [
    "Choice",
    "Default",
    "SlicerParameterNamePropertyName",
    "Validator",
    "WithinRange",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]


class Parameter:
    """One attribute of the class: its type, its default and what it refuses."""

    def __init__(self, name: str, datatype: object, given: object) -> None:
        self.name = name
        self.unalteredType = datatype
        type_, annotations = split(datatype)
        self.kind: Kind = kind_of(type_)
        self.validators = [one for one in annotations if isinstance(one, Validator)]
        defaults = [one for one in annotations if isinstance(one, Default)]
        unknown = set(annotations) - set(self.validators) - set(defaults)
        if unknown:
            raise TypeError(f"{name} has annotations that this stand-in does not know: {unknown}")
        self.default = Default(given) if given is not _NOTHING else (*defaults, Default(self.kind.default()))[0]


class Wrapper:
    """What parameterNodeWrapper makes of a class."""

    allParameters: typing.ClassVar[dict[str, Parameter]] = {}

    def __init__(self, parameterNode: slicer.vtkMRMLScriptedModuleNode, prefix: str | None = None) -> None:
        self.parameterNode = parameterNode
        self._prefix = prefix or ""
        self._values: dict[str, object] = {}
        self._guis: dict[int, dict] = {}
        self._observers: dict[int, int] = {}
        self._tags = 0
        self._filling = self._writing = False
        for parameter in self.allParameters.values():
            if not parameter.kind.is_in(parameterNode, self._prefix + parameter.name):
                self._store(parameter, parameter.default.value)
        self._read_all()
        # The node would otherwise keep the wrapper alive.
        weak = weakref.ref(self)
        self._tag = parameterNode.AddObserver(
            vtk.vtkCommand.ModifiedEvent, lambda *_: weak() is not None and weak()._read_all()
        )

    def __del__(self) -> None:
        if "_tag" in vars(self):
            self.parameterNode.RemoveObserver(self._tag)

    def __getattr__(self, name: str) -> object:
        # Slicer keeps the value read last, and reads again when the node says that it has changed.
        if name in type(self).allParameters:
            return self._values[name]
        raise AttributeError(f"{type(self).__name__} has no parameter {name}")

    def __setattr__(self, name: str, value: object) -> None:
        if name in type(self).allParameters:
            self.setValue(name, value)
        elif name.startswith("_") or name == "parameterNode":
            object.__setattr__(self, name, value)
        else:
            raise AttributeError(f"{type(self).__name__} has no parameter {name}")

    def getValue(self, name: str) -> object:
        self._parameter(name)
        return self._values[name]

    def setValue(self, name: str, value: object) -> None:
        parameter = self._parameter(name)
        with slicer.util.NodeModify(self.parameterNode):
            self._writing = True
            try:
                self._store(parameter, value)
            finally:
                self._writing = False
            self._values[name] = parameter.kind.read(self.parameterNode, self._prefix + name)

    def default(self, name: str) -> Default:
        return self._parameter(name).default

    def isCached(self, name: str) -> bool:
        return self._parameter(name) is not None

    @classmethod
    def dataType(cls, name: str) -> object:
        return cls._parameter(name).unalteredType

    @classmethod
    def _parameter(cls, name: str) -> Parameter:
        if name not in cls.allParameters:
            raise ValueError(f"{cls.__name__} has no parameter {name}; it has {', '.join(cls.allParameters)}")
        return cls.allParameters[name]

    def _store(self, parameter: Parameter, value: object) -> None:
        for validator in parameter.validators:
            validator.validate(value)
        parameter.kind.write(self.parameterNode, self._prefix + parameter.name, value)

    def _read_all(self) -> None:
        if self._writing:
            return
        for parameter in self.allParameters.values():
            # Closing the scene empties the node, and the defaults come back.
            if not parameter.kind.is_in(self.parameterNode, self._prefix + parameter.name):
                self._store(parameter, parameter.default.value)
            self._values[parameter.name] = parameter.kind.read(self.parameterNode, self._prefix + parameter.name)

    # The node's own

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, was_modified: int) -> int:
        return self.parameterNode.EndModify(was_modified)

    def AddObserver(self, event: object, callback: typing.Callable, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()

    # The panel

    def connectGui(self, gui: object) -> int:
        """Ties the widgets that carry SlicerParameterName to the parameters; the tag is for disconnectGui()."""
        widgets = gui.findChildren(QtWidgets.QWidget) if isinstance(gui, QtWidgets.QWidget) else vars(gui).values()
        named = ((widget.property(SlicerParameterNamePropertyName), widget) for widget in widgets)
        return self.connectParametersToGui({name: widget for name, widget in named if name})

    def connectParametersToGui(self, mapping: dict[str, QtWidgets.QWidget]) -> int:
        for name in mapping:
            self._parameter(name)
        ties = {name: connector(widget, self.dataType(name)) for name, widget in mapping.items()}
        tag, self._tags = self._tags, self._tags + 1
        self._guis[tag] = ties
        for name, tie in ties.items():
            tie.write(self.getValue(name))
            tie.on_changed(lambda name=name, tie=tie: self._from_gui(name, tie))
        self._observers[tag] = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._to_gui())
        return tag

    def disconnectGui(self, tag: int) -> None:
        for tie in self._guis.pop(tag, {}).values():
            tie.on_changed(None)
        if tag in self._observers:
            self.RemoveObserver(self._observers.pop(tag))

    def _from_gui(self, name: str, tie: object) -> None:
        if not self._filling:
            with slicer.util.NodeModify(self):
                self.setValue(name, tie.read())

    def _to_gui(self) -> None:
        if self._filling:
            return
        self._filling = True
        try:
            with slicer.util.NodeModify(self):
                for ties in self._guis.values():
                    for name, tie in ties.items():
                        tie.write(self.getValue(name))
        finally:
            self._filling = False


_NOTHING = object()


def parameterNodeWrapper(cls: type | None = None) -> type:
    """The class decorator, with or without parentheses."""
    return parameterNodeWrapper if cls is None else _wrap(cls)


def isParameterNodeWrapper(one: object) -> bool:
    return isinstance(one, Wrapper) or (isinstance(one, type) and issubclass(one, Wrapper))


def _wrap(cls: type) -> type:
    hints = typing.get_type_hints(cls, include_extras=True)
    for reserved in (*_OWN.split(), "default", "isCached", "dataType", "getValue", "setValue", "allParameters"):
        if reserved in hints or reserved in vars(cls):
            raise ValueError(f"{reserved} is a name of Slicer's own in a parameterNodeWrapper")
    parameters = {name: Parameter(name, datatype, getattr(cls, name, _NOTHING)) for name, datatype in hints.items()}
    skipped = {*parameters, "__dict__", "__weakref__", "__annotations__", "__init__"}
    kept = {name: value for name, value in vars(cls).items() if name not in skipped}
    bases = tuple(base for base in cls.__bases__ if base is not object)
    return type(cls.__name__, (Wrapper, *bases), {**kept, "allParameters": parameters})
