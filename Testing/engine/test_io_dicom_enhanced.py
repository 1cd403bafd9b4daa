"""Enhanced multi-frame CT: frames in any order, phases, several objects of one series, odd groups."""

import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
    generate_uid,
)

sys.path.insert(0, str(Path(__file__).parent))

from dicom_files import COLUMNS, ROWS, SPACING_XY, assert_in_place, expected, fails, field, write_series

from flareseg.io.dicom import list_series
from flareseg.io.files import read_volume


def item(**values):
    made = Dataset()
    for key, value in values.items():
        setattr(made, key, value)
    return made


def group(**values):
    return Sequence([item(**values)])


def write_enhanced(
    file,
    depths=tuple(3.0 * i for i in range(8)),
    over=lambda frame: 0.0,
    rescale=lambda frame: None,
    content=lambda frame: {},
    edit=lambda dataset: None,
    uid="1.2.826.0.1.3680043.8.498.5",
):
    """One object, its frames in the order of `depths`; `over` is added to the HU of a frame."""
    file.parent.mkdir(parents=True, exist_ok=True)
    j, i = np.meshgrid(np.arange(ROWS), np.arange(COLUMNS), indexing="ij")
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.Modality, dataset.SeriesNumber = "1.2", uid, "CT", 6
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.NumberOfFrames = ROWS, COLUMNS, 1, len(depths)
    dataset.PhotometricInterpretation, dataset.InstanceNumber = "MONOCHROME2", 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.SharedFunctionalGroupsSequence = group(
        PixelMeasuresSequence=group(PixelSpacing=[SPACING_XY[1], SPACING_XY[0]], SliceThickness="3"),
        PlaneOrientationSequence=group(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
    )
    frames, pixels = [], []
    for frame, depth in enumerate(depths):
        slope, intercept = rescale(frame) or (1.0, -1024.0)
        own = item(PlanePositionSequence=group(ImagePositionPatient=["-5", "3", f"{depth - 40:.4f}"]))
        if rescale(frame):
            own.PixelValueTransformationSequence = group(RescaleSlope=f"{slope:g}", RescaleIntercept=f"{intercept:g}")
        if content(frame):
            own.FrameContentSequence = group(**content(frame))
        frames.append(own)
        hu = field(-5 + i * SPACING_XY[0], 3 + j * SPACING_XY[1], depth - 40) + over(frame)
        pixels.append(np.rint((hu - intercept) / slope).astype("<i2"))
    if not rescale(0):
        dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence = group(
            RescaleSlope="1", RescaleIntercept="-1024", RescaleType="HU"
        )
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    dataset.PixelData = np.stack(pixels).tobytes()
    edit(dataset)
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.parent


def phase_of(volume):
    over = volume.hu - expected(volume.geometry)
    assert np.ptp(over) < 1.6
    return round(float(over.mean()) / 100)


MIXED = (9.0, 0.0, 21.0, 3.0, 15.0, 6.0, 18.0, 12.0)


@pytest.mark.parametrize("depths", [tuple(3.0 * i for i in range(8)), MIXED, MIXED[::-1]])
def test_frames_lie_where_they_were_scanned_in_any_order(tmp_path, depths):
    folder = write_enhanced(tmp_path / "a" / "E", depths)
    volume = read_volume(folder, force=True)
    assert volume.hu.shape == (8, ROWS, COLUMNS) and volume.notes == ()
    assert_in_place(volume)
    assert len(list_series(folder)[0].slices) == 8
    assert np.array_equal(read_volume(folder / "E", force=True).hu, volume.hu)


def test_the_source_names_the_frame_of_each_slice(tmp_path):
    folder = write_enhanced(tmp_path / "a" / "1.dcm", depths=tuple(3.0 * i for i in range(8))[::-1])
    volume = read_volume(folder, force=True)
    assert [one.frame for one in volume.source.slices] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert len({one.instance_uid for one in volume.source.slices}) == 1
    assert {one.class_uid for one in volume.source.slices} == {EnhancedCTImageStorage}
    assert volume.source.study_uid == "1.2"


def test_each_frame_has_its_own_slope_and_intercept(tmp_path):
    folder = write_enhanced(tmp_path / "a" / "E", MIXED, rescale=lambda frame: (0.5, -1000.0 - 10 * frame))
    assert_in_place(read_volume(folder, force=True))


def test_groups_of_all_frames_may_stand_in_each(tmp_path):
    def move(dataset):
        shared = dataset.SharedFunctionalGroupsSequence[0]
        for own in dataset.PerFrameFunctionalGroupsSequence:
            own.update(shared)
        del dataset.SharedFunctionalGroupsSequence

    assert_in_place(read_volume(write_enhanced(tmp_path / "a" / "E", MIXED, edit=move), force=True))


def test_a_legacy_converted_image_is_read(tmp_path):
    def legacy(dataset):
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = LegacyConvertedEnhancedCTImageStorage
        dataset.SharedFunctionalGroupsSequence[0].UnassignedSharedConvertedAttributesSequence = group(KVP="120")

    assert_in_place(read_volume(write_enhanced(tmp_path / "a" / "E", MIXED, edit=legacy), force=True))


PHASES = {
    "temporal": lambda frame: {"TemporalPositionIndex": frame % 3 + 1},
    "acquisition": lambda frame: {"FrameAcquisitionNumber": frame % 3 + 1},
    "stack": lambda frame: {"StackID": str(frame % 3 + 1)},
    "time": lambda frame: {"FrameAcquisitionDateTime": f"20240101101{frame % 3}00.5"},
    "nothing but the order": lambda frame: {},
}


@pytest.mark.parametrize("content", PHASES.values(), ids=PHASES)
def test_phases_of_one_object_are_told_apart(tmp_path, content):
    depths = [3.0 * (frame // 3) for frame in range(30)]
    folder = write_enhanced(tmp_path / "a" / "E", depths, over=lambda frame: 100 * (frame % 3), content=content)
    volume = read_volume(folder, force=True)
    assert volume.hu.shape[0] == 10 and phase_of(volume) == 2
    assert "holds 3 acquisitions" in volume.notes[0]
    assert phase_of(read_volume(folder, force=True, series="6.1")) == 0


def test_phases_one_after_the_other_are_told_apart_by_their_order(tmp_path):
    depths = [3.0 * (frame % 10) for frame in range(30)]
    folder = write_enhanced(tmp_path / "a" / "E", depths, over=lambda frame: 100 * (frame // 10))
    assert phase_of(read_volume(folder, force=True)) == 2


def test_several_objects_of_one_series_are_one_volume(tmp_path):
    for part in range(3):
        write_enhanced(tmp_path / "a" / f"E{part}", tuple(12.0 * part + 3.0 * i for i in range(4)))
    volume = read_volume(tmp_path / "a", force=True)
    assert volume.hu.shape[0] == 12
    assert_in_place(volume)


def test_objects_that_are_phases_are_told_apart(tmp_path):
    for part in range(2):
        write_enhanced(tmp_path / "a" / f"E{part}", over=lambda frame, part=part: 100 * part)
    volume = read_volume(tmp_path / "a", force=True)
    assert volume.hu.shape[0] == 8 and phase_of(volume) == 1 and "2 acquisitions" in volume.notes[0]


def test_a_few_bolus_images_do_not_beat_one_file_of_many_frames(tmp_path):
    folder = write_enhanced(tmp_path / "a" / "E", tuple(3.0 * i for i in range(20)))
    write_series(folder / "b", depths=(0.0, 3.0, 6.0), SeriesNumber=9)
    assert read_volume(folder, force=True).hu.shape[0] == 20


def test_many_images_at_one_place_do_not_beat_a_scan(tmp_path):
    folder = write_enhanced(tmp_path / "a" / "E", tuple(3.0 * i for i in range(10)))
    write_series(folder / "b", depths=(30.0,) * 15, SeriesNumber=9)
    assert read_volume(folder, force=True).hu.shape[0] == 10


def test_frames_without_a_position_are_told(tmp_path):
    def lose(count):
        def edit(dataset):
            for own in dataset.PerFrameFunctionalGroupsSequence[:count]:
                del own.PlanePositionSequence

        return edit

    folder = write_enhanced(tmp_path / "a" / "E", tuple(3.0 * i for i in range(24)), edit=lose(1))
    volume = read_volume(folder, force=True)
    assert volume.hu.shape[0] == 23 and "'E, frame 1' (no ImagePositionPatient)" in volume.notes[0]
    fails(write_enhanced(tmp_path / "b" / "E", edit=lose(4)), "4 of 8 slices", force=True)


@pytest.mark.parametrize("frames", [5, 900_000_000, "abc"])
def test_a_count_of_frames_that_does_not_fit_is_refused(tmp_path, frames):
    def edit(dataset):
        dataset.NumberOfFrames = 8

    folder = write_enhanced(tmp_path / "a" / "E", edit=edit)
    file = folder / "E"
    content = file.read_bytes()
    at = content.index(b"\x28\x00\x08\x00IS")
    value = str(frames).encode() + b" " * (len(str(frames)) % 2)
    file.write_bytes(content[: at + 6] + len(value).to_bytes(2, "little") + value + content[at + 10 :])
    fails(folder, "'", force=True)


def test_pixels_of_fewer_frames_are_refused(tmp_path):
    def cut(dataset):
        dataset.PixelData = dataset.PixelData[: 5 * ROWS * COLUMNS * 2]

    fails(write_enhanced(tmp_path / "a" / "E", edit=cut), "is damaged", force=True)
