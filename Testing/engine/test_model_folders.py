"""The user's folders follow flareseg's own variables first, then the custom of the system."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flareseg.system.user_folders import user_cache_folder, user_data_folder

Folder = Callable[[], Path]
BOTH = pytest.mark.parametrize(
    ("folder", "own", "xdg"),
    [(user_data_folder, "FLARESEG_DATA", "XDG_DATA_HOME"), (user_cache_folder, "FLARESEG_CACHE", "XDG_CACHE_HOME")],
    ids=["data", "cache"],
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and none of the variables set."""
    for name in ("FLARESEG_DATA", "FLARESEG_CACHE", "XDG_DATA_HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    return tmp_path


@BOTH
@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_the_own_variable_wins_on_every_system(
    home: Path, monkeypatch: pytest.MonkeyPatch, system: str, folder: Folder, own: str, xdg: str
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setenv(own, str(home / "chosen"))
    monkeypatch.setenv(xdg, str(home / "xdg"))
    monkeypatch.setenv("LOCALAPPDATA", str(home / "local"))
    assert folder() == home / "chosen"


@BOTH
def test_linux_follows_xdg_and_an_empty_variable_counts_as_unset(
    home: Path, monkeypatch: pytest.MonkeyPatch, folder: Folder, own: str, xdg: str
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv(xdg, str(home / "xdg"))
    assert folder() == home / "xdg" / "flareseg"
    monkeypatch.setenv(xdg, "")
    monkeypatch.setenv(own, "")
    expected = {"FLARESEG_DATA": ".local/share/flareseg", "FLARESEG_CACHE": ".cache/flareseg"}
    assert folder() == home / expected[own]


def test_macos_and_windows_have_their_own_places(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert user_data_folder() == home / "Library" / "Application Support" / "flareseg"
    assert user_cache_folder() == home / "Library" / "Caches" / "flareseg"
    monkeypatch.setattr(sys, "platform", "win32")
    assert user_data_folder() == home / "AppData" / "Local" / "flareseg" / "data"
    monkeypatch.setenv("LOCALAPPDATA", str(home / "local"))
    assert user_data_folder() == home / "local" / "flareseg" / "data"
    assert user_cache_folder() == home / "local" / "flareseg" / "cache"


def test_asking_creates_nothing(home: Path) -> None:
    user_data_folder()
    user_cache_folder()
    assert list(home.iterdir()) == []
