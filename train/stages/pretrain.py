"""Report of a pre-training: reconstruction errors compared with simple baselines, and an image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from flareseg.inference.normalization import denormalize
from flareseg.model.networks.registry import load_weights
from flareseg.model.plan import Plan
from train.augmentation.dataset import validation_batches
from train.common.json_files import write_json
from train.common.paths import RunPaths
from train.config import Config
from train.data.cache import load_cached
from train.data.index import CaseIndex
from train.reporting.pictures import write_reconstructions
from train.training.checkpoints import averaged_weights
from train.training.fits import cases_of, plan_of
from train.training.tasks import Reconstruct

PICTURE, FIGURES = "reconstruction.png", "reconstruction.json"
PATCHES, SHOWN = 12, 4


def report_reconstruction(config: Config, paths: RunPaths, index: CaseIndex, name: str) -> None:
    """Write reconstruction.png and reconstruction.json of a finished fit.

    The patches are from validation cases if there are any. The figures are mean squared errors of normalised
    intensities.
    """
    folder, settings, net = paths.fit(name), config.fits[name], config.net_of(name)
    if (folder / FIGURES).exists():
        return
    plan = plan_of(config, paths, name)
    cases = list(index.split("validation")) or cases_of(config, index, name)
    cached = [load_cached(paths.grid(net.spacing_zyx_mm) / case.name, None) for case in cases]
    task = Reconstruct(net, plan, settings)
    load_weights(task.network, averaged_weights(folder))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    task.network.to(device).eval()
    batches = validation_batches(cached, net, plan, PATCHES, config.seed, device)
    images = [batch["image"] for batch in batches]
    bad = [task.corrupted(image, torch.Generator(device).manual_seed(n)) for n, image in enumerate(images)]
    with torch.no_grad():
        answers = [task.network(image).float() for image in bad]
    error = _error(answers, images)
    baselines = {
        "the corrupted image itself": _error(bad, images),
        "the corrupted image, smoothed": min(
            _error([smoothed(image, width) for image in bad], images) for width in (3, 5, 9)
        ),
        "the mean intensity of the corrupted image": _error([i.mean().expand_as(i) for i in bad], images),
    }
    unit = [[_unit(volume[0, 0].cpu(), plan) for volume in row] for row in (images, bad, answers)]
    names = [", ".join(batch["names"]) for batch in batches]
    write_reconstructions(folder / PICTURE, *(row[:SHOWN] for row in unit), names=names[:SHOWN])
    write_json(folder / FIGURES, {"patches": len(images), "error": error, "baselines": baselines})
    others = ", ".join(f"{what} {value:.3f}" for what, value in baselines.items())
    print(f"{name}: reconstruction error {error:.3f}; {others}", flush=True)


def smoothed(image: torch.Tensor, width: int) -> torch.Tensor:
    """Mean filter with a cube of `width` voxels; (b, 1, z, y, x)."""
    return F.avg_pool3d(image, width, stride=1, padding=width // 2, count_include_pad=False)


def _error(answers: Sequence[torch.Tensor], images: Sequence[torch.Tensor]) -> float:
    return sum(float(F.mse_loss(answer, image)) for answer, image in zip(answers, images, strict=True)) / len(images)


def _unit(volume: torch.Tensor, plan: Plan) -> torch.Tensor:
    """Rescale normalised intensities to 0 to 1 over the range of the plan."""
    intensity = plan.intensity
    low, high = intensity.clip_hu
    return ((denormalize(volume, intensity) - low) / (high - low)).clamp(0, 1)
