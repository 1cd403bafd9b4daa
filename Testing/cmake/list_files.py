"""The files of the module as FlarePanCancer/CMakeLists.txt must name them.

python Testing/cmake/list_files.py           prints the two lists
python Testing/cmake/list_files.py --write   puts them into FlarePanCancer/CMakeLists.txt
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

MODULE = Path(__file__).resolve().parents[2] / "FlarePanCancer"
LISTS = ("MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES")


def files() -> list[str]:
    """Everything that belongs to the module, relative to its folder."""
    found = (path for path in MODULE.rglob("*") if path.is_file())
    names = (path.relative_to(MODULE).as_posix() for path in found)
    return sorted(name for name in names if "__pycache__" not in name and name != "CMakeLists.txt")


def blocks() -> dict[str, str]:
    """The text of both lists."""
    scripts = [name for name in files() if name.endswith(".py")]
    resources = [name for name in files() if not name.endswith(".py")]
    return {
        key: "\n".join([f"set({key}", *(f"  {name}" for name in names), "  )"])
        for key, names in zip(LISTS, (scripts, resources), strict=True)
    }


def main() -> None:
    if sys.argv[1:] != ["--write"]:
        print("\n\n".join(blocks().values()))
        return
    path = MODULE / "CMakeLists.txt"
    text = path.read_text(encoding="utf-8")
    for key, block in blocks().items():
        text = re.sub(rf"set\({key}\n(  \S+\n)*  \)", block, text, count=1)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
