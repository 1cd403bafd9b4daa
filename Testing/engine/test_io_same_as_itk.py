"""Grids and voxels are those of ITK, in every layout that ITK reads: flareseg's own parsers against SimpleITK."""

import bz2
import gzip
import struct
import zlib
from itertools import product

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from flareseg.io.files import read_labels, read_volume
from flareseg.io.image import read_image

SHAPE = (4, 5, 6)
HU = np.random.default_rng(0).integers(-1000, 400, SHAPE).astype(np.int16)
OBLIQUE = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]


def check(path, tolerance=1e-6):
    """Read `path` both ways; the CT, when both agree."""
    image = sitk.ReadImage(str(path))
    found = read_volume(path, force=True)
    size = found.geometry.shape_zyx[::-1]
    assert image.GetSize()[:3] == size
    dimension = image.GetDimension()
    direction = np.reshape(image.GetDirection(), (dimension, dimension))[:3, :3]
    assert np.allclose(found.geometry.spacing_zyx_mm[::-1], image.GetSpacing()[:3], rtol=0, atol=tolerance)
    assert np.allclose(found.geometry.origin_xyz_mm, image.GetOrigin()[:3], rtol=0, atol=tolerance)
    assert np.allclose(found.geometry.direction, direction, rtol=0, atol=tolerance)
    array = sitk.GetArrayFromImage(image)
    assert np.array_equal(found.hu, array.reshape(SHAPE))
    return found


def nifti(path, *, codes, direction=OBLIQUE, spacing=(0.7, 0.8, 2.5), shift=0.0, units=2, scale=1.0, order="<"):
    """A NIfTI-1 file made by hand, with a qform and an sform that lies `shift` to the right of it."""
    header = bytearray(352)
    rotation = np.array(direction)
    qfac = 1.0 if np.linalg.det(rotation) > 0 else -1.0
    header[: len(header)] = nibabel.Nifti1Header(endianness=order).binaryblock + b"\0\0\0\0"
    image = nibabel.Nifti1Header(endianness=order)
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing
    affine[:3, 3] = (-10.5, 20.25, -300.75)
    image.set_qform(affine, 1)
    b, c, d = (float(image[f"quatern_{name}"]) for name in "bcd")

    def put(kind, offset, *values):
        struct.pack_into(order + kind, header, offset, *values)

    put("8h", 40, 3, *SHAPE[::-1], 1, 1, 1, 1)
    put("2h", 70, 4, 16)
    put("8f", 76, qfac, *np.multiply(spacing, scale), 0, 0, 0, 0)
    put("3f", 108, 352, 1, 0)
    header[123] = units
    put("2h", 252, *codes)
    put("6f", 256, b, c, d, *(affine[:3, 3] * scale))
    sform = affine[:3] * scale
    sform[0, 3] += shift * scale
    put("12f", 280, *sform.ravel())
    header[344:348] = b"n+1\0"
    path.write_bytes(bytes(header) + HU.astype(f"{order}i2").tobytes())
    return path


@pytest.mark.parametrize(
    "codes", [(0, 0), (1, 0), (0, 1), (1, 1), (1, 2), (2, 1), (2, 2), (3, 4), (0, 4), (4, 0), (-1, 1)]
)
@pytest.mark.parametrize("shift", [0.0, 5.0])
def test_nifti_with_every_pair_of_codes(tmp_path, codes, shift):
    for number, direction in enumerate((np.eye(3), OBLIQUE, OBLIQUE * [1, 1, -1], np.diag([-1, -1, 1]))):
        check(nifti(tmp_path / f"{number}.nii", codes=codes, direction=direction, shift=shift), 2e-6)


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (1, 1), (0, 0)])
@pytest.mark.parametrize(("units", "scale"), [(1, 1e-3), (2, 1.0), (3, 1e3), (0, 1.0), (10, 1.0), (9, 1e-3)])
@pytest.mark.parametrize("order", "<>")
def test_nifti_in_every_unit_of_length_and_byte_order(tmp_path, codes, units, scale, order):
    # positions in metres are true to a hundredth of a millimetre or so in single precision
    path = nifti(tmp_path / "a.nii", codes=codes, units=units, scale=scale, order=order)
    found = check(path, 1e-4 if units & 7 == 1 else 5e-6)
    assert found.notes == () or codes == (0, 0)
    assert np.allclose(found.geometry.spacing_zyx_mm, (2.5, 0.8, 0.7), atol=1e-5)


def nrrd(path, lines, data=None, order="<", end="\n\n"):
    data = HU.astype(f"{order}i2").tobytes() if data is None else data
    head = f"NRRD0005\n# a comment\ntype: short\nendian: {'big' if order == '>' else 'little'}\n"
    path.write_bytes(f"{head}{lines}{end}".encode() + data)
    return path


PLACED = "space directions: (0.5,0,0) (0,0.7,0) (0,0,2.5)\nspace origin: (1.5,-2.25,1e2)"
SIZES = "dimension: 3\nsizes: 6 5 4\nencoding: raw\n"


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    "lines",
    [
        f"space: left-posterior-superior\n{PLACED}",
        f"space: right-anterior-superior\n{PLACED}",
        f"space: left-anterior-superior\n{PLACED}",
        "space: RAS\nspace directions: (0,0.5,0) (0,0,-0.7) (2.5,0,0)\nkinds: domain domain domain",
        "space: scanner-xyz\nspace directions: (0.5,0,0) (0,0.7,0) (0,0,2.5)\nspace origin: (1.5,-2.25,100)",
        "space dimension: 3\nspace directions: (0,0,0.5) (0,0.7,0) (2.5,0,0)\nspace origin: (1.5,-2.25,100)",
        "spacings: 0.5 0.7 2.5",
        "spacings: 0.5 0.7 2.5\naxis mins: 1 2 3\ncenters: cell cell cell",
        "spacings: 0.5 0.7 2.5\naxis mins: 1 2 3\ncenterings: node node node",
        "spacings: 0.5 0.7 2.5\naxis mins: 1 2 3",
        'spacings: 0.5 0.7 2.5\nkinds: space space ???\nunits: "mm" "mm" "mm"\nlabels: "x" "y" "z"',
    ],
)
def test_nrrd_in_every_space(tmp_path, lines, order):
    check(nrrd(tmp_path / "a.nrrd", SIZES + lines, order=order))


@pytest.mark.parametrize("encoding", ["raw", "gzip", "gz", "bzip2", "ascii", "text", "hex"])
@pytest.mark.parametrize("apart", [False, True])
def test_nrrd_in_every_encoding(tmp_path, encoding, apart):
    raw = HU.astype("<i2").tobytes()
    data = {"raw": raw, "hex": raw.hex(" ", 30).encode() + b"\n"}.get(encoding)
    if data is None:
        packed = {"g": gzip.compress, "b": bz2.compress}.get(encoding[0])
        data = packed(raw) if packed else b" ".join(b"%d" % value for value in HU.ravel()) + b"\n"
    lines = f"dimension: 3\nsizes: 6 5 4\nencoding: {encoding}\nspacings: 1 1 2"
    if apart:
        (tmp_path / "a.data").write_bytes(data)
        path = nrrd(tmp_path / "a.nhdr", f"{lines}\ndata file: a.data", b"")
    else:
        path = nrrd(tmp_path / "a.nrrd", lines, data)
    check(path) if encoding != "bzip2" else bzip2_is_read(path)  # SimpleITK is built without it


def bzip2_is_read(path):
    assert np.array_equal(read_volume(path).hu, HU)


@pytest.mark.parametrize(
    ("encoding", "skip"),
    [
        *product(("raw", "gzip"), ("line skip: 2", "byte skip: 7", "line skip: 2\nbyte skip: 3")),
        ("raw", "byte skip: -1"),
    ],
)
def test_nrrd_with_something_before_its_voxels(tmp_path, skip, encoding):
    lines, within = (b"one\ntwo\n" if "line" in skip else b""), {"7": b"1234567", "3": b"abc"}.get(skip[-1], b"")
    raw = within + HU.astype("<i2").tobytes()
    before = b"anything" if "-1" in skip else lines
    (tmp_path / "a.data").write_bytes(before + (gzip.compress(raw) if encoding == "gzip" else raw))
    head = f"dimension: 3\nsizes: 6 5 4\nencoding: {encoding}\nspacings: 1 1 2\n{skip}\ndata file: a.data"
    check(nrrd(tmp_path / "a.nhdr", head, b""))


def slices(folder, packed=bytes):
    """One file for each slice, and a file for each half of the volume."""
    (folder / "deep").mkdir()
    for number, plane in enumerate(HU.astype("<i2")):
        (folder / f"s{number:03d}.raw").write_bytes(packed(plane.tobytes()))
        (folder / "deep" / f"{number + 7}").write_bytes(packed(plane.tobytes()))
    for number, half in enumerate(np.split(HU.astype("<i2"), 2)):
        (folder / f"half{number}").write_bytes(packed(half.tobytes()))


@pytest.mark.parametrize(
    "file",
    ["s%03d.raw 0 3 1", "s%03d.raw 0 3 1 2", "deep/%d 7 10 1", "half%01d 0 1 1 3", "LIST\n{names}", "LIST 2\n{names}"],
)
@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_nrrd_in_many_files(tmp_path, file, encoding):
    slices(tmp_path, gzip.compress if encoding == "gzip" else bytes)
    file = file.format(names="\n".join(f"s{number:03d}.raw" for number in range(4)))
    lines = f"dimension: 3\nsizes: 6 5 4\nencoding: {encoding}\nspacings: 1 1 2\ndata file: {file}"
    check(nrrd(tmp_path / "a.nhdr", lines, b"", end="\n"))


META = "ObjectType = Image\nNDims = 3\nDimSize = 6 5 4\nElementType = MET_SHORT\n"


def meta(path, lines, data=None):
    path.write_bytes(f"{META}{lines}\n".encode() + (HU.astype("<i2").tobytes() if data is None else data))
    return path


MATRIX = " ".join(f"{number:.12g}" for number in OBLIQUE.ravel())


@pytest.mark.parametrize(
    "lines",
    [
        "ElementSpacing = 0.5 0.7 2.5",
        "ElementSize = 0.5 0.7 2.5",
        "ElementSize = 1 1 1\nElementSpacing = 0.5 0.7 2.5\nOffset = 1 -2 3.5",
        "ElementSpacing = 0.5 0.7 2.5\nPosition = 1 -2 3.5\nOrientation = 0 1 0 0 0 1 1 0 0",
        f"ElementSpacing = 0.5 0.7 2.5\nOrigin = 1 -2 3.5\nRotation = {MATRIX}",
        f"ElementSpacing = 0.5 0.7 2.5\nOffset = 1 -2 3.5\nTransformMatrix = {MATRIX}\nCenterOfRotation = 7 8 9",
        "ElementSpacing = 0.5 0.7 2.5\nAnatomicalOrientation = LPS\nModality = MET_MOD_CT\nComment = M\u00fcller",
    ],
)
def test_metaimage_with_every_grid(tmp_path, lines):
    check(meta(tmp_path / "a.mha", f"{lines}\nElementDataFile = LOCAL"))


@pytest.mark.parametrize(
    ("lines", "pack"),
    [
        ("BinaryData = True\nBinaryDataByteOrderMSB = True", lambda v: v.astype(">i2").tobytes()),
        ("ElementByteOrderMSB = True", lambda v: v.astype(">i2").tobytes()),
        ("CompressedData = True", lambda v: zlib.compress(v.tobytes())),
        ("CompressedData = True\nCompressedDataSize = {size}", lambda v: zlib.compress(v.tobytes())),
        ("BinaryData = False", lambda v: b" ".join(b"%d" % number for number in v.ravel()) + b"\n"),
        ("HeaderSize = 5", lambda v: b"12345" + v.tobytes()),
        ("HeaderSize = -1", lambda v: b"anything" + v.tobytes()),
    ],
)
@pytest.mark.parametrize("apart", [False, True])
def test_metaimage_in_every_layout(tmp_path, lines, pack, apart):
    data = pack(HU)
    lines = f"ElementSpacing = 1 1 2\n{lines.format(size=len(data))}\nElementDataFile = {'a.raw' if apart else 'LOCAL'}"
    if apart:
        (tmp_path / "a.raw").write_bytes(data)
        check(meta(tmp_path / "a.mhd", lines, b""))
    elif lines.startswith("ElementSpacing = 1 1 2\nCompressedData = True\nElement"):
        assert np.array_equal(read_volume(meta(tmp_path / "a.mha", lines, data)).hu, HU)  # ITK wants the size
    elif "HeaderSize = 5" not in lines:  # it counts from the beginning of the file, here within the header
        check(meta(tmp_path / "a.mha", lines, data))
    else:
        size = len(f"{META}{lines}\n") + 1 + len("5")  # of the header when it states three digits and a byte more
        lines = lines.replace("HeaderSize = 5", f"HeaderSize = {size + 4}")
        check(meta(tmp_path / "a.mha", lines, b"1234567"[: size + 4 - len(f"{META}{lines}\n")] + HU.tobytes()))


@pytest.mark.parametrize(
    "file",
    ["s%03d.raw 0 3 1", "s%03d.raw 0 3 1", "deep/%d 7 10 1", "LIST\n{names}", "LIST 2\n{names}", "LIST 2D\n{names}"],
)
def test_metaimage_in_many_files(tmp_path, file):
    slices(tmp_path)
    file = file.format(names="\n".join(f"s{number:03d}.raw" for number in range(4)))
    check(meta(tmp_path / "a.mhd", f"ElementSpacing = 1 1 2\nElementDataFile = {file}", b""))


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"])
def test_every_type_of_number(tmp_path, kind, ending):
    values = (HU // 8).astype(kind) if kind[0] != "u" else np.abs(HU // 8).astype(kind)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / f"a{ending}"))
    found = read_volume(tmp_path / f"a{ending}", force=True)
    assert np.array_equal(found.hu, values)


def test_values_of_one_voxel_may_lie_along_any_axis(tmp_path):
    layers = np.random.default_rng(2).integers(0, 2, (*SHAPE, 2)).astype(np.uint8)
    layers[..., 1] &= 1 - layers[..., 0]
    names = "".join(
        f"Segment{n}_ID:=s{n}\nSegment{n}_Name:={name}\nSegment{n}_Layer:={n}\n"
        for n, name in enumerate(("Liver", "Spleen"))
    )
    want = layers[..., 0] + 3 * layers[..., 1]
    for number, (sizes, kinds, data) in enumerate(
        [
            ("2 6 5 4", "list domain domain domain", layers),
            ("6 5 4 2", "domain domain domain list", np.moveaxis(layers, 3, 0)),
            ("6 5 2 4", "domain domain vector domain", np.moveaxis(layers, 3, 1)),
        ]
    ):
        path = tmp_path / f"{number}.seg.nrrd"
        path.write_bytes(
            f"NRRD0004\ntype: uchar\ndimension: 4\nsizes: {sizes}\nkinds: {kinds}\nencoding: raw\n{names}"
            "spacings: 1 1 1 1\n\n".encode()
            + np.ascontiguousarray(data).tobytes()
        )
        assert np.array_equal(read_labels(path)[0], want)
        theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        assert np.array_equal(theirs, layers)


def test_keys_and_values_of_a_nrrd_are_those_that_itk_reads(tmp_path):
    path = nrrd(tmp_path / "a.nrrd", SIZES + "spacings: 1 1 1\nA key:=a \\\\ b\\nc := d: e\nempty:=")
    image, found = sitk.ReadImage(str(path)), read_image(path)
    theirs = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    assert {key: theirs[key] for key in found.fields} == found.fields
    assert found.fields["A key"] == "a \\ b\nc := d: e"


@pytest.mark.parametrize("ending", [".nrrd", ".nhdr", ".mha", ".nii.gz"])
def test_a_single_frame_of_a_moving_image_is_a_volume(tmp_path, ending):
    image = sitk.GetImageFromArray(HU)
    image.SetSpacing((1.0, 1.5, 2.0))
    image.SetOrigin((-30.0, 20.0, 7.0))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / "volume.mha"))
    sitk.WriteImage(sitk.JoinSeries([image]), str(tmp_path / f"frame{ending}"))
    one, other = read_volume(tmp_path / "volume.mha", force=True), read_volume(tmp_path / f"frame{ending}", force=True)
    assert one.geometry.same_as(other.geometry) and np.array_equal(one.hu, other.hu)


@pytest.mark.parametrize(("space", "sides"), [("left-posterior-superior-time", 1), ("LPST", 1), ("RAST", -1)])
def test_nrrd_in_a_space_with_time(tmp_path, space, sides):
    steps = "(1,0,0,0) (0,1.5,0,0) (0,0,2,0) (0,0,0,1)"
    path = tmp_path / "a.nrrd"
    path.write_bytes(
        f"NRRD0004\ntype: short\ndimension: 4\nsizes: {' '.join(map(str, HU.shape[::-1]))} 1\nencoding: raw\n"
        f"endian: little\nspace: {space}\nspace directions: {steps}\nspace origin: (-30,20,7,0)\n\n".encode()
        + HU.astype("<i2").tobytes()
    )
    geometry = read_volume(path, force=True).geometry
    assert geometry.origin_xyz_mm == (-30.0 * sides, 20.0 * sides, 7.0) and geometry.spacing_zyx_mm == (2.0, 1.5, 1.0)
