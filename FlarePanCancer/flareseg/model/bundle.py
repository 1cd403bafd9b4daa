"""A model is a folder, or the same zipped: model.json (plan and provenance), weights.safetensors, MODEL_CARD.md.

Nothing in a model is ever executed: the plan is data, the weights are safetensors. What does not fit is refused before
memory is taken for it.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import tempfile
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from flareseg.errors import FlareError, ModelError, OutputError
from flareseg.labels import BACKGROUND, by_name
from flareseg.model.network import own_weights, parameter_shapes
from flareseg.model.plan import Plan

if TYPE_CHECKING:
    import torch

FORMAT = 1
JSON, WEIGHTS, CARD = "model.json", "weights.safetensors", "MODEL_CARD.md"
COARSE = "coarse."
LARGEST_JSON_BYTES = 2**20
LARGEST_CARD_BYTES = 2**22
LARGEST_WEIGHTS_BYTES = 4 * 2**30
TEXTS = ("name", "version", "description", "licence", "citation")


@dataclass(frozen=True)
class Bundle:
    """A loaded model.

    Attributes:
        plan: how it is applied.
        weights: tensors of the network by name, as stored (usually fp16).
        coarse_weights: those of `plan.coarse`, or None.
        info: the rest of model.json: name, version, description, licence, citation, provenance, metrics.
        sha256: of the weights file.
    """

    plan: Plan
    weights: dict[str, torch.Tensor]
    coarse_weights: dict[str, torch.Tensor] | None
    info: dict[str, Any]
    sha256: str

    @property
    def name(self) -> str:
        return str(self.info["name"])

    @property
    def version(self) -> str:
        return str(self.info["version"])


@dataclass(frozen=True)
class Description:
    """What model.json says, checked, without the weights."""

    plan: Plan
    info: dict[str, Any]
    sha256: str


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
) -> None:
    """Write a model folder, whole or not at all; the same input gives the same bytes.

    Args:
        weights: the network's tensors; those of `plan.coarse` under the prefix "coarse.". Stored as fp16.
        provenance: data, code revision, date and whatever else tells where the model comes from.
        metrics: scores, and on which cases.
        card: the text of MODEL_CARD.md.

    Raises:
        OutputError: when the folder exists and `overwrite` is not set, or cannot be written.
        ModelError: when weights and plan do not fit.
    """
    import torch
    from safetensors.torch import save

    if folder.exists() and not overwrite:
        raise OutputError(f"'{folder}' exists already.")
    tensors = own_weights(weights)
    data = save({key: tensors[key].detach().to(torch.float16).contiguous() for key in sorted(tensors)})
    info = {"name": name, "version": version, "description": description, "licence": licence, "citation": citation}
    contents = {
        "format": FORMAT,
        **info,
        "plan": plan.to_json(),
        "provenance": provenance,
        "metrics": metrics,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    scratch = folder.with_name(f".{uuid.uuid4().hex[:12]}")
    try:
        scratch.mkdir(parents=True)
        (scratch / JSON).write_text(json.dumps(contents, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (scratch / WEIGHTS).write_bytes(data)
        (scratch / CARD).write_text(card, encoding="utf-8")
        load_bundle(scratch)
        put_in_place(scratch, folder)
    except OSError as error:
        raise OutputError(f"The model folder '{folder}' cannot be written: {error.strerror}.") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def put_in_place(new: Path, folder: Path) -> None:
    """Rename the folder `new` to `folder`; one that is there stays until the new one has arrived."""
    if not folder.exists():
        new.rename(folder)
        return
    old = folder.with_name(f".{uuid.uuid4().hex[:12]}")
    folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def load_bundle(path: Path) -> Bundle:
    """Read a model folder or zip and check that everything in it fits together.

    Raises:
        ModelError: saying what is missing, altered or does not fit.
    """
    with opened_folder(path) as folder:
        description = read_description(folder)
        tensors = _read_weights(folder / WEIGHTS, description)
    coarse = {key.removeprefix(COARSE): value for key, value in tensors.items() if key.startswith(COARSE)}
    main = {key: value for key, value in tensors.items() if not key.startswith(COARSE)}
    return Bundle(description.plan, main, coarse or None, description.info, description.sha256)


def read_description(folder: Path) -> Description:
    """Read and check model.json alone.

    Raises:
        ModelError: when it is missing, damaged, or made for another flareseg.
    """
    path = folder / JSON
    try:
        if path.stat().st_size > LARGEST_JSON_BYTES:
            raise ModelError(f"'{path}' is too large for a model description.")
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ModelError(f"'{folder}' is no flareseg model: it has no readable {JSON}.") from None
    except (ValueError, RecursionError):
        raise ModelError(f"'{path}' is damaged: it is not valid JSON.") from None
    if not isinstance(data, dict) or "format" not in data or "plan" not in data:
        raise ModelError(f"'{path}' describes no flareseg model.")
    if data["format"] != FORMAT:
        raise ModelError(
            f"'{folder.name}' has model format {data['format']!r} and this flareseg reads format {FORMAT}; "
            "update flareseg or get a model made for it."
        )
    sha256 = data.get("sha256")
    if not isinstance(sha256, str) or any(not isinstance(data.get(text), str) for text in TEXTS):
        raise ModelError(f"'{path}' lacks one of: {', '.join((*TEXTS, 'sha256'))}.")
    if not isinstance(data["plan"], dict):
        raise ModelError(f"'{path}' has no plan.")
    try:
        plan = Plan.from_json(data["plan"])
    except RecursionError:
        raise ModelError(f"'{path}' is damaged: its plans are nested without end.") from None
    for part in (plan, plan.coarse) if plan.coarse else (plan,):
        _check_labels(part)
    info = {text: data[text] for text in TEXTS}
    info |= {"provenance": data.get("provenance", {}), "metrics": data.get("metrics", {})}
    return Description(plan, info, sha256)


def _check_labels(plan: Plan) -> None:
    if plan.labels[0] != BACKGROUND:
        raise ModelError(f"The model's label 0 is '{plan.labels[0]}', expected '{BACKGROUND}'.")
    for value, name in plan.labels.items():
        if value == 0:
            continue
        try:
            expected = by_name(name).value
        except FlareError:
            raise ModelError(f"The model segments '{name}', which is none of the structures flareseg knows.") from None
        if value != expected:
            raise ModelError(f"The model gives '{name}' the label {value}, expected {expected}.")


def _read_weights(path: Path, description: Description) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    expected = {**parameter_shapes(description.plan)}
    if description.plan.coarse:
        expected |= {COARSE + key: shape for key, shape in parameter_shapes(description.plan.coarse).items()}
    try:
        size = path.stat().st_size
        # fp32 is the widest that weights come in; the header takes some 200 bytes a tensor.
        if size > min(LARGEST_WEIGHTS_BYTES, 4 * sum(map(math.prod, expected.values())) + 1024 * (len(expected) + 16)):
            raise ModelError(f"'{path}' is larger than the network in the model's plan can be.")
        data = path.read_bytes()
    except OSError:
        raise ModelError(f"The model lacks a readable '{path.name}'.") from None
    if hashlib.sha256(data).hexdigest() != description.sha256:
        raise ModelError(f"The model's weights are damaged or altered (sha256 differs): '{path}'; get the model again.")
    try:
        tensors: dict[str, torch.Tensor] = load(data)
    except (SafetensorError, ValueError, KeyError):
        raise ModelError(f"'{path}' is no valid safetensors file.") from None
    for key, shape in expected.items():
        if key not in tensors:
            raise ModelError(f"The model's weights lack '{key}', which its plan asks for.")
        if tuple(tensors[key].shape) != shape:
            raise ModelError(f"The model's '{key}' is {tuple(tensors[key].shape)}, its plan asks for {shape}.")
        if not tensors[key].is_floating_point():
            raise ModelError(f"The model's '{key}' holds {tensors[key].dtype}, expected floating point.")
    surplus = sorted(set(tensors) - set(expected))
    if surplus:
        raise ModelError(f"The model's weights hold '{surplus[0]}', which its plan does not know.")
    return tensors


@contextmanager
def opened_folder(path: Path) -> Iterator[Path]:
    """The model folder `path`, or a temporary one with what the zip `path` holds.

    Raises:
        ModelError: when it is neither, or the zip holds anything but a model.
    """
    if path.is_dir():
        yield path
        return
    if not path.is_file():
        raise ModelError(f"There is no model at '{path}'.")
    if not zipfile.is_zipfile(path):
        raise ModelError(f"'{path}' is neither a model folder nor a zip of one.")
    with tempfile.TemporaryDirectory() as scratch:
        try:
            with zipfile.ZipFile(path) as archive:
                _extract(archive, path, Path(scratch))
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError):
            raise ModelError(f"'{path}' is a damaged or encrypted zip.") from None
        yield Path(scratch)


def _extract(archive: zipfile.ZipFile, path: Path, folder: Path) -> None:
    """Take the three files of a model out of a zip, at its top or in one folder; anything else is refused."""
    limits = {JSON: LARGEST_JSON_BYTES, WEIGHTS: LARGEST_WEIGHTS_BYTES, CARD: LARGEST_CARD_BYTES}
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len({str(PurePosixPath(member.filename).parent) for member in members}) > 1:
        raise ModelError(f"'{path}' holds files in several folders; a model's zip holds one model and nothing else.")
    for member in members:
        name = PurePosixPath(member.filename).name
        if name not in limits or len(PurePosixPath(member.filename).parts) > 2 or ".." in member.filename:
            raise ModelError(f"'{path}' holds '{member.filename}', which does not belong in a model.")
        if member.file_size > limits[name]:
            raise ModelError(f"'{path}' holds a {name} that is too large.")
        left = member.file_size
        with archive.open(member) as source, (folder / name).open("wb") as target:
            while block := source.read(2**20):
                left -= len(block)
                if left < 0:
                    raise ModelError(f"'{path}' holds a {name} that is larger than the zip says.")
                target.write(block)
