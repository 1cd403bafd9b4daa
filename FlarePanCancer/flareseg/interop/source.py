"""What is exported: one net of a model, with its texts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import flareseg
from flareseg.errors import ModelError
from flareseg.model.bundle import LARGEST_CARD_BYTES, load_bundle
from flareseg.model.catalogue import find_model
from flareseg.model.plan import Plan
from flareseg.model.storage import CARD, open_model
from flareseg.model.structures import structures_of

if TYPE_CHECKING:
    import torch

Net = Literal["main", "coarse", "tumour"]


@dataclass(frozen=True)
class Source:
    """One net of a model.

    Attributes:
        plan: of this net alone; its `coarse` and `tumour` are None.
        nets: weights as stored, under the names of `own_weights`; of an ensemble, those of every net.
        info: name, version, description, licence, citation, provenance, metrics.
        sha256: of the file that the weights come from.
        card: the text of MODEL_CARD.md.
    """

    net: Net
    plan: Plan
    nets: tuple[dict[str, torch.Tensor], ...]
    info: dict[str, Any]
    sha256: str
    card: str

    @property
    def name(self) -> str:
        return str(self.info["name"])

    @property
    def values(self) -> list[int]:
        """The label value that flareseg writes for every output channel."""
        return [0, *(structure.value for structure in structures_of(self.plan))]

    @property
    def axes(self) -> str:
        """What the network's three axes run towards, in words."""
        plan = self.plan
        if plan.orientation == "stored":
            names = ["slices", "rows", "columns"]
            return ", ".join(names[axis] for axis in plan.axes) + ", in the order in which the file stores them"
        ends = {"canonical": ["head", "back", "left"], "ras": ["head", "front", "right"]}[plan.orientation]
        return ", ".join(f"towards the {ends[axis]}" for axis in plan.axes)

    def facts(self) -> dict[str, Any]:
        """Where the net comes from and how it is applied, as data for a JSON file."""
        return {
            "exported_by": f"flareseg {flareseg.__version__}",
            "net": self.net,
            **self.info,
            "weights_sha256": self.sha256,
            "nets_whose_logits_are_averaged": len(self.nets),
            "axes": self.axes,
            "sizes_are_multiples_of": list(self.plan.stride_zyx),
            "normalised_padding": self.plan.padding,
            "label_values": dict(zip(self.plan.labels.values(), self.values, strict=True)),
            "plan": self.plan.to_json(),
        }


def load_source(model: str | Path, net: Net) -> Source:
    """Read a model and pick a net of it.

    Raises:
        ModelError: when there is no such model, or it has no such net.
    """
    path = find_model(model)
    bundle = load_bundle(path)
    plan, nets = bundle.plan, (bundle.weights, *bundle.ensemble)
    if net != "main":
        other, weights = {
            "coarse": (plan.coarse, bundle.coarse_weights),
            "tumour": (plan.tumour, bundle.tumour_weights),
        }[net]
        if not other or not weights:
            raise ModelError(f"The model '{bundle.name}' has no {net} net; leave out --net {net}.")
        plan, nets = other, (weights,)
    with open_model(path) as files:
        card = files.read(CARD, LARGEST_CARD_BYTES) or b""
    text = card.decode("utf-8", errors="replace")
    return Source(net, replace(plan, coarse=None, tumour=None), nets, bundle.info, bundle.sha256, text)
