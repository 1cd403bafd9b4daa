"""Several launches divide the cases of a stage: what each did stays, the last one finishes, a dead one is no loss."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))

from small_data import config_for, patients, source
from small_run import small_run

from flareseg.errors import InputError, UsageError
from train.__main__ import main
from train.common.distributed import shard_named
from train.common.paths import RunPaths
from train.config import PhantomConfig, PseudoConfig
from train.data.index import write_index
from train.pipeline import Run
from train.stages.evaluate import evaluate
from train.stages.prepare import prepare


def shards(config, stage, *names):
    for name in names:
        Run(config, shard_named(name)).stage(stage)


def names_of(folder, ending=".nii.gz"):
    return sorted(path.name.removesuffix(ending) for path in folder.glob(f"*{ending}"))


@pytest.fixture
def unprepared(tmp_path):
    """Five cases, of which one cannot be read."""
    data = patients(tmp_path / "data")
    (data / "p3" / "ct.nii.gz").write_bytes(b"nothing")
    return config_for(source(data), runs=tmp_path / "run")


def test_three_shards_prepare_what_one_run_does(unprepared, tmp_path, capsys):
    paths = RunPaths(unprepared.runs)
    shards(unprepared, "prepare", "1/3")
    assert not paths.index.exists()
    # the cases are p0, p1, p2, p3 and p4; the first shard has done p0 and p3, which is refused
    said = "the share 1/3 is done; cases left to others: 3, the first is 'mine_p1'"
    assert said in capsys.readouterr().out
    shards(unprepared, "prepare", "3/3", "2/3")
    found = [json.loads(paths.index.read_text())]
    alone = RunPaths(tmp_path / "alone")
    prepare(unprepared, alone)
    found.append(json.loads(alone.index.read_text()))
    assert found[0] == found[1] and list(found[0]["refused"]) == ["mine_p3"]
    assert paths.statistics.read_text() == alone.statistics.read_text()
    assert paths.sources.read_text() == alone.sources.read_text()


def test_what_a_dead_shard_left_is_done_by_a_run_without_shards(unprepared):
    paths = RunPaths(unprepared.runs)
    shards(unprepared, "prepare", "1/3", "3/3")  # the second died
    before = {path: path.stat().st_mtime_ns for path in (paths.root / "cache").rglob("hu.b2nd")}
    Run(unprepared).stage("prepare")
    assert len(json.loads(paths.index.read_text())["cases"]) == 4
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_case_that_is_repaired_meanwhile_is_no_longer_refused(unprepared, tmp_path):
    shards(unprepared, "prepare", "1/3")
    ct = tmp_path / "data" / "p3" / "ct.nii.gz"
    ct.write_bytes((tmp_path / "data" / "p2" / "ct.nii.gz").read_bytes())
    shards(unprepared, "prepare", "2/3", "3/3")
    paths = RunPaths(unprepared.runs)
    assert not paths.index.exists()  # the first shard has to look at it again
    shards(unprepared, "prepare", "1/3")
    assert len(json.loads(paths.index.read_text())["cases"]) == 5


def test_phantoms_are_drawn_by_one_task(unprepared):
    config = replace(unprepared, phantoms=PhantomConfig(2, 1))
    with pytest.raises(UsageError, match=r"drawn by one task.*without --shard"):
        shards(config, "prepare", "1/2")


def test_shards_label_fuse_and_score_what_one_run_does(tmp_path, capsys):
    config, paths, index = small_run(tmp_path, pseudo=PseudoConfig(device="cpu"))
    folder = paths.pseudo("tumour", "x").parent
    shards(config, "pseudolabel", "1/2")
    assert names_of(folder) == ["mine_p1", "mine_p3"]
    assert "cases left to others: 1, the first is 'mine_p2'" in capsys.readouterr().out
    with pytest.raises(InputError, match="1 of 3 cases lack tumour pseudo-labels"):
        shards(config, "fuse", "1/2")
    shards(config, "pseudolabel", "2/2")
    shards(config, "fuse", "1/2")
    assert names_of(paths.fused("x").parent) == ["mine_p0", "mine_p2"] and not paths.fusion_report.exists()
    shards(config, "fuse", "2/2")
    assert paths.fusion_report.read_text().count("mine_p") > 4
    assert all(f"\nmine_p{number}," in paths.fusion_report.read_text() for number in range(4))

    index = replace(index, cases=tuple(replace(one, split="validation") if one.labels else one for one in index.cases))
    write_index(index, paths.index)
    shards(config, "evaluate", "2/2")
    assert not (paths.scores / "scores.json").exists()
    assert [path.name for path in paths.model("x").parent.iterdir()] == ["tumor"]  # the copy of the shard is gone
    shards(config, "evaluate", "1/2")
    divided = json.loads((paths.scores / "scores.json").read_text())
    assert {row["case"] for row in divided} == {"mine_p0", "mine_p1", "mine_p4"}
    evaluate(config, paths, index)
    assert json.loads((paths.scores / "scores.json").read_text()) == divided


def test_the_command_line_takes_shards_where_there_are_some(unprepared, tmp_path, monkeypatch, capsys):
    tables = {
        "name": "test", "version": "0", "runs": str(tmp_path / "run"), "output": str(tmp_path / "model"),
        "processes": 1, "sources": {"mine": {"layout": "cases", "path": str(tmp_path / "data")}},
        "nets": {
            "net": {
                "spacing_zyx_mm": [6.0] * 3, "patch_zyx": [16] * 3, "filters": [4, 8, 8], "segments": ["liver"],
            }
        },
        "fits": {"final": {"net": "net", "epochs": 1}}, "pseudo": {"tumour_fit": ""},
    }  # fmt: skip
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(tables))
    call = ["prepare", "--config", str(path)]
    assert main([*call, "--shard", "2/2"]) == 0
    assert "the share 2/2 is done; cases left to others: 3" in capsys.readouterr().out
    assert main([*call, "--shard", "3/2"]) == 2
    assert capsys.readouterr().err == "'3/2' is no share of the cases; name the third of 32 as --shard 3/32.\n"
    for name, value in {"ID": "7", "COUNT": "2", "MIN": "7", "STEP": "1"}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    assert main(call) == 0
    assert (tmp_path / "run" / "index.json").exists()
    with pytest.raises(SystemExit):
        main(["final", "--config", str(path), "--shard", "1/2"])
    assert "unrecognized arguments: --shard" in capsys.readouterr().err
