"""What a training costs: GPU-hours, core-hours, disk, memory and bandwidth, reckoned from its configuration.

    GPU seconds of a fit  =  patches × 3 × 2 × multiply-adds / (peak × share)       forward and backward
    of a case segmented   =  windows × 2 × multiply-adds / (peak × share)           forward
    hours of a stage      =  the longest of GPU time, CPU time, and bytes read and written, over what there is of each;
                             while a fit writes its checkpoint after an epoch, nothing else goes on

Multiply-adds are counted layer by layer (`reporting/cost.py`); everything else is measured (`rates.py`), or an
assumption of `Machine` and `Cohort`, which name their sources.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from flareseg.inference.sliding import flips_of, window_shape, window_starts
from flareseg.model.plan import Plan
from flareseg.volume import Triple
from train.config import Config
from train.net_config import ANY_RANGE, NetConfig
from train.planning.rates import Rates, StageRates, at
from train.pseudo_config import PseudoKind
from train.reporting.cost import feature_map_values, multiply_adds, parameters

FLOP = 2
"""A multiplication and an addition."""
TRAINED = 3
"""Times the forward pass: the backward pass computes gradients of features and of weights."""
BYTES_PER_VALUE = 7.7e9 / (2 * 560e6)
"""GPU memory of a step for each value in the feature maps of its patches: nnU-Net plans 560 million values a patch for
a batch of 2, and uses 7.70 GB for that on an A100 (the table of its documentation/resenc_presets.md)."""
BYTES = 4
"""Of a number in a checkpoint, which holds weights, their moving average, and momentum, or the two moments of AdamW."""
MB, GB = 1e6, 1e9


@dataclass(frozen=True)
class Machine:
    """What computes, and what feeds it.

    Attributes:
        gpus: their number.
        tflops: peak of one in bf16, dense. 989.4: H100 SXM5 (NVIDIA's data sheet says 1,979 with sparsity).
        share: of the peak that a training reaches. 3D U-Nets of 477 GMAC a patch of 128³: 0.11 with nnU-Net on an A100
            (41.1 s for 250 steps of 2, its documentation/expected_epoch_times.md), 0.20 with NVIDIA's own code on a DGX
            H100 (560 patches/s on eight, its results of MLPerf Training 3.0).
        cores: CPU cores for each GPU. 14: DGX H100, 112 for eight.
        disk_mb_s: read or written by all processes together. 1,000: a file server at 10 Gbit/s.
    """

    gpus: int = 1
    tflops: float = 989.4
    share: float = 0.12
    cores: int = 14
    disk_mb_s: float = 1000.0

    @property
    def flop_per_s(self) -> float:
        """Of one GPU, in a training."""
        return self.tflops * 1e12 * self.share


@dataclass(frozen=True)
class Cohort:
    """The CTs.

    Attributes:
        cases: their number.
        slices: of 512×512 voxels, the mean. 310: FLARE23's 1,241,146 slices of 4,000 CTs (OpenMedLab's data set card).
        slice_mm: their distance; 2.5: FLARE23's median.
        searched: cases that get tumour pseudo-labels; None: all.
        evaluated: cases that `evaluate` scores. 50: those of FLARE23's validation set with public labels.
    """

    cases: int = 4000
    slices: float = 310.0
    slice_mm: float = 2.5
    searched: int | None = None
    evaluated: int = 50


@dataclass(frozen=True)
class StageCost:
    """One line of the reckoning; hours are those of the wall.

    Attributes:
        name: of the stage, or of the fit.
        work: what it goes through, in words.
        limit: what its hours are made of: "GPU", "cores", "disk", or "one process a GPU".
        gpu_gb: memory of a GPU in a training step.
    """

    name: str
    work: str
    gpu_hours: float
    core_hours: float
    hours: float
    limit: str
    read_gb: float
    written_gb: float
    process_gib: float | None = None
    gpu_gb: float | None = None


@dataclass(frozen=True)
class FitDemand:
    """What one GPU asks for while it trains without waiting.

    Attributes:
        patches_per_s: that it takes.
        cores_to_read, cores_to_augment: that read so many from the cache, and that augment them where the GPU does not.
        read_mb_s: from the disk, where nothing is cached in memory.
    """

    name: str
    patches_per_s: float
    cores_to_read: float
    cores_to_augment: float
    read_mb_s: float


@dataclass(frozen=True)
class Reckoning:
    """All stages, what fits ask for, and what lies on the disk in GB by kind."""

    stages: tuple[StageCost, ...]
    demands: tuple[FitDemand, ...]
    disk_gb: dict[str, float]


def reckon(config: Config, rates: Rates, cohort: Cohort, machine: Machine) -> Reckoning:
    """What the stages of a configuration cost on so many CTs."""
    return _Reckoner(config, rates, cohort, machine).everything()


@dataclass(frozen=True)
class _Reckoner:
    config: Config
    rates: Rates
    cohort: Cohort
    machine: Machine

    def everything(self) -> Reckoning:
        config, cases = self.config, self.cohort.cases
        demands = {name: self._demand(name) for name in config.fits if self._is_trained(name)}
        fits = {name: self._fit(name, demand) for name, demand in demands.items()}
        before = [name for name in fits if (config.fits[name].stage or name) in ("pretrain", "tumor")]
        stages = [self._on_cores("prepare", "prepare", cases, config.grids())]
        stages += [fits[name] for name in before]
        for name in config.rounds:
            stages += self._labels_of(name)
            learning = [fit for fit in config.fits_of("rounds") if config.fits[fit].round == name]
            stages += [fits[fit] for fit in learning]
            before += learning
        stages += self._labels_of("")
        stages += [fit for name, fit in fits.items() if name not in before]
        if config.export.fit in config.fits:
            exported = [config.export.fit, *filter(None, (config.export.coarse, config.export.tumour))]
            title = f"evaluate ({', '.join(exported)})"
            stages.append(self._segmenting("evaluate", title, self.cohort.evaluated, exported, config.export.mirroring))
        return Reckoning(tuple(stages), tuple(demands.values()), self._disk(stages))

    def _is_trained(self, name: str) -> bool:
        return self.config.ablation.pretraining or (self.config.fits[name].stage or name) != "pretrain"

    def _labels_of(self, of_round: str) -> list[StageCost]:
        """Pseudo-labels and label fusion of a round, if a fit learns from them; "" is the last round.

        Tumours are labelled by fits of this run; organs by these too, or by models, of which nothing is known here.
        """
        config, cohort = self.config, self.cohort
        learning = config.learning_from(of_round)
        if not learning:
            return []
        settings, mark = config.labelling(of_round), f" {of_round}" if of_round else ""
        searched = cohort.cases if cohort.searched is None else min(cohort.searched, cohort.cases)
        stages = []
        wanted: dict[PseudoKind, int] = {
            "tumour": searched if config.ablation.label_fusion else 0,
            "organs": cohort.cases,
        }
        for kind, cases in wanted.items():
            nets = [net for net in settings.nets(kind) if net in config.fits]
            if cases and nets:
                # each of them is shown the region anew
                asked = [name for net in nets for name in (settings.coarse, net) if name]
                title = f"pseudolabel{mark} ({', '.join(nets)})"
                stages.append(self._segmenting("pseudolabel", title, cases, asked, settings.mirroring))
        grids = dict.fromkeys(config.net_of(name).spacing_zyx_mm for name in learning)
        return [*stages, self._on_cores("fuse", f"fuse{mark}", cohort.cases, grids)]

    def _fit(self, name: str, demand: FitDemand) -> StageCost:
        fit, plan = self.config.fits[name], _plan(self.config.net_of(name))
        patches = fit.epochs * fit.steps_per_epoch * fit.batch_size
        gpu_hours = patches / demand.patches_per_s / 3600
        core_hours = gpu_hours * demand.cores_to_read
        if fit.augment_on == "workers":
            core_hours += gpu_hours * demand.cores_to_augment
        read_gb = gpu_hours * 3600 * demand.read_mb_s * MB / GB
        limits = {
            "GPU": gpu_hours / self.machine.gpus,
            "cores": core_hours / (self.machine.gpus * self.machine.cores),
            "disk": self._disk_hours(read_gb),
        }
        limit = max(limits, key=lambda key: limits[key])
        # with more GPUs an epoch has more patches: for as many in all, there are fewer epochs
        epochs = fit.epochs / self.machine.gpus
        written_gb = epochs * parameters(plan) * (4 if fit.optimizer == "adamw" else 3) * BYTES / GB
        hours = limits[limit] + self._disk_hours(written_gb)
        step = feature_map_values(plan) * fit.batch_size * BYTES_PER_VALUE / GB
        tflop = self.machine.flop_per_s / demand.patches_per_s / 1e12
        work = f"{patches:,} patches, {tflop:.2f} TFLOP each"
        return StageCost(name, work, gpu_hours, core_hours, hours, limit, read_gb, written_gb, gpu_gb=step)

    def _demand(self, name: str) -> FitDemand:
        fit, plan = self.config.fits[name], _plan(self.config.net_of(name))
        flop = FLOP * TRAINED * multiply_adds(plan)
        if fit.teacher in self.config.fits:
            flop += FLOP * multiply_adds(_plan(self.config.net_of(fit.teacher)))
        rates = self.rates.patch(math.prod(plan.patch_zyx), unlabelled=fit.task == "reconstruct")
        speed = self.machine.flop_per_s / flop
        return FitDemand(name, speed, speed * rates.read_cpu_s, speed * rates.augment_cpu_s, speed * rates.read_mb)

    def _on_cores(self, stage: str, title: str, cases: int, grids: Iterable[Triple]) -> StageCost:
        """A stage whose cases are divided among all cores."""
        rates, more = self.rates.stages[stage], self._more(stage, grids)
        core_hours = cases * self._seconds(rates, more) / 3600
        read_gb, written_gb = self._moved(rates, cases, more)
        limits = {
            "cores": core_hours / (self.machine.gpus * self.machine.cores),
            "disk": self._disk_hours(read_gb + written_gb),
        }
        limit = max(limits, key=lambda key: limits[key])
        work, memory = f"{cases:,} CTs", at(rates.peak_gib, self.cohort.slices)
        return StageCost(title, work, 0.0, core_hours, limits[limit], limit, read_gb, written_gb, memory)

    def _segmenting(self, stage: str, title: str, cases: int, fits: list[str], mirroring: bool) -> StageCost:
        """A stage in which one process a GPU takes one CT after the other, and the GPU waits while the CPU works.

        What a GPU takes over of the work outside the nets has been measured on a CPU only, and counts as if it stayed.
        """
        rates, grids = self.rates.stages[stage], [self.config.net_of(fit).spacing_zyx_mm for fit in fits]
        more, windows, flop = self._more(stage, grids), 0, 0.0
        for fit in fits:
            plan = _plan(self.config.net_of(fit))
            count, size = self._windows(plan, mirroring)
            windows += count
            flop += FLOP * count * size * multiply_adds(plan)
        gpu_s, cpu_s = flop / self.machine.flop_per_s, self._seconds(rates, more)
        read_gb, written_gb = self._moved(rates, cases, more)
        one_process = cases * (gpu_s + cpu_s) / 3600 / self.machine.gpus
        disk = self._disk_hours(read_gb + written_gb)
        limit = "disk" if disk > one_process else "GPU" if gpu_s > cpu_s else "one process a GPU"
        return StageCost(
            name=title,
            work=f"{cases:,} CTs, {windows} windows each",
            gpu_hours=cases * gpu_s / 3600,
            core_hours=cases * cpu_s / 3600,
            hours=max(one_process, disk),
            limit=limit,
            read_gb=read_gb,
            written_gb=written_gb,
            process_gib=at(rates.peak_gib, self.cohort.slices),
        )

    def _windows(self, plan: Plan, mirroring: bool) -> tuple[int, float]:
        """Windows that cover the body of a CT, with mirror images, and how many times as large as a patch they are."""
        mm = (self.cohort.slices * self.cohort.slice_mm, *self.rates.body_mm)
        z, y, x = (max(1, round(length / spacing)) for length, spacing in zip(mm, plan.spacing_zyx_mm, strict=True))
        window = window_shape((z, y, x), plan.patch_zyx, plan.stride_zyx, plan.step, rule=plan.windows)
        count = math.prod(len(window_starts(*axis, plan.step)) for axis in zip((z, y, x), window, strict=True))
        if mirroring:
            count *= len(flips_of((*plan.mirror_axes, 2) if plan.mirror_sides else plan.mirror_axes))
        return count, math.prod(window) / math.prod(plan.patch_zyx)

    def _more(self, stage: str, grids: Iterable[Triple]) -> float:
        return self.rates.more_work(stage, grids, self.cohort.slice_mm)

    def _seconds(self, rates: StageRates, more: float) -> float:
        return at(rates.cpu_s, self.cohort.slices) * more

    def _moved(self, rates: StageRates, cases: int, more: float) -> tuple[float, float]:
        """GB read, which is the CTs and labels as stored, and written, which grows with the grids."""
        slices = self.cohort.slices
        return cases * at(rates.read_mb, slices) * MB / GB, cases * at(rates.written_mb, slices) * more * MB / GB

    def _disk_hours(self, gb: float) -> float:
        return gb * GB / (self.machine.disk_mb_s * MB) / 3600

    def _disk(self, stages: list[StageCost]) -> dict[str, float]:
        """What of the cases is on the disk in the end."""
        written = {
            kind: sum(s.written_gb for s in stages if s.name.startswith(kind)) for kind in ("prepare", "pseudolabel")
        }
        read = sum(stage.read_gb for stage in stages if stage.name == "prepare")
        fused = sum(stage.written_gb for stage in stages if stage.name.split()[0] == "fuse")
        named = {"CTs and labels": read, "cache": written["prepare"], "pseudo-labels": written["pseudolabel"]}
        return named | {"fused labels": fused}


def _plan(net: NetConfig) -> Plan:
    return net.plan(ANY_RANGE)
