"""A web server of one file, on this computer, with the moods that servers have."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """What is served, and how. A test may change it while the server runs.

    Attributes:
        data: the file.
        tag: its ETag; "" for none.
        ranges: whether parts of it can be asked for.
        status: of every answer, where it is no 200 or 206.
        leads_to: where every question is redirected.
        stops_after: the connection is closed after so many bytes of a body.
        hangs_after: no more than so many bytes come, and the connection stays.
        says_length: whether it tells how long the body is.
        asked: the headers of every question, with the path as "path".
        hanging: set when a body hangs; `go_on` ends that.
    """

    data: bytes = b""
    tag: str = '"first"'
    ranges: bool = True
    status: int = 0
    leads_to: str = ""
    stops_after: int | None = None
    hangs_after: int | None = None
    says_length: bool = True
    asked: list[dict[str, str]] = field(default_factory=list)
    hanging: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/files/model.zip"

    @property
    def ranges_asked(self) -> list[str]:
        return [question.get("range", "") for question in self.asked]


@contextmanager
def serving(data: bytes) -> Iterator[Served]:
    served = Served(data)

    class Handler(_Handler):
        what = served

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        served.go_on.set()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    what: Served

    def do_GET(self) -> None:
        what = self.what
        what.asked.append({name.lower(): value for name, value in self.headers.items()} | {"path": self.path})
        if what.leads_to:
            self._head(302, {"Location": what.leads_to, "Content-Length": "0"})
            return
        if what.status:
            self._head(what.status, {"Content-Length": "0"})
            return
        begin, whole = self._begin(), len(what.data)
        if begin >= whole > 0:
            self._head(416, {"Content-Range": f"bytes */{whole}", "Content-Length": "0"})
            return
        body = what.data[begin:]
        headers = {"ETag": what.tag} if what.tag else {}
        if what.says_length:
            headers["Content-Length"] = str(len(body))
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{whole - 1}/{whole}"
        self._head(206 if begin else 200, headers)
        self._body(body)

    def _begin(self) -> int:
        what, asked = self.what, self.headers
        same = asked.get("If-Range", what.tag) == what.tag
        found = re.fullmatch(r"bytes=(\d+)-", asked.get("Range", ""))
        return int(found[1]) if found and what.ranges and same else 0

    def _body(self, body: bytes) -> None:
        what = self.what
        most = min(n for n in (len(body), what.stops_after, what.hangs_after) if n is not None)
        try:
            self.wfile.write(body[:most])
            self.wfile.flush()
            if what.hangs_after is not None and most < len(body):
                what.hanging.set()
                what.go_on.wait(60)
        except OSError:
            pass  # whoever asked has gone
        self.close_connection = True

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass
