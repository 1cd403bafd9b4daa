"""Texts for people can be translated: lupdate finds them, and figures are arguments of them."""

import ast
from pathlib import Path

MODULE = Path(__file__).resolve().parents[2] / "FlarePanCancer"
FILES = [MODULE / "FlarePanCancer.py", *sorted((MODULE / "FlarePanCancerLib").glob("*.py"))]
SHOWN = {"text", "toolTip", "labelText"}
"""What a widget shows."""


def trees():
    return [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in FILES]


def test_what_is_translated_is_one_text_as_it_stands_in_the_file():
    found = 0
    for path, tree in trees():
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "_":
                found += 1
                [text] = call.args
                assert isinstance(text, ast.Constant) and isinstance(text.value, str), f"{path.name}:{call.lineno}"
    assert found > 100


def test_no_widget_is_given_a_sentence_that_cannot_be_translated():
    for path, tree in trees():
        for one in ast.walk(tree):
            if not isinstance(one, ast.Assign) or getattr(one.targets[0], "attr", "") not in SHOWN:
                continue
            for part in ast.walk(one.value):
                words = part.value if isinstance(part, ast.Constant) else ""
                inside = [call for call in ast.walk(one.value) if isinstance(call, ast.Call) and part in call.args]
                translated = any(getattr(call.func, "id", "") == "_" for call in inside)
                sentence = isinstance(words, str) and any(letter.isalpha() for letter in words)
                assert translated or not sentence, f"{path.name}:{one.lineno}: {words}"


def test_a_translation_keeps_the_figures(widget, monkeypatch):
    from FlarePanCancerLib import widget as panel

    monkeypatch.setattr(panel, "_", lambda text: "« " + text + " »")
    widget.panel._on_progress(0.25, "Network", 130.0)
    assert widget.ui.statusLabel.text == "« Network … 25 %, 2 min left »"


def test_outside_of_slicer_texts_are_english(monkeypatch):
    import sys

    from FlarePanCancerLib import translation

    monkeypatch.setitem(sys.modules, "slicer.i18n", None)
    assert translation._slicers()("Segment") == "Segment"
