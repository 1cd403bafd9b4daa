"""nnU-Net's half of the comparison: its own predictor on one CT, timed by wrapping its functions from outside.

Runs in nnU-Net's environment, started by `harness.run_fresh`; the order is a JSON object: ct, model (a trained-model
folder), folds ([0] unless given), step, mirroring, threads, repeats, output, patch, timed_windows, started_at, answer.
`patch` names a .npy file: its logits are written beside it, to compare the two networks. With `timed_windows` only so
many windows go through the network; the others get the last one's logits, and their time is that of the mean window,
for every window is computed alike. nnU-Net works in one process here (`predict_from_files_sequential`): for a single
case its worker processes would only add their start.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import hold_to_cores, peak_resident_bytes

ENDING = ".nii.gz"


class Stopwatch:
    """Seconds spent in wrapped functions, by name; a function's time is without that of wrapped ones it calls."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self._inner: list[float] = []

    def wrap(self, owner: Any, function: str, name: str | Callable[..., str]) -> None:
        """Time `owner.function` under `name`, or under what `name` makes of the arguments of a call."""
        original = getattr(owner, function)

        def timed(*args: Any, **kwargs: Any) -> Any:
            key = name if isinstance(name, str) else name(*args, **kwargs)
            self._inner.append(0.0)
            began = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                spent = time.perf_counter() - began
                self.seconds[key] += spent - self._inner.pop()
                self.calls[key] += 1
                if self._inner:
                    self._inner[-1] += spent

        setattr(owner, function, timed)


class SparedWindows:
    """Lets only the first windows of each case through the network, and says what the others would have taken."""

    def __init__(self, predictor: Any, timed: int | None) -> None:
        self._times: list[float] = []
        self._spared = 0
        if timed is None:
            return
        original, last = predictor._internal_maybe_mirror_and_predict, None

        def predict(*args: Any, **kwargs: Any) -> Any:
            nonlocal last
            if len(self._times) == timed:
                self._spared += 1
                return last.clone()
            began = time.perf_counter()
            last = original(*args, **kwargs)
            self._times.append(time.perf_counter() - began)
            return last

        predictor._internal_maybe_mirror_and_predict = predict

    def seconds(self) -> float:
        """Of the windows spared since the last call; the next case is timed anew."""
        # the first window warms up, unless it is the only one
        times = self._times[1:] or self._times
        spent = self._spared * sum(times) / len(times) if self._spared else 0.0
        self._times, self._spared = [], 0
        return spent


def main() -> None:
    order = json.loads(sys.argv[1])
    hold_to_cores(order["threads"])
    import torch

    torch.set_num_threads(order["threads"])
    import nnunetv2.inference.predict_from_raw_data as prediction

    watch, spared = _watched(prediction.nnUNetPredictor, order.get("timed_windows"))
    imported = time.time()
    predictor = prediction.nnUNetPredictor(
        tile_step_size=order["step"],
        use_mirroring=order["mirroring"],
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    predictor.initialize_from_trained_model_folder(
        order["model"], tuple(order.get("folds", [0])), "checkpoint_final.pth"
    )
    ready = time.time()
    runs = [_timed(predictor, order, watch, spared) for _ in range(order["repeats"])]
    answer = {
        "import_s": imported - order["started_at"],
        "load_s": ready - imported,
        "ready_s": ready - order["started_at"],
        "device": f"CPU, {torch.get_num_threads()} threads, torch float32",
        "versions": _versions(),
        "runs": runs,
        "peak_resident_bytes": peak_resident_bytes(),
    }
    if order.get("patch"):
        _write_logits(predictor.network, Path(order["patch"]))
    Path(order["answer"]).write_text(json.dumps(answer), encoding="utf-8")


def _watched(predictor: Any, timed_windows: int | None) -> tuple[Stopwatch, SparedWindows]:
    """A stopwatch around nnU-Net's functions, and the windows that its class `predictor` is spared."""
    import nnunetv2.inference.export_prediction as export
    import nnunetv2.preprocessing.resampling.default_resampling as resampling
    import nnunetv2.preprocessing.resampling.resample_torch as resample_torch
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    watch = Stopwatch()
    watch.wrap(SimpleITKIO, "read_images", "read")
    watch.wrap(DefaultPreprocessor, "run_case_npy", "crop and normalise")
    watch.wrap(resampling, "resample_data_or_seg_to_shape", _what_is_resampled)
    watch.wrap(resample_torch, "resample_torch_fornnunet", _what_torch_resamples)
    spared = SparedWindows(predictor, timed_windows)
    watch.wrap(predictor, "_internal_maybe_mirror_and_predict", "forward passes")
    watch.wrap(predictor, "predict_logits_from_preprocessed_data", "rest of the sliding window")
    watch.wrap(LabelManager, "convert_logits_to_segmentation", "argmax")
    watch.wrap(export, "convert_predicted_logits_to_segmentation_with_correct_shape", "uncrop")
    watch.wrap(SimpleITKIO, "write_seg", "write")
    return watch, spared


def _timed(predictor: Any, order: dict[str, Any], watch: Stopwatch, spared: SparedWindows) -> dict[str, Any]:
    """One run over the CT."""
    watch.seconds.clear()
    watch.calls.clear()
    began, began_cpu = time.perf_counter(), time.process_time()
    predictor.predict_from_files_sequential([[order["ct"]]], [order["output"].removesuffix(ENDING)])
    windows, estimated_s = watch.calls["forward passes"], spared.seconds()
    watch.seconds["forward passes"] += estimated_s
    return {
        "windows": windows,
        "estimated_s": estimated_s,
        "stages_s": dict(watch.seconds),
        "calls": dict(watch.calls),
        "total_s": time.perf_counter() - began + estimated_s,
        "cpu_s": time.process_time() - began_cpu,
    }


def _what_is_resampled(*_: Any, **arguments: Any) -> str:
    if arguments.get("is_seg"):
        return "resample dummy label"
    return "resample image" if arguments.get("order") == 3 else "resample logits"


def _what_torch_resamples(data: Any, *_: Any, **arguments: Any) -> str:
    if arguments.get("is_seg"):
        return "resample dummy label"
    return "resample image" if len(data) == 1 else "resample logits"


def _versions() -> dict[str, str]:
    from harness import versions

    return versions()


def _write_logits(network: Any, patch: Path) -> None:
    """Run the network on the (z, y, x) patch in fp32 and keep its logits as NAME.logits.npy."""
    import numpy as np
    import torch

    with torch.inference_mode():
        logits = network.eval()(torch.from_numpy(np.load(patch))[None, None])[0]
    np.save(patch.with_suffix(".logits.npy"), logits.numpy())


if __name__ == "__main__":
    main()
