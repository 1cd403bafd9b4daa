"""An nnU-Net v1 trained model becomes one of ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flareseg.errors import ModelError
from flareseg.interop.nnunet.axes import axes_of
from flareseg.interop.nnunet.importer import (
    AXES,
    CITATION,
    LABELS,
    NOT_STATED,
    Choice,
    Imported,
    short_name,
    with_region,
)
from flareseg.interop.nnunet.labels import plan_labels
from flareseg.interop.nnunet.model_folder import DATASET, TrainedModel
from flareseg.interop.nnunet.v1.checkpoint import read_v1_weights
from flareseg.interop.nnunet.v1.folder import SETTINGS, configuration_of, folds_of, open_v1_model, task_of
from flareseg.interop.nnunet.v1.pickles import LARGEST_PICKLE_BYTES, read_pickle
from flareseg.interop.nnunet.v1.plans import (
    Settings,
    as_version_2,
    convolutions_of,
    largest_rules,
    plan_of_v1,
    settings_of,
)
from flareseg.interop.nnunet.weights import own_tensors
from flareseg.model.networks.registry import parameter_shapes
from flareseg.model.plan import Plan
from flareseg.text import one_line

if TYPE_CHECKING:
    import torch

NOBODY = "nothing in the folder names them"
POSTPROCESSING = "postprocessing.json"
UNNAMED = "label_{}"
"""Of structures that nothing names."""
MOST_LABELS = 255


def read_nnunet_v1(path: Path, choice: Choice | None = None) -> Imported:
    """Read an nnU-Net v1 trained model from a folder or zip.

    Raises:
        ModelError: naming what is missing, damaged, or cannot be run here.
        UsageError: when it must be told which of several nets is meant.
    """
    choice = choice or Choice()
    with open_v1_model(path, choice.configuration) as model:
        files = folds_of(model, choice.folds, choice.checkpoint)
        settings = [_settings(model, name) for name in files.values()]
        first = settings[0]
        labels, named_by = _labels(model, first, choice.labels)
        plan = plan_of_v1(first, labels, parity=choice.parity)
        if any(plan_of_v1(other, labels, parity=choice.parity) != plan for other in settings[1:]):
            raise ModelError(f"The folds of '{model.name}' are of different plans.")
        if POSTPROCESSING in model.files:
            plan = replace(plan, largest=largest_rules(model.read_json(POSTPROCESSING), labels))
        nets = [_net(model, name, plan, convolutions_of(first.plans)) for name in files.values()]
        task, configuration = task_of(model), configuration_of(model) or f"stage {first.stage}"
        axes = axes_of(choice.axes, plan.orientation, [task, *model.around])
        plan = replace(plan, orientation=axes.rule)
        weights, others = nets[0], tuple(nets[1:])
        if choice.region:
            plan, weights = with_region(plan, weights)
        which = "fold" if len(files) == 1 else "mean of folds"
        about = f"nnU-Net v1 {configuration} of {task or 'an unnamed data set'}, {which} {' '.join(files)}"
        return Imported(
            name=short_name(task.partition("_")[2] or "nnunet-v1", configuration),
            plan=plan,
            nets=(weights, *others),
            texts={"description": _line(about), "licence": NOT_STATED, "citation": CITATION},
            provenance={
                "source": "imported from an nnU-Net v1 trained model",
                "folder": _line(model.name),
                "dataset": _line(task),
                "trainer": _line(first.trainer),
                "configuration": configuration,
                "folds": " ".join(files),
                "checkpoint": next(iter(files.values())).rpartition("/")[2],
                LABELS: named_by,
                AXES: str(axes),
            },
        )


def _settings(model: TrainedModel, checkpoint: str) -> Settings:
    name = f"{checkpoint}{SETTINGS}"
    return settings_of(read_pickle(model.read_bytes(name, LARGEST_PICKLE_BYTES + 1), name), name)


def _net(model: TrainedModel, checkpoint: str, plan: Plan, convolutions: int) -> dict[str, torch.Tensor]:
    with model.file(checkpoint) as file:
        stages = len(plan.network.kwargs["filters"])
        state = as_version_2(read_v1_weights(file), stages, convolutions)
        # Copied, because a checkpoint's tensors may lie in its file, and that of a zip is about to be deleted.
        return {k: v.clone() for k, v in own_tensors(state, plan.network, parameter_shapes(plan)).items()}


def _labels(model: TrainedModel, settings: Settings, given: tuple[str, ...] | None) -> tuple[dict[int, str], str]:
    """Output channels and their names, and who named them: the user, a dataset.json in the folder, or nobody."""
    count = settings.plans.get("num_classes")
    if type(count) is not int or not 1 <= count <= MOST_LABELS:
        raise ModelError(
            f"The model's plans say that it has {str(count)[:20]} structures; 1 to {MOST_LABELS} are possible."
        )
    if given is not None:
        if len(given) != count:
            raise ModelError(f"The model has {count} structures; --labels names {len(given)}.")
        return plan_labels({"background": 0} | {name: n for n, name in enumerate(given, 1)}), "named at import"
    if DATASET in model.files:
        table = plan_labels(model.read_json(DATASET).get("labels"))
        if len(table) != count + 1:
            raise ModelError(f"The model's {DATASET} names {len(table) - 1} structures; its plans have {count}.")
        return table, f"as {DATASET} names them"
    names = {UNNAMED.format(number): number for number in range(1, count + 1)}
    return plan_labels({"background": 0} | names), NOBODY


def _line(value: Any) -> str:
    return one_line(str(value), 300)
