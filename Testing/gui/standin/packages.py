"""slicer.packaging: what is there is looked up for real; installing is left to what the test puts in its place."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable

import slicer
from packaging.requirements import Requirement

# A test sets this: called with the requirements and pip's options, it stands for pip and returns its exit status.
installer: Callable[..., int] | None = None

NAMES = ["isPipInstallInProgress", "pip_check", "pip_ensure", "pip_install", "pip_uninstall"]


def pip_check(requirements: str | Requirement | list) -> bool:
    """Whether all of them are installed in a version that will do."""
    return all(_is_there(one) for one in _listed(requirements))


def pip_ensure(
    requirements: str | Requirement | list,
    constraints: object = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list[str] | None:
    """Installs what is missing, once the user has agreed."""
    missing = [one for one in _listed(requirements) if not _is_there(one)]
    if not missing or (skip_in_testing and slicer.app.testingEnabled()):
        return None
    names = "\n".join(map(str, missing))
    if prompt_install and not slicer.util.confirmOkCancelDisplay(f"{requester} wants to install:\n{names}"):
        raise RuntimeError("the installation was declined")
    return pip_install(
        [str(one) for one in missing],
        constraints,
        None,
        skip_packages,
        show_progress=show_progress,
        requester=requester,
    )


def pip_install(
    requirements: str | list[str],
    constraints: object = None,
    no_deps_requirements: str | list[str] | None = None,
    skip_packages: list[str] | None = None,
    blocking: bool = True,
    show_progress: bool = True,
    requester: str | None = None,
    logCallback: Callable[[str], None] | None = None,
    completedCallback: Callable[[int], None] | None = None,
) -> list[str] | None:
    """Asks the test's installer; without one, an installation in a test is an error."""
    if installer is None:
        raise RuntimeError(f"nothing installs {requirements} in this test")
    if skip_packages is not None and not blocking:
        raise ValueError("skip_packages wants blocking=True")
    status = installer(
        requirements,
        constraints=constraints,
        no_deps_requirements=no_deps_requirements,
        skip_packages=skip_packages,
        requester=requester,
        log=logCallback or (lambda line: None),
    )
    if not blocking:
        from PySide6 import QtCore

        QtCore.QTimer.singleShot(0, lambda: completedCallback(status) if completedCallback else None)
        return None
    if status:
        from subprocess import CalledProcessError

        raise CalledProcessError(status, ["pip", "install", str(requirements)])
    return [] if skip_packages is not None else None


def pip_uninstall(requirements: str | list[str], blocking: bool = True, **_: object) -> None:
    raise RuntimeError(f"nothing uninstalls {requirements} in a test")


def isPipInstallInProgress() -> bool:
    return False


def _listed(requirements: str | Requirement | list) -> list[Requirement]:
    if isinstance(requirements, str):
        requirements = requirements.split() if ";" not in requirements else [requirements]
    if isinstance(requirements, Requirement):
        requirements = [requirements]
    return [one if isinstance(one, Requirement) else Requirement(one) for one in requirements]


def _is_there(requirement: Requirement) -> bool:
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return requirement.specifier.contains(version, prereleases=True)
