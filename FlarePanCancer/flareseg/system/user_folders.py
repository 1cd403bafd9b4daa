"""The user's own folders: models that were imported, and what can be made again. Nothing is created by asking."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from flareseg.errors import FlareError

NAME = "flareseg"


class NoHome(FlareError):
    """The account has no home folder, and no variable names another place."""


def user_data_folder() -> Path:
    """Where imported models live; the environment variable FLARESEG_DATA moves it.

    Raises:
        NoHome: when there is no such place. (A folder that anybody may write, such as the temporary one, is none: a
            model planted there would be used.)
    """
    return _folder("FLARESEG_DATA", "XDG_DATA_HOME", ".local/share", "Application Support", "data")


def user_cache_folder() -> Path:
    """Where downloads are kept; the environment variable FLARESEG_CACHE moves it.

    Raises:
        NoHome: when there is no such place.
    """
    return _folder("FLARESEG_CACHE", "XDG_CACHE_HOME", ".cache", "Caches", "cache")


def _folder(own_variable: str, xdg_variable: str, linux: str, mac: str, windows: str) -> Path:
    if chosen := os.environ.get(own_variable):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or _home(own_variable) / "AppData" / "Local") / NAME / windows
    if sys.platform == "darwin":
        return _home(own_variable) / "Library" / mac / NAME
    return Path(os.environ.get(xdg_variable) or _home(own_variable) / linux) / NAME


def name_user() -> None:
    """Give an account that the system has no name for one of its own, for this process. MONAI, which asks for it as it
    is imported, stops otherwise."""
    if any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")) or sys.platform == "win32":
        return
    import pwd

    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ["USER"] = f"{os.getuid()}"


def _home(variable: str) -> Path:
    try:
        return Path.home()
    except (RuntimeError, KeyError):  # neither the environment nor the system's list of users names one
        raise NoHome(
            f"This account has no home folder; set the environment variable {variable} to a folder of your own."
        ) from None
