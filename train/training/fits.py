"""Set up a fit from its configuration: cases, labels, sampling weights and initial weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from flareseg.errors import FlareError, InputError, UsageError
from flareseg.labels import TUMOUR
from flareseg.model.bundle import Bundle, load_bundle
from flareseg.model.catalogue import find_model
from flareseg.model.plan import Plan
from flareseg.volume import Triple
from train.common.hashes import weights_hash
from train.common.json_files import read_table
from train.common.paths import RunPaths
from train.config import NEW_PATIENTS, PHANTOMS, Config
from train.data.cache import CachedCase, Kind, load_cached
from train.data.case_list import CaseList
from train.data.fingerprint import read_statistics
from train.data.index import CaseIndex, IndexedCase
from train.data.named_cases import listed_names
from train.fit_config import FitConfig
from train.pseudolabels.reviews import right_structures
from train.training.checkpoints import averaged_weights
from train.training.claim import DESCRIPTION, refusal, stale_for, tell_unknown
from train.training.module import FitJob
from train.training.stamps import STAMP
from train.training.suppression import opened
from train.training.tasks import Distill, Reconstruct, Segment, Task
from train.training.trainer import fit

NetWeights = tuple[Plan, dict[str, torch.Tensor]]
Find = Callable[[str], NetWeights]
"""Plan and weights of the fit or model of a name."""


def fit_named(config: Config, paths: RunPaths, index: CaseIndex, name: str, left_out: Sequence[str] = ()) -> None:
    """Train the fit `name` of the configuration, optionally without the cases `left_out`.

    Its initial weights and its teacher are then also trained without these cases. (Pseudo-labels of other cases are not
    predicted again, even if S_tum was trained on a case that is left out.)
    """
    job = job_of(config, paths, index, name, left_out)
    fit(job, partial(_task, config, paths, index, job, left_out))


def check_fresh(config: Config, paths: RunPaths, index: CaseIndex, name: str, left_out: Sequence[str] = ()) -> None:
    """Check that a finished fit is of the present settings and data, before it is used; trains nothing.

    Raises:
        UsageError: when it is stale.
    """
    folder = paths.fit(name, left_out)
    found = read_table(folder / DESCRIPTION)
    if STAMP not in found:
        tell_unknown(folder)
        return
    try:
        job = job_of(config, paths, index, name, left_out, train=False)
    except FlareError as error:
        print(f"{folder.name}: taken as it is; whether it is stale cannot be seen ({error})", flush=True)
        return
    if stale := stale_for(job, found):
        raise UsageError(refusal(folder.name, stale))


def job_of(
    config: Config, paths: RunPaths, index: CaseIndex, name: str, left_out: Sequence[str] = (), *, train: bool = True
) -> FitJob:
    """A fit as it is to be trained now.

    Args:
        train: whether the fits that it starts from or learns from are trained first where they are not; otherwise they
            must be there.

    Raises:
        InputError: when a case is not in the cache, or there is none.
    """
    settings, net = config.fits[name], config.net_of(name)
    kind = _kind_of_labels(settings, paths)
    grid = paths.grid(net.spacing_zyx_mm)
    chosen, cached, weights = _taught(cases_of(config, index, name, left_out), grid, kind)
    validation = [case for case in index.split("validation") if case.labels]
    find = partial(_weights, config, paths, index, left_out=left_out, train=train)
    return FitJob(
        folder=paths.fit(name, left_out),
        net=net,
        plan=plan_of(config, paths, name),
        settings=settings,
        cases=cached,
        shares=weighed(shares_of(config, chosen), weights),
        validation=[load_cached(grid / case.name, kind and "truth") for case in validation],
        start=_start(config, name, find),
        seed=config.seed + settings.seed,
        deterministic=config.deterministic,
        redo=config.redo,
        teacher_hash=weights_hash(find(settings.teacher)[1]) if settings.teacher else "",
        by_score=config.export.weights == "best",
    )


def _taught(
    cases: Sequence[IndexedCase], grid: Path, kind: Kind | None
) -> tuple[list[IndexedCase], CaseList, list[float]]:
    """The cases in the cache and their weights, but for those that are never drawn: nothing is known of their labels,
    as after a review that rejects them, or their pseudo-labels are too unstable.

    Raises:
        InputError: when a case is not in the cache, or there is no other.
    """
    kept, weights = [], []

    def known() -> Iterator[CachedCase]:
        for case in cases:
            one = load_cached(grid / case.name, kind)
            if kind in (None, "truth") or (one.weight and (one.known[1:].any() or one.centres)):
                kept.append(case)
                weights.append(one.weight)
                yield one

    cached = CaseList(known())
    if not kept:
        raise InputError(
            f"Of none of the {len(cases)} cases any label is known: reviews reject them, no net could label them, or "
            "their pseudo-labels are too unstable (raise pseudo.largest_instability, or that of the round)."
        )
    return kept, cached, weights


def _kind_of_labels(settings: FitConfig, paths: RunPaths) -> Kind | None:
    """The labels that a fit learns from, by their name in the caches."""
    if settings.task == "reconstruct":
        return None
    return "truth" if settings.labels == "truth" else paths.of_round(settings.round).fused_kind


def plan_of(config: Config, paths: RunPaths, name: str) -> Plan:
    """The plan of a fit's network, with configured or measured intensities."""
    net = config.net_of(name)
    given = net.clip_hu is not None and net.mean_hu is not None and net.std_hu is not None
    return net.plan(None if given else read_statistics(paths.statistics).intensity)


def cases_of(config: Config, index: CaseIndex, name: str, left_out: Sequence[str] = ()) -> list[IndexedCase]:
    """The training cases of a fit, sorted by name, without all cases of patients in `left_out`.

    Raises:
        InputError: when there are none.
    """
    settings = config.fits[name]
    wanted = settings.sources or config.source_names()
    hidden = {index.of(name).patient for name in left_out}
    cases = [case for case in index.split("train") if case.source in wanted]
    if settings.labels == "fused" and config.ablation.labelled_only:
        cases = [case for case in cases if case.labels]
    if settings.cases != "all":
        right = _judged_right(config, settings.round, cases) if settings.labels == "fused" else {}
        if settings.cases == "tumour":
            cases = [case for case in cases if case.has_tumour or TUMOUR in right.get(case.name, ())]
        else:
            cases = [case for case in cases if case.labels or right.get(case.name)]
    if settings.only:
        cases = _listed(settings.only, name, cases)
    cases = [case for case in cases if case.patient not in hidden]
    if not cases:
        which = {"all": "", "labelled": "labelled ", "tumour": "tumour "}[settings.cases]
        raise InputError(f"The fit '{name}' has no {which}case to train on in {', '.join(wanted)}.")
    return sorted(cases, key=lambda case: case.name)


def _judged_right(config: Config, of_round: str, cases: Sequence[IndexedCase]) -> dict[str, set[str]]:
    """By case, the structures that readers judged right and that it shows: fused labels as good as ground truth."""
    if not config.reviews:
        return {}
    paths = RunPaths(config.runs, of_round)
    found = {}
    for case in cases:
        record = read_table(paths.fused_record(case.name))
        shown = {row["structure"] for row in record.get("rows", ()) if row["fused_voxels"]}
        found[case.name] = right_structures(record) & shown
    return found


def _listed(wanted: list[str] | str, fit: str, cases: list[IndexedCase]) -> list[IndexedCase]:
    """Of `cases` those that a fit lists, by name or in a file.

    Raises:
        InputError: when the file cannot be read, or a name is that of no case that the fit may use.
    """
    wanted = listed_names(wanted, f"of the fit '{fit}'")
    short = Counter(case.name.removeprefix(f"{case.source}_") for case in cases)
    names = {case.name: case.name for case in cases}
    for case in cases:
        own = case.name.removeprefix(f"{case.source}_")
        if short[own] == 1:  # where two sources have a case of that name, it needs its source
            names.setdefault(own, case.name)
    missing = [name for name in wanted if name not in names]
    if missing:
        raise InputError(
            f"{len(missing)} of the {len(wanted)} cases that the fit '{fit}' lists are no training cases of its kind, "
            f"the first is '{missing[0]}'."
        )
    chosen = {names[name] for name in wanted}
    return [case for case in cases if case.name in chosen]


def hidden_from(config: Config, index: CaseIndex, name: str, left_out: Sequence[str]) -> list[str]:
    """Of the cases `left_out`, those whose patients are in the training set of the fit `name`."""
    seen = {case.patient for case in cases_of(config, index, name)}
    return sorted(case for case in left_out if index.of(case).patient in seen)


def shares_of(config: Config, cases: Sequence[IndexedCase]) -> list[float]:
    """Sampling probability of each case; sums to 1.

    A source with a weight gets that fraction of the patches. The rest is divided equally among the cases of all other
    sources.
    """
    weights = {source.name: source.weight for source in config.sources}
    if config.phantoms:
        weights[PHANTOMS] = config.phantoms.weight
    if config.new_patients:
        weights[NEW_PATIENTS] = config.new_patients.weight
    count = Counter(case.source for case in cases)
    given = {name: weight for name, weight in weights.items() if weight is not None and count[name]}
    open_cases = sum(number for name, number in count.items() if name not in given)
    rest = max(1 - sum(given.values()), 0.0)
    raw = [given[case.source] / count[case.source] if case.source in given else rest / open_cases for case in cases]
    total = sum(raw)
    if total <= 0:
        raise InputError("The weights of the sources leave nothing to draw from.")
    return [value / total for value in raw]


def weighed(shares: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Sampling probabilities of cases of which some are drawn less often than others; sums to 1."""
    if all(weight == 1 for weight in weights):
        return list(shares)
    raw = [share * weight for share, weight in zip(shares, weights, strict=True)]
    total = sum(raw)
    return [value / total for value in raw]


def fold_groups(config: Config, index: CaseIndex) -> list[list[str]]:
    """The folds as names of the cases left out: the configured groups, and every other labelled case of `fold_sources`
    on its own, except folds that would leave no training case."""
    candidates = [case.name for case in index.split("train") if case.labels and case.source in config.fold_sources]
    named = {name for group in config.folds for name in group}
    groups = [[name for name in group if name in candidates] for group in config.folds]
    groups += [[name] for name in candidates if name not in named]
    return [sorted(group) for group in groups if group and _leaves_some(config, index, group)]


def _leaves_some(config: Config, index: CaseIndex, left_out: Sequence[str]) -> bool:
    try:
        return bool(cases_of(config, index, config.folded, left_out))
    except InputError:
        return False


def _start(config: Config, name: str, find: Find) -> dict[str, torch.Tensor] | None:
    start = config.fits[name].start
    if not start or (start in config.fits and _is_pretraining(config, start) and not config.ablation.pretraining):
        return None
    if start not in config.fits:
        net = config.net_of(name)
        return opened(weights_on_grid(load_bundle(find_model(start)), net.spacing_zyx_mm), net)
    return find(start)[1]


def weights_on_grid(bundle: Bundle, spacing_zyx_mm: Triple) -> dict[str, torch.Tensor]:
    """Weights of the model's main, tumour or coarse network with this spacing; of the main one if there is none."""
    plan = bundle.plan
    nets = ((plan, bundle.weights), (plan.tumour, bundle.tumour_weights), (plan.coarse, bundle.coarse_weights))
    for its_plan, weights in nets:
        if its_plan and weights and its_plan.spacing_zyx_mm == spacing_zyx_mm:
            return weights
    return bundle.weights


def _weights(
    config: Config, paths: RunPaths, index: CaseIndex, name: str, left_out: Sequence[str], *, train: bool = True
) -> NetWeights:
    """Plan and weights of a fit, which is trained first if necessary, or of a model folder."""
    if name not in config.fits:
        bundle = load_bundle(find_model(name))
        return bundle.plan, bundle.weights
    hidden = hidden_from(config, index, name, left_out)
    if train:
        fit_named(config, paths, index, name, hidden)
    return plan_of(config, paths, name), averaged_weights(paths.fit(name, hidden))


def _task(config: Config, paths: RunPaths, index: CaseIndex, job: FitJob, left_out: Sequence[str]) -> Task:
    settings = job.settings
    if settings.task == "reconstruct":
        return Reconstruct(job.net, job.plan, settings)
    if settings.task == "distill":
        return Distill(job.net, job.plan, settings, *_weights(config, paths, index, settings.teacher, left_out))
    return Segment(job.net, job.plan, settings)


def _is_pretraining(config: Config, name: str) -> bool:
    return config.fits[name].task == "reconstruct"
