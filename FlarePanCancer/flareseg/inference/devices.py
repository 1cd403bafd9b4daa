"""What this machine can segment with, in words: for people, and for the panel that lets them choose."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """One choice: the name that --device takes, and what it is."""

    name: str
    description: str


def list_devices() -> list[Device]:
    """ "auto" first, saying what it takes; then every device there is."""
    import torch

    from flareseg.inference.openvino_network import openvino_installed
    from flareseg.inference.runtime import cpu_name, usable_cores

    with_openvino = ", OpenVINO" if openvino_installed() else ""
    found = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(index)
            found.append(Device(f"cuda:{index}", f"{facts.name}, {facts.total_memory / 2**30:.0f} GB"))
    if torch.backends.mps.is_available():
        found.append(Device("mps", "Apple GPU"))
    found.append(Device("cpu", f"{cpu_name(usable_cores())}{with_openvino}"))
    return [Device("auto", found[0].description), *found]
