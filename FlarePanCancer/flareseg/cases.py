"""Which cases the inputs of a command name, and where each result goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flareseg.errors import InputError, UsageError
from flareseg.io.files import IMAGE_ENDINGS, LABEL_ENDINGS, ending_of

SUFFIX = "_flareseg"


@dataclass(frozen=True)
class Case:
    """One CT to segment: its name, the file or DICOM folder it is read from, and the files to write."""

    name: str
    source: Path
    outputs: tuple[Path, ...] = ()


def find_cases(inputs: Sequence[Path]) -> list[Case]:
    """The cases that `inputs` name, in order.

    A file is one case. A folder that holds image files directly is one case per file; a folder of folders is one
    case per folder; any other folder is one DICOM series.

    Raises:
        InputError: when an input does not exist or a folder is empty.
        UsageError: when two cases share a name, so that their results would collide.
    """
    cases = [case for path in inputs for case in _cases_of(path)]
    seen: dict[str, Path] = {}
    for case in cases:
        if case.name in seen:
            raise UsageError(
                f"Two inputs are both called '{case.name}': {seen[case.name]} and {case.source}; rename one."
            )
        seen[case.name] = case.source
    return cases


def with_outputs(cases: list[Case], outputs: Sequence[Path], ending: str) -> list[Case]:
    """Give every case its result files.

    Args:
        cases: as found.
        outputs: files (only for a single case) or one folder; none means the current folder.
        ending: how result files end where `outputs` does not say.

    Raises:
        UsageError: for several cases and an output that is a file, or an ending that cannot be written.
    """
    files = [path for path in outputs if not path.is_dir() and ending_of(path) in LABEL_ENDINGS]
    if files and (len(cases) > 1 or len(files) < len(outputs)):
        raise UsageError("With several cases, --output must be one folder (a name without an ending like .nii.gz).")
    if files:
        return [Case(cases[0].name, cases[0].source, tuple(files))]
    if len(outputs) > 1:
        raise UsageError("Give one output folder, or for a single case several output files.")
    if outputs and not outputs[0].is_dir() and outputs[0].suffix:
        known = ", ".join(LABEL_ENDINGS)
        raise UsageError(f"'{outputs[0].name}' does not end like a segmentation ({known}) and is no folder.")
    folder = outputs[0] if outputs else Path()
    suffix = "" if outputs else SUFFIX
    return [Case(case.name, case.source, (folder / f"{case.name}{suffix}{ending}",)) for case in cases]


def _cases_of(path: Path) -> list[Case]:
    if not path.exists():
        raise InputError(f"There is no file or folder '{path}'.")
    if path.is_file():
        return [Case(case_name(path), path)]
    children = sorted(child for child in path.iterdir() if not child.name.startswith("."))
    images = [child for child in children if child.is_file() and ending_of(child) in IMAGE_ENDINGS]
    folders = [child for child in children if child.is_dir()]
    if images:
        return [Case(case_name(image), image) for image in images]
    if len(folders) > 1 and len(folders) == len(children):
        return [Case(folder.name, folder) for folder in folders]
    if not children:
        raise InputError(f"The folder '{path}' is empty.")
    return [Case(path.resolve().name, path)]


def case_name(path: Path) -> str:
    """The file's name without its ending."""
    ending = ending_of(path)
    return path.name[: -len(ending)] if ending else path.name
