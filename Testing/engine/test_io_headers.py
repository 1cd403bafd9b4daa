"""No header ends the process or is read on without bounds, whatever its fields hold."""

import bz2
import gzip
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from image_headers import HU, META, NRRD, SHAPE, meta, nrrd, refused

from flareseg.errors import InputError
from flareseg.io import decode, payload, text_header
from flareseg.io.files import read_volume
from flareseg.io.pairs import is_second_file
from flareseg.io.payload import Payload, read_payload


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


def test_a_header_without_end_is_not_read_on(tmp_path, monkeypatch):
    monkeypatch.setattr(text_header, "LONGEST_HEADER", 1 << 16)
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004\n" + b"a" * (1 << 21))
    refused(tmp_path / "a.nrrd", "no end")
    (tmp_path / "b.nrrd").write_bytes(b"NRRD0004\n" + b"# comment\n" * (1 << 14))
    refused(tmp_path / "b.nrrd", "no end")
    (tmp_path / "a.mha").write_bytes(b"a" * (1 << 21))
    refused(tmp_path / "a.mha", "no end")


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

    monkeypatch.setattr("flareseg.io.image.read_payload", fails)
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


def test_a_scale_of_values_that_no_program_follows_is_told(tmp_path):
    path = meta(tmp_path / "a.mha", ElementToIntensityFunctionSlope="2", ElementToIntensityFunctionOffset="-1024")
    found = read_volume(path)
    assert np.array_equal(found.hu, HU) and "times 2 plus -1024" in found.notes[0]
    path = meta(tmp_path / "a.mha", ElementToIntensityFunctionSlope="1", ElementToIntensityFunctionOffset="0")
    assert read_volume(path).notes == ()
    refused(meta(tmp_path / "a.mha", ElementToIntensityFunctionSlope="two"), "ElementToIntensityFunctionSlope")


def test_lengths_in_other_units_are_not_taken_for_millimetres(tmp_path):
    refused(nrrd(tmp_path / "a.nrrd", space_units='"cm" "cm" "cm"'), "lengths in 'cm'")
    assert read_volume(nrrd(tmp_path / "a.nrrd", space_units='"mm" "mm" "mm"')).notes == ()


def test_blank_lines_and_types_of_old_metaimages_are_read(tmp_path):
    path = meta(tmp_path / "a.mha", ElementType="MET_SHORT_ARRAY")
    path.write_bytes(b"\n" + path.read_bytes().replace(b"NDims", b"\nNDims"))
    assert np.array_equal(read_volume(path).hu, HU)


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
