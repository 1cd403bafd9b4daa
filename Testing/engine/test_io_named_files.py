"""A header names only files that are its business, and exactly as many as its slices; nothing but files is opened."""

import os
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from image_headers import HU, SHAPE, meta, nrrd, refused

from flareseg.errors import InputError
from flareseg.io.files import read_volume


def test_ascii_of_a_device_is_refused_at_once(tmp_path):
    for name in ("/dev/zero", "/dev/random"):
        refused(nrrd(tmp_path / "a.nhdr", b"", encoding="ascii", data_file=name), "outside its own folder")
        with pytest.raises(InputError, match=r"a\.nhdr.* a device"):
            read_volume(tmp_path / "a.nhdr", foreign_files=True)


FOREIGN = [
    "../secret.raw",
    "sub/../../secret.raw",
    "{absolute}",
    "\\\\server\\share\\secret.raw",
    "//server/secret.raw",
]
FOREIGN += [
    "C:\\secret.raw",
    "c:secret.raw",
    "..\\secret.raw",
    "link.raw",
    "out/secret.raw",
    "/dev/zero",
    "/proc/self/mem",
]


@pytest.fixture
def case(tmp_path):
    """A folder with links that lead out of it, and a file beside it that is nobody's business."""
    folder = tmp_path / "case"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret.raw").write_bytes(HU.tobytes())
    (folder / "a.raw").write_bytes(HU.tobytes())
    (folder / "sub" / "a.raw").write_bytes(HU.tobytes())
    try:
        (folder / "link.raw").symlink_to(tmp_path / "secret.raw")
        (folder / "out").symlink_to(tmp_path, target_is_directory=True)
        (folder / "inner.raw").symlink_to(folder / "sub" / "a.raw")
    except OSError:
        pytest.skip("this system makes no links for this user")
    return folder


def headers(folder, name):
    """A NRRD and a MetaImage header that name a file: alone, in a list, attached."""
    yield nrrd(folder / "a.nhdr", b"", data_file=name)
    yield nrrd(folder / "a.nrrd", b"", data_file=name)
    yield meta(folder / "a.mhd", b"", ElementDataFile=name)
    yield meta(folder / "a.mha", b"", ElementDataFile=name)
    names = "\n".join([name] * SHAPE[0])
    yield nrrd(folder / "b.nhdr", b"", data_file=f"LIST\n{names}")
    yield meta(folder / "b.mhd", b"", ElementDataFile=f"LIST\n{names}")


@pytest.mark.parametrize("name", FOREIGN)
def test_a_header_names_no_file_outside_its_folder(case, name):
    for path in headers(case, name.format(absolute=case.parent / "secret.raw")):
        assert "--foreign-files" in refused(path, "outside its own folder")


def test_numbered_names_lead_nowhere_else_either(case):
    for number in range(SHAPE[0]):
        (case.parent / f"s{number}.raw").write_bytes(HU[number].tobytes())
    assert "--foreign-files" in refused(nrrd(case / "a.nhdr", b"", data_file="../s%d.raw 0 5 1"))
    path = meta(case / "a.mhd", b"", ElementDataFile=f"{case.parent}/s%d.raw 0 5 1")
    assert "--foreign-files" in refused(path)
    assert np.array_equal(read_volume(path, foreign_files=True).hu, HU)


@pytest.mark.parametrize("name", ["a.raw", "sub/a.raw", "./a.raw", "inner.raw"])
def test_a_header_may_name_a_file_beside_it_or_below(case, name):
    for path in [*headers(case, name)][:4]:
        assert np.array_equal(read_volume(path).hu, HU)


@pytest.mark.skipif(os.sep != "/", reason="where Windows' names are none")
@pytest.mark.parametrize("name", [".\\a.raw", "sub\\a.raw", "{case}/a.raw", "{case}/sub/a.raw"])
def test_a_header_may_name_it_as_windows_does_or_from_the_root(case, name):
    for path in [*headers(case, name.format(case=case))][:4]:
        assert np.array_equal(read_volume(path).hu, HU)


@pytest.mark.parametrize("name", ["../secret.raw", "{absolute}", "link.raw", "out/secret.raw"])
def test_a_header_may_name_any_file_where_the_user_says_so(case, name):
    for path in [*headers(case, name.format(absolute=case.parent / "secret.raw"))][:4]:
        assert np.array_equal(read_volume(path, foreign_files=True).hu, HU)


@pytest.fixture
def pipe(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(tmp_path / "pipe.raw")
    return tmp_path / "pipe.raw"


def test_pipes_sockets_and_devices_are_never_opened(tmp_path, pipe):
    for ending in (".nii.gz", ".nii", ".nrrd", ".mhd", ".hdr", ".dcm", ""):
        os.mkfifo(tmp_path / f"p{ending}")
        refused(tmp_path / f"p{ending}", "a named pipe, not a file")
        (tmp_path / f"l{ending}").symlink_to("/dev/zero")
        refused(tmp_path / f"l{ending}", "a device, not a file")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.nii"))
        refused(tmp_path / "s.nii", "a socket, not a file")
    for path in [*headers(tmp_path, pipe.name)][:4]:
        for foreign in (False, True):
            with pytest.raises(InputError, match="named pipe"):
                read_volume(path, foreign_files=foreign)
    for path in [*headers(tmp_path, "/dev/zero")][:4]:
        with pytest.raises(InputError, match="a device"):
            read_volume(path, foreign_files=True)
    (tmp_path / "folder").mkdir()
    for path in [*headers(tmp_path, "folder")][:4]:
        with pytest.raises(InputError, match="a folder"):
            read_volume(path)


def test_links_that_lead_to_themselves(tmp_path):
    (tmp_path / "a.nii").symlink_to(tmp_path / "a.nii")
    refused(tmp_path / "a.nii")


@pytest.fixture
def slices(tmp_path):
    for number, plane in enumerate(HU):
        (tmp_path / f"s{number}.raw").write_bytes(plane.tobytes())
    (tmp_path / "short.raw").write_bytes(HU[0].tobytes()[:-1])
    (tmp_path / "long.raw").write_bytes(HU[0].tobytes() + b"\0")
    (tmp_path / "two.raw").write_bytes(HU[:2].tobytes())
    return [f"s{number}.raw" for number in range(SHAPE[0])]


def lists(folder, names, dimension=""):
    text = "\n".join([f"LIST {dimension}".strip(), *names])
    return nrrd(folder / "a.nhdr", b"", data_file=text), meta(folder / "a.mhd", b"", ElementDataFile=text)


def test_lists_of_slices_name_exactly_as_many_as_there_are(tmp_path, slices):
    for path in lists(tmp_path, slices):
        assert np.array_equal(read_volume(path).hu, HU)
    for names in ([], slices[:1], slices[:3], slices[:5], [*slices, slices[0]], slices * 2):
        for dimension in ("", "2"):
            for path in lists(tmp_path, names, dimension):
                refused(path, f"names {len(names)} files")
    for dimension in ("1", "4", "0", "-1", "x"):
        for path in lists(tmp_path, slices, dimension):
            refused(path)


@pytest.mark.parametrize(
    "pattern", ["s%d.raw 0 4 1", "s%d.raw 0 6 1", "s%d.raw 5 0 1", "s%d.raw 0 5 0", "s%d.raw 0 5 2"]
)
def test_numbered_names_are_exactly_as_many_as_there_are(tmp_path, slices, pattern):
    (tmp_path / "s6.raw").write_bytes(HU[0].tobytes())
    refused(nrrd(tmp_path / "a.nhdr", b"", data_file=pattern))
    refused(meta(tmp_path / "a.mhd", b"", ElementDataFile=pattern))


@pytest.mark.parametrize(
    "pattern", ["s%s.raw 0 5 1", "s%d%d.raw 0 5 1", "%999999d 0 5 1", "s%n.raw 0 5 1", "s%d 0 999999999 1"]
)
def test_other_patterns_of_names_are_refused(tmp_path, slices, pattern):
    refused(nrrd(tmp_path / "a.nhdr", b"", data_file=pattern))
    refused(meta(tmp_path / "a.mhd", b"", ElementDataFile=pattern))


def test_numbered_names_may_run_backwards(tmp_path, slices):
    found = read_volume(nrrd(tmp_path / "a.nhdr", b"", data_file="s%d.raw 5 0 -1"))
    assert np.array_equal(found.hu, HU[::-1])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("short.raw", "too short"),
        ("long.raw", "no equal part"),
        ("two.raw", "no equal part"),
        ("none.raw", "which cannot be read"),
    ],
)
def test_slices_of_another_size_are_refused(tmp_path, slices, name, words):
    for place in (0, 3, 5):
        names = slices.copy()
        names[place] = name
        for path in lists(tmp_path, names):
            with pytest.raises(InputError, match=words) as caught:
                read_volume(path)
            assert name in str(caught.value)
