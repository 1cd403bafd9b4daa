"""Record what nnU-Net's default augmentation draws and does, for the tests of `recipe: nnunet`.

.venv-nnunet/bin/python Testing/benchmarks/record_nnunet_augmentation.py Testing/train/data/nnunet_augmentation.json
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import blur_dimension
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

DRAWS = 4_000
QUANTILES = np.linspace(0, 1, 11)
PATCHES = {"anisotropic": (8, 26, 28), "isotropic": (8, 8, 8)}
FRACTIONS, LARGEST_BATCH = (0.33, 0.5, 0.2), 16
STAGES = range(3, 9)


def transforms_of(patch):
    """The transforms that the trainer makes for a patch, as it makes them."""
    trainer = SimpleNamespace(
        configuration_manager=SimpleNamespace(patch_size=patch), print_to_log_file=lambda *args, **more: None
    )
    rotation, flat, _, axes = nnUNetTrainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size(trainer)
    made = nnUNetTrainer.get_training_transforms(patch, rotation, None, axes, flat)
    return made.transforms, flat


def spatial(transform, shape):
    """How often a patch is turned and scaled, and quantiles of the angle in degrees and of the factor."""
    angles, scales = [], []
    for _ in range(DRAWS):
        affine = transform.get_parameters(image=torch.zeros(1, *shape))["affine"]
        if affine is None:
            continue
        size = len(affine)
        scale = np.linalg.det(affine) ** (1 / size)
        trace = np.trace(affine / scale)
        cosine = trace / 2 if size == 2 else (trace - 1) / 2
        angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
        angles += [angle] if angle > 1e-3 else []
        scales += [scale] if abs(scale - 1) > 1e-6 else []
    return {"rotation": drawn(angles), "scaling": drawn(scales)}


def drawn(values):
    return {"share": len(values) / DRAWS, "quantiles": np.round(np.quantile(values, QUANTILES), 4).tolist()}


def intensity(transforms, shape):
    """How often each intensity transform is applied to the one channel, and quantiles of its strength."""
    names = ("noise", "blur", "brightness", "contrast", "low_resolution", "inverted_gamma", "gamma")
    keys = ("sigmas", "sigmas", "multipliers", "multipliers", "scales", "gamma", "gamma")
    found = {}
    for name, key, outer in zip(names, keys, transforms, strict=True):
        values = []
        for _ in range(DRAWS):
            if outer.get_parameters()["apply_transform"]:
                given = outer.transform.get_parameters(image=torch.zeros(1, *shape))[key]
                values += np.ravel([] if given is None else given).tolist()[-1:]  # none: not this channel
        found[name] = drawn(values)
    return found


def image():
    z, y, x = np.meshgrid(*map(np.arange, (5, 6, 7)), indexing="ij")
    return torch.from_numpy((np.sin(0.9 * z + 0.4 * y * x) + np.cos(1.7 * x - y)).astype(np.float32))[None]


def effects():
    """What single transforms make of one small image."""
    found = {}
    sharp = image()
    for axis, deviation in enumerate((0.5, 0.8, 1.0)):
        sharp = blur_dimension(sharp, deviation, axis)
    found["blur 0.5 0.8 1.0"] = sharp
    for factor in (0.75, 1.2):
        found[f"contrast {factor}"] = ContrastTransform((factor, factor), True, False)(image=image())["image"]
    for fraction, ignored in ((0.5, None), (0.6, (0,))):
        name = f"low_resolution {fraction} {'in slices' if ignored else 'everywhere'}"
        transform = SimulateLowResolutionTransform((fraction, fraction), False, True, ignored)
        found[name] = transform(image=image())["image"]
    for gamma, inverted in ((0.7, 0), (1.5, 0), (0.7, 1), (1.5, 1)):
        name = f"{'inverted_' if inverted else ''}gamma {gamma}"
        found[name] = GammaTransform((gamma, gamma), inverted, False, 1, 1)(image=image())["image"]
    return {name: np.round(values[0].double().numpy(), 5).ravel().tolist() for name, values in found.items()}


def oversampled(batch, fraction):
    """How many patches of a batch are sure to show a structure."""
    loader = SimpleNamespace(batch_size=batch, oversample_foreground_percent=fraction)
    return sum(nnUNetDataLoader._oversample_last_XX_percent(loader, number) for number in range(batch))


def loss_weights(stages):
    """Weights of the outputs of a net with so many stages, full resolution first."""
    trainer = SimpleNamespace(
        label_manager=SimpleNamespace(has_regions=False, ignore_label=None),
        configuration_manager=SimpleNamespace(batch_dice=True),
        is_ddp=False,
        enable_deep_supervision=True,
        _do_i_compile=lambda: False,
        _get_deep_supervision_scales=lambda: [None] * (stages - 1),
    )
    return [round(float(weight), 8) for weight in nnUNetTrainer._build_loss(trainer).weight_factors]


def main():
    np.random.seed(2023)  # noqa: NPY002 - nnU-Net draws from it
    torch.manual_seed(2023)
    facts = {"programs": {name: version(name) for name in ("nnunetv2", "batchgeneratorsv2")}, "patches": {}}
    for kind, patch in PATCHES.items():
        transforms, flat = transforms_of(patch)
        first = 1 if flat else 0
        mirror = transforms[-2]
        axes = [mirror.get_parameters()["axes"] for _ in range(DRAWS)]
        facts["patches"][kind] = {
            "patch": patch,
            **spatial(transforms[first], patch[first:]),
            **intensity(transforms[first + 1 + first : -2], patch),
            "mirror": [sum(axis in one for one in axes) / DRAWS for axis in range(3)],
        }
    facts["effects"] = effects()
    facts["oversampled"] = {
        str(fraction): [oversampled(batch, fraction) for batch in range(1, LARGEST_BATCH + 1)] for fraction in FRACTIONS
    }
    facts["loss_weights"] = {str(stages): loss_weights(stages) for stages in STAGES}
    Path(sys.argv[1]).write_text(json.dumps(facts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
