"""Reads thousands of damaged files, and says which of them do more harm than one line: make fuzz.

    python Testing/fuzz/run.py                        20,000 inputs of all kinds
    python Testing/fuzz/run.py --kinds nrrd --inputs 500 --first 1000
    python Testing/fuzz/run.py --only nrrd 1234       one input alone, which is kept in --out if it fails

Inputs hang on their kind and number alone: a failure is found again by its name.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from child import GOOD
from inputs import KINDS
from tree import remove

HERE = Path(__file__).resolve().parent
SPECIAL = r"'[^']*'|/\S*|\d+| after .*"
ALONE = {"OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1", "ITK_GLOBAL_DEFAULT_THREADER": "Platform"}
"""A fork has none of the threads of its parent, so no library may wait for one."""


class Child:
    """One process that reads inputs; what an input does to it comes back as that input's verdict."""

    def __init__(self, kinds: list[str], seconds: float, out: Path) -> None:
        memory = Path("/dev/shm")
        self._scratch = Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory if memory.is_dir() else None))
        command = [sys.executable, str(HERE / "child.py"), str(self._scratch), ",".join(kinds), str(seconds)]
        command.append(str(out.resolve()))
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | ALONE)
        self._answer()

    def judge(self, kind: str, number: int) -> dict[str, Any]:
        assert self._process.stdin
        self._process.stdin.write(f"{kind} {number}\n".encode())
        self._process.stdin.flush()
        return {"kind": kind, "number": number, **self._answer()}

    def _answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            said = (self._scratch / "said").read_text(errors="replace")
            raise RuntimeError(f"The process that reads inputs cannot run: {said[-2000:]}")
        return json.loads(line)

    def stop(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        remove(self._scratch)


def judge_all(kinds: list[str], numbers: range, workers: int, make: Any, tell: Any) -> list[dict[str, Any]]:
    """Every input of every kind, in `workers` processes that `make` starts."""
    waiting: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
    for number in numbers:
        for kind in kinds:
            waiting.put((kind, number))
    found: list[dict[str, Any]] = []

    def work() -> None:
        child = make()
        try:
            while True:
                one = child.judge(*waiting.get_nowait())
                found.append(one)
                tell(one, found)
        except queue.Empty:
            pass
        finally:
            child.stop()

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(found) < len(kinds) * len(numbers):
        raise SystemExit("Not every input was read; see above.")
    return found


def keep(one: dict[str, Any], out: Path) -> Path:
    """Write a verdict beside its input."""
    folder = out / f"{one['kind']}-{one['number']}"
    folder.mkdir(parents=True, exist_ok=True)
    again = f"python Testing/fuzz/run.py --only {one['kind']} {one['number']}"
    (folder / "verdict.json").write_text(json.dumps(one | {"again": again}, indent=1), encoding="utf-8")
    return folder


def summary(found: list[dict[str, Any]]) -> str:
    """One line a kind, then every way to fail with the number of its inputs and one of them."""
    lines = []
    for kind in KINDS:
        own = [one for one in found if one["kind"] == kind]
        if own:
            counts = Counter(one["verdict"] for one in own)
            slowest, largest = max(one["seconds"] for one in own), max(one["peak_mb"] for one in own)
            told = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
            lines.append(f"{kind:8} {len(own):6} inputs: {told}; at most {slowest:.1f} s, {largest} MB")
    ways: dict[str, list[dict[str, Any]]] = {}
    for one in found:
        if one["verdict"] not in GOOD:
            ways.setdefault(_way(one), []).append(one)
    for way, ones in sorted(ways.items(), key=lambda pair: -len(pair[1])):
        first = ones[0]
        lines.append(f"{len(ones):5} x {first['kind']} {way}\n        {first['message'][:200]!r}")
        lines += [f"        e.g. --only {one['kind']} {one['number']}: {one['changes']}"[:250] for one in ones[:3]]
    hidden = Counter(one["hidden"] for one in found if one.get("hidden"))
    examples = {one["hidden"]: f"{one['kind']} {one['number']}" for one in found if one.get("hidden")}
    if hidden:
        lines.append("Refused in one line, but perhaps for a mistake of ours:")
        lines += [f"{count:5} x {where}, e.g. --only {examples[where]}" for where, count in hidden.most_common()]
    return "\n".join(lines)


def _way(one: dict[str, Any]) -> str:
    """How an input failed, without what is special to it: names, numbers, and what follows them."""
    kind, message = one["verdict"], str(one["message"])
    return f"{kind}: {message.partition(': ')[0] if kind == 'exception' else re.sub(SPECIAL, '', message)}"[:120]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--inputs", type=int, default=20_000, help="of all kinds together")
    parser.add_argument("--first", type=int, default=0, help="number of the first input of each kind")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=30.0, help="that one input may take")
    parser.add_argument("--out", type=Path, default=Path("runs", "fuzz"), help="where failing inputs are kept")
    parser.add_argument("--only", nargs=2, metavar=("KIND", "NUMBER"))
    options = parser.parse_args()
    if options.only:
        child = Child([options.only[0]], options.seconds, options.out)
        found = [child.judge(options.only[0], int(options.only[1]))]
        child.stop()
        print(json.dumps(found[0], indent=1))
        if found[0]["verdict"] not in GOOD:
            print(f"The input is kept in {keep(found[0], options.out)}.")
    else:
        numbers = range(options.first, options.first + -(-options.inputs // len(options.kinds)))
        last = [time.monotonic()]

        def tell(one: dict[str, Any], so_far: list[dict[str, Any]]) -> None:
            if one["verdict"] not in GOOD:
                keep(one, options.out)
            if time.monotonic() - last[0] > 20:
                last[0] = time.monotonic()
                bad = sum(one["verdict"] not in GOOD for one in so_far)
                print(f"{len(so_far)} inputs, {bad} failures", flush=True)

        make = partial(Child, options.kinds, options.seconds, options.out)
        found = judge_all(options.kinds, numbers, options.workers, make, tell)
        print(summary(found))
    failures = [one for one in found if one["verdict"] not in GOOD]
    if failures and not options.only:
        print(f"{len(failures)} of {len(found)} inputs failed; they are in {options.out}.")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
