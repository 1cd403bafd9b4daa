"""A toy patient whose kidneys differ by their side alone, and two nets that learnt to tell them apart.

    python Testing/engine/axes_phantom.py       (trains both again: a minute; writes data/axes/lps.safetensors and ras)

One was shown the body in LPS order, the other in RAS. Liver, spleen and spine show them which side is which: a net that
is shown a mirrored body calls the left kidney right.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from flareseg.interop.nnunet.exporter import write_nnunet
from flareseg.interop.source import Source
from flareseg.model.networks.dynunet import dynunet_spec
from flareseg.model.networks.registry import build_network, own_weights
from flareseg.model.plan import Intensity, OrientationRule, Plan
from flareseg.volume import Geometry, Orientation, Volume

DATA = Path(__file__).parent / "data" / "axes"
SIZE, SPACING_MM = 32, 10.0
ORGANS = ("liver", "spleen", "right_kidney", "left_kidney")
FLIPS = {"lps": (), "ras": (1, 2)}
"""Along which axes of an LPS array each net's training data ran the other way."""
STEPS = 600


def phantom(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(z, y, x) HU and labels (1 liver, 2 spleen, 3 right, 4 left kidney) in LPS order: x runs to the left."""
    rng = np.random.default_rng(seed)
    z, y, x = np.ogrid[:SIZE, :SIZE, :SIZE]
    shift = rng.uniform(-1.5, 1.5, 3)

    def ball(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
        grown = np.array(radii) * rng.uniform(0.9, 1.1)
        cz, cy, cx = np.array(centre) + shift + rng.uniform(-0.7, 0.7, 3)
        return ((z - cz) / grown[0]) ** 2 + ((y - cy) / grown[1]) ** 2 + ((x - cx) / grown[2]) ** 2 < 1

    hu = np.full((SIZE,) * 3, -1000.0)
    hu[((y - 16 - shift[1]) / 12) ** 2 + ((x - 16 - shift[2]) / 14) ** 2 + 0 * z < 1] = 20
    hu[((y - 25 - shift[1]) / 2.2) ** 2 + ((x - 16 - shift[2]) / 2.2) ** 2 + 0 * z < 1] = 300
    labels = np.zeros(hu.shape, np.uint8)
    shapes = (
        (ball((22, 14, 9.5), (6, 7, 5.5)), 100),
        (ball((22, 20, 23), (5, 4, 3.5)), 140),
        (ball((11, 21, 10), (4.5, 3, 3)), 180),
        (ball((12, 21, 22), (4.5, 3, 3)), 180),
    )
    for number, (where, value) in enumerate(shapes, 1):
        hu[where], labels[where] = value, number
    return np.rint(hu + rng.normal(0, 8, hu.shape)).astype(np.int16), labels


def stored_as(array_lps: np.ndarray, letters: str, slices_along: int = 0) -> tuple[np.ndarray, Geometry]:
    """An LPS array as a file stores it: where its x, y, z run to ("RAS"), and along which of z, y, x its slices lie."""
    flipped = tuple(letter in "RAI" for letter in letters[::-1])
    others = [axis for axis in range(3) if axis != slices_along]
    order = (slices_along, *others)  # array axis i of the file is patient axis order[i]
    place = Orientation((order.index(0), order.index(1), order.index(2)), (flipped[0], flipped[1], flipped[2]))
    direction = np.zeros((3, 3))
    for axis, patient in enumerate(order):
        direction[2 - patient, 2 - axis] = -1.0 if flipped[patient] else 1.0
    array = np.ascontiguousarray(place.from_canonical(array_lps))
    rows = tuple(tuple(float(value) for value in row) for row in direction)
    shape = (array.shape[0], array.shape[1], array.shape[2])
    return array, Geometry(shape, (SPACING_MM,) * 3, direction=rows)


def volume(seed: int, letters: str, slices_along: int = 0) -> tuple[Volume, np.ndarray]:
    """A phantom as a CT that is stored so, and its labels on the same grid."""
    hu, labels = phantom(seed)
    array, geometry = stored_as(hu, letters, slices_along)
    return Volume(array, geometry, f"phantom {letters}"), stored_as(labels, letters, slices_along)[0]


def plan(orientation: OrientationRule = "stored") -> Plan:
    return Plan(
        spacing_zyx_mm=(SPACING_MM,) * 3,
        patch_zyx=(SIZE,) * 3,
        intensity=Intensity((-200.0, 350.0), 60.0, 90.0),
        network=dynunet_spec([4, 6, 8, 8]),
        labels={0: "background"} | dict(enumerate(ORGANS, 1)),
        resampling="isotropic",
        orientation=orientation,
    )


def trained_folder(axes: str, folder: Path, name: str = "Dataset900_Toy") -> Path:
    """The net that learnt from bodies in that order, as an nnU-Net v2 folder, which does not say so."""
    info = {"description": "toy", "licence": "none", "citation": "none", "provenance": {}, "metrics": {}}
    source = Source("main", plan(), (load_file(DATA / f"{axes}.safetensors"),), info | {"name": name}, "", "")
    own = folder / name / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    own.mkdir(parents=True)
    write_nnunet(source, own)
    return own


def train(axes: str) -> None:
    torch.manual_seed(3)
    network = build_network(plan())
    optimiser = torch.optim.AdamW(network.parameters(), 4e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, STEPS)
    for step in range(STEPS):
        hu, labels = zip(*(phantom(2 * step + number) for number in range(2)), strict=True)
        images = torch.from_numpy((np.clip(np.stack(hu), -200, 350) - 60.0) / 90.0).float()
        truth, flips = torch.from_numpy(np.stack(labels)).long(), [axis + 1 for axis in FLIPS[axes]]
        output = network(images.flip(flips)[:, None])
        loss = torch.nn.functional.cross_entropy(output, truth.flip(flips), torch.tensor([0.5, 1.5, 3, 3, 3]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 49:
            print(axes, step + 1, loss.item(), flush=True)
    DATA.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.half().contiguous().clone() for name, value in own_weights(network.state_dict()).items()}
    save_file(tensors, DATA / f"{axes}.safetensors")


if __name__ == "__main__":
    for each in FLIPS:
        train(each)
