"""Read a configuration file with overrides from the command line, and validate it before anything runs.

An unknown key, a value of the wrong type, a patch size that is not divisible by the strides, a fit that starts from an
unknown fit, or a missing folder is reported in one line.
"""

from __future__ import annotations

from dataclasses import asdict
from math import inf, isfinite
from pathlib import Path

from flareseg.errors import ModelError, UsageError
from flareseg.labels import TUMOUR, by_names
from flareseg.model.bundle import read_description
from flareseg.model.catalogue import find_model
from train.config import FP16_BITS, NEW_PATIENTS, Config, NewPatientsConfig, TumourRulesConfig
from train.data.layouts.names import check_names
from train.fit_config import AugmentConfig, FitConfig, NnunetAugmentConfig
from train.net_config import ANY_RANGE
from train.pseudo_checks import check_rounds
from train.settings import build, read_tables


def load_config(path: Path, overrides: list[str] | None = None, *, with_data: bool = True) -> Config:
    """Read a configuration file and check all of it.

    Args:
        path: a YAML file; `extends` names another file in the same folder, which provides the missing keys.
        overrides: "key=value" or "section.key=value", values in YAML.
        with_data: whether the folders of the sources must exist.

    Raises:
        UsageError: when the file, a key or a value is invalid.
    """
    tables = read_tables(path, overrides or [])
    if isinstance(tables.get("sources"), dict):  # in the file a table by name, so that one value can be overridden
        tables["sources"] = [{"name": name, **(entry or {})} for name, entry in tables["sources"].items()]
    config = build(Config, tables, str(path))
    try:
        _check(config, with_data)
    except (ModelError, UsageError) as error:
        raise UsageError(f"{path}: {error}") from None
    return config


def _check(config: Config, with_data: bool) -> None:
    """That the parts fit each other."""
    sources = config.source_names()
    _no_twins("source", sources)
    for source in config.sources:
        if with_data and not Path(source.path).expanduser().is_dir():
            raise UsageError(f"The folder '{source.path}' of the source '{source.name}' does not exist.")
        by_names([*source.annotated, *source.absent, *source.in_part])
        whole = {*source.absent} if isinstance(source.in_part, dict) else {*source.annotated, *source.absent}
        if both := sorted(whole & {*source.in_part}):
            raise UsageError(f"The source '{source.name}' has '{both[0]}' in_part, and annotated or absent as well.")
        check_names(source.values)
    for name in config.reviews if with_data else ():
        if not Path(name).expanduser().is_file():
            raise UsageError(f"There is no file of reviews '{name}'.")
    if config.new_patients and with_data:
        _check_new_patients(config, config.new_patients)
    for name, net in config.nets.items():
        try:
            net.plan(ANY_RANGE)
        except (ModelError, TypeError) as error:
            raise UsageError(f"nets: {name}: {error}") from None
        if strange := sorted(set(net.components) - set(net.names)):
            raise UsageError(f"nets: {name}: it does not segment '{strange[0]}', for which `components` has a rule.")
    for name, fit in config.fits.items():
        _check_fit(config, name, fit)
    check_rounds(config)
    export = config.export
    for name in (export.coarse, export.tumour):
        if name and name not in config.fits:
            raise UsageError(f"There is no fit '{name}' in fits.")
    segmented = _check_exported(config)
    if export.tumour and TUMOUR not in config.net_of(export.tumour).names:
        raise UsageError(f"export: the net of the fit '{export.tumour}' does not segment tumours.")
    if export.lesions.peak < export.lesions.lead:
        raise UsageError("export: the peak of lesions is at least their lead.")
    if config.tumour_rules:
        _check_tumour_rules(config, config.tumour_rules, segmented)
    if export.tumour and TUMOUR not in segmented:
        raise UsageError("export: the exported net does not segment tumours, so that another cannot find them for it.")


def _check_exported(config: Config) -> tuple[str, ...]:
    """Check that the keys of `export` fit the exported fit or model; returns what it segments."""
    export = config.export
    if not 2 <= export.significant_bits <= FP16_BITS:
        raise UsageError(f"export: significant_bits is a number from 2 to {FP16_BITS}.")
    if export.fit in config.fits:
        segmented = config.net_of(export.fit).names
        if strange := sorted(set(export.suppressed) - set(segmented)):
            raise UsageError(f"export: the exported net does not segment '{strange[0]}', which is to be suppressed.")
        if export.components:
            raise UsageError("export: the components of a fit stand beside its net.")
        return segmented
    if not _is_model(export.fit):
        raise UsageError(f"There is no fit '{export.fit}' in fits, nor a model of that name.")
    if not export.tumour:
        raise UsageError(f"export: '{export.fit}' is a model already; name the fit that finds tumours for it.")
    if export.coarse or export.suppressed:
        raise UsageError(f"export: '{export.fit}' is a model; coarse and suppressed are for fits of this run.")
    model, net = read_description(find_model(export.fit)).plan, config.net_of(export.tumour)
    try:
        export.with_tumour_net(model, net.plan(ANY_RANGE))
    except (ModelError, TypeError) as error:
        raise UsageError(f"export: {error}") from None
    if strange := sorted(set(export.components) - set(model.labels.values())):
        raise UsageError(f"export: the model '{export.fit}' does not segment '{strange[0]}'.")
    return tuple(model.labels.values())


def _check_tumour_rules(config: Config, rules: TumourRulesConfig, segmented: tuple[str, ...]) -> None:
    if TUMOUR not in segmented or (TUMOUR in config.export.suppressed and not config.export.tumour):
        raise UsageError("tumour_rules: the exported model draws no tumours.")
    if rules.peaks and not config.export.tumour:
        raise UsageError("tumour_rules: peaks need a net of its own for tumours (export.tumour).")
    if not all(0 <= ml < inf for ml in rules.minimum_ml) or not all(map(isfinite, [*rules.leads, *rules.peaks])):
        raise UsageError("tumour_rules: volumes are ml from 0 up, leads and peaks are numbers.")


def _check_new_patients(config: Config, wanted: NewPatientsConfig) -> None:
    folders = {source.name: Path(source.path).expanduser() for source in config.sources if source.layout == "cases"}
    for case in wanted.cases:
        source, _, name = case.partition("/")
        if source not in folders:
            raise UsageError(f"{NEW_PATIENTS}: there is no source '{source}' of the layout 'cases'.")
        if not name or not (folders[source] / name).is_dir():
            raise UsageError(f"{NEW_PATIENTS}: the source '{source}' has no case '{name}'.")


def _check_fit(config: Config, name: str, fit: FitConfig) -> None:
    where = f"fits: {name}"
    if fit.net not in config.nets:
        raise UsageError(f"{where}: there is no net '{fit.net}' in nets.")
    if fit.stage is None and name not in ("pretrain", "tumor", "final", "distill"):
        raise UsageError(f"{where}: give its stage, one of pretrain, tumor, rounds, final, distill.")
    unknown = set(fit.sources) - set(config.source_names())
    if unknown:
        raise UsageError(f"{where}: there is no source '{sorted(unknown)[0]}'.")
    for key, value in (("start", fit.start), ("teacher", fit.teacher)):
        if value and value not in config.fits and not _is_model(value):
            raise UsageError(f"{where}: {key} '{value}' is neither a fit nor a model.")
        if value == name:
            raise UsageError(f"{where}: {key} is the fit itself.")
    if (fit.task == "distill") != bool(fit.teacher):
        raise UsageError(f"{where}: a teacher belongs to the task 'distill', and to no other.")
    if min(fit.epochs, fit.steps_per_epoch, fit.batch_size) < 1 or fit.learning_rate <= 0 or fit.max_minutes <= 0:
        raise UsageError(f"{where}: epochs, steps, batch size, learning rate and minutes must be more than 0.")
    _check_augment(where, fit.augment)
    if not 0 <= fit.validation_memory < 1:
        raise UsageError(f"{where}: validation_memory is a fraction from 0 to below 1.")
    net = config.nets[fit.net]
    unseen = {
        "mirror_axes": any(not fit.augment.mirrored_zyx[axis] for axis in net.mirror_axes),
        "mirror_sides": net.mirror_sides and not fit.augment.mirrored_zyx[2],
    }
    if fit.task != "reconstruct" and (missing := [key for key, value in unseen.items() if value]):
        raise UsageError(f"{where}: its net has {missing[0]}, but the fit sees no mirrored patches (augment).")
    strange = set(fit.emphasis) - set(net.names)
    if strange or min(fit.emphasis.values(), default=0) < 0:
        raise UsageError(f"{where}: emphasis is a number from 0 up for some of the structures that the net segments.")
    if net.deep_supervision > len(net.filters) - 2:
        raise UsageError(
            f"{where}: a net of {len(net.filters)} stages has {len(net.filters) - 2} deep outputs at most."
        )


def _check_augment(where: str, augment: AugmentConfig) -> None:
    """Check nnU-Net's recipe, and that no key of one recipe is given to the other."""
    if augment.recipe != "nnunet":
        if augment.nnunet != NnunetAugmentConfig():
            raise UsageError(f"{where}: augment.nnunet counts with `recipe: nnunet` only.")
        return
    if augment.flip or augment.mirror:
        raise UsageError(f"{where}: with `recipe: nnunet`, mirroring is augment.nnunet.mirror.")
    for key, value in asdict(augment.nnunet).items():
        if isinstance(value, tuple):
            low, high = value
            if not 0 <= low <= high < inf or (not low and key != "noise_deviation"):
                raise UsageError(f"{where}: augment.nnunet.{key} is no range: {low:g} to {high:g}.")
        elif not 0 <= value <= (360 if key in ("rotation_degrees", "in_plane_degrees", "anisotropic") else 1):
            raise UsageError(f"{where}: augment.nnunet.{key} cannot be {value:g}.")


def _is_model(name: str) -> bool:
    try:
        find_model(name)
    except ModelError:
        return False
    return True


def _no_twins(kind: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"Two entries of {kind} are called '{name}'.")
