"""`flareseg evaluate`: label maps against references, files or folders, as a table of DSC and NSD."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flareseg import labels
from flareseg.errors import Cancelled, InputError, UsageError
from flareseg.io.atomic import atomic_path
from flareseg.io.files import CHANNEL, LABEL_ENDINGS, RESULT_SUFFIX, case_name, ending_of, read_labels
from flareseg.io.pairs import is_second_file
from flareseg.labels import Structure
from flareseg.progress import Progress
from flareseg.results.foreign_values import note_on_foreign_values
from flareseg.results.grids import on_grid
from flareseg.results.metrics import IGNORED, Score, score_case
from flareseg.text import Number, write_csv_rows
from flareseg.volume import Geometry, Orientation

COLUMNS = ("case", "structure", "dsc", "nsd", "reference_ml", "prediction_ml")
MEAN = "mean"
MOST_NAMES = 5


@dataclass(frozen=True)
class CaseScores:
    """The scores of one case, by structure, and what a reader of them should know."""

    case: str
    scores: list[Score]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mean:
    """Mean DSC and NSD of a structure or a group of them, over cases."""

    name: str
    dsc: float
    nsd: float


@dataclass(frozen=True)
class Table:
    """What an evaluation found.

    Attributes:
        cases: in the order of the references' names.
        left_out: references that had no prediction, where that was allowed.
        failed: cases that could not be scored, where that was allowed.
    """

    cases: list[CaseScores]
    left_out: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()

    def means(self) -> list[Mean]:
        """Of each structure over all cases, by value."""
        columns = zip(*(case.scores for case in self.cases), strict=True)
        return [
            Mean(
                column[0].structure.name,
                float(np.mean([score.dsc for score in column])),
                float(np.mean([score.nsd for score in column])),
            )
            for column in columns
        ]

    def organ_average(self) -> Mean:
        """The paper's "average of 13 organs": mean of the means of FLARE's organs, without tumours."""
        organs = [mean for mean in self.means() if labels.by_name(mean.name).flare_organ]
        name = f"average of {len(organs)} organs"
        return Mean(name, float(np.mean([m.dsc for m in organs])), float(np.mean([m.nsd for m in organs])))


def evaluate(
    prediction: Path | str,
    reference: Path | str,
    *,
    skip_missing: bool = False,
    progress: Progress | None = None,
    on_failure: Callable[[str, Exception], None] | None = None,
) -> Table:
    """Score predictions against references by FLARE's rules (see `metrics.score_case`).

    Files of two folders belong together when their names do: "case.nii.gz" to "case.nii.gz", "case.seg.nrrd",
    "case_0000.nii.gz" and "case_flareseg.nii.gz". Predictions without a reference are not looked at.

    Example:
        >>> import numpy as np
        >>> from flareseg import Geometry, Segmentation, evaluate, write_segmentation
        >>> from flareseg.labels import by_names
        >>> labels = np.zeros((8, 16, 16), np.uint8)
        >>> labels[2:6, 4:12, 4:12] = 1
        >>> liver = Segmentation(labels, Geometry((8, 16, 16), (5.0, 2.0, 2.0)), by_names(["liver"]))
        >>> for name in ("prediction.nii.gz", "reference.nii.gz"):
        ...     path = write_segmentation(liver, name)
        >>> table = evaluate("prediction.nii.gz", "reference.nii.gz")
        >>> table.means()[0]
        Mean(name='liver', dsc=1.0, nsd=1.0)

    Args:
        prediction, reference: both files, or both folders.
        skip_missing: leave out references without a prediction; otherwise they are an error.
        progress: hears how far it is, and can cancel.
        on_failure: hears the name of a case that cannot be scored, and why; the others are. Otherwise that is raised.

    Raises:
        UsageError: when a file is compared to a folder, or two files of a folder are the same case.
        InputError: when a file is missing, damaged, no label map, or on another grid than its counterpart.
        Cancelled: when `progress` was cancelled.
    """
    pairs, left_out = _pairs(Path(prediction), Path(reference), skip_missing)
    progress = progress or Progress()
    cases, failed = [], []
    with progress.stage("evaluate"):
        for done, (case, predicted, referred) in enumerate(pairs):
            progress.update(done / len(pairs))
            try:
                cases.append(score_files(case, predicted, referred))
            except Exception as error:
                if on_failure is None or isinstance(error, Cancelled):
                    raise
                on_failure(case, error)
                failed.append(case)
    return Table(cases, left_out, tuple(failed))


def score_files(case: str, prediction: Path, reference: Path) -> CaseScores:
    """Score one label map against another; raises as `evaluate`."""
    predicted, predicted_on = read_labels(prediction)
    referred, referred_on = read_labels(reference)
    reordered = on_grid(predicted, predicted_on, referred_on)
    if reordered is None:
        raise _other_grid(prediction, predicted_on, reference, referred_on)
    orientation = Orientation.of(referred_on)
    spacing_zyx_mm = orientation.geometry_to_canonical(referred_on).spacing_zyx_mm
    scores = score_case(orientation.to_canonical(reordered), orientation.to_canonical(referred), spacing_zyx_mm)
    notes = (
        note_on_foreign_values(prediction, reordered, labels.structures(), "scored"),
        note_on_foreign_values(reference, referred, labels.structures(), "scored", ignored=IGNORED),
    )
    return CaseScores(case, scores, tuple(filter(None, notes)))


def write_csv(table: Table, path: Path, *, overwrite: bool = False) -> None:
    """One row per case and structure, then the means as rows of the case "mean"; whole or not at all.

    Raises:
        OutputError: when the file exists and `overwrite` is not set, or cannot be written.
    """
    with atomic_path(path, overwrite=overwrite) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        write_csv_rows(file, [COLUMNS])
        for case in table.cases:
            for score in case.scores:
                numbers = (score.dsc, score.nsd, score.reference_ml, score.prediction_ml)
                cells = (Number(f"{number:.4f}") for number in numbers)
                write_csv_rows(file, [(case.case, score.structure.name, *cells)])
        for mean in (*table.means(), table.organ_average()):
            write_csv_rows(file, [(MEAN, mean.name, Number(f"{mean.dsc:.4f}"), Number(f"{mean.nsd:.4f}"), "", "")])


def summary(table: Table) -> str:
    """The means in per cent as lines for a terminal, and where nothing was there to be found."""
    organs = table.organ_average()
    rows = [(labels.by_name(mean.name).title, mean, _note(table, labels.by_name(mean.name))) for mean in table.means()]
    last_organ = max(number for number, (_, mean, _) in enumerate(rows) if labels.by_name(mean.name).flare_organ)
    rows.insert(last_organ + 1, (organs.name.capitalize(), organs, ""))
    width = max(len(title) for title, _, _ in rows)
    lines = [f"{'':{width}}     DSC     NSD"]
    lines += [f"{title:{width}}  {100 * mean.dsc:6.2f}  {100 * mean.nsd:6.2f}{note}" for title, mean, note in rows]
    count = len(table.cases)
    lines.append(f"{count} case{'' if count == 1 else 's'}; per cent, FLARE 2023's rules.")
    if table.left_out:
        lines.append(f"Without a prediction, left out: {_some(table.left_out)}.")
    if table.failed:
        lines.append(f"Not scored, left out: {_some(table.failed)}.")
    return "\n".join(lines)


def _note(table: Table, structure: Structure) -> str:
    """A mean of 1 or 0 says nothing about a structure that no reference has; a reader should know."""
    scores = [score for case in table.cases for score in case.scores if score.structure == structure]
    present = sum(score.reference_ml > 0 for score in scores)
    return "" if present == len(scores) else f"  (in {present} of {len(scores)} references)"


def _pairs(
    prediction: Path, reference: Path, skip_missing: bool
) -> tuple[list[tuple[str, Path, Path]], tuple[str, ...]]:
    for path in (prediction, reference):
        if not path.exists():
            raise InputError(f"There is no file or folder '{path}'.")
    if prediction.is_dir() != reference.is_dir():
        raise UsageError(f"'{prediction}' and '{reference}' must both be files or both be folders.")
    if not reference.is_dir():
        return [(case_of(reference), prediction, reference)], ()
    predictions, references = _label_maps(prediction), _label_maps(reference)
    missing = tuple(name for name in references if name not in predictions)
    if missing and (not skip_missing or len(missing) == len(references)):
        raise InputError(
            f"'{prediction}' has no prediction for {_some(missing)} ({len(missing)} of {len(references)})"
            + ("." if len(missing) == len(references) else "; use --skip-missing to leave them out.")
        )
    return [(name, predictions[name], path) for name, path in references.items() if name in predictions], missing


def _label_maps(folder: Path) -> dict[str, Path]:
    """The files of a folder by their case."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_file() or not ending_of(path) or is_second_file(path):
            continue
        name = case_of(path)
        if name in found:
            raise UsageError(f"'{found[name]}' and '{path.name}' are the same case; keep one of them in the folder.")
        found[name] = path
    if not found:
        raise InputError(
            f"The folder '{folder}' holds no label maps ({', '.join(LABEL_ENDINGS)}); folders in it are not searched."
        )
    return found


def case_of(path: Path) -> str:
    """What a label map is of: the name of its file without the endings of results and images."""
    name = case_name(path)
    return name.removesuffix(RESULT_SUFFIX).removesuffix(CHANNEL) or name


def names_of(paths: Sequence[Path]) -> list[str]:
    """The cases' names of several label maps; where two are alike, with their folders'."""
    names = [case_of(path) for path in paths]
    often = Counter(names)
    return [
        f"{path.absolute().parent.name}/{name}" if often[name] > 1 else name
        for path, name in zip(paths, names, strict=True)
    ]


def _other_grid(prediction: Path, predicted: Geometry, reference: Path, referred: Geometry) -> InputError:
    if sorted(predicted.shape_zyx) != sorted(referred.shape_zyx):
        shapes = " and ".join(" x ".join(str(n) for n in grid.shape_zyx[::-1]) for grid in (predicted, referred))
        why = f"they have {shapes} voxels"
    else:
        why = "their voxels lie at different places (spacing, origin or direction)"
    return InputError(
        f"'{prediction}' and '{reference}' cannot be compared: {why}; resample one of them to the grid of the other."
    )


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - MOST_NAMES} more" if len(listed) > MOST_NAMES else ""
    return ", ".join(f"'{name}'" for name in listed[:MOST_NAMES]) + more
