"""docs/benchmarks.md and its plots, from what the benchmarks wrote (`make benchmark-page`); measures nothing itself.

python Testing/benchmarks/page.py [--results DIR] [--out DIR]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from harness import RESULTS, ROOT, table
from totalsegmentator import SPEED, label_rows, speed_rows

from flareseg.io.atomic import atomic_path

PLOT = "benchmarks.png"
SHIPPED = "flareseg, as shipped, OpenVINO"
SAME_WORK = "flareseg, same work, OpenVINO"
# seconds a case, as published: other machines, other CTs, other structures
PUBLISHED = (
    ("this paper (HiLab), FLARE23 test, mean", "95.8", "RTX 5000"),
    ("blackbean, FLARE23", "11.9", "GPU"),
    ("lyupengju, FLARE23, 512²×215", "18", "GPU, under 2 GB"),
    ("U-Net-Transformer, FLARE25", "19.3", "CPU only"),
    ("TotalSegmentator 1.5 mm, its README", "77 to 212", "RTX 3090, 6.1 to 11.4 GB"),
    ("TotalSegmentator 3 mm, its README", "34 to 83", "RTX 3090"),
    ("TotalSegmentator fastest, its README", "about 70", "CPU"),
)
BLUE, ORANGE, GREY = "#3465a4", "#ce5c00", "#888a85"


def plot(costs: dict[str, Any], path: Path) -> None:
    """Seconds and memory over slices, side by side."""
    lengths = costs["lengths"]
    slices = [one["slices"] for one in lengths]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    shown = (("seconds", "seconds, read to written", BLUE), ("peak_gib", "peak resident memory, GiB", ORANGE))
    for ax, (key, title, colour) in zip(axes, shown, strict=True):
        values = [one[key] for one in lengths]
        ax.plot(slices, values, "o-", color=colour)
        for x, y in zip(slices, values, strict=True):
            ax.annotate(f"{y:.1f}", (x, y), textcoords="offset points", xytext=(0, 7), ha="center", fontsize=8)
        ax.set(xlabel="slices of 512×512", title=title, xlim=(0, 650), ylim=(0, 1.2 * max(values)))
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", color=GREY, alpha=0.25)
    with atomic_path(path, overwrite=True) as partial:
        figure.savefig(partial, dpi=130, format="png")
    plt.close(figure)


def page(found: dict[str, dict[str, Any]]) -> str:
    """The Markdown text."""
    costs = found["costs"]
    machine = costs["machine"]
    about = (
        f"{machine['cores']} {machine['architecture']} cores ({', '.join(machine['instructions'])}), "
        f"{machine['memory_gib']} GiB, no GPU"
    )
    sections = [
        "# How fast, how much memory",
        "Made by `make benchmark-page` from what the runs wrote into "
        f"[Testing/benchmarks/results](../Testing/benchmarks/results); do not edit. All on {about}. "
        "Absolute figures move with the machine, ratios of one run hold.",
        "## How long does my scan take, and how much memory?",
        f"The embedded model {costs['model']}, fast quality, {costs['threads']} threads, warm, read to written:",
        f"![seconds and memory over slices]({PLOT})",
        table(
            ["slices", *(str(one["slices"]) for one in costs["lengths"])],
            [
                ["seconds", *(f"{one['seconds']:.1f}" for one in costs["lengths"])],
                ["peak GiB", *(f"{one['peak_gib']:.1f}" for one in costs["lengths"])],
            ],
        ),
        "## Which quality on my laptop?",
        _options(costs),
        "## GPU or CPU?",
        "On a CPU of this size the embedded model needs no GPU. None was at hand: the CUDA path is tested as far as it "
        "runs on a CPU, and its figures are open.",
        "## How much faster than nnU-Net?",
        _against_nnunet(found["compare"]),
    ]
    if "large" in found:
        sections += ["### A net of the paper's size", _large(found["large"])]
    sections += ["### nnU-Net's own answer (`--parity`)", _parity(found["parity"])]
    races = [name for name in ("totalsegmentator", "totalsegmentator_avx2") if name in found]
    if races:
        sections += ["## How much faster than TotalSegmentator?", *(_race(name, found[name]) for name in races)]
    if "smaller" in found:
        sections += ["## Would a smaller net do?", _smaller(found["smaller"])]
    published = [list(row) for row in PUBLISHED]
    sections += [
        "## What others publish",
        "**Not the same machine, CTs or structures**, so no ratio is given; scores are in the model's card.",
        table(["seconds a case", "published", "on"], published),
    ]
    return "\n\n".join(sections) + "\n"


def _options(costs: dict[str, Any]) -> str:
    first = costs["options"][0]
    rows = [
        [
            one["name"],
            f"{one['seconds']:.2f}",
            f"{one['seconds'] / first['seconds']:.1f}×",
            f"{one['peak_gib']:.1f}",
            f"{100 * one['dsc']:.1f}",
            f"{100 * (one['dsc'] - first['dsc']):+.1f}",
        ]
        for one in costs["options"]
    ]
    return (
        table(["512×512×100", "seconds", "of fast", "peak GiB", "organ DSC", "change"], rows)
        + "\n\nDSC in per cent, of four synthetic patients that no training saw. The last two rows show what "
        "mirroring and an ensemble cost in seconds: the model has one net, and was not trained for mirroring, so that "
        "mirrored it draws nonsense. Here `flareseg` runs it without, and says so."
    )


def _against_nnunet(compare: dict[str, Any]) -> str:
    rows = []
    for setting, columns in compare["settings"].items():
        by_name = {one["program"]: one for one in columns}
        peer = by_name["nnU-Net"]
        for name in (SAME_WORK, SHIPPED):
            one = by_name[name]
            memory = peer["measured"]["peak_resident_bytes"] / one["measured"]["peak_resident_bytes"]
            ratio = peer["total_s"] / one["total_s"]
            seconds = [f"{program['total_s']:.2f}" for program in (peer, one)]
            rows.append([f"{setting}; {name.removeprefix('flareseg, ')}", *seconds, f"{ratio:.1f}×", f"{memory:.1f}×"])
    version = compare["versions"]["nnunetv2"]
    return (
        f"The weights of {compare['model']} in nnU-Net {version} and here, one run "
        "([all figures](../Testing/benchmarks/results/compare.md)):\n\n"
        + table(["512×512×100", "nnU-Net, s", "flareseg, s", "faster", "less memory"], rows)
    )


def _large(large: dict[str, Any]) -> str:
    columns = large["columns"]
    default, fastest = (one["total_s"] for one in columns[:2])
    rows = [
        [
            one["program"],
            f"{one['total_s']:.1f}",
            f"{default / one['total_s']:.1f}×",
            f"{fastest / one['total_s']:.1f}×",
            f"{one['measured']['peak_resident_bytes'] / 2**30:.1f}",
        ]
        for one in columns
    ]
    head = ["512×512×100", "seconds", "against default", "against fastest", "peak GiB"]
    return (
        "72 million parameters, 56×160×192 patches at 2.5×0.8×0.8 mm, imported from an nnU-Net folder; most of the "
        "time of nnU-Net's default is estimated ([how](../Testing/benchmarks/results/large.md)):\n\n"
        + table(head, rows)
    )


def _parity(parity: dict[str, Any]) -> str:
    rows = [
        [
            f"{one['model']}; {one['ct']}; step {one['step']}{', mirroring' if one['mirroring'] else ''}",
            f"{100 * one['parity']['equal']:.4f}",
            f"{one['nnunet_s'] / one['parity']['seconds']:.1f}×",
            f"{100 * one['fast']['equal']:.2f}",
            f"{one['nnunet_s'] / one['fast']['seconds']:.1f}×",
        ]
        for one in parity["cases"]
    ]
    head = ["case", "--parity: equal voxels, %", "faster", "--no-parity: equal, %", "faster"]
    return table(head, rows) + "\n\n([all figures](../Testing/benchmarks/results/parity.md))"


def _race(name: str, race: dict[str, Any]) -> str:
    rows = race["replicas"]
    return "\n\n".join(
        [
            f"Replicas of its 3 mm net on {race['ct']}, instructions: {race['isa']}, both commands in one run "
            f"([all figures](../Testing/benchmarks/results/{name}.md)):",
            table(SPEED, speed_rows(rows)),
            table(["replica", "program", "equal voxels, %", "structures", "mean DSC", "lowest DSC"], label_rows(rows)),
        ]
    )


def _smaller(smaller: dict[str, Any]) -> str:
    reference = smaller["variants"][0]
    rows = []
    for one in smaller["variants"]:
        values = [value for case in one["dsc"].values() for value in case.values()]
        rows.append(
            [
                one["variant"],
                f"{one['megabytes']:.1f}",
                f"{reference['network_s'] / one['network_s']:.1f}×",
                f"{reference['total_s'] / one['total_s']:.1f}×",
                f"{sum(values) / len(values):.4f}",
                f"{min(values):.4f}",
                f"{sum(value >= 0.995 for value in values)} of {len(values)}",
            ]
        )
    head = ["main net", "MB", "network faster", "case faster", "mean DSC", "lowest", "at least 0.995"]
    return (
        "DSC with the labels of fp32 on real CTs ([all figures](../Testing/benchmarks/results/smaller.md)):\n\n"
        + table(head, rows)
        + "\n\nNo. Quantised after training, the net loses small organs, and on a processor with matrix units for bf16 "
        "it is hardly faster. Pruned without training again it is no segmenter. A student of half the width learnt the "
        "liver alone in the 800 steps that were tried, wider nets learn faster ([experiments](experiments.md)). "
        "Quantisation-aware training and fine-tuning after pruning have not been tried."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder to write into")
    arguments = parser.parse_args()
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in arguments.results.glob("*.json")}
    plot(found["costs"], arguments.out / PLOT)
    with atomic_path(arguments.out / "benchmarks.md", overwrite=True) as partial:
        partial.write_text(page(found), encoding="utf-8")
    print(arguments.out / "benchmarks.md")


if __name__ == "__main__":
    main()
