"""The benchmarks' own parts, and both halves of `embedded.py` on a scan and a model so small that they take seconds."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import embedded
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from compare_tables import FLARESEG_STAGES, NNUNET_STAGES, Column, agreement, section
from flareseg_side import CountedWindows
from grids import mean_matrix, seen_through
from harness import HERE, RESULTS, ROOT, run_fresh
from lesions import CHOSEN_ON, rows, with_rule
from make_volume import continued
from nnunet_side import SparedWindows
from page import page, plot
from smaller import GraphNetwork, pruned, pruned_graph

from flareseg.inference.devices import openvino_installed
from flareseg.inference.openvino_network import network_graph
from flareseg.io.files import read_volume
from flareseg.labels import BACKGROUND, structures
from flareseg.model.bundle import load_bundle, save_bundle
from flareseg.model.networks.dynunet import dynunet_spec
from flareseg.model.networks.registry import build_network, own_weights
from flareseg.model.plan import Intensity, LesionRule, Plan
from flareseg.options import Options
from flareseg.segmenter import Segmenter


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with random weights: three stages, 12 mm."""
    torch.manual_seed(0)
    plan = Plan(
        spacing_zyx_mm=(12.0, 12.0, 12.0),
        patch_zyx=(8, 8, 12),
        intensity=Intensity((-200.0, 350.0), 70.0, 100.0),
        network=dynunet_spec([4, 6, 8]),
        labels={0: BACKGROUND} | {structure.value: structure.name for structure in structures()},
    )
    folder = tmp_path_factory.mktemp("model") / "tiny"
    texts = {"name": "tiny", "version": "0", "description": "", "licence": "", "citation": "", "card": ""}
    weights = own_weights(build_network(plan).state_dict())
    save_bundle(folder, plan=plan, weights=weights, provenance={}, metrics={}, **texts)
    return folder


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cylinder of soft tissue in air, 24×48×48 voxels of 8 mm."""
    y, x = np.mgrid[:48, :48] - 24
    hu = np.where(np.hypot(y, x) < 18, 40, -1000).astype(np.int16)
    image = sitk.GetImageFromArray(np.repeat(hu[None], 24, axis=0))
    image.SetSpacing((8.0, 8.0, 8.0))
    path = tmp_path_factory.mktemp("ct") / "ct.nii.gz"
    sitk.WriteImage(image, str(path))
    return path


def test_the_report_names_every_limit_with_what_was_measured(model: Path, ct: Path) -> None:
    measured = embedded.measure(str(model), threads=1, repeats=1, cts={"abdomen": ct, "whole_body": ct})
    found = list(embedded.findings(measured))
    text = embedded.report(measured, threads=1, origin="here and now")
    assert len([finding for finding in found if finding.limit is not None]) == 2 * 6
    assert all(finding.value > 0 and finding.what in text for finding in found)
    assert all("network" in embedded.warm_stages(measured[backend]["abdomen"]) for backend in embedded.BACKENDS)


def test_a_failing_half_is_reported_with_its_output(ct: Path) -> None:
    order = {"model": "no such model", "backend": "torch", "ct": str(ct), "repeats": 0, "output": "-"}
    with pytest.raises(RuntimeError, match="no such model"):
        run_fresh(Path(sys.executable), "flareseg_side.py", order, 1)


def test_peak_memory_is_counted_in_bytes_and_does_not_fall_with_what_is_freed() -> None:
    # a process of its own: this one may have had more before
    script = (
        "import numpy as np; from harness import peak_resident_bytes as peak; before = peak(); block = np.ones(2**24)\n"
        "after = peak(); del block; print(before, after, peak())"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=HERE, capture_output=True, text=True, check=True)
    before, after, at_last = map(int, done.stdout.split())
    # Linux adds up its counters per thread and now and then: they are true to some hundred pages.
    assert 2**20 < before < after - 0.9 * 2**27
    assert at_last > after - 2**27 / 10


@pytest.mark.parametrize(("available", "wanted"), [(192, 600), (193, 600), (40, 41)])
def test_a_continued_scan_keeps_its_middle_and_moves_by_one_slice_at_most(available: int, wanted: int) -> None:
    numbers = continued(available, wanted)
    start = (wanted - available) // 2
    assert len(numbers) == wanted
    assert np.array_equal(numbers[start : start + available], np.arange(available))
    assert np.abs(np.diff(numbers)).max() <= 1
    assert numbers.min() >= 0 and numbers.max() < available


def test_agreement_is_dice_per_label_present_in_either() -> None:
    found = agreement(np.array([[1, 1, 0, 2]]), np.array([[1, 0, 0, 3]]))
    assert found["equal"] == 0.5
    assert found["dice"] == {1: pytest.approx(2 / 3), 2: 0.0, 3: 0.0}


def test_ratios_are_nnunets_time_over_ours() -> None:
    def column(program: str, seconds: float, names: dict[str, tuple[str, ...]]) -> Column:
        stages = {own: seconds for owns in names.values() for own in owns[:1]}
        run = {"stages_s": stages, "total_s": 5 * seconds, "calls": {"forward passes": 8}}
        answer = {"runs": [run], "peak_resident_bytes": 2**30, "ready_s": 1.0}
        return Column.of(program, answer, names, np.zeros((1, 2, 2), np.uint8))

    text = section("Title", [column("nnU-Net", 8.0, NNUNET_STAGES), column("ours", 0.5, FLARESEG_STAGES)])
    assert "| read | 16.0 |" in text
    assert "| **total** | **16.0** |" in text
    assert "| ours | 100.000 % |" in text


def test_the_time_of_spared_windows_is_that_of_the_mean_window() -> None:
    class Predictor:
        def _internal_maybe_mirror_and_predict(self, number: int) -> torch.Tensor:
            time.sleep(0.05)
            return torch.tensor([number])

    spared = SparedWindows(Predictor, 3)
    predictor = Predictor()
    answers = [int(predictor._internal_maybe_mirror_and_predict(number)) for number in range(10)]
    assert answers == [0, 1, *[2] * 8], "the last one computed stands for those that are not"
    assert spared.seconds() == pytest.approx(7 * 0.05, rel=0.4)
    assert spared.seconds() == 0, "of a case without spared windows"


def test_every_window_of_the_main_net_is_counted(model: Path, ct: Path) -> None:
    segmenter = Segmenter(model, Options(device="cpu", backend="torch", threads=1))
    counted = CountedWindows.of(segmenter)
    plain = Segmenter(model, Options(device="cpu", backend="torch", threads=1)).segment(read_volume(ct)).labels
    assert np.array_equal(segmenter.segment(read_volume(ct)).labels, plain)
    assert counted.number >= 1 and counted.voxels >= 24 * 36 * 36 * (8 / 12) ** 3


def test_windows_that_a_network_adds_up_itself_are_counted() -> None:
    class Adding:
        added: list[tuple[int, ...]] = []  # noqa: RUF012

        def add_weighted(self, window: torch.Tensor, weights: list[torch.Tensor], total: torch.Tensor) -> None:
            self.added.append(tuple(window.shape))

    counted = CountedWindows(Adding())
    for _ in range(2):
        counted.add_weighted(torch.zeros(2, 3, 4), [], torch.zeros(0))
    assert (counted.number, counted.voxels) == (2, 48) and Adding.added == [(2, 3, 4)] * 2


@pytest.mark.skipif(not openvino_installed(), reason="OpenVINO is not installed")
def test_pruned_filters_are_gone_and_nothing_else(model: Path) -> None:
    bundle = load_bundle(model)
    window = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 1, 8, 8, 12)).astype(np.float32))
    whole, parameters = pruned_graph(bundle, 0.0)
    full = GraphNetwork(network_graph(bundle.plan, bundle.weights), "f32", 1, 15)(window)
    assert torch.equal(GraphNetwork(whole, "f32", 1, 15)(window), full)
    half, fewer = pruned_graph(bundle, 0.5)
    logits = GraphNetwork(half, "f32", 1, 15)(window)
    assert logits.shape == full.shape and not torch.equal(logits, full)
    assert 0.3 * parameters < fewer < 0.8 * parameters
    block = {name: tuple(t.shape) for name, t in pruned(bundle, 0.5).items() if name.startswith("input_block")}
    assert block["input_block.conv1.conv.weight"][0] == 2 and block["input_block.conv2.conv.weight"][:2] == (4, 2)


def test_the_page_answers_from_the_results_that_are_committed(tmp_path: Path) -> None:
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in RESULTS.glob("*.json")}
    text = page(found)
    costs = found["costs"]
    for one in costs["options"]:
        assert f"| {one['name']} | {one['seconds']:.2f} |" in text
    seconds = " | ".join(f"{one['seconds']:.1f}" for one in costs["lengths"])
    assert f"| seconds | {seconds} |" in text
    assert text == (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8"), "make benchmark-page makes it anew"
    plot(costs, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_a_coarse_grid_takes_the_mean_of_what_it_covers() -> None:
    halves = mean_matrix(6, 3)
    assert np.array_equal(halves @ np.arange(6, dtype=np.float32), [0.5, 2.5, 4.5])
    uneven = mean_matrix(5, 2)
    assert np.allclose(uneven.sum(1), 1)
    assert np.allclose(uneven[0], [0.4, 0.4, 0.2, 0, 0])


def test_labels_survive_a_grid_that_can_hold_them_and_no_other() -> None:
    labels = np.zeros((24, 24, 24), np.uint8)
    labels[:12], labels[3, 3, 18], labels[20, 20, 20] = 1, 9, 255
    same = seen_through(labels, (1.0, 1.0, 1.0), 1.0)
    assert np.array_equal(same, np.where(labels == 255, 0, labels))
    coarse = seen_through(labels, (1.0, 1.0, 1.0), 4.0)
    assert not (coarse == 9).any()  # one voxel of 64
    assert np.array_equal(coarse == 1, np.arange(24)[:, None, None] < np.full((24, 24, 24), 12))


def test_lesions_of_the_phantoms_that_chose_a_rule_are_told_apart() -> None:
    found = {"host": "liver", "mm": 30.0, "found": True}
    first = [{"annotated": [found], "false": 2, "false_in": ["liver", ""], "dsc": 0.5}] * CHOSEN_ON
    other = [
        {"annotated": [found | {"found": False}], "false": 0, "false_in": [], "dsc": 0.0},
        {"annotated": [], "false": 1, "false_in": [""], "dsc": None},
    ]
    [line] = rows({"-1, 2": first + other})
    assert line[:2] == ["-1, 2", f"{CHOSEN_ON} of {CHOSEN_ON}"]
    assert line[5:9] == ["2.0 (2 to 2)", "1.0 (1 to 1)", "50.0", "0 of 1"]
    assert line[-3:] == ["0.5 (0 to 1)", "0.0 (0 to 0)", "0.0"]
    [short] = rows({"-1, 2": first})
    assert (len(short), short[8]) == (len(line), "–")


def test_a_model_with_another_rule_of_lesions_has_the_same_nets(tmp_path: Path) -> None:
    model = ROOT / "FlarePanCancer" / "flareseg" / "models" / "tumours"
    before, after = load_bundle(model), load_bundle(with_rule(model, LesionRule(-2.5, 4.5), tmp_path / "model"))
    assert (after.plan.lesions.lead, after.plan.lesions.peak) == (-2.5, 4.5)
    assert before.tensors.keys() == after.tensors.keys()
    assert all(torch.equal(value, after.tensors[name]) for name, value in before.tensors.items())
