"""Peak memory of the stages `prepare` and `fuse` on a CT as large as the largest of FLARE, 796 x 512 x 2471 voxels.

    python Testing/benchmarks/largest_ct.py [--slices 2471] [--folder DIR]

Needs 8 GB of disk in DIR for all slices. The CT is a cylinder of soft tissue with a few structures; its voxels are of
0.8 mm. It is cached for both nets of train/configs/paper.yaml. Each stage runs in a process of its own; its peak
resident memory is what the system counted, with the libraries' 0.3 GiB.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from harness import GIB, ROOT, table

from flareseg.io.files import write_segmentation, write_volume
from flareseg.labels import structures
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Volume
from train.common.paths import RunPaths
from train.data.layouts.found import FoundCase, LabelFile
from train.data.prepare_case import prepare_case
from train.data.prepare_records import PrepareJob
from train.settings import read_tables
from train.stages.fuse import Sources, fuse_case

IN_PLANE, SPACING = (512, 796), (0.8, 0.8, 0.8)
LIVER, SPLEEN, TUMOUR = 1, 3, 14


def draw(folder: Path, slices: int) -> None:
    """The CT, labels of a liver, organ pseudo-labels, and tumour pseudo-labels, slice by slice alike."""
    rng = np.random.default_rng(0)
    y, x = np.ogrid[: IN_PLANE[0], : IN_PLANE[1]]
    body = ((y - 256) / 230) ** 2 + ((x - 398) / 330) ** 2 < 1
    tile = np.where(body, rng.normal(40, 15, (8, *IN_PLANE)), -1000).astype(np.int16)
    geometry = Geometry((slices, *IN_PLANE), SPACING)
    hu = np.tile(tile, (-(-slices // 8), 1, 1))[:slices]
    write_volume(Volume(hu, geometry), folder / "ct.nii")
    del hu
    boxes = {LIVER: (slice(150, 350), slice(150, 350)), SPLEEN: (slice(150, 250), slice(500, 600))}
    for name, drawn in (("truth", [LIVER]), ("organs", [LIVER, SPLEEN]), ("tumours", [TUMOUR])):
        labels = np.zeros(geometry.shape_zyx, np.uint8)
        for value in drawn:
            labels[slices // 4 : slices // 2][(slice(None), *boxes.get(value, boxes[LIVER]))] = value
        write_segmentation(Segmentation(labels, geometry, structures()), folder / f"{name}.nii.gz")


def prepare(folder: Path, spacings: list[tuple[float, float, float]]) -> None:
    """As a worker of the stage does it."""
    files = (LabelFile(folder / "truth.nii.gz", None),)
    found = FoundCase("largest", folder / "ct.nii", files, organs=folder / "organs.nii.gz")
    grids = tuple((spacing, "auto") for spacing in spacings)
    done = prepare_case(PrepareJob("mine", found, (LIVER,), RunPaths(folder / "run"), grids))  # type: ignore[arg-type]
    assert done.case, done.refused


def fuse(folder: Path, spacings: list[tuple[float, float, float]]) -> None:
    """As a worker of the stage does it."""
    files = (folder / f"{name}.nii.gz" for name in ("truth", "organs", "tumours"))
    truth, organs, tumours = files
    sources = Sources("mine_largest", truth, (LIVER,), organs, (LIVER, SPLEEN), tumours)
    fuse_case(RunPaths(folder / "run"), spacings, True, sources)


def measured(work: Callable[[], None], answer: Any) -> None:
    """Peak resident memory in GiB, and seconds of computing."""
    work()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    answer.put((usage.ru_maxrss * 1024 / GIB, usage.ru_utime + usage.ru_stime))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--slices", type=int, default=2471)
    parser.add_argument("--folder", type=Path, help="for temporary files")
    arguments = parser.parse_args()
    nets = read_tables(ROOT / "train" / "configs" / "paper.yaml", [])["nets"].values()
    spacings = [tuple(net["spacing_zyx_mm"]) for net in nets]
    folder, context = Path(tempfile.mkdtemp(dir=arguments.folder)), get_context("spawn")
    rows = []
    try:
        for name, work in (("draw", None), ("prepare", prepare), ("fuse", fuse)):
            answer, began = context.Queue(), time.monotonic()
            call = partial(work, folder, spacings) if work else partial(draw, folder, arguments.slices)
            process = context.Process(target=measured, args=(call, answer))
            process.start()
            peak, seconds = answer.get()
            process.join()
            print(f"{name}: {peak:.2f} GiB, {seconds:.0f} s, {time.monotonic() - began:.0f} s by the clock", flush=True)
            rows.append([name, f"{peak:.2f}", f"{seconds:.0f}"])
    finally:
        shutil.rmtree(folder)
    shape = " × ".join(map(str, (IN_PLANE[1], IN_PLANE[0], arguments.slices)))
    print(table([f"{shape} voxels", "peak GiB", "CPU s"], rows[1:]))


if __name__ == "__main__":
    main()
