"""A model is a folder, or the same zipped: model.json (plan and provenance), weights.safetensors, MODEL_CARD.md; the
further nets of an ensemble are weights_1.safetensors and so on.

Nothing in a model is ever executed: the plan is data, the weights are safetensors. What does not fit is refused before
memory is taken for it. Neither MONAI nor the network is needed to load a model, and torch not to describe one.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from flareseg.errors import ModelError
from flareseg.model.networks.registry import is_for_training, own_weights, parameter_shapes
from flareseg.model.plan import Plan
from flareseg.model.plan_checks import check_plan, short
from flareseg.model.shared_nets import Shared, read_shared
from flareseg.model.storage import CARD, JSON, MOST_NETS, ModelFiles, open_model, weights_file, write_model

if TYPE_CHECKING:
    import torch

FORMAT = 10
"""The newest that is read; each model is written in the oldest that can tell it. Format 2 came with nnU-Net's models:
ensembles, structures of their own, other networks, parity; format 3 with structures that are kept free of fat; format 4
with a net of its own for the tumours; format 5 with the rules of nnU-Net v1; format 6 with models that are put together
of others, see `combined.py`; format 7 with TotalSegmentator's resampling, and with structures of which fluid is not
kept; format 8 with nets of an embedded model, see `shared_nets.py`; format 9 with components judged by their share of
the structure's largest; format 10 with islands that go to the structure at which they lie."""
COMBINED = "combined"
"""The entry of model.json that stands in the place of the plan where a model is put together of others."""
COARSE, TUMOUR_NET = "coarse.", "tumour."
"""What the names of the tensors of the coarse net, and of the tumours' net, begin with."""

LARGEST_JSON_BYTES = 2**20
LARGEST_CARD_BYTES = 2**20
LARGEST_WEIGHTS_BYTES = 2**31
LONGEST_TEXT = 2000
TEXTS = ("name", "version", "description", "licence", "citation")


@dataclass(frozen=True)
class Description:
    """What model.json says, checked, without the weights.

    Attributes:
        plan: how the model is applied.
        info: name, version, description, licence and citation (one line of text each), provenance, metrics.
        sha256: of the weights file.
        ensemble_sha256: of the further weights files of an ensemble.
        shared: the embedded model that the nets come from which the weights file lacks.
    """

    plan: Plan
    info: dict[str, Any]
    sha256: str
    ensemble_sha256: tuple[str, ...] = ()
    shared: Shared | None = None


@dataclass(frozen=True)
class Bundle:
    """A loaded model.

    Attributes:
        plan: how it is applied.
        weights: tensors of the network by name, as stored (usually fp16); `load_weights` takes them.
        coarse_weights: those of `plan.coarse`, or None.
        tumour_weights: those of `plan.tumour`, or None.
        info: as in `Description`.
        sha256: of the weights file.
        ensemble: weights of the further nets, whose logits are averaged with those of the first.
    """

    plan: Plan
    weights: dict[str, torch.Tensor]
    coarse_weights: dict[str, torch.Tensor] | None
    info: dict[str, Any]
    sha256: str
    ensemble: tuple[dict[str, torch.Tensor], ...] = ()
    tumour_weights: dict[str, torch.Tensor] | None = None

    @property
    def name(self) -> str:
        return str(self.info["name"])

    @property
    def version(self) -> str:
        return str(self.info["version"])

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The weights of all nets but the further ones of an ensemble, named as `save_bundle` wants them."""
        helpers = ((COARSE, self.coarse_weights), (TUMOUR_NET, self.tumour_weights))
        return self.weights | {prefix + key: value for prefix, net in helpers for key, value in (net or {}).items()}


def save_bundle(
    folder: Path,
    *,
    plan: Plan,
    weights: dict[str, torch.Tensor],
    name: str,
    version: str,
    description: str,
    licence: str,
    citation: str,
    provenance: dict[str, Any],
    metrics: dict[str, Any],
    card: str,
    overwrite: bool = False,
    ensemble: Sequence[dict[str, torch.Tensor]] = (),
    precision: Literal["fp16", "fp32"] = "fp16",
    shared: Shared | None = None,
) -> None:
    """Write a model folder, whole or not at all; the same input gives the same bytes.

    Args:
        weights: the network's tensors; those of `plan.coarse` under the prefix "coarse.", those of `plan.tumour` under
            "tumour.". Second names that a state dict has for them, and heads that only training uses, are left out.
        provenance: data, code revision, date and whatever else tells where the model comes from.
        metrics: scores, and on which cases.
        card: the text of MODEL_CARD.md.
        ensemble: tensors of further networks of the same plan.
        precision: of the weights as they are stored.
        shared: an embedded model that has the tensors which `weights` lacks.

    Raises:
        OutputError: when the folder exists and `overwrite` is not set, or cannot be written.
        ModelError: when weights and plan do not fit, or the weights are more than fp16 can hold.
    """
    data = {weights_file(n): _as_file(one, precision) for n, one in enumerate((weights, *ensemble))}
    digests = [hashlib.sha256(content).hexdigest() for content in data.values()]
    contents = {
        "format": max(8 if shared else 2 if ensemble else 1, plan.needs_format),
        "name": name,
        "version": version,
        "description": description,
        "licence": licence,
        "citation": citation,
        "plan": plan.to_json(),
        "provenance": provenance,
        "metrics": metrics,
        "sha256": digests[0],
        **({"ensemble_sha256": digests[1:]} if ensemble else {}),
        **({"shares": shared.to_json()} if shared else {}),
    }
    files = {
        JSON: (json.dumps(contents, indent=1, ensure_ascii=False) + "\n").encode(),
        **data,
        CARD: card.encode(),
    }
    _read(_InMemory(files), folder.name)  # what is written must be readable
    write_model(folder, files, overwrite=overwrite)


def _as_file(weights: dict[str, torch.Tensor], precision: str) -> bytes:
    """Safetensors of a network's own tensors."""
    import torch
    from safetensors.torch import save

    kind = {"fp16": torch.float16, "fp32": torch.float32}[precision]
    stored: dict[str, torch.Tensor] = {}
    for key, value in own_weights(weights).items():
        if not is_for_training(key.removeprefix(COARSE).removeprefix(TUMOUR_NET)):
            # cloned, because tensors that share memory cannot be saved
            stored[key] = value.detach().cpu().to(kind).clone(memory_format=torch.contiguous_format)
    return save(stored)


def load_bundle(path: Path | str) -> Bundle:
    """Read a model folder or zip and check that everything in it fits together.

    Raises:
        ModelError: saying what is missing, altered or does not fit.
    """
    path = Path(path)
    with open_model(path) as files:
        return _read(files, path.name)


def read_description(path: Path | str) -> Description:
    """Read and check model.json alone; quick.

    Raises:
        ModelError: when it is missing, damaged, or made for another flareseg.
    """
    path = Path(path)
    with open_model(path) as files:
        return _described(files, path.name)


def copy_bundle(path: Path, folder: Path, *, overwrite: bool = False) -> None:
    """Copy a model folder or zip, byte for byte, after checking all of it; raises as `load_bundle`, `save_bundle`."""
    with open_model(path) as files:
        contents = {JSON: files.read(JSON, LARGEST_JSON_BYTES), CARD: files.read(CARD, LARGEST_CARD_BYTES)}
        # What is checked is what is written, even if the source changes meanwhile.
        description = _described(_InMemory(contents), path.name)
        for number in range(1 + len(description.ensemble_sha256)):
            most = _most_weight_bytes(_expected_shapes(description.plan, number))
            contents[weights_file(number)] = files.read(weights_file(number), most)
    _read(_InMemory(contents), path.name)
    write_model(folder, {name: data for name, data in contents.items() if data is not None}, overwrite=overwrite)


@dataclass(frozen=True)
class _InMemory:
    """The files of a model that is being made or copied."""

    files: dict[str, Any]

    def read(self, name: str, most_bytes: int) -> bytes | None:
        content: bytes | None = self.files.get(name)
        if content is not None and len(content) > most_bytes:
            raise ModelError(f"The model's {name} would have {len(content):,} bytes; at most {most_bytes:,} are read.")
        return content


def _read(files: ModelFiles, name: str) -> Bundle:
    description = _described(files, name)
    tensors = _checked_weights(files, name, description)
    further = range(1, 1 + len(description.ensemble_sha256))
    ensemble = tuple(_checked_weights(files, name, description, number) for number in further)
    coarse, tumour = (_of_net(prefix, tensors) for prefix in (COARSE, TUMOUR_NET))
    main = {key: value for key, value in tensors.items() if not key.startswith((COARSE, TUMOUR_NET))}
    return Bundle(
        description.plan, main, coarse or None, description.info, description.sha256, ensemble, tumour or None
    )


def _of_net(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def read_model_json(files: ModelFiles, name: str) -> dict[str, Any]:
    """What model.json holds: JSON of a known format with its texts; plan and members are not checked.

    Raises:
        ModelError: when it is missing, damaged, or made for another flareseg.
    """
    text = files.read(JSON, LARGEST_JSON_BYTES)
    if text is None:
        raise ModelError(f"'{name}' is no flareseg model: it has no {JSON}.")
    try:
        data = json.loads(text.decode("utf-8"), parse_constant=_refuse, parse_float=_finite, parse_int=_whole)
    except (ValueError, RecursionError, MemoryError):
        raise ModelError(f"The {JSON} of '{name}' is damaged: it is not valid JSON.") from None
    if not isinstance(data, dict) or not any(isinstance(data.get(key), dict) for key in ("plan", COMBINED)):
        raise ModelError(f"The {JSON} of '{name}' describes no flareseg model.")
    _check_format(data.get("format"), name)
    for key in TEXTS if COMBINED in data else (*TEXTS, "sha256"):
        if not is_line(data.get(key)):
            raise ModelError(f"The {JSON} of '{name}' needs '{key}' as one line of text.")
    for key in ("provenance", "metrics"):
        if not isinstance(data.get(key, {}), dict):
            raise ModelError(f"The {JSON} of '{name}' needs '{key}' as a table.")
    return data


def is_line(value: Any) -> bool:
    """Whether it is one line of text."""
    return isinstance(value, str) and value.isprintable() and len(value) <= LONGEST_TEXT


def _described(files: ModelFiles, name: str) -> Description:
    data = read_model_json(files, name)
    if COMBINED in data:
        raise ModelError(f"'{name}' is put together of other models and has no weights of its own; name one of those.")
    ensemble = data.get("ensemble_sha256", [])
    if not isinstance(ensemble, list) or len(ensemble) >= MOST_NETS or not all(isinstance(s, str) for s in ensemble):
        raise ModelError(f"The {JSON} of '{name}' needs 'ensemble_sha256' as up to {MOST_NETS - 1} checksums.")
    try:
        plan = Plan.from_json(data["plan"])
        check_plan(plan)
        if 2 * sum(map(math.prod, _expected_shapes(plan).values())) > LARGEST_WEIGHTS_BYTES:
            raise ModelError(f"The network of '{name}' has more parameters than flareseg allows.")
    except ModelError as error:
        raise ModelError(short(str(error), 300)) from None
    shared = read_shared(data.get("shares"), name)
    return Description(plan, info_of(data), data["sha256"], tuple(ensemble), shared)


def info_of(data: dict[str, Any]) -> dict[str, Any]:
    """Of a checked model.json, what people want to know: `Description.info`."""
    texts = {key: data[key] for key in TEXTS}
    return texts | {"provenance": data.get("provenance", {}), "metrics": data.get("metrics", {})}


def _check_format(found: Any, name: str) -> None:
    if type(found) is int and 1 <= found <= FORMAT:
        return
    if isinstance(found, int) and found > FORMAT:
        raise ModelError(f"'{name}' is of model format {found}, this flareseg reads up to {FORMAT}; update flareseg.")
    raise ModelError(f"'{name}' is of an unknown model format; this flareseg reads up to format {FORMAT}.")


def _expected_shapes(plan: Plan, number: int = 0) -> dict[str, tuple[int, ...]]:
    """Of the weights file of net `number`; the coarse net and the tumours' net are in the first."""
    shapes = parameter_shapes(plan)
    for prefix, other in ((COARSE, plan.coarse), (TUMOUR_NET, plan.tumour)):
        if other and number == 0:
            shapes |= {prefix + key: shape for key, shape in parameter_shapes(other).items()}
    return shapes


def _tensors(data: bytes, what: str) -> dict[str, torch.Tensor]:
    from safetensors.torch import load

    try:
        tensors: dict[str, torch.Tensor] = load(data)
    except Exception:  # besides SafetensorError, whatever torch makes of types and shapes that it does not know
        raise ModelError(f"{what} is no valid safetensors file.") from None
    return tensors


def _most_weight_bytes(shapes: dict[str, tuple[int, ...]]) -> int:
    """fp32 is the widest that weights come in; the header takes some 200 bytes a tensor."""
    return min(LARGEST_WEIGHTS_BYTES, 4 * sum(map(math.prod, shapes.values())) + 1024 * (len(shapes) + 16))


def _checked_weights(
    files: ModelFiles, name: str, description: Description, number: int = 0
) -> dict[str, torch.Tensor]:
    import torch

    expected = _expected_shapes(description.plan, number)
    file = weights_file(number)
    data = files.read(file, _most_weight_bytes(expected))
    if data is None:
        raise ModelError(f"'{name}' is incomplete: it has no {file}.")
    if hashlib.sha256(data).hexdigest() != (description.sha256, *description.ensemble_sha256)[number]:
        raise ModelError(f"The {file} of '{name}' is damaged or altered (sha256 differs); get the model again.")
    tensors = _tensors(data, f"The {file} of '{name}'")
    if description.shared and number == 0:
        of_others = _tensors(description.shared.read(name, LARGEST_WEIGHTS_BYTES), f"'{description.shared.model}'")
        tensors = {key: value for key, value in of_others.items() if key in expected} | tensors
    for key, shape in expected.items():
        if key not in tensors:
            raise ModelError(f"The {file} of '{name}' lacks '{key}', which the plan asks for.")
        tensor = tensors[key]
        if tuple(tensor.shape) != shape:
            raise ModelError(f"In '{name}', '{key}' has the shape {tuple(tensor.shape)}; the plan asks for {shape}.")
        if tensor.dtype not in (torch.float16, torch.bfloat16, torch.float32):
            raise ModelError(f"In '{name}', '{key}' holds {tensor.dtype}; fp16, bf16 or fp32 can be used.")
        # A sum in double precision is finite exactly when all are, and many times quicker than asking each.
        if not math.isfinite(tensor.float().sum(dtype=torch.float64).item()):
            raise ModelError(f"In '{name}', '{key}' holds NaN, or numbers that are too large for its type.")
    surplus = sorted(set(tensors) - set(expected))
    if surplus:
        raise ModelError(f"The {file} of '{name}' holds '{short(surplus[0])}', which the plan does not know.")
    return tensors


def _refuse(text: str) -> NoReturn:
    raise ValueError(text)


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _whole(text: str) -> int:
    # No number in a model has more digits, and long ones take quadratic time to read.
    return int(text) if len(text) <= 18 else _refuse(text)
