"""Public data sets as they come out of their archives, with what goes wrong in them: missing files, MRs, labels that
FLARE does not have, other axes. Layouts, numbers and names are those of their documentation; see train/data/layouts."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_data import GRID, SHAPE

from flareseg.errors import InputError, UsageError
from flareseg.io.files import write_segmentation
from flareseg.labels import structures
from flareseg.segmentation import Segmentation
from train.config import SourceConfig
from train.data.layouts import look_into
from train.data.layouts.found import ALL, LabelFile
from train.data.layouts.labels import merged_labels
from train.data.layouts.names import ADRENALS, KIDNEYS, check_names, target_of

ORGANS = tuple(value for value in ALL if value != 14)
AMOS = {
    "0": "background", "1": "spleen", "2": "right kidney", "3": "left kidney", "4": "gall bladder", "5": "esophagus",
    "6": "liver", "7": "stomach", "8": "arota", "9": "postcava", "10": "pancreas", "11": "right adrenal gland",
    "12": "left adrenal gland", "13": "duodenum", "14": "bladder", "15": "prostate/uterus",
}  # fmt: skip


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def look(folder, layout, **more):
    found = look_into(SourceConfig("source", layout, str(folder), **more))
    return {case.name: case for case in found.cases}, found


def values_of(case):
    return case.labels[0].values


# FLARE on Hugging Face


@pytest.fixture
def laptop(tmp_path):
    touch(
        tmp_path,
        *(f"train_gt_label/{p}" for p in ("imagesTr/FLARE22_Tr_0001_0000.nii.gz", "labelsTr/FLARE22_Tr_0001.nii.gz")),
    )
    pseudo = tmp_path / "train_pseudo_label"
    touch(pseudo, *(f"imagesTr/Case_0000{n}_0000.nii.gz" for n in (1, 2, 3)))
    touch(pseudo, *(f"flare22_aladdin5_pseudo/Case_0000{n}.nii.gz" for n in (1, 2, 9)))
    touch(pseudo, "pseudo_label_blackbean_flare22/Case_00001.nii.gz", "pseudo_label_blackbean_flare22.zip")
    touch(tmp_path, "coreset_train_50_random/Case_00001_0000.nii.gz", "coreset_train_50_random/Case_00007_0000.nii.gz")
    touch(tmp_path, *(f"validation/Validation-Public-Images/FLARETs_000{n}_0000.nii.gz" for n in (1, 2)))
    touch(tmp_path, "validation/Validation-Public-Labels/FLARETs_0001.nii.gz")
    touch(tmp_path, "validation/Validation-Hidden-Images/FLARETs_0050_0000.nii.gz")
    return tmp_path


def test_flares_laptop_task_keeps_its_pseudo_labelled_cts(laptop):
    cases, found = look(laptop, "flare_laptop")
    assert set(cases) == {"FLARE22_Tr_0001", "Case_00001", "Case_00002", "Case_00003", "Case_00007", "FLARETs_0001"}
    assert cases["FLARE22_Tr_0001"].annotated == cases["FLARETs_0001"].annotated == ORGANS
    assert cases["FLARETs_0001"].split == "validation"
    assert cases["Case_00001"].organs.parent.name == "pseudo_label_blackbean_flare22"
    assert cases["Case_00002"].organs.parent.name == "flare22_aladdin5_pseudo"
    assert cases["Case_00003"].organs is None
    assert cases["Case_00001"].image.parent.name == "imagesTr"
    assert found.left_out == {
        "a CT of the validation set without public labels": ("FLARETs_0002", "FLARETs_0050"),
        "an archive that is not unpacked": ("train_pseudo_label/pseudo_label_blackbean_flare22.zip",),
        "not part of the layout, in coreset_train_*_random/": ("coreset_train_50_random/Case_00001_0000.nii.gz",),
        "not part of the layout, in train_pseudo_label/flare*_aladdin*_pseudo/": (
            "train_pseudo_label/flare22_aladdin5_pseudo/Case_00001.nii.gz",
            "train_pseudo_label/flare22_aladdin5_pseudo/Case_00009.nii.gz",
        ),
    }
    assert (found.files, found.used) == (16, 10)


def test_the_layout_of_2023_loses_no_ct_below_a_folder_called_pseudo(laptop):
    cases, _ = look(laptop, "flare23")
    assert {"Case_00001", "Case_00002", "Case_00003", "FLARE22_Tr_0001"} <= set(cases)
    assert cases["Case_00001"].organs.parent.name == "pseudo_label_blackbean_flare22"


def test_flares_pan_cancer_task_has_lesions_alone_and_healthy_cts(tmp_path):
    train = tmp_path / "train_label"
    for part, name in (("part1", "KiTS23_1"), ("part2", "MSD_colon_2")):
        touch(train, f"imagesTr_{part}/{name}_0000.nii.gz", f"labelsTr_{part}/{name}.nii.gz")
    touch(train, "labelsTr_part2/lonely.nii.gz")
    touch(tmp_path, "train_unlabel/AMOS/amos_1_0000.nii.gz", "validation/HealthyImages-noLesion/h1_0000.nii.gz")
    for name in ("Images/v1_0000", "Labels/v1", "Images/v2_0000"):
        touch(tmp_path, f"validation/Validation-Public-{name}.nii.gz")
    cases, found = look(tmp_path, "flare_pancancer")
    assert {name: (case.annotated, case.searched, case.split) for name, case in cases.items()} == {
        "KiTS23_1": ((14,), (), None), "MSD_colon_2": ((14,), (), None), "amos_1": ((), (), None),
        "h1": ((), (14,), "validation"), "v1": ((14,), (), "validation"),
    }  # fmt: skip
    assert values_of(cases["v1"]) == {1: 14}
    assert found.left_out["a label map without its CT"] == ("lonely",)
    assert found.left_out["a CT of the validation set without public labels"] == ("v2",)


def test_the_pan_cancer_task_of_2024_has_a_folder_for_each_data_set(tmp_path):
    touch(tmp_path, "Train-Labeled/KiTS23-488/k_0000.nii.gz", "Train-Labeled/labelsTr/k.nii.gz")
    touch(tmp_path, "Train-Unlabeled/MSD-506/m_0000.nii.gz", "Validation-Public/lesion-images/v_0000.nii.gz")
    touch(tmp_path, "Validation-Public/lesion-gts/v.nii.gz", "Validation-Public/HealthyImages-noLesion/h_0000.nii.gz")
    cases, found = look(tmp_path, "flare_pancancer")
    assert {name: bool(case.labels) for name, case in cases.items()} == {"k": True, "m": False, "v": True, "h": False}
    assert (cases["h"].searched, found.left_out) == ((14,), {})


# several organs


def test_amos_has_all_its_organs_and_its_mrs_are_left_out(tmp_path):
    for part, number in (("Tr", 1), ("Tr", 507), ("Va", 8)):
        touch(tmp_path / "amos22", f"images{part}/amos_{number:04}.nii.gz", f"labels{part}/amos_{number:04}.nii.gz")
    touch(tmp_path / "amos22", "imagesTs/amos_0002.nii.gz", "imagesTs/amos_0600.nii.gz", "imagesTr/._amos_0001.nii.gz")
    cases, found = look(tmp_path, "amos22")
    assert {name: case.split for name, case in cases.items()} == {
        "amos_0001": None, "amos_0008": "validation", "amos_0002": None,
    }  # fmt: skip
    assert cases["amos_0001"].annotated == ORGANS
    assert values_of(cases["amos_0001"])[8] == 5
    assert found.left_out == {"an MR, no CT": ("amos_0507", "amos_0600")}
    assert found.others == ("bladder", "prostate/uterus")
    with pytest.raises(InputError, match="no case in the layout 'amos22'; left out: an MR"):
        look(tmp_path, "amos22", only=["amos_0507"])


@pytest.mark.parametrize("layout", ["msd", "pairs"])
def test_amos_read_by_its_dataset_json_has_all_organs_too(tmp_path, layout):
    touch(tmp_path, "imagesTr/amos_0001.nii.gz", "labelsTr/amos_0001.nii.gz", "imagesVa/amos_0008.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": AMOS, "modality": {"0": "CT"}}))
    cases, found = look(tmp_path, layout)
    assert cases["amos_0001"].annotated == ORGANS
    assert values_of(cases["amos_0001"]) == {
        1: 3, 2: 2, 3: 13, 4: 9, 5: 10, 6: 1, 7: 11, 8: 5, 9: 6, 10: 4, 11: 7, 12: 8, 13: 12, 14: 0, 15: 0,
    }  # fmt: skip
    assert found.left_out == {"not part of the layout, in imagesVa/": ("imagesVa/amos_0008.nii.gz",)}


def test_word_has_both_adrenal_glands_in_one_label(tmp_path):
    for part, number in (("Tr", 2), ("Val", 1)):
        touch(
            tmp_path / "WORD-V0.1.0", f"images{part}/word_{number:04}.nii.gz", f"labels{part}/word_{number:04}.nii.gz"
        )
    touch(tmp_path / "WORD-V0.1.0", "imagesTs/word_0014.nii.gz")
    cases, found = look(tmp_path, "word")
    assert cases["word_0002"].annotated == (1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 13)
    assert values_of(cases["word_0002"])[12] == ADRENALS
    assert (cases["word_0001"].split, cases["word_0014"].labels) == ("validation", ())
    assert "colon" in found.others


def test_btcv_calls_image_and_label_differently(tmp_path):
    touch(tmp_path / "RawData", "Training/img/img0001.nii.gz", "Training/label/label0001.nii.gz")
    touch(tmp_path / "RawData", "Testing/img/img0061.nii.gz", "Training/label/label0099.nii.gz")
    cases, found = look(tmp_path, "btcv")
    assert set(cases) == {"0001", "0061"}
    assert cases["0001"].annotated == tuple(value for value in ORGANS if value != 12)
    assert values_of(cases["0001"])[10] == 0
    assert found.left_out == {"a label map without its CT": ("0099",)}


def test_abdomenatlas_has_a_mask_an_organ_and_lesions_are_unknown(tmp_path):
    first = ("aorta", "gall_bladder", "kidney_left", "postcava", "liver", "colon", "liver_lesion")
    touch(tmp_path, "image_only/BDMAP_00000001/ct.nii.gz", "image_only/BDMAP_00000002/ct.nii.gz")
    touch(tmp_path, *(f"mask_only/BDMAP_00000001/segmentations/{name}.nii.gz" for name in first))
    touch(tmp_path, "mask_only/BDMAP_00000001/combined_labels.nii.gz")
    touch(tmp_path, "mask_only/BDMAP_00005196/segmentations/liver.nii.gz")
    cases, found = look(tmp_path, "abdomenatlas")
    assert cases["BDMAP_00000001"].annotated == (1, 5, 6, 9, 13)
    assert {file.path.name: file.values for file in cases["BDMAP_00000001"].labels}["liver_lesion.nii.gz"] == {1: 255}
    assert cases["BDMAP_00000001"].labels[-1].path.name == "liver_lesion.nii.gz"
    assert (cases["BDMAP_00000002"].labels, cases["BDMAP_00000002"].annotated) == ((), ())
    assert found.left_out == {
        "a label map without its CT": ("BDMAP_00005196",),
        "not part of the layout, in mask_only/*/": ("mask_only/BDMAP_00000001/combined_labels.nii.gz",),
        "not part of the layout, in mask_only/*/segmentations/": (
            "mask_only/BDMAP_00000001/segmentations/colon.nii.gz",
        ),
    }  # fmt: skip


# one organ and its tumours


def test_kits_joins_kidneys_tumours_and_cysts(tmp_path):
    touch(tmp_path, *(f"dataset/case_00000/{n}.nii.gz" for n in ("imaging", "segmentation", "instances/kidney_1")))
    touch(tmp_path, "dataset/case_00001/segmentation.nii.gz")  # imaging is downloaded apart
    cases, found = look(tmp_path, "kits23")
    assert set(cases) == {"case_00000"}
    assert (cases["case_00000"].annotated, values_of(cases["case_00000"])) == ((2, 13, 14), {1: KIDNEYS, 2: 14, 3: 255})
    assert found.left_out["a label map without its CT"] == ("case_00001",)


def test_lits_is_read_from_its_batches(tmp_path):
    touch(tmp_path, "Training Batch 1/volume-0.nii", "Training Batch 1/segmentation-0.nii")
    touch(tmp_path, "Training Batch 2/volume-28.nii", "Training Batch 2/segmentation-28.nii", "test-volume-0.nii")
    cases, found = look(tmp_path, "lits")
    assert {name: case.annotated for name, case in cases.items()} == {"0": (1, 14), "28": (1, 14), "test_0": ()}
    assert (values_of(cases["28"]), found.left_out) == ({1: 1, 2: 14}, {})


def test_ctorg_has_a_test_set_and_organs_that_flare_has_not(tmp_path):
    for number in (3, 21):
        touch(tmp_path / "OrganSegmentations", f"volume-{number}.nii.gz", f"labels-{number}.nii.gz")
    cases, found = look(tmp_path, "ctorg")
    assert {name: case.split for name, case in cases.items()} == {"3": "validation", "21": None}
    assert (cases["21"].annotated, values_of(cases["21"])) == ((1, 2, 13), {1: 1, 2: 0, 3: 0, 4: KIDNEYS, 5: 0, 6: 0})
    assert found.others == ("bladder", "lungs", "bones", "brain")


# nnU-Net


def nnunet(folder, labels, **more):
    touch(folder, "imagesTr/a_0000.nii.gz", "imagesTr/b_0000.nii.gz", "labelsTr/a.nii.gz", "imagesTs/t_0000.nii.gz")
    about = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 2, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(about | more))


def test_nnunets_raw_folder_says_what_its_numbers_mean(tmp_path):
    labels = {"background": 0, "Kidney_Left": 1, "LiverTumor": 2, "small bowel": 3, "pancreatic duct": 4, "ignore": 5}
    nnunet(tmp_path / "Dataset007_Mine", labels)
    touch(tmp_path, "Dataset007_Mine/labelsTr/c.nii.gz")
    cases, found = look(tmp_path, "nnunet")
    assert {name: bool(case.labels) for name, case in cases.items()} == {"a": True, "b": False, "t": False}
    assert (cases["a"].annotated, values_of(cases["a"])) == ((13, 14), {1: 13, 2: 14, 3: 0, 4: 255, 5: 255})
    assert (found.others, found.left_out) == (("small bowel",), {"a label map without its CT": ("c",)})
    renamed, _ = look(tmp_path / "Dataset007_Mine", "nnunet", values={3: "duodenum"})
    assert renamed["a"].annotated == (12, 13, 14)


def test_of_nnunets_regions_the_smallest_that_flare_has_counts(tmp_path):
    nnunet(tmp_path, {"background": 0, "kidney": [1, 2, 3, 4], "masses": [2, 3], "tumor": 2, "sinus": [4]})
    cases, _ = look(tmp_path, "nnunet")
    assert values_of(cases["a"]) == {1: KIDNEYS, 2: 14, 3: 255, 4: 255}


def test_nnunets_dataset_json_may_list_the_files(tmp_path):
    listed = {"p1": {"images": ["elsewhere/ct.nii.gz"], "label": "elsewhere/seg.nii.gz"}}
    nnunet(tmp_path, {"background": 0, "liver": 1}, dataset=listed)
    touch(tmp_path, "elsewhere/ct.nii.gz", "elsewhere/seg.nii.gz")
    cases, _ = look(tmp_path, "nnunet")
    assert cases["p1"].labels[0].path == tmp_path / "elsewhere" / "seg.nii.gz"
    for wrong in ({"p1": {"images": []}}, {"../p1": listed["p1"]}, ["p1"]):
        nnunet(tmp_path, {"liver": 1}, dataset=wrong)
        with pytest.raises(InputError, match="'dataset' must give images and label"):
            look(tmp_path, "nnunet")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"channel_names": {"0": "T1"}}, "has the channels T1; only data sets of CTs"),
        ({"channel_names": {"0": "CT", "1": "PET"}}, "has the channels CT, PET"),
        ({"labels": ["liver"]}, "no table of labels"),
        ({"labels": {"liver": "one"}}, "no table of labels"),
        ({"labels": {"liver": 300}}, r"from 0 to 255; 300 \('liver'\)"),
    ],
)
def test_a_data_set_of_nnunet_that_is_none_of_cts_is_an_error(tmp_path, more, message):
    nnunet(tmp_path, **({"labels": {"background": 0, "liver": 1}} | more))
    with pytest.raises(InputError, match=message):
        look(tmp_path, "nnunet")


# names


def test_names_mean_structures_tumours_parts_or_nothing():
    meanings = {
        "Liver": 1, "postcava": 6, "gall bladder": 9, "oesophagus": 10, "kidneys": KIDNEYS, "adrenal": ADRENALS,
        "suprarenal glands": ADRENALS, "liver tumour": 14, "colon cancer primaries": 14, "lesion": 14,
        "lung cancer": 255,
        "kidney cyst": 255, "hepatic vessel": 255, "portal vein and splenic vein": 0, "bladder": 0, "background": 0,
    }  # fmt: skip
    assert {name: target_of(name) for name in meanings} == meanings


def test_a_misspelt_name_in_values_is_an_error():
    check_names({1: "liver", 2: "background", 3: "unknown", 4: "kidneys"})
    with pytest.raises(UsageError, match="'livr' is no structure of FLARE; write background"):
        check_names({1: "livr"})


# voxels


def test_adrenal_glands_get_their_sides_by_the_kidneys(tmp_path):
    labels = np.zeros(SHAPE, np.uint8)
    labels[8:12, 10:20, 4:10], labels[8:12, 10:20, 26:32] = 4, 3  # the patient lies off the centre of the image
    labels[13:15, 12:15, 8:11], labels[13:15, 12:15, 22:25] = 12, 12
    path = tmp_path / "word_0002.nii.gz"
    write_segmentation(Segmentation(labels, GRID, structures()), path)
    touch(tmp_path, "imagesTr/word_0002.nii.gz", "labelsTr/word_0002.nii.gz")
    cases, _ = look(tmp_path, "word")
    merged = merged_labels([LabelFile(path, values_of(cases["word_0002"]))], GRID).array
    assert set(np.unique(merged[..., :18])) == {0, 2, 7}
    assert set(np.unique(merged[..., 18:])) == {0, 8, 13}
