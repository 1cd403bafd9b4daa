"""Smaller nets: what the embedded model gains and loses in int8, and with filters left out (`make benchmark-smaller`).

    python Testing/benchmarks/smaller.py [--data FOLDER] [--model FOLDER] [--threads 2] [--results DIR]

Every variant is the whole pipeline with another graph of the main net in OpenVINO, on real CTs. Its labels are
compared with those of the same net in fp32, organ by organ; a variant is worth keeping where every organ of every CT
has a DSC of 0.995 with them. int8 is NNCF's quantisation after training, calibrated on CTs that are not scored. Pruned
are the filters between the two convolutions of every block, the weakest first; nothing is trained again.
Needs NNCF: pip install nncf.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import DEFAULT_MODEL, RESULTS, ROOT, describe, machine, table, versions, write_results

from flareseg.inference.openvino_network import _core, network_graph
from flareseg.io.files import read_volume
from flareseg.labels import structures
from flareseg.model.bundle import Bundle, load_bundle
from flareseg.model.networks.dynunet import dynunet_layers
from flareseg.model.networks.openvino_layers import OpenVinoLayers
from flareseg.model.networks.registry import architecture_of, parameter_shapes
from flareseg.options import Options
from flareseg.results.metrics import dice
from flareseg.segmenter import Segmenter
from flareseg.system.private_imports import import_openvino, without_telemetry
from flareseg.volume import Volume

SCORED = (
    "ts_example_3mm", "spl_abdominal_atlas", "ts_dicom_slab", "lidc_0001_thorax_upper_abdomen",
)  # fmt: skip
CALIBRATION = ("acrin_flt_breast_001", "cptac_c3l00189_lungbase", "ts_aorta_report_1p5mm")
CALIBRATION_WINDOWS = 24
PRUNED = (0.1, 0.25, 0.5)
WANTED_DSC = 0.995
RUNS = 4


@dataclass(frozen=True)
class Variant:
    """A graph of the main net, and how precisely OpenVINO may compute it."""

    name: str
    graph: Any
    precision: str
    megabytes: float


class GraphNetwork:
    """Stands where the segmenter has its own network."""

    def __init__(self, graph: Any, precision: str, threads: int, classes: int) -> None:
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }
        self._request = _core().compile_model(graph, "CPU", settings).create_infer_request()
        self.device, self.classes, self.seconds = torch.device("cpu"), classes, 0.0

    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        began = time.perf_counter()
        result = np.array(self._request.infer({0: windows.numpy()}, share_inputs=True, share_outputs=True)[0])
        self.seconds += time.perf_counter() - began
        return torch.from_numpy(result)


def pruned(bundle: Bundle, share: float) -> dict[str, torch.Tensor]:
    """The weights without that share of the filters between the two convolutions of every block."""
    weights, result = bundle.weights, dict(bundle.weights)
    layers = dynunet_layers(bundle.plan.network)
    for block in (*layers.encoder, *layers.decoder_blocks):
        (first, norm), (second, _) = block.layers
        incoming, outgoing = weights[f"{first}.weight"].float(), weights[f"{second}.weight"].float()
        # importance of a filter: the scale of its norm times the weights that read it
        strength = weights[f"{norm}.weight"].float().abs() * outgoing.abs().sum(dim=(0, 2, 3, 4))
        kept = strength.argsort(descending=True)[: max(1, round(len(strength) * (1 - share)))].sort().values
        result[f"{first}.weight"], result[f"{second}.weight"] = incoming[kept], outgoing[:, kept]
        for part in ("weight", "bias"):
            result[f"{norm}.{part}"] = weights[f"{norm}.{part}"][kept]
    return result


def pruned_graph(bundle: Bundle, share: float) -> tuple[Any, int]:
    """The graph, and how many parameters it has."""
    ov = import_openvino()
    op = ov.opset13
    weights = pruned(bundle, share)
    network = bundle.plan.network
    window = op.parameter([-1, 1, -1, -1, -1], np.float32)
    graph = ov.Model([architecture_of(network).computed(network, OpenVinoLayers(weights), window)], [window])
    return graph, sum(weights[name].numel() for name in parameter_shapes(bundle.plan))


def quantised_graph(bundle: Bundle, windows: list[np.ndarray], *, but_the_finest: bool) -> Any:
    """int8 by NNCF; `but_the_finest` leaves the convolutions at full resolution in floating point."""
    with without_telemetry():
        import nncf

    graph = network_graph(bundle.plan, bundle.weights)
    fewest = dynunet_layers(bundle.plan.network).filters[0]
    finest = [node.get_friendly_name() for node in graph.get_ordered_ops() if _is_narrow(node, fewest)]
    return nncf.quantize(
        graph,
        nncf.Dataset(windows),
        subset_size=len(windows),
        preset=nncf.QuantizationPreset.MIXED,
        ignored_scope=nncf.IgnoredScope(names=finest) if but_the_finest else None,
    )


def _is_narrow(node: Any, filters: int) -> bool:
    """Whether a node is a convolution with no more filters than the first one has: those at full resolution."""
    return node.get_type_name() == "Convolution" and node.input_value(1).get_shape()[0] <= filters


def windows_of(segmenter: Segmenter, cts: list[Volume], count: int) -> list[np.ndarray]:
    """What the main net gets to see of some CTs, the same number of windows of each."""
    seen: list[np.ndarray] = []
    network = segmenter._model.strategy.engine._networks[0]

    class Recorder:
        def __getattr__(self, name: str) -> Any:
            return getattr(network, name)

        def __call__(self, windows: torch.Tensor) -> torch.Tensor:
            seen.append(windows.numpy().copy())
            return network(windows)

    segmenter._model.strategy.engine._networks[0] = Recorder()
    chosen: list[np.ndarray] = []
    for ct in cts:
        seen.clear()
        segmenter.segment(ct)
        places = np.linspace(0, len(seen) - 1, min(count // len(cts), len(seen))).round().astype(int)
        chosen += [seen[place] for place in places]
    segmenter._model.strategy.engine._networks[0] = network
    return chosen


def variants(bundle: Bundle, windows: list[np.ndarray]) -> Iterator[Variant]:
    """From the reference to the smallest."""
    millions = sum(tensor.numel() for tensor in bundle.weights.values()) / 1e6
    graph = network_graph(bundle.plan, bundle.weights)
    yield Variant("fp32", graph, "f32", 4 * millions)
    yield Variant("bf16, as shipped", graph, "bf16", 2 * millions)
    yield Variant("int8", quantised_graph(bundle, windows, but_the_finest=False), "bf16", millions)
    outer = quantised_graph(bundle, windows, but_the_finest=True)
    yield Variant("int8, full resolution in bf16", outer, "bf16", millions)
    for share in PRUNED:
        graph, parameters = pruned_graph(bundle, share)
        yield Variant(f"bf16, {share:.0%} of the inner filters pruned", graph, "bf16", 2 * parameters / 1e6)


def measured(variant: Variant, segmenter: Segmenter, cts: dict[str, Volume], threads: int) -> dict[str, Any]:
    """Labels, seconds in the network and seconds in all of every CT: medians of the runs after the first."""
    network = GraphNetwork(
        variant.graph, variant.precision, threads, segmenter._model.strategy.engine._networks[0].classes
    )
    segmenter._model.strategy.engine._networks[0] = network
    result: dict[str, Any] = {}
    for name, ct in cts.items():
        in_network, in_all, labels = [], [], np.zeros(0, np.uint8)
        for _ in range(RUNS):
            network.seconds, began = 0.0, time.perf_counter()
            labels = segmenter.segment(ct).labels
            in_all.append(time.perf_counter() - began)
            in_network.append(network.seconds)
        medians = [statistics.median(times[1:]) for times in (in_network, in_all)]
        result[name] = {"labels": labels, "network_s": medians[0], "total_s": medians[1]}
    return result


def agreement(labels: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """DSC with the reference of every structure that either shows."""
    found = {s.name: (labels == s.value, reference == s.value) for s in structures()}
    return {name: dice(*pair) for name, pair in found.items() if pair[0].any() or pair[1].any()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="a flareseg model folder")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="real CTs, a folder each")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for smaller.json and smaller.md")
    arguments = parser.parse_args()
    command, environment = shlex.join(["python", *sys.argv]), machine()

    def read(name: str) -> Volume:
        return read_volume(arguments.data / name / "ct.nii.gz")

    bundle = load_bundle(arguments.model)
    segmenter = Segmenter(arguments.model, Options(device="cpu", backend="openvino", threads=arguments.threads))
    windows = windows_of(segmenter, [read(name) for name in CALIBRATION], CALIBRATION_WINDOWS)
    cts = {name: read(name) for name in SCORED}
    rows, facts = [], []
    reference: dict[str, Any] = {}
    for variant in variants(bundle, windows):
        found = measured(variant, segmenter, cts, arguments.threads)
        reference = reference or found
        scores = {name: agreement(found[name]["labels"], reference[name]["labels"]) for name in cts}
        flat = [value for of_case in scores.values() for value in of_case.values()]
        network_s, total_s = (_total(found, key) for key in ("network_s", "total_s"))
        before_s, all_before_s = (_total(reference, key) for key in ("network_s", "total_s"))
        worst = min((value, name, case) for case, values in scores.items() for name, value in values.items())
        rows.append(
            [
                variant.name,
                f"{variant.megabytes:.1f}",
                f"{network_s:.2f}",
                f"{before_s / network_s:.2f}",
                f"{all_before_s / total_s:.2f}",
                f"{np.mean(flat):.4f}",
                f"{worst[0]:.4f}",
                f"{sum(value >= WANTED_DSC for value in flat)} of {len(flat)}",
            ]
        )
        facts.append(
            {
                "variant": variant.name, "megabytes": variant.megabytes, "network_s": network_s, "total_s": total_s,
                "worst": list(worst), "dsc": scores,
            }
        )  # fmt: skip
    numbers = versions() | {"nncf": version("nncf")}
    header = [
        "variant", "MB", "network s", "× faster", "case × faster", "mean DSC", "lowest DSC", f"at least {WANTED_DSC}",
    ]  # fmt: skip
    text = "\n\n".join(
        [
            "# Smaller nets",
            describe(command, environment, numbers),
            f"{segmenter.model_name}, {len(cts)} real CTs together, DSC with the labels of fp32; medians of {RUNS - 1} "
            "warm runs. MB: of the weights as the graph holds them.",
            table(header, rows),
        ]
    )
    data = {"command": command, "machine": environment, "versions": numbers, "variants": facts}
    write_results("smaller", data, text, arguments.results)


def _total(found: dict[str, Any], key: str) -> float:
    return float(sum(case[key] for case in found.values()))


if __name__ == "__main__":
    main()
