"""An nnU-Net v2 trained model becomes one of ours: its plans a plan, its checkpoints checked safetensors in fp32."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flareseg.errors import ModelError, UsageError
from flareseg.interop.nnunet.axes import AxesName, axes_of
from flareseg.interop.nnunet.checkpoint import read_checkpoint
from flareseg.interop.nnunet.labels import plan_labels
from flareseg.interop.nnunet.makers import in_the_way_of, maker_of
from flareseg.interop.nnunet.model_folder import DATASET, PLANS, TrainedModel, open_trained_model
from flareseg.interop.nnunet.plans import plan_of
from flareseg.interop.nnunet.weights import own_tensors
from flareseg.model.bundle import COARSE, LONGEST_TEXT, load_bundle, save_bundle
from flareseg.model.catalogue import find_model
from flareseg.model.networks.registry import parameter_shapes
from flareseg.model.plan import Plan
from flareseg.text import one_line

if TYPE_CHECKING:
    import torch

CITATION = (
    "Isensee et al., nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation, "
    "Nature Methods 2021"
)
VERSION = "1"
NOT_STATED = "not stated; ask whoever gave you the model"
AXES, LABELS = "axes", "labels"
"""The entries of the provenance that say which way the body lies before the net, and who named the structures."""


@dataclass(frozen=True)
class About:
    """What whoever publishes a model says of it, in place of what its files say. Each is one line.

    Attributes:
        provenance: is added to what the files tell.
        structures: names of the output channels 1, 2, ...
    """

    description: str
    licence: str
    citation: str
    provenance: dict[str, str]
    structures: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """Which of several nets is imported, and how it runs.

    Attributes:
        configuration: e.g. "3d_fullres", where a folder holds several.
        folds: e.g. ("0", "1"); every numbered fold unless given.
        checkpoint: file name; checkpoint_final.pth unless given.
        parity: nnU-Net's own answer is what the model gives, unless the user asks for the faster way.
        region: the faster way looks only where the embedded model's coarse net finds organs.
        axes: which way the body lies before the net; None goes by the plans, and by what the model is called.
        labels: names of the output channels 1, 2, ... of a model of version 1, whose folder may not name them.
        about: what is known of the model from elsewhere.
    """

    configuration: str | None = None
    folds: tuple[str, ...] | None = None
    checkpoint: str | None = None
    parity: bool = True
    region: bool = False
    axes: AxesName | None = None
    labels: tuple[str, ...] | None = None
    about: About | None = None


@dataclass(frozen=True)
class Imported:
    """A model that was read, ready to be written by `save`."""

    name: str
    plan: Plan
    nets: tuple[dict[str, torch.Tensor], ...]
    texts: dict[str, str]
    provenance: dict[str, Any]

    def described(self, about: About) -> Imported:
        """The same model, with what is known of it from elsewhere."""
        texts = {"description": about.description, "licence": about.licence, "citation": about.citation}
        added = {key: _line(value) for key, value in about.provenance.items()}
        return replace(
            self,
            texts={key: _line(value, LONGEST_TEXT) for key, value in texts.items()},
            provenance=self.provenance | added,
        )

    def save(self, folder: Path, *, name: str, overwrite: bool) -> None:
        """Write it as a model folder; raises as `save_bundle`."""
        save_bundle(
            folder,
            plan=self.plan,
            weights=self.nets[0],
            ensemble=self.nets[1:],
            precision="fp32",
            name=name,
            version=VERSION,
            description=self.texts["description"],
            licence=self.texts["licence"],
            citation=self.texts["citation"],
            provenance=self.provenance,
            metrics={},
            card=_card(name, self.texts, self.provenance, self.plan),
            overwrite=overwrite,
        )


def read_nnunet(path: Path, choice: Choice | None = None) -> Imported:
    """Read an nnU-Net v2 trained model from a folder or zip.

    Raises:
        ModelError: naming what is missing, damaged, or cannot be run here.
        UsageError: when it must be told which of several nets is meant.
    """
    choice = choice or Choice()
    if choice.labels:
        raise UsageError("--labels is for models of nnU-Net v1; this one names its structures itself.")
    with open_trained_model(path, choice.configuration) as model:
        plans, dataset = model.read_json(PLANS), model.read_json(DATASET)
        labels = plan_labels(dataset.get("labels"))
        _check_channels(dataset)
        files = model.folds(choice.folds, choice.checkpoint)
        folds = []
        for name in files.values():
            with model.file(name) as file:
                folds.append(_read_fold(file, plans, labels, choice))
        first = folds[0]
        if any(fold.configuration != first.configuration for fold in folds):
            raise ModelError(f"The folds of '{model.name}' are of different configurations.")
        names = [str(plans.get("dataset_name", "")), *model.around]
        axes = axes_of(choice.axes, first.plan.orientation, names)
        plan, (weights, *others) = replace(first.plan, orientation=axes.rule), [fold.weights for fold in folds]
        if known := maker_of(names):
            plan = in_the_way_of(known[0], plan, names[0])
        if choice.region:
            plan, weights = with_region(plan, weights)
        return Imported(
            name=_name(plans, first.configuration),
            plan=plan,
            nets=(weights, *others),
            texts=_texts(plans, dataset, first, list(files)),
            provenance=_provenance(model, plans, dataset, first, files) | {AXES: str(axes)},
        )


@dataclass(frozen=True)
class _Fold:
    """One fold's network, under our names."""

    plan: Plan
    weights: dict[str, torch.Tensor]
    configuration: str
    trainer: str


def _read_fold(file: Path, plans: dict[str, Any], labels: dict[int, str], choice: Choice) -> _Fold:
    checkpoint = read_checkpoint(file)
    plan = plan_of(plans, checkpoint.configuration, labels, checkpoint.mirror_axes, parity=choice.parity)
    tensors = own_tensors(checkpoint.weights, plan.network, parameter_shapes(plan))
    # Copied, because a checkpoint's tensors lie in its file, and that of a zip is about to be deleted.
    weights = {name: value.clone() for name, value in tensors.items()}
    return _Fold(plan, weights, checkpoint.configuration, checkpoint.trainer)


def with_region(plan: Plan, weights: dict[str, torch.Tensor]) -> tuple[Plan, dict[str, torch.Tensor]]:
    """With the embedded model's coarse net, which finds the abdomen.

    Raises:
        UsageError: when the model segments more than that, or other images than CTs.
    """
    embedded = load_bundle(find_model("default"))
    assert embedded.plan.coarse and embedded.coarse_weights
    strange = sorted(set(plan.labels.values()) - set(embedded.plan.coarse.labels.values()))
    if strange or plan.intensity.scheme != "ct":
        what = f"'{strange[0]}'" if strange else "images that are normalised one by one"
        raise UsageError(f"A region is found for FLARE's structures in CTs only; this model is for {what}.")
    found = {COARSE + name: tensor.float() for name, tensor in embedded.coarse_weights.items()}
    return replace(plan, coarse=embedded.plan.coarse), weights | found


def _check_channels(dataset: dict[str, Any]) -> None:
    channels = dataset.get("channel_names", dataset.get("modality"))
    if not isinstance(channels, dict) or not channels:
        raise ModelError(f"The model's {DATASET} does not say what its images are (channel_names).")
    if len(channels) > 1:
        names = ", ".join(_line(name, 20) for name in list(channels.values())[:6])
        raise ModelError(f"The model takes {len(channels)} images at once ({names}); flareseg has one CT.")


def _name(plans: dict[str, Any], configuration: str) -> str:
    """What the model is called unless the user says otherwise."""
    return short_name(re.sub(r"^Dataset\d+_", "", str(plans.get("dataset_name", ""))), configuration)


def short_name(dataset: str, configuration: str) -> str:
    """Letters, digits and '-' of the names of a data set and a configuration."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", f"{dataset[:40]}-{configuration[:20]}").strip("-")
    return plain or "nnunet"


def _texts(plans: dict[str, Any], dataset: dict[str, Any], first: _Fold, folds: list[str]) -> dict[str, str]:
    licence = next((dataset[key] for key in ("licence", "license") if dataset.get(key)), NOT_STATED)
    source = dataset.get("reference") or dataset.get("citation")
    which = "fold" if len(folds) == 1 else "mean of folds"
    about = f"nnU-Net {first.configuration} of {plans.get('dataset_name', 'an unnamed data set')}"
    return {
        "description": _line(f"{about}, {which} {' '.join(folds)}"),
        "licence": _line(f"of the data: {licence}" if licence != NOT_STATED else licence),
        "citation": _line(f"{CITATION}; data: {source}" if source else CITATION),
    }


def _provenance(
    model: TrainedModel, plans: dict[str, Any], dataset: dict[str, Any], first: _Fold, files: dict[str, str]
) -> dict[str, str]:
    return {
        "source": "imported from an nnU-Net v2 trained model",
        "folder": _line(model.name),
        "dataset": _line(plans.get("dataset_name", "")),
        "plans": _line(plans.get("plans_name", "")),
        "trainer": _line(first.trainer),
        "configuration": _line(first.configuration),
        "folds": " ".join(files),
        "checkpoint": _line(next(iter(files.values())).rpartition("/")[2]),
        "trained on": _line(f"{dataset.get('numTraining', 'an unknown number of')} cases"),
    }


def _card(name: str, texts: dict[str, str], provenance: dict[str, str], plan: Plan) -> str:
    # The plan says which way the body lies, and `models check --fix` may change it.
    facts = "".join(f"- {key}: {value}\n" for key, value in provenance.items() if value and key != AXES)
    structures = "".join(f"- {value} {label}\n" for value, label in plan.labels.items() if value)
    return (
        f"# {name}\n\n{texts['description']}. Imported by flareseg, which knows nothing of how well it segments.\n\n"
        f"{facts}- licence: {texts['licence']}\n- citation: {texts['citation']}\n\n"
        f"## Labels of the network\n\n{structures}"
    )


def _line(value: Any, length: int = 300) -> str:
    """A foreign text as one line of bounded length."""
    return one_line(str(value), min(length, LONGEST_TEXT))
