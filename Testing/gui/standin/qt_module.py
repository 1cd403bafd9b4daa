"""The module `qt` of Slicer's Python: the Qt classes under one roof."""

from __future__ import annotations

import types

from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets

from standin.ui_loader import UiLoader

_NAMESPACES = (QtCore, QtGui, QtWidgets, QtNetwork)
_OWN = {"QUiLoader": UiLoader, "Qt": QtCore.Qt}


class _Qt(types.ModuleType):
    def __getattr__(self, name: str) -> object:
        if name in _OWN:
            return _OWN[name]
        # PySide6's own helpers, Signal or Slot, are not in Slicer's qt: only Qt's classes are.
        if name.startswith("Q") and not hasattr(QtUiTools, name):
            for namespace in _NAMESPACES:
                if hasattr(namespace, name):
                    return getattr(namespace, name)
        raise AttributeError(f"module 'qt' has no attribute {name!r}")


def build() -> types.ModuleType:
    return _Qt("qt", __doc__)
