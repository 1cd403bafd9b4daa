"""A zip is a model or refused: nothing is unpacked that could do harm."""

from __future__ import annotations

import os
import stat
import sys
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bundles import contents, refusal, save_model, zip_of

from flareseg.model.storage import CARD, JSON, WEIGHTS
from flareseg.system import zip_bombs


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_model(tmp_path / "tiny")


# Hostile zips


@pytest.mark.parametrize(
    "name",
    ["../evil.txt", "tiny/../../evil", "/model.json", "a/b/model.json", "tiny\\evil", "setup.py", "tiny/setup.py"],
)
def test_a_zip_with_anything_but_a_model_is_refused_and_nothing_is_unpacked(
    model: Path, tmp_path: Path, name: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    path = zip_of(contents(model) | {name: b"evil"}, tmp_path / "evil.zip")
    assert "evil.zip' holds" in refusal(path)
    only = zip_of({name: b"evil"}, path)
    assert refusal(only)
    path.unlink()
    assert sorted(tmp_path.rglob("*")) == before


def test_links_doubles_and_unknown_packing_in_a_zip_are_refused(model: Path, tmp_path: Path) -> None:
    link = zipfile.ZipInfo(CARD)
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = tmp_path / "link.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(JSON, (model / JSON).read_bytes())
        archive.writestr(link, "/etc/passwd")
    assert "does not belong" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(JSON, b"{}")
        archive.writestr(JSON, b"{}")
    assert "does not belong" in refusal(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr(JSON, (model / JSON).read_bytes())
    assert "rare method" in refusal(path)


def test_a_zip_bomb_is_refused_unpacked_neither_by_its_true_nor_by_a_forged_size(model: Path, tmp_path: Path) -> None:
    bomb = zip_of({JSON: b" " * 50_000_000}, tmp_path / "bomb.zip")
    assert "50,000,000 bytes" in refusal(bomb)
    data = bomb.read_bytes().replace((50_000_000).to_bytes(4, "little"), (5000).to_bytes(4, "little"))
    bomb.write_bytes(data)
    assert "damaged" in refusal(bomb)
    weights = zip_of(contents(model) | {WEIGHTS: bytes(50_000_000)}, tmp_path / "weights.zip")
    assert "50,000,000 bytes" in refusal(weights)


def test_weights_that_unpack_to_a_thousand_times_their_size_are_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zip_bombs, "LARGE_BYTES", 1000)
    path = zip_of(contents(model) | {WEIGHTS: bytes((model / WEIGHTS).stat().st_size)}, tmp_path / "zeros.zip")
    assert "would unpack to" in refusal(path)


def test_a_zip_with_thousands_of_entries_is_refused_unread(tmp_path: Path) -> None:
    path = zip_of({f"{n}/model.json": b"" for n in range(2000)}, tmp_path / "many.zip")
    assert "too much to be a model" in refusal(path)


def test_a_second_end_hides_no_long_table_of_contents(tmp_path: Path) -> None:
    path = zip_of({f"{n}/model.json": b"" for n in range(2000)}, tmp_path / "many.zip")
    data = path.read_bytes()
    # In the last record, where the directory begins: zipfile takes this record, a search from behind the other.
    path.write_bytes(data[:-6] + b"PK\5\6" + data[-2:])
    assert "too much to be a model" in refusal(path)


def test_a_zip_with_a_nameless_entry_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nameless.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(zipfile.ZipInfo(""), b"")
    assert "does not belong in a model" in refusal(path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_devices_pipes_and_files_without_a_size_are_refused_at_once(model: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path / "pipe"):
        assert "neither a model folder nor a zip" in refusal(path)
        (model / JSON).unlink()
        (model / JSON).symlink_to(path)
        assert "is not a file" in refusal(model)
    if Path("/proc/self/environ").exists():  # it states no size, and holds something
        (model / JSON).unlink()
        (model / JSON).symlink_to("/proc/self/environ")
        assert "not valid JSON" in refusal(model)


def test_names_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for name in ("x" * 5000, "nul\0"):
        assert refusal(tmp_path / name)


def test_a_truncated_or_altered_zip_is_refused(model: Path, tmp_path: Path) -> None:
    path = zip_of(contents(model), tmp_path / "tiny.zip")
    data = path.read_bytes()
    middle = len(data) // 2
    for broken in (data[:middle], data[middle:], data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]):
        path.write_bytes(broken)
        assert refusal(path)
