"""Libraries that look up a host, or leave files in the user's home, as they are imported: imported so that they do not.

Nothing of the user's settings is changed, and nothing is written where they lie.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flareseg.errors import OutputError
from flareseg.system.temporary import folder_of_process

_TELEMETRY = "openvino_telemetry"
_INDUCTOR_CACHE = "TORCHINDUCTOR_CACHE_DIR"
_lock = threading.RLock()
_nothing = object()


def import_openvino() -> Any:
    """The module `openvino`, without its telemetry: the one way in which it is imported here.

    As it is imported it would send the import as an event to an analytics host, and keep an identifier in the home
    folder, unless the user has refused. It does without where the package of its telemetry is not installed; and so
    that package is out of reach while it is imported, whatever the user's settings are.

    Raises:
        ImportError: when it is not installed, or does not run here.
    """
    with without_telemetry():
        return importlib.import_module("openvino")


@contextmanager
def without_telemetry() -> Iterator[None]:
    """What is imported in the block finds no package of OpenVINO's telemetry; afterwards it is there as before."""
    with _lock:
        before = sys.modules.get(_TELEMETRY, _nothing)
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # Python's way to say that there is none
        try:
            yield
        finally:
            if before is _nothing:
                sys.modules.pop(_TELEMETRY, None)
            else:
                sys.modules[_TELEMETRY] = before  # type: ignore[assignment]


def import_matplotlib() -> None:
    """Import matplotlib, if it is installed, without a trace in a home where it has none yet.

    It keeps a list of fonts and a folder for settings in the home; and fontconfig, which it asks for the fonts, a cache
    of its own. Here both are kept for the life of this process only, unless matplotlib has folders already, or the
    user has chosen one by MPLCONFIGDIR. MONAI and Lightning import matplotlib too, so this comes first.
    """
    with _lock:
        if "matplotlib" in sys.modules or find_spec("matplotlib") is None:
            return
        if os.environ.get("MPLCONFIGDIR") or any(folder.is_dir() for folder in _folders_of_matplotlib()):
            return
        try:
            folder = str(folder_of_process())
        except OutputError:  # matplotlib finds its own way then
            return
        with suppress(ImportError), _variables({"MPLCONFIGDIR": folder, "XDG_CACHE_HOME": folder}):
            matplotlib = importlib.import_module("matplotlib")
            # Asked now, it remembers its folders; and the fonts are looked for now.
            matplotlib.get_configdir()
            matplotlib.get_cachedir()
            importlib.import_module("matplotlib.font_manager")


def import_monai() -> None:
    """Import MONAI's network, without a trace in the home, and without the environment variables that MONAI sets."""
    import_matplotlib()
    with _lock:
        before = dict(os.environ)
        try:
            importlib.import_module("monai.networks.nets.dynunet")
        finally:
            for name in before.keys() | os.environ.keys():
                _set_variable(name, before.get(name))


def import_for_training() -> None:
    """To be called before Lightning is imported, by the training's own command.

    Lightning's import makes torch's compiler create a cache folder among the temporary files, where it would stay.
    """
    import_matplotlib()
    with suppress(OutputError):
        _put_inductor_aside()


def _put_inductor_aside() -> None:
    if not os.environ.get(_INDUCTOR_CACHE):
        os.environ[_INDUCTOR_CACHE] = str(folder_of_process() / "torch")


def _folders_of_matplotlib() -> Iterator[Path]:
    """Where matplotlib keeps what it keeps, by its own rules for each system."""
    with suppress(RuntimeError):  # an account without a home
        home = Path.home()
        if sys.platform in ("win32", "darwin"):
            yield home / ".matplotlib"
        else:
            for variable, usual in (("XDG_CONFIG_HOME", ".config"), ("XDG_CACHE_HOME", ".cache")):
                yield Path(os.environ.get(variable) or home / usual) / "matplotlib"
    if local := os.environ.get("LOCALAPPDATA"):
        yield Path(local) / "matplotlib"


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables that are as they were when the block has ended."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            _set_variable(name, value)


def _set_variable(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    elif os.environ.get(name) != value:
        os.environ[name] = value
