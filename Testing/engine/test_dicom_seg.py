"""DICOM segmentations: pixel for pixel on the images of the CT, and read so by highdicom, dcmqi and dciodvfy."""

import json
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, generate_uid

sys.path.insert(0, str(Path(__file__).parent))

from dicom_results import LIVER, PATIENT, RIGHT_KIDNEY, TUMOUR, complaints, header_by_instance, make, segmented, tool
from test_io_dicom_enhanced import write_enhanced

from flareseg import __version__, write_segmentation
from flareseg.errors import InputError, UsageError
from flareseg.io.dicom import read_dicom
from flareseg.io.dicom_results.planes import planes_of
from flareseg.io.dicom_results.segments import segments_of
from flareseg.io.files import read_volume, write_volume
from flareseg.labels import by_name, structures
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Orientation, Source, SourceSlice

highdicom = pytest.importorskip("highdicom", reason="highdicom is not installed")

SCANS = {
    "axial": {},
    "prone": {"orientation": (-1, 0, 0, 0, -1, 0)},
    "feet first": {"orientation": (-1, 0, 0, 0, 1, 0)},
    "from the head down": {"depths": tuple(-3.0 * i for i in range(8))},
    "oblique": {"orientation": (0.8, 0.6, 0, -0.36, 0.48, 0.8)},
    "sagittal": {"orientation": (0, 1, 0, 0, 0, -1)},
    "uneven": {"depths": (0.0, 3.0, 6.2, 9.1, 12.0, 15.0, 18.1, 21.0)},
}


def frames_of(seg) -> list[tuple[str, str, int, list[float], np.ndarray]]:
    """Of each frame: label of its segment, instance and frame to which it refers, position, mask."""
    result = []
    for group, pixels in zip(seg.PerFrameFunctionalGroupsSequence, np.atleast_3d(seg.pixel_array), strict=True):
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        image = group.DerivationImageSequence[0].SourceImageSequence[0]
        position = [float(mm) for mm in group.PlanePositionSequence[0].ImagePositionPatient]
        label = seg.SegmentSequence[number - 1].SegmentLabel
        instance, frame = str(image.ReferencedSOPInstanceUID), image.get("ReferencedFrameNumber")
        result.append((label, instance, frame, position, pixels.astype(bool)))
    return result


def drawn(segmentation: Segmentation, path: Path) -> np.ndarray:
    """The label map that the frames of a file make, each put where the image lies to which it refers."""
    seg = highdicom.seg.segread(path)
    places = {(one.instance_uid, one.frame): z for z, one in enumerate(segmentation.source.slices)}
    labels = np.zeros(segmentation.labels.shape, np.uint8)
    for label, instance, frame, _, mask in frames_of(seg):
        plane = labels[places[instance, frame]]
        assert not plane[mask].any(), "segments do not overlap"
        plane[mask] = TUMOUR if label.startswith(("Lesion", "Tumour")) else by_name(label).value
    return labels


@pytest.mark.parametrize("scan", SCANS)
def test_every_frame_is_the_mask_on_the_image_to_which_it_refers(tmp_path, scan):
    _, segmentation = make(tmp_path / "ct", **SCANS[scan])
    path = write_segmentation(segmentation, tmp_path / "a.dcm")
    assert np.array_equal(drawn(segmentation, path), segmentation.labels)
    headers = header_by_instance(tmp_path / "ct")
    seg = highdicom.seg.segread(path)
    shared = seg.SharedFunctionalGroupsSequence[0]
    for _, instance, _, position, _ in frames_of(seg):
        image = headers[instance]
        assert position == [float(mm) for mm in image.ImagePositionPatient]
        assert np.allclose(
            shared.PlaneOrientationSequence[0].ImageOrientationPatient, image.ImageOrientationPatient, atol=1e-7
        )
        assert shared.PixelMeasuresSequence[0].PixelSpacing == image.PixelSpacing
    assert complaints(path) == []


@pytest.mark.parametrize("scan", ["axial", "prone", "oblique", "sagittal"])
def test_dcmqi_reads_the_same_voxels_at_the_same_places(tmp_path, scan):
    volume, segmentation = make(tmp_path / "ct", **SCANS[scan])
    path = write_segmentation(segmentation, tmp_path / "a.dcm")
    (tmp_path / "out").mkdir()
    tool("dcmqi", "segimage2itkimage", "--inputDICOM", path, "--outputDirectory", tmp_path / "out")
    found = np.zeros(volume.hu.shape, np.uint8)
    for file in (tmp_path / "out").glob("*.nrrd"):
        image = sitk.ReadImage(str(file))
        number = int(file.stem)
        value = (LIVER, RIGHT_KIDNEY, TUMOUR, TUMOUR, TUMOUR)[number - 1]
        inverse = np.linalg.inv(volume.geometry.index_to_world())
        for z, y, x in np.argwhere(sitk.GetArrayFromImage(image) > 0).tolist():
            place = inverse @ [*image.TransformIndexToPhysicalPoint((x, y, z)), 1.0]
            index = tuple(np.rint(place[2::-1]).astype(int))
            assert np.allclose(place[2::-1], index, atol=1e-3)
            found[index] = value
    assert np.array_equal(found, segmentation.labels)
    about = json.loads((tmp_path / "out" / "meta.json").read_text())
    labels = [one["SegmentLabel"] for group in about["segmentAttributes"] for one in group]
    assert labels == ["Liver", "Right kidney", "Lesion 1", "Lesion 2", "Tumour, parts too small for a lesion"]


def test_segments_say_what_they_are_and_who_found_them(tmp_path):
    _, segmentation = make(tmp_path / "ct")
    seg = highdicom.seg.segread(write_segmentation(segmentation, tmp_path / "a.dcm"))
    for one in seg.SegmentSequence:
        structure = by_name("tumour" if one.segment_number > 2 else one.SegmentLabel)
        kind = one.SegmentedPropertyTypeCodeSequence[0]
        assert (kind.CodeValue, kind.CodingSchemeDesignator) == (structure.type.value, "SCT")
        assert one.segmented_property_category.value == structure.category.value
        sides = [code.CodeMeaning for code in kind.get("SegmentedPropertyTypeModifierCodeSequence", [])]
        assert sides == ([structure.modifier.meaning] if structure.modifier else [])
        colour = highdicom.color.CIELabColor(*_cielab(one.RecommendedDisplayCIELabValue)).to_rgb()
        assert np.abs(np.subtract(colour, structure.colour)).max() <= 1
        algorithm = one.SegmentationAlgorithmIdentificationSequence[0]
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("flareseg toy", f"1.5, flareseg {__version__}")
        assert algorithm.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
        assert one.SegmentAlgorithmType == "AUTOMATIC"
    assert len({one.TrackingUID for one in seg.SegmentSequence}) == len(seg.SegmentSequence) == 5
    assert (seg.Manufacturer, seg.SoftwareVersions) == ("SlicerFlarePanCancer", __version__)


def _cielab(stored):
    lightness, a, b = stored
    return lightness * 100 / 65535, a * 255 / 65535 - 128, b * 255 / 65535 - 128


def test_lesions_are_segments_of_their_own_the_largest_first(tmp_path):
    _, segmentation = make(tmp_path / "ct")
    seg = highdicom.seg.segread(write_segmentation(segmentation, tmp_path / "a.dcm"))
    sizes = {}
    for label, *_, mask in frames_of(seg):
        sizes[label] = sizes.get(label, 0) + int(mask.sum())
    assert sizes["Lesion 1"] == 3 * 8 * 9 and sizes["Lesion 2"] == 5 * 7 * 6
    assert sizes["Tumour, parts too small for a lesion"] == 1


def test_more_lesions_than_a_byte_counts_keep_their_numbers():
    labels = np.zeros((8, 16, 16), np.uint8)
    labels[::2, ::2, ::2] = TUMOUR
    labels[1, 1, 1] = LIVER
    grid = Geometry(labels.shape, (10.0, 10.0, 10.0))
    images = (SourceSlice(f"1.2.{z}", CTImageStorage, "1.2.3", None, grid.world_of((z, 0, 0))) for z in range(8))
    source = Source(tuple(images), study_uid="1.2.4", frame_of_reference_uid="1.2.5")
    segmentation = Segmentation(labels, grid, structures(), source=source)
    found = segments_of(segmentation, planes_of(segmentation))
    assert len(found.every) == 257 and found.every[-1].lesion == 256
    assert len(np.unique(found.numbers)) == 258 and np.array_equal(found.numbers > 0, labels > 0)


def test_patient_study_and_space_are_those_of_the_ct(tmp_path):
    _, segmentation = make(tmp_path / "ct")
    seg = pydicom.dcmread(write_segmentation(segmentation, tmp_path / "a.dcm"))
    for keyword, value in PATIENT.items():
        if keyword != "SeriesInstanceUID":
            assert seg.get(keyword) == value, keyword
    assert seg.SeriesInstanceUID != PATIENT["SeriesInstanceUID"]
    [series] = seg.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == PATIENT["SeriesInstanceUID"]
    referred = {str(one.ReferencedSOPInstanceUID) for one in series.ReferencedInstanceSequence}
    assert referred == set(header_by_instance(tmp_path / "ct"))


def test_values_that_dicom_does_not_allow_are_left_empty(tmp_path):
    odd = {"PatientSex": "f", "StudyDate": "2020", "StudyTime": "noon", "PatientBirthDate": "unknown"}
    _, segmentation = make(tmp_path / "ct", **odd)
    path = write_segmentation(segmentation, tmp_path / "a.dcm")
    seg = pydicom.dcmread(path)
    assert [seg.get(keyword) or "" for keyword in odd] == [""] * 4
    assert seg.PatientName == PATIENT["PatientName"] and complaints(path) == []


def test_a_segmentation_of_lossy_images_says_so(tmp_path):
    lossy = {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": "8.0",
        "LossyImageCompressionMethod": "ISO_10918_1",
    }
    _, segmentation = make(tmp_path / "ct", **lossy)
    path = write_segmentation(segmentation, tmp_path / "a.dcm")
    seg = pydicom.dcmread(path)
    assert {keyword: str(seg[keyword].value) for keyword in lossy} == lossy and complaints(path) == []


def test_every_file_has_uids_of_its_own(tmp_path):
    _, segmentation = make(tmp_path / "ct")
    first, second = (pydicom.dcmread(write_segmentation(segmentation, tmp_path / f"{n}.dcm")) for n in "ab")
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert first[keyword].value != second[keyword].value
    assert first.PixelData == second.PixelData


def test_slices_of_a_tilted_gantry_lie_where_they_were_shifted(tmp_path):
    volume, segmentation = make(tmp_path / "ct", aside=lambda depth: (0.0, 0.3 * depth))
    assert volume.source.shifted and volume.hu.shape[1] > 24
    path = write_segmentation(segmentation, tmp_path / "a.dcm")
    assert np.array_equal(drawn(segmentation, path), segmentation.labels)
    seg = highdicom.seg.segread(path)
    places = {one.instance_uid: z for z, one in enumerate(volume.source.slices)}
    for _, instance, _, position, _ in frames_of(seg):
        assert np.allclose(position, volume.geometry.world_of((places[instance], 0, 0)), atol=1e-5)
    item = seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    assert item.SpatialLocationsPreserved == "NO" and complaints(path) == []


def test_frames_of_an_enhanced_ct_are_referred_to_by_number(tmp_path):
    def with_patient(dataset):
        dataset.FrameOfReferenceUID, dataset.StudyInstanceUID = "1.2.826.0.1.5", "1.2.826.0.1.6"

    depths = (9.0, 0.0, 21.0, 3.0, 15.0, 6.0, 18.0, 12.0)
    volume = read_dicom(write_enhanced(tmp_path / "ct" / "E", depths, edit=with_patient), force=True)
    segmentation = segmented(volume)
    path = write_segmentation(segmentation, tmp_path / "a.dcm")
    assert np.array_equal(drawn(segmentation, path), segmentation.labels)
    seg = highdicom.seg.segread(path)
    for _, _, frame, position, _ in frames_of(seg):
        assert position[2] == depths[frame - 1] - 40
    [reference] = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert reference.ReferencedSOPClassUID == EnhancedCTImageStorage
    assert complaints(path) == []


def test_slices_with_a_series_each_are_all_referred_to(tmp_path):
    def apart(dataset, number):
        dataset.SeriesInstanceUID = generate_uid()

    _, segmentation = make(tmp_path / "ct", edit=apart)
    path = write_segmentation(segmentation, tmp_path / "a.dcm")
    assert np.array_equal(drawn(segmentation, path), segmentation.labels)
    by_series = {
        str(series.SeriesInstanceUID): [str(one.ReferencedSOPInstanceUID) for one in series.ReferencedInstanceSequence]
        for series in pydicom.dcmread(path).ReferencedSeriesSequence
    }
    headers = header_by_instance(tmp_path / "ct")
    assert by_series == {str(one.SeriesInstanceUID): [uid] for uid, one in headers.items()}


def test_an_array_in_another_order_gives_the_same_frames(tmp_path):
    volume, segmentation = make(tmp_path / "ct", **SCANS["sagittal"])
    turn = Orientation.of(volume.geometry)
    turned = segmented(volume.canonical(), np.ascontiguousarray(turn.to_canonical(segmentation.labels)))
    path = write_segmentation(turned, tmp_path / "a.dcm")
    assert np.array_equal(drawn(segmentation, path), segmentation.labels)


def test_where_nothing_was_found_one_empty_frame_says_so(tmp_path):
    volume, _ = make(tmp_path / "ct")
    path = write_segmentation(segmented(volume, np.zeros(volume.hu.shape, np.uint8)), tmp_path / "a.dcm")
    seg = pydicom.dcmread(path)
    assert seg.NumberOfFrames == 1 and not seg.pixel_array.any()
    assert "nothing found" in seg.ContentDescription and complaints(path) == []


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ({"FrameOfReferenceUID": None}, "FrameOfReferenceUID"),
        ({"edit": lambda dataset, number: setattr(dataset, "StudyInstanceUID", f"1.2.{number}")}, "StudyInstanceUID"),
    ],
)
def test_images_that_do_not_say_what_is_needed_are_refused_in_one_line(tmp_path, missing, words):
    _, segmentation = make(tmp_path / "ct", **missing)
    with pytest.raises(InputError, match=words) as caught:
        write_segmentation(segmentation, tmp_path / "a.dcm")
    assert "\n" not in str(caught.value) and not (tmp_path / "a.dcm").exists()


def test_a_ct_that_was_no_dicom_is_refused_in_one_line(tmp_path, small_ct):
    volume = read_volume(write_volume(small_ct, tmp_path / "ct.nii.gz"))
    nothing = Segmentation(np.zeros(volume.hu.shape, np.uint8), volume.geometry, (by_name("liver"),), "ct")
    with pytest.raises(InputError, match="'ct' was not read from a DICOM series") as caught:
        write_segmentation(nothing, tmp_path / "a.dcm")
    assert "\n" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["ct.nii.gz"]
    with pytest.raises(UsageError, match="would not hold a CT"):
        write_volume(volume, tmp_path / "a.dcm")


def test_without_highdicom_one_line_says_how_to_install_it(tmp_path, monkeypatch):
    _, segmentation = make(tmp_path / "ct")
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(UsageError, match="pip install highdicom"):
        write_segmentation(segmentation, tmp_path / "a.dcm")
    assert not (tmp_path / "a.dcm").exists()
