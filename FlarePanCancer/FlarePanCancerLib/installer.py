"""Installs what the engine needs into Slicer's Python, after one question, without replacing anything of Slicer."""

from __future__ import annotations

import importlib
import platform
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from FlarePanCancerLib.dependencies import (
    DependencyError,
    Requirement,
    describe,
    in_words,
    installed_version,
    manual_commands,
    missing,
    python_slicer,
)
from FlarePanCancerLib.translation import tr as _

SLICERS_OWN = ("numpy", "SimpleITK", "scipy")
SKIPPED = ["torch", "SimpleITK", "numpy"]
"""What pip must not fetch as a dependency of something else."""
OFFLINE = (
    "name resolution",
    "getaddrinfo",
    "newconnectionerror",
    "connecttimeout",
    "connection refused",
    "network is unreachable",
    "max retries exceeded",
    "proxyerror",
    "sslerror",
    "read timed out",
    "connection broken",
    "from versions: none",
)
NOT_WRITABLE = ("permission denied", "access is denied", "winerror 5", "errno 13", "read-only file system")
DISK_FULL = ("no space left", "errno 28", "not enough space")


def install(
    absent: tuple[Requirement, ...],
    *,
    confirm: Callable[[str], bool],
    progress: Callable[[str], None],
    cancelled: Callable[[], bool],
) -> bool:
    """Install `absent`, as `missing()` gives it. Call it on Slicer's main thread.

    torch comes through the PyTorch extension, which knows the build for the graphics card; the others come through
    Slicer's own installer, or pip alone where Slicer has none yet.

    Args:
        absent: what to install, in this order.
        confirm: is asked once, with the sizes, before anything changes.
        progress: hears a line about each package and every line of pip's.
        cancelled: is asked before each package. One that pip has begun is finished: half a package is worse.

    Returns:
        True when everything is there, False when the user did not want it, or not all of it.

    Raises:
        DependencyError: when a package that the engine cannot do without could not be had, or one of Slicer's own was
            replaced; it tells what is installed and what is not.
    """
    if not absent:
        return True
    logic = _pytorch_logic(absent)
    if not confirm(describe(absent)):
        return False
    for number, requirement in enumerate(absent, 1):
        if cancelled():
            progress(_("Cancelled. {state}").format(state=_state(absent)))
            return False
        size = in_words(requirement.size_mb)
        words = _("Installing {package} ({number} of {count}, {size}) …")
        package = ", ".join((requirement.distribution, *requirement.brings))
        progress(words.format(package=package, number=number, count=len(absent), size=size))
        try:
            _install_one(requirement, logic, progress)
        except DependencyError as error:
            message = f"{error} {_state(absent)}"
            if isinstance(error, _Replaced) or not requirement.optional:
                lacking = missing(absent)
                raise DependencyError(message, manual_commands(lacking) if lacking else "") from error
            progress(_("{reason} FlarePanCancer works without it, more slowly.").format(reason=error))
    progress(_state(absent))
    return True


class _Replaced(DependencyError):
    """pip has changed a package of Slicer's own."""


def _pytorch_logic(absent: tuple[Requirement, ...]) -> Any:
    """The PyTorch extension's logic when torch is wanted; refuses early where torch cannot be had."""
    torch = next((requirement for requirement in absent if requirement.distribution == "torch"), None)
    if torch is None:
        return None
    if sys.platform == "darwin" and platform.machine() != "arm64":
        # torch 2.2 was the last for Intel Macs, and it does not work with the numpy of a Slicer of today
        words = _(
            "This Slicer is built for Intel Macs, for which there is no PyTorch {version}; "
            "segment with `flareseg segment` in a Python of your own (see README), and load its .seg.nrrd in Slicer."
        )
        raise DependencyError(words.format(version=torch.at_least))
    try:
        from PyTorchUtils import PyTorchUtilsLogic
    except ImportError as error:
        raise DependencyError(
            _(
                "PyTorch comes through the extension 'PyTorch', which is not installed: "
                "install it from the Extensions Manager, restart Slicer, and try again."
            ),
            manual_commands(absent),
        ) from error
    return PyTorchUtilsLogic()


def _install_one(requirement: Requirement, logic: Any, progress: Callable[[str], None]) -> None:
    name = requirement.distribution
    guarded = SLICERS_OWN if name == "torch" else (*SLICERS_OWN, "torch")
    before = {package: installed_version(package) for package in guarded}
    loaded = requirement.module in sys.modules
    failure: Exception | None = None
    with _printed_lines(progress) as lines:
        try:
            if name == "torch":
                logic.installTorch(askConfirmation=False, torchVersionRequirement=requirement.specifier)
            else:
                _pip(requirement)
        except Exception as error:  # the PyTorch extension and Slicer raise whatever pip ended with
            failure = error
    importlib.invalidate_caches()
    _check_slicers_own(name, before)
    if failure or not requirement.is_met():
        raise DependencyError(_why(requirement, lines, failure, loaded)) from failure
    if loaded:
        words = _("{name} was in use in its old version: restart Slicer before another module needs it.")
        progress(words.format(name=name))


def _pip(requirement: Requirement) -> None:
    """Through Slicer's installer, which leaves `SKIPPED` alone; before Slicer 5.12, pip without any dependency."""
    try:
        from slicer.packaging import pip_ensure
    except ImportError:
        from slicer.util import pip_install

        pip_install(["--no-deps", requirement.text])
    else:
        pip_ensure(
            [requirement.text],
            skip_packages=list(SKIPPED),
            prompt_install=False,
            prompt_restart=False,
            requester="FlarePanCancer",
        )


def _check_slicers_own(name: str, before: dict[str, str | None]) -> None:
    changes = {
        package: (old, new) for package, old in before.items() if old and (new := installed_version(package)) != old
    }
    if not changes:
        return
    by, nothing = _("{package} {old} by {new}"), _("nothing")
    replaced = ", ".join(by.format(package=one, old=old, new=new or nothing) for one, (old, new) in changes.items())
    advice = []
    if "torch" in changes:
        advice.append(_("install PyTorch again in Slicer's module PyTorch Utils"))
    if back := " ".join(f"{one}=={pair[0]}" for one, pair in changes.items() if one in ("numpy", "scipy")):
        advice.append(_("run `{command}`").format(command=f"{python_slicer()} -m pip install --no-deps {back}"))
    if "SimpleITK" in changes:
        # Slicer builds its own, which no index has
        advice = [_("install Slicer anew")]
    words = _(
        "WARNING: installing {name} has replaced {replaced}. Slicer may not work any more: "
        "{advice}, and restart Slicer."
    )
    raise _Replaced(words.format(name=name, replaced=replaced, advice=", ".join(advice)))


def _why(requirement: Requirement, lines: deque[str], failure: Exception | None, loaded: bool) -> str:
    name = requirement.distribution
    heard = "\n".join([*lines, str(failure or "")]).lower()
    if failure is None:
        command = f'{python_slicer()} -m pip install --no-deps --force-reinstall "{requirement.text}"'
        words = _(
            "{name} is still not usable although its installation ended without an error; run "
            "`{command}` and restart Slicer."
        )
        return words.format(name=name, command=command)
    errors = [line for line in lines if line.startswith("ERROR:")]
    reason = errors[0] if errors else str(failure) or (lines[-1] if lines else _("no reason given"))
    reason = " ".join(reason.split())[:200]
    if requirement.is_met():
        words = _("{name} was installed but does not work yet ({reason}): restart Slicer and try again.")
        return words.format(name=name, reason=reason)
    if any(sign in heard for sign in DISK_FULL):
        words = _("{name} could not be installed because the disk is full: free {size}.")
        return words.format(name=name, size=in_words(3 * requirement.size_mb))
    if any(sign in heard for sign in NOT_WRITABLE):
        if loaded:
            words = _("{name} could not be replaced because it is in use: restart Slicer and do this first.")
        else:
            words = _(
                "{name} could not be installed: Slicer's folder cannot be written; install Slicer where you may write."
            )
        return words.format(name=name)
    if any(sign in heard for sign in OFFLINE):
        words = _(
            "{name} could not be downloaded: no package index that has it was reached. "
            "Check the network and the proxy, or use the commands under Details."
        )
        return words.format(name=name)
    words = _("{name} could not be installed ({reason}); the commands under Details do it by hand.")
    return words.format(name=name, reason=reason)


def _state(absent: tuple[Requirement, ...]) -> str:
    lacking = missing(absent)
    done = ", ".join(requirement.distribution for requirement in absent if requirement not in lacking)
    if not lacking:
        return _("Installed: {packages}.").format(packages=done)
    left = ", ".join(requirement.distribution for requirement in lacking)
    words = _("Installed: {packages}. Still missing: {missing}; trying again goes on from here.")
    return words.format(packages=done or _("nothing"), missing=left)


@contextmanager
def _printed_lines(heard: Callable[[str], None]) -> Iterator[deque[str]]:
    """Capture what is printed inside, line by line, because Slicer only prints pip's output."""
    lines: deque[str] = deque(maxlen=400)
    original = sys.stdout
    sys.stdout = _Tee(original, heard, lines)
    try:
        yield lines
    finally:
        sys.stdout = original


class _Tee:
    """A standard output that also gives whole lines to a listener; everything else is the original's."""

    def __init__(self, original: Any, heard: Callable[[str], None], lines: deque[str]) -> None:
        self._original, self._heard, self._lines = original, heard, lines
        self._rest = ""
        self._telling = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def write(self, text: str) -> int:
        self._original.write(text)
        if self._telling:  # the listener itself prints
            return len(text)
        *whole, self._rest = (self._rest + text).split("\n")
        self._telling = True
        try:
            for line in filter(None, map(str.rstrip, whole)):
                self._lines.append(line)
                self._heard(line)
        finally:
            self._telling = False
        return len(text)
