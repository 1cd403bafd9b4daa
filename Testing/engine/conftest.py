"""What the tests of the engine share: a small CT, and the folder of real CTs."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from flareseg.volume import Geometry, Volume

sys.path.insert(0, str(Path(__file__).parent))

ROOT = Path(__file__).resolve().parents[2]
REAL_CTS = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def real_cts() -> Path:
    """The folder of real CTs; tests that need it are skipped where it is not."""
    if not REAL_CTS.is_dir():
        pytest.skip(f"the real CTs are not at {REAL_CTS}")
    return REAL_CTS


@pytest.fixture(scope="session")
def a_ct() -> Volume:
    """24 × 60 × 80 voxels of 5 × 3 × 3 mm: an elliptic body with a bright and a dark organ, and noise; not to be
    changed."""
    z, y, x = np.ogrid[:24, :60, :80]
    rng = np.random.default_rng(11)
    hu = np.full((24, 60, 80), -1000.0)
    hu[((y - 30) / 24) ** 2 + ((x - 40) / 34) ** 2 + 0 * z < 1] = 20
    hu[((z - 12) / 8) ** 2 + ((y - 26) / 12) ** 2 + ((x - 24) / 12) ** 2 < 1] = 110
    hu[((z - 9) / 6) ** 2 + ((y - 36) / 8) ** 2 + ((x - 58) / 7) ** 2 < 1] = -60
    hu += rng.normal(0, 12, hu.shape)
    geometry = Geometry((24, 60, 80), (5.0, 3.0, 3.0), (-120.0, -90.0, 40.0))
    return Volume(np.clip(hu, -1024, 3071).astype(np.int16), geometry, "phantom")


@pytest.fixture
def segment_quickly(a_model, monkeypatch):
    """`flareseg segment ARGUMENTS`, with a model that only compares; returns the exit status."""
    from quick_segmenter import QuickSegmenter

    from flareseg.cli import main

    monkeypatch.setattr("flareseg.segmenter.Segmenter", QuickSegmenter)

    def run(*arguments: object, progress: str = "none", model: object = a_model) -> int:
        return main(["segment", *map(str, arguments), "--model", str(model), "--progress", progress])

    return run


@pytest.fixture
def small_ct() -> Volume:
    """6 × 20 × 20 voxels: air, soft tissue, and a bright organ."""
    hu = np.full((6, 20, 20), -1000, np.int16)
    hu[:, 3:17, 3:17] = 20
    hu[2:5, 6:12, 6:12] = 110
    return Volume(hu, Geometry(hu.shape, (5.0, 3.0, 3.0)), "small")


@pytest.fixture
def dicom_series():
    """Writes a small DICOM series: `dicom_series(folder, uid=..., first=0, count=6)`; returns the folder."""

    def write(folder: Path, uid: str = "1.2.826.0.1.77", first: int = 0, count: int = 6) -> Path:
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.uid import ExplicitVRLittleEndian

        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.full((20, 20), 24, np.uint16)
        pixels[3:17, 3:17] = 1044
        pixels[6:12, 6:12] = 1134
        for number in range(first, first + count):
            one = Dataset()
            one.file_meta = FileMetaDataset()
            one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
            one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"{uid}.{number + 1}"
            one.SeriesInstanceUID, one.StudyInstanceUID, one.Modality, one.SeriesNumber = uid, "1.2.3", "CT", 2
            one.ImageType, one.InstanceNumber, one.SliceThickness = ["ORIGINAL", "PRIMARY", "AXIAL"], number + 1, "5"
            one.Rows, one.Columns = pixels.shape
            one.PixelSpacing, one.ImageOrientationPatient = ["3", "3"], [1, 0, 0, 0, 1, 0]
            one.ImagePositionPatient = ["0", "0", str(5 * number)]
            one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
            one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 12, 11, 0
            one.RescaleSlope, one.RescaleIntercept, one.RescaleType = "1", "-1024", "HU"
            one.PixelData = pixels.tobytes()
            one.save_as(folder / f"IM{number:04d}", enforce_file_format=True)
        return folder

    return write


@pytest.fixture
def a_folder_of_deep_ones(tmp_path, monkeypatch):
    """The current folder, in which "d/d/d/..." may be made; removed one by one, as pytest's way is recursive."""
    folder = tmp_path / "deep"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder
    os.chdir(folder)
    depth = 0
    while Path("d").is_dir():
        os.chdir("d")
        depth += 1
    for _ in range(depth):
        for path in Path().iterdir():
            path.rmdir() if path.is_dir() else path.unlink()
        os.chdir("..")
    shutil.rmtree("d", ignore_errors=True)


@pytest.fixture
def server():
    """A web server of a model in TotalSegmentator's layout."""
    from file_server import serving
    from public_replicas import totalsegmentator_zip

    with serving(totalsegmentator_zip()) as served:
        yield served


@pytest.fixture
def write_catalogue(tmp_path):
    """Writes the user's own catalogue, where `own_folders` has it."""
    from public_replicas import catalogue_of

    return catalogue_of(tmp_path / "data" / "catalogue.json")
