"""Put into docs/training_costs.md what its commands print now (`make benchmark-page`).

A command stands alone in a block of code; what follows up to the comment `end of the output` is what it prints.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex

from harness import ROOT

PAGE = ROOT / "docs" / "training_costs.md"
_BLOCK = re.compile(
    r"(?P<command>```\npython -m train (?P<arguments>costs [^\n]*)\n```\n)"
    r"(?:(?!```).)*?"  # what it printed before, up to the end of this one
    r"(?P<end>\n<!-- end of the output -->)",
    re.DOTALL,
)


def page(text: str) -> str:
    """The page with the output of every command in it."""

    def anew(block: re.Match[str]) -> str:
        return f"{block['command']}\n{printed(shlex.split(block['arguments']))}\n{block['end']}"

    return _BLOCK.sub(anew, text)


def printed(arguments: list[str]) -> str:
    """What the training prints on a command, whose paths are those of the repository."""
    from train.__main__ import main

    output, paths = io.StringIO(), [str(ROOT / word) if word.startswith("train/") else word for word in arguments]
    with contextlib.redirect_stdout(output):
        status = main(paths)
    if status:
        raise RuntimeError(f"{shlex.join(arguments)} failed with status {status}.")
    return output.getvalue().strip()


def main() -> None:
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
