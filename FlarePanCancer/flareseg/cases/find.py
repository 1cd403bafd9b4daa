"""Which cases the inputs of a command name, and where each result goes."""

# os.path answers also about names for which pathlib raises errors, such as too long ones.
# ruff: noqa: PTH100, PTH112, PTH113

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flareseg.cases.folders import search
from flareseg.cases.names import Found, name_all
from flareseg.cases.series import group_by_series
from flareseg.errors import InputError, UsageError
from flareseg.io.files import RESULT_SUFFIX, ending_of
from flareseg.io.opening import check_file, check_kind, reading
from flareseg.io.writers import endings_for, writer_of


@dataclass(frozen=True)
class Case:
    """One CT to segment.

    Attributes:
        name: what the result, its rows in tables and its report are called; no two cases of a run share it.
        source: the file or DICOM folder it is read from.
        outputs: the files to write.
        series: UID of the DICOM series, where the folder holds others that are no part of the case.
        problem: why it cannot be read, if already known; reported when its turn comes.
    """

    name: str
    source: Path
    outputs: tuple[Path, ...] = ()
    series: str | None = None
    problem: str = ""


@dataclass(frozen=True)
class Cases:
    """What the inputs name.

    Attributes:
        cases: in order.
        notes: sentences on what was left out.
        searched: folders that were given as folders of cases, and those below in which image files lie: a result
            among them would be taken for a CT by the next run.
    """

    cases: tuple[Case, ...]
    notes: tuple[str, ...] = ()
    searched: tuple[Path, ...] = ()


def find_cases(inputs: Sequence[Path]) -> Cases:
    """The cases that `inputs` name, in order.

    A file is one case, slices of one DICOM series are one case together. A folder is looked through, see
    `case_folders`: every CT file in it is a case, and every DICOM folder. What does not exist or cannot be read is a
    case with a problem, so that it fails alone.

    Args:
        inputs: files and folders.

    Raises:
        UsageError: when a CT is named twice, or two cases cannot be given different names.
    """
    found: list[Found] = []
    notes: list[str] = []
    searched: list[Path] = []
    taken: set[Path] = set()
    together = _parts_of_one_series(inputs)
    for path in inputs:
        if path in taken:
            continue
        if path in together:
            one, members = together[path]
            taken |= members
            found.append(one)
        elif os.path.isdir(path):
            cases, remarks, folders = search(path)
            around = _parents(path)
            found += [
                replace(one, folders=around, named=True) if one.source == path else replace(one, root=around)
                for one in cases
            ]
            notes += remarks
            if len(cases) > 1 or cases[0].source != path:
                searched += [path, *(folder for folder in folders if folder != path)]
        else:
            found.append(Found(path, _parents(path)[:-1], named=True, problem=_problem(path)))
    cases_ = (
        Case(name, one.source, (), one.series, one.problem) for name, one in zip(name_all(found), found, strict=True)
    )
    return Cases(tuple(cases_), tuple(notes), tuple(searched))


def awaited_cases(files: Sequence[Path]) -> Cases:
    """A case of each CT file, called as the file is; a file may come later.

    Raises:
        UsageError: as `find_cases`.
    """
    found = [Found(path, _parents(path)[:-1], named=True) for path in files]
    return Cases(tuple(Case(name, path) for name, path in zip(name_all(found), files, strict=True)))


def listed_inputs(path: Path) -> list[Path]:
    """The inputs that a text file names, a path a line; a path that is not absolute begins in the current folder.

    Raises:
        InputError: when the file cannot be read, or is no text.
    """
    check_file(path)
    with reading(path):
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    return [Path(line) for line in lines if line.strip()]


def with_outputs(cases: Sequence[Case], outputs: Sequence[Path], ending: str) -> list[Case]:
    """Give every case its result files.

    Args:
        cases: as found.
        outputs: files (only for a single case) or one folder; none means the current folder.
        ending: how result files end where `outputs` does not say.

    Raises:
        UsageError: for several cases and an output that is a file, or an ending that cannot be written.
    """
    files = [path for path in outputs if not os.path.isdir(path) and writer_of(path)]
    if files and (len(cases) > 1 or len(files) < len(outputs)):
        raise UsageError("With several cases, --output must be one folder (a name without an ending like .nii.gz).")
    if files:
        return [replace(cases[0], outputs=tuple(files))]
    if len(outputs) > 1:
        raise UsageError("Give one output folder, or for a single case several output files.")
    if outputs and not os.path.isdir(outputs[0]) and outputs[0].suffix:
        known = ", ".join(endings_for("segmentation"))
        raise UsageError(
            f"'{outputs[0].name}' does not end like a segmentation ({known}) and is no folder; to write into a "
            "folder of that name, make it first."
        )
    folder = outputs[0] if outputs else Path()
    suffix = "" if outputs else RESULT_SUFFIX
    return [replace(case, outputs=(folder / f"{case.name}{suffix}{ending}",)) for case in cases]


def _problem(path: Path) -> str:
    """Why a path can be no case."""
    try:
        check_kind(path)
    except InputError as error:
        return str(error)
    return ""


def _parents(path: Path) -> tuple[str, ...]:
    """The names of the folders down to `path`, and its own."""
    full = Path(os.path.abspath(path))
    return full.parts[1:]


def _parts_of_one_series(inputs: Sequence[Path]) -> dict[Path, tuple[Found, set[Path]]]:
    """Inputs side by side that are slices, or folders of slices, of one series: by each, the case that they are."""
    beside: dict[tuple[Path, bool], list[Path]] = defaultdict(list)
    for path in dict.fromkeys(inputs):
        if os.path.isdir(path) or (os.path.isfile(path) and not ending_of(path)):
            beside[Path(os.path.abspath(path)).parent, os.path.isdir(path)].append(path)
    result: dict[Path, tuple[Found, set[Path]]] = {}
    for (parent, are_folders), paths in beside.items():
        if len(paths) < 2:
            continue
        for members, series in _folders_of_one(paths) if are_folders else _slices_of_one(paths):
            source = parent if are_folders else members[0]
            one = Found(source, parent.parts[1:], named=True, series=series, is_file=False)
            result |= {member: (one, set(members)) for member in members}
    return result


def _folders_of_one(folders: Sequence[Path]) -> list[tuple[tuple[Path, ...], str | None]]:
    return [(group.folders, group.series) for group in group_by_series(folders) if len(group.folders) > 1]


def _slices_of_one(files: Sequence[Path]) -> list[tuple[tuple[Path, ...], str | None]]:
    from flareseg.io.dicom import series_uid

    series: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        if uid := series_uid(file):
            series[uid].append(file)
    return [(tuple(members), None) for members in series.values() if len(members) > 1]
