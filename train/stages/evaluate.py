"""The stage `evaluate`: score every model on unseen cases by FLARE's rules.

Time and memory are measured as in FLARE. Results are stored per case; a second run scores missing cases only, or all of
them if the model has changed.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flareseg.commands.bench import ResourceCurve
from flareseg.errors import FlareError, InputError
from flareseg.io.files import read_labels, read_volume
from flareseg.labels import TUMOUR, by_names
from flareseg.model.bundle import Bundle, load_bundle
from flareseg.options import Options
from flareseg.results.metrics import score_case
from flareseg.segmenter import Segmenter
from flareseg.volume import Orientation
from train.calibration import Sample, calibration_error, fit, judged_by_other_folds, samples_of
from train.common.devices import device_of_rank
from train.common.distributed import ALONE, Rank
from train.common.hashes import file_stamp
from train.common.json_files import read_table, write_json
from train.common.paths import RunPaths
from train.config import Config
from train.data.index import CaseIndex, IndexedCase
from train.reporting.lesions import compare_lesions
from train.reporting.plots import write_plots
from train.reporting.reliability import write_reliability
from train.reporting.scans import kinds_of
from train.reporting.tables import write_tables
from train.stages.export import model_folder
from train.training.fits import fold_groups

FAILED, SIGNS = "failed", "signs"


@dataclass(frozen=True)
class EvaluationJob:
    """A model and its unseen cases.

    Attributes:
        only: the structures that it is judged on; None for all. A net for tumours is trained anew for each fold, the
            finished model that it is laid over is not, and its organs may have been learnt from these cases.
    """

    name: str
    fit: str
    left_out: tuple[str, ...]
    cases: tuple[IndexedCase, ...]
    only: tuple[str, ...] | None = None

    def judged(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Of the rows of a case those that count."""
        return [row for row in rows if self.only is None or row["structure"] in self.only]


def evaluate(config: Config, paths: RunPaths, index: CaseIndex) -> None:
    """Score the exported fit, and a distilled one, on the validation cases, and the fits of the folds on theirs.

    Writes tables and plots into `paths.scores`.

    Raises:
        InputError: when there is nothing to evaluate.
    """
    with Evaluation(config, paths, index) as work:
        work.score(work.cases)
        work.write()


class Evaluation(ExitStack):
    """All models and their unseen cases; several ranks and jobs may score them, and one writes the tables.

    A context, at whose end the model folders of all ranks but the main one are removed.

    Raises:
        InputError: when there is nothing to evaluate.
    """

    def __init__(self, config: Config, paths: RunPaths, index: CaseIndex, rank: Rank = ALONE) -> None:
        super().__init__()
        self._config, self._paths, self._index, self._rank = config, paths, index, rank
        self._jobs = models_to_evaluate(config, index)
        if not self._jobs:
            raise InputError("There is no validation case and no fold to evaluate a model on.")
        self._options = options_of(config)
        self._models: dict[str, tuple[Path, str]] = {}

    @property
    def cases(self) -> list[tuple[EvaluationJob, IndexedCase]]:
        """Every case with the model that has not seen it."""
        return [(job, case) for job in self._jobs for case in job.cases]

    def score(self, cases: Sequence[tuple[EvaluationJob, IndexedCase]]) -> None:
        """Score those of `cases` whose scores are missing, of another model, or of other files."""
        name, segmenter = "", None
        for job, case in cases:
            folder, fingerprint = self._model(job)
            path = self._path(job, case)
            if _kept(path, fingerprint, inputs_of(case)) is not None:
                continue
            if segmenter is None or name != job.name:
                segmenter = None  # so that two are never in memory
                name, segmenter = job.name, Segmenter(folder, self._options)
            facts = _scored(job.name, case, segmenter)
            write_json(path, {"sha256": fingerprint, "made_of": inputs_of(case)} | facts)

    def missing(self) -> list[str]:
        """The cases that neither have scores nor failed."""
        return [case.name for job, case in self.cases if self._stored(job, case) is None]

    def write(self) -> None:
        """Write the tables, the plots and the calibration from the scores of all cases.

        Raises:
            InputError: when a case is not scored.
        """
        known = [(job, facts) for job, case in self.cases if (facts := self._stored(job, case)) is not None]
        if len(known) < len(self.cases):
            changed = len(self.cases) - len(known)
            raise InputError(f"{changed} cases changed while they were scored; run 'evaluate' again.")
        stored = [facts for _job, facts in known]
        rows = [row for job, facts in known for row in job.judged(facts.get("rows", []))]
        costs, lesions, signs = (
            [facts[key] for facts in stored if key in facts] for key in ("cost", "lesions", "signs")
        )
        scores = self._paths.scores
        run = {"name": self._config.name, "ablation": asdict(self._config.ablation), "model": self._jobs[0].name}
        for name, data in (("scores", rows), ("costs", costs), ("lesions", lesions), ("run", run)):
            write_json(scores / f"{name}.json", data)
        write_tables(rows, costs, lesions, scores)
        write_plots(rows, costs, scores)
        write_calibration(samples_of(rows, signs), self._paths)

    def _model(self, job: EvaluationJob) -> tuple[Path, str]:
        """The folder of a model, and what changes with its weights, its plan and how it is applied."""
        if job.name not in self._models:
            place = model_folder(self._config, self._paths, job.fit, job.name, self._rank, left_out=job.left_out)
            folder = self.enter_context(place)
            self._models[job.name] = folder, fingerprint_of(load_bundle(folder), self._options)
        return self._models[job.name]

    def _path(self, job: EvaluationJob, case: IndexedCase) -> Path:
        return self._paths.scores / job.name / f"{case.name}.json"

    def _stored(self, job: EvaluationJob, case: IndexedCase) -> dict[str, Any] | None:
        return _kept(self._path(job, case), self._model(job)[1], inputs_of(case), also=FAILED)


def write_calibration(samples: Sequence[Sample], paths: RunPaths) -> None:
    """Write what `export` puts into the model: a calibration by all folds, or none where it would be of no use.

    Of use is one that brings expectations nearer to the scores of folds that it was not fitted to. A table and a plot
    show how near.
    """
    judged, known = judged_by_other_folds(samples), {}
    if judged:
        write_reliability(judged, paths.scores)
        dsc = [one.sample.dsc for one in judged]
        before = calibration_error([one.sample.signs.agreement for one in judged], dsc)
        after = calibration_error([one.expected_dsc for one in judged], dsc)
        known = fit(samples) if after < before else {}
        print(f"evaluate: expected calibration error {before:.3f}, calibrated {after:.3f}", flush=True)
    write_json(paths.calibration, {name: one.to_json() for name, one in known.items()})


def models_to_evaluate(config: Config, index: CaseIndex) -> list[EvaluationJob]:
    """All models to evaluate, the exported fit first."""
    validation = tuple(case for case in index.split("validation") if case.labels)
    fits = [config.export.fit, *(name for name in config.fits_of("distill") if name != config.export.fit)]
    result = [EvaluationJob(config.called(fit), fit, (), validation) for fit in fits if validation]
    only = None if config.export.fit in config.fits else (TUMOUR,)
    for group in fold_groups(config, index):
        name = f"{config.folded}_without_{'+'.join(group)}"
        cases = tuple(index.of(case) for case in group)
        result.append(EvaluationJob(name, config.export.fit, tuple(group), cases, only))
    return result


def score(model: str, case: IndexedCase, segmenter: Segmenter) -> dict[str, Any]:
    """Segment and score one case: rows, cost and, if tumours are annotated, lesions.

    Structures that are not annotated are left out, and so are those absent in both reference and prediction, which
    would score 1.
    """
    assert case.labels is not None
    reference, geometry = read_labels(case.labels)
    with ResourceCurve() as curve:
        begin = time.perf_counter()
        volume = read_volume(case.image)
        found = segmenter.segment(volume)
        seconds = time.perf_counter() - begin
    orientation = Orientation.of(geometry)
    spacing = orientation.geometry_to_canonical(geometry).spacing_zyx_mm
    annotates_tumours = TUMOUR in case.annotated and any(s.name == TUMOUR for s in segmenter.structures)
    known = [s for s in by_names(case.annotated) if s in segmenter.structures]
    truth = orientation.to_canonical(reference)
    scores = score_case(orientation.to_canonical(found.labels), truth, spacing, known)
    kinds = kinds_of(volume.canonical().hu, truth, spacing)
    rows = [
        {
            "model": model,
            "case": case.name,
            "structure": one.structure.name,
            "dsc": round(one.dsc, 4),
            "nsd": round(one.nsd, 4),
            "reference_ml": round(one.reference_ml, 3),
            "scan": kinds,
        }
        for one in scores
        if one.reference_ml > 0 or one.prediction_ml > 0
    ]
    cost = {
        "model": model,
        "case": case.name,
        "shape_zyx": list(volume.hu.shape),
        "seconds": round(seconds, 3),
        "peak_gpu_mib": round(curve.peak_gpu_mib(), 1),
        "area_gpu_mib_s": round(curve.area_gpu_mib_s(), 1),
        "area_cpu_percent_s": round(curve.area_cpu_percent_s(), 1),
        "device": segmenter.device_description,
    }
    signs = {
        "model": model,
        "case": case.name,
        "structures": {name: asdict(one.signs) for name, one in found.expectations.items()},
    }
    facts = {"rows": rows, "cost": cost, SIGNS: signs}
    if annotates_tumours:
        facts["lesions"] = {"model": model, "case": case.name} | compare_lesions(reference, found.labels, volume)
    return facts


def _scored(model: str, case: IndexedCase, segmenter: Segmenter) -> dict[str, Any]:
    """As `score`, or why it failed."""
    try:
        facts = score(model, case, segmenter)
    except FlareError as error:
        facts = {FAILED: str(error)}
        print(f"evaluate: {model}: {case.name}: {error}", flush=True)
    rows = facts.get("rows", [])
    mean = float(np.mean([row["dsc"] for row in rows])) if rows else 0.0
    print(f"evaluate: {model}: {case.name}: mean DSC {mean:.3f} of {len(rows)} structures", flush=True)
    return facts


def options_of(config: Config) -> Options:
    """How the models of a run are applied, on the device of this rank."""
    return Options(device=device_of_rank(config.pseudo.device), mirroring=config.export.mirroring or None)


def fingerprint_of(bundle: Bundle, options: Options) -> str:
    """Changes with weights, plan and how they are applied."""
    plan = hashlib.sha256(json.dumps(bundle.plan.to_json()).encode()).hexdigest()
    return f"{bundle.sha256} {plan}{' mirrored' if options.mirroring else ''}"


def _kept(path: Path, fingerprint: str, inputs: list[Any], also: str = SIGNS) -> dict[str, Any] | None:
    """The stored result for the same weights, plan and files; None if there is none, if the case failed (unless `also`
    names that), or if an older version stored it without what the net said. Older results do not say of which files
    they are."""
    facts = read_table(path)
    same = facts.get("sha256") == fingerprint and facts.get("made_of", inputs) == inputs
    return facts if same and (SIGNS in facts or also in facts) else None


def inputs_of(case: IndexedCase) -> list[Any]:
    """Changes with the files of a case, and with what its labels annotate."""
    return [file_stamp(case.image), file_stamp(case.labels), list(case.annotated)]
