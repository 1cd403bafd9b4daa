"""The measurement report (TID 1500), and all DICOM results of `flareseg segment` together."""

import json
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from dicom_results import PATIENT, bright_series, complaints, make, tool

from flareseg.io.files import read_volume, write_volume
from flareseg.results.dicom_files import DicomResults
from flareseg.results.measure import measure

highdicom = pytest.importorskip("highdicom", reason="highdicom is not installed")


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A CT's measurements, and the segmentation and report made of them."""
    folder = tmp_path_factory.mktemp("report")
    volume, segmentation = make(folder / "ct")
    rows = measure(segmentation, volume)
    results = DicomResults(segmentation)
    results.write_seg(folder / "seg.dcm")
    results.write_sr(folder / "sr.dcm", rows)
    return rows, folder / "seg.dcm", folder / "sr.dcm", segmentation


def test_the_report_has_every_measurement_and_its_segment(reported):
    rows, seg_path, sr_path, _ = reported
    seg = pydicom.dcmread(seg_path)
    report = highdicom.sr.srread(sr_path)
    groups = report.content.get_volumetric_roi_measurement_groups()
    measured = [row for row in rows if row.voxels and (row.structure != "tumour" or row.lesion)]
    assert len(groups) == len(measured) == 4
    for group, row, segment in zip(groups, measured, seg.SegmentSequence, strict=False):
        assert group.tracking_uid == segment.TrackingUID and group.tracking_identifier == segment.SegmentLabel
        assert group.finding_type.value == segment.SegmentedPropertyTypeCodeSequence[0].CodeValue
        [reference] = [
            item.ReferencedSOPSequence[0] for item in group[0].ContentSequence if "ReferencedSOPSequence" in item
        ]
        assert reference.ReferencedSOPInstanceUID == seg.SOPInstanceUID
        assert reference.ReferencedSegmentNumber == segment.SegmentNumber
        values = [(one.name.meaning, one.value, one.unit.value) for one in group.get_measurements()]
        assert values == [
            ("Volume", row.volume_ml, "mL"),
            ("Attenuation Coefficient", row.mean_hu, "[hnsf'U]"),
            ("Attenuation Coefficient", row.sd_hu, "[hnsf'U]"),
        ]


def test_diameters_come_with_the_lines_that_were_measured(reported):
    rows, seg_path, sr_path, segmentation = reported
    lesions = [row for row in rows if row.lesion]
    tracking = {one.SegmentLabel: one.TrackingUID for one in pydicom.dcmread(seg_path).SegmentSequence}
    groups = highdicom.sr.srread(sr_path).content.get_image_measurement_groups()
    assert len(groups) == len(lesions) == 2
    for group, row in zip(groups, lesions, strict=True):
        assert group.tracking_uid == tracking[f"Lesion {row.lesion}"]
        long, short = group.get_measurements()
        assert (long.name.value, long.value, short.value) == ("103339001", row.longest_mm, row.perpendicular_mm)
        for item, ends in (
            (long, (row.longest_start_xyz_mm, row.longest_end_xyz_mm)),
            (short, (row.perpendicular_start_xyz_mm, row.perpendicular_end_xyz_mm)),
        ):
            [line] = item.referenced_coordinates
            assert line.GraphicType == "POLYLINE"
            assert line.ReferencedFrameOfReferenceUID == segmentation.source.frame_of_reference_uid
            assert np.allclose(np.reshape(line.GraphicData, (2, 3)), ends, atol=1e-3)


def test_the_report_belongs_to_the_study_and_names_its_evidence(reported):
    _, seg_path, sr_path, segmentation = reported
    report = pydicom.dcmread(sr_path)
    assert report.StudyInstanceUID == PATIENT["StudyInstanceUID"] and report.PatientName == PATIENT["PatientName"]
    evidence = {
        str(one.ReferencedSOPInstanceUID)
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }
    seg_uid = str(pydicom.dcmread(seg_path).SOPInstanceUID)
    assert evidence >= {seg_uid}
    assert evidence <= {seg_uid, *(one.instance_uid for one in segmentation.source.slices)}
    assert complaints(sr_path) == [] and complaints(seg_path) == []
    assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "UNVERIFIED")


def test_dcmqi_reads_the_report(reported, tmp_path):
    rows, _, sr_path, _ = reported
    tool("dcmqi", "tid1500reader", "--inputDICOM", sr_path, "--outputMetadata", tmp_path / "a.json")
    found = json.loads((tmp_path / "a.json").read_text())["Measurements"]
    volumes = [float(item["value"]) for one in found for item in one["measurementItems"][:1]]
    assert volumes[0] == next(row.volume_ml for row in rows if row.structure == "liver")


def test_one_command_writes_all_of_them_beside_a_nifti(tmp_path, segment_quickly):
    ct = bright_series(tmp_path / "ct")
    out = tmp_path / "out"
    files = ["--dicom-seg", out / "seg.dcm", "--dicom-sr", out / "sr.dcm", "--rtstruct", out / "rt.dcm"]
    assert segment_quickly(ct, "-o", out / "a.nii.gz", "--force", *files) == 0
    assert sorted(path.name for path in out.iterdir()) == ["a.nii.gz", "rt.dcm", "seg.dcm", "sr.dcm"]
    seg, report = pydicom.dcmread(out / "seg.dcm"), pydicom.dcmread(out / "sr.dcm")
    assert seg.SegmentSequence[0].SegmentLabel == "Liver"
    assert str(seg.SOPInstanceUID) in str(report)
    assert pydicom.dcmread(out / "rt.dcm").StructureSetROISequence[0].ROIName == "Liver"
    assert segment_quickly(ct, "-o", out / "b.nii.gz", "--force", *files) == 1, "they exist"
    assert not (out / "b.nii.gz").exists() and pydicom.dcmread(out / "seg.dcm").SOPInstanceUID == seg.SOPInstanceUID


def test_a_report_refers_to_the_segmentation_that_is_the_result_itself(tmp_path, segment_quickly):
    ct = bright_series(tmp_path / "ct")
    assert segment_quickly(ct, "-o", tmp_path / "a.dcm", "--force", "--dicom-sr", tmp_path / "sr.dcm") == 0
    assert str(pydicom.dcmread(tmp_path / "a.dcm").SOPInstanceUID) in str(pydicom.dcmread(tmp_path / "sr.dcm"))


def test_several_cases_get_files_in_a_folder_and_are_not_done_twice(tmp_path, segment_quickly, capsys):
    for number, name in enumerate(("p1", "p2")):
        bright_series(tmp_path / "cts" / name, SeriesInstanceUID=f"1.2.826.0.1.8.{number}")
    out = tmp_path / "cts" / "results"
    command = [tmp_path / "cts", "-o", out, "--format", ".dcm", "--force", "--rtstruct", out]
    assert segment_quickly(*command) == 0
    names = ["p1.dcm", "p1_rtstruct.dcm", "p2.dcm", "p2_rtstruct.dcm"]
    assert sorted(path.name for path in out.glob("*.dcm")) == names
    uids = [str(pydicom.dcmread(out / name).SOPInstanceUID) for name in names]
    assert segment_quickly(*command, "--skip-existing") == 0, "results below the CTs are no CTs"
    assert [str(pydicom.dcmread(out / name).SOPInstanceUID) for name in names] == uids
    (out / "p1_rtstruct.dcm").unlink()
    assert segment_quickly(*command, "--skip-existing") == 0
    assert sorted(path.name for path in out.glob("*.dcm")) == names
    edited = pydicom.dcmread(out / "p2.dcm")
    edited.ContentDescription = "seen by a person"
    edited.save_as(out / "p2.dcm")
    capsys.readouterr()
    assert segment_quickly(*command, "--skip-existing") == 1
    assert "'p2.dcm' was changed" in capsys.readouterr().err.replace(f"{out}/", "")
    assert pydicom.dcmread(out / "p2.dcm").ContentDescription == "seen by a person"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "a.nii.gz", "--dicom-sr", "sr.dcm"], "add --dicom-seg FILE"),
        (["-o", "a.dcm", "--rtstruct", "a.dcm"], "would be both"),
        (["-o", "ct/a.dcm"], "would lie in the DICOM folder"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(
    tmp_path, segment_quickly, monkeypatch, capsys, arguments, words
):
    monkeypatch.chdir(tmp_path)
    before = sorted(bright_series(tmp_path / "ct").iterdir())
    assert segment_quickly("ct", "--force", *arguments) == 2
    text = capsys.readouterr().err
    assert words in text and text.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["ct"] and sorted((tmp_path / "ct").iterdir()) == before


@pytest.mark.parametrize("arguments", [["-o", "a.dcm"], ["-o", "a.nii.gz", "--rtstruct", "rt.dcm"]])
def test_a_nifti_is_refused_before_it_is_segmented(tmp_path, small_ct, segment_quickly, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    write_volume(small_ct, tmp_path / "ct.nii.gz")
    monkeypatch.setattr("flareseg.segmenter.Segmenter.segment", lambda *_, **__: pytest.fail("it was segmented"))
    assert segment_quickly("ct.nii.gz", *arguments) == 1
    text = capsys.readouterr().err
    assert "was not read from a DICOM series" in text and "Traceback" not in text
    assert [path.name for path in tmp_path.iterdir()] == ["ct.nii.gz"]
    assert read_volume("ct.nii.gz").source is None


def test_a_failure_in_the_middle_leaves_no_half_file(tmp_path, segment_quickly, monkeypatch):
    ct = bright_series(tmp_path / "ct")

    def half(made, path, **_):
        Path(path).write_bytes(b"DICM")
        raise OSError("No space left on device")

    monkeypatch.setattr("pydicom.dataset.Dataset.save_as", half)
    assert segment_quickly(ct, "-o", tmp_path / "a.dcm", "--force") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["ct"]
