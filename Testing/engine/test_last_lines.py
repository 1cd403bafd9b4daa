"""What a manifest says by now: the line that counts of each case, and its measurements when they are asked for."""

import pytest

from flareseg.cases.last_lines import LastLines
from flareseg.cases.manifest import NAME, Manifest, gather
from flareseg.cases.manifest_lines import DONE, FAILED, STARTED, Record
from flareseg.cases.sharing import Sharing


def a_line(status, case, volume_ml=0.0):
    return Record(status, case, {}, {"model": "default"}, {f"{case}.nii.gz": {}}, [{"volume_ml": volume_ml}])


@pytest.fixture
def manifest(tmp_path):
    found = Manifest(tmp_path)
    yield found
    found.end()


def test_the_last_line_of_each_case_counts_and_its_rows_stay_in_the_file(manifest, tmp_path):
    for line in (a_line(DONE, "a", 1.0), a_line(STARTED, "b"), a_line(DONE, "a", 2.0), a_line(FAILED, "b")):
        manifest.append(line)
    lines = LastLines(tmp_path)
    assert {line.case: line.status for line in lines} == {"a": DONE, "b": FAILED} and len(lines) == 2
    assert not any(line.rows for line in lines)
    assert lines.rows_of("a") == [{"volume_ml": 2.0}]


def test_rows_are_found_again_after_their_line_has_moved(manifest, tmp_path):
    manifest.append(a_line(DONE, "a", 1.0))  # holds the manifest, so that another run writes elsewhere
    other = Manifest(tmp_path)
    other.append(a_line(DONE, "b", 2.0))
    lines = LastLines(tmp_path)
    assert len(lines) == 2 and next(line.place.path for line in lines if line.case == "b").name != NAME
    manifest.end()
    other.end()
    gather(tmp_path / NAME)
    assert not Sharing(tmp_path).runs()
    assert lines.rows_of("b") == [{"volume_ml": 2.0}]


def test_a_folder_without_a_manifest_has_no_lines(tmp_path):
    lines = LastLines(tmp_path)
    assert not lines and not list(lines) and lines.rows_of("a") == []
