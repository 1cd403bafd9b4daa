"""How a parameter of each type is kept in a vtkMRMLScriptedModuleNode, in the form in which Slicer keeps it."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Iterable, MutableSequence
from pathlib import Path

import slicer


class Default:
    """The annotation Annotated[type, Default(value)]."""

    def __init__(self, value: object = None, *, generator: typing.Callable | None = None) -> None:
        self._value = value
        self._generator = generator

    @property
    def value(self) -> object:
        return self._generator() if self._generator else self._value


class Validator:
    """An annotation that refuses a value."""

    def validate(self, value: object) -> None:
        raise NotImplementedError


class Choice(Validator):
    def __init__(self, choices: Iterable) -> None:
        self.choices = choices

    def validate(self, value: object) -> None:
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {self.choices}")


class WithinRange(Validator):
    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value: float) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not within [{self.minimum}, {self.maximum}]")


class Kind:
    """One type of parameter."""

    def __init__(self, type_: type) -> None:
        self.type = type_

    def default(self) -> object:
        return self.type()

    def check(self, value: object) -> None:
        if not isinstance(value, self.type):
            raise TypeError(f"{value!r} is no {self.type.__name__}")

    def is_in(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> bool:
        return node.HasParameter(name)

    def write(self, node: slicer.vtkMRMLScriptedModuleNode, name: str, value: object) -> None:
        self.check(value)
        node.SetParameter(name, self.text(value))

    def read(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> object:
        return self.value(node.GetParameter(name))

    def remove(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> None:
        node.UnsetParameter(name)

    def text(self, value: object) -> str:
        return str(value)

    def value(self, text: str) -> object:
        return self.type(text)


class FloatKind(Kind):
    def check(self, value: object) -> None:
        if not isinstance(value, (int, float)):
            raise TypeError(f"{value!r} is no number")


class BoolKind(Kind):
    def value(self, text: str) -> bool:
        return text == "True"


class EnumKind(Kind):
    def default(self) -> enum.Enum:
        return next(iter(self.type))

    def text(self, value: enum.Enum) -> str:
        return value.name

    def value(self, text: str) -> enum.Enum:
        if text not in self.type.__members__:
            raise ValueError(f"the parameter node says {text!r}, which is no name in {self.type.__name__}")
        return self.type[text]


class NodeKind(Kind):
    """A node reference; an empty parameter of the same name says that it has been set, perhaps to none."""

    def default(self) -> None:
        return None

    def check(self, value: object) -> None:
        if value is not None:
            super().check(value)

    def write(self, node: slicer.vtkMRMLScriptedModuleNode, name: str, value: slicer.vtkMRMLNode | None) -> None:
        self.check(value)
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> slicer.vtkMRMLNode | None:
        return node.GetNodeReference(name)

    def remove(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> None:
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


class UnionKind(Kind):
    """One of several types, or None: the parameter's name says which."""

    def __init__(self, kinds: list[Kind], optional: bool) -> None:
        self.kinds = kinds
        self.optional = optional

    def default(self) -> object:
        return None if self.optional and len(self.kinds) == 1 else self.kinds[0].default()

    def _names(self, name: str) -> list[tuple[Kind | None, str]]:
        kinds = [*self.kinds, None] if self.optional else self.kinds
        return [(kind, f"{name}.{index}") for index, kind in enumerate(kinds)]

    def is_in(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> bool:
        return any(node.HasParameter(own) for _, own in self._names(name))

    def check(self, value: object) -> None:
        self._kind(value)

    def _kind(self, value: object) -> int:
        if value is None and self.optional:
            return len(self.kinds)
        for index, kind in enumerate(self.kinds):
            try:
                if value is not None:
                    kind.check(value)
                    return index
            except TypeError:
                continue
        raise TypeError(f"{value!r} is none of the types that this parameter takes")

    def write(self, node: slicer.vtkMRMLScriptedModuleNode, name: str, value: object) -> None:
        index = self._kind(value)
        with slicer.util.NodeModify(node):
            self.remove(node, name)
            kind, own = self._names(name)[index]
            if kind is None:
                node.SetParameter(own, "True")
            else:
                kind.write(node, own, value)

    def read(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> object:
        for kind, own in self._names(name):
            if node.HasParameter(own):
                return kind.read(node, own) if kind is not None else None
        raise KeyError(name)

    def remove(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> None:
        for kind, own in self._names(name):
            (kind or BoolKind(bool)).remove(node, own)


class ObservedList(MutableSequence):
    """The value of a list parameter: what is done to it is done to the node."""

    def __init__(self, node: slicer.vtkMRMLScriptedModuleNode, kind: ListKind, name: str, values: list) -> None:
        self._node, self._kind, self._name, self._values = node, kind, name, values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: int | slice) -> object:
        return self._values[index]

    def __setitem__(self, index: int | slice, value: object) -> None:
        self._values[index] = value
        self._save()

    def __delitem__(self, index: int | slice) -> None:
        del self._values[index]
        self._save()

    def insert(self, index: int, value: object) -> None:
        self._values.insert(index, value)
        self._save()

    def __eq__(self, other: object) -> bool:
        return self._values == (other._values if isinstance(other, ObservedList) else other)

    def __add__(self, other: object) -> typing.NoReturn:
        raise NotImplementedError("a list parameter cannot be added to; make a list of it first")

    __radd__ = __mul__ = __rmul__ = __add__
    __hash__ = None

    def __repr__(self) -> str:
        return f"ObservedList({self._values})"

    def _save(self) -> None:
        self._kind.write(self._node, self._name, self._values)


class ListKind(Kind):
    def __init__(self, element: Kind) -> None:
        self.element = element

    def default(self) -> list:
        return []

    def is_in(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> bool:
        return node.HasParameter(f"{name}.len")

    def _length(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> int:
        return int(node.GetParameter(f"{name}.len")) if self.is_in(node, name) else 0

    def check(self, values: Iterable) -> None:
        for value in values:
            self.element.check(value)

    def write(self, node: slicer.vtkMRMLScriptedModuleNode, name: str, values: Iterable) -> None:
        values = list(values)
        self.check(values)
        with slicer.util.NodeModify(node):
            before = self._length(node, name)
            for index, value in enumerate(values):
                self.element.write(node, f"{name}.{index}", value)
            for index in range(len(values), before):
                self.element.remove(node, f"{name}.{index}")
            node.SetParameter(f"{name}.len", str(len(values)))

    def read(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> ObservedList:
        values = [self.element.read(node, f"{name}.{index}") for index in range(self._length(node, name))]
        return ObservedList(node, self, name, values)

    def remove(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> None:
        for index in range(self._length(node, name)):
            self.element.remove(node, f"{name}.{index}")
        node.UnsetParameter(f"{name}.len")


def split(annotated: object) -> tuple[object, tuple]:
    """The type, and what it is annotated with."""
    if typing.get_origin(annotated) is typing.Annotated:
        type_, *annotations = typing.get_args(annotated)
        return type_, tuple(annotations)
    return annotated, ()


def kind_of(type_: object) -> Kind:
    """How that type is kept; types that Slicer, or this stand-in, does not know are refused."""
    type_ = split(type_)[0]
    if typing.get_origin(type_) is list:
        return ListKind(kind_of(typing.get_args(type_)[0]))
    if typing.get_origin(type_) in (typing.Union, types.UnionType):
        arguments = typing.get_args(type_)
        kinds = [kind_of(one) for one in arguments if one is not type(None)]
        return UnionKind(kinds, optional=type(None) in arguments)
    if isinstance(type_, type):
        for base, kind in _KINDS:
            exact = base in (bool, int, float, str, Path)
            if type_ is base if exact else issubclass(type_, base):
                return kind(type_)
    raise TypeError(f"a parameter cannot be of type {type_}")


_KINDS: list[tuple[type, type[Kind]]] = [
    (bool, BoolKind),
    (int, Kind),
    (float, FloatKind),
    (str, Kind),
    (Path, Kind),
    (enum.Enum, EnumKind),
    (slicer.vtkMRMLNode, NodeKind),
]


def node_classes(type_: object) -> tuple[str, ...] | None:
    """The node classes of a node type or a typing.Union of them; None where it is something else.

    `Node | None` can be kept, but only newer Slicers connect it to a selector: every one takes typing.Optional.
    """
    type_ = split(type_)[0]
    several = typing.get_args(type_) if typing.get_origin(type_) is typing.Union else (type_,)
    nodes = [one for one in several if one is not type(None)]
    if all(isinstance(one, type) and issubclass(one, slicer.vtkMRMLNode) for one in nodes):
        return tuple(one.__name__ for one in nodes)
    return None
