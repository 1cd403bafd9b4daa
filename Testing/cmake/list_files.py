"""The files of the module as FlarePanCancer/CMakeLists.txt must name them.

python Testing/cmake/list_files.py           prints the two lists
python Testing/cmake/list_files.py --write   puts them into FlarePanCancer/CMakeLists.txt
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

MODULE = Path(__file__).resolve().parents[2] / "FlarePanCancer"
CMAKE_FILE = MODULE / "CMakeLists.txt"
LISTS = ("MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES")


def files() -> list[str]:
    """Everything that belongs to the module, relative to its folder."""
    found = (path.relative_to(MODULE) for path in MODULE.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found if _belongs(path))


def _belongs(path: Path) -> bool:
    """Not what Python, an editor or a file manager left behind, and not the list itself."""
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and "__pycache__" not in path.parts and path.name != "CMakeLists.txt"


def expected() -> dict[str, list[str]]:
    """What each list should name: every Python file is a script, everything else a resource."""
    scripts = [name for name in files() if name.endswith(".py")]
    resources = [name for name in files() if not name.endswith(".py")]
    return dict(zip(LISTS, (scripts, resources), strict=True))


def named() -> dict[str, list[str]]:
    """What each list names."""
    text = CMAKE_FILE.read_text(encoding="utf-8")
    return {key: _find(key, text).group(1).split() for key in LISTS}


def block(key: str, names: list[str]) -> str:
    """One list in CMake's words."""
    return "\n".join([f"set({key}", *(f"  {name}" for name in names), "  )"])


def write() -> None:
    """Replaces both lists in CMakeLists.txt and leaves the rest of it alone."""
    text = CMAKE_FILE.read_text(encoding="utf-8")
    for key, names in expected().items():
        old = _find(key, text)
        text = text[: old.start()] + block(key, names) + text[old.end() :]
    CMAKE_FILE.write_text(text, encoding="utf-8", newline="\n")


def _find(key: str, text: str) -> re.Match[str]:
    found = re.search(rf"set\({key}\b([^)]*)\)", text)
    if found is None:
        raise SystemExit(f"{CMAKE_FILE} has no set({key} …)")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="The files of the module as its CMakeLists.txt must name them.")
    parser.add_argument("--write", action="store_true", help="put them into FlarePanCancer/CMakeLists.txt")
    if parser.parse_args().write:
        write()
    else:
        print("\n\n".join(block(key, names) for key, names in expected().items()))


if __name__ == "__main__":
    main()
