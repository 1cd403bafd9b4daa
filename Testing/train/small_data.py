"""A folder of small labelled CTs, and the configuration that prepares it."""

import json

import numpy as np

from flareseg.io.files import write_segmentation, write_volume
from flareseg.labels import structures
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Volume
from train.config import Config, SourceConfig
from train.fit_config import FitConfig
from train.net_config import NetConfig

SHAPE, SPACING = (20, 36, 40), (6.0, 6.0, 6.0)
GRID = Geometry(SHAPE, SPACING)
NET = NetConfig(spacing_zyx_mm=SPACING, patch_zyx=(16, 16, 16), filters=[4, 8], segments=["liver"])


def ct(seed):
    """Soft tissue with a liver of 100 HU in air."""
    rng = np.random.default_rng(seed)
    hu = np.full(SHAPE, -1000, np.int16)
    hu[:, 4:-4, 4:-4] = rng.integers(-80, 80, (SHAPE[0], SHAPE[1] - 8, SHAPE[2] - 8))
    hu[5:15, 10:25, 8:20] = rng.integers(90, 111, (10, 15, 12))
    return hu


def liver(value=1):
    labels = np.zeros(SHAPE, np.uint8)
    labels[5:15, 10:25, 8:20] = value
    return labels


def write_case(folder, seed, labels=None, organs=None, info=None, geometry=GRID):
    folder.mkdir(parents=True, exist_ok=True)
    write_volume(Volume(ct(seed), geometry), folder / "ct.nii.gz", overwrite=True)
    for name, found in (("seg", labels), ("organs", organs)):
        if found is not None:
            segmentation = Segmentation(found, geometry, structures())
            write_segmentation(segmentation, folder / f"{name}.nii.gz", overwrite=True)
    if info is not None:
        (folder / "info.json").write_text(json.dumps(info))
    return folder


def config_for(*sources, net=NET, **changes):
    values = {
        "name": "test", "version": "0", "runs": "", "output": "", "nets": {"net": net},
        "fits": {"final": FitConfig(net="net", epochs=1)}, "sources": list(sources), "processes": 1,
    }  # fmt: skip
    return Config(**(values | changes))


def source(folder, layout="cases", name="mine", **more):
    return SourceConfig(name, layout, str(folder), **more)


def of(index, name):
    return index.of(f"mine_{name}")


def patients(folder):
    """p0 to p3 with a liver, of which the spleen is known to be absent; p4 without labels."""
    for number in range(4):
        write_case(folder / f"p{number}", number, liver(), info={"labels_present": [1, 3], "licence": "CC0"})
    write_case(folder / "p4", 4)
    return folder
