"""Peak memory of stages of the training on a CT as large as the largest of FLARE, 796 x 512 x 2471 voxels.

    python Testing/benchmarks/largest_ct.py [--slices 2471] [--folder DIR]

Needs 8 GB of disk in DIR for all slices. The CT is a cylinder of soft tissue with a few structures; its voxels are of
0.8 mm. It is cached for both nets of train/configs/paper.yaml, and labelled by one with the plan of S_tum, but few
filters, so that what the net itself takes is not in it. Each stage runs in a process of its own; its peak resident
memory is what the system counted, with the libraries' 0.3 GiB.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import GIB, ROOT, table

from flareseg.io.files import read_volume, write_segmentation, write_volume
from flareseg.labels import structures
from flareseg.model.bundle import save_bundle
from flareseg.model.networks.registry import architecture_of, build_network, own_weights
from flareseg.options import Options
from flareseg.segmentation import Segmentation
from flareseg.segmenter import Segmenter
from flareseg.volume import Geometry, Volume
from train.common.paths import RunPaths
from train.config import PseudoConfig
from train.data.layouts.found import FoundCase, LabelFile
from train.data.prepare_case import prepare_case
from train.data.prepare_records import PrepareJob
from train.net_config import NetConfig
from train.pseudolabels.layers import Sources
from train.settings import build, read_tables
from train.stages.fuse import Rules, fuse_case
from train.stages.pseudolabel import confident_tumours

IN_PLANE, SPACING = (512, 796), (0.8, 0.8, 0.8)
LIVER, SPLEEN, TUMOUR = 1, 3, 14
Tables = dict[str, dict[str, Any]]


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


def prepare(folder: Path, nets: Tables) -> None:
    """As a worker of the stage does it."""
    files = (LabelFile(folder / "truth.nii.gz", None),)
    found = FoundCase("largest", folder / "ct.nii", files, organs=folder / "organs.nii.gz")
    grids = tuple((tuple(net["spacing_zyx_mm"]), "auto") for net in nets.values())
    done = prepare_case(PrepareJob("mine", found, (LIVER,), RunPaths(folder / "run"), grids))  # type: ignore[arg-type]
    assert done.case, done.refused


def pseudolabel(folder: Path, nets: Tables) -> None:
    """As a rank of the stage does it, with a net that finds no tumour."""
    small = {"filters": [4, 4, 8, 8, 8, 8], "clip_hu": [-200, 300], "mean_hu": 50, "std_hu": 100}
    plan = build(NetConfig, nets["tumor"] | small, "nets: tumor").plan()
    weights = own_weights(build_network(plan).state_dict())
    head = f"{architecture_of(plan.network).head}.bias"
    weights[head] = weights[head] - torch.tensor([0.0, 1000.0])
    texts = dict.fromkeys(("name", "version", "description", "licence", "citation", "card"), "0")
    save_bundle(folder / "model", plan=plan, weights=weights, provenance={}, metrics={}, **texts)  # type: ignore[arg-type]
    volume = read_volume(folder / "ct.nii")
    found = Segmenter(folder / "model", Options(device="cpu")).segment(volume, confidence=True)
    assert found.confidence is not None
    labels, _ = confident_tumours(found.labels, found.confidence, volume.geometry.voxel_ml, PseudoConfig())
    write_segmentation(Segmentation(labels, volume.geometry, structures()), folder / "labels.nii.gz")


def fuse(folder: Path, nets: Tables) -> None:
    """As a worker of the stage does it."""
    truth, organs, tumours = (folder / f"{name}.nii.gz" for name in ("truth", "organs", "tumours"))
    sources = Sources("mine_largest", truth, (LIVER,), organs, (LIVER, SPLEEN), tumours)
    spacings = [tuple(net["spacing_zyx_mm"]) for net in nets.values()]
    fuse_case(RunPaths(folder / "run"), spacings, Rules(), sources)  # type: ignore[arg-type]


def measured(work: Callable[[], None]) -> tuple[float, float]:
    """Peak resident memory of this process in GiB, and its seconds of computing."""
    work()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_maxrss * 1024 / GIB, usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--slices", type=int, default=2471)
    parser.add_argument("--folder", type=Path, help="for temporary files")
    arguments = parser.parse_args()
    nets = read_tables(ROOT / "train" / "configs" / "paper.yaml", [])["nets"]
    folder, rows = Path(tempfile.mkdtemp(dir=arguments.folder)), []
    try:
        for work in (draw, prepare, pseudolabel, fuse):
            call = partial(work, folder, arguments.slices if work is draw else nets)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
                peak, seconds = fresh.submit(measured, call).result()
            print(f"{work.__name__}: {peak:.2f} GiB, {seconds:.0f} s of computing", flush=True)
            rows.append([work.__name__, f"{peak:.2f}", f"{seconds:.0f}"])
    finally:
        shutil.rmtree(folder)
    shape = " × ".join(map(str, (IN_PLANE[1], IN_PLANE[0], arguments.slices)))
    print(table([f"{shape} voxels", "peak GiB", "CPU s"], rows[1:]))


if __name__ == "__main__":
    main()
