"""What `python -m train costs` reckons, against the same sums by hand, and what it says of numbers without sense."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flareseg.errors import InputError
from flareseg.inference.sliding import predict, window_shape
from flareseg.model.plan import WindowRule, sides_swapped
from train.__main__ import main
from train.config import Config, PseudoConfig, SourceConfig
from train.config_file import load_config
from train.fit_config import FitConfig
from train.net_config import ANY_RANGE, NetConfig
from train.planning.costs import BYTES_PER_VALUE, Cohort, Machine, Reckoning, StageCost, reckon
from train.planning.fingerprint import Fingerprint
from train.planning.planner import plan_nets
from train.planning.rates import MEASURED, Rates, at, read_rates
from train.planning.topology import PRESETS, topology_of
from train.planning.topology import feature_map_values as planned_values
from train.reporting.cost import feature_map_values, multiply_adds, parameters

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "train" / "configs" / "paper.yaml"
GRID = (2.0, 2.0, 2.0)
NET = NetConfig(GRID, (32, 32, 32), [4, 8, 8], segments=["tumour"], step=0.5)
FITS = {
    "tumor": FitConfig("net", epochs=10, steps_per_epoch=100, batch_size=2),
    "final": FitConfig("net", epochs=5, steps_per_epoch=100, labels="fused"),
}


FREE_DISK = Machine(cores=1, disk_mb_s=1e9)


def config(**changes: Any) -> Config:
    values = {"name": "t", "version": "0", "runs": Path(), "output": Path(), "nets": {"net": NET}, "fits": FITS}
    return Config(**(values | {"sources": [SourceConfig("mine", "cases", "nowhere")]} | changes))


def measured(**changes: Any) -> dict[str, Any]:
    """Results in which every stage takes 1 s for 100 slices and 3 s for 200."""
    stage = {"cpu_s": [1, 3], "read_mb": [10, 20], "written_mb": [5, 10]}
    stage |= {"peak_gib": [1, 2], "grids": [GRID]}
    patch = {"voxels": 32**3, "read_cpu_s": 0.01, "augment_cpu_s": 0.05, "read_mb": 0.5, "unlabelled": False}
    rates = {
        "slices": [100, 200],
        "spacing_zyx_mm": [2.0, 1.0, 1.0],
        "body_mm": [100.0, 200.0],
        "body_share": 0.5,
        "stages": dict.fromkeys(("prepare", "pseudolabel", "fuse", "evaluate"), stage),
        "patches": {"final": patch},
    }
    return {"rates": rates | changes}


@pytest.fixture
def rates(tmp_path: Path) -> Rates:
    path = tmp_path / "measured.json"
    path.write_text(json.dumps(measured()))
    return read_rates(path)


def of(found: Reckoning, beginning: str) -> StageCost:
    return next(stage for stage in found.stages if stage.name.startswith(beginning))


def test_gpu_hours_of_a_fit_are_three_forward_passes_a_patch(rates: Rates) -> None:
    machine = Machine(tflops=100.0, share=0.1)
    found = of(reckon(config(), rates, Cohort(), machine), "tumor")
    flop = 10 * 100 * 2 * 3 * 2 * multiply_adds(NET.plan(ANY_RANGE))
    assert found.gpu_hours == pytest.approx(flop / (100e12 * 0.1) / 3600)
    assert found.gpu_gb == pytest.approx(2 * feature_map_values(NET.plan(ANY_RANGE)) * BYTES_PER_VALUE / 1e9)


def test_eight_gpus_share_the_patches_and_half_the_share_takes_twice_as_long(rates: Rates) -> None:
    slow = Machine(share=1e-4)
    one, eight, half = (
        of(reckon(config(), rates, Cohort(), machine), "final")
        for machine in (slow, replace(slow, gpus=8), replace(slow, share=5e-5))
    )
    assert one.limit == eight.limit == "GPU"
    assert eight.gpu_hours == one.gpu_hours and eight.hours == pytest.approx(one.hours / 8)
    assert one.hours > one.gpu_hours, "nothing goes on while a checkpoint is written"
    assert half.gpu_hours == pytest.approx(2 * one.gpu_hours)


def test_a_checkpoint_an_epoch_has_weights_average_and_momentum(rates: Rates) -> None:
    adam = {"tumor": replace(FITS["tumor"], optimizer="adamw")}
    sgd, adamw = (
        of(reckon(config(fits=FITS | changed), rates, Cohort(), Machine()), "tumor").written_gb
        for changed in ({}, adam)
    )
    assert sgd == pytest.approx(10 * 3 * 4 * parameters(NET.plan(ANY_RANGE)) / 1e9)
    assert adamw == pytest.approx(sgd * 4 / 3)


def test_what_saturates_first_gives_the_hours(rates: Rates) -> None:
    patches = 10 * 100 * 2
    starved = of(reckon(config(), rates, Cohort(), FREE_DISK), "tumor")
    assert starved.limit == "cores" and starved.hours == pytest.approx(patches * 0.01 / 3600)
    workers = {"tumor": replace(FITS["tumor"], augment_on="workers")}
    augmenting = of(reckon(config(fits=FITS | workers), rates, Cohort(), FREE_DISK), "tumor")
    assert augmenting.hours == pytest.approx(patches * (0.01 + 0.05) / 3600)
    slow_disk = of(reckon(config(), rates, Cohort(), Machine(disk_mb_s=1.0)), "tumor")
    moved_mb = patches * 0.5 + 1000 * slow_disk.written_gb
    assert slow_disk.limit == "disk" and slow_disk.hours == pytest.approx(moved_mb / 3600)


def test_cases_cost_what_the_line_through_both_sizes_says(rates: Rates) -> None:
    found = reckon(config(), rates, Cohort(cases=3600, slices=300, slice_mm=2.0), Machine(cores=10))
    prepare = of(found, "prepare")
    assert prepare.core_hours == pytest.approx(5.0) and prepare.hours == pytest.approx(0.5)
    assert prepare.read_gb == pytest.approx(3600 * 0.03) and prepare.process_gib == pytest.approx(3.0)
    assert found.disk_gb["cache"] == pytest.approx(3600 * 0.015)
    assert at(rates.stages["prepare"].cpu_s, 10) == 0, "a line is not followed below nothing"


def test_other_grids_and_slices_cost_in_proportion_to_their_voxels(rates: Rates) -> None:
    # half of the 2 mm³ of a voxel lies in the body: an eighth of a voxel of 2×2×2 mm for each as stored
    assert rates.grid_voxels([GRID], 2.0) == pytest.approx(0.125)
    fine = replace(NET, spacing_zyx_mm=(1.0, 1.0, 1.0))
    assert rates.more_work("prepare", [GRID, fine.spacing_zyx_mm], 2.0) == pytest.approx((1 + 0.125 + 1) / 1.125)
    assert rates.more_work("prepare", [GRID], 2.0) == 1
    large = rates.patch(8 * 32**3, unlabelled=True)
    assert (large.read_cpu_s, large.read_mb) == pytest.approx((0.08, 4.0))


@pytest.mark.parametrize("windows", ["fixed", "fitted"])
@pytest.mark.parametrize("mirroring", [False, True])
def test_a_case_is_searched_in_as_many_windows_as_inference_takes(
    rates: Rates, windows: WindowRule, mirroring: bool
) -> None:
    import torch

    net = replace(NET, windows=windows, mirror_axes=[0], mirror_sides=True)
    plan, calls = net.plan(ANY_RANGE), []
    cohort = Cohort(cases=10, slices=50, slice_mm=2.0, searched=7)

    class Counting:
        device, classes = torch.device("cpu"), 2

        def __call__(self, windows: torch.Tensor) -> torch.Tensor:
            calls.append(windows.shape)
            return torch.zeros(1, 2, *windows.shape[2:])

    shape = (50 * 2 // 2, 100 // 2, 200 // 2)  # the body in voxels of the grid
    window = window_shape(shape, plan.patch_zyx, plan.stride_zyx, plan.step, rule=windows)
    mirrored = {"mirror_axes": plan.mirror_axes, "sides": sides_swapped(plan.labels)} if mirroring else {}
    predict(torch.zeros(shape), Counting(), window, step=plan.step, **mirrored)
    settings = config(nets={"net": net}, pseudo=PseudoConfig(tumour_fit="tumor", mirroring=mirroring))
    found = of(reckon(settings, rates, cohort, Machine()), "pseudolabel")
    assert found.work == f"7 CTs, {len(calls)} windows each"
    flop = 7 * len(calls) * 2 * multiply_adds(plan) * math.prod(window) / math.prod(plan.patch_zyx)
    assert found.gpu_hours == pytest.approx(flop / Machine().flop_per_s / 3600)


def test_values_of_feature_maps_are_those_that_the_planner_counts() -> None:
    topology = topology_of((3.0, 0.8, 0.8), (32, 96, 96))
    plain = NetConfig(
        (3.0, 0.8, 0.8), topology.patch, list(topology.filters), kernels=[list(k) for k in topology.kernels],
        strides=[list(s) for s in topology.strides], decoder_kernels="nnunet",
    )  # fmt: skip
    assert feature_map_values(plain.plan(ANY_RANGE)) == planned_values(topology, len(plain.names))


def test_a_planned_net_fits_the_memory_that_it_was_planned_for(rates: Rates) -> None:
    found = Fingerprint(((2.5, 0.8, 0.8),) * 9, ((134, 512, 512),) * 9, 2000)
    net = plan_nets(found, 15).fullres
    planned = NetConfig(
        net.spacing_zyx_mm, net.patch_zyx, list(net.filters), kernels=[list(k) for k in net.kernels],
        strides=[list(s) for s in net.strides], decoder_kernels="nnunet",
    )  # fmt: skip
    fit = {"final": FitConfig("net", epochs=1, batch_size=net.batch_size, labels="fused")}
    cost = of(
        reckon(config(nets={"net": planned}, fits=fit, pseudo=PseudoConfig("")), rates, Cohort(), Machine()), "final"
    )
    assert 0.7 * PRESETS["plain"].memory_gb < (cost.gpu_gb or 0) <= PRESETS["plain"].memory_gb
    assert math.prod(net.patch_zyx) > 0


def test_the_paper_is_reckoned_without_its_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["costs", "--config", str(PAPER), "--gpus", "8"]) == 0
    text = capsys.readouterr().out
    rows = [line for line in text.splitlines() if line.startswith("|")]
    for stage in ("prepare", "pretrain", "tumor", "pseudolabel (tumor)", "fuse", "final", "evaluate (final)", "all"):
        assert any(row.startswith(f"| {stage} |") for row in rows)
    assert "8 GPUs" in text and "4,000 CTs" in text


def test_overrides_change_what_is_reckoned(rates: Rates) -> None:
    few, many = (
        of(
            reckon(load_config(PAPER, [f"fits.final.epochs={epochs}"], with_data=False), rates, Cohort(), Machine()),
            "final",
        )
        for epochs in (10, 1000)
    )
    assert many.gpu_hours == pytest.approx(100 * few.gpu_hours)


@pytest.mark.parametrize(
    ("option", "value"),
    [("gpus", "0"), ("share", "nan"), ("slices", "-1"), ("cases", "1000000000000"), ("tflops", "inf")],
)
def test_a_number_without_sense_is_one_line(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["costs", "--config", str(PAPER), f"--{option}={value}"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and f"--{option}" in captured.err


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"rates": 3}',
        json.dumps(measured(slices=[100, 100])),
        json.dumps(measured(spacing_zyx_mm=[0, 1, 1])),
        json.dumps(measured(body_share="half")),
        json.dumps(measured(patches={"final": {"voxels": 1}})),
        json.dumps(measured(patches={})),
        json.dumps(measured(patches=[])),
        json.dumps(measured(stages={"prepare": {}})),
        json.dumps(measured(stages={})),
        json.dumps(measured(body_share=float("nan"))),
    ],
)
def test_results_that_are_none_are_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"make benchmark-training-costs") as error:
        read_rates(path)
    assert "\n" not in str(error.value)


def test_the_results_of_this_checkout_can_be_read() -> None:
    found = read_rates(MEASURED)
    assert {"prepare", "pseudolabel", "fuse", "evaluate"} <= set(found.stages)
    assert all(at(stage.cpu_s, 310) > 0 for stage in found.stages.values())
    assert np.isfinite([patch.read_cpu_s for patch in found.patches.values()]).all()
