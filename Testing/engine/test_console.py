"""The command line's voice: JSON lines for programs, and a prompt end at a signal."""

import io
import json
import os
import signal
import subprocess
import sys
import textwrap

from flareseg.commands.console import BarListener, JsonListener
from flareseg.io.files import write_volume
from flareseg.progress import STAGES, Progress
from flareseg.system.streams import print_line

ABANDONED = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from flareseg.system.interrupt import run_until_signal
    from flareseg.io.atomic import atomic_path

    def work(cancelled):
        with atomic_path(Path(sys.argv[1])) as temporary:
            temporary.write_text("half")
            print("started", flush=True)
            time.sleep(60)  # deaf to `cancelled`, as one long forward pass is

    sys.exit(run_until_signal(work))
    """
)


def test_json_listener_prints_one_object_per_event():
    stream = io.StringIO()
    listener = JsonListener(stream)
    listener.begin("Fall 3 (Müller)")
    listener.stage("read", 0.0)
    listener.stage("read", 1.0)
    listener.stage("network", 0.0)
    listener.message("The GPU ran out of memory.")
    listener.preview("coarse.nrrd")
    listener.done("out.nii.gz", [])
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["stage", "progress", "stage", "progress", "preview", "done"]
    assert all(event["case"] == "Fall 3 (Müller)" for event in events)
    assert events[1] == {
        "event": "progress",
        "case": "Fall 3 (Müller)",
        "stage": "read",
        "fraction": 1.0,
        "message": "Reading",
    }
    assert [event["output"] for event in events[-2:]] == ["coarse.nrrd", "out.nii.gz"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_grows_with_every_stage_and_ends_full():
    stream = Terminal()
    listener = BarListener(stream)
    listener.begin("patient")
    progress = Progress(listener)
    filled = []
    for name, stage in STAGES.items():
        with progress.stage(name):
            pass
        filled.append(listener._bar.n)
        assert stage.title in stream.getvalue()
    assert filled == sorted(filled)
    assert filled[-1] == 100 == round(100 * sum(stage.share for stage in STAGES.values()))


def test_text_that_the_stream_cannot_encode_is_escaped():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    print_line("Größe 肝臓", stream)
    assert raw.getvalue() == rb"Gr\xf6\xdfe \u809d\u81d3" + os.linesep.encode()


def test_a_signal_ends_deaf_work_and_leaves_no_partial_file(tmp_path):
    for number in (signal.SIGINT, signal.SIGTERM):
        command = [sys.executable, "-c", ABANDONED, str(tmp_path / "result.nii.gz")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "started\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert errors == "flareseg: Cancelled; no partial file was left.\n"
        assert list(tmp_path.iterdir()) == []


def test_what_was_left_out_and_how_a_ct_was_read_is_told_without_progress_too(
    segment_quickly, dicom_series, small_ct, tmp_path, capfd
):
    folder = dicom_series(tmp_path / "cts" / "p1", count=30)
    last = max(folder.iterdir())
    # so that its position is under a name that nobody knows
    last.write_bytes(last.read_bytes().replace(b"\x20\x00\x32\x00DS", b"\x20\x00\x31\x00DS"))
    write_volume(small_ct, tmp_path / "cts" / "p2" / "ct.nii.gz")
    write_volume(small_ct, tmp_path / "cts" / "p2" / "pet.nii.gz")
    assert segment_quickly(tmp_path / "cts", "-o", tmp_path / "out", progress="none") == 0
    lines = capfd.readouterr().err.splitlines()
    assert any("left out, as no CTs by their names: 'pet.nii.gz'" in line for line in lines)
    assert any(line.startswith("p1: ") and "left out" in line for line in lines)
