"""Every example that a reader may copy runs: those of the public API's docstrings, and the Python of the pages."""

import ast
import doctest
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import flareseg
from flareseg.labels import structures

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / "FlarePanCancer"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "train/README.md", *(ROOT / "docs").glob("*.md")])
FUNCTIONS_AND_CLASSES = sorted(set(flareseg.__all__) - {"__version__"})


def python_of(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def in_a_new_folder(tmp_path, monkeypatch):
    """Examples write into the current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", FUNCTIONS_AND_CLASSES)
def test_an_example_of_the_public_api_runs(name, in_a_new_folder):
    thing = getattr(flareseg, name)
    names = vars(sys.modules[thing.__module__]) | {one: getattr(flareseg, one) for one in FUNCTIONS_AND_CLASSES}
    found = doctest.DocTestFinder(recurse=False).find(thing, name, globs=names)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for one in found:
        runner.run(one)

    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("name", FUNCTIONS_AND_CLASSES)
def test_every_name_of_the_public_api_has_an_example(name):
    assert "Example:" in getattr(flareseg, name).__doc__


def test_type_checkers_see_the_names_that_there_are():
    tree = ast.parse(Path(flareseg.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and str(node.module) != "typing"]
    seen = {alias.asname: node.module for node in imports for alias in node.names if alias.asname}

    assert seen == flareseg._HOME
    assert set(dir(flareseg)) >= {*flareseg.__all__}


def test_the_example_of_the_readme_runs(in_a_new_folder):
    z, y, x = np.ogrid[:24, :60, :80]
    hu = np.full((24, 60, 80), -1000, np.int16)
    hu[((y - 30) / 24) ** 2 + ((x - 40) / 34) ** 2 + 0 * z < 1] = 20
    flareseg.write_volume(flareseg.Volume(hu, flareseg.Geometry((24, 60, 80), (5.0, 3.0, 3.0))), "ct.nii.gz")

    for block in python_of("README.md"):
        exec(compile(block, "README.md", "exec"), {})

    assert Path("organs.seg.nrrd").is_file()


def test_the_example_of_an_exported_model_runs(a_model, in_a_new_folder):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from flareseg.interop.export import export_model

    export_model(a_model, "onnx", folder=Path("default_onnx"))
    names = {"hu": np.zeros((16, 16, 16), np.float32)}

    [block] = python_of("docs/export.md")
    exec(compile(block, "docs/export.md", "exec"), names)

    assert names["logits"].shape == (1, len(structures()) + 1, 16, 16, 16)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_of_a_page_imports_what_there_is(page):
    for block in python_of(str(page.relative_to(ROOT))):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (file := ENGINE / f"{node.module.replace('.', '/')}.py").is_file():
                known = file.read_text(encoding="utf-8")
                assert all(re.search(rf"\b{alias.name}\b", known) for alias in node.names), f"{page}: {node.module}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", ["docs/architecture.md", "docs/input.md", "CONTRIBUTING.md"])
def test_files_that_a_page_names_are_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:FlarePanCancer|Testing|train|docs|io|model|cases)/[\w./-]*)`", text)
    places = (ROOT, ENGINE, ENGINE / "flareseg")

    assert [path for path in named if not any((place / path).exists() for place in places)] == []
