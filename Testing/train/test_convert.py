"""Public data sets in the layouts in which they come out of their archives."""

import json
from pathlib import Path

import numpy as np
import pytest

from flareseg.errors import InputError
from flareseg.io.files import write_segmentation
from flareseg.labels import structures
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry
from train.config import SourceConfig
from train.data.layouts import look_into
from train.data.layouts.found import ALL, LabelFile
from train.data.layouts.labels import ignore_unannotated, merged_labels, split_sides
from train.data.layouts.names import KIDNEYS, PAIRS

SHAPE, SPACING = (6, 40, 60), (5.0, 5.0, 5.0)
GRID = Geometry(SHAPE, SPACING)
UPSIDE_DOWN = Geometry(SHAPE, SPACING, direction=((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, -1.0)))
DATA = Path(__file__).parents[3] / "shared" / "data"


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(folder, layout, **more):
    return {case.name: case for case in look_into(SourceConfig("source", layout, str(folder), **more)).cases}


def write_map(path, labels, geometry=GRID):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_segmentation(Segmentation(np.asarray(labels, np.uint8), geometry, structures()), path)
    return path


def blank():
    return np.zeros(SHAPE, np.uint8)


# cases


def test_cases_say_what_their_labels_cover(tmp_path):
    touch(tmp_path, *(f"{name}/ct.nii.gz" for name in "abcde"), *(f"{name}/seg.nii.gz" for name in "abcd"))
    touch(tmp_path, "b/organs.nii.gz", ".unfinished/f/ct.nii.gz")
    (tmp_path / "a" / "info.json").write_text('{"labels_present": {"1": "liver", "14": "tumour"}, "licence": "CC0"}')
    (tmp_path / "b" / "info.json").write_text('{"labels_present": [3, 7], "split": "validation"}')
    (tmp_path / "c" / "info.json").write_text('{"labels_present": ["Liver", "left kidney"]}')
    cases = found(tmp_path, "cases")
    assert {name: case.annotated for name, case in cases.items()} == {
        "a": (1, 14), "b": (3, 7), "c": (1, 13), "d": None, "e": (),
    }  # fmt: skip
    assert (cases["a"].licence, cases["a"].split, cases["b"].split) == ("CC0", None, "validation")
    assert cases["b"].organs == tmp_path / "b" / "organs.nii.gz"
    assert cases["e"].labels == ()


@pytest.mark.parametrize(
    "text", ["{", "[1]", '{"labels_present": [200]}', '{"labels_present": ["spline"]}', '{"labels_present": 3}']
)
def test_a_case_with_a_bad_info_file_does_not_stop_the_others(tmp_path, text):
    touch(tmp_path, "bad/ct.nii.gz", "good/ct.nii.gz")
    (tmp_path / "bad" / "info.json").write_text(text)
    cases = found(tmp_path, "cases")
    assert "info.json" in cases["bad"].problem
    assert cases["good"].problem == ""


def test_the_projects_own_data_are_found():
    if not DATA.is_dir():
        pytest.skip("../shared/data is not there")
    cases = found(DATA, "cases")
    labelled = {name for name, case in cases.items() if case.labels}
    assert {"ts_example_3mm", "spl_abdominal_atlas", "ts_dicom_slab"} <= labelled  # more may come
    assert "lidc_0001_thorax_upper_abdomen" in cases.keys() - labelled
    assert cases["ts_dicom_slab"].annotated == (1, 3, 4, 5, 6, 7, 11)
    assert all(case.licence for case in cases.values())


# pairs


def test_pairs_meet_by_name_with_and_without_a_channel_number(tmp_path):
    touch(
        tmp_path,
        "imagesTr/p1_0000.nii.gz",
        "imagesTr/p2_0000.nii.gz",
        "labelsTr/p1.nii.gz",
        "imagesTr/._p1_0000.nii.gz",
    )
    cases = found(tmp_path, "pairs", values={5: "liver", 6: "tumor"})
    assert set(cases) == {"p1", "p2"}
    assert cases["p1"].labels == (LabelFile(tmp_path / "labelsTr" / "p1.nii.gz", {5: 1, 6: 14}),)
    assert (cases["p1"].annotated, cases["p2"].annotated, cases["p2"].labels) == ((1, 14), (), ())


def test_pairs_whose_numbers_have_no_names_are_an_error(tmp_path):
    """Numbers of AMOS and WORD look like FLARE's, and mean others."""
    touch(tmp_path, "images/p1.nrrd", "labels/p1.nii.gz")
    with pytest.raises(InputError, match=r"no names; put a dataset\.json there, or say what they mean"):
        found(tmp_path, "pairs")
    (tmp_path / "labels" / "p1.nii.gz").unlink()
    assert found(tmp_path, "pairs")["p1"].labels == ()


def test_pairs_take_names_from_a_dataset_json_and_from_values(tmp_path):
    touch(tmp_path, "imagesTr/p1_0000.nii.gz", "labelsTr/p1.nii.gz")
    (tmp_path / "dataset.json").write_text('{"labels": {"0": "background", "1": "spleen", "2": "bladder", "3": "x"}}')
    case = found(tmp_path, "pairs", values={3: "liver"})["p1"]
    assert (case.labels[0].values, case.annotated, case.others) == ({1: 3, 2: 0, 3: 1}, (1, 3), ("bladder",))


# FLARE 2023


@pytest.fixture
def flare23(tmp_path):
    touch(tmp_path, *(f"imagesTr2200/FLARE23_000{n}_0000.nii.gz" for n in (1, 2)))
    touch(tmp_path, *(f"labelsTr2200/FLARE23_000{n}.nii.gz" for n in (1, 2)))
    touch(tmp_path, "labelsTr2200/20230507-fix/FLARE23_0002.nii.gz")
    touch(tmp_path, "unlabelTr1800/FLARE23_2201_0000.nii.gz")
    touch(tmp_path, "validation/FLARE23Ts_0001_0000.nii.gz", "validation/FLARE23Ts_0002_0000.nii.gz")
    touch(tmp_path, "val-gt-50cases-for-sanity-check/FLARE23Ts_0001.nii.gz")
    team = "aladdin5-pseudo-labels-FLARE23"
    touch(tmp_path, f"{team}/{team}/imagesTr2200-pseudo-labels/FLARE23_0001.nii.gz")
    touch(tmp_path, f"{team}/{team}/unlabeledTr1800-pseudo-labels/FLARE23_2201.nii.gz")
    return tmp_path


def test_flare23_joins_images_labels_and_pseudo_labels(flare23):
    cases = found(flare23, "flare23")
    assert set(cases) == {"FLARE23_0001", "FLARE23_0002", "FLARE23_2201", "FLARE23Ts_0001"}
    first, unlabelled = cases["FLARE23_0001"], cases["FLARE23_2201"]
    assert first.labels == (LabelFile(flare23 / "labelsTr2200" / "FLARE23_0001.nii.gz"),)
    assert first.organs is not None and first.organs.parent.name == "imagesTr2200-pseudo-labels"
    assert (unlabelled.labels, unlabelled.annotated) == ((), ())
    assert unlabelled.organs is not None and unlabelled.organs.parent.name == "unlabeledTr1800-pseudo-labels"


def test_flare23_tells_pseudo_labels_from_cts_also_in_folders_of_one_name(flare23):
    touch(flare23, "blackbean-pseudo-labels-FLARE23/imagesTr2200/FLARE23_0002.nii.gz")
    case = found(flare23, "flare23")["FLARE23_0002"]
    assert case.image == flare23 / "imagesTr2200" / "FLARE23_0002_0000.nii.gz"
    assert case.organs == flare23 / "blackbean-pseudo-labels-FLARE23" / "imagesTr2200" / "FLARE23_0002.nii.gz"


def test_flare23_covers_what_occurs_and_all_in_the_validation_set(flare23):
    cases = found(flare23, "flare23")
    assert cases["FLARE23_0001"].annotated is None
    assert (cases["FLARE23Ts_0001"].annotated, cases["FLARE23Ts_0001"].split) == (ALL, "validation")


def test_flare23_takes_corrected_labels(flare23):
    path = found(flare23, "flare23")["FLARE23_0002"].labels[0].path
    assert path == flare23 / "labelsTr2200" / "20230507-fix" / "FLARE23_0002.nii.gz"


def test_flare23_takes_blackbeans_pseudo_labels_where_both_are_there(flare23):
    touch(flare23, "blackbean-pseudo-labels-FLARE23/FLARE23_0001.nii.gz")
    cases = found(flare23, "flare23")
    assert cases["FLARE23_0001"].organs == flare23 / "blackbean-pseudo-labels-FLARE23" / "FLARE23_0001.nii.gz"
    assert "aladdin5" in str(cases["FLARE23_2201"].organs)


# TotalSegmentator


def test_totalsegmentator_has_a_mask_a_structure_and_a_split(tmp_path):
    touch(tmp_path, *(f"s000{n}/ct.nii.gz" for n in (1, 2, 3)))
    touch(tmp_path, *(f"s0001/segmentations/{name}.nii.gz" for name in ("liver", "kidney_left", "rib_left_1")))
    touch(tmp_path, "s0001/segmentations/kidney_cyst_left.nii.gz")
    (tmp_path / "meta.csv").write_text(
        "\ufeffimage_id;age;split\ns0001;50;train\ns0002;60;val\ns0003;70;test\n", "utf-8"
    )
    cases = found(tmp_path, "totalsegmentator")
    assert [case.split for case in cases.values()] == ["train", "validation", "validation"]
    assert cases["s0001"].annotated == (1, 13)
    meanings = {file.path.name: file.values for file in cases["s0001"].labels}
    assert meanings == {
        "liver.nii.gz": {1: 1}, "kidney_left.nii.gz": {1: 13}, "kidney_cyst_left.nii.gz": {1: 255},
    }  # fmt: skip


def test_a_table_of_cases_that_is_none_is_an_error(tmp_path):
    touch(tmp_path, "s0001/ct.nii.gz")
    (tmp_path / "meta.csv").write_text("name;age\n1;2\n")
    with pytest.raises(InputError, match="column image_id"):
        found(tmp_path, "totalsegmentator")


def test_masks_become_one_label_map_and_cysts_unknown(tmp_path):
    liver, kidney, cyst = blank(), blank(), blank()
    liver[:, 5:20, 5:20], kidney[:, 25:35, 40:50], cyst[:, 30:34, 48:52] = 1, 1, 1
    maps = [(liver, 1), (kidney, 13), (cyst, 255)]
    files = [LabelFile(write_map(tmp_path / f"{n}.nii.gz", mask), {1: value}) for n, (mask, value) in enumerate(maps)]
    labels = merged_labels(files, GRID).array
    expected = np.where(liver, 1, np.where(cyst, 255, np.where(kidney, 13, 0)))
    assert np.array_equal(labels, expected)


# Medical Segmentation Decathlon


def decathlon(folder, task, labels, *cases):
    touch(folder / task, *(f"imagesTr/{name}.nii.gz" for name in cases), *(f"labelsTr/{name}.nii.gz" for name in cases))
    touch(folder / task, f"imagesTs/{cases[0]}_test.nii.gz", f"imagesTr/._{cases[0]}.nii.gz")
    names = {str(value): name for value, name in enumerate(labels)}
    (folder / task / "dataset.json").write_text(json.dumps({"labels": names, "modality": {"0": "CT"}}))


@pytest.fixture
def msd(tmp_path):
    decathlon(tmp_path, "Task03_Liver", ["background", "liver", "cancer"], "liver_0")
    decathlon(tmp_path, "Task06_Lung", ["background", "cancer"], "lung_001")
    decathlon(tmp_path, "Task07_Pancreas", ["background", "pancreas", "cancer"], "pancreas_001")
    decathlon(tmp_path, "Task08_HepaticVessel", ["background", "Vessel", "Tumour"], "hepaticvessel_001")
    decathlon(tmp_path, "Task09_Spleen", ["background", "spleen"], "spleen_2")
    decathlon(tmp_path, "Task10_Colon", ["background", "colon cancer primaries"], "colon_001")
    decathlon(tmp_path, "Task05_Prostate", ["background", "PZ", "TZ"], "prostate_00")
    return tmp_path


def test_the_decathlons_abdominal_tasks_are_taken_and_others_left(msd):
    cases = {name: case for name, case in found(msd, "msd").items() if case.labels}
    assert {name: (case.annotated, case.labels[0].values) for name, case in cases.items()} == {
        "liver_0": ((1, 14), {1: 1, 2: 14}),
        "pancreas_001": ((4, 14), {1: 4, 2: 14}),
        "hepaticvessel_001": ((14,), {1: 0, 2: 14}),
        "spleen_2": ((3,), {1: 3}),
        "colon_001": ((14,), {1: 14}),
    }


def test_the_decathlons_test_images_come_without_labels(msd):
    case = found(msd, "msd")["colon_001_test"]
    assert (case.labels, case.annotated) == ((), ())


def test_one_task_of_the_decathlon_may_be_given(msd):
    assert set(found(msd / "Task09_Spleen", "msd")) == {"spleen_2", "spleen_2_test"}


def test_a_task_of_other_organs_alone_is_an_error(msd):
    with pytest.raises(InputError, match="no case"):
        found(msd / "Task06_Lung", "msd")


# AbdomenCT-1K


def test_abdomenct1k_joins_its_parts_with_their_masks(tmp_path):
    touch(tmp_path, "AbdomenCT-1K-ImagePart1/Case_00001_0000.nii.gz", "AbdomenCT-1K-ImagePart3/Case_00802_0000.nii.gz")
    touch(tmp_path, "Mask/Case_00001.nii.gz")
    cases = found(tmp_path, "abdomenct1k")
    assert cases["Case_00001"].annotated == (1, 2, 3, 4, 13)
    assert cases["Case_00001"].labels[0].values == {1: 1, 2: KIDNEYS, 3: 3, 4: 4}
    assert cases["Case_00802"].labels == ()


@pytest.mark.parametrize("geometry", [GRID, UPSIDE_DOWN])
def test_two_kidneys_get_their_sides_in_any_orientation(geometry):
    labels = blank()
    labels[:, 20:30, 12:22], labels[:, 20:30, 40:50] = KIDNEYS, KIDNEYS
    labels[:, 31:33, 14:16] = KIDNEYS  # a loose piece
    told = split_sides(labels, geometry, PAIRS[0])
    left_half, right_half = (np.unique(told[..., :30]), np.unique(told[..., 30:]))
    first, second = ([0, 2], [0, 13]) if geometry is GRID else ([0, 13], [0, 2])
    assert (left_half.tolist(), right_half.tolist()) == (first, second)


def test_a_single_kidney_in_two_pieces_stays_on_its_side():
    labels = blank()
    labels[:3, 20:30, 38:44], labels[4:, 20:30, 44:50] = KIDNEYS, KIDNEYS
    labels[:, 5:30, 3:30], labels[:, 10:25, 50:58] = 1, 3
    labels[:, 5:8, 20:22] = 1
    told = split_sides(labels, GRID, PAIRS[0])
    assert set(np.unique(told)) == {0, 1, 3, 13}


def test_a_horseshoe_kidney_is_cut_at_the_midline():
    labels = blank()
    labels[:, 20:25, 10:50] = KIDNEYS
    labels[:, 2:10, 4:20], labels[:, 2:10, 46:56] = 1, 3
    told = split_sides(labels, GRID, PAIRS[0])
    assert set(np.unique(told[..., 10:30][:, 20:25])) == {2}
    assert set(np.unique(told[..., 30:50][:, 20:25])) == {13}


# label maps


def test_labels_on_another_grid_are_refused(tmp_path):
    path = write_map(tmp_path / "seg.nii.gz", blank(), Geometry(SHAPE, (5.0, 5.0, 4.9)))
    with pytest.raises(InputError, match=r"seg\.nii\.gz' lie on another grid"):
        merged_labels([LabelFile(path)], GRID)


def test_values_that_mean_nothing_are_refused(tmp_path):
    labels = blank()
    labels[0, 0, 0] = 200
    with pytest.raises(InputError, match="have the value 200, which nobody names; known are 1, 2"):
        merged_labels([LabelFile(write_map(tmp_path / "seg.nii.gz", labels))], GRID)


def test_a_table_that_lacks_a_value_of_the_file_is_refused_and_255_stays_unknown(tmp_path):
    labels = blank()
    labels[0, 0, :4] = (7, 8, 255, 9)
    path = write_map(tmp_path / "seg.nii.gz", labels)
    with pytest.raises(InputError, match=r"have the value 9, which nobody names; known are 7, 8 and 255"):
        merged_labels([LabelFile(path, {7: 1, 8: 14})], GRID)
    merged = merged_labels([LabelFile(path, {7: 1, 8: 14, 9: 0})], GRID)
    assert merged.array[0, 0, :5].tolist() == [1, 14, 255, 0, 0]
    assert not merged.turned


def test_labels_with_other_axes_than_their_ct_are_turned(tmp_path):
    labels = blank()
    labels[1:4, 10:20, 5:15], labels[2, 30, 50] = 1, 3
    for number, (order, flips) in enumerate([((2, 1, 0), (0,)), ((1, 0, 2), (1, 2)), ((0, 1, 2), (0, 2))]):
        stored = np.flip(labels.transpose(order), flips)
        columns = np.eye(3)[:, ::-1][:, list(order)] * [-1 if axis in flips else 1 for axis in range(3)]
        corner = [SHAPE[order[axis]] - 1 if axis in flips else 0 for axis in range(3)]
        origin = sum(columns[:, axis] * corner[axis] * -5.0 for axis in range(3))
        direction = tuple(tuple(float(v) for v in row) for row in columns[:, ::-1])
        shape = tuple(SHAPE[axis] for axis in order)
        path = write_map(tmp_path / f"{number}.nii.gz", stored, Geometry(shape, SPACING, tuple(origin), direction))
        merged = merged_labels([LabelFile(path)], GRID)
        assert merged.turned
        assert np.array_equal(merged.array, labels)


def test_what_is_drawn_but_not_covered_is_unknown():
    labels = np.array([[[0, 1, 3, 14, 255]]], np.uint8)
    assert ignore_unannotated(labels, [1, 14]).tolist() == [[[0, 1, 255, 14, 255]]]


# any layout


@pytest.mark.parametrize("layout", ["cases", "pairs", "flare23", "totalsegmentator", "msd", "abdomenct1k"])
def test_a_folder_of_something_else_is_an_error_that_names_it(tmp_path, layout):
    touch(tmp_path, "notes.txt", "papers/paper.pdf")
    with pytest.raises(InputError, match=f"holds no case in the layout '{layout}'"):
        found(tmp_path, layout)


def test_only_takes_the_named_cases_and_knows_the_others(tmp_path):
    touch(tmp_path, "a/ct.nii.gz", "b/ct.nii.gz")
    assert set(found(tmp_path, "cases", only=["b"])) == {"b"}
    with pytest.raises(InputError, match="no case 'c'"):
        found(tmp_path, "cases", only=["a", "c"])


def test_without_leaves_out_the_named_cases_and_knows_the_others(tmp_path):
    touch(tmp_path, "a/ct.nii.gz", "b/ct.nii.gz")
    assert set(found(tmp_path, "cases", without=["b"])) == {"a"}
    with pytest.raises(InputError, match="no case 'c'"):
        found(tmp_path, "cases", without=["c"])


def test_the_patient_of_a_case_may_be_called_patient_id(tmp_path):
    touch(tmp_path, "before/ct.nii.gz", "after/ct.nii.gz", "other/ct.nii.gz")
    for name, info in (("before", {"patient_id": "P7"}), ("after", {"patient": "P7", "patient_id": "x"})):
        (tmp_path / name / "info.json").write_text(json.dumps(info))
    cases = found(tmp_path, "cases")
    assert {name: case.patient for name, case in cases.items()} == {"before": "P7", "after": "P7", "other": "other"}
