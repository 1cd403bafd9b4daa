"""Reading in a process of its own: whatever becomes of that process costs one case and gives one line."""

import os
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bad_readers import BAD, BOOT_BAD, named, with_main

from flareseg.errors import Cancelled, InputError, UsageError
from flareseg.io.files import read_volume, write_volume
from flareseg.reading.limits import Limits, input_bytes
from flareseg.reading.reader import CaseReader
from flareseg.system.children import python_executable
from flareseg.volume import Geometry, Volume


@pytest.fixture
def ct_file(a_ct, tmp_path) -> Path:
    return write_volume(a_ct, tmp_path / "patient.nii.gz")


QUICK = Limits(base_s=0.6, s_per_mib=0, base_bytes=2**27)


@pytest.fixture
def bad_reader():
    with CaseReader(boot=BOOT_BAD) as made:
        yield made


def test_a_ct_comes_as_it_is_read_here(ct_file):
    here = read_volume(ct_file)
    with CaseReader() as one:
        there = one.read(ct_file)
    assert np.array_equal(there.hu, here.hu) and there.hu.dtype == here.hu.dtype
    assert (there.geometry, there.name, there.notes) == (here.geometry, here.name, here.notes)
    there.hu[0, 0, 0] = 7  # ours alone, to be changed as any array


def test_one_process_reads_all_cases_and_ends_with_the_reader(ct_file, a_ct):
    half = Volume(a_ct.hu[:12].astype(np.float32) + 0.5, Geometry((12, 60, 80), (5.0, 3.0, 3.0)))
    second = write_volume(half, ct_file.with_name("b.nrrd"))
    with CaseReader() as one:
        first = one.read(ct_file)
        pid = one.pid
        one.ahead(second)
        other = one.read(second)
        assert one.pid == pid and psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)
    assert first.hu.shape == (24, 60, 80)  # its memory outlives the process
    assert other.hu.dtype == np.float32 and other.hu.max() == a_ct.hu[:12].max() + 0.5


LOOKING = """
from flareseg.reading.worker import main, read
def look(request):
    volume = read(request)
    assert not {"torch", "openvino", "monai", "scipy"} & set(sys.modules), "slow imports"
    return volume
main(int(sys.argv[1]), look)
"""


def test_the_reading_process_loads_no_network(ct_file):
    with CaseReader(boot=with_main(LOOKING)) as one:
        assert one.read(ct_file).name == "patient"


def test_errors_of_a_file_are_told_as_they_are_here(tmp_path, ct_file):
    (tmp_path / "bad.nii.gz").write_bytes(b"no CT at all")
    with pytest.raises(InputError) as here:
        read_volume(tmp_path / "bad.nii.gz")
    with CaseReader() as one:
        with pytest.raises(InputError) as there:
            one.read(tmp_path / "bad.nii.gz")
        with pytest.raises(UsageError, match="--series"):
            one.read(ct_file, series="3")
        assert one.read(ct_file).name == "patient"
    assert str(there.value) == str(here.value)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("abort", "SIGABRT"),
        ("segfault", "SIGSEGV"),
        ("exit", "status 3"),
        ("killed", "memory runs out"),
        ("recursion", "nested too deeply"),
        ("key", "KeyError"),
        ("system", "SystemExit"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_a_case_that_ends_the_process_is_one_line_and_the_next_one_is_read(ct_file, bad_reader, how, words):
    with pytest.raises(InputError) as told:
        bad_reader.read(named(ct_file, how))
    assert words in str(told.value) and f"{how}.nii.gz" in str(told.value) and "\n" not in str(told.value)
    assert bad_reader.read(ct_file).name == "patient"


@pytest.mark.parametrize("how", ["hang", "stuck"])
@pytest.mark.skipif(sys.platform == "win32", reason="`sleep` is C's of POSIX")
def test_a_case_that_hangs_is_ended_in_time(ct_file, how):
    one = CaseReader(boot=BOOT_BAD, limits=QUICK)
    with one, pytest.raises(InputError, match="could not be read within 1 s"):
        one.read(named(ct_file, how))
    assert one.pid is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds allocations")
def test_memory_beyond_the_bound_is_refused_and_the_process_lives_on(ct_file):
    with CaseReader(boot=BOOT_BAD, limits=Limits(base_bytes=2**27)) as one:
        one.read(ct_file)
        pid = one.pid
        with pytest.raises(InputError, match="needs more memory than this machine has free"):
            one.read(named(ct_file, "allocates"))
        assert one.read(ct_file).name == "patient" and one.pid == pid


def test_where_allocations_are_not_bound_the_process_is_watched(ct_file):
    unbound = "from flareseg.reading import worker\nworker._bound_memory = id\n"
    lasting = BAD.replace("np.ones(2**29, np.uint8))", "np.ones(2**29, np.uint8)); time.sleep(60)")
    one = CaseReader(boot=with_main(unbound + lasting), limits=Limits(base_bytes=200 * 2**20))
    with one, pytest.raises(InputError, match=r"more than 0\.2 GB"):
        one.read(named(ct_file, "allocates"))


def test_what_a_library_prints_does_not_disturb(ct_file, bad_reader, capfd):
    assert bad_reader.read(named(ct_file, "talks")).name == "talks"
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_a_cancel_is_heard_while_a_file_hangs(ct_file, bad_reader):
    answers = iter([False, False, True])
    with pytest.raises(Cancelled):
        bad_reader.read(named(ct_file, "hang"), cancelled=lambda: next(answers))


def test_a_process_that_was_killed_between_two_cases_is_replaced(ct_file):
    with CaseReader() as one:
        one.read(ct_file)
        first = psutil.Process(one.pid)
        first.kill()
        first.wait(10)
        assert one.read(ct_file).name == "patient"


def test_what_was_read_ahead_and_is_not_wanted_costs_nothing(ct_file, bad_reader):
    bad_reader.read(ct_file)
    bad_reader.ahead(named(ct_file, "hang"))
    assert bad_reader.read(ct_file).name == "patient"


@pytest.mark.parametrize("boot", ["raise SystemExit(1)", "import nothing_of_that_name", "import os; os.abort()"])
def test_where_no_process_works_the_case_is_read_here(ct_file, boot):
    with CaseReader(boot=boot) as one:
        assert one.read(ct_file).name == "patient"


def test_a_program_that_only_embeds_python_is_not_started_as_one(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/opt/Slicer/bin/SlicerApp-real")
    assert python_executable() is None
    monkeypatch.setattr(sys, "executable", "/opt/Slicer/bin/python-real")
    assert python_executable() == "/opt/Slicer/bin/python-real"


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts descriptors in /proc")
def test_nothing_is_left_behind_by_many_cases(ct_file):
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    shared = set(os.listdir("/dev/shm"))  # noqa: PTH208
    with CaseReader() as one:
        for _ in range(5):
            one.read(ct_file)
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # noqa: PTH208
    assert not {name for name in set(os.listdir("/dev/shm")) - shared if "flareseg" in name}  # noqa: PTH208


def test_an_array_that_cannot_be_shared_is_sent(ct_file):
    unshared = "def none(*_):\n    raise OSError\nfrom flareseg.reading import shared\n"
    unshared += "shared._nameless_file = shared._mapping = none\n"
    with CaseReader(boot=with_main(unshared + BAD)) as one:
        there = one.read(ct_file)
    assert np.array_equal(there.hu, read_volume(ct_file).hu)
    there.hu[0, 0, 0] = 7


def test_limits_grow_with_the_input_and_never_exceed_what_is_free(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.dcm").write_bytes(bytes(1000))
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "b.raw").write_bytes(bytes(5000))
    (tmp_path / "b.mhd").write_bytes(bytes(10))
    assert input_bytes(tmp_path / "a") == 1000 + 5010 + 1000
    assert input_bytes(tmp_path / "b.mhd") == 5010
    monkeypatch.setattr("flareseg.reading.limits.free_memory", lambda: 10 * 2**30)
    assert Limits().memory(2**20) < Limits().memory(2**24) < 9.1 * 2**30
    assert Limits().memory(2**40) == int(0.9 * 10 * 2**30)
    assert Limits().seconds(0) == 120 < Limits().seconds(2**30)
