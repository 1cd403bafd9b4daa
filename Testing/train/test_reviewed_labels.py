"""From the file that readers save to what a net is taught: what is right is a label, all else they judged unknown."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_run import GRID, LIVER, SPACING, SPLEEN, TUMOUR, small_run, truth_of, write_label_map

from flareseg.errors import InputError, UsageError
from flareseg.io.files import read_labels
from flareseg.labels import structures
from flareseg.results.cohort.summary import labels_digest
from train.__main__ import main
from train.config import PseudoConfig
from train.config_file import _check
from train.data.cache import labels_hash, load_cached
from train.data.index import IGNORE, CaseIndex
from train.pseudolabels.fusion import fuse_organs
from train.pseudolabels.pseudo_records import Records
from train.pseudolabels.reviews import judged, judged_organs
from train.stages.fuse import fuse
from train.stages.review import review
from train.training.fits import cases_of, job_of

ORGANS = [one.name for one in structures() if one.name != "tumour"]
PANCREAS = 4


@pytest.fixture
def run(tmp_path):
    """p2 has organs of the source and p3 of a net, which finds livers only; S_tum saw the tumours of both and of p1."""
    config, paths, index = small_run(tmp_path, pseudo=PseudoConfig(organ_model="tumor", device="cpu"))
    records = Records("tumour", config, paths)
    for number in (1, 2, 3):
        write_label_map(np.where(truth_of(number) == TUMOUR, TUMOUR, 0), paths.pseudo("tumour", f"mine_p{number}"))
        records.write(index.of(f"mine_p{number}"), {"structures": ["tumour"]})
    write_label_map(np.where(truth_of(3) == LIVER, LIVER, 0), paths.pseudo("organs", "mine_p3"))
    Records("organs", config, paths).write(index.of("mine_p3"), {"structures": ["liver"]})
    return config, paths, index


def entry(labels, case="p2", verdict=None, reviewer="A. Reader", time="2026-01-31T12:00:00.000Z", **said):
    digest = labels if isinstance(labels, str) else labels_digest(labels, GRID)
    shown = [one.name for one in structures()]
    drawn = () if isinstance(labels, str) else np.unique(labels)
    absent = [one.name for one in structures() if one.value not in drawn]
    return {
        "case": case, "labels_sha256": digest, "reviewer": reviewer, "time": time, "verdict": verdict,
        "structures": said, "shown": shown, "absent": absent,
    }  # fmt: skip


def saved(path, *entries):
    path.write_text(json.dumps({"flareseg_review": 1, "saved": "2026-01-31T12:00:00Z", "reviews": list(entries)}))
    return str(path)


def fused(paths, number):
    return read_labels(paths.fused(f"mine_p{number}"))[0]


def known(paths, number):
    cached = load_cached(paths.grid(SPACING) / f"mine_p{number}", "fused")
    return {one.name for one in structures() if cached.known[one.value]}


def test_a_review_of_organs_that_came_with_the_source_teaches_what_is_right(run, tmp_path):
    config, paths, index = run
    organs = read_labels(index.of("mine_p2").organs)[0]
    file = saved(tmp_path / "a.json", entry(organs, case="elsewhere", liver="right", spleen="wrong", stomach="unsure"))
    fuse(replace(config, reviews=[file]), paths, index)
    labels = fused(paths, 2)
    assert ((labels == LIVER) == ((organs == LIVER) & (truth_of(2) != TUMOUR))).all()
    assert (labels == SPLEEN).sum() == 0 and (labels[organs == SPLEEN] == IGNORE).all()
    assert not {"spleen", "stomach"} & known(paths, 2)
    assert {"liver", "pancreas", "tumour"} <= known(paths, 2)  # the pancreas as before: nobody judged it


def test_accepted_organs_leave_tumours_to_the_net_that_looks_for_them(run, tmp_path):
    config, paths, index = run
    organs = read_labels(index.of("mine_p2").organs)[0]  # without a tumour
    fuse(replace(config, reviews=[saved(tmp_path / "a.json", entry(organs, verdict="accept"))]), paths, index)
    assert ((fused(paths, 2) == TUMOUR) == (truth_of(2) == TUMOUR)).all()


def test_a_review_of_the_fused_labels_may_judge_tumours_too(run, tmp_path):
    config, paths, index = run
    fuse(config, paths, index)
    before = fused(paths, 2)
    file = saved(tmp_path / "a.json", entry(before, case="mine_p2", verdict="accept", tumour="wrong"))
    fuse(replace(config, reviews=[file]), paths, index)
    labels = fused(paths, 2)
    assert (before == TUMOUR).sum() > 0
    assert (labels[before == TUMOUR] == IGNORE).all()
    assert (labels[before != TUMOUR] == before[before != TUMOUR]).all()
    assert known(paths, 2) == set(ORGANS)
    fuse(replace(config, reviews=[file]), paths, index)  # it stays a review of these labels, though they changed
    assert (fused(paths, 2) == labels).all()


def test_a_changed_review_makes_its_case_stale_and_no_other(run, tmp_path):
    config, paths, index = run
    fuse(config, paths, index)
    first = fused(paths, 2)
    times = {n: paths.fused(f"mine_p{n}").stat().st_mtime_ns for n in range(4)}
    hashes = {n: labels_hash(paths.grid(SPACING) / f"mine_p{n}", "fused") for n in range(4)}
    config = replace(config, reviews=[saved(tmp_path / "a.json", entry(first, case="mine_p2", spleen="wrong"))])
    for _ in range(2):
        fuse(config, paths, index)
        changed = [n for n in range(4) if paths.fused(f"mine_p{n}").stat().st_mtime_ns != times[n]]
        assert changed == [2]
    [stamped] = [n for n in range(4) if labels_hash(paths.grid(SPACING) / f"mine_p{n}", "fused") != hashes[n]]
    assert stamped == 2  # and so every fit that was trained on them
    fuse(replace(config, reviews=[]), paths, index)
    assert (fused(paths, 2) == first).all() and "spleen" in known(paths, 2)


def test_a_review_of_other_labels_is_named_and_changes_nothing(run, tmp_path, capsys):
    config, paths, index = run
    fuse(config, paths, index)
    before = {n: fused(paths, n) for n in range(4)}
    other = before[2].copy()
    other[0, 0, 0] = LIVER
    reviews = [entry(other, verdict="reject"), entry("0" * 64, case="stranger", verdict="reject")]
    capsys.readouterr()
    fuse(replace(config, reviews=[saved(tmp_path / "a.json", *reviews)]), paths, index)
    told = capsys.readouterr().out
    assert "1 reviews are stale and do not count, for their cases have other labels now (p2)" in told
    assert "1 reviews are of no labels of this run (stranger)" in told
    assert "0 of 4 cases are reviewed" in told
    assert all((fused(paths, n) == before[n]).all() for n in range(4))


def test_where_readers_disagree_it_is_unknown(run, tmp_path):
    config, paths, index = run
    fuse(config, paths, index)
    labels = fused(paths, 2)
    files = [
        saved(tmp_path / "a.json", entry(labels, case="mine_p2", verdict="accept")),
        saved(tmp_path / "b.json", entry(labels, case="mine_p2", verdict="accept", reviewer="B", spleen="wrong")),
    ]
    fuse(replace(config, reviews=files), paths, index)
    assert "spleen" not in known(paths, 2) and "liver" in known(paths, 2)


def test_a_rejected_case_teaches_nothing_and_is_not_drawn_from(run, tmp_path):
    config, paths, index = run
    index = CaseIndex(index.split("train"))
    fuse(config, paths, index)
    names = {case.name for case in job_of(config, paths, index, "final").cases}
    config = replace(config, reviews=[saved(tmp_path / "a.json", entry(fused(paths, 2), "mine_p2", verdict="reject"))])
    fuse(config, paths, index)
    assert known(paths, 2) == set()
    job = job_of(config, paths, index, "final")
    assert names - {case.name for case in job.cases} == {"mine_p2"}
    assert sum(job.shares) == pytest.approx(1) and len(job.shares) == len(job.cases)


def test_what_is_judged_right_counts_as_labelled_where_a_fit_learns_fused_labels(run, tmp_path):
    config, paths, index = run
    fuse(config, paths, index)

    def cases(kind, labels="fused", **changes):
        fits = {**config.fits, "final": replace(config.fits["final"], cases=kind, labels=labels)}
        return {case.name for case in cases_of(replace(config, fits=fits, **changes), index, "final")}

    reviews = [entry(fused(paths, 2), "mine_p2", verdict="accept"), entry(fused(paths, 3), "mine_p3", liver="right")]
    files = [saved(tmp_path / "a.json", *reviews)]
    fuse(replace(config, reviews=files), paths, index)
    assert cases("labelled", reviews=files) - cases("labelled") == {"mine_p2", "mine_p3"}
    assert cases("tumour", reviews=files) - cases("tumour") == {"mine_p2"}
    assert cases("labelled", labels="truth", reviews=files) == cases("labelled", labels="truth")


def test_labels_without_a_voxel_are_known_by_the_name_as_well(run, tmp_path):
    config, paths, index = run
    nothing = np.zeros(GRID.shape_zyx, np.uint8)
    write_label_map(nothing, index.of("mine_p2").organs)
    reviews = saved(tmp_path / "a.json", entry(nothing, case="another", liver="wrong"))
    fuse(replace(config, reviews=[reviews]), paths, index)
    assert "liver" in known(paths, 2)
    reviews = saved(tmp_path / "a.json", entry(nothing, case="p2", liver="wrong"))
    fuse(replace(config, reviews=[reviews]), paths, index)
    assert "liver" not in known(paths, 2)


def test_what_annotators_drew_needs_no_review_of_pseudo_labels():
    truth, organs = (np.array(row, np.uint8).reshape(1, 1, -1) for row in ([0, 1, 0, 0, 255], [1, 3, 3, 14, 4]))
    said = {"liver": "wrong", "spleen": "right", "tumour": "right", "pancreas": "right"}
    drawn, annotated, rest, left = judged_organs(truth, [LIVER], organs, (1, 3, 4), said)
    assert drawn.ravel().tolist() == [0, 1, 3, 14, 255]  # drawn labels, and what is unknown to the annotator, stay
    assert sorted(annotated) == [1, 3, 4, 14] and left == (1, 3, 4)
    taught = fuse_organs(drawn, annotated, rest, left)
    assert taught.labels.ravel().tolist() == [0, 1, 3, 14, 255]
    again = judged(taught, {"liver": "unsure", "gallbladder": "right", "no_such_thing": "wrong"})
    assert again.labels.ravel().tolist() == [0, 255, 3, 14, 255]
    assert np.flatnonzero(again.known).tolist() == [0, 3, 4, 9, 14]


def test_a_damaged_file_stops_the_stage_and_a_missing_one_the_start(run, tmp_path):
    config, paths, index = run
    broken = entry(truth_of(2), verdict="accepted")
    with pytest.raises(InputError, match=r"a\.json' is damaged: review 1 of 1: the verdict 'accepted' is none of"):
        fuse(replace(config, reviews=[saved(tmp_path / "a.json", broken)]), paths, index)
    with pytest.raises(UsageError, match=r"There is no file of reviews '.*b\.json'"):
        _check(replace(config, reviews=[str(tmp_path / "b.json")]), with_data=True)


def test_the_command_needs_a_configuration_that_can_be_read(tmp_path, capsys):
    assert main(["review", "--config", str(tmp_path / "none.yaml"), "--count", "5"]) == 2
    assert "none.yaml' cannot be read" in capsys.readouterr().err


def test_the_page_shows_the_labels_as_they_would_be_fused_and_its_reviews_fit(run, tmp_path):
    pytest.importorskip("PIL", reason="the pictures need Pillow")
    config, paths, index = run
    page = review(config, paths, index)
    text = page.read_text(encoding="utf-8")
    shown = json.loads(text.split('id="facts">')[1].split("</script>")[0])["cases"]
    assert {one["name"] for one in shown} == {"mine_p0", "mine_p1", "mine_p2", "mine_p3"}
    [third] = [one for one in shown if one["name"] == "mine_p3"]
    assert set(third["structures"]) == {"liver", "tumour"}  # of the others nothing is known
    said = entry(third["labels"], "mine_p3", verdict="accept", tumour="wrong")
    said |= {"shown": list(third["structures"]), "absent": []}
    fuse(replace(config, reviews=[saved(tmp_path / "a.json", said)]), paths, index)
    assert known(paths, 3) == {"liver"} and (fused(paths, 3) == IGNORE).sum() == (truth_of(3) == TUMOUR).sum()
    before = page.stat().st_mtime_ns, {path: path.stat().st_mtime_ns for path in page.parent.glob("*/*.json")}
    review(config, paths, index, count=2)
    assert {path: path.stat().st_mtime_ns for path in page.parent.glob("*/*.json")} == before[1]
    assert page.read_text(encoding="utf-8").count('id="slices-') == 2
