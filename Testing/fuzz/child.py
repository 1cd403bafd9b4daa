"""The process that reads inputs: it lives on over many of them, within bounds of memory and time, and judges each.

Reads lines "KIND NUMBER" from its input and answers each by a line of JSON. The work is done by a fork of it, so that
the next one is there at once when an input was the end of the last.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import stat
import sys
import time
import traceback
from pathlib import Path
from typing import IO, Any, NoReturn

from inputs import make_input, seeds_of
from targets import TARGETS, one_line
from tree import deep_recursion, remove

GOOD = ("result", "refused")
OURS = (NameError, AttributeError, AssertionError, TypeError, KeyError, IndexError, ArithmeticError)
"""What is rather a mistake of the program than of a file, though the user is told that the file is damaged."""
MOST_BYTES = 2**31


def main() -> None:
    scratch, kinds, seconds, out = Path(sys.argv[1]), sys.argv[2].split(","), float(sys.argv[3]), Path(sys.argv[4])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    said = os.open(scratch / "said", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    _use_folders(scratch)
    for kind in kinds:
        for number in range(len(seeds_of(kind))):
            _judged(scratch, kind, number, said, seconds)  # what is imported once is not counted
    gc.collect()
    gc.freeze()
    _tell(answers, {})
    while True:
        worker = os.fork()
        if worker == 0:
            _serve(scratch, seconds, said, answers, out)
        _, status = os.waitpid(worker, 0)
        if status == 0:
            remove(scratch)  # whoever asked may have been killed
            return
        kind, number, changes = json.loads((scratch / "which").read_text())
        _clear(scratch)
        _keep(out, kind, number)
        _tell(answers, _death(status, seconds) | {"said": _said(said), "changes": changes})


def _serve(scratch: Path, seconds: float, said: int, answers: IO[str], out: Path) -> NoReturn:
    _bound_memory()
    for line in sys.stdin:
        kind, number = line.split()
        verdict = _judged(scratch, kind, int(number), said, seconds)
        if verdict["verdict"] not in GOOD:
            _keep(out, kind, int(number))
        _tell(answers, verdict)
    os._exit(0)


def _keep(out: Path, kind: str, number: int) -> None:
    """Write an input that failed, to look at."""
    folder = out / f"{kind}-{number}" / "input"
    remove(folder)
    make_input(kind, number).write(folder)


def _death(status: int, seconds: float) -> dict[str, Any]:
    number = os.waitstatus_to_exitcode(status)
    if number == -signal.SIGALRM:
        return {"verdict": "time", "message": f"not done after {seconds:g} s", "seconds": seconds, "peak_mb": 0}
    told = f"signal {signal.Signals(-number).name}" if number < 0 else f"exit status {number}"
    return {"verdict": "death", "message": told, "seconds": 0.0, "peak_mb": 0}


def _tell(answers: IO[str], what: dict[str, Any]) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


def _use_folders(scratch: Path) -> None:
    """Where the engine may leave something, and must not."""
    for variable, name in (
        ("HOME", "home"),
        ("TMPDIR", "temporary"),
        ("FLARESEG_DATA", "data"),
        ("FLARESEG_CACHE", "cache"),
    ):
        (scratch / name).mkdir(exist_ok=True)
        os.environ[variable] = str(scratch / name)
    import tempfile

    tempfile.tempdir = None
    os.chdir(scratch / "home")


def _bound_memory() -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * os.sysconf("SC_PAGE_SIZE") + MOST_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _judged(scratch: Path, kind: str, number: int, said: int, seconds_at_most: float) -> dict[str, Any]:
    """What became of an input: "result", "refused", or what must never be."""
    folder = scratch / "input"
    tree = make_input(kind, number)
    (scratch / "which").write_text(json.dumps([kind, number, tree.changes]))
    path = tree.write(folder)
    before = _listing(folder)
    os.ftruncate(said, 0)
    os.lseek(said, 0, os.SEEK_SET)
    base_kb = _reset_peak()
    started = time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, seconds_at_most)  # which ends the process, whatever that is doing
    verdict, message, hidden = _called(kind, path)
    signal.setitimer(signal.ITIMER_REAL, 0)
    seconds = time.perf_counter() - started
    peak_kb = _status("VmHWM") - base_kb
    gc.collect()
    if verdict == "refused" and number < len(seeds_of(kind)):
        verdict = "seed refused"
    if verdict in GOOD:
        for name, found in (
            ("open file", sorted(_open_within(scratch))),
            ("stray file", _left(scratch)),
            ("input changed", sorted(before ^ _listing(folder))),
            ("traceback", [text for text in [_said(said)] if "Traceback" in text]),
        ):
            if found:
                verdict, message = name, f"{found[:3]} after {verdict}: {message}"
        if peak_kb * 1024 > MOST_BYTES:
            verdict, message = "memory", f"{peak_kb / 2**20:.1f} GB after {verdict}: {message}"
    _clear(scratch)
    return {
        "verdict": verdict,
        "message": message,
        "hidden": hidden,
        "seconds": seconds,
        "peak_mb": peak_kb // 1024,
        "said": _said(said),
        "changes": tree.changes,
    }


def _called(kind: str, path: Path) -> tuple[str, str, str]:
    """The verdict, the message, and the exception that a refusal hides, where that is none of a damaged file."""
    from flareseg.errors import FlareError

    try:
        return "result", TARGETS[kind](path), ""
    except FlareError as error:
        message, cause = str(error), error.__cause__
        hidden = _where(cause) if isinstance(cause, OURS) else ""
        return ("refused" if message and one_line(message) else "many lines"), message, hidden
    except BaseException as error:
        return "exception", f"{_where(error)}: {str(error)[:300]}", ""


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "flareseg" in frame.filename] or frames
    return f"{type(error).__name__} in {Path(own[-1].filename).name}:{own[-1].lineno} {own[-1].name}"


def _open_within(scratch: Path) -> set[str]:
    """Files of the input, or temporary ones, that this process still has open or mapped."""
    found = set()
    with contextlib.suppress(OSError):
        for link in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                found.add(str(link.readlink()))
        for line in Path("/proc/self/maps").read_text(errors="replace").splitlines():
            found.add(line.partition("/")[1] + line.partition("/")[2])
    own = tuple(str(scratch / name) for name in ("input", "temporary", "data"))
    # One that an earlier input left open is gone by now, and was told then.
    return {path for path in found if path.startswith(own) and not path.endswith(" (deleted)")}


def _left(scratch: Path) -> list[str]:
    places = [scratch / name for name in ("temporary", "data", "cache", "home")]
    return [str(file.relative_to(scratch)) for place in places for file in place.rglob("*") if file != place / "models"]


def _listing(folder: Path) -> set[tuple[str, int, int]]:
    found = set()
    with deep_recursion():
        for place, folders, files in os.walk(folder):
            for name in (*folders, *files):
                path = f"{place}{os.sep}{name}"
                with contextlib.suppress(OSError):
                    about = os.lstat(path)
                    found.add((path, about.st_mode, about.st_size if stat.S_ISREG(about.st_mode) else 0))
    return found


def _clear(scratch: Path) -> None:
    remove(scratch / "input")
    for name in ("temporary", "data", "cache", "home"):
        for path in (scratch / name).iterdir():
            if path.is_dir() and not path.is_symlink():
                remove(path)
            else:
                path.unlink(missing_ok=True)


def _said(said: int) -> str:
    """What was written to the standard streams meanwhile, by native libraries too."""
    os.lseek(said, 0, os.SEEK_SET)
    return os.read(said, 4000).decode("utf-8", "replace")


def _reset_peak() -> int:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    """A number of kilobytes that Linux tells of this process; 0 elsewhere."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1])
    return 0


if __name__ == "__main__":
    main()
