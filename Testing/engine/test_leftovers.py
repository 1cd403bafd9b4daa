"""What killed runs leave is removed by the next one; nothing else ever is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flareseg.errors import OutputError
from flareseg.io.atomic import atomic_folder, atomic_path, discard_unfinished
from flareseg.model.catalogue import list_models
from flareseg.system import leftovers
from flareseg.system.leftovers import aside_name, remove_leftovers, temporary_name
from flareseg.system.processes import UNKNOWN, process_began
from flareseg.system.temporary import folder_of_process, make_temporary_folder, temporary_folder

ENGINE = Path(__file__).resolve().parents[2] / "FlarePanCancer"
DIE = "\nos.kill(os.getpid(), signal.SIGKILL)" if sys.platform != "win32" else "\nos._exit(9)"


def killed(program, *arguments):
    """Run a program that is killed at its end; only its leftovers tell that it was there."""
    head = "import os, signal, sys\nfrom pathlib import Path\nfolder = Path(sys.argv[1])\n"
    environment = {**os.environ, "PYTHONPATH": str(ENGINE)}
    command = [sys.executable, "-c", head + program + DIE, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and not done.stderr, done.stderr


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_half_written_result_of_a_killed_run_goes_when_the_next_one_writes_there(tmp_path):
    killed(
        "from flareseg.io.atomic import atomic_path\n"
        "block = atomic_path(folder / 'a.seg.nrrd')\n"
        "block.__enter__().write_bytes(bytes(1000))",
        tmp_path,
    )
    [left] = names(tmp_path)
    assert left.startswith(".flareseg-") and left.endswith(".seg.nrrd")
    with atomic_path(tmp_path / "b.csv") as temporary:
        temporary.write_text("whole")
    assert names(tmp_path) == ["b.csv"]


def test_a_temporary_folder_of_a_killed_run_goes_when_the_next_one_needs_one(tmp_path):
    killed(
        "from flareseg.system.temporary import make_temporary_folder\n"
        "made = make_temporary_folder(folder)\n"
        "(made / 'cts').mkdir()\n"
        "(made / 'cts' / '0.nrrd').write_bytes(bytes(1000))",
        tmp_path,
    )
    [left] = names(tmp_path)
    with temporary_folder(tmp_path) as own:
        assert names(tmp_path) == [own.name] != [left]
    assert names(tmp_path) == []


def test_a_half_imported_model_of_a_killed_run_goes_when_models_are_listed(tmp_path, monkeypatch):
    monkeypatch.setenv("FLARESEG_DATA", str(tmp_path))
    killed(
        "from flareseg.io.atomic import atomic_folder\n"
        "block = atomic_folder(folder / 'mine')\n"
        "(block.__enter__() / 'weights.safetensors').write_bytes(bytes(1000))",
        tmp_path / "models",
    )
    assert len(names(tmp_path / "models")) == 1
    assert all(entry.origin == "embedded" for entry in list_models())
    assert names(tmp_path / "models") == []


def test_a_model_that_was_being_replaced_is_put_back(tmp_path):
    model = tmp_path / "mine"
    model.mkdir()
    (model / "model.json").write_text("old")
    killed(
        "from flareseg.io.atomic import atomic_folder\n"
        "rename = Path.rename\n"
        "def first_only(path, target):\n"
        "    rename(path, target)\n"
        f"    {DIE.strip()}\n"
        "Path.rename = first_only\n"
        "with atomic_folder(folder / 'mine', overwrite=True) as new:\n"
        "    (new / 'model.json').write_text('new')",
        tmp_path,
    )
    assert not model.exists() and len(names(tmp_path)) == 2
    with atomic_folder(tmp_path / "another"):
        pass
    assert names(tmp_path) == ["another", "mine"]
    assert (model / "model.json").read_text() == "old"


def test_what_was_set_aside_goes_where_something_has_taken_its_place(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    of_the_dead(monkeypatch)
    (tmp_path / aside_name("mine")).mkdir()
    monkeypatch.undo()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["mine"]


def of_the_dead(monkeypatch, pid=None, began=12345):
    """From here on, names are those of a process that has ended."""
    if pid is None:
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        pid = ended.pid
    owner = f"{leftovers._place()}-{pid}-{began}-0a1b2c3d"
    monkeypatch.setattr(leftovers, "_owner", lambda: owner)


def test_a_number_of_a_process_that_another_has_now_is_no_protection(tmp_path, monkeypatch):
    of_the_dead(monkeypatch, pid=os.getpid())
    (tmp_path / temporary_name(".nii.gz")).write_text("half")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == []


def test_what_the_system_does_not_tell_protects(tmp_path, monkeypatch):
    of_the_dead(monkeypatch, pid=os.getpid(), began=UNKNOWN)
    (tmp_path / temporary_name(".nii.gz")).write_text("half")
    remove_leftovers(tmp_path)
    assert len(names(tmp_path)) == 1
    monkeypatch.setattr(leftovers, "process_began", lambda pid: UNKNOWN)
    of_the_dead(monkeypatch)
    (tmp_path / temporary_name(".nrrd")).write_text("half")
    remove_leftovers(tmp_path)
    assert len(names(tmp_path)) == 2


def test_what_a_living_process_writes_stays(tmp_path):
    program = f"""
import sys
from pathlib import Path
from flareseg.io.atomic import atomic_path
with atomic_path(Path({str(tmp_path)!r}) / "a.nii.gz") as temporary:
    print(flush=True)
    sys.stdin.readline()
    temporary.write_text("whole")
"""
    environment = {**os.environ, "PYTHONPATH": str(ENGINE)}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        remove_leftovers(tmp_path)
        assert len(names(tmp_path)) == 1
        with atomic_path(tmp_path / "own.nii.gz"):
            remove_leftovers(tmp_path)
            assert len(names(tmp_path)) == 2
        other.communicate(b"\n")
    assert names(tmp_path) == ["a.nii.gz", "own.nii.gz"]


@pytest.mark.parametrize(
    "name",
    [
        ".flareseg-0123456789ab.nii.gz",
        "flareseg-notes.txt",
        ".flareseg-{place}-1-1.nii.gz",
        "flareseg-{place}-{dead}-1-0a1b2c3d-mine.nii.gz",
        "my.flareseg-{place}-{dead}-1-0a1b2c3d.nii.gz",
        ".flareseg-{place}-{dead}-1-0A1B2C3D.nii.gz",
        ".flareseg-ffffffff-{dead}-1-0a1b2c3d.nii.gz",  # another machine's
    ],
)
def test_files_of_other_names_stay(tmp_path, name):
    path = tmp_path / name.format(place=leftovers._place(), dead=2**22 + 7)
    path.write_text("somebody's")
    remove_leftovers(tmp_path)
    assert path.read_text() == "somebody's"


@pytest.mark.skipif(sys.platform == "win32", reason="users have no numbers there")
def test_files_of_another_user_stay(tmp_path, monkeypatch):
    of_the_dead(monkeypatch)
    path = tmp_path / temporary_name()
    path.write_text("another's")
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    remove_leftovers(tmp_path)
    assert path.exists()
    monkeypatch.setattr(os, "geteuid", lambda: mine)
    remove_leftovers(tmp_path)
    assert not path.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_is_neither_followed_nor_removed(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ct.nii.gz").write_text("a CT")
    (tmp_path / "out").mkdir()
    of_the_dead(monkeypatch)
    link = tmp_path / "out" / temporary_name()
    link.symlink_to(tmp_path / "data")
    folder = tmp_path / "out" / temporary_name(".x")
    folder.mkdir()
    (folder / "inside").symlink_to(tmp_path / "data")
    remove_leftovers(tmp_path / "out")
    assert link.is_symlink()
    assert not folder.exists()
    assert (tmp_path / "data" / "ct.nii.gz").read_text() == "a CT"


def test_folders_that_are_missing_or_files_are_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    remove_leftovers(tmp_path / "file")
    remove_leftovers(tmp_path / "missing")
    remove_leftovers(Path("\0"))
    assert names(tmp_path) == ["file"]


def test_names_tell_whose_they_are_and_are_new_each_time():
    assert temporary_name(".nii.gz") != temporary_name(".nii.gz")
    match = leftovers._is_ours(temporary_name(".seg.nrrd"))
    assert int(match["pid"]) == os.getpid()
    assert int(match["began"]) == process_began(os.getpid())
    assert leftovers._is_ours(temporary_name(hidden=False))
    assert leftovers._is_ours(aside_name("-was-"))["name"] == "-was-"
    assert len(os.fsencode(aside_name("ä" * 120))) <= 255


def test_an_ended_process_has_no_beginning():
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    process.stdout.read()
    process.stdout.close()
    process.wait()
    assert process_began(process.pid) is None
    assert process_began(0) is process_began(-1) is process_began(2**40) is None
    assert process_began(os.getpid()) not in (None, UNKNOWN)


@pytest.mark.skipif(shutil.which("ps") is None, reason="there is no ps")
def test_ps_tells_the_beginning_too():
    from flareseg.system.processes import _from_ps

    began = _from_ps(os.getpid())
    assert began not in (None, UNKNOWN)
    assert began == _from_ps(os.getpid()) != _from_ps(1)
    assert _from_ps(2**22 + 7) is None


def test_temporary_folders_go_with_the_process(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    program = "from flareseg.system.temporary import folder_of_process as f; print(f() == f() and f().is_dir()); {}"
    environment = {**os.environ, "PYTHONPATH": str(ENGINE), "TMPDIR": str(tmp_path), "TEMP": str(tmp_path)}
    for ending in ("", "from flareseg.io.atomic import discard_unfinished as d; import os; d(); os._exit(0)"):
        command = [sys.executable, "-u", "-c", program.format(ending)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
        assert names(tmp_path) == []
    made = make_temporary_folder(tmp_path)
    assert folder_of_process() != made
    discard_unfinished()
    assert not made.exists()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match=r"^The folder '.*file' cannot be written: [^\n]*\.$"),
        temporary_folder(tmp_path / "file"),
    ):
        pass
