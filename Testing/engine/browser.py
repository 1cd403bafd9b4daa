"""A headless Chromium, driven over a pipe by its own protocol: no package is needed for it, and no port is opened."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 60
"""To wait for an answer at the most."""
AS_3_AND_4 = """
import fcntl, os, sys
high = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
for number, descriptor in enumerate(high, 3):
    os.dup2(descriptor, number)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""The protocol's pipes must be these descriptors of the browser."""


def browser_path() -> str | None:
    """The browser of this machine; None where there is none."""
    if os.name != "posix":  # its pipes are inherited by their numbers
        return None
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page in one browser; a context that ends it.

    Attributes:
        requests: every address the page asked for.
        errors: uncaught errors and refusals, as the console has them.
        dialogs: kinds of the questions that were asked, such as "beforeunload"; each was answered with yes.
    """

    def __init__(self, profile: Path, *, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.dialogs: list[str] = []
        self._number, self._buffer, self._loaded = 0, b"", False
        program = browser_path()
        assert program
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()

        arguments = (
            "--headless --no-sandbox --disable-gpu-sandbox --enable-unsafe-swiftshader --hide-scrollbars "
            f"--use-angle=swiftshader --remote-debugging-pipe --no-first-run --user-data-dir={profile} about:blank"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-ISc", AS_3_AND_4, str(to_read), str(to_write), program, *arguments.split()],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_read)
        os.close(to_write)
        targets = self._call("Target.getTargets", session=False)["targetInfos"]
        page = next(one["targetId"] for one in targets if one["type"] == "page")
        self._session = self._call("Target.attachToTarget", {"targetId": page, "flatten": True}, session=False)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")
        self.resize(width, height)
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", {"features": [feature]})

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(AssertionError, subprocess.TimeoutExpired):
            self._call("Browser.close", session=False)
            self._process.wait(SECONDS)
        with suppress(ProcessLookupError):  # what it started itself has its group
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._read)
        os.close(self._write)

    @property
    def process_id(self) -> int:
        return self._process.pid

    def resize(self, width: int, height: int) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", size)

    def open(self, address: str) -> None:
        """Go to a page; returns when it is there, with all that it loads."""
        self._loaded = False
        self._call("Page.navigate", {"url": address})
        while not self._loaded:
            self._note(self._next())

    def evaluate(self, expression: str) -> Any:
        """What an expression gives in the page; a promise is waited for."""
        asked = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        answer = self._call("Runtime.evaluate", asked)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until an expression holds."""
        end = time.monotonic() + SECONDS
        while not self.evaluate(expression):
            assert time.monotonic() < end, f"{expression} does not come true; {self.errors}"

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self._call("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, **more})

    def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", buttons=int(kind == "mousePressed"), clickCount=1)

    def key(self, name: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", {"type": kind, "key": name, "code": name})

    def _call(self, method: str, parameters: dict[str, Any] | None = None, session: bool = True) -> dict[str, Any]:
        number = self._send(method, parameters, session)
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _send(self, method: str, parameters: dict[str, Any] | None = None, session: bool = True) -> int:
        """Ask, without waiting; gives the number that the answer will have."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters or {}}
        if session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        return self._number

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], SECONDS)
            assert ready, "the browser does not answer"
            part = os.read(self._read, 2**20)
            assert part, "the browser has ended"
            self._buffer += part
        text, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(text)
        return message

    def _note(self, event: dict[str, Any]) -> None:
        what = event.get("params", {})
        self._loaded = self._loaded or event.get("method") == "Page.loadEventFired"
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(what["request"]["url"])
        elif event.get("method") == "Page.javascriptDialogOpening":
            self.dialogs.append(what["type"])
            self._send("Page.handleJavaScriptDialog", {"accept": True})
        elif event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(what["exceptionDetails"]))
        elif event.get("method") == "Log.entryAdded" and what["entry"]["level"] == "error":
            self.errors.append(what["entry"]["text"])
