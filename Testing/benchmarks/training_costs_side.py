"""One stage of the training in a process of its own, measured: CPU seconds, wall seconds, memory, bytes.

Started by `harness.run_fresh`; the order is a JSON object: what ("stage", "load" or "step"), folder (of
`training_costs_data.py`), warm (another one of a tiny CT, on which everything is loaded and imported first), stage,
threads, and for "load" and "step" fit, count, width, batch_size.

What the networks compute is left out: it is a GPU's work, and is reckoned. In their place stands a net that knows the
labels (`StandIn`), so that what follows them has organs and tumours of the usual size and shape to work on.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from harness import hold_to_cores, peak_resident_bytes, versions
from training_costs_data import HELD_OUT, SOURCE, UNSEARCHED

CERTAIN = 8.0
"""Logit of the label that is drawn; that of the others is 0."""
OUTPUTS = {
    "prepare": ("cache", "labels", "index.json"),
    "pseudolabel": ("pseudo",),
    "fuse": ("fused",),
    "evaluate": ("scores",),
    "export": ("model",),
}
"""What each stage writes under `run`; removed before it runs, and weighed after it."""
SEGMENTED = {"pseudolabel": ("tumor", UNSEARCHED), "evaluate": ("final", HELD_OUT)}
"""The stages that segment: with which fit, which case."""


def main() -> None:
    order = json.loads(sys.argv[1])
    hold_to_cores(order["threads"])
    import torch

    from flareseg.system.private_imports import import_for_training

    import_for_training()
    torch.set_num_threads(order["threads"])
    did = {"stage": stage, "load": load, "step": step}[order["what"]](order)
    answer = {"versions": versions(), "peak_resident_bytes": peak_resident_bytes()} | did
    Path(order["answer"]).write_text(json.dumps(answer), encoding="utf-8")


def stage(order: dict[str, Any]) -> dict[str, Any]:
    """Run a stage on the tiny CT, then on the other one; what the latter cost."""
    name, folder = order["stage"], Path(order["folder"])
    if name == "export":
        if not (folder / "run" / "index.json").exists():
            _run(folder, "prepare")
        write_fits(folder, _overrides(name))
    else:
        _measured_stage(Path(order["warm"]), name)
    return _measured_stage(folder, name)


def _measured_stage(folder: Path, name: str) -> dict[str, Any]:
    run = folder / "run"
    for output in OUTPUTS[name]:
        shutil.rmtree(run / output, ignore_errors=True)
        (run / output).unlink(missing_ok=True)
    with standing_in(folder, name) as nets, measured() as cost:
        _run(folder, name)
    if name == "prepare":
        write_fits(folder, _overrides(name))
    written = {output: size_of(run / output) for output in OUTPUTS[name]}
    return cost | nets | {"written_bytes": written}


def _run(folder: Path, name: str) -> None:
    from train.config_file import load_config
    from train.pipeline import Run

    Run(load_config(folder / "config.yaml", _overrides(name))).stage(name)


def _overrides(name: str) -> list[str]:
    """The nets for a stage: as they are where their weights are written, or as narrow as their outputs allow."""
    if name == "export":
        return []
    return ["nets.tumor.filters=[2, 2, 2, 2, 2, 2]", "nets.final.filters=[15, 15, 15, 15, 15, 15]"]


@contextmanager
def measured() -> Iterator[dict[str, Any]]:
    """Seconds of processor (with what processes below it used) and of wall, and bytes read and written."""
    cost: dict[str, Any] = {}
    began, processor, moved = time.perf_counter(), processor_seconds(), bytes_moved()
    yield cost
    cost["cpu_s"] = processor_seconds() - processor
    cost["wall_s"] = time.perf_counter() - began
    cost |= {name: value - moved[name] for name, value in bytes_moved().items()}


def processor_seconds() -> float:
    """User and system, of this process and those that it waited for."""
    found = os.times()
    return time.process_time() + found.children_user + found.children_system


def bytes_moved() -> dict[str, int]:
    """Bytes that this process has asked the system to read and write, cached or not; none where it does not count."""
    try:
        lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    counted = dict(line.split(": ") for line in lines)
    return {"read_bytes": int(counted["rchar"]), "write_bytes": int(counted["wchar"]), "reads": int(counted["syscr"])}


def size_of(path: Path) -> dict[str, int]:
    """Bytes of the files under a folder, by the name of each without its case."""
    sizes: dict[str, int] = {}
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.is_file():
            case = next((part for part in (UNSEARCHED, HELD_OUT) if part in str(file)), "")
            name = str(file.relative_to(path)).replace(f"{SOURCE}_{case}", "CASE") if case else "others"
            key = f"{case} {name}".strip()
            sizes[key] = sizes.get(key, 0) + file.stat().st_size
    return sizes


def write_fits(folder: Path, overrides: list[str]) -> None:
    """Leave what finished fits leave, with random weights."""
    import torch

    from flareseg.model.networks.registry import build_network, own_weights
    from train.common.paths import RunPaths
    from train.config_file import load_config
    from train.training.checkpoints import LAST, write_done

    config = load_config(folder / "config.yaml", overrides)
    for fit in config.fits:
        home = RunPaths(config.runs).fit(fit)
        home.mkdir(parents=True, exist_ok=True)
        weights = own_weights(build_network(_plan(config, fit)).state_dict())
        torch.save({"average": weights}, home / LAST)
        write_done(home, {"task": "segment", "steps": 0, "seconds": 0, "cases": [], "device": "none"})


def _plan(config: Any, fit: str) -> Any:
    from train.common.paths import RunPaths
    from train.training.fits import plan_of

    return plan_of(config, RunPaths(config.runs), fit)


class StandIn:
    """In the place of a network: logits that draw given labels, window by window in the order of `predict`.

    Args:
        network: for which it stands.
        labels: (z, y, x) output channels on the network's grid.
        plan: of the network.
    """

    def __init__(self, network: Any, labels: Any, plan: Any) -> None:
        from flareseg.inference.sliding import pad_to_window, window_starts

        self._network, self.cpu_s, self.windows = network, 0.0, 0
        padded, _ = pad_to_window(labels.float(), plan.patch_zyx, 0.0)
        self._labels = padded.long()
        sizes = zip(padded.shape, plan.patch_zyx, strict=True)
        starts = [window_starts(size, window, plan.step) for size, window in sizes]
        self._corners = [(z, y, x) for z in starts[0] for y in starts[1] for x in starts[2]]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def __call__(self, windows: Any) -> Any:
        import torch

        began = time.process_time()
        corner = self._corners[self.windows]
        box = tuple(slice(start, start + size) for start, size in zip(corner, windows.shape[2:], strict=True))
        logits = torch.zeros(1, self.classes, *windows.shape[2:])
        logits.scatter_(1, self._labels[box][None, None], CERTAIN)
        self.windows += 1
        self.cpu_s += time.process_time() - began
        return logits


@contextmanager
def standing_in(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """Within it, the stage's nets are stand-ins. Into the yielded table come CPU seconds that are no case's: until the
    model is ready (once a process), and of the stand-in itself; and those of each step of the inference."""
    found: dict[str, Any] = {}
    if name not in SEGMENTED:
        yield found
        return
    import train.stages.evaluate
    import train.stages.pseudolabel

    fit, case = SEGMENTED[name]
    module = {"pseudolabel": train.stages.pseudolabel, "evaluate": train.stages.evaluate}[name]
    real = module.Segmenter

    class Watched(real):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            found["start_cpu_s"] = processor_seconds() - begun

        def segment(self, volume: Any, **arguments: Any) -> Any:
            began, engine = processor_seconds(), self._model.strategy.engine
            stand_in = StandIn(engine._networks[0], labels_of(folder, fit, case), engine.plan)
            engine._networks[0] = stand_in
            own, progress = processor_seconds() - began, clock()
            result = super().segment(volume, progress=progress, **arguments)
            found.update(windows=stand_in.windows, stages_cpu_s=progress.cpu_seconds)
            found["stand_in_cpu_s"] = own + stand_in.cpu_s
            found["stages_cpu_s"]["network"] -= stand_in.cpu_s
            return result

    begun = processor_seconds()
    module.Segmenter = Watched
    try:
        yield found
    finally:
        module.Segmenter = real


def labels_of(folder: Path, fit: str, case: str) -> Any:
    """The labels of a case on the grid of a fit's net, as its output channels; tumours of the other case where its own
    are not drawn: both show the same CT."""
    import torch

    from train.common.paths import RunPaths
    from train.config_file import load_config
    from train.data.cache import load_cached

    config = load_config(folder / "config.yaml", _overrides(""))
    net = config.net_of(fit)
    cached = load_cached(RunPaths(config.runs).grid(net.spacing_zyx_mm) / f"{SOURCE}_{HELD_OUT}", "truth")
    drawn = cached.labels((slice(None), slice(None), slice(None)))
    channels = np.zeros(256, np.uint8)
    channels[list(net.values)] = np.arange(len(net.values))
    return torch.from_numpy(channels[drawn])


def clock() -> Any:
    """A `Progress` that also counts the processor's seconds of each stage."""
    from flareseg.progress import Progress

    class Clock(Progress):
        def __init__(self) -> None:
            super().__init__()
            self.cpu_seconds: dict[str, float] = {}

        @contextmanager
        def stage(self, name: str) -> Iterator[None]:
            began = processor_seconds()
            with super().stage(name):
                yield
            self.cpu_seconds[name] = self.cpu_seconds.get(name, 0.0) + processor_seconds() - began

    return Clock()


def load(order: dict[str, Any]) -> dict[str, Any]:
    """CPU seconds and bytes to read a patch of a fit from the cache, and CPU seconds to augment it on the CPU."""
    import torch

    from train.augmentation.dataset import PatchDataset, finished_patch
    from train.config_file import load_config

    folder = Path(order["folder"])
    config = load_config(folder / "config.yaml")
    fit = config.fits[order["fit"]]
    net, plan, cases = config.net_of(order["fit"]), _plan(config, order["fit"]), _cached(config, order["fit"])
    numbers = {"foreground": fit.foreground, "seed": 0, "length": 10**9, "finished": False}
    dataset = PatchDataset(cases, [1.0] * len(cases), net, plan, fit.augment, **numbers)
    read: list[dict[str, Any]] = []
    augmented: list[dict[str, Any]] = []
    for number in range(order["count"] + 1):
        with measured() as cost:
            sample = dataset[number]
        read.append(cost)
        with measured() as cost:
            finished_patch(sample, net, plan, fit.augment, torch.device("cpu"))
        augmented.append(cost)
    mean = {key: float(np.mean([one[key] for one in read[1:]])) for key in read[0]}
    return mean | {
        "augment_cpu_s": float(np.mean([one["cpu_s"] for one in augmented[1:]])),
        "patch_voxels": math.prod(plan.patch_zyx),
    }


def step(order: dict[str, Any]) -> dict[str, Any]:
    """CPU seconds of a training step of a fit's net with a part of its filters, and what it multiplies and adds."""
    import training_flareseg_side

    from train.config_file import load_config
    from train.reporting.cost import multiply_adds

    folder = Path(order["folder"])
    config = load_config(folder / "config.yaml")
    name = config.fits[order["fit"]].net
    whole = config.nets[name]
    net = replace(whole, filters=[max(1, round(filters * order["width"])) for filters in whole.filters])
    ours = {"cache": str(_grid(config, order["fit"])), "augment": {}, "warm": 1}
    plan = _plan(replace(config, nets=config.nets | {name: net}), order["fit"])
    table = json.loads(json.dumps(_as_table(net, plan)))
    timed = training_flareseg_side.step(order | ours | {"net": table})
    return timed | {"filters": net.filters, "multiply_adds": multiply_adds(plan)}


def _as_table(net: Any, plan: Any) -> dict[str, Any]:
    """A net with its intensities, as the keys of a configuration."""
    from dataclasses import asdict

    known = {key: value for key, value in asdict(net).items() if value is not None}
    intensity = plan.intensity
    return known | {"clip_hu": intensity.clip_hu, "mean_hu": intensity.mean_hu, "std_hu": intensity.std_hu}


def _grid(config: Any, fit: str) -> Path:
    from train.common.paths import RunPaths

    return RunPaths(config.runs).grid(config.net_of(fit).spacing_zyx_mm)


def _cached(config: Any, fit: str) -> list[Any]:
    """The two cases of the size that is measured; without their labels for a net that learns without."""
    from train.data.cache import load_cached

    kind = None if config.fits[fit].task == "reconstruct" else "truth"
    return [load_cached(_grid(config, fit) / f"{SOURCE}_{case}", kind) for case in (UNSEARCHED, HELD_OUT)]


if __name__ == "__main__":
    main()
