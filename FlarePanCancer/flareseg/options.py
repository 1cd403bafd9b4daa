"""How a model is applied, where that differs from its plan.

Each option is described once, with its field: the command line, the command that Slicer starts and the manifest's
record of how a result was made follow from that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from flareseg.system.arguments import positive, thread_count, window_step


@dataclass(frozen=True)
class Flag:
    """An option on the command line.

    Attributes:
        flag: as it is typed.
        help: one line.
        parse: makes its value of what was typed, or raises `ArgumentTypeError`; `bool` is for --flag and --no-flag.
        metavar: stands for the value in the help.
        choices: the only values there are.
        decides_result: whether another value may give other voxels, so that the manifest records it.
    """

    flag: str
    help: str
    parse: Callable[[str], Any] = str
    metavar: str | None = None
    choices: tuple[str, ...] | None = None
    decides_result: bool = True

    @property
    def key(self) -> str:
        """Its name in a manifest."""
        return self.flag.lstrip("-").replace("-", "_")


def _option(default: Any, flag: Flag) -> Any:
    return field(default=default, metadata={"flag": flag})


@dataclass(frozen=True)
class Options:
    """What a user may choose about a run.

    Example:
        >>> from flareseg import Options, Segmenter
        >>> segmenter = Segmenter(options=Options(device="cpu", threads=2))
        >>> segmenter.device_description.startswith("CPU, 2 threads")
        True

    Attributes:
        device: "auto", "cpu", "cuda", "cuda:N" or "mps"; only `flareseg segment` takes several, or "all".
        backend: "auto", "torch", or on the CPU only "openvino" or "llvm".
        threads: CPU threads; None takes every core this process may use.
        gpu_memory_gb: bound on the GPU memory used; FLARE allows 4.
        step: distance of windows as a fraction of the window; None takes the plan's, or nnU-Net's 0.5 with parity.
        mirroring: average over mirrored windows: slower, a little better; None is no, or yes with parity.
        parity: nnU-Net's own answer, voxel for voxel, in single precision; None goes by the model's plan.
    """

    device: str = _option(
        "auto",
        Flag(
            "--device",
            "auto, cpu, cuda, cuda:N or mps; for many cases also cuda:0,cuda:1 or all",
            metavar="DEVICE",
            decides_result=False,
        ),
    )
    backend: str = _option(
        "auto",
        Flag("--backend", "engine on the CPU", choices=("auto", "torch", "openvino", "llvm"), decides_result=False),
    )
    threads: int | None = _option(
        None, Flag("--threads", "CPU threads (default: all cores)", thread_count, "N", decides_result=False)
    )
    gpu_memory_gb: float = _option(4.0, Flag("--gpu-memory", "bound (default 4)", positive, "GB", decides_result=False))
    step: float | None = _option(
        None, Flag("--step", "distance of windows, 0 < S <= 1 (default: the model's)", window_step, "S")
    )
    mirroring: bool | None = _option(
        None,
        Flag("--tta", "average over mirrored windows: slower, a little better (default: only with --parity)", bool),
    )
    parity: bool | None = _option(
        None,
        Flag(
            "--parity",
            "give nnU-Net's own answer, voxel for voxel, which takes longer (default: for imported nnU-Net models)",
            bool,
        ),
    )


FLAGS: dict[str, Flag] = {one.name: one.metadata["flag"] for one in fields(Options)}
"""How each field of `Options` is typed."""


def as_arguments(options: Options) -> list[str]:
    """The words of a command line that mean these options; defaults need none."""
    words = []
    for one in fields(options):
        value, flag = getattr(options, one.name), FLAGS[one.name]
        if value == one.default:
            continue
        if flag.parse is bool:
            words.append(flag.flag if value else flag.flag.replace("--", "--no-", 1))
        else:
            words += [flag.flag, str(value)]
    return words


def result_record(options: Options) -> dict[str, Any]:
    """Of a manifest: the options that decide a result. A default is None, so that results stay valid when an option is
    added."""
    record = {}
    for one in fields(options):
        value, flag = getattr(options, one.name), FLAGS[one.name]
        if flag.decides_result:
            record[flag.key] = None if value == one.default else value
    return record
