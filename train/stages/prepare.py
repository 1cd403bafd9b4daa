"""The stage `prepare`: check, convert, measure and cache the cases of all sources, then write the index.

A table says what each source holds, and what of it is not used and why.

Cases are processed independently and in parallel (`prepare_case.py`), also by several ranks and jobs. Cases that are
already prepared are skipped, and a rejected case does not stop the others. The index is written when all are there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from flareseg.errors import InputError, UsageError
from flareseg.labels import TUMOUR, by_names, structures
from flareseg.model.plan import ResamplingRule
from flareseg.volume import Triple
from train.common.parallel import in_parallel, with_progress
from train.common.paths import RunPaths
from train.config import NEW_PATIENTS, PHANTOMS, Config, SourceConfig
from train.data.fingerprint import measure, write_statistics
from train.data.in_part import drawn_in_part
from train.data.index import CaseIndex, IndexedCase, Split, write_index
from train.data.layouts import Findings, look_into
from train.data.prepare_case import prepare_case
from train.data.prepare_records import Prepared, PrepareJob, read_result
from train.data.splits import split_of
from train.reporting.sources import report_sources


@dataclass(frozen=True)
class Survey:
    """All that `prepare` has to do.

    Attributes:
        sources: of the configuration, with those that are generated.
        findings: what each of them holds, by name.
        jobs: the cases of all of them.
    """

    sources: list[SourceConfig]
    findings: dict[str, Findings]
    jobs: list[PrepareJob]


def prepare(config: Config, paths: RunPaths) -> CaseIndex:
    """Make the index, the statistics and the caches of a configuration.

    Raises:
        InputError: when a source has no case, no case can be used, or a structure of a trained network never occurs.
        OutputError: when something cannot be written, or a worker process was killed.
        UsageError: when the validation cases of a source cannot be as configured.
    """
    generate(config, paths)
    found = survey(config, paths)
    prepare_cases(found.jobs, config.processes)
    return write_results(config, paths, found)


def generate(config: Config, paths: RunPaths) -> None:
    """Draw the phantoms and the new patients that are missing. To be done by one process at a time."""
    if config.phantoms:
        from train.synthetic.phantom_data import draw_phantoms

        draw_phantoms(paths.phantoms, config.phantoms, config.processes)
    if config.new_patients:
        from train.synthetic.resynthesis import draw_all

        named = {source.name: source for source in _sources(config, paths)}
        draw_all(config.new_patients, named, paths.new_patients, config.processes)


def survey(config: Config, paths: RunPaths) -> Survey:
    """Look for the cases of all sources.

    Raises:
        InputError: when a source has no case, or two cases would have one name.
    """
    grids = _grids(config)
    sources = _sources(config, paths)
    models = config.new_patients.sources if config.new_patients else ()
    findings = {source.name: look_into(source, maps_will_do=source.name in models) for source in sources}
    jobs = [job for source in sources for job in _jobs(source, findings[source.name], paths, grids)]
    twins = [name for name, count in Counter(job.name for job in jobs).items() if count > 1]
    if twins:
        raise InputError(f"Two cases would be called '{twins[0]}'; give one of their sources another name.")
    return Survey(sources, findings, jobs)


def prepare_cases(jobs: Sequence[PrepareJob], processes: int) -> None:
    """Prepare cases, such as the share of one rank; the results are stored."""
    results = in_parallel(prepare_case, jobs, processes, "prepare")
    for result in with_progress(results, len(jobs), "prepare"):
        if result.case is None:
            print(f"prepare: refused {result.name}: {result.refused}", flush=True)


def unprepared(found: Survey) -> list[str]:
    """The cases that neither are prepared nor were refused."""
    return [job.name for job in found.jobs if read_result(job) is None]


def write_results(config: Config, paths: RunPaths, found: Survey) -> CaseIndex:
    """Write the table of sources, the statistics and the index, of the stored results of all cases.

    Raises:
        As `prepare`; InputError as well if a case was changed meanwhile.
    """
    jobs, prepared = found.jobs, [result for job in found.jobs if (result := read_result(job))]
    if len(prepared) < len(jobs):
        raise InputError(f"{len(jobs) - len(prepared)} cases changed while they were prepared; run 'prepare' again.")
    refused = {result.name: result.refused for result in prepared if result.case is None}
    kept = [result for result in prepared if result.case is not None]
    report_sources(found.sources, found.findings, prepared, paths.sources)
    if not kept:
        raise InputError(
            f"None of {len(jobs)} cases can be used; the first was refused because: {next(iter(refused.values()))}"
        )
    cases = _with_splits(kept, jobs, found.sources, config.seed)
    _check_structures(config, cases, kept)
    _measure(kept, cases, paths)
    index = CaseIndex(tuple(cases), refused)
    write_index(index, paths.index)
    training = index.split("train")
    print(
        f"prepare: {len(training)} training cases, {sum(case.has_tumour for case in training)} of them with a tumour "
        f"and {sum(case.labels is None for case in training)} without labels; "
        f"{len(cases) - len(training)} validation cases; "
        f"{len(refused)} refused",
        flush=True,
    )
    return index


def _grids(config: Config) -> tuple[tuple[Triple, ResamplingRule], ...]:
    """The spacings to cache, each with the resampling rule of its networks."""
    rules: dict[Triple, ResamplingRule] = {}
    for name in config.fits:
        net = config.net_of(name)
        if rules.setdefault(net.spacing_zyx_mm, net.resampling) != net.resampling:
            raise UsageError(
                f"Nets of one spacing share a cache; give those at {net.spacing_zyx_mm} mm one resampling."
            )
    return tuple(rules.items())


def _sources(config: Config, paths: RunPaths) -> list[SourceConfig]:
    """The configured sources, with phantoms and new patients."""
    sources = list(config.sources)
    patients = config.new_patients
    if config.phantoms:
        sources.append(SourceConfig(PHANTOMS, "cases", str(paths.phantoms), weight=config.phantoms.weight))
    if patients:
        from train.synthetic.resynthesis import names_of

        folder, made = str(paths.new_patients), names_of(patients)
        sources.append(SourceConfig(NEW_PATIENTS, "cases", folder, weight=patients.weight, only=made))
    if not sources:
        raise InputError("The configuration names neither sources nor phantoms to train on.")
    return sources


def _jobs(
    source: SourceConfig, findings: Findings, paths: RunPaths, grids: tuple[tuple[Triple, ResamplingRule], ...]
) -> list[PrepareJob]:
    annotated, absent = (
        tuple(structure.value for structure in by_names(names)) for names in (source.annotated, source.absent)
    )
    in_part = drawn_in_part(source, findings.cases)
    return [
        PrepareJob(source.name, case, annotated or None, paths, grids, absent, in_part[case.name])
        for case in findings.cases
    ]


def _with_splits(
    kept: Sequence[Prepared], jobs: Sequence[PrepareJob], sources: Sequence[SourceConfig], seed: int
) -> list[IndexedCase]:
    """Assign each case to training or validation: by the configuration, the data set, or at random.

    Data sets share images: if one case of an image is a validation case, all of them are.
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
                print(
                    f"prepare: {result.name} shows the image of {other}, a validation case; so it is one too",
                    flush=True,
                )
            cases.append(replace(result.case, split=split))
    return cases


def _check_structures(config: Config, cases: Sequence[IndexedCase], kept: Sequence[Prepared]) -> None:
    """Check that every structure of a trained network occurs in the labels or pseudo-labels of a training case."""
    pseudo = {result.name: result.pseudo for result in kept}
    found: set[str] = set()
    for case in cases:
        if case.split == "train":
            found |= {*case.occurring, *pseudo[case.name]}
    if any(config.labelling(name).nets("organs") for name in (*config.rounds, "")):
        found |= {structure.name for structure in structures() if structure.name != TUMOUR}
    for name, fit in config.fits.items():
        missing = [] if fit.task == "reconstruct" else [n for n in config.net_of(name).names[1:] if n not in found]
        if missing:
            raise InputError(
                f"No training case shows {', '.join(missing)}, which the fit '{name}' segments; add cases, or leave "
                f"it out of nets.{fit.net}.segments."
            )


def _measure(kept: Sequence[Prepared], cases: Sequence[IndexedCase], paths: RunPaths) -> None:
    """Write the fingerprint of the training cases, measured on structures, or on the body if there are no labels."""
    training = {case.name: case for case in cases if case.split == "train"}
    if not training:
        raise InputError("All cases are validation cases; leave some for training.")
    labelled = [result for result in kept if result.labelled and result.name in training]
    chosen = labelled or [result for result in kept if result.name in training]
    spacings = [case.spacing_zyx_mm for case in training.values()]
    shapes = [case.shape_zyx for case in training.values()]
    found = measure([result.sample for result in chosen], spacings, shapes, "structures" if labelled else "body")
    write_statistics(found, paths.statistics)
