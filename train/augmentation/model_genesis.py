"""Image corruptions of Model Genesis for self-supervised pre-training.

Zhou et al., "Models Genesis", Medical Image Analysis 2021, section 3.2; figure 2 of the FLARE 2023 paper. Each image of
a batch gets, with separate probabilities: a non-linear intensity transform, local pixel shuffling, and either
in-painting (blocks are hidden) or out-painting (everything but blocks is hidden).

Everything runs on the device of the images. The published code shuffles 10,000 small windows of an image one after the
other, which changes 74 to 79 % of the voxels of a patch; here the windows of six random grids are shuffled at once,
three of ten in each, which changes as many.
"""

from __future__ import annotations

import torch

from train.fit_config import CorruptConfig

LARGEST_WINDOW = 0.1
"""Size of a shuffled window relative to the image: well below the receptive field, as in the paper."""
GRIDS, SHUFFLED = 6, 0.29
"""Grids of windows, and the probability of each window of a grid."""
ORDERS = 256
"""Random orders that the windows of a grid share; one for each would cost most of a training step on a CPU."""
MOST_BLOCKS = 5
CURVE = 1001


def corrupted(image01: torch.Tensor, config: CorruptConfig, generator: torch.Generator) -> torch.Tensor:
    """Corrupt a batch; the input is not modified.

    Args:
        image01: (batch, 1, z, y, x), intensities from 0 to 1.
        config: probabilities.
        generator: source of randomness, on the device of the images.

    Returns:
        the same shape, intensities from 0 to 1.
    """
    result = image01.clone()
    for image in result.unbind(0):
        chance = torch.rand(4, generator=generator, device=image.device).tolist()
        volume = image[0]
        if chance[0] < config.local_shuffle:
            volume.copy_(shuffled(volume, generator))
        if chance[1] < config.nonlinear:
            volume.copy_(recoloured(volume, generator))
        if chance[2] < config.paint:
            if chance[3] < config.inpaint:
                in_paint(volume, generator)
            else:
                out_paint(volume, generator)
    return result


def recoloured(volume: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Non-linear intensity transform by a cubic Bézier curve from (0, 0) to (1, 1), or inverted with probability 0.5.

    The two inner control points are random with sorted coordinates, so that the curve is monotonic.
    """
    points = torch.rand(2, 2, generator=generator, device=volume.device).sort(dim=0).values
    inverted = bool(torch.rand((), generator=generator, device=volume.device) < 0.5)
    table = bezier_table(points, inverted)
    position = volume.clamp(0, 1) * (CURVE - 1)
    low = position.floor().long().clamp(max=CURVE - 2)
    return torch.lerp(table[low], table[low + 1], position - low)


def bezier_table(inner: torch.Tensor, inverted: bool) -> torch.Tensor:
    """Values of the curve at 1001 evenly spaced intensities from 0 to 1.

    Args:
        inner: (2, 2) inner control points (x, y), sorted.
        inverted: whether the curve decreases from 1 to 0.
    """
    t = torch.linspace(0, 1, CURVE, device=inner.device)
    a, b, c = 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3
    x, y = (a * inner[0, axis] + b * inner[1, axis] + c for axis in range(2))
    wanted = torch.linspace(0, 1, CURVE, device=inner.device)
    right = torch.searchsorted(x.contiguous(), wanted).clamp(1, CURVE - 1)
    left = right - 1
    share = ((wanted - x[left]) / (x[right] - x[left]).clamp(min=1e-9)).clamp(0, 1)
    table = torch.lerp(y[left], y[right], share)
    return 1 - table if inverted else table


def shuffled(volume: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Local pixel shuffling within small windows, several grids of them after another.

    Each grid has its own window size and offset. Every window takes its voxels from the image as it came, so that a
    later one hides part of an earlier one, and no voxel moves further than its window is wide.
    """
    result = volume.clone()
    for _ in range(GRIDS):
        _shuffle_grid(volume, result, generator)
    return result


def _shuffle_grid(volume: torch.Tensor, result: torch.Tensor, generator: torch.Generator) -> None:
    """Write the shuffled voxels of some windows of one grid into `result`."""
    device = volume.device
    draw = torch.rand(6, generator=generator, device=device).tolist()
    # A voxel is more likely in a wide window than in a narrow one: sizes are drawn with a chance that grows with them.
    window = [_size(draw[axis], max(2, int(volume.shape[axis] * LARGEST_WINDOW))) for axis in range(3)]
    if max(window) == 1:
        return
    start = [int(draw[3 + axis] * window[axis]) for axis in range(3)]
    count = [(size - first) // w for size, first, w in zip(volume.shape, start, window, strict=True)]
    if min(count) < 1:
        return
    box = tuple(slice(first, first + n * w) for first, n, w in zip(start, count, window, strict=True))
    (nz, ny, nx), (wz, wy, wx) = count, window

    def windows_of(image: torch.Tensor) -> torch.Tensor:
        """A view of shape (nz, ny, nx, wz, wy, wx)."""
        z, y, x = image.stride()
        strides = (wz * z, wy * y, wx * x, z, y, x)
        return image[box].as_strided((*count, *window), strides)

    chosen = (torch.rand(nz, ny, nx, generator=generator, device=device) < SHUFFLED).nonzero(as_tuple=True)
    orders = torch.rand(ORDERS, wz * wy * wx, generator=generator, device=device).argsort(dim=1)
    pick = torch.randint(ORDERS, chosen[0].shape, generator=generator, device=device)
    values = windows_of(volume)[chosen].flatten(1).gather(1, orders[pick])
    windows_of(result)[chosen] = values.view(-1, *window)


def _size(chance: float, largest: int) -> int:
    """1 to `largest`, each with a probability in proportion to itself."""
    total, wanted = 0, chance * largest * (largest + 1) / 2
    for size in range(1, largest):
        total += size
        if wanted < total:
            return size
    return largest


def in_paint(volume: torch.Tensor, generator: torch.Generator) -> None:
    """Replace one to five blocks, with edges of 1/6 to 1/3 of the image, by noise; in place."""
    for box in _blocks(volume, generator, 1 / 6, 1 / 3):
        volume[box] = torch.rand(volume[box].shape, generator=generator, device=volume.device)


def out_paint(volume: torch.Tensor, generator: torch.Generator) -> None:
    """Replace all but one to five blocks, with edges of 3/7 to 4/7 of the image, by noise; in place."""
    kept = torch.zeros(volume.shape, dtype=torch.bool, device=volume.device)
    for box in _blocks(volume, generator, 3 / 7, 4 / 7):
        kept[box] = True
    noise = torch.rand(volume.shape, generator=generator, device=volume.device)
    volume.copy_(torch.where(kept, volume, noise))


def _blocks(
    volume: torch.Tensor, generator: torch.Generator, smallest: float, largest: float
) -> list[tuple[slice, slice, slice]]:
    """One to five blocks; each further one follows with probability 0.95."""
    boxes: list[tuple[slice, slice, slice]] = []
    for chance, *draw in torch.rand(MOST_BLOCKS, 7, generator=generator, device=volume.device).tolist():
        if boxes and chance > 0.95:
            break
        parts = []
        for axis, size in enumerate(volume.shape):
            length = max(1, round(size * (smallest + draw[axis] * (largest - smallest))))
            first = int(draw[3 + axis] * (size - length + 1))
            parts.append(slice(first, first + length))
        boxes.append((parts[0], parts[1], parts[2]))
    return boxes
