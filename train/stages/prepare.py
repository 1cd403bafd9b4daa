"""The stage `prepare`: every source's cases checked, converted, measured and cached; then the index.

Cases are worked on in parallel, each by itself (`prepare_case.py`). What is there already is not made again, and a case
that is refused does not stop the others. The index is written last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from flareseg.errors import InputError, UsageError
from flareseg.labels import TUMOUR, by_names, structures
from flareseg.model.plan import ResamplingRule
from flareseg.volume import Triple
from train.common.parallel import in_parallel, with_progress
from train.common.paths import RunPaths
from train.config import NEW_PATIENTS, PHANTOMS, Config, SourceConfig
from train.data.fingerprint import measure, write_statistics
from train.data.index import CaseIndex, IndexedCase, Split, write_index
from train.data.layouts import find_cases
from train.data.prepare_case import prepare_case
from train.data.prepare_records import Prepared, PrepareJob
from train.data.splits import split_of


def prepare(config: Config, paths: RunPaths) -> CaseIndex:
    """Make the index, the statistics and the caches of a configuration.

    Raises:
        InputError: when a source holds no case, no case is left, or a structure that a net learns occurs nowhere.
        OutputError: when something cannot be written, or a process was ended from outside.
        UsageError: when the validation cases of a source cannot be as configured.
    """
    grids = _grids(config)
    sources = _sources(config, paths)
    jobs = [job for source in sources for job in _jobs(source, paths, grids)]
    twins = [name for name, count in Counter(job.name for job in jobs).items() if count > 1]
    if twins:
        raise InputError(f"Two cases would be called '{twins[0]}'; give one of their sources another name.")
    results = in_parallel(prepare_case, jobs, config.processes, "prepare")
    prepared = list(with_progress(_report_refusals(results), len(jobs), "prepare"))
    refused = {result.name: result.refused for result in prepared if result.case is None}
    kept = [result for result in prepared if result.case is not None]
    if not kept:
        raise InputError(
            f"None of {len(jobs)} cases can be used; the first was refused because: {next(iter(refused.values()))}"
        )
    cases = _with_splits(kept, jobs, sources, config.seed)
    _check_structures(config, cases, kept)
    _measure(kept, cases, paths)
    index = CaseIndex(tuple(cases), refused)
    write_index(index, paths.index)
    teaching = index.split("train")
    print(
        f"prepare: {len(teaching)} cases teach, {sum(case.has_tumour for case in teaching)} of them with a tumour and "
        f"{sum(case.labels is None for case in teaching)} without labels; {len(cases) - len(teaching)} validate; "
        f"{len(refused)} refused",
        flush=True,
    )
    return index


def _grids(config: Config) -> tuple[tuple[Triple, ResamplingRule], ...]:
    """What to cache: every spacing, with the one rule of resampling that its nets have."""
    rules: dict[Triple, ResamplingRule] = {}
    for name in config.fits:
        net = config.net_of(name)
        if rules.setdefault(net.spacing_zyx_mm, net.resampling) != net.resampling:
            raise UsageError(
                f"Nets of one spacing share a cache; give those at {net.spacing_zyx_mm} mm one resampling."
            )
    return tuple(rules.items())


def _sources(config: Config, paths: RunPaths) -> list[SourceConfig]:
    """The configured sources, and the phantoms and the new patients, which are drawn first."""
    sources = list(config.sources)
    patients = config.new_patients
    if config.phantoms:
        from train.synthetic.phantom_data import draw_phantoms

        draw_phantoms(paths.phantoms, config.phantoms, config.processes)
        sources.append(SourceConfig(PHANTOMS, "cases", str(paths.phantoms), weight=config.phantoms.weight))
    if patients:
        from train.synthetic.resynthesis import draw_all

        named = {source.name: source for source in sources}
        made = draw_all(patients, named, paths.new_patients, config.processes)
        folder = str(paths.new_patients)
        sources.append(SourceConfig(NEW_PATIENTS, "cases", folder, weight=patients.weight, only=made))
    if not sources:
        raise InputError("The configuration names neither sources nor phantoms to learn from.")
    return sources


def _jobs(source: SourceConfig, paths: RunPaths, grids: tuple[tuple[Triple, ResamplingRule], ...]) -> list[PrepareJob]:
    annotated, absent = (
        tuple(structure.value for structure in by_names(names)) for names in (source.annotated, source.absent)
    )
    return [PrepareJob(source.name, case, annotated or None, paths, grids, absent) for case in find_cases(source)]


def _report_refusals(results: Iterator[Prepared]) -> Iterator[Prepared]:
    """The results as they come, with a line for each case that is refused."""
    for result in results:
        if result.case is None:
            print(f"prepare: refused {result.name}: {result.refused}", flush=True)
        yield result


def _with_splits(
    kept: Sequence[Prepared], jobs: Sequence[PrepareJob], sources: Sequence[SourceConfig], seed: int
) -> list[IndexedCase]:
    """The cases, each for training or validation: as the configuration says, or the data set, or at random.

    Data sets share images. All cases of one image validate if any of them does.
    """
    found = {job.name: job.found for job in jobs}
    splits: dict[str, Split] = {}
    for source in sources:
        mine = [case for result in kept if (case := result.case) and case.source == source.name]
        named = isinstance(source.validation, list)
        candidates = [case for case in mine if case.labels and (named or found[case.name].split is None)]
        names = [found[case.name].name for case in candidates]
        chosen = split_of(names, source.validation, seed=seed, source=source.name)
        for case in mine:
            own = found[case.name]
            splits[case.name] = "validation" if own.name in chosen else own.split or "train"
    held_out = {result.fingerprint: result.name for result in kept if splits[result.name] == "validation"}
    cases = []
    for result in kept:
        if result.case:
            split: Split = "validation" if result.fingerprint in held_out else "train"
            if split != splits[result.name]:
                other = held_out[result.fingerprint]
                print(f"prepare: {result.name} is the image of {other}, which validates; so it does too", flush=True)
            cases.append(replace(result.case, split=split))
    return cases


def _check_structures(config: Config, cases: Sequence[IndexedCase], kept: Sequence[Prepared]) -> None:
    """Check that every structure of a trained net occurs in a training case or in its pseudo-labels."""
    pseudo = {result.name: result.pseudo for result in kept}
    found: set[str] = set()
    for case in cases:
        if case.split == "train":
            found |= {*case.occurring, *pseudo[case.name]}
    if config.pseudo.organ_model:
        found |= {structure.name for structure in structures() if structure.name != TUMOUR}
    for name, fit in config.fits.items():
        missing = [] if fit.task == "reconstruct" else [n for n in config.net_of(name).names[1:] if n not in found]
        if missing:
            raise InputError(
                f"No training case shows {', '.join(missing)}, which the fit '{name}' is to learn; add cases, or leave "
                f"it out of nets.{fit.net}.segments."
            )


def _measure(kept: Sequence[Prepared], cases: Sequence[IndexedCase], paths: RunPaths) -> None:
    """Write the statistics of the training cases: of structures, or of whole bodies where there are no labels."""
    teaching = {case.name: case for case in cases if case.split == "train"}
    if not teaching:
        raise InputError("Every case validates; leave some to learn from.")
    labelled = [result for result in kept if result.labelled and result.name in teaching]
    chosen = labelled or [result for result in kept if result.name in teaching]
    spacings = [case.spacing_zyx_mm for case in teaching.values()]
    shapes = [case.shape_zyx for case in teaching.values()]
    found = measure([result.sample for result in chosen], spacings, shapes, "structures" if labelled else "body")
    write_statistics(found, paths.statistics)
