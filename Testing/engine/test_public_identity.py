"""What is got is what the catalogue says, and what is installed is known by where it comes from: else one line."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from flareseg.cli import main
from flareseg.public.get import _sentence
from flareseg.public.transport import DownloadError

sys.path.insert(0, str(Path(__file__).parent))
from public_replicas import catalogue_of, decathlon_zip, entry, installed, totalsegmentator_zip

ADDRESS = "http://127.0.0.1:9/model.zip"


pytestmark = pytest.mark.usefixtures("own_folders")


def get(*arguments: object) -> int:
    return main(["models", "get", "replica", "--progress", "none", *map(str, arguments)])


def two_nets() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for folder in ("a/nnUNetTrainer__nnUNetPlans__3d_fullres", "b/nnUNetTrainer__nnUNetPlans__3d_fullres"):
            with zipfile.ZipFile(io.BytesIO(totalsegmentator_zip("3d_fullres", folder))) as one:
                for info in one.infolist():
                    archive.writestr(info.filename, one.read(info))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("content", "changes", "words"),
    [
        (totalsegmentator_zip, {"structures": ["liver", "tumor", "spleen"]}, "label 3 is missing in the file"),
        (totalsegmentator_zip, {"structures": ["liver"]}, "label 2 is 'tumour' in the file, and missing in the cat"),
        (totalsegmentator_zip, {"structures": ["cancer", "liver"]}, "label 1 is 'liver' in the file, and 'tumour'"),
        (lambda: b"PK damaged", {}, "is damaged, or holds no nnU-Net model"),
        (totalsegmentator_zip, {"layout": "nnunet-v1"}, "holds a model of nnU-Net v2"),
        (decathlon_zip, {"configuration": "3d_fullres"}, "holds a model of nnU-Net v1"),
        (decathlon_zip, {"structures": ["a"], "layout": "nnunet-v1", "configuration": "3d_fullres"}, "entry names 1"),
        (two_nets, {}, "its catalogue entry has to name one as 'configuration'"),
    ],
)
def test_a_file_that_is_not_what_the_entry_says_is_one_line(
    content: Any, changes: dict[str, Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalogue_of(tmp_path / "data" / "catalogue.json")(entry(ADDRESS, **changes))
    file = tmp_path / "model.zip"
    file.write_bytes(content())
    assert get("--from", file) == 1
    text = capsys.readouterr().err
    assert words in text and text.count("\n") == 1 and "--" not in text
    assert installed() == []


def test_a_model_that_only_has_the_name_of_an_entry_is_not_installed_from_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalogue_of(tmp_path / "data" / "catalogue.json")(entry(ADDRESS))
    file = tmp_path / "model.zip"
    file.write_bytes(totalsegmentator_zip())
    assert main(["models", "import", str(file), "--name", "replica"]) == 0
    assert main(["models", "available"]) == 0
    assert "  installed" not in capsys.readouterr().out
    assert get("--from", file) == 1
    text = capsys.readouterr().err
    assert "is not the public model of that name" in text and "flareseg models remove replica" in text
    assert get("--from", file, "--name", "public") == 0 and get() == 0
    assert installed() == ["public", "replica"]


def test_no_sentence_ends_twice() -> None:
    assert _sentence(DownloadError("Is this computer offline?")) == "Is this computer offline?"
    assert _sentence(DownloadError("It is")) == "It is."
