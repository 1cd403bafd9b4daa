"""The packages of a Slicer as it comes, what installs into it, and a user who is asked."""

import re
from pathlib import Path

from FlarePanCancerLib import dependencies, installer
from FlarePanCancerLib.dependencies import Requirement

ALPHA = Requirement("flare-alpha", "flare_alpha", "1.5", 2, "the first", below="2")
BETA = Requirement("flare-beta", "flare_beta", "0.4", 1, "the second")
EXTRA = Requirement("flare-extra", "flare_extra", "1", 60, "speed", optional=True)
TORCH = dependencies.requirements()[0]
SLICERS_VERSIONS = {"numpy": "2.0.2", "SimpleITK": "2.5.0", "scipy": "1.14.1"}


def put(site: Path, distribution: str, version: str, *, module: str | None = None, whole: bool = True) -> None:
    """Install a package as pip leaves it: its code, and the record of its name and version."""
    name = distribution.replace("-", "_")
    for old in site.glob(f"{name}-*.dist-info"):
        (old / "METADATA").unlink()
        old.rmdir()
    record = site / f"{name}-{version}.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    code = site / (module or name)
    code.mkdir(exist_ok=True)
    if whole:
        (code / "__init__.py").touch()


class Slicer:
    """Stands in for Slicer's installers: notes what they were asked, and does it in the site folder."""

    def __init__(self, site: Path) -> None:
        self.site = site
        self.calls: list[tuple] = []
        self.offers = {"torch": "2.9.0+cpu", "flare-alpha": "1.6.1", "flare-beta": "0.8.0", "flare-extra": "2025.1"}
        self.prints: list[str] = []
        self.fails: dict[str, Exception] = {}
        self.replaces: dict[str, str] = {}

    def pip_ensure(self, requirements, **options):
        self.calls.append(("pip_ensure", requirements, options))
        self._do(requirements[0])

    def pip_install(self, requirements, **options):
        self.calls.append(("pip_install", requirements, options))
        self._do(requirements[-1])

    def install_torch(self, askConfirmation=False, forceComputationBackend=None, torchVersionRequirement=None):
        self.calls.append(("installTorch", askConfirmation, torchVersionRequirement))
        self._do("torch")

    def _do(self, requirement: str) -> None:
        name = re.match(r"[\w-]+", requirement).group()
        for line in self.prints:
            print(line)
        for package, version in self.replaces.items():
            put(self.site, package, version)
        if name in self.fails:
            raise self.fails[name]
        if name in self.offers:
            put(self.site, name, self.offers[name])


class User:
    """Answers, listens, and may lose patience."""

    def __init__(self, *, agrees: bool = True, patience: int = 99) -> None:
        self.agrees, self.patience = agrees, patience
        self.asked: list[str] = []
        self.heard: list[str] = []

    def install(self, *absent: Requirement) -> bool:
        return installer.install(absent, confirm=self._confirm, progress=self.heard.append, cancelled=self._cancelled)

    def _confirm(self, text: str) -> bool:
        self.asked.append(text)
        return self.agrees

    def _cancelled(self) -> bool:
        self.patience -= 1
        return self.patience < 0
