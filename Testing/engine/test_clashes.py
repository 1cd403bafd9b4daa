"""No file of a run is written over an input, whatever the names; and no two are one."""

import gzip
import os
from pathlib import Path

import pytest

from flareseg.cases import same_file as places
from flareseg.cases.same_file import Places, folds_case
from flareseg.cli import main
from flareseg.io.files import write_volume

POSIX = pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def refused(segment_quickly, tmp_path, monkeypatch, capsys):
    """Runs a command, with --overwrite and without, that must be refused and change nothing; returns its message."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> str:
        before = content_of(tmp_path)
        capsys.readouterr()
        for options in ([], ["--overwrite"], ["--skip-existing"], ["--overwrite", "--skip-existing"]):
            assert segment_quickly(*arguments, *options) == 2
            text = capsys.readouterr().err
            assert text.count("\n") == 1 and "Traceback" not in text
        assert content_of(tmp_path) == before
        return text

    return run


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("cts/a.nii.gz", "cts/a.nii.gz"),
        ("cts/a.nii.gz", "./cts/../cts/a.nii.gz"),
        ("cts/a.nii.gz", "{base}/cts/a.nii.gz"),
        ("{base}/cts/a.nii.gz", "cts/a.nii.gz"),
        ("cts/a.nii.gz", "cts"),
        ("cts/../cts/a.nii.gz", "{base}/cts"),
        ("cts", "cts"),
        ("cts", "cts/"),
        ("cts", "{base}/cts/../cts"),
        (".", "cts"),
    ],
)
def test_a_result_is_never_written_over_its_ct(refused, small_ct, tmp_path, source, output):
    write_volume(small_ct, tmp_path / "cts" / "a.nii.gz")
    write_volume(small_ct, tmp_path / "cts" / "b.nii.gz")
    text = refused(source.format(base=tmp_path), "-o", output.format(base=tmp_path))
    assert "a.nii.gz" in text or "cts" in text


@POSIX
@pytest.mark.parametrize("kind", ["soft", "hard", "folder", "soft input", "hard input"])
def test_links_to_a_ct_are_the_ct(refused, small_ct, tmp_path, kind):
    ct = write_volume(small_ct, tmp_path / "cts" / "a.nii.gz")
    other = tmp_path / "out" / "a.nii.gz"
    if kind == "folder":
        (tmp_path / "out").symlink_to(ct.parent, target_is_directory=True)
    else:
        other.parent.mkdir()
        (other.symlink_to if kind.startswith("soft") else other.hardlink_to)(ct)
    source, output = (other, ct) if "input" in kind else (ct, other)
    assert "written over" in refused(source, "-o", output)


def test_the_result_of_one_case_is_never_written_over_the_ct_of_another(refused, small_ct, tmp_path):
    for name in ("a", "a_flareseg"):
        write_volume(small_ct, tmp_path / f"{name}.nii.gz")
    assert "'a_flareseg.nii.gz', the result of 'a'" in refused("a.nii.gz", "a_flareseg.nii.gz")


@pytest.mark.parametrize(
    ("header", "text", "data"),
    [
        ("x.mhd", "ElementDataFile = x.raw", "x.raw"),
        ("x.mhd", "elementdatafile=voxels.nii", "voxels.nii"),
        ("x.mhd", "ElementDataFile = LIST\na.nii\nb.nii", "b.nii"),
        ("x.mhd", "ElementDataFile = s%02d.nii 1 2 1", "s02.nii"),
        ("x.nhdr", "NRRD0004\ndata file: voxels.nii", "voxels.nii"),
        ("x.nrrd", "NRRD0004\r\ndatafile: sub/voxels.nii\r", "sub/voxels.nii"),
        ("x.nhdr", "NRRD0004\nData File: LIST\nvoxels.nii", "voxels.nii"),
        ("x.mha", "ElementDataFile = table.csv", "table.csv"),
    ],
)
def test_the_data_of_a_detached_header_are_an_input(refused, small_ct, tmp_path, header, text, data):
    (tmp_path / data).parent.mkdir(exist_ok=True)
    (tmp_path / data).write_bytes(b"voxels")
    (tmp_path / header).write_text(f"{text}\n")
    output = tmp_path / "link.nii"
    if data.endswith(".nii"):
        assert "written over" in refused(header, "-o", data)
    elif data.endswith(".csv"):
        assert "written over" in refused(header, "-o", "o.nii.gz", "--measurements", data)
    else:
        if os.name == "posix":
            output.hardlink_to(tmp_path / data)
            assert "written over" in refused(header, "-o", output)


@pytest.mark.parametrize("output", ["dicom/o.nii.gz", "dicom/deep/er/o.nii.gz", "dicom/new", "dicom"])
def test_nothing_is_written_into_a_dicom_folder(refused, dicom_series, tmp_path, output):
    dicom_series(tmp_path / "dicom" / "series")
    assert "DICOM folder" in refused("dicom", "-o", output)


@POSIX
def test_links_into_and_out_of_a_dicom_folder_are_followed(refused, dicom_series, tmp_path):
    dicom_series(tmp_path / "store" / "series")
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "series").symlink_to(tmp_path / "store", target_is_directory=True)
    (tmp_path / "out").symlink_to(tmp_path / "store" / "series", target_is_directory=True)
    assert "DICOM folder" in refused("case", "-o", "store/o.nii.gz")
    assert "DICOM folder" in refused("case", "-o", "out/o.nii.gz")
    assert "DICOM folder" in refused("store/series/IM0001", "-o", "out/o.nii.gz")


@POSIX
def test_an_output_that_is_a_slice_by_a_hard_link_is_refused(refused, dicom_series, tmp_path):
    folder = dicom_series(tmp_path / "dicom")
    (tmp_path / "o.nii.gz").hardlink_to(folder / "IM0003")
    assert "DICOM folder" in refused("dicom", "-o", "o.nii.gz")


@pytest.mark.parametrize("option", ["--report", "--preview", "--measurements"])
def test_reports_previews_and_tables_stay_out_of_dicom_folders(refused, dicom_series, option):
    dicom_series(Path("dicom"))
    value = "dicom/m.csv" if option == "--measurements" else "dicom/new"
    assert "DICOM folder" in refused("dicom", "-o", "o.nii.gz", option, value)


def test_a_preview_is_not_written_over_a_ct(refused, small_ct, tmp_path):
    write_volume(small_ct, tmp_path / "cts" / "a.nrrd")
    assert "preview" in refused("cts/a.nrrd", "-o", "o.nii.gz", "--preview", "cts")


def test_a_preview_is_not_written_over_another_ct(segment_quickly, small_ct, tmp_path, capsys):
    write_volume(small_ct, tmp_path / "cts" / "a.nii.gz")
    other = write_volume(small_ct, tmp_path / "others" / "a.nrrd")
    before = other.read_bytes()
    assert segment_quickly(tmp_path / "cts", "-o", tmp_path / "o", "--preview", tmp_path / "others") == 1
    assert other.read_bytes() == before and "a.nrrd" in capsys.readouterr().err
    for _ in range(2):  # an earlier preview is replaced
        assert segment_quickly(tmp_path / "cts", "-o", tmp_path / "o", "--preview", tmp_path / "p", "--overwrite") == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["-o", "o.nii.gz", "-o", "./o.nii.gz"],
        ["-o", "o.nii.gz", "-o", "x/../o.nii.gz"],
        ["-o", "o.nii.gz", "--report", "o.nii.gz"],
        ["-o", "o.nii.gz", "--preview", "o.nii.gz"],
        ["-o", "o", "--measurements", "m.csv", "--report", "m.csv"],
    ],
)
def test_two_outputs_that_are_one_file_are_refused(refused, small_ct, tmp_path, arguments):
    write_volume(small_ct, tmp_path / "ct.nii.gz")
    assert "both" in refused("ct.nii.gz", *arguments)


@POSIX
def test_a_table_that_links_to_the_result_is_refused(refused, small_ct, tmp_path):
    write_volume(small_ct, tmp_path / "ct.nii.gz")
    (tmp_path / "m.csv").symlink_to("o.nii.gz")
    assert "both" in refused("ct.nii.gz", "-o", "o.nii.gz", "--measurements", "m.csv")


def test_names_that_differ_by_case_are_one_where_the_disk_says_so(refused, small_ct, tmp_path, monkeypatch):
    for name in ("a.nii.gz", "A.nii.gz"):
        write_volume(small_ct, tmp_path / "cts" / name)
    if len(list((tmp_path / "cts").iterdir())) == 1:
        pytest.skip("this disk keeps no two such files")
    monkeypatch.setattr(places, "folds_case", lambda folder: True)
    assert "both" in refused("cts", "-o", "out")


def test_a_disk_is_asked_whether_it_tells_cases_apart(tmp_path):
    (tmp_path / "Abc").write_text("")
    assert folds_case(str(tmp_path)) == (tmp_path / "aBC").exists()
    assert Places().of(tmp_path / "new" / "Abc") != Places().of(tmp_path / "new" / "abd")


@pytest.mark.parametrize("layout", ["files", "nested", "dicom"])
def test_results_among_cts_are_refused_with_a_way_on(refused, small_ct, dicom_series, tmp_path, layout):
    for name in ("a", "b"):
        if layout == "dicom":
            dicom_series(tmp_path / "cts" / name, uid=f"1.2.{len(name)}{ord(name)}")
        else:
            write_volume(small_ct, tmp_path / "cts" / (f"{name}/ct.nrrd" if layout == "nested" else f"{name}.nrrd"))
    text = refused("cts", "-o", "cts")
    assert "cts_results" in text


@pytest.mark.parametrize("arguments", [["-o", "cts", "--format", ".seg.nrrd"], []])
def test_results_among_cts_that_are_known_by_their_names_are_written(
    segment_quickly, small_ct, tmp_path, monkeypatch, arguments
):
    for name in ("a", "b"):
        write_volume(small_ct, tmp_path / "cts" / f"{name}.nii.gz")
    monkeypatch.chdir(tmp_path if arguments else tmp_path / "cts")
    assert segment_quickly("cts" if arguments else ".", *arguments) == 0
    assert segment_quickly("cts" if arguments else ".", *arguments, "--skip-existing") == 0
    assert len([path for path in (tmp_path / "cts").iterdir() if path.suffix != ".jsonl"]) == 4


@pytest.mark.parametrize("names", ["a", "ab"])
def test_results_below_the_cts_are_not_segmented_by_the_next_run(segment_quickly, small_ct, tmp_path, names):
    for name in names:
        write_volume(small_ct, tmp_path / "cts" / f"{name}.nii.gz")
    command = [tmp_path / "cts", "-o", tmp_path / "cts" / "results"]
    assert segment_quickly(*command) == 0
    before = content_of(tmp_path / "cts")
    assert segment_quickly(*command, "--skip-existing") == 0
    assert content_of(tmp_path / "cts") == before


def test_previews_below_the_cts_are_refused(refused, small_ct, tmp_path):
    write_volume(small_ct, tmp_path / "cts" / "a.nii.gz")
    assert "--preview" in refused("cts", "-o", "o", "--preview", "cts/first")


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "p/a.nii.gz", "r/a.nii.gz", "-o", "p/a.nii.gz", "--overwrite"],
        ["evaluate", "p/a.nii.gz", "r/a.nii.gz", "-o", "r/../r/a.nii.gz", "--overwrite"],
        ["evaluate", "p", "r", "-o", "r/a.nii.gz", "--overwrite"],
        ["bench", "p/a.nii.gz", "--json", "./p/a.nii.gz"],
    ],
)
def test_other_commands_keep_their_inputs_too(small_ct, tmp_path, monkeypatch, arguments, capsys):
    monkeypatch.chdir(tmp_path)
    for folder in ("p", "r"):
        write_volume(small_ct, tmp_path / folder / "a.nii.gz")
    before = content_of(tmp_path)
    assert main(arguments) == 2
    assert "written over" in capsys.readouterr().err and content_of(tmp_path) == before


def test_a_table_of_another_ending_is_refused_before_the_work(refused, small_ct, tmp_path):
    write_volume(small_ct, tmp_path / "ct.nii.gz")
    assert "m.txt" in refused("ct.nii.gz", "-o", "o.nii.gz", "--measurements", "m.txt")


def test_the_way_to_an_output_may_be_very_deep(segment_quickly, small_ct, a_folder_of_deep_ones, capsys):
    ct = write_volume(small_ct, a_folder_of_deep_ones / "ct.nii.gz")
    assert segment_quickly(ct, "-o", "/".join(["d"] * 1500) + "/o.nii.gz") == 0
    assert capsys.readouterr().err == ""
    assert segment_quickly(ct, "-o", "/".join(["d"] * 3000) + "/o.nii.gz") == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_data_of_a_pair_of_header_and_image_are_an_input(tmp_path):
    from flareseg.cases.clashes import files_of

    for name in ("a.hdr", "a.img", "b.hdr", "b.img.gz", "c.mhd", "c.zraw"):
        (tmp_path / name).write_bytes(gzip.compress(b""))
    assert tmp_path / "a.img" in files_of(tmp_path / "a.hdr")
    assert tmp_path / "a.hdr" in files_of(tmp_path / "a.img")
    assert tmp_path / "b.img.gz" in files_of(tmp_path / "b.hdr")
    assert tmp_path / "c.zraw" in files_of(tmp_path / "c.mhd")
