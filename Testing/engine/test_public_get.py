"""`flareseg models get`: from a server or a file into the user's models, whole or not at all, with its licence."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from flareseg.cli import main
from flareseg.model.bundle import load_bundle
from flareseg.model.catalogue import models_folder

sys.path.insert(0, str(Path(__file__).parent))
from file_server import Served
from public_replicas import Write, entry, get, installed, provenance, totalsegmentator_zip

SHA256 = hashlib.sha256(totalsegmentator_zip()).hexdigest()


pytestmark = pytest.mark.usefixtures("own_folders")


def kept(tmp_path: Path) -> list[str]:
    """Everything in the user's folders but models, the catalogue and digests."""
    found = [path for folder in ("cache", "data") for path in (tmp_path / folder).rglob("*") if path.is_file()]
    return sorted(path.name for path in found if path.parent.name not in installed() and path.suffix != ".json")


def told(captured: Any) -> str:
    """The one line of an error."""
    text = str(captured.err)
    assert text.count("\n") == 1 and text.startswith("flareseg: ") and "Traceback" not in text, text
    return text


def test_one_command_downloads_checks_converts_and_keeps_nothing_else(
    server: Served, write_catalogue: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_catalogue(entry(server.address, bytes=len(server.data), sha256=SHA256))
    assert get("replica", "--yes") == 0
    shown = capsys.readouterr().out
    assert "Apache-2.0, of the weights" in shown and "Nobody, A Replica, 2026" in shown and SHA256 in shown
    assert "'replica' is installed; use it with: flareseg segment CT --model replica" in shown
    bundle = load_bundle(models_folder() / "replica")
    assert bundle.plan.orientation == "ras" and bundle.plan.labels == {0: "background", 1: "liver", 2: "tumour"}
    facts = provenance()
    assert (facts["licence"], facts["citation"]) == ("Apache-2.0", "Nobody, A Replica, 2026")
    assert facts["description"] == "A replica of three structures"
    assert (facts["catalogue"], facts["made by"]) == ("replica", "Nobody")
    assert (facts["downloaded from"], facts["archive sha256"]) == (server.address, SHA256)
    assert facts["trainer"] and facts["folds"] == "0", "what the files tell is told too"
    assert kept(tmp_path) == []


def test_info_and_available_know_it(server: Served, write_catalogue: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write_catalogue(entry(server.address))
    assert get("replica", "--yes", "--name", "mine", "--progress", "none") == 0
    assert capsys.readouterr().out == ""
    assert main(["models", "info", "mine"]) == 0
    text = capsys.readouterr().out
    assert "licence     Apache-2.0" in text and "citation    Nobody, A Replica, 2026" in text
    assert main(["models", "available"]) == 0
    assert "unknown  installed" in capsys.readouterr().out
    assert main(["models", "available", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"][-1]["installed"] == ["mine"]


def test_what_is_installed_is_not_downloaded_again_unless_asked(
    server: Served, write_catalogue: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write_catalogue(entry(server.address))
    assert get("replica", "--yes") == 0
    capsys.readouterr()
    assert get("replica") == 0
    assert "'replica' is installed; use it with" in capsys.readouterr().out
    assert len(server.asked) == 1
    assert get("replica", "--yes", "--overwrite") == 0
    assert len(server.asked) == 2 and installed() == ["replica"]
    assert get("replica", "--yes", "--name", "second") == 0
    assert installed() == ["replica", "second"]


def test_without_a_terminal_and_a_yes_nothing_is_downloaded(
    server: Served, write_catalogue: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write_catalogue(entry(server.address, bytes=len(server.data)))
    assert get("replica", "--progress", "none") == 2
    text = told(capsys.readouterr())
    assert "--yes" in text and "Apache-2.0" in text and "1 MB" in text
    assert server.asked == []


@pytest.mark.parametrize(("answer", "status"), [("y\n", 0), ("Yes\n", 0), ("n\n", 1), ("\n", 1), ("", 1)])
def test_on_a_terminal_it_asks(
    server: Served, write_catalogue: Write, monkeypatch: pytest.MonkeyPatch, answer: str, status: int
) -> None:
    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    write_catalogue(entry(server.address))
    assert get("replica") == status
    assert len(server.asked) == (status == 0)


@pytest.mark.parametrize(
    ("terms", "licence", "words"),
    [
        ("non-commercial", "CC-BY-NC-4.0", "not for commercial use (CC-BY-NC-4.0)"),
        ("unread", "see the record at https://example.org/replica", "Read the licence"),
    ],
)
def test_a_licence_that_is_not_open_has_to_be_accepted(
    server: Served, write_catalogue: Write, capsys: pytest.CaptureFixture[str], terms: str, licence: str, words: str
) -> None:
    write_catalogue(entry(server.address, terms=terms, licence=licence))
    assert get("replica", "--yes") == 2
    text = told(capsys.readouterr())
    assert words in text and "https://example.org/replica" in text and "--accept-licence" in text
    assert server.asked == []
    assert get("replica", "--yes", "--accept-licence") == 0
    assert provenance()["licence"] == licence


def test_programs_read_json_lines(server: Served, write_catalogue: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write_catalogue(entry(server.address, bytes=len(server.data)))
    assert get("replica", "--yes", "--progress", "json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {event["case"] for event in events} == {"replica"}
    assert events[0] | {"event": "stage", "stage": "download", "bytes": 0, "fraction": 0.0} == events[0]
    assert any(event.get("bytes") == event.get("total") == len(server.data) for event in events)
    assert [event["stage"] for event in events if event["event"] == "stage"] == ["download", "install"]
    assert (events[-1]["event"], events[-1]["model"]) == ("done", "replica")
    assert Path(events[-1]["output"]) == models_folder() / "replica"
    assert get("replica", "--progress", "json") == 0
    [event] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert event == events[-1], "as if it had been installed now"
    server.status = 404
    assert get("replica", "--yes", "--overwrite", "--progress", "json") == 1
    captured = capsys.readouterr()
    [event] = [json.loads(line) for line in captured.out.splitlines()]
    assert event["event"] == "error" and "404" in event["message"] and "404" in told(captured)


# What goes wrong


def test_an_unknown_name_and_a_taken_one_are_said_before_anything_is_downloaded(
    server: Served, write_catalogue: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert get("nothing") == 2 and "flareseg models available" in told(capsys.readouterr())
    write_catalogue(entry(server.address))
    (tmp_path / "other.zip").write_bytes(server.data)
    assert main(["models", "import", str(tmp_path / "other.zip"), "--name", "taken"]) == 0
    capsys.readouterr()
    for name, words in (
        ("taken", "already a model 'taken'"),
        ("default", "comes with flareseg"),
        ("a/b", "cannot name"),
    ):
        assert get("replica", "--yes", "--name", name, "--progress", "none") == 1
        assert words in told(capsys.readouterr())
    assert server.asked == []


def by_hand(server: Served) -> str:
    return f"By hand: download {server.address}, then: flareseg models get replica --from FILE"


def test_another_file_than_that_of_the_catalogue_is_discarded(
    server: Served, write_catalogue: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_catalogue(entry(server.address, sha256="0" * 64))
    assert get("replica", "--yes", "--progress", "none") == 1
    text = told(capsys.readouterr())
    assert "is not the one of the catalogue" in text and SHA256 in text and "discarded" in text
    assert "at your own risk, with: flareseg models import FILE --axes ras" in text and "--from" not in text
    assert installed() == [] and kept(tmp_path) == []


def test_a_digest_that_nobody_publishes_is_noted_and_compared_from_then_on(
    server: Served, write_catalogue: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_catalogue(entry(server.address))
    assert get("replica", "--yes") == 0
    noted = tmp_path / "data" / "digests.json"
    assert json.loads(noted.read_text()) == {server.address: SHA256}
    server.data, server.tag = totalsegmentator_zip("3d_lowres"), '"second"'
    capsys.readouterr()
    assert get("replica", "--yes", "--overwrite", "--progress", "none") == 1
    text = told(capsys.readouterr())
    assert "not the one that was downloaded before" in text and str(noted) in text
    assert provenance()["configuration"] == "3d_fullres" and kept(tmp_path) == []
    noted.write_text("damaged")
    assert get("replica", "--yes", "--overwrite") == 0
    assert provenance()["configuration"] == "3d_lowres"


@pytest.mark.parametrize("status", [404, 503])
def test_a_server_that_says_no_leaves_nothing_and_tells_the_way_by_hand(
    server: Served, write_catalogue: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    server.status = status
    write_catalogue(entry(server.address))
    assert get("replica", "--yes", "--progress", "none") == 1
    assert by_hand(server) in told(capsys.readouterr())
    assert installed() == [] and kept(tmp_path) == []


def test_a_truncated_file_is_kept_to_go_on_with(
    server: Served, write_catalogue: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.stops_after = 100
    write_catalogue(entry(server.address, bytes=len(server.data)))
    assert get("replica", "--yes", "--progress", "none") == 1
    assert by_hand(server) in told(capsys.readouterr())
    assert installed() == [] and kept(tmp_path) == ["replica.zip"]
    server.stops_after = None
    assert get("replica", "--yes", "--progress", "none") == 0
    assert server.ranges_asked[-1] == "bytes=500-" and kept(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"<html>please log in</html>", "is no zip"), (b"PK\5\6" + bytes(18), "but cannot be used: 'model.zip'")],
)
def test_a_file_that_holds_no_model_is_discarded(
    server: Served,
    write_catalogue: Write,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: bytes,
    words: str,
) -> None:
    server.data = content
    write_catalogue(entry(server.address))
    assert get("replica", "--yes", "--progress", "none") == 1
    assert words in told(capsys.readouterr())
    assert installed() == [] and kept(tmp_path) == []
    assert not (tmp_path / "data" / "digests.json").exists(), "such a file is no measure for later ones"


def test_no_room_is_said_before_the_download(
    server: Served, write_catalogue: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil
    from types import SimpleNamespace

    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**8))
    write_catalogue(entry(server.address, bytes=10**9))
    assert get("replica", "--yes", "--progress", "none") == 1
    text = told(capsys.readouterr())
    assert "There is no room" in text and by_hand(server) in text
    assert server.asked == []


# By hand


def test_a_file_got_in_another_way_is_checked_and_left_where_it_is(
    server: Served, write_catalogue: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "model (1).zip"
    file.write_bytes(server.data)
    write_catalogue(entry(server.address, bytes=len(server.data), sha256=SHA256))
    assert get("replica", "--from", file) == 0
    assert file.read_bytes() == server.data and server.asked == []
    assert provenance()["archive sha256"] == SHA256 and provenance()["licence"] == "Apache-2.0"
    capsys.readouterr()
    for change, words in ((b"more", "bytes, and the file of"), (None, "is not the one of the catalogue")):
        file.write_bytes(server.data + change if change else server.data[::-1])
        assert get("replica", "--from", file, "--overwrite", "--progress", "none") == 1
        text = told(capsys.readouterr())
        assert words in text and f'risk, with: flareseg models import "{file}"' in text and "--from" not in text
    assert get("replica", "--from", tmp_path / "none.zip", "--overwrite", "--progress", "none") == 1
    assert "There is no" in told(capsys.readouterr())
    assert installed() == ["replica"]


def test_the_folder_that_a_browser_unpacked_will_do(server: Served, write_catalogue: Write, tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(server.data)) as archive:
        archive.extractall(tmp_path / "unpacked")
    write_catalogue(entry(server.address, sha256=SHA256))
    assert get("replica", "--from", tmp_path / "unpacked", "--progress", "none") == 0
    assert "was unpacked before" in provenance()["archive sha256"]


def test_a_licence_has_to_be_accepted_for_a_file_too(
    server: Served, write_catalogue: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.zip").write_bytes(server.data)
    write_catalogue(entry(server.address, terms="non-commercial", licence="CC-BY-NC-4.0"))
    assert get("replica", "--from", tmp_path / "model.zip") == 2
    assert "--accept-licence" in told(capsys.readouterr())


# Ends before its time


def started(catalogue: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "flareseg", "models", "get", "replica", "--yes", "--progress", "none"]
    command += ["--catalogue", str(catalogue), "--name", "mine", "--overwrite"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


@pytest.mark.skipif(os.name != "posix", reason="POSIX's signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_download_that_is_stopped_or_killed_goes_on_at_the_next_try(
    server: Served, write_catalogue: Write, tmp_path: Path, number: signal.Signals
) -> None:
    server.hangs_after = len(server.data) // 2
    catalogue = write_catalogue(entry(server.address))
    process = started(catalogue)
    assert server.hanging.wait(60)
    downloads = tmp_path / "cache" / "downloads"
    while sum(file.stat().st_size for file in downloads.rglob("*.zip")) < server.hangs_after:
        assert process.poll() is None
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    if number == signal.SIGINT:
        assert process.returncode == 130
        half, whole = (round(count / 1000) for count in (server.hangs_after, len(server.data)))
        again = f"flareseg models get replica --catalogue {catalogue} --name mine --overwrite"
        assert errors == f"flareseg: Cancelled; {half} of {whole} kB are kept: {again} goes on from there.\n"
    assert installed() == [] and kept(tmp_path) == ["replica.zip"]
    server.hangs_after = None
    assert get("replica", "--yes", "--progress", "none") == 0
    assert server.ranges_asked == ["", f"bytes={len(server.data) // 2}-"]
    assert kept(tmp_path) == [] and list(downloads.iterdir()) == []
