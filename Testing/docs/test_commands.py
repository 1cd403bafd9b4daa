"""Every command that a page names exists, with every option that it names there."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from flareseg import cli
from train import __main__ as training

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "train/README.md")), *(ROOT / "docs").glob("*.md")]
)
PROGRAMS = {"flareseg": cli._parser(), "python -m train": training._parser()}
CODE = re.compile(r"```\w*\n(.*?)```|`([^`\n]+)`", re.DOTALL)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def lines_of_code(page: Path) -> Iterator[str]:
    """Without comments; one that goes on after a backslash is one."""
    for block, words in CODE.findall(page.read_text(encoding="utf-8")):
        for line in re.sub(r"\\\n\s*", " ", block or words).splitlines():
            yield re.sub(r"(^|\s)#.*", "", line)


def commands_in(line: str) -> Iterator[tuple[argparse.ArgumentParser, list[str]]]:
    """Our programs in a line, with the words behind them."""
    for name, parser in PROGRAMS.items():
        for found in re.finditer(rf"(?<![\w/.-])(?<!from ){name}\s+([^|;&)\"]*)", line):
            yield parser, found[1].split()


def unknown(parser: argparse.ArgumentParser, words: list[str]) -> list[str]:
    """Words that are no command where there must be one, and options that it has not."""
    while words and (kinds := [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]):
        if words[0] not in kinds[0].choices:
            # "flareseg 0.6.0" is no command, nor are "flareseg COMMAND" and "flareseg --version"
            return [words[0]] if re.fullmatch("[a-z]+", words[0]) else []
        parser, words = kinds[0].choices[words[0]], words[1:]
    named = [found[0] for word in words if (found := re.match(r"--[a-z][a-z0-9-]*", word))]
    return [option for option in named if option not in parser._option_string_actions]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_of_a_page_exist(page):
    wrong = [
        (line.strip(), missing)
        for line in lines_of_code(page)
        for parser, words in commands_in(line)
        if (missing := unknown(parser, words))
    ]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_of_a_page_exist(page):
    named = {found for line in lines_of_code(page) for found in re.findall(r"(?:^|\s)make ([a-z][a-z-]*)", line)}
    assert named - TARGETS == set()


def test_a_command_or_an_option_that_does_not_exist_is_noticed():
    [(parser, words)] = commands_in("flareseg segment ct.nii.gz -o o.nii.gz --colour red --report r")
    assert unknown(parser, words) == ["--colour"]
    [(parser, words)] = commands_in("python -m train pretend --config x.yaml")
    assert unknown(parser, words) == ["pretend"]
    assert unknown(PROGRAMS["flareseg"], ["models", "get", "NAME", "--yes"]) == []
