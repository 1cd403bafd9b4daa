"""Small valid CTs in DICOM: a classic series in several encodings, an enhanced object, a DICOMDIR, a zip."""

from __future__ import annotations

import functools
from io import BytesIO
from typing import Any

import numpy as np
from seeds_images import hu
from tree import Tree, zipped

EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED, RLE, JPEG_2000 = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90"
CT, ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"
SLICES = 5


def slice_of(number: int, syntax: str = EXPLICIT, series: str = "1.2.826.0.1.9") -> Any:
    """The data set of one slice."""
    from pydicom.dataset import Dataset, FileMetaDataset

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CT
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = f"{series}.{number + 1}"
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType, dataset.Modality = ["ORIGINAL", "PRIMARY", "AXIAL"], "CT"
    dataset.StudyDate, dataset.AcquisitionTime, dataset.AcquisitionNumber = "20200101", "120000.5", 1
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.826.0.1.8", series
    dataset.SeriesNumber, dataset.SeriesDescription, dataset.InstanceNumber = 2, "Abdomen", number + 1
    dataset.SliceThickness, dataset.GantryDetectorTilt = "3", "0"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = *hu().shape[1:], 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.PixelSpacing = ["2", "2"]
    dataset.ImagePositionPatient = ["-10", "-12", f"{3 * number}"]
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = "1", "-1024", "HU"
    stored = hu()[number] + np.int16(1024)
    dataset.PixelData = stored.astype(">i2" if syntax == BIG else "<i2").tobytes()
    return dataset


def saved(dataset: Any, syntax: str = EXPLICIT) -> bytes:
    import pydicom

    if syntax == RLE:
        dataset.file_meta.TransferSyntaxUID = EXPLICIT
        dataset.compress(RLE)
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def enhanced() -> bytes:
    """All slices in one object, with the functional groups of an enhanced CT."""
    from pydicom.dataset import Dataset

    dataset = slice_of(0)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = ENHANCED_CT
    dataset.NumberOfFrames = SLICES
    stored = [hu()[number] + np.int16(1024) for number in range(SLICES)]
    dataset.PixelData = np.stack(stored).astype("<i2").tobytes()
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        delattr(dataset, name)

    def one(**values: Any) -> list[Any]:
        item = Dataset()
        for key, value in values.items():
            setattr(item, key, value)
        return [item]

    shared = one(
        PixelMeasuresSequence=one(PixelSpacing=["2", "2"], SliceThickness="3"),
        PlaneOrientationSequence=one(ImageOrientationPatient=["1", "0", "0", "0", "1", "0"]),
        PixelValueTransformationSequence=one(RescaleIntercept="-1024", RescaleSlope="1", RescaleType="HU"),
    )
    dataset.SharedFunctionalGroupsSequence = shared
    frames = []
    for number in range(SLICES):
        content = one(DimensionIndexValues=[1, number + 1], TemporalPositionIndex=1, StackID="1")
        place = one(ImagePositionPatient=["-10", "-12", f"{3 * number}"])
        frames += one(FrameContentSequence=content, PlanePositionSequence=place)
    dataset.PerFrameFunctionalGroupsSequence = frames
    return saved(dataset)


def dicomdir(names: list[str]) -> bytes:
    """A DICOMDIR that names the slices, one record each."""
    from pydicom.dataset import Dataset

    dataset = Dataset()
    dataset.file_meta = slice_of(0).file_meta
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    dataset.FileSetID = "CD"
    records = []
    for name in names:
        record = Dataset()
        record.OffsetOfTheNextDirectoryRecord, record.DirectoryRecordType = 0, "IMAGE"
        record.ReferencedFileID = name.split("/")
        records.append(record)
    dataset.DirectoryRecordSequence = records
    return saved(dataset)


def jpeg_2000(number: int) -> Any:
    """A slice with pixels that ITK packed."""
    import tempfile
    from pathlib import Path

    import pydicom
    import SimpleITK as sitk

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "one.dcm"))
        writer = sitk.ImageFileWriter()
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG2000")
        writer.SetFileName(path)
        writer.Execute(sitk.GetImageFromArray(hu()[number : number + 1] + np.int16(1024)))
        packed = pydicom.dcmread(path)
        dataset = slice_of(number, str(packed.file_meta.TransferSyntaxUID))
        dataset.PixelData = packed.PixelData
        dataset["PixelData"].is_undefined_length = True
    return dataset


@functools.cache
def _series() -> dict[str, bytes]:
    return {f"IM{number:03d}": saved(slice_of(number)) for number in range(SLICES)}


def dicom_seeds() -> dict[str, Tree]:
    classic = _series()

    def encoded(syntax: str) -> Tree:
        return Tree({f"IM{n:03d}": saved(slice_of(n, syntax), syntax) for n in range(SLICES)})

    names = [f"CD/{name}" for name in classic]
    on_cd = {"DICOMDIR": dicomdir(names), **{f"CD/{name}": data for name, data in classic.items()}}
    tilted = {}
    for number in range(SLICES):
        dataset = slice_of(number)
        dataset.ImageOrientationPatient = ["1", "0", "0", "0", "0.98480775", "0.17364818"]
        tilted[f"IM{number:03d}"] = saved(dataset)
    second = {}
    for number in range(SLICES):
        dataset = slice_of(number)
        dataset.AcquisitionNumber, dataset.InstanceNumber = 2, 100 + number
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.9.2.{number}"
        second[f"P2{number:03d}"] = saved(dataset)
    return {
        "classic": Tree(dict(classic)),
        "one file": Tree(dict(classic), "IM002"),
        "implicit": encoded(IMPLICIT),
        "big endian": encoded(BIG),
        "deflated": encoded(DEFLATED),
        "rle": encoded(RLE),
        "jpeg 2000": Tree({f"IM{n:03d}": saved(jpeg_2000(n)) for n in range(SLICES)}),
        "no preamble": Tree({name: data[132:] for name, data in classic.items()}),
        "tilted": Tree(tilted),
        "phases": Tree(classic | second),
        "enhanced": Tree({"E1": enhanced()}),
        "enhanced file": Tree({"E1": enhanced()}, "E1"),
        "dicomdir": Tree(dict(on_cd), "DICOMDIR"),
        "cd": Tree(dict(on_cd)),
        "zip": Tree({"ct.zip": zipped(classic)}, "ct.zip"),
        "other files": Tree(classic | {"README.txt": b"Viewer on this disc", "VIEWER/run.exe": b"MZ\0\0"}),
    }
