"""What the benchmarks share: fresh processes held to some cores, peak memory, the machine's class, tables."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results"
sys.path.insert(0, str(ROOT))  # `train` is not installed: it runs from the checkout
DEFAULT_MODEL = ROOT / "FlarePanCancer" / "flareseg" / "models" / "default"
PACKAGES = (
    "flareseg",
    "torch",
    "monai",
    "openvino",
    "llvmlite",
    "SimpleITK",
    "numpy",
    "scipy",
    "connected-components-3d",
    "nnunetv2",
)
# The instructions that decide how fast a convolution runs here, as Linux names them.
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")
GIB = 2**30
LOOK_EVERY_S = 0.2


def run_fresh(python: Path, script: str, order: dict[str, Any], threads: int, **environment: str) -> dict[str, Any]:
    """Run one of the *_side.py scripts in a process of its own and return what it measured.

    Args:
        python: the interpreter, which decides the environment.
        script: file beside this one.
        order: what to do, as the script reads it.
        threads: how many threads every library may start, and on how many cores they run.
        environment: further variables.

    Raises:
        RuntimeError: with the end of its output, when it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        order = order | {"threads": threads, "answer": str(answer), "started_at": time.time()}
        done = subprocess.run(
            [str(python), str(HERE / script), json.dumps(order)],
            env=os.environ | {"OMP_NUM_THREADS": str(threads)} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        if done.returncode != 0 or not answer.exists():
            raise RuntimeError(f"{script} failed with status {done.returncode}:\n{done.stdout[-4000:]}")
        result: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return result


def run_watched(command: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """Run a command; its seconds by the wall clock and of the processor, and the highest resident memory, of it and of
    all processes below it. No other command may run meanwhile, or its seconds of the processor are counted, too.

    Raises:
        RuntimeError: with the end of its output, when it failed.
    """
    with tempfile.TemporaryFile() as output:
        begun, begun_processor = time.perf_counter(), _processor_s_of_children()
        process = subprocess.Popen(command, env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT)
        peak = 0

        def watch() -> None:
            nonlocal peak
            while process.returncode is None:
                peak = max(peak, resident_bytes(process.pid))
                time.sleep(LOOK_EVERY_S)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        process.wait()
        seconds = time.perf_counter() - begun
        watcher.join()
        output.seek(0)
        text = output.read().decode(errors="replace")
    if process.returncode:
        raise RuntimeError(f"{shlex.join(command)} failed:\n{text[-4000:]}")
    processor_s = _processor_s_of_children() - begun_processor
    return {"seconds": seconds, "processor_s": processor_s, "peak_resident_bytes": peak, "output": text}


def _processor_s_of_children() -> float:
    """Of all processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def resident_bytes(pid: int) -> int:
    """Of a process and all below it, now; where the system says so, what several share counts once."""
    total = 0
    import psutil

    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            try:
                memory = process.memory_full_info()
                total += getattr(memory, "pss", memory.rss)
            except psutil.Error:
                continue
    except psutil.Error:
        pass
    return total


def hold_to_cores(count: int) -> None:
    """Keep this process on `count` cores where the system can, so that a large machine measures like a small one."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def peak_resident_bytes() -> int:
    """The highest resident memory that this process has had."""
    try:
        # Unlike ru_maxrss, this does not count what the parent held when it started us.
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def machine() -> dict[str, Any]:
    """The class of this machine: what a reader needs to compare, not which one it is."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    flags: set[str] = set()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("flags", "Features")):
                flags = set(line.split(":", 1)[1].split())
                break
    import psutil

    return {
        "date": date.today().isoformat(),
        "cores": cores,
        "architecture": platform.machine(),
        "instructions": [flag for flag in INSTRUCTIONS if flag in flags],
        "memory_gib": round(psutil.virtual_memory().total / GIB, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "load_average": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
    }


def versions() -> dict[str, str]:
    """Of the packages that decide the times, as far as they are installed here."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def describe(command: str, data: dict[str, Any], numbers: dict[str, str]) -> str:
    """How a result came about, as the first lines of its text: the command, `machine()` and `versions()`."""
    load = data["load_average"]
    busy = f"; load average before {load[0]}" if load else ""
    listed = ", ".join(f"{name} {number}" for name, number in numbers.items())
    return (
        f"`{command}`, {data['date']}. {data['cores']} {data['architecture']} cores "
        f"({', '.join(data['instructions']) or 'instructions unknown'}), {data['memory_gib']} GiB, {data['system']}, "
        f"Python {data['python']}{busy}. {listed}."
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; columns after the first are right-aligned."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_results(name: str, data: dict[str, Any], text: str, folder: Path) -> None:
    """Write `name`.json and `name`.md into `folder` and print the text."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text(text + "\n", encoding="utf-8")
    print(text)
