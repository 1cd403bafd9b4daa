"""The command in poor surroundings: streams closed or full, no home, little memory; and what is no file at all."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from flareseg.errors import InputError, ModelError, OutputError
from flareseg.io.atomic import check_destination, make_folder
from flareseg.io.files import read_labels, read_volume, write_volume
from flareseg.io.opening import check_kind
from flareseg.system import streams
from flareseg.system.failures import reported

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX's pipes, limits and accounts")


def shell(script: str, **variables: object) -> subprocess.CompletedProcess:
    """Run a shell's `script` in which $flareseg is the command."""
    env = os.environ | {"flareseg": f"{sys.executable} -m flareseg"} | {k: str(v) for k, v in variables.items()}
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, env=env, timeout=120)


def one_line(text: str) -> str:
    assert text.count("\n") == 1 and "Traceback" not in text, text
    return text


@posix
@pytest.mark.parametrize("closing", ["2>&-", ">&-", ">&- 2>&- <&-"])
def test_closed_streams_are_no_hindrance(tmp_path, closing):
    done = shell(f'$flareseg models info default {closing}; echo "status $?" >"$folder/status"', folder=tmp_path)
    assert (tmp_path / "status").read_text() == "status 0\n"
    assert "Traceback" not in done.stderr


@posix
def test_nothing_that_is_printed_gets_into_a_file_where_standard_error_is_closed(a_ct, a_model, tmp_path):
    ct = write_volume(a_ct, tmp_path / "ct.nii.gz")
    done = shell(
        '$flareseg segment "$ct" -o "$out" --model "$model" --backend torch --threads 1 2>&-',
        ct=ct,
        out=tmp_path / "o.nii.gz",
        model=a_model,
    )
    assert done.returncode == 0
    assert read_labels(tmp_path / "o.nii.gz")[0].shape == a_ct.hu.shape


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_at_standard_output_is_one_line():
    done = shell("$flareseg models list >/dev/full")
    assert done.returncode == 1
    assert "Standard output cannot be written" in one_line(done.stderr)
    assert shell("$flareseg segment nothing.nii.gz 2>/dev/full").returncode == 1


@posix
def test_a_reader_that_has_enough_is_no_failure():
    done = shell("($flareseg models info default; echo $? >&2) | true")
    assert done.stderr == "0\n"


@posix
def test_letters_that_the_terminal_lacks_are_no_failure():
    done = shell("LC_ALL=C PYTHONIOENCODING=ascii $flareseg segment 'Größe 肝臓.nii.gz'")
    assert done.returncode == 1 and "Gr" in one_line(done.stderr)


@posix
def test_little_memory_gives_results_or_one_line(a_ct, tmp_path):
    ct = write_volume(a_ct, tmp_path / "ct.nii.gz")
    done = shell(
        'ulimit -v 700000; $flareseg segment "$ct" -o "$out" --progress none', ct=ct, out=tmp_path / "o.nii.gz"
    )
    assert done.returncode == 1
    assert "memory" in one_line(done.stderr)


def test_a_stream_that_is_missing_is_no_failure(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    streams.tell("nobody hears")
    streams.print_line("nobody hears", None)


HOMELESS = """
import os, pwd, sys
for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "FLARESEG_DATA", "FLARESEG_CACHE", "USER", "LOGNAME"):
    os.environ.pop(name, None)
def nobody(uid):
    raise KeyError(uid)
pwd.getpwuid = nobody
from flareseg.cli import main
sys.exit(main(sys.argv[1:]))
"""


@posix
def test_a_current_folder_that_was_removed_is_one_line(tmp_path):
    gone = tmp_path / "gone"
    done = shell('mkdir "$gone"; cd "$gone"; rmdir "$gone"; $flareseg segment /nothing.nii.gz', gone=gone)
    assert done.returncode == 1 and "current folder has been removed" in one_line(done.stderr)


@posix
def test_an_account_without_home_or_name_segments_and_is_told_where_models_would_go(a_ct, a_model, tmp_path):
    ct = write_volume(a_ct, tmp_path / "ct.nii.gz")

    def run(*arguments: object) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", HOMELESS, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    assert (
        run("segment", ct, "-o", "o.nii.gz", "--model", a_model, "--backend", "torch", "--threads", 1).returncode == 0
    )
    assert (tmp_path / "o.nii.gz").exists()
    assert "FLARESEG_DATA" in run("models", "list").stdout
    for command, variable in ((("models", "import", a_model), "FLARESEG_DATA"), (("sample",), "FLARESEG_CACHE")):
        done = run(*command)
        assert done.returncode == 1 and variable in one_line(done.stderr)


@pytest.fixture(params=["pipe", "socket", "device"])
def special(request, tmp_path):
    """A path that ends like a CT, and is no file."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no such files")
    path = tmp_path / f"{request.param}.nii.gz"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "socket":
        import socket

        here = Path.cwd()
        os.chdir(tmp_path)  # whose own path may be longer than those of sockets
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path.name)
        os.chdir(here)
    else:
        path.symlink_to("/dev/zero")
    return path


def test_what_is_no_file_is_refused_unopened(special, tmp_path):
    from flareseg.cli import main
    from flareseg.interop.import_model import import_model

    kind = special.name.partition(".")[0].replace("pipe", "named pipe")
    for read in (read_volume, read_labels):
        with pytest.raises(InputError, match=f"is a {kind}"):
            read(special)
    with pytest.raises(ModelError, match=f"is a {kind}"):
        import_model(special)
    with pytest.raises(OutputError, match=f"is a {kind}"):
        check_destination(special, overwrite=True)
    for command in (["segment", special], ["evaluate", special, special], ["models", "info", special]):
        assert main([str(part) for part in command]) == 1
    assert not stat.S_ISREG(special.stat().st_mode)


def test_a_model_whose_files_are_none_is_refused_unopened(special, tmp_path):
    from flareseg.interop.nnunet.model_folder import is_nnunet
    from flareseg.model.bundle import load_bundle

    folder = tmp_path / "model"
    folder.mkdir()
    special.rename(folder / "model.json")
    with pytest.raises(ModelError, match="not a file"):
        load_bundle(folder)
    (folder / "model.json").rename(folder / "plans.json")
    assert not is_nnunet(folder)


def test_paths_that_cannot_be_are_one_short_line(tmp_path):
    for path in ("x" * 256 + ".nii.gz", "a/" * 3000 + "x.nii.gz", "none.nii.gz"):
        with pytest.raises(InputError) as refused:
            check_kind(Path(path))
        assert len(str(refused.value)) < 700 and "\n" not in str(refused.value)
    if hasattr(os, "symlink"):
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        with pytest.raises(InputError, match="cannot be read"):
            check_kind(tmp_path / "loop")


@posix
def test_results_may_lie_deeper_than_python_can_count(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    deep = Path("a/" * 1500)
    make_folder(deep)
    assert deep.is_dir()
    make_folder(deep)
    for _ in range(1500):  # pytest's own way of removing it would fail
        os.chdir("a")
    for _ in range(1500):
        os.chdir("..")
        os.rmdir("a")  # noqa: PTH106


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "needs more memory"),
        (OSError(12, "Cannot allocate memory"), "needs more memory"),
        (OSError(5, "Input/output error", "ct.nrrd"), "'ct.nrrd': Input/output error."),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
        (KeyError("PatientName"), "KeyError: 'PatientName'"),
        (ValueError("first\nsecond"), "ValueError: first)"),
        (InputError("'a' is empty."), "'a' is empty."),
        (AssertionError(), "(AssertionError)"),
    ],
)
def test_any_exception_is_one_line(error, words):
    text = reported(error, Path("a/ct.nii.gz"))
    assert words in text and "\n" not in text


@pytest.mark.parametrize(
    "wrong",
    [
        *(["--roi", value, "1", "2", "3", "4", "5"] for value in ("nan", "inf", "-inf", "1e400", "x")),
        *(["--threads", value] for value in ("100000", "0", "-1", "1.5", "nan", "9" * 5000)),
        *(["--step", value] for value in ("nan", "0", "1.1", "inf", "x")),
        *(["--gpu-memory", value] for value in ("nan", "0", "-1", "inf", "x")),
    ],
)
def test_numbers_that_cannot_be_are_one_line(wrong, capsys):
    from flareseg.cli import main

    with pytest.raises(SystemExit) as ended:
        main(["segment", "ct.nii.gz", *wrong])
    assert ended.value.code == 2
    text = one_line(capsys.readouterr().err)
    assert wrong[0] in text and len(text) < 300


def test_an_error_nobody_expected_is_one_line_without_debug(monkeypatch, capsys):
    from flareseg import cli

    def broken():
        raise KeyError("unforeseen")

    monkeypatch.setattr("flareseg.model.catalogue.list_models", broken)
    assert cli.main(["models", "list"]) == 1
    assert "KeyError" in one_line(capsys.readouterr().err)
    with pytest.raises(KeyError):
        cli.main(["--debug", "models", "list"])
