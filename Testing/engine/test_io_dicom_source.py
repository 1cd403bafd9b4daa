"""Which DICOM images a CT was read from: so that a result can refer to them."""

import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import CTImageStorage, generate_uid

sys.path.insert(0, str(Path(__file__).parent))

from dicom_files import write_series

from flareseg.io.dicom import read_dicom
from flareseg.io.files import read_volume, write_volume
from flareseg.progress import never
from flareseg.reading.reader import CaseReader
from flareseg.volume import Orientation, Volume

PATIENT = {
    "PatientID": "A 17",
    "PatientName": "Müller^Änne",
    "SpecificCharacterSet": "ISO_IR 192",
    "FrameOfReferenceUID": "1.2.826.0.1.5",
    "StudyInstanceUID": "1.2.826.0.1.6",
    "SeriesInstanceUID": "1.2.826.0.1.7",
}


def instance_at(folder: Path) -> dict[float, str]:
    """The SOP instance UID at each z."""
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in folder.iterdir()]
    return {float(header.ImagePositionPatient[2]): str(header.SOPInstanceUID) for header in headers}


def assert_slices_lie_as_told(volume: Volume, folder: Path) -> None:
    source = volume.source
    assert source is not None and len(source.slices) == volume.hu.shape[source.axis]
    at = instance_at(folder)
    for number, one in enumerate(source.slices):
        index = [0, 0, 0]
        index[source.axis] = number
        _, _, z = volume.geometry.world_of((index[0], index[1], index[2]))
        assert one.instance_uid == at[min(at, key=lambda known: abs(known - z))]


def test_a_volume_names_its_images_in_the_order_of_its_slices(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a", scrambled=True, **PATIENT)
    volume = read_dicom(folder)
    source = volume.source
    assert_slices_lie_as_told(volume, folder)
    assert source is not None
    assert {one.series_uid for one in source.slices} == {PATIENT["SeriesInstanceUID"]}
    assert {(one.class_uid, one.frame) for one in source.slices} == {(CTImageStorage, None)}
    assert source.study_uid == PATIENT["StudyInstanceUID"]
    assert source.frame_of_reference_uid == PATIENT["FrameOfReferenceUID"]
    assert (source.patient_id, source.patient_name) == ("A 17", "Müller^Änne")


def test_what_the_files_do_not_say_is_empty(tmp_path: Path) -> None:
    source = read_dicom(write_series(tmp_path / "a")).source
    assert source is not None
    assert (source.study_uid, source.frame_of_reference_uid) == ("", ""), "every slice has a study of its own here"
    assert (source.patient_id, source.patient_name) == ("", "")


def test_the_images_follow_their_slices_into_another_order(tmp_path: Path) -> None:
    sagittal = (0, 1, 0, 0, 0, -1)
    folder = write_series(tmp_path / "a", orientation=sagittal, **PATIENT)
    volume = read_dicom(folder)
    turned = volume.canonical()
    assert volume.source is not None and turned.source is not None
    assert (volume.source.axis, turned.source.axis) == (0, 2)
    flipped = Orientation.of(volume.geometry).flipped[2]
    assert turned.source.slices == volume.source.slices[:: -1 if flipped else 1]
    upside_down = volume.oriented(Orientation((0, 1, 2), (True, False, False)))
    assert upside_down.source is not None and upside_down.source.slices == volume.source.slices[::-1]


@pytest.mark.parametrize("head_first", [True, False])
def test_axial_slices_follow_too(tmp_path: Path, head_first: bool) -> None:
    orientation = (1, 0, 0, 0, 1, 0) if head_first else (-1, 0, 0, 0, 1, 0)
    folder = write_series(tmp_path / "a", orientation=orientation, **PATIENT)
    volume = read_dicom(folder)
    assert_slices_lie_as_told(volume, folder)
    assert_slices_lie_as_told(volume.canonical(), folder)


def test_slices_of_joined_series_keep_their_own(tmp_path: Path) -> None:
    own: dict[str, str] = {}

    def with_a_series_of_its_own(dataset: pydicom.Dataset, number: int) -> None:
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID = generate_uid(), "1.2.3"
        own[str(dataset.SOPInstanceUID)] = str(dataset.SeriesInstanceUID)

    source = read_dicom(write_series(tmp_path / "a", edit=with_a_series_of_its_own)).source
    assert source is not None and source.study_uid == "1.2.3"
    assert {one.instance_uid: one.series_uid for one in source.slices} == own


def test_a_ct_from_another_file_has_no_source(tmp_path: Path) -> None:
    path = write_volume(read_dicom(write_series(tmp_path / "a")), tmp_path / "ct.nii.gz")
    assert read_volume(path, force=True).source is None


def test_the_source_comes_through_the_reading_process_and_into_no_log(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a", **PATIENT)
    with CaseReader() as reader:
        volume = reader.read(folder, force=True, cancelled=never)
    assert volume.source == read_dicom(folder).source
    assert "Müller" not in repr(volume)
    assert np.array_equal(volume.hu, read_dicom(folder).hu)
