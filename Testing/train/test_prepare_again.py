"""Which cases validate, and what a second run of `prepare` makes again."""

import functools
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_data import SHAPE, SPACING, config_for, ct, liver, source, write_case

from flareseg.errors import OutputError, UsageError
from flareseg.io.files import write_volume
from flareseg.volume import Geometry, Orientation, Volume
from train.common import parallel
from train.config import PhantomConfig
from train.data import prepare_case as preparing
from train.data.cache import load_cached
from train.data.index import read_index
from train.data.splits import split_of
from train.stages.prepare import prepare

# splits


def test_a_configured_number_of_labelled_cases_validates(data, paths):
    index = prepare(config_for(source(data, validation=2)), paths)
    held_out = index.split("validation")
    assert len(held_out) == 2
    assert all(case.labels for case in held_out)


def test_named_cases_validate(data, paths):
    index = prepare(config_for(source(data, validation=["p1", "mine_p3"])), paths)
    assert {case.name for case in index.split("validation")} == {"mine_p1", "mine_p3"}
    with pytest.raises(UsageError, match="no labelled case 'p9'"):
        prepare(config_for(source(data, validation=["p9"])), paths)


def test_one_image_is_never_on_both_sides(data, paths, capsys, tmp_path):
    """Even if it comes from another source, in another orientation, under another name."""
    turned = Geometry(SHAPE, SPACING, direction=((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, -1.0)))
    twin = write_case(tmp_path / "other" / "twin", 0, liver(), geometry=turned)
    hu = np.ascontiguousarray(Orientation.of(turned).from_canonical(ct(1)))
    write_volume(Volume(hu, turned), twin / "ct.nii.gz", overwrite=True)
    write_case(tmp_path / "other" / "single", 20, liver())
    sources = source(data, validation=["p1"]), source(tmp_path / "other", name="other")
    index = prepare(config_for(*sources), paths)
    assert {case.name for case in index.split("validation")} == {"mine_p1", "other_twin"}
    assert "other_twin shows the image of mine_p1" in capsys.readouterr().out


def test_a_split_is_the_same_whatever_else_there_is():
    names = [f"case_{number}" for number in range(200)]
    share = split_of(names, 0.25, seed=1, source="a")
    assert 30 < len(share) < 70
    assert split_of([*names[::-1], "another", "one more"], 0.25, seed=1, source="a") - {"another", "one more"} == share
    assert split_of(names[:100], 0.25, seed=1, source="a") == share & set(names[:100])
    ten = split_of(names, 10, seed=1, source="a")
    assert len(ten) == 10
    assert len(ten & split_of([*names, "another"], 10, seed=1, source="a")) >= 9
    assert len(ten & split_of(names, 10, seed=2, source="a")) < 10


def test_validation_must_leave_something_to_learn_from():
    with pytest.raises(UsageError, match="3 labelled cases; 3 for validation"):
        split_of(["a", "b", "c"], 3, source="mine")
    assert split_of(["a", "b", "c"], 0) == set()


# resuming


def test_a_second_run_makes_nothing_again(data, paths, monkeypatch):
    first = prepare(config_for(source(data)), paths)

    def not_again(*_):
        raise AssertionError("made again")

    monkeypatch.setattr(preparing, "write_image", not_again)
    monkeypatch.setattr(preparing, "read_volume", not_again)
    assert prepare(config_for(source(data)), paths) == first


def test_only_the_case_that_changed_is_made_again(data, paths, monkeypatch):
    prepare(config_for(source(data)), paths)
    shutil.rmtree(paths.grid(SPACING) / "mine_p1")
    labels = liver()
    labels[:9] = 0
    write_case(data / "p3", 3, labels)
    made, write = [], preparing.write_image
    monkeypatch.setattr(
        preparing, "write_image", lambda folder, *rest: (made.append(folder.name), write(folder, *rest))
    )
    prepare(config_for(source(data)), paths)
    assert made == ["mine_p1", "mine_p3"]
    case = load_cached(paths.grid(SPACING) / "mine_p3", "truth")
    assert case.centres[1][:, 0].min() >= 9


def test_what_a_killed_run_left_is_made_whole(data, paths):
    prepare(config_for(source(data)), paths)
    (paths.grid(SPACING) / "mine_p1" / "labels_truth.json").unlink()
    paths.labels("mine_p2").with_name("mine_p2.json").write_text('{"stamp": ')
    paths.index.unlink()
    prepare(config_for(source(data)), paths)
    assert load_cached(paths.grid(SPACING) / "mine_p1", "truth").known[1]
    assert len(read_index(paths.index).cases) == 5


def test_a_full_disk_ends_the_run_and_refuses_no_case(data, paths, monkeypatch):
    def full(*_):
        raise OutputError("The cache cannot be written: No space left on device; make room and start again.")

    monkeypatch.setattr(preparing, "write_image", full)
    with pytest.raises(OutputError, match="No space left"):
        prepare(config_for(source(data)), paths)
    assert not paths.index.exists()


@pytest.mark.filterwarnings("ignore")
def test_processes_share_the_work_and_phantoms_are_a_source(data, paths):
    config = config_for(source(data), phantoms=PhantomConfig(2, 1, (8.0, 8.0, 8.0)), processes=2)
    index = prepare(config, paths)
    assert [case.name for case in index.cases] == [
        *(f"mine_p{number}" for number in range(5)), "phantoms_phantom_0", "phantoms_phantom_1",
        "phantoms_phantom_1000000",
    ]  # fmt: skip
    assert [case.name for case in index.split("validation")] == ["phantoms_phantom_1000000"]
    assert "tumour" in index.of("phantoms_phantom_0").annotated


def test_a_process_that_is_killed_is_told_in_one_line(data, paths, monkeypatch):
    monkeypatch.setattr(parallel, "_begin_worker", functools.partial(os._exit, 9))
    with pytest.raises(OutputError, match=r"was killed.*fewer processes"):
        prepare(config_for(source(data), processes=2), paths)


def test_files_of_an_earlier_version_are_still_read(data, paths, monkeypatch):
    first = prepare(config_for(source(data)), paths)
    for path in (paths.index, *paths.labels("c0").parent.glob("*.json")):
        path.write_text(
            path.read_text().replace('"annotated": [', '"covered": [').replace('"annotated": "', '"covered": "')
        )
    assert '"covered"' in paths.index.read_text() and read_index(paths.index) == first
    monkeypatch.setattr(preparing, "write_image", lambda *_: pytest.fail("made again"))
    assert prepare(config_for(source(data)), paths) == first
