"""flareseg's half of the benchmarks: one process that loads a model once and segments CTs, read to written.

Started by `harness.run_fresh`; the order is a JSON object: ct, model, backend, threads, step, mirroring, parity,
repeats, output, started_at, answer. It imports what `flareseg segment` imports, so that the time until the model is
ready is that of the command line.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from harness import hold_to_cores, peak_resident_bytes


def main() -> None:
    order = json.loads(sys.argv[1])
    hold_to_cores(order["threads"])
    from flareseg.__main__ import tune_garbage_collector, use_small_pages

    tune_garbage_collector()  # as the command does
    use_small_pages()
    from flareseg.options import Options
    from flareseg.segmenter import Segmenter

    imported = time.time()
    segmenter = Segmenter(
        order["model"],
        Options(
            device="cpu",
            backend=order["backend"],
            threads=order["threads"],
            step=order.get("step"),
            mirroring=order.get("mirroring", False),
            parity=order.get("parity"),
        ),
    )
    ready = time.time()
    counted = CountedWindows.of(segmenter)
    runs = [one_case(segmenter, Path(order["ct"]), Path(order["output"])) for _ in range(order["repeats"])]
    answer = {
        "import_s": imported - order["started_at"],
        "load_s": ready - imported,
        "ready_s": ready - order["started_at"],
        "model": segmenter.model_name,
        "device": segmenter.device_description,
        "runs": runs,
        "peak_resident_bytes": peak_resident_bytes(),
        "windows": counted.number // max(1, order["repeats"]),
        "window_voxels": counted.voxels // max(1, order["repeats"]),
    }
    Path(order["answer"]).write_text(json.dumps(answer), encoding="utf-8")


class CountedWindows:
    """A network that counts what goes through it; everything else is the network's own."""

    def __init__(self, network: Any) -> None:
        self._network, self.number, self.voxels = network, 0, 0

    @classmethod
    def of(cls, segmenter: Any) -> CountedWindows:
        """Counts in the main net of a segmenter, the first one of an ensemble."""
        networks = segmenter._model.strategy.engine._networks
        networks[0] = counted = cls(networks[0])
        return counted

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._network, name)
        if name != "add_weighted":
            return found

        def add_weighted(window: Any, *arguments: Any) -> None:
            self._count(window[None])
            found(window, *arguments)

        return add_weighted

    def __call__(self, windows: Any) -> Any:
        self._count(windows)
        return self._network(windows)

    def _count(self, windows: Any) -> None:
        self.number += len(windows)
        self.voxels += windows.numel()


def one_case(segmenter: Any, ct: Path, output: Path) -> dict[str, Any]:
    """Seconds per stage and in all, by the wall clock and by the processor's."""
    from flareseg.io.files import read_volume, write_segmentation
    from flareseg.progress import Progress

    output.unlink(missing_ok=True)
    progress = Progress()
    began, began_cpu = time.perf_counter(), time.process_time()
    with progress.stage("read"):
        volume = read_volume(ct)
    result = segmenter.segment(volume, progress=progress)
    with progress.stage("write"):
        write_segmentation(result, output)
    total_s = time.perf_counter() - began
    return {
        "stages_s": progress.seconds,
        "total_s": total_s,
        "cpu_s": time.process_time() - began_cpu,
        "messages": progress.messages,
    }


if __name__ == "__main__":
    main()
