"""CTs from DICOM with a known label map, and other programs that read what is written for them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from dicom_files import write_series

from flareseg.io.dicom import read_dicom
from flareseg.labels import structures
from flareseg.segmentation import Segmentation
from flareseg.volume import Volume

PATIENT = {
    "PatientID": "A 17",
    "PatientName": "Müller^Änne",
    "PatientBirthDate": "19510203",
    "PatientSex": "F",
    "SpecificCharacterSet": "ISO_IR 192",
    "FrameOfReferenceUID": "1.2.826.0.1.5",
    "StudyInstanceUID": "1.2.826.0.1.6",
    "SeriesInstanceUID": "1.2.826.0.1.7",
    "StudyDate": "20261130",
    "StudyTime": "101500",
    "StudyID": "S1",
    "AccessionNumber": "4711",
    "ReferringPhysicianName": "Who^Doctor",
}
LIVER, RIGHT_KIDNEY, TUMOUR = 1, 2, 14


def labels_for(shape: tuple[int, ...]) -> np.ndarray:
    """A liver with a hole, a kidney, two lesions (the second reaches the corner), and a speck."""
    labels = np.zeros(shape, np.uint8)
    labels[1:4, 3:9, 4:12] = LIVER
    labels[2, 5:7, 6:9] = 0
    labels[2:6, 12:20, 3:9] = RIGHT_KIDNEY
    labels[1:6, 2:9, 13:19] = TUMOUR
    labels[5:8, 16:24, 11:20] = TUMOUR
    labels[0, 23, 0] = TUMOUR
    return labels


def segmented(volume: Volume, labels: np.ndarray | None = None) -> Segmentation:
    labels = labels_for(volume.hu.shape) if labels is None else labels
    return Segmentation(labels, volume.geometry, structures(), "anna", "toy 1.5", source=volume.source)


def make(folder: Path, **options) -> tuple[Volume, Segmentation]:
    """A CT in `folder`, written as `write_series` says, and its segmentation."""
    volume = read_dicom(write_series(folder, **(PATIENT | options)))
    return volume, segmented(volume)


def bright_series(folder, **options):
    """A CT in which the quick model finds a liver."""

    def values(x, y, z):
        return np.where((abs(x) < 4) & (abs(y - 10) < 5), 110, -20) + 0 * z

    return write_series(folder, values=values, **(PATIENT | options))


def header_by_instance(folder: Path) -> dict[str, pydicom.Dataset]:
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in folder.iterdir()]
    return {str(header.SOPInstanceUID): header for header in headers}


def complaints(path: Path) -> list[str]:
    """What David Clunie's dciodvfy finds wrong with a file."""
    return [line for line in tool("dicom3tools", "dciodvfy", path).splitlines() if line.startswith(("Error", "Abort"))]


def tool(package: str, name: str, *arguments: object) -> str:
    """What a program prints that comes in a Python package."""
    module = pytest.importorskip(package, reason=f"the package {package} is not installed")
    program = Path(module.__file__).parent / "bin" / name
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, errors="replace")
    return done.stdout + done.stderr
