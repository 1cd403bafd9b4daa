"""Which cases a command finds, and that each has a name of its own."""

import json
import os
import sys
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from dicom_files import write_dicomdir

from flareseg.cases.clashes import Written, refuse_clashes
from flareseg.cases.find import Case, find_cases
from flareseg.cases.manifest import NAME, STARTED, Manifest, Record
from flareseg.errors import UsageError
from flareseg.io.files import read_volume, write_volume


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def names(*inputs: Path) -> list[str]:
    return [case.name for case in find_cases(inputs).cases]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["a.nii.gz", "b.nrrd", "c.mha"], ["a", "b", "c"]),
        (["p1/ct.nii.gz", "p2/ct.nii.gz"], ["p1", "p2"]),
        (["p1/ct.nii.gz"], ["p1"]),
        (["p1/imaging.nii.gz", "p2/imaging.nii.gz"], ["p1", "p2"]),
        (["p1/s1/ct.nii.gz", "p1/s2/ct.nii.gz", "p2/s1/ct.nii.gz"], ["p1_s1", "p1_s2", "p2_s1"]),
        (["2021/x.nii.gz", "2022/y.nii.gz"], ["x", "y"]),
        (["2021/x.nii.gz", "2022/x.nii.gz"], ["2021", "2022"]),
        (["a/x.nii", "a/y.nii", "b/x.nii", "b/y.nii"], ["a_x", "a_y", "b_x", "b_y"]),
        (["ct.nii.gz", "p1/ct.nii.gz"], ["ct", "p1"]),
        (["x.nii.gz", "x.nrrd"], ["x_nii_gz", "x_nrrd"]),
        (["a/b_c/ct.nii", "a_b/c/ct.nii"], ["a__b_c__ct_nii", "a_b__c__ct_nii"]),
        (["p1/ct.nii.gz", "p1/seg.nii.gz", "p1/lesions.nii.gz", "p2/ct.nii.gz", "p2/pet.nii.gz"], ["p1", "p2"]),
        (["p1/ct.nii.gz", "p1/segmentations/liver.nii.gz", "p1/segmentations/aorta.nii.gz"], ["p1"]),
        (["volume-0.nii", "volume-1.nii", "segmentation-0.nii"], ["volume-0", "volume-1"]),
        (["p1.nii.gz", "p1_seg.nii.gz", "p2.nii.gz", "p2-label.nrrd"], ["p1", "p2"]),
        (["p1.nii.gz", "mask_of_another.nii.gz"], ["mask_of_another", "p1"]),
        (["tumour/p1.nii.gz", "healthy/p2.nii.gz"], ["p1", "p2"]),
        (["imagesTr/p_0000.nii.gz", "labelsTr/p.nii.gz"], ["p_0000"]),
        (["p1.nii.gz", "p1_flareseg.nii.gz", "p1.seg.nrrd"], ["p1"]),
        (["p1.nii.gz", ".hidden.nii.gz", ".DS_Store", "Thumbs.db", "readme.txt"], ["p1"]),
        (["p1/IM1", "p2/IM1", "LICENSE", "list.csv", "info.json", "Thumbs.db", ".DS_Store"], ["p1", "p2"]),
        (["p1/s1/IM1", "p1/s2/IM1", "p2/s1/IM1"], ["p1", "p2"]),
        (["p1/ct.nii.gz", "p2/dicom/IM1", "p3/dicom/IM1", "p3/nifti/ct.nii.gz"], ["p1", "p2", "p3_dicom", "p3_nifti"]),
        (["p1/IM1", "p2/IM1", "docs/manual.pdf"], ["p1", "p2"]),
    ],
)
def test_layouts_of_data_sets_give_a_case_for_each_ct(tmp_path, files, expected):
    found = names(touch(tmp_path / "data", *files))
    assert len(set(found)) == len(found)
    assert sorted(found) == sorted(expected)


def test_a_name_that_folders_do_not_tell_apart_is_made_longer(tmp_path):
    found = names(touch(tmp_path, "a/b_c/ct.nii", "a_b/c/ct.nii.gz"))
    assert found == ["a_b_c_ct_nii", "a_b_c_ct_nii_gz"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["a/s0/ct.nii.gz", "a/s1/ct.nii.gz"], ["s0", "s1"]),
        (["p1/s1/ct.nii.gz", "p1/s2/ct.nii.gz", "p2/s1/ct.nii.gz"], ["p1_s1", "p1_s2", "p2_s1"]),
        (["a/ct.nii.gz"], ["ct"]),
        (["a/ct.nii.gz", "a/ct.nrrd"], ["ct_nii_gz", "ct_nrrd"]),
        (["a/x.nii.gz", "b/y.nii.gz"], ["x", "y"]),
        (["a/1.2.840.1.7"], ["1.2.840.1.7"]),
        (["a/slice.dcm"], ["slice"]),
    ],
)
def test_inputs_of_the_command_line_are_named_by_folders_where_files_are_called_the_same(tmp_path, files, expected):
    touch(tmp_path, *files)
    assert names(*(tmp_path / file for file in files)) == expected


def test_dicom_folders_called_the_same_are_named_by_those_above(tmp_path):
    touch(tmp_path, "p1/DICOM/IM1", "p2/DICOM/IM1")
    assert names(tmp_path / "p1" / "DICOM", tmp_path / "p2" / "DICOM") == ["p1_DICOM", "p2_DICOM"]


def test_two_data_sets_with_patients_of_one_name_stay_apart(tmp_path):
    touch(tmp_path, "a/p1/ct.nii", "a/p2/ct.nii", "b/p1/ct.nii")
    assert names(tmp_path / "a", tmp_path / "b") == ["a_p1", "p2", "b_p1"]


def test_one_ct_named_twice_is_refused(tmp_path, monkeypatch):
    touch(tmp_path, "d/a.nii.gz")
    monkeypatch.chdir(tmp_path)
    for inputs in (["d/a.nii.gz", "d/../d/a.nii.gz"], ["d", "d/a.nii.gz"], ["d", str(tmp_path / "d")]):
        with pytest.raises(UsageError, match="twice"):
            find_cases([Path(one) for one in inputs])


def test_a_folder_called_dot_has_the_name_of_the_folder(tmp_path, monkeypatch):
    touch(tmp_path / "patient", "IM1")
    monkeypatch.chdir(tmp_path / "patient")
    assert names(Path()) == ["patient"]


@pytest.mark.parametrize("name", [".nii.gz", "...nii.gz", "....nii"])
def test_no_case_is_called_like_a_folder_above(tmp_path, name):
    (found,) = names(touch(tmp_path, name) / name)
    assert found.strip(".") and "/" not in found


def test_what_is_left_out_is_told(tmp_path):
    found = find_cases([touch(tmp_path, *(f"p{n}/{name}" for n in range(3) for name in ("ct.nii.gz", "seg.nii.gz")))])
    assert [case.name for case in found.cases] == ["p0", "p1", "p2"]
    assert len(found.notes) == 1 and "'seg.nii.gz' (3 times)" in found.notes[0]


def test_what_systems_and_network_drives_keep_beside_cts_is_no_case(tmp_path):
    touch(
        tmp_path,
        "a.nii.gz",
        "._a.nii.gz",
        ".DS_Store",
        "Thumbs.db",
        "desktop.ini",
        "@eaDir/a.nii.gz/thumb",
        "#recycle/b",
    )
    assert names(tmp_path) == ["a"]


def test_results_of_an_earlier_run_are_no_cts(tmp_path):
    touch(tmp_path, "cts/a.nii.gz", "cts/b.nii.gz", "cts/results/a.nii.gz", "cts/results/b.nii.gz")
    manifest = Manifest(tmp_path / "cts" / "results")
    for name in ("a.nii.gz", "b.nii.gz"):
        manifest.append(Record(STARTED, name[0], {}, {}, {name: {}}))
    assert names(tmp_path / "cts") == ["a", "b"]
    assert (tmp_path / "cts" / "results" / NAME).exists()


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_links_circles_and_broken_links_end_no_search(tmp_path):
    data = touch(tmp_path / "data", "p1/ct.nii.gz", "p2/ct.nii.gz")
    touch(tmp_path / "store", "ct.nii.gz")
    (data / "p3").symlink_to(tmp_path / "store")
    (data / "p1" / "up").symlink_to(data)
    (data / "itself").symlink_to(data / "itself")
    (data / "p4.nii.gz").symlink_to(tmp_path / "gone.nii.gz")
    (data / "latest").symlink_to(data / "p2")
    found = find_cases([data])
    problems = {case.name: case.problem for case in found.cases}
    assert [name for name, problem in problems.items() if not problem] == ["p1", "p2", "p3"]
    assert "not there" in problems["p4"] and "not there" in problems["itself"]
    assert any("latest" in note for note in found.notes)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_an_unreadable_folder_fails_alone(tmp_path):
    touch(tmp_path, "p1/ct.nii.gz", "p2/ct.nii.gz")
    (tmp_path / "p2").chmod(0)
    try:
        found = find_cases([tmp_path]).cases
    finally:
        (tmp_path / "p2").chmod(0o700)
    assert [(case.name, bool(case.problem)) for case in found] == [("p1", False), ("p2", True)]


def test_a_folder_that_cannot_be_listed_fails_alone(tmp_path, monkeypatch):
    touch(tmp_path, "p1/ct.nii.gz", "p2/ct.nii.gz")
    real = os.scandir

    def scandir(path):
        if Path(path).name == "p2":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = find_cases([tmp_path]).cases
    assert [(case.name, bool(case.problem)) for case in found] == [("p1", False), ("p2", True)]


@pytest.mark.parametrize("name", ["x" * 300 + ".nii.gz", "missing.nii.gz", "a\0b.nii", "/".join(["d"] * 3000)])
def test_what_cannot_be_opened_is_a_case_that_fails(tmp_path, name):
    touch(tmp_path, "good.nii.gz")
    good, bad = find_cases([tmp_path / "good.nii.gz", tmp_path / name]).cases
    assert not good.problem
    assert bad.problem and "\n" not in bad.problem


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_are_told_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.nii.gz")
    (direct,) = find_cases([tmp_path / "pipe.nii.gz"]).cases
    (inside,) = find_cases([tmp_path]).cases
    assert "is a named pipe, not a file" in direct.problem and inside.problem


def test_a_pair_of_header_and_image_is_one_case(tmp_path, monkeypatch):
    monkeypatch.setattr("flareseg.cases.folders.IMAGE_ENDINGS", (".nii.gz", ".nii"))
    monkeypatch.setattr(
        "flareseg.cases.folders.ending_of", lambda path: ".nii" if ".h" in str(path) or ".img" in str(path) else ""
    )
    folder = touch(tmp_path / "x", "a.hdr", "a.img", "b.hdr", "b.img.gz")
    assert [case.source.name for case in find_cases([folder]).cases] == ["a.hdr", "b.hdr"]


def test_an_empty_folder_is_told(tmp_path):
    (case,) = find_cases([tmp_path]).cases
    assert "is empty" in case.problem


@pytest.mark.parametrize("depth", [1500, 2500])
def test_folders_may_be_very_deep(a_folder_of_deep_ones, depth):
    for _ in range(depth):
        Path("d").mkdir()
        os.chdir("d")
    Path("ct.nii.gz").write_bytes(b"")
    os.chdir(a_folder_of_deep_ones)
    (case,) = find_cases([Path("d")]).cases
    assert case.source.name == "ct.nii.gz" or "\n" not in case.problem


def test_a_series_in_two_folders_is_one_case(tmp_path, dicom_series):
    dicom_series(tmp_path / "p" / "a", count=3)
    dicom_series(tmp_path / "p" / "b", first=3, count=3)
    (case,) = find_cases([tmp_path / "p"]).cases
    assert (case.name, case.source, case.series) == ("p", tmp_path / "p", None)


def test_folders_of_one_series_named_on_the_command_line_are_one_case(tmp_path, dicom_series):
    a = dicom_series(tmp_path / "p" / "a", count=3)
    b = dicom_series(tmp_path / "p" / "b", first=3, count=3)
    (case,) = find_cases([a, b]).cases
    assert (case.name, case.source) == ("p", tmp_path / "p")


def test_a_split_series_beside_another_patient_is_read_alone(tmp_path, dicom_series):
    dicom_series(tmp_path / "p" / "a", count=3)
    dicom_series(tmp_path / "p" / "b", first=3, count=3)
    dicom_series(tmp_path / "p" / "c", uid="1.2.9")
    split, other = find_cases([tmp_path / "p"]).cases
    assert (split.name, split.source, split.series) == ("p", tmp_path / "p", "1.2.826.0.1.77")
    assert (other.name, other.series) == ("c", None)


def test_copies_of_a_series_are_cases_of_their_own(tmp_path, dicom_series):
    for name in ("a", "b"):
        dicom_series(tmp_path / "p" / name)
    assert names(tmp_path / "p") == ["a", "b"]


def test_slices_of_one_series_are_one_case(tmp_path, dicom_series):
    folder = dicom_series(tmp_path / "p1")
    assert names(*sorted(folder.iterdir())) == ["p1"]


def test_dicom_beside_text_files_and_a_label_map_is_one_case(tmp_path, dicom_series):
    folder = touch(dicom_series(tmp_path / "p1"), "seg.nii.gz", "notes", "readme.txt", "DICOMDIR")
    assert [case.source for case in find_cases([folder]).cases] == [folder]


def test_of_folders_of_other_series_a_few_headers_are_read(tmp_path, dicom_series, monkeypatch):
    from flareseg.io.dicom import headers

    for number in range(3):
        dicom_series(tmp_path / "data" / f"p{number}", uid=f"1.2.{number}", count=40)
    read = []
    monkeypatch.setattr(headers, "read_data_set", counted(headers.read_data_set, read))
    assert names(tmp_path / "data") == ["p0", "p1", "p2"]
    assert len(read) <= 3 * 5
    dicom_series(tmp_path / "data" / "p1b", uid="1.2.1", first=40, count=4)
    read.clear()
    assert sorted(names(tmp_path / "data")) == ["data", "p0", "p2"]
    assert {path.parent.name for path in read[4 * 5 :]} <= {"p1", "p1b"}


def counted(work, calls):
    def call(file, *rest, **options):
        calls.append(file)
        return work(file, *rest, **options)

    return call


def zipped(folder, archive):
    with zipfile.ZipFile(archive, "w") as target:
        for file in sorted(folder.iterdir()):
            target.write(file, file.name)
    return archive


def test_zips_of_dicom_in_a_folder_are_cases_of_their_own(tmp_path, dicom_series):
    data = tmp_path / "data"
    dicom_series(data / "p0", uid="1.2.1")
    for number in (1, 2):
        zipped(dicom_series(tmp_path / f"s{number}", uid=f"1.2.{number}"), data / f"p{number}.zip")
    zipped(touch(tmp_path / "texts", "a.txt"), data / "texts.zip")
    (data / "damaged.zip").write_bytes(b"PK")
    found = find_cases([data]).cases
    assert [(case.name, case.source.name) for case in found] == [("p0", "p0"), ("p1", "p1.zip"), ("p2", "p2.zip")]
    assert read_volume(found[1].source).hu.shape == (6, 20, 20)


def test_a_single_zip_in_a_folder_is_its_case(tmp_path, dicom_series):
    (tmp_path / "data").mkdir()
    zipped(dicom_series(tmp_path / "s"), tmp_path / "data" / "p1.zip")
    (case,) = find_cases([tmp_path / "data"]).cases
    assert (case.name, case.source.name) == ("p1", "p1.zip")


def test_a_changed_neighbour_does_not_change_a_zip(tmp_path, dicom_series):
    from flareseg.cases.fingerprints import source_of

    archive = zipped(dicom_series(tmp_path / "s"), tmp_path / "p1.zip")
    before = source_of(Case("p1", archive))
    (tmp_path / "p2.zip").write_bytes(b"new")
    assert source_of(Case("p1", archive)) == before


def test_a_dicomdir_in_a_folder_of_cases_stands_for_its_folder(tmp_path, dicom_series):
    from flareseg.reading.limits import input_bytes

    data = tmp_path / "data"
    for number in (1, 2):
        folder = data / f"p{number}"
        dicom_series(folder / "IMAGES" / "A", uid=f"1.2.{number}")
        dicom_series(folder / "OTHER", uid=f"1.3.{number}", count=1)  # not listed
        write_dicomdir(folder, sorted((folder / "IMAGES" / "A").iterdir()))
    dicom_series(data / "p3", uid="1.2.3")
    found = find_cases([data]).cases
    sources = [case.source.relative_to(data).as_posix() for case in found]
    assert [case.name for case in found] == ["p1", "p2", "p3"]
    assert sources == ["p1/DICOMDIR", "p2/DICOMDIR", "p3"]
    assert read_volume(found[0].source).hu.shape == (6, 20, 20)
    assert input_bytes(found[0].source) > 6 * 20 * 20 * 2
    with pytest.raises(UsageError, match="would lie in the DICOM folder"):
        refuse_clashes(found, [Written(data / "p1" / "OTHER" / "o.nii.gz", "the result of 'p1'")])


def test_real_data_sets_give_a_case_for_each_ct(real_cts):
    folders = sorted(path.parent.name for path in real_cts.glob("*/ct.nii.gz"))
    found = [case for case in find_cases([real_cts]).cases if case.source.name == "ct.nii.gz"]
    assert sorted(case.name for case in found) == folders


@pytest.mark.parametrize("name", ["x" * 240, "=1+1", "a\nb", 'q"uo,te'])
def test_odd_names_are_cases(segment_quickly, small_ct, tmp_path, name, capsys):
    for one in (name, "good"):
        write_volume(small_ct, tmp_path / "cts" / f"{one}.nii.gz")
    status = segment_quickly(tmp_path / "cts", "-o", tmp_path / "o", "--measurements", tmp_path / "m.json")
    assert status == 0
    assert (tmp_path / "o" / f"{name}.nii.gz").exists()
    assert {row["case"] for row in json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))} == {name, "good"}


def test_a_name_that_grows_too_long_fails_alone(segment_quickly, small_ct, tmp_path, monkeypatch, capsys):
    for name in ("x" * 247, "good"):
        write_volume(small_ct, tmp_path / "cts" / f"{name}.nii.gz")
    monkeypatch.chdir(tmp_path)
    assert segment_quickly("cts") == 1
    text = capsys.readouterr().err
    assert text.count("\n") == 1 and "longer than 255 bytes" in text
    assert (tmp_path / "good_flareseg.nii.gz").exists()
