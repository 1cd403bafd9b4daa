"""Which packages the engine needs that Slicer does not bring: the one list, what is missing of it, and how to get it.

Nothing here imports any of them, so that asking takes milliseconds.
"""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from FlarePanCancerLib.translation import tr as _

GPU_TORCH_MB = 2900
WITH_TORCH = ("torchvision", "light-the-torch")
WHEELS = "flareseg-wheels"
"""The folder that carries packages to a computer without network."""


class DependencyError(Exception):
    """A package could not be had: one line for the user, and in `details` what can be done by hand."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


@dataclass(frozen=True)
class Requirement:
    """One package.

    Attributes:
        distribution: its name in the Python package index.
        module: the name it is imported by.
        at_least: the oldest version that will do.
        below: the first version that will not; "" when there is none.
        size_mb: what is downloaded, rounded up.
        purpose: what it is for, in a few words.
        optional: the engine also works without it.
        brings: what comes with it besides.
    """

    distribution: str
    module: str
    at_least: str
    size_mb: int
    purpose: str
    below: str = ""
    optional: bool = False
    brings: tuple[str, ...] = ()

    @property
    def specifier(self) -> str:
        return f">={self.at_least},<{self.below}" if self.below else f">={self.at_least}"

    @property
    def text(self) -> str:
        """As pip takes it."""
        return self.distribution + self.specifier

    def is_met(self) -> bool:
        """Whether it is installed, whole, in a version that will do."""
        try:
            spec = importlib.util.find_spec(self.module)
        except (ImportError, ValueError):
            spec = None
        # a folder that an unfinished removal left behind is found too, but has no origin
        if spec is None or spec.origin is None:
            return False
        release = _release(installed_version(self.distribution) or "")
        return release >= _release(self.at_least) and (not self.below or release < _release(self.below))


def requirements() -> tuple[Requirement, ...]:
    """Everything, in the order of installation, for this kind of computer; versions as in pyproject.toml."""
    always = (
        # the PyTorch extension installs torch with its own tool, and never without torchvision
        Requirement("torch", "torch", "2.4", _torch_mb(), _("PyTorch, runs the networks"), brings=WITH_TORCH),
        Requirement("monai", "monai", "1.5", 2, _("the networks"), below="2"),
        Requirement("connected-components-3d", "cc3d", "3.12", 5, _("tells separate objects apart")),
        Requirement("safetensors", "safetensors", "0.4", 1, _("reads the models")),
        Requirement("tqdm", "tqdm", "4.66", 1, _("progress on the command line")),
    )
    if platform.machine().lower() in ("x86_64", "amd64") and sys.platform != "darwin":
        sizes = (85, 42) if sys.platform == "win32" else (60, 60)
        twice, large = _("twice as fast without a graphics card"), _("large models twice as fast on older processors")
        return (
            *always,
            Requirement("openvino", "openvino", "2025.0", sizes[0], twice, optional=True),
            Requirement("llvmlite", "llvmlite", "0.44", sizes[1], large, optional=True),
        )
    return always


def missing(wanted: Iterable[Requirement] | None = None) -> tuple[Requirement, ...]:
    """What of `wanted`, or of everything, is not installed or too old; imports nothing."""
    wanted = requirements() if wanted is None else wanted
    return tuple(requirement for requirement in wanted if not requirement.is_met())


def blocking(absent: Iterable[Requirement]) -> tuple[Requirement, ...]:
    """What of `absent` the engine cannot work without."""
    return tuple(requirement for requirement in absent if not requirement.optional)


def describe(absent: Iterable[Requirement]) -> str:
    """A paragraph that asks whether `absent` may be installed: what, what for, how much."""
    absent = tuple(absent)
    total = in_words(sum(requirement.size_mb for requirement in absent))
    count = sum(1 + len(requirement.brings) for requirement in absent)
    what = _("one Python package") if count == 1 else _("{count} Python packages").format(count=count)
    words = _(
        "FlarePanCancer needs {what} that Slicer does not bring: {parts}. "
        "About {total} will be downloaded, once. None of Slicer's own packages is replaced. Install now?"
    )
    return words.format(what=what, parts="; ".join(map(_described, absent)), total=total)


def _described(requirement: Requirement) -> str:
    about = [requirement.purpose]
    if requirement.optional:
        about.append(_("optional"))
    if requirement.brings:
        about.append(_("with {packages}").format(packages=_(" and ").join(requirement.brings)))
    about.append(in_words(requirement.size_mb))
    return f"{requirement.distribution} ({', '.join(about)})"


def manual_commands(absent: Iterable[Requirement]) -> str:
    """The commands that install `absent` by hand, for a computer without network too.

    torch comes with what it depends on, which is nothing of Slicer's; everything else comes alone (--no-deps), so that
    pip cannot replace Slicer's numpy and SimpleITK, nor a torch made for this graphics card.
    """
    absent = tuple(absent)
    torch = [requirement for requirement in absent if requirement.distribution == "torch"]
    others = " ".join(f'"{requirement.text}"' for requirement in absent if requirement.distribution != "torch")
    download, install = [], []
    if torch:
        download.append(f'{python_slicer()} -m pip download --dest {WHEELS} "{torch[0].text}"')
        install.append(f'{python_slicer()} -m pip install --no-index --find-links {WHEELS} "{torch[0].text}"')
    if others:
        download.append(f"{python_slicer()} -m pip download --no-deps --dest {WHEELS} {others}")
        install.append(f"{python_slicer()} -m pip install --no-deps --no-index --find-links {WHEELS} {others}")
    lines = [
        _("1. In a terminal of a computer that is online, with the same Slicer and operating system:"),
        *(f"   {line}" for line in download),
    ]
    if torch and sys.platform != "darwin":
        lines += [
            _("   (torch for a certain graphics card, or a small one without: add the --index-url that"),
            _("   https://pytorch.org/get-started/locally names for it to the first line)"),
        ]
    lines += [
        _("2. Copy the folder {folder} to this computer. In a terminal, in the folder that holds it:").format(
            folder=WHEELS
        ),
        *(f"   {line}" for line in install),
        _("3. Restart Slicer."),
        _("(Behind a proxy instead: set the environment variable HTTPS_PROXY, start Slicer, and install as usual.)"),
    ]
    return "\n".join(lines)


def find_python_slicer() -> str | None:
    """Slicer's Python, with Slicer's environment; None where there is no Slicer."""
    beside = Path(sys.executable).with_name("PythonSlicer.exe" if sys.platform == "win32" else "PythonSlicer")
    return shutil.which("PythonSlicer") or (str(beside) if beside.is_file() else None)


def python_slicer() -> str:
    """Slicer's Python as typed in a terminal; quoted where its path has a space."""
    path = find_python_slicer() or "PythonSlicer"
    return f'"{path}"' if " " in path else path


def installed_version(distribution: str) -> str | None:
    """Of a package; None when there is none, or its record is damaged."""
    # not at the top, because it takes longer to load than this whole module
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except (PackageNotFoundError, FileNotFoundError, KeyError):  # which of them depends on Python's version
        return None


def in_words(megabytes: int) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes} MB"


def _release(version: str) -> tuple[int, ...]:
    """The numbers of a version; what follows them (rc1, .dev2, +cpu) makes no difference here."""
    found = re.match(r"\d+(\.\d+)*", version or "")
    numbers = [int(number) for number in found.group().split(".")] if found else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _torch_mb() -> int:
    if sys.platform == "darwin":
        return 100
    # The PyTorch extension chooses the build by the driver, of which this tool is a part.
    return GPU_TORCH_MB if shutil.which("nvidia-smi") else 250
