"""What the pages have in common: each is one HTML file that loads nothing.

Its Content-Security-Policy names the one script by its checksum and forbids every connection, so that whatever a
case's name or a note holds stays text.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from html import escape as escape_html
from pathlib import Path
from string import Template
from typing import Any

from flareseg.text import visible

PARTS = Path(__file__).with_name("viewer")


def head_of(title: str, style: str, script: str, generator: str) -> str:
    """The page up to its body.

    Args:
        title: HTML, as `escape` gives it.
        style: CSS.
        script: what `script_of` gave; "" for a page without one.
        generator: by which program and command it was made.
    """
    return Template(text_of(PARTS / "head.html")).substitute(
        policy=_policy(script), title=title, style=style, generator=generator
    )


def script_of(files: Iterable[Path]) -> str:
    """Files of JavaScript as one script, in which they see each other and nobody else sees them."""
    return "'use strict';\n(() => {\n" + "\n".join(map(text_of, files)) + "})();\n"


def text_of(path: Path) -> str:
    """A part of a page, as it stands."""
    return path.read_text(encoding="utf-8")


def escape(text: str) -> str:
    """Text that comes from a case, for HTML."""
    return escape_html(visible(text))


def as_script(facts: Any) -> str:
    """JSON in which no text can end the element that holds it."""
    return json.dumps(facts, separators=(",", ":")).replace("<", "\\u003c").replace(">", "\\u003e")


def _policy(script: str) -> str:
    """Of a page that runs this script and no other, and connects to nothing."""
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    allowed = f"'sha256-{digest}'" if script else "'none'"
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src {allowed}"
    )
