"""The command `plan`: numbers of nets from the sizes of the CTs and the memory of the GPU, as a configuration.

It needs nothing but the headers of the CTs, so it comes before `prepare`. The file it writes extends the one given and
holds the planned numbers alone: spacing, patch and stages of nets, and the batches of the fits that train them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from flareseg.errors import UsageError
from flareseg.io.atomic import atomic_path
from train.config import Config
from train.config_file import load_config
from train.net_config import NetConfig
from train.planning.fingerprint import Fingerprint, fingerprint_of, read_fingerprint
from train.planning.planner import NetPlan, plan_nets
from train.planning.topology import PRESETS


@dataclass(frozen=True)
class PlanRequest:
    """What to plan.

    Attributes:
        config: configuration file whose nets are planned.
        out: configuration file to write; an existing one is replaced.
        overrides: "key=value" for `config`, such as paths of sources; they are not written.
        nets: names of nets; empty: those of all fits.
        fingerprint: dataset_fingerprint.json of nnU-Net v2 instead of the sizes of the sources' CTs.
        memory_gb: of the GPU; None: what the preset is meant for.
        preset: key of `PRESETS`, the kind of net.
    """

    config: Path
    out: Path
    overrides: list[str] = field(default_factory=list)
    nets: list[str] = field(default_factory=list)
    fingerprint: Path | None = None
    memory_gb: float | None = None
    preset: str = "plain"

    @property
    def gb(self) -> float:
        """The memory in GB to plan for."""
        return PRESETS[self.preset].memory_gb if self.memory_gb is None else self.memory_gb


def plan(request: PlanRequest) -> Path:
    """Write the planned configuration; returns its path.

    Raises:
        InputError: when no CT, or no fingerprint, can be read.
        OutputError: when the file cannot be written.
        UsageError: when the request contradicts itself, or no coarse net is needed.
    """
    config = load_config(request.config, request.overrides)
    wanted = _wanted(config, request)
    found = read_fingerprint(request.fingerprint) if request.fingerprint else fingerprint_of(config.sources)
    nets = {name: _planned(config, name, found, request) for name in wanted}
    text = _text(config, request, found, nets)
    with atomic_path(request.out, overwrite=True) as temporary:
        temporary.write_text(text, encoding="utf-8")
        load_config(temporary, request.overrides)  # it is written only if it is valid
    for name, net in nets.items():
        print(f"plan: {name}: {_shown(net)}", flush=True)
    print(f"Wrote {request.out}.", flush=True)
    return request.out


def _wanted(config: Config, request: PlanRequest) -> list[str]:
    if request.gb <= 0:
        raise UsageError("The memory of the GPU must be more than 0 GB.")
    if request.out.resolve() == request.config.resolve():
        raise UsageError(f"The plan extends '{request.config}', so it cannot replace that file itself.")
    for name in request.nets:
        if name not in config.nets:
            raise UsageError(f"There is no net '{name}' in nets.")
    return request.nets or list(dict.fromkeys(fit.net for fit in config.fits.values()))


def _planned(config: Config, name: str, found: Fingerprint, request: PlanRequest) -> NetPlan:
    plans = plan_nets(found, len(config.nets[name].names), request.gb, PRESETS[request.preset])
    coarse = config.export.coarse
    if not coarse or config.fits[coarse].net != name:
        return plans.fullres
    if plans.lowres is None:
        raise UsageError(
            f"Patches of the planned net show enough of a CT, so no coarse net is needed: set export.coarse='', or "
            f"name the nets to plan without '{name}'."
        )
    return plans.lowres


def _text(config: Config, request: PlanRequest, found: Fingerprint, nets: dict[str, NetPlan]) -> str:
    fits = {name: {"batch_size": nets[fit.net].batch_size} for name, fit in config.fits.items() if fit.net in nets}
    tables: dict[str, Any] = {
        "extends": os.path.relpath(request.config.resolve(), request.out.resolve().parent),
        "nets": {name: _table(net) for name, net in nets.items()},
        "fits": fits,
    }
    aim = f"{request.gb:g} GB of GPU memory, {request.preset}"
    head = f"# Planned from the sizes of {found.training} CTs for {aim}.\n"
    return head + yaml.safe_dump(tables, sort_keys=False, default_flow_style=None, width=120)


def _table(net: NetPlan) -> dict[str, Any]:
    return {
        "spacing_zyx_mm": list(net.spacing_zyx_mm),
        "patch_zyx": list(net.patch_zyx),
        "filters": list(net.filters),
        "kernels": [list(sizes) for sizes in net.kernels],
        "strides": [list(sizes) for sizes in net.strides],
    } | _as_in_nnunet(net)


def _as_in_nnunet(net: NetPlan) -> dict[str, Any]:
    """What else makes the net nnU-Net's, as far as nets of a configuration can have it."""
    keys = {key.name for key in fields(NetConfig)}
    if net.blocks and "blocks" not in keys:
        raise UsageError("Nets of a configuration have no residual blocks yet; plan with --preset plain.")
    decoder = {"decoder_kernels": "nnunet"} if "decoder_kernels" in keys else {}
    return decoder | ({"blocks": list(net.blocks)} if net.blocks else {})


def _shown(net: NetPlan) -> str:
    spacing, patch, median = (
        "×".join(f"{value:.4g}" for value in values)
        for values in (net.spacing_zyx_mm, net.patch_zyx, net.median_shape_zyx)
    )
    return (
        f"{spacing} mm (z, y, x), patch {patch}, batch {net.batch_size}, {len(net.filters)} stages; "
        f"the median CT has {median} voxels there"
    )
