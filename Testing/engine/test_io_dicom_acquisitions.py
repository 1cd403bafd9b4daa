"""Several acquisitions in one DICOM series: phases, stretches of the body, bolus tracking, scans in parts."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from dicom_files import expected, fails, field, write_series

from flareseg.io.files import read_volume

UID = "1.2.826.0.1.3680043.8.498.77"


def depths_of(count, start=0.0, step=3.0):
    return tuple(start + step * i for i in range(count))


def write_scans(folder, scans, edit=lambda dataset, scan, number: None, **fields):
    """Scans of one series in one folder, under names without order; the HU of scan k are 100 k higher."""
    for scan, depths in enumerate(scans):
        write_series(
            folder,
            depths=depths,
            values=lambda x, y, z, scan=scan: field(x, y, z) + 100 * scan,
            edit=lambda dataset, number, scan=scan: edit(dataset, scan, number),
            scrambled=True,
            SeriesInstanceUID=UID,
            **{"AcquisitionNumber": None, "InstanceNumber": None, **fields},
        )
    return folder


def which(volume):
    """The scan a volume was read from; every voxel must be of it."""
    over = volume.hu - expected(volume.geometry)
    assert np.ptp(over) < 1.1
    return round(float(over.mean()) / 100)


def clock(seconds):
    return f"{10 + seconds // 3600:02d}{seconds // 60 % 60:02d}{seconds % 60:02d}"


def numbered(dataset, scan, number):
    dataset.AcquisitionNumber = scan + 1


def numbered_from_the_table(dataset, scan, number):
    dataset.AcquisitionNumber, dataset.InstanceNumber = scan + 1, number + 1


def one_number_is_missing(dataset, scan, number):
    dataset.AcquisitionNumber = scan + 1 if scan != 1 else None


def at_time_points(dataset, scan, number):
    dataset.TemporalPositionIdentifier, dataset.AcquisitionNumber = scan + 1, 1


def at_one_time_each(dataset, scan, number):
    dataset.AcquisitionTime, dataset.AcquisitionNumber = clock(40 * scan), 7


def at_a_time_each(dataset, scan, number):
    dataset.AcquisitionTime = clock(100 * scan + number)


def made_one_after_the_other(dataset, scan, number):
    dataset.ContentTime, dataset.AcquisitionTime = clock(100 * scan + number), clock(0)


def counted_through(dataset, scan, number):
    dataset.InstanceNumber, dataset.AcquisitionNumber = 100 * scan + number + 1, 1


def counted_place_by_place(dataset, scan, number):
    dataset.InstanceNumber = 3 * number + scan + 1


def triggered(dataset, scan, number):
    dataset.TriggerTime, dataset.InstanceNumber = str(scan * 90), number + 1


def with_other_kernels(dataset, scan, number):
    dataset.ConvolutionKernel, dataset.InstanceNumber = f"B{scan}0f", number + 1


PHASES = [
    numbered,
    numbered_from_the_table,
    one_number_is_missing,
    at_time_points,
    at_one_time_each,
    at_a_time_each,
    made_one_after_the_other,
    counted_through,
    counted_place_by_place,
    triggered,
    with_other_kernels,
]


@pytest.mark.parametrize("edit", PHASES)
def test_of_three_phases_the_fullest_is_read_and_all_are_told(tmp_path, edit):
    folder = write_scans(tmp_path / "a", [depths_of(14), depths_of(16), depths_of(14)], edit)
    volume = read_volume(folder, force=True)
    assert volume.hu.shape[0] == 16 and which(volume) == 1
    assert "holds 3 acquisitions" in volume.notes[0] and "the fullest" in volume.notes[0]
    assert volume.notes[0].count("14 slices") == 2


@pytest.mark.parametrize("edit", [numbered, at_time_points, at_one_time_each, at_a_time_each, counted_through])
def test_of_equally_full_phases_the_last_is_read(tmp_path, edit):
    folder = write_scans(tmp_path / "a", [depths_of(12)] * 3, edit)
    volume = read_volume(folder, force=True)
    assert which(volume) == 2 and "the last" in volume.notes[0]


def test_another_phase_is_taken_by_its_number(tmp_path):
    folder = write_scans(tmp_path / "a", [depths_of(12)] * 3, numbered)
    for scan in range(3):
        volume = read_volume(folder, force=True, series=f"2.{scan + 1}")
        assert which(volume) == scan and "as asked" in volume.notes[0]
        assert which(read_volume(folder, force=True, series=f"{UID}.{scan + 1}")) == scan
    assert "2 (12 slices" in fails(folder, "no acquisition 9", series="2.9")


def test_a_phase_with_a_gap_gives_way_to_a_whole_one(tmp_path):
    holed = tuple(depth for depth in depths_of(16) if depth != 21.0)
    folder = write_scans(tmp_path / "a", [depths_of(12), holed], numbered)
    assert which(read_volume(folder, force=True)) == 0


def test_phases_in_folders_of_one_series_are_told_apart_by_the_folders(tmp_path):
    for scan in range(2):
        write_scans(tmp_path / "a" / str(scan), [depths_of(10)], SOPInstanceUID=f"1.2.3.{scan}")
    volume = read_volume(tmp_path / "a", force=True)
    assert volume.hu.shape[0] == 10
    assert not volume.notes or "2 acquisitions" in volume.notes[0]


def test_phases_of_which_nothing_tells_are_refused(tmp_path):
    folder = write_scans(tmp_path / "a", [depths_of(10)] * 2, lambda dataset, scan, number: None)
    fails(folder, "two slices at the same place")


@pytest.mark.parametrize("edit", [numbered, at_time_points, at_one_time_each])
def test_phases_half_a_step_apart_are_not_mixed(tmp_path, edit):
    folder = write_scans(tmp_path / "a", [depths_of(12), depths_of(12, start=1.5)], edit)
    volume = read_volume(folder, force=True)
    assert which(volume) == 1 and volume.geometry.spacing_zyx_mm[0] == pytest.approx(3.0)


STRETCHES = [numbered, one_number_is_missing, at_one_time_each, at_a_time_each, counted_through]


@pytest.mark.parametrize("edit", STRETCHES)
def test_of_chest_and_abdomen_that_overlap_the_longest_is_read(tmp_path, edit):
    folder = write_scans(tmp_path / "a", [depths_of(20), depths_of(26, start=40.0)], edit)
    volume = read_volume(folder, force=True)
    assert volume.hu.shape[0] == 26 and which(volume) == 1
    assert "holds 2 acquisitions" in volume.notes[0] and "the longest" in volume.notes[0]


@pytest.mark.parametrize("edit", STRETCHES)
@pytest.mark.parametrize("at", [30.0, 75.0, 100.0])
def test_images_of_a_bolus_tracking_between_two_scans_are_left_out(tmp_path, edit, at):
    scans = [depths_of(20), (at,), (at,), (at,), depths_of(26, start=40.0)]
    volume = read_volume(write_scans(tmp_path / "a", scans, edit), force=True)
    assert volume.hu.shape[0] == 26 and which(volume) == 4
    assert "acquisitions" in volume.notes[0] and "1 slice" in volume.notes[0]


def test_bolus_images_of_another_field_of_view_are_left_out(tmp_path):
    def edit(dataset, scan, number):
        dataset.InstanceNumber, dataset.AcquisitionNumber = 100 * scan + number, 1
        if scan == 1:
            dataset.PixelSpacing = [1.4, 1.4]

    folder = write_scans(tmp_path / "a", [depths_of(24), (30.0,) * 3], edit)
    volume = read_volume(folder, force=True)
    assert volume.hu.shape[0] == 24 and which(volume) == 0 and "3 slices" in volume.notes[0]


@pytest.mark.parametrize("count", [10, 25, 40])
@pytest.mark.parametrize("at", [0.0, 3.0, 30.0])
@pytest.mark.parametrize("scan", [0, 1])
def test_many_images_of_a_bolus_tracking_are_left_out_by_their_order(tmp_path, count, at, scan):
    scans = [(at,) * count]
    scans.insert(scan, depths_of(24))
    volume = read_volume(write_scans(tmp_path / "a", scans, counted_through), force=True)
    assert volume.hu.shape[0] == 24 and which(volume) == scan and "acquisitions" in volume.notes[0]


@pytest.mark.parametrize("edit", [numbered, one_number_is_missing, at_one_time_each, at_a_time_each, counted_through])
@pytest.mark.parametrize("off", [0.0, 0.004, 0.3])
def test_scans_that_share_a_place_where_they_meet_are_joined(tmp_path, edit, off):
    scans = [depths_of(10), depths_of(10, start=27.0 + off), depths_of(8, start=54.0 + off)]
    folder = write_scans(tmp_path / "a", scans, lambda d, scan, number: edit(d, scan, number))
    volume = read_volume(folder, force=True)
    assert volume.hu.shape[0] == 26
    assert "eft out" in volume.notes[0]


def test_scans_that_follow_each_other_are_joined_with_a_note(tmp_path):
    folder = write_scans(tmp_path / "a", [depths_of(10), depths_of(10, start=30.0)], numbered)
    volume = read_volume(folder, force=True)
    assert volume.hu.shape[0] == 20
    assert "joined: 1 (10 slices), 2 (10 slices)" in volume.notes[0]
    assert read_volume(folder, force=True, series="2.2").hu.shape[0] == 10


def test_scans_with_a_gap_between_them_are_stretches(tmp_path):
    folder = write_scans(tmp_path / "a", [depths_of(10), depths_of(14, start=45.0)], numbered)
    volume = read_volume(folder, force=True)
    assert volume.hu.shape[0] == 14 and "the longest" in volume.notes[0]


def test_a_number_for_every_rotation_is_one_scan(tmp_path):
    def rotations(dataset, scan, number):
        dataset.AcquisitionNumber = number // 2 + 1

    folder = write_scans(tmp_path / "a", [depths_of(24)], rotations)
    volume = read_volume(folder, force=True)
    assert volume.hu.shape[0] == 24 and volume.notes == ()
    holed = tuple(depth for depth in depths_of(24) if depth != 30.0)
    fails(write_scans(tmp_path / "b", [holed], rotations), "lacks slices: 6.00 mm", force=True)


def test_two_phases_of_rotations_are_told_apart(tmp_path):
    def rotations(dataset, scan, number):
        dataset.AcquisitionNumber = 12 * scan + number + 1

    volume = read_volume(write_scans(tmp_path / "a", [depths_of(12)] * 2, rotations), force=True)
    assert volume.hu.shape[0] == 12 and which(volume) == 1 and "2 acquisitions" in volume.notes[0]


@pytest.mark.parametrize("odd", [0, 5, 19])
def test_a_slice_with_another_acquisition_number_is_not_lost(tmp_path, odd):
    def edit(dataset, scan, number):
        dataset.AcquisitionNumber = 2 if number == odd else 1

    volume = read_volume(write_scans(tmp_path / "a", [depths_of(20)], edit), force=True)
    assert volume.hu.shape[0] == 20 and "joined" in volume.notes[0]


@pytest.mark.parametrize("edit", [numbered_from_the_table, counted_through, lambda dataset, scan, number: None])
def test_one_of_two_slices_at_a_place_is_left_out_with_a_note(tmp_path, edit):
    def plain(dataset, scan, number):
        edit(dataset, scan, number)
        dataset.AcquisitionNumber = 1

    folder = write_scans(tmp_path / "a", [depths_of(24), (33.0,)], plain)
    volume = read_volume(folder, force=True)
    assert volume.hu.shape[0] == 24 and volume.notes


def test_times_of_single_slices_are_no_acquisitions(tmp_path):
    def edit(dataset, scan, number):
        dataset.AcquisitionTime = f"100000.{number:06d}"

    assert read_volume(write_scans(tmp_path / "a", [depths_of(24)], edit), force=True).notes == ()


def test_times_in_whole_seconds_are_no_acquisitions(tmp_path):
    def edit(dataset, scan, number):
        dataset.AcquisitionTime = clock(number // 6 + (number % 6 == 5))

    assert read_volume(write_scans(tmp_path / "a", [depths_of(24)], edit), force=True).notes == ()


def test_a_lone_slice_beyond_a_gap_is_left_out_with_a_note(tmp_path):
    for name, depths in {
        "high": (*depths_of(12), 60.0),
        "low": (-6.0, *depths_of(12)),
        "far": (*depths_of(9), 999.0),
    }.items():
        volume = read_volume(write_scans(tmp_path / name, [depths]), force=True)
        assert volume.hu.shape[0] == len(depths) - 1 and "alone beyond a gap" in volume.notes[0]


def test_two_slices_beyond_a_gap_are_an_error(tmp_path):
    fails(write_scans(tmp_path / "a", [(*depths_of(12), 60.0, 63.0)]), "lacks slices", force=True)
