"""Downloads: whole or kept to go on with, from servers of every mood, and never more than there should be."""

from __future__ import annotations

import re
import shutil
import ssl
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flareseg.errors import Cancelled, OutputError
from flareseg.public import download as downloading
from flareseg.public import partial, transport
from flareseg.public.download import check_room, download
from flareseg.public.entries import PublicModel, read_catalogue
from flareseg.public.partial import kept_download
from flareseg.public.transport import DownloadError
from flareseg.system.leftovers import aside_name

sys.path.insert(0, str(Path(__file__).parent))
from file_server import Served, serving

DATA = bytes(range(256)) * 4096
"""A megabyte, no two of whose parts are told apart by luck."""
HALF = len(DATA) // 2 + 7


pytestmark = pytest.mark.usefixtures("own_folders")


@pytest.fixture
def server() -> Iterator[Served]:
    with serving(DATA) as served:
        yield served


class Recorded:
    """Follows a download; `cancel_after` bytes it asks to stop."""

    def __init__(self, cancel_after: int | None = None) -> None:
        self.seen: list[tuple[int, int | None]] = []
        self._cancel_after = cancel_after

    def received(self, done: int, total: int | None) -> None:
        self.seen.append((done, total))

    def message(self, text: str) -> None:
        raise AssertionError(text)

    def cancelled(self) -> bool:
        return self._cancel_after is not None and bool(self.seen) and self.seen[-1][0] >= self._cancel_after


def model_at(*addresses: str, **changes: Any) -> PublicModel:
    return replace(read_catalogue()[0], name="replica", addresses=addresses, **{"bytes": None} | changes)


def fetch(model: PublicModel, follower: Recorded | None = None, keep: bool = True) -> bytes:
    """What was downloaded; the download is kept, as after a failure."""
    follower = follower or Recorded()
    with kept_download(model.name) as part:
        assert download(model, part, follower, follower.cancelled) in model.addresses
        content = part.file.read_bytes()
        if not keep:
            part.discard()
    return content


def kept(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache" / "downloads").iterdir())


def kept_bytes(tmp_path: Path) -> int:
    return (tmp_path / "cache" / "downloads" / "replica.part" / "replica.zip").stat().st_size


def refusal(model: PublicModel) -> str:
    with pytest.raises(DownloadError) as caught:
        fetch(model)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 300
    return text


def test_a_file_comes_whole_with_progress_and_is_left_nowhere_else(server: Served, tmp_path: Path) -> None:
    follower = Recorded()
    assert fetch(model_at(server.address, bytes=len(DATA)), follower, keep=False) == DATA
    assert follower.seen[0] == (0, len(DATA)) and follower.seen[-1] == (len(DATA), len(DATA))
    assert [done for done, _ in follower.seen] == sorted(done for done, _ in follower.seen)
    assert kept(tmp_path) == []
    assert server.asked[0]["accept-encoding"] == "identity" and "range" not in server.asked[0]
    assert server.asked[0]["user-agent"].startswith("flareseg/"), "it tells its name and nothing of the user"


def test_a_cancelled_download_goes_on_from_where_it_was(server: Served, tmp_path: Path) -> None:
    server.hangs_after = HALF
    with pytest.raises(Cancelled):
        fetch(model_at(server.address), Recorded(cancel_after=HALF))
    have = kept_bytes(tmp_path)
    assert kept(tmp_path) == ["replica.part"] and have == HALF
    server.hangs_after = None
    follower = Recorded()
    assert fetch(model_at(server.address), follower) == DATA
    assert server.ranges_asked == ["", f"bytes={HALF}-"] and server.asked[1]["if-range"] == '"first"'
    assert follower.seen[0] == (HALF, len(DATA))


def test_a_cancel_is_heard_while_the_server_says_nothing(server: Served, tmp_path: Path) -> None:
    server.hangs_after = 0
    with pytest.raises(Cancelled), kept_download("replica") as part:
        download(model_at(server.address), part, Recorded(), server.hanging.is_set)
    assert kept(tmp_path) == [], "nothing has come, so nothing is kept"


def test_a_lost_connection_is_taken_up_again_as_long_as_something_comes(server: Served) -> None:
    server.stops_after = len(DATA) // 4 + 1
    assert fetch(model_at(server.address)) == DATA
    assert len(server.asked) == 4


def test_a_server_that_never_gives_the_end_is_one_line_and_what_came_is_kept(server: Served, tmp_path: Path) -> None:
    server.stops_after = 1000
    assert "The connection ended after 5,000 of 1,048,576 bytes" in refusal(model_at(server.address))
    assert len(server.asked) == downloading.TRIES and kept_bytes(tmp_path) == 5000
    server.stops_after = 0
    assert "ended after 5,000" in refusal(model_at(server.address))
    assert len(server.asked) == downloading.TRIES + 1, "who brings nothing is not asked again"


def test_a_file_that_changed_meanwhile_is_downloaded_anew(server: Served) -> None:
    server.stops_after, server.says_length = HALF, True
    server.ranges = False
    refusal(model_at(server.address))
    server.stops_after, server.ranges = None, True
    server.data, server.tag = DATA[::-1], '"second"'
    assert fetch(model_at(server.address)) == DATA[::-1]


@pytest.mark.parametrize("change", ["shorter", "longer"])
def test_a_file_of_another_length_under_the_same_tag_is_downloaded_anew(server: Served, change: str) -> None:
    server.hangs_after = HALF
    with pytest.raises(Cancelled):
        fetch(model_at(server.address), Recorded(cancel_after=HALF))
    server.hangs_after = None
    server.data = DATA[:1000] if change == "shorter" else DATA + b"more"
    assert fetch(model_at(server.address)) == server.data


@pytest.mark.parametrize("mood", ["no ranges", "no tag"])
def test_a_server_that_cannot_go_on_is_asked_for_the_whole_file(server: Served, mood: str) -> None:
    server.hangs_after = HALF
    server.ranges, server.tag = mood != "no ranges", "" if mood == "no tag" else '"first"'
    with pytest.raises(Cancelled):
        fetch(model_at(server.address), Recorded(cancel_after=HALF))
    server.hangs_after = None
    follower = Recorded()
    assert fetch(model_at(server.address), follower) == DATA
    assert follower.seen[0][0] == 0


def test_a_whole_download_is_not_asked_for_again(server: Served) -> None:
    fetch(model_at(server.address))
    assert fetch(model_at(server.address)) == DATA
    assert len(server.asked) == 1


def test_no_more_is_written_than_there_should_be(
    server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "it has been replaced" in refusal(model_at(server.address, bytes=len(DATA) + 1))
    server.says_length = False
    assert "sends more than the 1,000 bytes" in refusal(model_at(server.address, bytes=1000))
    monkeypatch.setattr(downloading, "MOST_BYTES", 2000)
    assert "sends more than the 2,000 bytes" in refusal(model_at(server.address))
    assert kept(tmp_path) == []


def test_a_file_of_unknown_length_is_taken_as_it_comes(server: Served) -> None:
    server.says_length = False
    follower = Recorded()
    assert fetch(model_at(server.address), follower) == DATA
    assert follower.seen[-1] == (len(DATA), None)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (404, "no longer has the file there"),
        (410, "no longer has"),
        (403, "not give the file"),
        (503, "try again later"),
    ],
)
def test_a_server_that_says_no_is_one_line(server: Served, status: int, words: str, tmp_path: Path) -> None:
    server.status = status
    text = refusal(model_at(server.address))
    assert words in text and str(status) in text and "127.0.0.1" in text
    assert kept(tmp_path) == []


def test_of_several_addresses_the_first_that_answers_is_taken(server: Served) -> None:
    gone = "http://127.0.0.1:9/model.zip"
    assert fetch(model_at(gone, server.address)) == DATA
    assert "is not reached" in refusal(model_at(gone))


def test_offline_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def nowhere(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    assert "is this computer offline?" in refusal(model_at("https://example.org/model.zip"))


def test_a_redirect_is_followed_but_not_to_where_nothing_is_encrypted(server: Served) -> None:
    with serving(b"") as first:
        first.leads_to = server.address
        assert fetch(model_at(first.address), keep=False) == DATA
        for elsewhere in ("http://example.org/model.zip", "file:///etc/passwd", "ftp://example.org/model.zip"):
            first.leads_to = elsewhere
            assert "leads elsewhere" in refusal(model_at(first.address))
    assert "no https address" in refusal(model_at("http://example.org/model.zip"))


def test_a_download_goes_on_behind_a_redirect(server: Served) -> None:
    server.hangs_after = HALF
    with serving(b"") as first:
        first.leads_to = server.address
        with pytest.raises(Cancelled):
            fetch(model_at(first.address), Recorded(cancel_after=HALF))
        server.hangs_after = None
        assert fetch(model_at(first.address)) == DATA
    assert server.ranges_asked == ["", f"bytes={HALF}-"]


def test_nothing_but_the_transport_can_open_a_connection() -> None:
    engine = Path(downloading.__file__).parents[1]
    opens = re.compile(r"^ *(import|from) (ssl|http|urllib\.request|urllib\.error|ftplib|requests)\b", re.MULTILINE)
    hits = {path.name for path in engine.rglob("*.py") if opens.search(path.read_text(encoding="utf-8"))}
    # download.py names a type of http's for mypy, and archive.py asks the archive that its user names
    assert hits == {"transport.py", "download.py", "archive.py"}
    assert "if TYPE_CHECKING:\n    from http" in Path(downloading.__file__).read_text(encoding="utf-8")


def test_the_way_leads_through_the_proxy_of_the_environment(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("no_proxy", "")
    assert fetch(model_at("http://localhost:9/model.zip")) == DATA
    assert server.asked[0]["path"] == "http://localhost:9/model.zip"


def test_certificates_are_checked_and_the_systems_own_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "truststore", SimpleNamespace(SSLContext=lambda protocol: ("system", protocol)))
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    assert transport._context() == ("system", ssl.PROTOCOL_TLS_CLIENT)
    monkeypatch.setenv("SSL_CERT_FILE", ssl.get_default_verify_paths().openssl_cafile)
    monkeypatch.setitem(sys.modules, "truststore", None)
    context = transport._context()
    assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self signed certificate in certificate chain"
    assert "SSL_CERT_FILE" in transport._reason(error, "example.org")


def test_a_disk_without_room_is_named_before_anything_is_written(
    server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    text = refusal(model_at(server.address))
    assert "There is no room" in text and kept(tmp_path) == []
    with pytest.raises(DownloadError, match="3 MB are needed"):
        check_room([(tmp_path / "a" / "b", 10**6), (tmp_path, 2 * 10**6)])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_disk_that_becomes_full_is_one_line_and_is_freed(server: Served, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="cannot be written: No space left"), kept_download("replica") as part:
        part.file.symlink_to("/dev/full")
        object.__setattr__(part, "begin", lambda source: None)
        download(model_at(server.address), part, Recorded(), lambda: False)
    assert kept(tmp_path) == []


def test_two_downloads_of_one_model_do_not_write_into_one_file(server: Served, tmp_path: Path) -> None:
    with kept_download("replica") as first, kept_download("replica") as second:
        assert first.folder != second.folder
        for part in (first, second):
            download(model_at(server.address), part, Recorded(), lambda: False)
            assert part.file.read_bytes() == DATA
    assert kept(tmp_path) == ["replica.part"]


def test_what_a_killed_process_left_is_gone_on_with(server: Served, tmp_path: Path, monkeypatch: Any) -> None:
    fetch(model_at(server.address))
    place = tmp_path / "cache" / "downloads"
    own = aside_name("replica.part").split("-")
    own[3] = "1" if own[3] != "1" else "2"  # a number and a beginning that no living process has
    (place / "replica.part").rename(place / "-".join([*own[:3], "4194303", "1", *own[5:]]))
    assert fetch(model_at(server.address)) == DATA
    assert len(server.asked) == 1 and kept(tmp_path) == ["replica.part"]


def test_downloads_that_nobody_went_on_with_are_removed(
    server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(model_at(server.address))
    now = time.time()
    monkeypatch.setattr(partial.time, "time", lambda: now + partial.KEPT_S + 60)
    with kept_download("another"):
        assert not (tmp_path / "cache" / "downloads" / "replica.part").exists()


def test_a_damaged_note_means_another_download(server: Served, tmp_path: Path) -> None:
    fetch(model_at(server.address))
    note = tmp_path / "cache" / "downloads" / "replica.part" / "source.json"
    for text in ("", "[]", '{"address": 3}', "\0"):
        note.write_text(text)
        assert fetch(model_at(server.address)) == DATA
    assert len(server.asked) == 5


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FLARESEG_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="cannot be written"), kept_download("replica"):
        raise AssertionError
