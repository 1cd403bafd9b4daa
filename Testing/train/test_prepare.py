"""From folders of CTs to the index: every case checked, nothing bad let in, nothing made twice."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_data import GRID, NET, SHAPE, SPACING, config_for, ct, liver, of, source, write_case

from flareseg.errors import InputError, UsageError
from flareseg.io.files import read_labels, write_segmentation, write_volume
from flareseg.labels import structures
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Orientation, Volume
from train.augmentation.patch_sampling import read_sample
from train.augmentation.pipeline import NOTHING
from train.config import NewPatientsConfig, PseudoConfig
from train.data.cache import load_cached
from train.data.fingerprint import read_statistics
from train.data.index import CLASSES, TUMOUR, read_index
from train.fit_config import FitConfig
from train.net_config import ANY_RANGE, NetConfig
from train.stages.prepare import prepare

# what comes out


def test_the_index_says_what_each_case_is(data, paths):
    index = prepare(config_for(source(data)), paths)
    assert index == read_index(paths.index)
    first, unlabelled = of(index, "p0"), of(index, "p4")
    assert (first.annotated, first.occurring) == (("liver", "spleen"), ("liver",))
    assert (first.image, first.labels) == (data / "p0" / "ct.nii.gz", data / "p0" / "seg.nii.gz")
    assert (first.shape_zyx, first.spacing_zyx_mm, first.licence) == (SHAPE, SPACING, "CC0")
    assert (unlabelled.labels, unlabelled.annotated, unlabelled.has_tumour) == (None, (), False)
    assert index.refused == {}


def test_of_what_is_drawn_in_part_the_rest_is_unknown(data, paths):
    labels = liver()
    labels[6:9, 12:15, 10:13] = TUMOUR
    write_case(data / "p5", 5, labels)
    write_case(data / "p6", 6, np.where(labels == TUMOUR, labels, 0))
    index = prepare(config_for(source(data, in_part=["tumour"])), paths)
    both, alone = of(index, "p5"), of(index, "p6")
    assert (both.annotated, both.in_part, both.has_tumour) == (("liver",), ("tumour",), True)
    assert (alone.annotated, alone.in_part, alone.has_tumour) == ((), ("tumour",), True)
    for case in (both, alone):
        cached = load_cached(paths.grid(SPACING) / case.name, "truth")
        assert not cached.known[TUMOUR]
        net = replace(NET, segments=["tumour"], filters=[4, 8, 8])
        sample = read_sample(cached, net, net.plan(ANY_RANGE), NOTHING, 1.0, {}, np.random.default_rng(0))
        assert int((sample.labels == TUMOUR).sum()) == 27


def test_every_case_is_cached_for_every_grid(data, paths):
    other = NetConfig(spacing_zyx_mm=(9.0, 9.0, 9.0), patch_zyx=(16, 16, 16), filters=[4, 8], segments=["liver"])
    fits = {"final": FitConfig(net="net", epochs=1), "coarse": FitConfig(net="other", epochs=1, stage="final")}
    index = prepare(config_for(source(data), nets={"net": NET, "other": other}, fits=fits), paths)
    for case in index.cases:
        for spacing in (SPACING, (9.0, 9.0, 9.0)):
            cached = load_cached(paths.grid(spacing) / case.name, "truth" if case.labels else None)
            assert cached.hu(tuple(slice(0, n) for n in cached.shape_zyx)).max() > 80
            assert np.array_equal(cached.known, case.known)
            assert set(cached.centres) == ({1} if case.labels else set())


def test_statistics_are_those_of_the_structures_of_teaching_cases(data, paths):
    write_case(data / "loud", 9, liver(), info={"split": "validation"})
    hu = ct(9)
    hu[liver() > 0] = 900
    write_volume(Volume(hu, GRID), data / "loud" / "ct.nii.gz", overwrite=True)
    prepare(config_for(source(data)), paths)
    found = read_statistics(paths.statistics)
    assert 89 <= found.intensity.clip_hu[0] < found.intensity.clip_hu[1] <= 111
    assert abs(found.intensity.mean_hu - 100) < 1
    assert (found.cases, found.median_spacing_zyx_mm, found.foreground) == (4, SPACING, "structures")


def test_without_any_labels_the_body_is_measured(tmp_path, paths):
    write_case(tmp_path / "data" / "a", 0)
    fits = {"pretrain": FitConfig(net="net", epochs=1, task="reconstruct", cases="all")}
    prepare(config_for(source(tmp_path / "data"), fits=fits, pseudo=PseudoConfig(tumour_fit="")), paths)
    found = read_statistics(paths.statistics)
    assert found.foreground == "body"
    assert found.intensity.clip_hu[0] > -300


def test_new_patients_are_made_of_the_cases_that_the_configuration_names(data, paths):
    wanted = NewPatientsConfig(["mine/p0", "mine/p1"], 2, seed=5, weight=0.5)
    index = prepare(config_for(source(data), new_patients=wanted), paths)
    made = [case for case in index.cases if case.source == "new_patients"]
    assert [case.name for case in made] == [f"new_patients_p{case}_{seed}" for case in (0, 1) for seed in (5, 6)]
    assert [case.patient for case in made] == ["p0", "p0", "p1", "p1"]
    assert all(case.annotated == ("liver", "spleen") and case.split == "train" for case in made)
    again = replace(wanted, cases=["mine/p1"], count=1)
    index = prepare(config_for(source(data), new_patients=again), paths)
    assert [case.name for case in index.cases if case.source == "new_patients"] == ["new_patients_p1_5"]


def test_new_patients_cover_what_their_source_covers_also_when_that_is_told_later(data, paths):
    wanted = NewPatientsConfig(["mine/p0"], 1, seed=5)
    prepare(config_for(source(data), new_patients=wanted), paths)
    healthy = source(data, annotated=["liver", "spleen", "tumour"])
    index = prepare(config_for(healthy, new_patients=wanted), paths)
    assert index.of("new_patients_p0_5").annotated == ("liver", "spleen", "tumour")
    assert not index.of("new_patients_p0_5").has_tumour


def test_an_upside_down_ct_keeps_its_labels_in_place(tmp_path, paths):
    turned = Geometry(SHAPE, SPACING, direction=((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, -1.0)))
    write_case(tmp_path / "data" / "a", 0, liver(), geometry=turned)
    index = prepare(config_for(source(tmp_path / "data")), paths)
    case = load_cached(paths.grid(SPACING) / index.cases[0].name, "truth")
    box = tuple(slice(0, size) for size in case.shape_zyx)
    assert case.hu(box)[case.labels(box) == 1].min() >= 80
    assert not np.array_equal(Orientation.of(turned).to_canonical(liver()), liver())


# what labels cover


def test_converted_labels_are_written_in_flares_numbers(tmp_path, paths):
    folder = tmp_path / "pairs"
    for number in range(2):
        case = write_case(tmp_path / "made" / str(number), number, liver(7))
        for part, name in (("imagesTr", f"c{number}_0000.nii.gz"), ("labelsTr", f"c{number}.nii.gz")):
            (folder / part).mkdir(parents=True, exist_ok=True)
            shutil.copy(case / ("ct.nii.gz" if part == "imagesTr" else "seg.nii.gz"), folder / part / name)
    index = prepare(config_for(source(folder, "pairs", values={7: "liver"})), paths)
    case = of(index, "c0")
    assert case.labels == paths.labels("mine_c0")
    assert np.array_equal(read_labels(case.labels)[0], liver())
    again = prepare(config_for(source(folder, "pairs", values={7: "liver", 8: "spleen"})), paths)
    assert of(again, "c0").annotated == ("liver", "spleen")


def test_the_configuration_may_say_what_is_annotated(data, paths):
    labels = liver()
    labels[16:18, 10:20, 10:20] = 14
    write_case(data / "p0", 0, labels, info={})
    index = prepare(config_for(source(data, annotated=["liver", "pancreas"])), paths)
    case = of(index, "p0")
    assert (case.annotated, case.occurring) == (("liver", "pancreas"), ("liver",))
    assert case.labels == paths.labels("mine_p0")
    assert set(np.unique(read_labels(case.labels)[0])) == {0, 1, 255}


def test_what_nobody_sees_in_a_source_counts_as_annotated(data, paths):
    write_case(data / "p0", 0, liver(), info={"labels_present": ["liver"]})
    shutil.rmtree(data / "p1")
    write_case(data / "p1", 1)
    looked_at = source(data, absent=["tumour"])
    index = prepare(config_for(looked_at, new_patients=NewPatientsConfig(["mine/p0"], 1)), paths)
    assert of(index, "p0").annotated == index.of("new_patients_p0_0").annotated == ("liver", "tumour")
    assert of(index, "p1").annotated == ("tumour",)
    assert not any(case.has_tumour for case in index.cases)
    case = load_cached(paths.grid(SPACING) / of(index, "p1").name, "truth")
    assert case.known.tolist() == np.isin(np.arange(CLASSES), [0, 14]).tolist()
    assert not case.labels(tuple(slice(0, size) for size in case.shape_zyx)).any()


def test_a_case_that_shows_what_its_source_is_free_of_is_refused(data, paths):
    write_case(data / "p0", 0, liver(3))
    index = prepare(config_for(source(data, absent=["spleen"])), paths)
    assert list(index.refused) == ["mine_p0"]
    assert "declares absent" in index.refused["mine_p0"]


def test_by_default_what_occurs_is_annotated(data, paths):
    labels = liver()
    labels[16:18, 10:20, 10:20] = 14
    write_case(data / "p0", 0, labels, info={})
    write_case(data / "p1", 1, np.zeros(SHAPE, np.uint8), info={})
    index = prepare(config_for(source(data)), paths)
    assert of(index, "p0").annotated == ("liver", "tumour")
    assert of(index, "p0").has_tumour
    assert (of(index, "p1").labels, of(index, "p1").annotated) == (None, ())


def test_an_annotated_structure_that_is_not_in_view_is_known_to_be_absent(data, paths):
    write_case(data / "p1", 1, np.zeros(SHAPE, np.uint8), info={"labels_present": [1]})
    index = prepare(config_for(source(data)), paths)
    assert (of(index, "p1").annotated, of(index, "p1").occurring) == (("liver",), ())
    assert load_cached(paths.grid(SPACING) / "mine_p1", "truth").known[1]


# what is refused


def damage(data, kind):
    folder = data / "p2"
    if kind == "cut image":
        path = folder / "ct.nii.gz"
        path.write_bytes(path.read_bytes()[:2000])
    elif kind == "no image at all":
        (folder / "ct.nii.gz").write_bytes(b"")
    elif kind == "cut labels":
        path = folder / "seg.nii.gz"
        path.write_bytes(path.read_bytes()[:60])
    elif kind == "other grid":
        write_segmentation(
            Segmentation(liver(), Geometry(SHAPE, (6.0, 6.0, 5.0)), structures()), folder / "seg.nii.gz", overwrite=True
        )
    elif kind == "value 20":
        write_segmentation(Segmentation(liver(20), GRID, structures()), folder / "seg.nii.gz", overwrite=True)
    elif kind == "not a CT":
        write_volume(Volume(liver(3).astype(np.int16), GRID), folder / "ct.nii.gz", overwrite=True)
    elif kind == "info":
        (folder / "info.json").write_text("{")
    elif kind == "organs":
        write_segmentation(
            Segmentation(liver()[1:], Geometry((19, 36, 40), SPACING), structures()), folder / "organs.nii.gz"
        )


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("cut image", "ct.nii.gz"), ("no image at all", "ct.nii.gz"), ("cut labels", "seg.nii.gz"),
        ("other grid", "another grid"), ("value 20", "value 20"), ("not a CT", "does not look like a CT"),
        ("info", "info.json"), ("organs", "another grid"),
    ],
)  # fmt: skip
def test_a_bad_case_is_refused_in_one_line_and_the_others_go_on(data, paths, capsys, kind, reason):
    damage(data, kind)
    index = prepare(config_for(source(data)), paths)
    assert list(index.refused) == ["mine_p2"]
    assert reason in index.refused["mine_p2"]
    assert "\n" not in index.refused["mine_p2"]
    assert f"refused mine_p2: {index.refused['mine_p2']}" in capsys.readouterr().out
    assert {case.name for case in index.cases} == {"mine_p0", "mine_p1", "mine_p3", "mine_p4"}


def test_a_case_that_was_mended_is_taken_the_next_time(data, paths):
    damage(data, "cut image")
    assert "mine_p2" in prepare(config_for(source(data)), paths).refused
    write_case(data / "p2", 2, liver())
    assert prepare(config_for(source(data)), paths).refused == {}


def test_no_case_left_is_an_error(data, paths):
    for path in data.glob("*/ct.nii.gz"):
        path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="None of 5 cases can be used"):
        prepare(config_for(source(data)), paths)
    assert not paths.index.exists()


def test_a_structure_that_no_case_shows_is_an_error(data, paths):
    net = NetConfig(spacing_zyx_mm=SPACING, patch_zyx=(16, 16, 16), filters=[4, 8], segments=["liver", "spleen"])
    with pytest.raises(InputError, match="No training case shows spleen, which the fit 'final' segments"):
        prepare(config_for(source(data), net=net), paths)
    organs = np.zeros(SHAPE, np.uint8)
    organs[2:5, 10:20, 22:30] = 3
    write_case(data / "p4", 4, organs=organs)
    assert of(prepare(config_for(source(data), net=net), paths), "p4").organs == data / "p4" / "organs.nii.gz"


def test_nets_of_one_spacing_with_different_resampling_are_an_error(data, paths):
    other = NetConfig(SPACING, (16, 16, 16), [4, 8], segments=["liver"], resampling="isotropic")
    fits = {"final": FitConfig(net="net", epochs=1), "base": FitConfig(net="other", epochs=1, stage="final")}
    with pytest.raises(UsageError, match="one resampling"):
        prepare(config_for(source(data), nets={"net": NET, "other": other}, fits=fits), paths)
