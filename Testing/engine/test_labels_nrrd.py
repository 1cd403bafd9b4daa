"""Label maps for programs that show them at once: read at one go, and by everybody else as any NRRD."""

import numpy as np
import pytest

from flareseg.errors import InputError
from flareseg.io.files import read_labels, write_segmentation
from flareseg.io.labels_nrrd import BOX, read_labels_nrrd
from flareseg.labels import structures
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry

GRID = Geometry((7, 8, 9), (2.0, 1.0, 1.5), (3.0, -4.0, 5.0))


@pytest.fixture
def labels():
    array = np.zeros(GRID.shape_zyx, np.uint8)
    array[2:4, 3:5, 1:6] = 1
    array[3, 4, 7] = 14
    return array


@pytest.fixture
def path(labels, tmp_path):
    return write_segmentation(Segmentation(labels, GRID, structures()), tmp_path / "a.labels.nrrd")


def test_what_is_no_background_is_read_with_its_place_and_its_values(path, labels):
    found = read_labels_nrrd(path)
    assert found.box == (slice(2, 4), slice(3, 5), slice(1, 8))
    assert np.array_equal(found.labels, labels[found.box]) and found.labels.flags.c_contiguous
    assert found.values == (1, 14) and found.geometry.same_as(GRID)


def test_for_others_it_is_a_nrrd_like_any(path, labels):
    array, geometry = read_labels(path)
    assert np.array_equal(array, labels) and geometry.same_as(GRID)


def test_an_empty_result_has_no_box(tmp_path):
    empty = Segmentation(np.zeros(GRID.shape_zyx, np.uint8), GRID, structures())
    found = read_labels_nrrd(write_segmentation(empty, tmp_path / "a.labels.nrrd"))
    assert found.box is None and found.values == () and found.geometry.same_as(GRID)


@pytest.mark.parametrize("edges", [b"2 4 3 5 1 99", b"2 4 3 5 1", b"4 2 3 5 1 8", b"x", b"2 4 3 5 1 -8", b"9" * 3000])
def test_a_damaged_header_is_one_sentence(path, edges):
    path.write_bytes(path.read_bytes().replace(b"2 4 3 5 1 8", edges))
    with pytest.raises(InputError, match="damaged"):
        read_labels_nrrd(path)


def test_a_short_file_and_another_programs_are_refused(path, labels, tmp_path):
    path.write_bytes(path.read_bytes()[:-400])
    other = write_segmentation(Segmentation(labels, GRID, structures()), tmp_path / "b.nrrd")
    for one in (path, other):
        with pytest.raises(InputError, match="damaged, or no label map of flareseg"):
            read_labels_nrrd(one)
    assert BOX.encode() in path.read_bytes()
