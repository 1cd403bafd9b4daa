"""Makes PySide6 behave as PythonQt does: properties are attributes, connect takes a signature, a misspelling raises."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets

_NAMESPACES = (QtCore, QtGui, QtWidgets)
_set = shiboken6.Shiboken.Object.__setattr__
_find_child = QtCore.QObject.findChild
_find_children = QtCore.QObject.findChildren
_connections: dict[int, list[tuple[str, Callable, object, Callable]]] = {}
_getters: dict[type, Callable] = {}
_asked: set[tuple[int, str]] = set()
_loading: list[bool] = []
_done: list[bool] = []


class Attribute:
    """A Qt property as PythonQt shows it: `widget.text` reads it, `widget.text = x` writes it.

    On the class the name keeps its old meaning: QTimer.singleShot is both a property and a static function.
    """

    def __init__(self, name: str, writable: bool, on_class: object) -> None:
        self.name = name
        self.writable = writable
        self.on_class = on_class

    def __get__(self, owner: QtCore.QObject | None, kind: type | None = None) -> object:
        if owner is None:
            if self.on_class is None:
                raise AttributeError(f"{kind.__name__} has no attribute {self.name}")
            return self.on_class
        # A virtual getter, QProgressBar.text for one, looks itself up in the Python class: give it its own method.
        asked = (id(owner), self.name)
        if asked in _asked:
            return self.on_class.__get__(owner)
        _asked.add(asked)
        try:
            return QtCore.QObject.property(owner, self.name)
        finally:
            _asked.discard(asked)

    def __set__(self, owner: QtCore.QObject, value: object) -> None:
        if not self.writable:
            raise AttributeError(f"{type(owner).__name__}.{self.name} can only be read")
        if not QtCore.QObject.setProperty(owner, self.name, value):
            raise TypeError(f"{type(owner).__name__}.{self.name} cannot be {value!r}")


def patch() -> None:
    """Patches PySide6's classes, once a process."""
    if _done:
        return
    _done.append(True)
    objects, values = _classes()
    for kind in objects:
        _show_properties(kind)
    # Some classes, QFile for one, look up their attributes in their own way: each keeps its own.
    _getters.update({kind: kind.__getattribute__ for kind in objects})
    for kind in objects:
        kind.__getattribute__ = _getattribute
        kind.__setattr__ = _setattr
    for kind in values:
        kind.__setattr__ = _set_on_value
    QtCore.QObject.name = property(lambda self: self.objectName, lambda self, value: self.setObjectName(value))
    QtCore.QObject.className = lambda self: self.metaObject().className()
    QtCore.QObject.delete = shiboken6.delete


def is_cpp(kind: type) -> bool:
    """Whether the class is a C++ class to a script: PySide6's, or one that stands for a C++ class of Slicer."""
    return kind.__module__.startswith("PySide6") or "STANDS_FOR_CPP" in vars(kind)


def connect(sender: QtCore.QObject, signature: str, slot: Callable) -> bool:
    """PythonQt's `sender.connect("signal(types)", slot)`."""
    signal, count = _signal(sender, signature)
    wanted = _arguments(slot)
    number = count if wanted is None else min(count, wanted)

    def call(*arguments: object) -> None:
        slot(*arguments[:number])

    key = shiboken6.getCppPointer(sender)[0]
    if key not in _connections:
        _connections[key] = []
        sender.destroyed.connect(lambda *_: _connections.pop(key, None))
    _connections[key].append((_normal(signature), slot, signal, call))
    signal.connect(call)
    return True


def disconnect(sender: QtCore.QObject, signature: str, slot: Callable | None = None) -> bool:
    """PythonQt's `sender.disconnect("signal(types)", slot)`; without a slot, every slot of that signal."""
    _signal(sender, signature)
    known = _connections.get(shiboken6.getCppPointer(sender)[0], [])
    gone = [one for one in known if one[0] == _normal(signature) and (slot is None or one[1] == slot)]
    for one in gone:
        one[2].disconnect(one[3])
        known.remove(one)
    return bool(gone)


def _get(self: QtCore.QObject, name: str) -> object:
    kind = type(self)
    if kind not in _getters:
        _getters[kind] = next(_getters[base] for base in kind.__mro__ if base in _getters)
    return _getters[kind](self, name)


def _connect(self: QtCore.QObject, *arguments: object) -> object:
    # PySide6 itself calls the four-argument form, inside QTimer.singleShot for one.
    if len(arguments) == 2 and isinstance(arguments[0], str):
        return connect(self, *arguments)
    return _get(self, "connect")(*arguments)


@contextmanager
def no_shortcuts_to_children() -> Iterator[None]:
    """PySide6's loader makes every child of a .ui file an attribute of its root, which Slicer's does not."""
    _loading.append(True)
    try:
        yield
    finally:
        _loading.pop()


def _getattribute(self: QtCore.QObject, name: str) -> object:
    # PySide6 resolves these four in C before it looks at the class.
    if name in _OVERRIDES:
        return functools.partial(_OVERRIDES[name], self)
    return _get(self, name)


def _setattr(self: QtCore.QObject, name: str, value: object) -> None:
    if _loading and isinstance(value, QtCore.QObject) and not name.startswith("_"):
        return
    kind = type(self)
    found = inspect.getattr_static(kind, name, None)
    if isinstance(found, QtCore.Property):
        if found.fset is None:
            raise AttributeError(f"{kind.__name__}.{name} can only be read")
        found.fset(self, value)
        return
    if is_cpp(kind) and not isinstance(value, QtCore.SignalInstance) and not name.startswith("_"):
        if found is None:
            raise AttributeError(f"{kind.__name__} has no attribute {name}")
        if not hasattr(type(found), "__set__"):
            raise AttributeError(f"{kind.__name__}.{name} cannot be assigned to")
    _set(self, name, value)


def _set_on_value(self: object, name: str, value: object) -> None:
    if is_cpp(type(self)):
        raise AttributeError(f"{type(self).__name__} has no attribute {name} that can be assigned to")
    _set(self, name, value)


def _classes() -> tuple[list[type], list[type]]:
    """PySide6's QObject classes, bases before derived ones, and the value classes that a script may meet."""
    kinds = {
        value
        for namespace in _NAMESPACES
        for name in dir(namespace)
        if name.startswith("Q") and isinstance(value := getattr(namespace, name), type)
    }
    objects = sorted((kind for kind in kinds if issubclass(kind, QtCore.QObject)), key=lambda kind: len(kind.__mro__))
    values = [kind for kind in kinds if kind.__name__ in _VALUES]
    return objects, values


_VALUES = (
    "QTableWidgetItem",
    "QListWidgetItem",
    "QTreeWidgetItem",
    "QIcon",
    "QColor",
    "QPixmap",
    "QImage",
    "QSize",
    "QPoint",
    "QRect",
    "QUrl",
    "QBrush",
    "QFont",
    "QSizePolicy",
)


def _show_properties(kind: type) -> None:
    # A class may have a method of its own for a property of its base: every widget that knows its sizeHint has.
    meta = kind.staticMetaObject
    for index in range(meta.propertyCount()):
        found = meta.property(index)
        if index >= meta.propertyOffset() or found.name() in vars(kind):
            setattr(kind, found.name(), Attribute(found.name(), found.isWritable(), getattr(kind, found.name(), None)))


def _signal(sender: QtCore.QObject, signature: str) -> tuple[object, int]:
    """The signal of that signature, and how many arguments it hands on."""
    wanted = _normal(signature)
    table = getattr(type(sender), "SIGNATURES", {})
    if wanted in table:
        return getattr(sender, table[wanted]), _count(wanted)
    listed = _listed(sender)
    if wanted not in listed:
        raise ValueError(f"{sender.metaObject().className()} has no signal {signature}")
    name, full = listed[wanted]
    signal = getattr(sender, name)
    types = full[full.index("(") + 1 : -1]
    return (signal[types] if types else signal), _count(wanted)


def _listed(sender: QtCore.QObject) -> dict[str, tuple[str, str]]:
    """Every signature that can be connected to: its signal, and the fullest signature of that.

    PySide6 knows a signal with default arguments by its fullest signature: "clicked()" is clicked(bool) with less
    handed on. Qt's meta-object lists such short forms right after the full one.
    """
    meta = sender.metaObject()
    listed, full = {}, ""
    for method in (meta.method(index) for index in range(meta.methodCount())):
        if method.methodType() == QtCore.QMetaMethod.Signal:
            signature = method.methodSignature().data().decode()
            full = full if full.startswith(signature.rstrip(")")) else signature
            listed[signature] = (method.name().data().decode(), full)
    return listed


def _normal(signature: str) -> str:
    return QtCore.QMetaObject.normalizedSignature(signature).data().decode()


def _count(signature: str) -> int:
    inside = signature[signature.index("(") + 1 : -1]
    return inside.count(",") + 1 if inside else 0


def _arguments(slot: Callable) -> int | None:
    """How many arguments the slot can take; None if as many as there are."""
    try:
        parameters = inspect.signature(slot).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return None
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def _children(self: QtCore.QObject, kind: type | str = QtCore.QObject, name: str | None = None) -> list:
    """PythonQt's findChildren takes a class or the name of one."""
    if not isinstance(kind, str):
        return _find_children(self, kind) if name is None else _find_children(self, kind, name)
    found = [child for child in _find_children(self, QtCore.QObject) if child.inherits(kind)]
    return [child for child in found if name is None or child.objectName == name]


def _child(self: QtCore.QObject, kind: type | str = QtCore.QObject, name: str | None = None) -> QtCore.QObject | None:
    found = _children(self, kind, name)
    return found[0] if found else None


_OVERRIDES = {"connect": _connect, "disconnect": disconnect, "findChildren": _children, "findChild": _child}
