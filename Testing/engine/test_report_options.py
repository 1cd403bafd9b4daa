"""`--pdf` and `--anonymous` on the command line."""

from __future__ import annotations

import pytest

from flareseg.cli import main
from flareseg.io.files import write_volume


@pytest.mark.parametrize("flag", ["--pdf", "--anonymous"])
def test_options_of_a_report_need_a_report(flag, small_ct, tmp_path, capsys):
    write_volume(small_ct, tmp_path / "ct.nii.gz")
    assert main(["segment", str(tmp_path / "ct.nii.gz"), flag]) == 2
    text = capsys.readouterr().err
    assert flag in text and "--report DIR" in text and text.count("\n") == 1


def test_a_report_that_names_its_case_is_not_taken_for_one_that_hides_it(segment_quickly, small_ct, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="reports need matplotlib")
    ct, out, folder = tmp_path / "in" / "Mustermann.nii.gz", tmp_path / "out" / "a.nii.gz", tmp_path / "r"
    write_volume(small_ct, ct)
    asked = [ct, "-o", out, "--skip-existing", "--report", folder]
    assert segment_quickly(*asked) == 0
    assert "Mustermann" in (folder / "report.html").read_text(encoding="utf-8")
    capsys.readouterr()
    assert segment_quickly(*asked, "--anonymous", "--pdf") == 0
    assert "Done again" in capsys.readouterr().err
    assert {path.name for path in folder.iterdir()} == {"overview.png", "report.html", "report.pdf"}
    assert all(b"Mustermann" not in path.read_bytes() for path in folder.iterdir())
