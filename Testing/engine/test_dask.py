"""`--scheduler`: the workers of a Dask cluster do the cases; one of two is killed in the middle."""

import csv
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from quick_workers import NOTES, UnluckySegmenter, install, times_segmented

from flareseg.cases.manifest import NAME
from flareseg.cli import main
from flareseg.commands.dask_crew import DaskCrew
from flareseg.commands.segment_request import SegmentRequest
from flareseg.errors import Cancelled
from flareseg.io.files import write_volume
from flareseg.options import Options

distributed = pytest.importorskip("distributed", reason="Dask is not installed")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")


class _Quick(distributed.WorkerPlugin):
    """Every worker, also one that replaces a dead one, has the quick model."""

    def setup(self, worker):
        install()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    notes = tmp_path_factory.mktemp("notes")
    before = os.environ.get(NOTES)
    os.environ[NOTES] = str(notes)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        client.register_plugin(_Quick())
        yield cluster, client, notes
    os.environ.pop(NOTES)
    if before is not None:
        os.environ[NOTES] = before


def arguments(folder: Path, model: Path, *more: object) -> list[str]:
    words = ["segment", folder / "cts", "-o", folder / "out", "--model", model, "--skip-existing", *more]
    return [*map(str, words), "--progress", "none"]


def test_a_worker_that_is_killed_in_the_middle_costs_nothing(cluster, small_ct, a_model, tmp_path, monkeypatch):
    the_cluster, client, notes = cluster
    names = [f"slow{number:02}" for number in range(12)]
    for name in names:
        write_volume(small_ct, tmp_path / "cts" / f"{name}.nii.gz")
    pids = list(client.run(os.getpid).values())

    def kill() -> None:
        until = time.monotonic() + 120
        while len(list((tmp_path / "out").glob("slow*.nii.gz"))) < 2 and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(pids[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    where = ("--scheduler", the_cluster.scheduler_address, "--measurements", tmp_path / "m.csv")
    assert main(arguments(tmp_path, a_model, *where)) == 0
    killer.join()
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".flareseg-")) == [
        NAME,
        *(f"{name}.nii.gz" for name in names),
    ]
    lines = [json.loads(line) for line in (out / NAME).read_text().splitlines()]
    assert sorted(line["case"] for line in lines if line["status"] == "done") == names
    with (tmp_path / "m.csv").open(newline="") as file:
        assert list(dict.fromkeys(row["case"] for row in csv.DictReader(file))) == names
    # Those at work in the one that was killed were begun again, no others.
    assert sum(times_segmented(notes, name) for name in names) <= len(names) + 2

    monkeypatch.setattr("flareseg.segmenter.Segmenter", UnluckySegmenter)
    monkeypatch.chdir(tmp_path)
    assert main(["segment", "cts/slow03.nii.gz", "-o", "alone", "--model", str(a_model), "--progress", "none"]) == 0
    assert (tmp_path / "alone" / "slow03.nii.gz").read_bytes() == (out / "slow03.nii.gz").read_bytes()


def test_errors_come_back_one_line_each_and_a_second_run_does_nothing(cluster, small_ct, a_model, tmp_path, capsys):
    the_cluster, _, notes = cluster
    write_volume(small_ct, tmp_path / "cts" / "good.nii.gz")
    (tmp_path / "cts" / "bad.nii.gz").write_bytes(b"no CT")
    for _ in range(2):
        assert main(arguments(tmp_path, a_model, "--scheduler", the_cluster.scheduler_address)) == 1
        text = capsys.readouterr().err
        assert text.count("\n") == 1 and "bad.nii.gz" in text
    assert times_segmented(notes, "good") == 1


def test_ctrl_c_takes_back_what_is_not_begun(cluster, small_ct, a_model, tmp_path):
    the_cluster, client, notes = cluster
    names = [f"slow_c{number:02}" for number in range(12)]
    for name in names:
        write_volume(small_ct, tmp_path / "cts" / f"{name}.nii.gz")
    from flareseg.cases.find import find_cases, with_outputs
    from flareseg.commands.batch import Batch
    from flareseg.commands.console import SilentListener
    from flareseg.commands.many import Many

    many = Many(scheduler=the_cluster.scheduler_address)
    request = SegmentRequest(str(a_model), Options(), skip_existing=True, many=many)
    cases = with_outputs(find_cases([tmp_path / "cts"]).cases, [tmp_path / "out"], ".nii.gz")
    with pytest.raises(Cancelled):
        Batch(request, SilentListener(), lambda: bool(list(notes.glob("slow_c*")))).run(cases)
    until = time.monotonic() + 120
    while any(client.processing().values()) and time.monotonic() < until:
        time.sleep(0.1)
    begun = -1
    while begun != (now := sum(times_segmented(notes, name) for name in names)) and time.monotonic() < until:
        begun = now  # what was begun as the request came may say so late
        time.sleep(2)
    assert begun < len(names)


def test_a_scheduler_that_is_not_there_is_one_line(a_model, small_ct, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("flareseg.commands.dask_crew.ANSWER_WITHIN_S", 1)
    for name in ("a", "b"):
        write_volume(small_ct, tmp_path / "cts" / f"{name}.nii.gz")
    for address in ("tcp://127.0.0.1:1", "nonsense://", "=1+1"):
        assert main(arguments(tmp_path, a_model, "--scheduler", address)) == 1
        text = capsys.readouterr().err
        assert "No Dask scheduler answers" in text and text.count("\n") == 1


def test_without_dask_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(Exception, match=r"pip install 'flareseg\[dask\]'"):
        DaskCrew(SegmentRequest("default", Options()), "tcp://x:1", lambda: False)
