"""What is drawn in part is said of a source, of some of its cases, or by a case itself; its rest is unknown."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_data import NET, SPACING, config_for, liver, of, source, write_case

from flareseg.errors import InputError, UsageError
from train.common.paths import RunPaths
from train.config import NewPatientsConfig, PseudoConfig
from train.config_file import load_config
from train.data.cache import load_cached
from train.data.case_folder import read_info
from train.data.in_part import drawn_in_part
from train.data.index import TUMOUR
from train.data.layouts.found import FoundCase
from train.pseudolabels.layers import sources_of
from train.pseudolabels.pseudo_records import Records
from train.stages.prepare import prepare
from train.synthetic.resynthesis import draw_all, names_of
from train.training.fits import cases_of

LIVER = 1


def found(tmp_path, **parts):
    return [FoundCase(name, tmp_path / name, in_part=values) for name, values in parts.items()]


def test_a_source_a_list_a_file_or_the_case_itself_says_so(tmp_path):
    cases = found(tmp_path, a=(), b=(), c=(LIVER,))
    assert drawn_in_part(source(".", in_part=["tumour"]), cases) == {"a": (14,), "b": (14,), "c": (1, 14)}
    assert drawn_in_part(source(".", in_part={"tumour": ["b", "mine_c"]}), cases) == {"a": (), "b": (14,), "c": (1, 14)}
    (tmp_path / "list.txt").write_text("\ufeff# seen by a reader\na\n\n c \n", encoding="utf-8")
    listed = source(".", in_part={"tumour": str(tmp_path / "list.txt"), "spleen": ["a"]})
    assert drawn_in_part(listed, cases) == {"a": (3, 14), "b": (), "c": (1, 14)}
    assert drawn_in_part(source(".", in_part={"tumour": []}), cases) == drawn_in_part(source("."), cases)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (["a", "x\n=1+1", "y"], r"2 of the 3 cases with tumour in part .* the first is 'x\\n=1\+1'"),
        ("no/such/file", "list of cases 'no/such/file' of what is in_part in the source 'mine' cannot be read"),
        ("a\0b", "cannot be read"),
    ],
)
def test_a_list_that_cannot_be_met_is_an_error_of_one_line(tmp_path, wanted, words):
    with pytest.raises(InputError, match=words) as caught:
        drawn_in_part(source(".", in_part={"tumour": wanted}), found(tmp_path, a=()))
    assert "\n" not in str(caught.value)


def with_tumour(voxels):
    labels = liver()
    labels[6:9, 12:15, 10:13] = np.where(np.arange(27).reshape(3, 3, 3) < voxels, TUMOUR, LIVER)
    return labels


@pytest.fixture
def data(tmp_path):
    """whole: tumours annotated; listed and told: drawn in part, by a list and by itself; none: without a tumour."""
    both = {"labels_present": ["liver", "tumour"]}
    for seed, (name, info) in enumerate({"whole": both, "listed": both, "told": both | {"in_part": [14]}}.items()):
        write_case(tmp_path / "data" / name, seed, with_tumour(27), info=info)
    write_case(tmp_path / "data" / "none", 4, liver(), info=both | {"in_part": ["tumour"]})
    return tmp_path / "data"


def test_a_case_in_part_is_so_from_the_index_to_fits_and_fusion_and_the_others_are_not(data, tmp_path):
    paths = RunPaths(tmp_path / "run")
    config = config_for(source(data, in_part={"tumour": ["listed"]}))
    index = prepare(config, paths)
    assert of(index, "whole").annotated == ("liver", "tumour")
    for name in ("listed", "told", "none"):
        case = of(index, name)
        assert case.annotated == ("liver",) and case.in_part == (() if name == "none" else ("tumour",))
        assert not load_cached(paths.grid(SPACING) / case.name, "truth").known[TUMOUR]
    assert load_cached(paths.grid(SPACING) / "mine_whole", "truth").known[TUMOUR]
    fit = replace(config.fits["final"], cases="tumour")
    with_net = replace(config, fits={"final": fit}, nets={"net": replace(NET, segments=["tumour"])})
    assert [case.name for case in cases_of(with_net, index, "final")] == ["mine_listed", "mine_told", "mine_whole"]
    searched = Records("tumour", with_net, paths).wanted(index)  # S_tum looks for the others
    assert [case.name for case in searched] == ["mine_listed", "mine_none", "mine_told"]
    in_part = {
        one.name: one.in_part for one in sources_of(replace(with_net, pseudo=PseudoConfig(tumour_fit="")), paths, index)
    }
    assert (in_part["mine_whole"], in_part["mine_told"]) == ((), (TUMOUR,))


def test_another_list_prepares_its_cases_again_and_no_others(data, tmp_path):
    paths = RunPaths(tmp_path / "run")
    prepare(config_for(source(data)), paths)

    def state(name):
        cached = load_cached(paths.grid(SPACING) / f"mine_{name}", "truth")
        return cached.labels_hash, paths.labels(f"mine_{name}").with_name(f"mine_{name}.json").stat().st_mtime_ns

    before = {name: state(name) for name in ("whole", "listed")}
    prepare(config_for(source(data, in_part={"tumour": ["listed"]})), paths)
    assert state("whole") == before["whole"]
    assert state("listed")[0] != before["listed"][0] and state("listed")[1] > before["listed"][1]


def test_a_case_that_says_nonsense_is_refused_and_the_others_are_not(data, tmp_path, capsys):
    write_case(data / "whole", 0, with_tumour(27), info={"in_part": ["=HYPERLINK", 99]})
    index = prepare(config_for(source(data)), RunPaths(tmp_path / "run"))
    assert list(index.refused) == ["mine_whole"] and "in_part must list" in index.refused["mine_whole"]
    assert "structures drawn in part, cases: tumour 1" in capsys.readouterr().out
    assert len(index.cases) == 3


def test_new_patients_of_a_case_are_drawn_in_part_as_it_is(data, tmp_path):
    out, config = tmp_path / "out", source(data, in_part={"tumour": ["mine_listed"]})
    for name, said in (("listed", ["tumour"]), ("told", ["tumour"]), ("whole", None)):
        wanted = NewPatientsConfig([f"mine/{name}"], count=1)
        draw_all(wanted, {"mine": config}, out, 1)
        made = names_of(wanted)
        info = read_info(out / made[0])
        assert info["patient"] == name and info.get("in_part") == said and info["labels_present"] == ["liver", "tumour"]
    before = (out / made[0] / "ct.nii.gz").stat().st_mtime_ns
    draw_all(NewPatientsConfig(["mine/whole"], count=1), {"mine": config}, out, 1)
    assert (out / made[0] / "ct.nii.gz").stat().st_mtime_ns == before
    draw_all(NewPatientsConfig(["mine/whole"], count=1), {"mine": source(data, in_part=["tumour"])}, out, 1)
    assert read_info(out / made[0])["in_part"] == ["tumour"]


def test_what_is_absent_cannot_be_there_in_part_of_any_case(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: a\nversion: '0'\nruns: r\noutput: o\n"
        "nets: {net: {spacing_zyx_mm: [3, 3, 3], patch_zyx: [16, 16, 16], filters: [4, 8, 8]}}\n"
        "fits: {final: {net: net, epochs: 1}}\npseudo: {tumour_fit: ''}\n"
        "sources: {own: {layout: cases, path: ., annotated: [tumour], in_part: {tumour: [a]}}}\n"
    )
    assert load_config(path).sources[0].in_part == {"tumour": ["a"]}
    with pytest.raises(UsageError, match="'own' has 'tumour' in_part, and annotated or absent as well"):
        load_config(path, ["sources.own.absent=[tumour]", "sources.own.annotated=[]"])
    with pytest.raises(UsageError, match="nonsense"):
        load_config(path, ["sources.own.in_part={nonsense: [a]}"])
