"""A few hundred damaged inputs of every kind: nothing but a result, or one line. `make fuzz` takes many more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).with_name("run.py")


@pytest.mark.skipif(sys.platform == "win32", reason="the process that reads the inputs forks")
def test_no_damage_leads_to_more_than_one_line(tmp_path: Path) -> None:
    # The first of each kind are its seeds as they are, then come changed ones.
    command = [
        sys.executable,
        str(RUN),
        "--inputs",
        "320",
        "--workers",
        "1",
        "--seconds",
        "120",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert done.stdout.count(" 40 inputs: ") == 8, "every kind is read"
