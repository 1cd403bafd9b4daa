"""The user's own folders: models that were imported, and what can be made again. Nothing is created by asking."""

from __future__ import annotations

import os
import sys
from pathlib import Path

NAME = "flareseg"


def user_data_folder() -> Path:
    """Where imported models live; the environment variable FLARESEG_DATA moves it."""
    return _folder("FLARESEG_DATA", "XDG_DATA_HOME", ".local/share", "Application Support", "data")


def user_cache_folder() -> Path:
    """Where downloads are kept; the environment variable FLARESEG_CACHE moves it."""
    return _folder("FLARESEG_CACHE", "XDG_CACHE_HOME", ".cache", "Caches", "cache")


def _folder(own_variable: str, xdg_variable: str, linux: str, mac: str, windows: str) -> Path:
    if chosen := os.environ.get(own_variable):
        return Path(chosen)
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / NAME / windows
    if sys.platform == "darwin":
        return home / "Library" / mac / NAME
    return Path(os.environ.get(xdg_variable) or home / linux) / NAME
