"""What `prepare` says of each source: files seen, used, refused and left out, structures found; and lesion maps."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_data import GRID, NET, SHAPE, SPACING, config_for, liver, of, source, write_case

from flareseg.io.files import read_labels, write_segmentation
from flareseg.labels import structures
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Orientation
from train.config import NetConfig
from train.data.cache import load_cached
from train.stages.prepare import prepare

LESION = np.s_[7:10, 12:16, 10:14]
DOUBT = np.s_[10:12, 12:16, 10:14]
TURNED = Geometry(
    SHAPE[::-1], SPACING, (0.0, 0.0, (SHAPE[0] - 1) * SPACING[0]), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0))
)
"""The grid of small_data with slices along x of the file, from the head down."""


def write_map(labels, path, geometry=GRID):
    write_segmentation(Segmentation(labels, geometry, structures()), path, overwrite=True)


def turn(labels):
    return np.ascontiguousarray(Orientation.of(TURNED).from_canonical(labels))


def lesions(sure=True, doubtful=True):
    labels = np.zeros(SHAPE, np.uint8)
    labels[LESION], labels[DOUBT] = int(sure), 255 * doubtful
    return labels


def with_lesions(folder, seed, found, **more):
    write_case(folder, seed, **more)
    write_map(found, folder / "lesions.nii.gz")


# lesions


def test_sure_lesions_are_tumours_over_the_organs_and_doubtful_ones_unknown(tmp_path, paths):
    data = tmp_path / "data"
    with_lesions(data / "p0", 0, lesions(), labels=liver(), info={"labels_present": [1, 3]})
    write_case(data / "p1", 1, liver(), info={"labels_present": [1, 3]})
    index = prepare(config_for(source(data)), paths)
    case, other = of(index, "p0"), of(index, "p1")
    assert (case.annotated, case.occurring) == (("liver", "spleen", "tumour"), ("liver", "tumour"))
    assert (other.annotated, other.labels) == (("liver", "spleen"), data / "p1" / "seg.nii.gz")
    labels = read_labels(case.labels)[0]
    expected = liver()
    expected[LESION], expected[DOUBT] = 14, 255
    assert np.array_equal(labels, expected)
    assert load_cached(paths.grid(SPACING) / case.name, "truth").known[[1, 3, 14]].all()


def test_lesions_are_left_to_their_organs_where_only_organs_are_learnt(tmp_path, paths):
    data = tmp_path / "data"
    with_lesions(data / "p0", 0, lesions(), labels=liver(), info={"labels_present": [1, 3]})
    index = prepare(config_for(source(data, lesions=False)), paths)
    case = of(index, "p0")
    assert (case.annotated, case.labels) == (("liver", "spleen"), data / "p0" / "seg.nii.gz")


def test_a_case_searched_in_vain_annotates_tumours(tmp_path, paths):
    data = tmp_path / "data"
    nothing = np.zeros(SHAPE, np.uint8)
    with_lesions(data / "p0", 0, nothing, labels=liver(), info={"labels_present": [1]})
    with_lesions(data / "p1", 1, lesions(sure=False), labels=liver())
    with_lesions(data / "p2", 2, nothing)
    index = prepare(config_for(source(data)), paths)
    assert of(index, "p0").annotated == of(index, "p1").annotated == ("liver", "tumour")
    assert of(index, "p2").annotated == ("tumour",)
    assert not any(case.has_tumour for case in index.cases)
    assert (read_labels(of(index, "p1").labels)[0][DOUBT] == 255).all()


def test_the_configuration_may_leave_lesions_unknown(tmp_path, paths):
    data = tmp_path / "data"
    with_lesions(data / "p0", 0, lesions(), labels=liver())
    case = of(prepare(config_for(source(data, annotated=["liver"])), paths), "p0")
    assert case.annotated == ("liver",)
    assert (read_labels(case.labels)[0][LESION] == 255).all()


def test_a_lesion_map_with_another_number_is_refused(tmp_path, paths):
    data = tmp_path / "data"
    with_lesions(data / "p0", 0, lesions() * 2, labels=liver())
    write_case(data / "p1", 1, liver())
    index = prepare(config_for(source(data)), paths)
    assert "value 2, which nobody names" in index.refused["mine_p0"]


# other axes


def test_labels_and_pseudo_labels_with_other_axes_are_turned_to_their_ct(tmp_path, paths, capsys):
    organs = liver()
    organs[2:5, 10:20, 22:30] = 3
    case = write_case(tmp_path / "data" / "p0", 0)
    write_map(turn(liver()), case / "seg.nii.gz", TURNED)
    write_map(turn(organs), case / "organs.nii.gz", TURNED)
    net = NetConfig(SPACING, (16, 16, 16), [4, 8], segments=["liver", "spleen"])
    config = config_for(source(tmp_path / "data"), net=net)
    found = of(prepare(config, paths), "p0")
    assert found.labels == paths.labels("mine_p0") and found.organs == paths.organs("mine_p0")
    for path, expected in ((found.labels, liver()), (found.organs, organs)):
        labels, geometry = read_labels(path)
        assert geometry.same_as(GRID, 0.01)
        assert np.array_equal(labels, expected)
    assert json.loads(paths.sources.read_text())["sources"][0]["turned"] == 1
    assert of(prepare(config, paths), "p0") == found  # from the record


def test_axes_that_contradict_the_header_are_refused(tmp_path, paths):
    case = write_case(tmp_path / "data" / "p0", 0)
    write_map(np.ascontiguousarray(liver().T), case / "seg.nii.gz", Geometry(SHAPE[::-1], SPACING))
    write_case(tmp_path / "data" / "p1", 1, liver())
    flipped = Geometry(SHAPE, SPACING, direction=((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
    write_case(tmp_path / "data" / "p2", 2)
    write_map(liver(), tmp_path / "data" / "p2" / "seg.nii.gz", flipped)
    refused = prepare(config_for(source(tmp_path / "data")), paths).refused
    assert "with other axes than the header says" in refused["mine_p0"]
    assert "its header has other directions, and one of the two is wrong" in refused["mine_p2"]


def test_a_header_that_says_nothing_is_overlooked_in_labels_and_refused_in_cts(tmp_path, paths):
    """As in LiTS."""
    blank = Geometry(SHAPE, (1.0, 1.0, 1.0), (-1.0, -1.0, 1.0), ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0)))
    data = tmp_path / "Training Batch 1"
    for number, geometry in ((0, GRID), (28, blank)):
        case = write_case(tmp_path / "made" / str(number), number, geometry=geometry)
        data.mkdir(exist_ok=True)
        (case / "ct.nii.gz").rename(data / f"volume-{number}.nii.gz")
        write_map(liver(), data / f"segmentation-{number}.nii.gz", blank)
    index = prepare(config_for(source(tmp_path, "lits")), paths)
    labels, geometry = read_labels(of(index, "0").labels)
    assert geometry.same_as(GRID, 0.01)
    assert np.array_equal(labels, liver())
    assert "is a placeholder of 1 mm" in index.refused["mine_28"]


# the table


@pytest.fixture
def amos(tmp_path):
    """Two CTs with labels, one of a number without a name, an MR, a CT without labels, labels without a CT, notes."""
    home = tmp_path / "amos"
    for number, labels in ((1, liver(6)), (2, liver(77)), (507, liver(6)), (3, None)):
        case = write_case(tmp_path / "made" / str(number), number, labels)
        for name, part in (("ct", "imagesTr"), ("seg", "labelsTr")):
            (home / part).mkdir(parents=True, exist_ok=True)
            if (case / f"{name}.nii.gz").exists():
                (case / f"{name}.nii.gz").rename(home / part / f"amos_{number:04}.nii.gz")
    write_map(liver(), home / "labelsTr" / "amos_0009.nii.gz")
    (home / "extra").mkdir()
    write_map(liver(), home / "extra" / "x.nii.gz")
    (home / "readme.txt").write_text("notes")
    return home


def test_a_table_says_what_each_source_holds_and_what_is_not_used(amos, tmp_path, paths, capsys):
    write_case(tmp_path / "data" / "p0", 30, liver(), organs=liver())
    prepare(config_for(source(amos, "amos22", "amos"), source(tmp_path / "data")), paths)
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("prepare: what the sources hold")
    assert [line.split() for line in lines[start + 1 : start + 4]] == [
        ["source", "layout", "files", "used", "cases", "labelled", "turned", "refused", "left", "out"],
        ["amos", "amos22", "9", "5", "2", "1", "0", "1", "3"],
        ["mine", "cases", "3", "3", "1", "1", "0", "0", "0"],
    ]
    text = "\n".join(lines[start:])
    assert "amos: structures, cases that show them / that annotate them: liver 1/1, right_kidney 0/1" in text
    assert "amos: labels read as background, no structures of FLARE: bladder, prostate/uterus" in text
    assert "amos: refused amos_0002: The labels '…' have the value 77, which nobody names" in text
    assert "amos: left out amos_0507: an MR, no CT" in text
    assert "amos: left out amos_0009: a label map without its CT" in text
    assert "amos: left out extra/x.nii.gz: not part of the layout, in extra/" in text
    assert "mine: structures in pseudo-labels, cases: liver 1" in text


def test_the_table_is_kept_with_every_name(amos, paths):
    prepare(config_for(source(amos, "amos22", "amos")), paths)
    (entry,) = json.loads(paths.sources.read_text())["sources"]
    assert (entry["cases"], entry["structures"]["liver"], entry["structures"]["spleen"]) == (2, [1, 1], [0, 1])
    assert list(entry["refused"].values()) == [["amos_0002"]]
    assert entry["left out"]["an MR, no CT"] == ["amos_0507"]


def test_cases_that_the_configuration_leaves_out_are_counted(tmp_path, paths, capsys):
    for number in range(6):
        write_case(tmp_path / "data" / f"p{number}", number, liver())
    prepare(config_for(source(tmp_path / "data", only=["p1", "p2"], without=["p2"]), net=NET), paths)
    out = capsys.readouterr().out
    assert "mine: left out p0, p3, p4, … (4): not in `only`" in out
    assert "mine: left out p2: in `without`" in out
