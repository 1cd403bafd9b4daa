"""One question to a web server, over a connection that can be trusted.

Python's own urllib does this: it takes the proxies of the environment (on Windows and macOS those of the system too),
and follows redirects. No library does more of what is needed: pooch begins anew where a download stopped and brings
requests along, huggingface-hub goes on but speaks to its own hub only, and requests and urllib3 leave ranges, sizes and
digests to the caller just as urllib does.

Certificates are those of the system: OpenSSL's on Linux, the store of Windows, and on macOS, where Python alone cannot
read the keychain, by way of truststore where that is installed. SSL_CERT_FILE or SSL_CERT_DIR, which 3D Slicer sets,
come before.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.message import Message
from importlib import import_module
from queue import Empty, Queue
from threading import Event, Thread
from typing import IO, Any, cast
from urllib.parse import urlsplit

from flareseg import __version__
from flareseg.errors import Cancelled, FlareError
from flareseg.public.entries import check_address
from flareseg.system.background import LOOK_EVERY_S
from flareseg.text import one_line

TIMEOUT_S = 30
"""How long a server may say nothing."""
PIECE_BYTES, PIECES_AHEAD = 2**18, 16


class DownloadError(FlareError):
    """A file could not be downloaded, or is not the one that it should be."""


class OtherFile(DownloadError):
    """A file is there, but it is another one than the catalogue means: a second download would bring the same."""


class Interrupted(DownloadError):
    """The connection ended before the file did: another try may go on from there."""


def ask(address: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    """Ask for a file; the answer's body is not read yet. Its status may be 200, 206 or 416.

    Args:
        address: https, or http to this computer itself.
        headers: beside what every request has.

    Raises:
        DownloadError: when there is no answer, or one that says no.
    """
    # identity: sizes and ranges are of the file itself, not of what a server would make of it on the way
    own = {"User-Agent": f"flareseg/{__version__}", "Accept-Encoding": "identity"}
    host = urlsplit(address).hostname
    try:
        check_address(address)
        request = urllib.request.Request(address, headers=own | headers)
        return cast(http.client.HTTPResponse, _opener().open(request, timeout=TIMEOUT_S))
    except urllib.error.HTTPError as error:
        if error.code == 416:
            return cast(http.client.HTTPResponse, error)
        raise DownloadError(_refusal(error.code, host)) from None
    except urllib.error.URLError as error:
        raise DownloadError(_reason(error.reason, host)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DownloadError(_reason(error, host)) from None


def pieces(answer: http.client.HTTPResponse, cancelled: Callable[[], bool]) -> Iterator[bytes]:
    """The body of an answer as it comes, read in a thread, so that a server that says nothing delays no cancel.

    Raises:
        Interrupted: when the connection is lost.
        Cancelled: when `cancelled` says so.
    """
    waiting: Queue[bytes | Interrupted] = Queue(PIECES_AHEAD)
    left = Event()

    def receive() -> None:
        piece: bytes | Interrupted = b"more"
        while isinstance(piece, bytes) and piece and not left.is_set():
            try:
                piece = answer.read1(PIECE_BYTES)
            except (OSError, http.client.HTTPException, ValueError) as error:
                piece = Interrupted(f"The connection was lost ({_short(error)})")
            waiting.put(piece)

    Thread(target=receive, name="flareseg download", daemon=True).start()
    try:
        while True:
            if cancelled():
                raise Cancelled
            try:
                piece = waiting.get(timeout=LOOK_EVERY_S)
            except Empty:
                continue
            if isinstance(piece, Interrupted):
                raise piece
            if not piece:
                return
            yield piece
    finally:
        left.set()
        with suppress(Empty):  # the thread may be waiting for a place
            while True:
                waiting.get_nowait()


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows only to where the connection stays encrypted."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        try:
            check_address(newurl)
        except ValueError as error:
            raise urllib.error.URLError(f"it leads elsewhere: {error}") from None
        return super().redirect_request(req, fp, code, msg, cast(Any, headers), newurl)


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_Redirects(), urllib.request.HTTPSHandler(context=_context()))


def _context() -> ssl.SSLContext:
    if not (os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")):
        try:
            return cast(ssl.SSLContext, import_module("truststore").SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        except ImportError:
            pass
    return ssl.create_default_context()


def _refusal(status: int, host: str | None) -> str:
    if status < 400:
        return f"{host} leads elsewhere, to where nothing is encrypted ({status})"
    if status in (404, 410):
        return f"{host} no longer has the file there ({status})"
    if status == 407:
        return f"The proxy on the way to {host} wants a password ({status}); set it in HTTPS_PROXY"
    if status in (401, 403):
        return f"{host} does not give the file to everybody ({status})"
    if status == 429 or status >= 500:
        return f"{host} cannot answer now ({status}); try again later"
    return f"{host} answers with status {status}"


def _reason(error: object, host: str | None) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"The certificate of {host} is not trusted ({_short(error.verify_message)}); where a proxy has its own, "
            "name it in SSL_CERT_FILE, or install the package truststore"
        )
    if isinstance(error, socket.gaierror):
        return f"{host} is not found; is this computer offline?"
    if isinstance(error, TimeoutError):
        return f"{host} does not answer"
    return f"{host} is not reached ({_short(error)})"


def _short(error: object) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return one_line(str(text), 160).rstrip(".")
