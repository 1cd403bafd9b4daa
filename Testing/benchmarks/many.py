"""Many cases: one command a case beside one command for the folder, without and with workers, by turns.

    python Testing/benchmarks/many.py [--data FOLDER] [--rounds 3] [--nnunet ENVIRONMENT] [--results DIR]

The CTs are the largest real one of `--data` with at most 40 million voxels and five of fewer than 7 million, each with
a name of its own, or without them synthetic abdomens. Every way runs on all cores, in fresh processes, with fresh
results. Seconds of a busy machine say little; those of the processor (all processes together) hold there too.

Then the memory of a worker with the process that reads for it, for three CTs of one size each; what a case costs the
folder of results in operations and bytes; and how long 10,000 names take before the first CT is read.

With `--nnunet` the command of that environment, which has nnunetv2, runs on the same folder by turns with the others:
with the embedded model as `flareseg models export` gives it, without mirroring as flareseg does it, and only on the
small CTs, for it keeps a probability of every class for every voxel. Nothing else is measured then.
"""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from harness import DEFAULT_MODEL, GIB, RESULTS, ROOT, describe, machine, run_watched, table, versions, write_results
from make_volume import benchmark_ct

MOST_VOXELS, FEW_VOXELS = 40_000_000, 7_000_000
SMALL = 5
NAMES = 10_000


def voxels(path: Path) -> int:
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return int(np.prod(reader.GetSize()))


def chosen(data: Path, with_large: bool) -> list[Path]:
    """One large CT, if wanted, and some small ones; phantoms where there are none."""
    sizes = sorted((voxels(path), path) for path in data.glob("*/ct.nii.gz"))
    large = [path for size, path in sizes if size <= MOST_VOXELS]
    small = [path for size, path in sizes if size < FEW_VOXELS]
    if len(small) < SMALL:
        return [benchmark_ct("abdomen")] * 2
    return [*(large[-1:] if with_large else []), *small[-SMALL:]]


def linked(cts: list[Path], folder: Path) -> list[Path]:
    """The CTs side by side in a folder, each with a name of its own."""
    folder.mkdir(parents=True)
    names = [folder / f"p{number}.nii.gz" for number, _ in enumerate(cts)]
    for ct, name in zip(cts, names, strict=True):
        name.symlink_to(ct.resolve())
    return names


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "flareseg", "segment", *map(str, words), "--device", "cpu", "--progress", "none"]


def measured(commands: list[list[str]]) -> dict[str, float]:
    """Wall and processor seconds, and the highest memory, of commands one after the other."""
    before, begun, peak = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), 0
    for words in commands:
        run = run_watched(words, {"PYTHONPATH": str(ROOT / "FlarePanCancer")})
        peak = max(peak, int(run["peak_resident_bytes"]))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.perf_counter() - begun, "cpu_seconds": cpu, "peak_bytes": peak}


def throughput(cts: list[Path], rounds: int, nnunet: Path | None, scratch: Path) -> dict[str, list[dict[str, float]]]:
    """What each way took in each round."""
    names = linked(cts, scratch / "cts")
    ways: dict[str, Callable[[Path], list[list[str]]]] = {
        "one command a case": lambda out: [command(one, "-o", out / one.name) for one in names],
        "one command": lambda out: [command(scratch / "cts", "-o", out)],
        "one command, --workers 2": lambda out: [command(scratch / "cts", "-o", out, "--workers", 2)],
    }
    if nnunet:
        ways["nnU-Net's command"] = nnunet_way(nnunet, names, scratch)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, commands in ways.items():
            out = scratch / f"out_{number}_{len(found[name])}_{len(name)}"
            found[name].append(measured(commands(out)))
            print(name, found[name][-1], flush=True)
            if "nnU-Net" not in name:
                assert len(list(out.glob("*.nii.gz"))) == len(names), name
    return found


def nnunet_way(environment: Path, names: list[Path], scratch: Path) -> Callable[[Path], list[list[str]]]:
    from flareseg.interop.export import export_model

    model = export_model(str(DEFAULT_MODEL), "nnunet", folder=scratch / "nnunet")
    folder = next(path.parent.parent for path in model.rglob("fold_*/checkpoint_final.pth"))
    channels = scratch / "channels"
    channels.mkdir()
    for name in names:
        (channels / name.name.replace(".nii.gz", "_0000.nii.gz")).symlink_to(name.resolve())
    tool = environment / "bin" / "nnUNetv2_predict_from_modelfolder"
    words = [tool, "-i", channels, "-m", folder, "-f", "0", "-device", "cpu", "--disable_tta"]
    words += ["--disable_progress_bar", "-npp", "1", "-nps", "1"]
    return lambda out: [[*map(str, words), "-o", str(out)]]


def memory(cts: list[Path], scratch: Path) -> list[dict[str, Any]]:
    """The highest memory of a worker, with its reader, for each of these CTs, three times in a row."""
    rows = []
    for number, ct in enumerate(dict.fromkeys(cts)):
        folder = scratch / f"memory_{number}"
        linked([ct] * 3, folder)
        run = measured([command(folder, "-o", folder.with_name(folder.name + "_out"))])
        rows.append({"voxels": voxels(ct), "peak_bytes": run["peak_bytes"]})
    return rows


def operations(scratch: Path) -> dict[str, Any]:
    """What a case costs the folder of results: operations that Python makes there, and bytes.

    A stand-in takes the place of the model, which touches no files.
    """
    sys.path.insert(0, str(ROOT / "Testing" / "engine"))
    import quick_workers

    from flareseg.cli import main
    from flareseg.io.files import write_volume
    from flareseg.volume import Geometry, Volume

    hu = np.full((12, 40, 40), -1000, np.int16)
    hu[2:10, 6:34, 6:34] = 20
    hu[4:8, 12:24, 12:24] = 110
    count, cts, out = 20, scratch / "tiny", scratch / "tiny_out"
    for number in range(count):
        write_volume(Volume(hu, Geometry(hu.shape, (5.0, 3.0, 3.0))), cts / f"t{number}.nii.gz")
    notes = scratch / "notes"
    notes.mkdir()
    os.environ[quick_workers.NOTES] = str(notes)
    quick_workers.install()
    seen: Counter[str] = Counter()
    watched = ("open", "os.link", "os.rename", "os.remove", "os.scandir", "os.utime", "os.mkdir", "os.rmdir")
    listening = True

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if listening and event in watched and str(out) in str(arguments[0]):
            seen[event] += 1

    sys.addaudithook(hear)
    used = resource.getrusage(resource.RUSAGE_SELF)
    main(["segment", str(cts), "-o", str(out), "--progress", "none", "--device", "cpu"])
    now = resource.getrusage(resource.RUSAGE_SELF)
    listening = False
    manifest = (out / "flareseg_manifest.jsonl").stat().st_size
    return {
        "cases": count,
        "operations_a_case": {name: round(number / count, 1) for name, number in seen.items()},
        "manifest_bytes_a_case": manifest / count,
        "cpu_seconds_a_case": (now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime) / count,
    }


def before_the_first(ct: Path, scratch: Path) -> dict[str, float]:
    """Processor seconds until the cases of a folder of so many names are known, and their results clash with none."""
    from flareseg.cases.clashes import refuse_clashes
    from flareseg.cases.find import find_cases, with_outputs
    from flareseg.cases.outputs import Beside, Outputs

    folder = scratch / "names"
    folder.mkdir()
    first = folder / "c00000.nii.gz"
    shutil.copy(ct, first)
    for number in range(1, NAMES):
        os.link(first, folder / f"c{number:05}.nii.gz")
    begun = time.process_time()
    cases = with_outputs(find_cases([folder]).cases, [scratch / "names_out"], ".nii.gz")
    found = time.process_time()
    refuse_clashes(cases, Outputs(cases, Beside()).all(None))
    return {"names": len(cases), "find_s": found - begun, "clashes_s": time.process_time() - found}


def text_of(command: str, facts: dict[str, Any]) -> str:
    runs = facts["runs"]
    middle = {
        name: {key: statistics.median(run[key] for run in all_) for key in all_[0]} for name, all_ in runs.items()
    }
    first = middle["one command a case"]
    rows = [
        [
            name,
            f"{one['seconds']:.0f}",
            f"{first['seconds'] / one['seconds']:.2f}",
            f"{one['cpu_seconds']:.1f}",
            f"{first['cpu_seconds'] / one['cpu_seconds']:.2f}",
            f"{one['peak_bytes'] / GIB:.2f}",
        ]
        for name, one in middle.items()
    ]
    header = ("way", "seconds", "times as fast", "processor seconds", "times as cheap", "peak GiB")
    size = ", ".join(f"{number / 1e6:.1f}" for number in facts["voxels"])
    parts = [
        "# Many cases",
        describe(command, facts["machine"], facts["versions"]),
        f"{len(facts['voxels'])} CTs of {size} million voxels, rounds by turns: {len(next(iter(runs.values())))}. The "
        "seconds are those of a machine with that load; those of the processor are of all processes together.",
        table(header, rows),
    ]
    return "\n\n".join(parts + (details_of(facts) if "memory" in facts else []))


def details_of(facts: dict[str, Any]) -> list[str]:
    ops, ahead = facts["operations"], facts["before_the_first"]
    each = ", ".join(f"{name.removeprefix('os.')} {number:g}" for name, number in ops["operations_a_case"].items())
    return [
        "Memory of a worker with the process that reads for it (shared memory counted once), three CTs in a row:",
        table(
            ("million voxels", "peak GiB"),
            [[f"{row['voxels'] / 1e6:.1f}", f"{row['peak_bytes'] / GIB:.2f}"] for row in facts["memory"]],
        ),
        f"In the folder of results, {ops['cases']} cases, a case takes {sum(ops['operations_a_case'].values()):.0f} "
        f"operations ({each}) and {ops['manifest_bytes_a_case']:.0f} bytes of manifest. {ahead['names']:.0f} names are "
        f"found in {ahead['find_s']:.1f} and compared with the results in {ahead['clashes_s']:.1f} processor seconds.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of real CTs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nnunet", type=Path, metavar="FOLDER", help="environment with nnunetv2")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for many.json and .md")
    arguments = parser.parse_args()
    words, environment = shlex.join(["python", *sys.argv]), machine()
    cts = chosen(arguments.data, with_large=arguments.nnunet is None)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        facts: dict[str, Any] = {
            "command": words,
            "machine": environment,
            "versions": versions(),
            "voxels": [voxels(ct) for ct in cts],
            "runs": throughput(cts, arguments.rounds, arguments.nnunet, scratch),
        }
        if arguments.nnunet is None:
            facts["memory"] = memory([cts[-1], cts[0]], scratch)
            facts["before_the_first"] = before_the_first(cts[-1], scratch)
            facts["operations"] = operations(scratch)
    write_results("many_nnunet" if arguments.nnunet else "many", facts, text_of(words, facts), arguments.results)


if __name__ == "__main__":
    main()
