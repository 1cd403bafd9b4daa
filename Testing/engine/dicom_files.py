"""Small synthetic DICOM series, whose every voxel is known by where it lies."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MediaStorageDirectoryStorage, generate_uid

from flareseg.errors import InputError
from flareseg.io.files import read_volume

ROWS, COLUMNS = 24, 20
SPACING_XY = (0.8, 0.7)


def field(x, y, z):
    """A smooth patient: HU at LPS mm."""
    return 30 * x - 25 * y + 9 * z + 400


def write_series(
    folder,
    depths=tuple(3.0 * i for i in range(8)),
    orientation=(1, 0, 0, 0, 1, 0),
    aside=lambda depth: (0.0, 0.0),
    slope=1.0,
    intercept=-1024.0,
    values=field,
    edit=lambda dataset, number: None,
    scrambled=False,
    **fields,
):
    """Write slices of `values`, in an order that is not that of their depths; returns the folder.

    With `scrambled`, file names say nothing about the order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    uid = fields.pop("SeriesInstanceUID", generate_uid())
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    normal = np.cross(row, column)
    j, i = np.meshgrid(np.arange(ROWS), np.arange(COLUMNS), indexing="ij")
    for number, depth in enumerate(depths):
        over, down = aside(depth)
        position = np.array([-5.0, 3.0, -40.0]) + depth * normal + over * row + down * column
        points = position + i[..., None] * SPACING_XY[0] * row + j[..., None] * SPACING_XY[1] * column
        hu = values(points[..., 0], points[..., 1], points[..., 2])
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), uid
        dataset.Modality, dataset.SeriesNumber, dataset.SeriesDescription = "CT", 2, "Abdomen"
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.InstanceNumber = number + 1
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = ROWS, COLUMNS, 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
        dataset.PixelSpacing = [SPACING_XY[1], SPACING_XY[0]]
        dataset.ImagePositionPatient = [f"{value:.6f}" for value in position]
        dataset.ImageOrientationPatient = [f"{value:.8f}" for value in (*row, *column)]
        dataset.RescaleSlope, dataset.RescaleIntercept = f"{slope:g}", f"{intercept:g}"
        dataset.PixelData = np.rint((hu - intercept) / slope).astype("<i2").tobytes()
        for key, value in fields.items():
            setattr(dataset, key, value)
        edit(dataset, number)
        name = f"{(number * 5) % len(depths) if len(depths) % 5 else number:03d}_{uid[-6:]}.dcm"
        if scrambled:
            name = f"{generate_uid()[-16:]}.dcm"
        pydicom.dcmwrite(folder / name, dataset, enforce_file_format=True)
    return folder


def write_dicomdir(folder, files):
    """A DICOMDIR in `folder` that lists `files`, their names in capitals."""
    records = []
    for file in files:
        header = pydicom.dcmread(file, stop_before_pixels=True)
        if not records:
            series = Dataset()
            series.DirectoryRecordType, series.SeriesInstanceUID = "SERIES", header.SeriesInstanceUID
            records.append(series)
        image = Dataset()
        image.DirectoryRecordType = "IMAGE"
        image.ReferencedFileID = [part.upper() for part in file.relative_to(folder).parts]
        records.append(image)
    listing = Dataset()
    listing.file_meta = FileMetaDataset()
    listing.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    listing.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    listing.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    listing.DirectoryRecordSequence = pydicom.Sequence(records)
    pydicom.dcmwrite(folder / "DICOMDIR", listing, enforce_file_format=True)
    return folder


def expected(geometry, values=field):
    z, y, x = np.indices(geometry.shape_zyx)
    world = np.stack([x, y, z, np.ones_like(x)], axis=-1) @ geometry.index_to_world().T
    return values(world[..., 0], world[..., 1], world[..., 2])


def assert_in_place(volume, tolerance=0.51, inside=np.s_[:]):
    assert volume.hu.dtype == np.int16
    assert np.abs(volume.hu - expected(volume.geometry))[inside].max() <= tolerance


def fails(folder, words, **options):
    with pytest.raises(InputError) as caught:
        read_volume(folder, **options)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)
