"""`flareseg bench`: time and memory of every stage of one CT, and FLARE's resource curves."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import psutil

from flareseg.commands.model_options import options_of
from flareseg.io.atomic import atomic_path, check_destination
from flareseg.io.files import write_segmentation
from flareseg.options import Options
from flareseg.progress import Progress, Silent
from flareseg.reading.reader import CaseReader
from flareseg.segmenter import Segmenter
from flareseg.system.interrupt import run_until_signal
from flareseg.system.streams import print_text
from flareseg.system.temporary import temporary_folder
from flareseg.volume import Volume

SAMPLE_EVERY_S = 0.02
MIB = 2**20


@dataclass(frozen=True)
class Sample:
    """What this process used at one moment: seconds since the start, MiB, and CPU cores' worth of per cent."""

    time_s: float
    resident_mib: float
    gpu_mib: float
    cpu_percent: float


@dataclass
class ResourceCurve:
    """Samples this process in the background, as FLARE's evaluation does from outside (it samples every 0.1 s).

    GPU memory is what torch has reserved on the device, which is what other programs cannot use.
    """

    samples: list[Sample] = field(default_factory=list)

    def __enter__(self) -> ResourceCurve:
        self._stop = threading.Event()
        self._began = time.perf_counter()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def now(self) -> float:
        """Seconds since the curve began."""
        return time.perf_counter() - self._began

    def peak_resident_mib(self, start_s: float = 0.0, stop_s: float = float("inf")) -> float:
        return self._peak(lambda sample: sample.resident_mib, start_s, stop_s)

    def peak_gpu_mib(self, start_s: float = 0.0, stop_s: float = float("inf")) -> float:
        return self._peak(lambda sample: sample.gpu_mib, start_s, stop_s)

    def area_gpu_mib_s(self) -> float:
        """Area under the curve of GPU memory over time."""
        return self._area(lambda sample: sample.gpu_mib)

    def area_cpu_percent_s(self) -> float:
        """Area under the curve of CPU utilisation over time; one busy core for one second is 100."""
        return self._area(lambda sample: sample.cpu_percent)

    def _run(self) -> None:
        process = psutil.Process()
        process.cpu_percent()
        while True:
            stopped = self._stop.wait(SAMPLE_EVERY_S)
            resident = process.memory_info().rss / MIB
            self.samples.append(Sample(self.now(), resident, _gpu_reserved_mib(), process.cpu_percent()))
            if stopped:
                return

    def _peak(self, value: Callable[[Sample], float], start_s: float, stop_s: float) -> float:
        # A stage shorter than the sampling interval takes the next sample after it.
        inside = [value(s) for s in self.samples if start_s <= s.time_s <= stop_s + SAMPLE_EVERY_S * 2]
        return max(inside, default=0.0)

    def _area(self, value: Callable[[Sample], float]) -> float:
        pairs = zip(self.samples, self.samples[1:], strict=False)
        return sum((b.time_s - a.time_s) * (value(a) + value(b)) / 2 for a, b in pairs)


@dataclass(frozen=True)
class StageCost:
    """One stage: median seconds over the repeats, and the highest memory while it ran."""

    stage: str
    seconds: float
    peak_resident_mib: float
    peak_gpu_mib: float


@dataclass(frozen=True)
class BenchResult:
    """Everything `flareseg bench` measured.

    Attributes:
        case, shape_zyx, spacing_zyx_mm, model, device: what ran on what.
        load_s: seconds to load the model and prepare the device.
        first_s: the first case, read to written, in the fresh process.
        stages: by order of the pipeline, warm.
        total_s: median seconds of a warm case, read to written.
        peak_resident_mib, peak_gpu_mib: of the whole process.
        area_gpu_mib_s, area_cpu_percent_s: FLARE's areas, mean per warm case.
    """

    case: str
    shape_zyx: tuple[int, int, int]
    spacing_zyx_mm: tuple[float, float, float]
    model: str
    device: str
    load_s: float
    first_s: float
    stages: tuple[StageCost, ...]
    total_s: float
    peak_resident_mib: float
    peak_gpu_mib: float
    area_gpu_mib_s: float
    area_cpu_percent_s: float


def bench_command(arguments: argparse.Namespace) -> int:
    """Run `flareseg bench`; returns its exit status."""
    if arguments.json:
        check_destination(arguments.json, overwrite=True)

    def work(cancelled: Callable[[], bool]) -> int:
        result, curve = bench(
            arguments.input,
            model=arguments.model,
            options=options_of(arguments),
            repeats=arguments.repeats,
            force=arguments.force,
            cancelled=cancelled,
        )
        print_text(as_text(result), sys.stdout)
        if arguments.json:
            data = asdict(result) | {"curve": [asdict(sample) for sample in curve.samples]}
            with atomic_path(arguments.json, overwrite=True) as temporary:
                temporary.write_text(json.dumps(data, indent=1), encoding="utf-8")
        return 0

    return run_until_signal(work)


def bench(
    source: Path,
    *,
    model: str = "default",
    options: Options | None = None,
    repeats: int = 3,
    force: bool = False,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[BenchResult, ResourceCurve]:
    """Segment `source` once to warm up and `repeats` times for the figures, each read to written."""
    began = time.perf_counter()
    segmenter = Segmenter(model, options or Options())
    load_s = time.perf_counter() - began
    first = _Stopwatch(None)
    with CaseReader() as reader:
        read = partial(reader.read, force=force, cancelled=cancelled)
        _read_segment_write(source, segmenter, first, read, cancelled)
        with ResourceCurve() as curve:
            runs = [_Stopwatch(curve) for _ in range(repeats)]
            for run in runs:
                volume_shape, spacing, case = _read_segment_write(source, segmenter, run, read, cancelled)
    stages = [
        StageCost(
            stage=stage,
            seconds=statistics.median(run.seconds[stage] for run in runs),
            peak_resident_mib=max(curve.peak_resident_mib(*run.spans[stage]) for run in runs),
            peak_gpu_mib=max(curve.peak_gpu_mib(*run.spans[stage]) for run in runs),
        )
        for stage in runs[0].seconds
    ]
    result = BenchResult(
        case=case,
        shape_zyx=volume_shape,
        spacing_zyx_mm=spacing,
        model=segmenter.model_name,
        device=segmenter.device_description,
        load_s=load_s,
        first_s=sum(first.seconds.values()),
        stages=tuple(stages),
        total_s=statistics.median(sum(run.seconds.values()) for run in runs),
        peak_resident_mib=curve.peak_resident_mib(),
        peak_gpu_mib=curve.peak_gpu_mib(),
        area_gpu_mib_s=curve.area_gpu_mib_s() / repeats,
        area_cpu_percent_s=curve.area_cpu_percent_s() / repeats,
    )
    return result, curve


class _Stopwatch(Silent):
    """Notes when each stage began and ended, on the clock of a resource curve."""

    def __init__(self, curve: ResourceCurve | None) -> None:
        self._now = curve.now if curve else time.perf_counter
        self.spans: dict[str, tuple[float, float]] = {}

    @property
    def seconds(self) -> dict[str, float]:
        return {stage: stop - start for stage, (start, stop) in self.spans.items()}

    def stage(self, name: str, fraction: float) -> None:
        now = self._now()
        start, _ = self.spans.get(name, (now, now))
        self.spans[name] = (start, now)


def _read_segment_write(
    source: Path,
    segmenter: Segmenter,
    stopwatch: _Stopwatch,
    read: Callable[[Path], Volume],
    cancelled: Callable[[], bool],
) -> tuple[tuple[int, int, int], tuple[float, float, float], str]:
    progress = Progress(stopwatch, cancelled)
    with temporary_folder() as folder:
        with progress.stage("read"):
            volume = read(source)
        result = segmenter.segment(volume, progress=progress)
        with progress.stage("write"):
            write_segmentation(result, folder / "segmentation.nii.gz")
    return volume.geometry.shape_zyx, volume.geometry.spacing_zyx_mm, volume.name


def _gpu_reserved_mib() -> float:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return 0.0
    return float(torch.cuda.memory_reserved()) / MIB


def as_text(result: BenchResult) -> str:
    """The table that people read."""
    z, y, x = result.shape_zyx
    sz, sy, sx = result.spacing_zyx_mm
    lines = [
        f"{result.case}: {x} × {y} × {z} voxels of {sx:.3g} × {sy:.3g} × {sz:.3g} mm",
        f"{result.model} on {result.device}",
        "",
        f"{'stage':<12}{'seconds':>9}{'peak RSS, MiB':>16}{'peak GPU, MiB':>16}",
    ]
    lines += [
        f"{cost.stage:<12}{cost.seconds:>9.2f}{cost.peak_resident_mib:>16.0f}{cost.peak_gpu_mib:>16.0f}"
        for cost in result.stages
    ]
    lines += [
        f"{'total':<12}{result.total_s:>9.2f}{result.peak_resident_mib:>16.0f}{result.peak_gpu_mib:>16.0f}",
        "",
        f"model load {result.load_s:.2f} s; first case in the fresh process {result.first_s:.2f} s",
        f"FLARE curves per case: GPU memory {result.area_gpu_mib_s:.0f} MiB·s, CPU {result.area_cpu_percent_s:.0f} %·s",
    ]
    return "\n".join(lines)
