"""Imports go one way, as docs/architecture.md says: nothing imports what stands above it, and there are no circles."""

import ast
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "flareseg": ROOT / "FlarePanCancer" / "flareseg",
    "FlarePanCancerLib": ROOT / "FlarePanCancer" / "FlarePanCancerLib",
    "train": ROOT / "train",
}
ENTRIES = {"__init__", "__main__"}


def levels() -> dict[str, int]:
    """How high each part of `flareseg` stands, by the page."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    [listed] = re.findall(r"from low to high: (.*?)\.\n", page, re.DOTALL)
    return {name: level for level, names in enumerate(listed.split("<")) for name in re.findall(r"\w+", names)}


@cache
def modules_of(package: str) -> dict[str, ast.Module]:
    folder = PACKAGES[package]
    return {
        ".".join((package, *file.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__"): ast.parse(
            file.read_text(encoding="utf-8")
        )
        for file in folder.rglob("*.py")
    }


def imported(tree: ast.Module, *, for_types: bool = True) -> set[str]:
    """Every module that is named in an import, in functions too, and, `for_types`, where only type checkers look."""
    found, waiting = set(), [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif for_types or not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)):
            waiting += [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr)]
    return found


def test_nothing_of_flareseg_imports_what_stands_above_it():
    level, upwards = levels(), []
    for name, tree in modules_of("flareseg").items():
        part = name.split(".")[1] if "." in name else "__init__"
        if part in ENTRIES:
            continue
        for other in imported(tree):
            words = other.split(".")
            if words[0] == "flareseg" and len(words) > 1 and words[1] != "__version__":
                upwards += [(name, other)] if level[words[1]] > level[part] else []
    assert upwards == []


def test_flareseg_knows_neither_slicer_nor_the_training():
    strange = {"slicer", "qt", "ctk", "train", "FlarePanCancerLib"}
    modules = modules_of("flareseg").items()
    found = {(name, other) for name, tree in modules for other in imported(tree) if other.split(".")[0] in strange}
    assert found == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_import_each_other_in_no_circle(package):
    trees = modules_of(package)
    order = TopologicalSorter(
        {
            name: {other for other in imported(tree, for_types=False) if other in trees and other != name}
            for name, tree in trees.items()
        }
    )
    order.prepare()  # raises CycleError, which names the circle
