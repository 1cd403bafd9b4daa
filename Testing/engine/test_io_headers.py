"""No header ends the process, names a file that is none of its business, or leaves out slices without a word."""

import bz2
import gzip
import os
import socket
import zlib

import numpy as np
import pytest

from flareseg.errors import InputError
from flareseg.io import decode, payload
from flareseg.io.files import read_labels, read_volume
from flareseg.io.pairs import is_second_file
from flareseg.io.payload import Payload, read_payload

SHAPE = (6, 8, 9)
HU = np.random.default_rng(0).integers(-1000, 300, SHAPE).astype("<i2")
NRRD = {
    "type": "short",
    "dimension": "3",
    "sizes": "9 8 6",
    "encoding": "raw",
    "space": "left-posterior-superior",
    "space directions": "(1,0,0) (0,1,0) (0,0,2)",
}
META = {
    "ObjectType": "Image",
    "NDims": "3",
    "DimSize": "9 8 6",
    "ElementSpacing": "1 1 2",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}


def as_bytes(text):
    return text.encode("latin-1" if max(text, default="") <= "\xff" else "utf-8")


def nrrd(path, data=None, extra=b"", **changes):
    fields = NRRD | {key.replace("_", " "): value for key, value in changes.items()}
    lines = [as_bytes(f"{key}: {value}") for key, value in fields.items()]
    path.write_bytes(b"\n".join([b"NRRD0004", *lines, extra]) + b"\n" * (2 if extra else 1))
    with path.open("ab") as file:
        file.write(HU.tobytes() if data is None else data)
    return path


def meta(path, data=None, **changes):
    fields = META | changes
    fields["ElementDataFile"] = fields.pop("ElementDataFile")  # it ends the header
    lines = [as_bytes(f"{key} = {value}") for key, value in fields.items() if value is not None]
    path.write_bytes(b"\n".join(lines) + b"\n" + (HU.tobytes() if data is None else data))
    return path


def refused(path, words="", **options):
    with pytest.raises(InputError) as caught:
        read_volume(path, **options)
    text = str(caught.value)
    assert text.isprintable() and path.name in text and words in text and len(text) < 600
    with pytest.raises(InputError):
        read_labels(path)
    return text


def test_what_the_others_change_is_read(tmp_path):
    assert np.array_equal(read_volume(nrrd(tmp_path / "a.nrrd")).hu, HU)
    assert np.array_equal(read_volume(meta(tmp_path / "a.mha")).hu, HU)


HOSTILE = ["nan", "inf", "-1", "0", "4294967296", "99999999999999999999", "1e300", "1_0", "\u0663", "", "x" * 1100]
HOSTILE += ["\xff\xfe", "%n%n%s", "(((((((", ") (", "none", "9 8", "9 8 6 " * 2000, "9" * 5000, "-" * 70000]

MAY_BE_EMPTY = ("kinds", "line skip", "byte skip")
GOOD = {("line skip", "0"), ("byte skip", "0"), ("byte skip", "-1"), ("space origin", "none")}
GOOD |= {("HeaderSize", "0"), ("HeaderSize", "-1"), ("BinaryData", "0"), ("CompressedData", "0")}


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_nonsense_in_a_field_leads_to_anything_but_one_line(tmp_path, text, capfd):
    fields = [
        *NRRD.keys(),
        *("space origin", "endian", "measurement frame", "data file"),
        *(MAY_BE_EMPTY if text else ()),
    ]
    for field in fields:
        if (field, text) not in GOOD:
            refused(nrrd(tmp_path / "a.nrrd", **{field: text}))
    for field in [*META, "Offset", "BinaryData", "CompressedData", "HeaderSize", "ElementNumberOfChannels"]:
        if (field, text) not in GOOD:
            refused(meta(tmp_path / "a.mha", **{field: text}))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "extra",
    [
        b"measurement frame: " + b"A" * 1100,
        b"measurement frame: (1,0,0) (0,1,0)",
        b"A" * 1100,
        b"no such field: 1",
        b"kinds: domain domain banana",
        b"kinds: domain domain",
        b"spacings: 1 1",
        b"space dimension: 4",
        b"space origin: (0,0)",
        b"space origin: (0,0,0) (1,1,1)",
        b"M\xfcller: 1",
        b"space: left-posterior-superior-time",
        b"encoding: ZRL",
        b"type: block",
    ],
    ids=range(14),
)
def test_a_field_that_nrrd_does_not_have_is_damage(tmp_path, extra):
    changes = {"space_directions": "1 1 1"} if extra.startswith(b"spacings") else {}
    refused(nrrd(tmp_path / "a.nrrd", extra=extra, **changes))


@pytest.mark.parametrize(
    "extra",
    [
        b"content: " + b"A" * 5000,
        b"content: M\xfcller \xff",
        b"Patient:=M\xfcller",
        b"M\xfcller:=" + b"x" * 200_000,
        b"\n".join(b"key%d:=%d" % (n, n) for n in range(5000)),
        b"# " + b"c" * 3000,
        b"measurement frame: (1,0,0) (0,1,0) (0,0,1)",
        b'space units: "mm" "mm" "mm"',
    ],
    ids=range(8),
)
def test_long_and_foreign_texts_are_no_damage(tmp_path, extra):
    assert np.array_equal(read_volume(nrrd(tmp_path / "a.nrrd", extra=extra)).hu, HU)


def test_a_header_without_end_is_not_read_on(tmp_path):
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004\n" + b"a" * (1 << 21))
    refused(tmp_path / "a.nrrd", "no end")
    (tmp_path / "b.nrrd").write_bytes(b"NRRD0004\n" + b"# comment\n" * (1 << 21))
    refused(tmp_path / "b.nrrd", "no end")
    (tmp_path / "a.mha").write_bytes(b"a" * (1 << 21))
    refused(tmp_path / "a.mha", "no end")


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


def test_a_file_that_shrinks_while_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "a.raw"
    path.write_bytes(HU.tobytes())
    whole = Payload((path,), np.dtype("<i2"))
    empty = np.empty

    def shrinking(*arguments):  # after its size was looked at
        path.write_bytes(HU.tobytes()[:100])
        return empty(*arguments)

    monkeypatch.setattr(payload.np, "empty", shrinking)
    with pytest.raises(InputError, match=r"a\.raw.*cut off"):
        read_payload(whole, SHAPE)


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("gzip", zlib.compress), ("bzip2", bz2.compress)]
)
def test_compressed_data_are_not_read_on_for_long(tmp_path, monkeypatch, encoding, pack):
    monkeypatch.setattr(decode, "LONGEST_TAIL", 1 << 20)
    monkeypatch.setattr(payload, "LONGEST_TAIL", 1 << 20)
    raw = HU.tobytes()
    assert np.array_equal(read_volume(nrrd(tmp_path / "a.nrrd", pack(raw + bytes(50)), encoding=encoding)).hu, HU)
    found = read_volume(nrrd(tmp_path / "b.nrrd", pack(raw + bytes(5000)), encoding=encoding))
    assert np.array_equal(found.hu, HU) and "goes on for 5,000 bytes after the voxels" in found.notes[0]
    refused(nrrd(tmp_path / "c.nrrd", pack(raw + bytes(20 << 20)), encoding=encoding), "go on for long")
    for share in (0.1, 0.5, 0.99):
        data = pack(raw)
        refused(nrrd(tmp_path / "d.nrrd", data[: int(share * len(data))], encoding=encoding))


def test_what_follows_a_gzip_stream_is_not_looked_at(tmp_path):
    found = read_volume(nrrd(tmp_path / "a.nrrd", gzip.compress(HU.tobytes()) + b"\0" * 4096, encoding="gzip"))
    assert np.array_equal(found.hu, HU) and found.notes == ()
    halves = gzip.compress(HU[:3].tobytes()) + gzip.compress(b"") + gzip.compress(HU[3:].tobytes())
    assert np.array_equal(read_volume(nrrd(tmp_path / "b.nrrd", halves, encoding="gzip")).hu, HU)


def test_more_slices_than_the_header_states_are_told(tmp_path):
    found = read_volume(nrrd(tmp_path / "a.nrrd", HU.tobytes() * 2))
    assert np.array_equal(found.hu, HU) and "goes on for 864 bytes" in found.notes[0]


@pytest.mark.parametrize(
    "text", ["1 2 3 x", "1 2 70000 4", "1 2 3 1.5", "1 2 3 nan", "1 2 " + "3" * 500, "1 2 3 \xff", "1 2 1_0 4"]
)
def test_text_that_is_no_numbers_of_its_type(tmp_path, text):
    sizes = {"sizes": "2 2 2"}
    refused(nrrd(tmp_path / "a.nrrd", f"{text} 5 6 7 8 9".encode("latin-1"), encoding="ascii", **sizes))
    path = meta(tmp_path / "a.mha", f"{text} 5 6 7 8 9".encode("latin-1"), BinaryData="False", DimSize="2 2 2")
    refused(path)


def test_numbers_are_whole_across_the_pieces_in_which_they_are_read(tmp_path, monkeypatch):
    text = ",".join(str(value) for value in HU.ravel()).encode()
    for chunk in (7, 8, 64, 65):
        monkeypatch.setattr(decode, "CHUNK", chunk)
        assert np.array_equal(read_volume(nrrd(tmp_path / "a.nrrd", text, encoding="text")).hu, HU)
        assert np.array_equal(
            read_volume(nrrd(tmp_path / "b.nrrd", HU.tobytes().hex().encode(), encoding="hex")).hu, HU
        )


@pytest.mark.parametrize(
    "error", [MemoryError(), OverflowError("x"), ValueError("x\ny"), KeyError("x"), RecursionError()]
)
def test_whatever_a_reader_raises_is_one_line(tmp_path, monkeypatch, error):
    path = nrrd(tmp_path / "a.nrrd")

    def fails(*_, **__):
        raise error

    monkeypatch.setattr("flareseg.io.stored.read_payload", fails)
    assert refused(path) and read_fails_with_cause(path, error)


def read_fails_with_cause(path, error):
    with pytest.raises(InputError) as caught:
        read_volume(path)
    return caught.value.__cause__ is error


def test_more_than_the_memory_that_is_free_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(payload, "ALWAYS_ALLOWED_BYTES", 100)
    assert np.array_equal(read_volume(nrrd(tmp_path / "a.nrrd")).hu, HU)
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("", (), {"available": 200}))
    monkeypatch.setattr("psutil.swap_memory", lambda: type("", (), {"free": 0}))
    refused(tmp_path / "a.nrrd", "needs 864 bytes of memory")


def test_orientation_that_is_not_stated_is_told(tmp_path):
    without = {key: value for key, value in NRRD.items() if not key.startswith("space")}
    head = "\n".join(["NRRD0004", *(f"{key}: {value}" for key, value in without.items()), "spacings: 1 1 2"])
    (tmp_path / "a.nrrd").write_bytes(f"{head}\n\n".encode() + HU.tobytes())
    path = meta(tmp_path / "a.mha", TransformMatrix=None)
    for found in (read_volume(tmp_path / "a.nrrd"), read_volume(path)):
        assert "does not state its orientation" in found.notes[0]
    for space in ("scanner-xyz", "3D-right-handed"):
        assert "does not state" in read_volume(nrrd(tmp_path / "b.nrrd", space=space)).notes[0]
    assert read_volume(meta(tmp_path / "a.mha", TransformMatrix=None, AnatomicalOrientation="RAI")).notes == ()
    other = read_volume(meta(tmp_path / "a.mha", TransformMatrix=None, AnatomicalOrientation="LPI"))
    assert "only as 'LPI', which was not followed" in other.notes[0]
    for good in (nrrd(tmp_path / "c.nrrd"), meta(tmp_path / "c.mha")):
        assert read_volume(good).notes == ()


def test_axes_that_are_nearly_perpendicular_are_made_so(tmp_path):
    for tilt in (0.0008, 0.01):
        path = nrrd(tmp_path / "a.nrrd", space_directions=f"(1,0,0) (0,1,0) (0,{tilt},2)")
        geometry = read_volume(path).geometry
        axes = np.asarray(geometry.direction)
        assert np.allclose(axes.T @ axes, np.eye(3), atol=1e-3)
        middle = geometry.world_of((2.5, 3.5, 4.0))
        assert np.allclose(middle, (4.0, 3.5 + 2.5 * tilt, 5.0), atol=1e-3)
    refused(nrrd(tmp_path / "a.nrrd", space_directions="(1,0,0) (0,1,0) (0,0.2,2)"), "not perpendicular")


def test_only_the_voxels_of_a_header_are_a_second_file(tmp_path):
    for name in ("a.hdr", "a.img", "B.HDR", "B.IMG", "c.hdr.gz", "c.img.gz", "alone.img", "d.raw"):
        (tmp_path / name).touch()
    assert [file.name for file in sorted(tmp_path.iterdir()) if is_second_file(file)] == ["B.IMG", "a.img", "c.img.gz"]
