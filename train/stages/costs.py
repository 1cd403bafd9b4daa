"""The command `costs`: what the stages of a configuration cost, as tables. It needs no data and runs nothing."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from flareseg.errors import UsageError
from train.config_file import load_config
from train.planning.costs import Cohort, FitDemand, Machine, Reckoning, StageCost, reckon
from train.planning.rates import MEASURED, read_rates
from train.reporting.tables import markdown

Numbers = TypeVar("Numbers", Cohort, Machine)
_COHORT, _MACHINE = Cohort(), Machine()
_LARGEST = 1e9


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command, with the defaults of `Cohort` and `Machine`."""

    def add(name: str, kind: type, default: float | None, text: str) -> None:
        shown = "" if default is None else f" ({default:g})"
        parser.add_argument(f"--{name}", type=kind, default=default, metavar="N", help=text + shown)

    parser.add_argument("--config", type=Path, required=True, help="whose nets, fits and grids are reckoned")
    add("cases", int, _COHORT.cases, "CTs")
    add("slices", float, _COHORT.slices, "mean number of slices of 512×512 voxels")
    add("slice-mm", float, _COHORT.slice_mm, "their distance")
    add("searched", int, _COHORT.searched, "CTs that get tumour pseudo-labels (all)")
    add("evaluated", int, _COHORT.evaluated, "CTs that are scored")
    add("gpus", int, _MACHINE.gpus, "GPUs")
    add("tflops", float, _MACHINE.tflops, "peak of one GPU in bf16, dense")
    add("share", float, _MACHINE.share, "of that peak which a training reaches")
    add("cores", int, _MACHINE.cores, "CPU cores for each GPU")
    add("disk-mb-s", float, _MACHINE.disk_mb_s, "what the disk gives to all processes together")
    parser.add_argument(
        "--measured", type=Path, default=MEASURED, metavar="FILE", help="training_costs.json to reckon by"
    )


def costs(options: argparse.Namespace) -> str:
    """The tables for the options of `add_options`, and `overrides` of the configuration.

    Raises:
        InputError: when the measured figures cannot be read.
        UsageError: when the configuration or a number is invalid.
    """
    config = load_config(options.config, options.overrides, with_data=False)
    cohort, machine = _built(Cohort, options), _built(Machine, options)
    found = reckon(config, read_rates(options.measured), cohort, machine)
    return "\n".join([*_assumed(cohort, machine), "", *_stages(found), "", *_demands(found.demands, machine)])


def _built(kind: type[Numbers], options: argparse.Namespace) -> Numbers:
    """A `Cohort` or `Machine` of the options that are called as its attributes."""
    given: dict[str, Any] = {one.name: vars(options)[one.name] for one in fields(kind)}
    for name, value in given.items():
        if value is not None and not (math.isfinite(value) and 0 < value <= _LARGEST):
            raise UsageError(f"--{name.replace('_', '-')} is a number above 0 and up to {_LARGEST:g}.")
    return kind(**given)


def _assumed(cohort: Cohort, machine: Machine) -> list[str]:
    gpus = f"{machine.gpus} GPU{'s' if machine.gpus > 1 else ''}"
    return [
        f"{cohort.cases:,} CTs of {cohort.slices:g} slices of 512×512, {cohort.slice_mm:g} mm apart. {gpus} of "
        f"{machine.tflops:g} TFLOP/s, of which a training reaches {machine.share:.0%}; {machine.cores} cores a GPU; "
        f"{machine.disk_mb_s:,g} MB/s from and to the disk."
    ]


def _stages(found: Reckoning) -> list[str]:
    head = ("stage", "work", "GPU-hours", "core-hours", "hours", "limit", "read", "written", "memory", "GPU memory")
    total = (
        "all",
        "",
        _number(sum(stage.gpu_hours for stage in found.stages)),
        _number(sum(stage.core_hours for stage in found.stages)),
        _number(sum(stage.hours for stage in found.stages)),
        "",
        _gb(sum(stage.read_gb for stage in found.stages)),
        _gb(sum(stage.written_gb for stage in found.stages)),
        "",
        "",
    )
    disk = ", ".join(f"{kind} {_gb(size)}" for kind, size in found.disk_gb.items())
    lines = markdown([head, *map(_row, found.stages), total])
    return [*lines, "", f"On the disk: {disk}; {_gb(sum(found.disk_gb.values()))} in all."]


def _row(stage: StageCost) -> tuple[str, ...]:
    return (
        stage.name,
        stage.work,
        _number(stage.gpu_hours),
        _number(stage.core_hours),
        _number(stage.hours),
        stage.limit,
        _gb(stage.read_gb),
        _gb(stage.written_gb),
        "" if stage.process_gib is None else f"{stage.process_gib:.1f} GiB",
        "" if stage.gpu_gb is None else f"{stage.gpu_gb:.0f} GB",
    )


def _demands(demands: Sequence[FitDemand], machine: Machine) -> list[str]:
    """What one GPU, and all of them, ask of cores and disk while they train without waiting."""
    head = ("fit", "patches/s a GPU", "cores to read", "cores to augment", "MB/s a GPU", f"MB/s of {machine.gpus}")
    rows = [
        (
            one.name,
            _number(one.patches_per_s),
            _number(one.cores_to_read),
            _number(one.cores_to_augment),
            _number(one.read_mb_s),
            _number(one.read_mb_s * machine.gpus),
        )
        for one in demands
    ]
    return markdown([head, *rows])


def _number(value: float) -> str:
    """Three digits, as more are not known."""
    if value < 0.005:
        return "<0.01" if value else "–"
    digits = max(0, 2 - math.floor(math.log10(value)))
    return f"{value:,.{min(digits, 2)}f}"


def _gb(value: float) -> str:
    if value == 0:
        return "–"
    return f"{_number(value / 1000)} TB" if value >= 1000 else f"{_number(value)} GB"
