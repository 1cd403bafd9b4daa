"""`--skip-existing`: only what is whole, of the same CT, model and options, is taken; the same command always runs."""

import csv
import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from flareseg.cases.manifest import NAME, Manifest, Record
from flareseg.io.files import read_labels, write_segmentation, write_volume
from flareseg.labels import structures
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Volume


@pytest.fixture
def run(segment_quickly, small_ct, tmp_path, capsys):
    """Segments the three CTs of `cts` into `out` with `--skip-existing`; gives exit status and standard error."""
    for name in ("a", "b", "c"):
        write_volume(small_ct, tmp_path / "cts" / f"{name}.nii.gz")

    def command(*options: object, source: str = "cts", output: str = "out", **more: object) -> tuple[int, str]:
        capsys.readouterr()
        status = segment_quickly(tmp_path / source, "-o", tmp_path / output, "--skip-existing", *options, **more)
        text = capsys.readouterr().err
        assert "Traceback" not in text
        return status, text

    return command


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


def stamps(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in out.glob("*.nii.gz")}


def cases_of(table: Path) -> list[str]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(dict.fromkeys(row["case"] for row in csv.DictReader(file)))


def records(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / NAME).read_text(encoding="utf-8").splitlines() if line]


def other_label_map(path: Path, ct: Volume) -> bytes:
    labels = np.zeros(ct.hu.shape, np.uint8)
    labels[0, 0, 0] = 1
    write_segmentation(Segmentation(labels, ct.geometry, structures()), path, overwrite=True)
    return path.read_bytes()


def test_the_manifest_tells_how_each_result_was_made(run, out, tmp_path):
    assert run()[0] == 0
    done = {one["case"]: one for one in records(out) if one["status"] == "done"}
    assert list(done) == ["a", "b", "c"]
    one = done["a"]
    assert one["source"]["path"] == str((tmp_path / "cts" / "a.nii.gz").resolve())
    assert one["source"]["size"] == (tmp_path / "cts" / "a.nii.gz").stat().st_size
    assert one["order"]["model"] == "random 1.0" and len(one["order"]["weights"][0]) == 64
    assert one["outputs"]["a.nii.gz"]["size"] == (out / "a.nii.gz").stat().st_size
    assert one["rows"][0]["structure"] == "liver" and one["flareseg"]


def test_the_same_command_does_nothing_more(run, out):
    assert run()[0] == 0
    before = stamps(out)
    status, text = run(progress="bar")
    assert (status, stamps(out)) == (0, before)
    assert "3 cases were done before" in text


@pytest.mark.parametrize("table", ["m.csv", "m.json"])
def test_tables_hold_all_cases_after_a_resume(run, out, tmp_path, table):
    assert run("--measurements", tmp_path / table)[0] == 0
    first = (tmp_path / table).read_bytes()
    (out / "b.nii.gz").unlink()
    assert run("--measurements", tmp_path / table)[0] == 0
    assert (tmp_path / table).read_bytes() == first
    (tmp_path / table).unlink()
    assert run("--measurements", tmp_path / table)[0] == 0
    assert (tmp_path / table).read_bytes() == first


def test_a_table_can_be_asked_for_after_the_run(run, tmp_path):
    assert run()[0] == 0
    assert run("--measurements", tmp_path / "m.csv")[0] == 0
    assert cases_of(tmp_path / "m.csv") == ["a", "b", "c"]


def test_a_table_of_something_else_is_not_replaced(run, tmp_path, capsys):
    (tmp_path / "m.csv").write_text("name,age\nx,1\n")
    assert run("--measurements", tmp_path / "m.csv")[0] == 1
    assert (tmp_path / "m.csv").read_text() == "name,age\nx,1\n"


def test_a_bad_case_is_tried_again_and_stays_out_of_the_table(run, out, tmp_path):
    (tmp_path / "cts" / "b.nii.gz").write_bytes(b"no CT")
    for _ in range(2):
        status, text = run("--measurements", tmp_path / "m.csv")
        assert status == 1 and "b.nii.gz" in text
        assert cases_of(tmp_path / "m.csv") == ["a", "c"]
    assert [one["message"] for one in records(out) if one["status"] == "failed"]


def test_reports_are_made_for_all_cases(run, out, tmp_path):
    pytest.importorskip("matplotlib", reason="reports need matplotlib")
    assert run()[0] == 0
    assert "report.html' is missing" in run("--report", tmp_path / "r")[1].replace("overview.png", "report.html")
    before = stamps(out)
    (tmp_path / "r" / "b" / "report.html").unlink()
    status, text = run("--report", tmp_path / "r")
    assert status == 0 and text.count("Done again") == 1 and "report.html" in text
    assert all((tmp_path / "r" / name / "report.html").exists() for name in "abc")
    after = stamps(out)
    assert [name for name in after if after[name] != before[name]] == ["b.nii.gz"]


@pytest.mark.parametrize("damage", ["cut", "empty", "other bytes", "gone"])
def test_a_damaged_result_is_done_again(run, out, damage):
    assert run()[0] == 0
    path = out / "b.nii.gz"
    good = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": good[:-20], "empty": b"", "other bytes": b"x" * len(good)}[damage])
    status, text = run()
    assert status == 0 and path.read_bytes() == good
    assert ("Done again" in text) == (damage != "gone")


def test_a_result_that_was_corrected_by_hand_is_kept(run, out, small_ct):
    assert run()[0] == 0
    mine = other_label_map(out / "b.nii.gz", small_ct)
    status, text = run()
    assert status == 1 and "b.nii.gz' was changed after flareseg wrote it" in text
    assert (out / "b.nii.gz").read_bytes() == mine
    assert run("--overwrite")[0] == 0
    assert (out / "b.nii.gz").read_bytes() != mine


@pytest.mark.parametrize("options", [["--structures", "liver"], ["--step", "0.5"], ["--tta"], ["--force"]])
def test_other_options_are_done_again(run, out, options):
    assert run()[0] == 0
    status, text = run(*options)
    assert status == 0 and text.count("other options") == 3
    assert run(*options) == (0, "")


def test_a_region_is_an_option(run):
    assert run("--roi", 0, 50, 0, 50, 0, 20)[0] == 0
    assert run("--roi", 0, 50, 0, 50, 0, 20) == (0, "")
    assert run("--roi", 0, 50, 0, 50, 0, 25)[1].count("(roi)") == 3


def test_another_device_or_number_of_threads_is_no_other_result(run):
    assert run("--threads", "1")[0] == 0
    assert run("--threads", "2", "--device", "cpu") == (0, "")


def test_another_model_is_done_again(run, a_model, tmp_path):
    assert run()[0] == 0
    shutil.copytree(a_model, tmp_path / "model")
    assert run(model=tmp_path / "model") == (0, "")
    description = json.loads((tmp_path / "model" / "model.json").read_text())
    (tmp_path / "model" / "model.json").write_text(json.dumps(description | {"version": "1.1"}))
    assert run(model=tmp_path / "model")[1].count("other options (model)") == 3


def test_a_ct_that_has_changed_is_done_again(run, small_ct, tmp_path):
    assert run()[0] == 0
    hu = small_ct.hu.copy()
    hu[1] = 30
    write_volume(Volume(hu, small_ct.geometry), tmp_path / "cts" / "b.nii.gz", overwrite=True)
    status, text = run()
    assert status == 0 and text.count("Done again") == 1 and "its input has changed" in text


def test_a_ct_of_the_same_size_and_date_is_told_apart(run, small_ct, tmp_path):
    for uncompressed in ("x", "y"):
        write_volume(small_ct, tmp_path / "raw" / f"{uncompressed}.nii")
    assert run(source="raw", output="o")[0] == 0
    path = tmp_path / "raw" / "x.nii"
    about = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert run(source="raw", output="o")[1].count("its input has changed") == 1


def test_a_dicom_folder_with_another_slice_is_done_again(run, dicom_series, tmp_path):
    for name in ("p", "q"):
        dicom_series(tmp_path / "dicom" / name, uid=f"1.2.{ord(name)}")
    assert run(source="dicom", output="o")[0] == 0
    assert run(source="dicom", output="o") == (0, "")
    dicom_series(tmp_path / "dicom" / "p", uid=f"1.2.{ord('p')}", first=6, count=1)
    assert run(source="dicom", output="o")[1].count("its input has changed") == 1


def test_other_cts_of_the_same_names_are_done_again(run, small_ct, tmp_path):
    assert run()[0] == 0
    shutil.copytree(tmp_path / "cts", tmp_path / "others")
    assert run(source="others")[1].count("made from another input") == 3


@pytest.mark.parametrize("content", [b"notes of mine", b"\x1f\x8b broken", None])
def test_a_foreign_file_is_told_and_kept(run, out, small_ct, content):
    out.mkdir()
    path = out / "b.nii.gz"
    if content is None:  # a label map of another CT
        grid = Geometry((4, 5, 6), (1.0, 1.0, 1.0))
        write_segmentation(Segmentation(np.zeros((4, 5, 6), np.uint8), grid, structures()), path)
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    for _ in range(2):
        status, text = run()
        assert status == 1 and "b.nii.gz" in text and "--overwrite" in text and text.count("\n") == 1
        assert path.read_bytes() == before
        assert sorted(stamps(out)) == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]
    assert run("--overwrite")[0] == 0
    assert path.read_bytes() == (out / "a.nii.gz").read_bytes()
    assert run() == (0, "")


def test_an_empty_file_is_told_and_done(run, out):
    out.mkdir()
    (out / "b.nii.gz").touch()
    status, text = run()
    assert status == 0 and "'b.nii.gz' is empty" in text
    assert (out / "b.nii.gz").read_bytes() == (out / "a.nii.gz").read_bytes()


def test_a_label_map_from_before_manifests_is_taken_with_a_message(run, out, small_ct, tmp_path):
    out.mkdir()
    mine = other_label_map(out / "b.nii.gz", small_ct)
    status, text = run("--measurements", tmp_path / "m.csv")
    assert status == 0 and "b.nii.gz' was there before the manifest" in text
    assert (out / "b.nii.gz").read_bytes() == mine
    assert cases_of(tmp_path / "m.csv") == ["a", "b", "c"]
    assert run() == (0, "")
    status, text = run("--structures", "liver")
    assert status == 1 and (out / "b.nii.gz").read_bytes() == mine


def test_labels_that_nobody_asked_for_are_foreign(run, out, small_ct):
    out.mkdir()
    labels = np.full(small_ct.hu.shape, 99, np.uint8)
    write_segmentation(Segmentation(labels, small_ct.geometry, structures()), out / "b.nii.gz")
    assert run()[0] == 1


def test_what_a_killed_run_left_is_done_again(run, out, monkeypatch):
    """The result is written, the line that says so is not."""
    append = Manifest.append

    def killed(self, record: Record) -> None:
        if (record.status, record.case) == ("done", "b"):
            raise KeyboardInterrupt
        append(self, record)

    monkeypatch.setattr(Manifest, "append", killed)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert (out / "b.nii.gz").exists() and not (out / "c.nii.gz").exists()
    monkeypatch.setattr(Manifest, "append", append)
    status, text = run()
    assert status == 0 and "the run that began it did not end" in text
    assert len(stamps(out)) == 3


def test_a_result_without_its_last_line_is_done_again(run, out):
    assert run()[0] == 0
    lines = (out / NAME).read_bytes().splitlines(keepends=True)
    assert json.loads(lines[-1])["case"] == "c"
    (out / NAME).write_bytes(b"".join(lines[:-1]) + lines[-1][:100])
    status, text = run()
    assert status == 0 and "did not end" in text and text.count("Done again") == 1
    assert run() == (0, "")
    assert b"\n\n" not in (out / NAME).read_bytes()


@pytest.mark.parametrize(
    "garbage", [b"\x00\xff\n", b"[]\n", b"{}\n", b'{"flareseg_manifest": 1}\n', b"[" * 9999 + b"\n"]
)
def test_lines_that_are_none_are_passed_over(run, out, garbage):
    assert run()[0] == 0
    (out / NAME).write_bytes(garbage + (out / NAME).read_bytes() + garbage)
    assert run() == (0, "")


def test_a_file_that_is_put_where_a_case_failed_is_foreign(run, out, small_ct, tmp_path):
    ct = tmp_path / "cts" / "b.nii.gz"
    good = ct.read_bytes()
    ct.write_bytes(b"no CT")
    assert run()[0] == 1
    (out / "b.nii.gz").write_bytes(b"made elsewhere")
    ct.write_bytes(good)
    assert run()[0] == 1
    assert (out / "b.nii.gz").read_bytes() == b"made elsewhere"


def test_two_runs_at_once_leave_whole_lines(tmp_path):
    def write(name: str) -> None:
        manifest = Manifest(tmp_path)
        for number in range(50):
            manifest.append(
                Record("done", f"{name}{number}", {}, {}, {f"{name}{number}": {"size": 1}}, [{"x": "y" * 3000}])
            )
        manifest.end()

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(records(tmp_path)) == 200
    assert all(Manifest(tmp_path).last_of(tmp_path / f"{name}{n}") for name in "abcd" for n in range(50))


def test_what_another_run_has_done_meanwhile_is_known(run, out, monkeypatch):
    """The manifest is read as it is when a case's turn comes, not as it was when the run began."""
    assert run()[0] == 0
    before = stamps(out)
    real = Manifest.__init__

    def early(self, folder: Path) -> None:
        real(self, folder)
        self._last.clear()
        self._read.clear()

    monkeypatch.setattr(Manifest, "__init__", early)
    assert run() == (0, "")
    assert stamps(out) == before


def test_one_file_needs_no_manifest(segment_quickly, small_ct, tmp_path):
    ct = write_volume(small_ct, tmp_path / "cts" / "a.nii.gz")
    assert segment_quickly(ct, "-o", tmp_path / "o" / "x.nii.gz") == 0
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["x.nii.gz"]
    for _ in range(3):
        assert segment_quickly(ct, "-o", tmp_path / "o" / "x.nii.gz", "--skip-existing") == 0
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == [NAME, "x.nii.gz"]


def test_several_results_of_a_case_are_done_together(segment_quickly, small_ct, tmp_path):
    ct = write_volume(small_ct, tmp_path / "a.nii.gz")
    command = [ct, "-o", tmp_path / "o.nii.gz", "-o", tmp_path / "o.seg.nrrd", "--skip-existing"]
    assert segment_quickly(*command) == 0
    (tmp_path / "o.seg.nrrd").unlink()
    assert segment_quickly(*command) == 0
    assert np.array_equal(read_labels(tmp_path / "o.seg.nrrd")[0], read_labels(tmp_path / "o.nii.gz")[0])
    assert segment_quickly(*command) == 0


def test_without_skip_existing_results_are_kept_as_ever(segment_quickly, small_ct, tmp_path, capsys):
    for name in ("a", "b"):
        write_volume(small_ct, tmp_path / "cts" / f"{name}.nii.gz")
    assert segment_quickly(tmp_path / "cts", "-o", tmp_path / "o") == 0
    assert segment_quickly(tmp_path / "cts", "-o", tmp_path / "o") == 1
    assert capsys.readouterr().err.count("use --overwrite") == 2
    assert segment_quickly(tmp_path / "cts", "-o", tmp_path / "o", "--overwrite") == 0


@pytest.mark.skipif(os.name != "posix", reason="names are bytes only there")
def test_a_name_of_other_bytes_is_a_case_and_resumes(run, out, tmp_path):
    odd = os.fsdecode(os.fsencode(tmp_path / "cts") + b"/M\xfcller.nii.gz")
    try:
        (tmp_path / "cts" / "a.nii.gz").rename(odd)
    except OSError:
        pytest.skip("this disk takes only UTF-8")
    for _ in range(2):
        assert run("--measurements", tmp_path / "m.csv", "--report", tmp_path / "r") == (0, "")
    assert b"M\xfcller.nii.gz" in [os.fsencode(path.name) for path in out.iterdir()]
    assert cases_of(tmp_path / "m.csv") == ["M\\xfcller", "b", "c"]
    assert b"M\\xfcller" in Path(os.fsdecode(os.fsencode(tmp_path) + b"/r/M\xfcller/report.html")).read_bytes()
