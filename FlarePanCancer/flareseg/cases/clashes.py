"""What a run would write over its own inputs, or twice: refused before anything is done, --overwrite or not."""

# os.path answers also about names for which pathlib raises errors, such as too long ones.
# ruff: noqa: PTH110, PTH112, PTH113, PTH114, PTH117, PTH118, PTH120

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flareseg.cases.find import Case, Cases
from flareseg.cases.same_file import Place, Places
from flareseg.errors import UsageError
from flareseg.io.files import RESULT_ENDINGS, ending_of, is_result
from flareseg.text import shown

ADVICE = "inputs are never changed; choose another place, such as a new folder"
HEADER_BYTES = 2**16
ENDINGS_OF_DATA = (".raw", ".zraw", ".img", ".hdr", ".raw.gz", ".img.gz", ".bin", ".dat", ".gz")
_DATA = re.compile(rb"^\s*(?:ElementDataFile\s*=|data\s?file:)\s*(.*?)\s*$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Written:
    """A file that a run will write, and what it is, e.g. "the result of 'p1'"."""

    path: Path
    what: str


def refuse_clashes(cases: Sequence[Case], written: Sequence[Written]) -> None:
    """See that no file of `written` is an input of any case or lies in a DICOM folder, and that no two are one file.

    Raises:
        UsageError: naming both.
    """
    places = Places()
    _refuse_double(written, places)
    files: dict[Place, Path] = {}
    folders: dict[Place, Path] = {}
    for case in cases:
        for file in files_of(case.source):
            files.setdefault(places.of(file), file)
            files.setdefault(places.target(file), file)
            if content := places.content(file):
                files.setdefault(content, file)
        for folder in _folders_of(case.source):
            if content := places.content(folder):
                folders.setdefault(content, folder)
    for one in written:
        for place in (places.of(one.path), places.target(one.path), places.content(one.path)):
            if place is not None and place in files:
                raise UsageError(
                    f"'{shown(one.path)}', {one.what}, would be written over the input '{shown(files[place])}'; "
                    f"{ADVICE}."
                )
        for place in places.above(one.path):
            if place in folders:
                raise UsageError(
                    f"'{shown(one.path)}', {one.what}, would lie in the DICOM folder '{shown(folders[place])}'; "
                    f"{ADVICE}."
                )
    _refuse_linked_slices(written, folders.values(), places)


def refuse_results_among_cts(cases: Cases, results: Sequence[Path], previews: Path | None = None) -> bool:
    """Refuse results that the next search of the same folder would take for CTs.

    Those in folders of their own are known by the manifest beside them, and .seg.nrrd and NAME_flareseg by the name.

    Returns:
        whether a result lies below a folder that was searched, so that a manifest is needed beside it.

    Raises:
        UsageError: naming the folder.
    """
    places = Places()
    searched = {content: folder for folder in cases.searched if (content := places.content(folder))}
    below = False
    for path in results:
        if is_result(path):
            continue
        folder = searched.get(places.content(path.parent) or ())
        if folder is not None:
            advice = os.path.normpath(folder) + "_results"
            raise UsageError(
                f"Results among the CTs of '{shown(folder)}' would be taken for CTs by the next run; "
                f"choose another folder, e.g. --output {shown(advice)}, or --format {RESULT_ENDINGS[0]}."
            )
        below = below or any(place in searched for place in places.above(path))
    if previews and any(place in searched for place in places.above(previews / "any")):
        raise UsageError(
            f"Previews in '{shown(previews)}', below the folder of the CTs, would be taken for CTs by the next run; "
            "choose another folder for --preview."
        )
    return below


def refuse_over_inputs(output: Path, inputs: Sequence[Path], what: str) -> None:
    """Refuse to write `output` over one of `inputs`, or over an image in a folder of them.

    Raises:
        UsageError: naming both.
    """
    places = Places()
    for path in inputs:
        images = [one for one in path.iterdir() if ending_of(one)] if os.path.isdir(path) else [path]
        for file in images:
            same = {places.of(file), places.target(file), places.content(file)}
            if same & {places.of(output), places.target(output), places.content(output) or places.of(output)}:
                raise UsageError(f"'{shown(output)}', {what}, would be written over '{shown(file)}'; {ADVICE}.")


def files_of(source: Path) -> list[Path]:
    """The files that are read for an image file: itself, and the data that its header names or that lie beside it."""
    result = [source]
    if os.path.isdir(source):
        return []
    ending = ending_of(source) or source.suffix.lower()
    stem = source.name[: len(source.name) - len(ending)]
    if ending in (".mhd", ".nhdr", ".mha", ".nrrd"):
        result += _named_in_header(source)
    if ending in (".mhd", ".nhdr", ".hdr", ".img"):
        result += [file for end in ENDINGS_OF_DATA if os.path.exists(file := source.with_name(stem + end))]
    return result


def _named_in_header(header: Path) -> Iterator[Path]:
    try:
        if not header.is_file():
            return
        with header.open("rb") as file:
            start = file.read(HEADER_BYTES)
    except OSError:
        return
    for found in _DATA.finditer(start):
        name = os.fsdecode(found[1])
        if name.upper() in ("", "LOCAL"):
            continue
        if name.upper().startswith("LIST"):
            names = [os.fsdecode(line.strip()) for line in start[found.end() :].splitlines() if line.strip()]
        elif "%" in name:  # "slice%03d.raw 1 60 1"
            pattern = re.sub(r"%[0-9]*d", "*", re.split(r"\s+-?[0-9]+(?:\s|$)", name)[0])
            names = [str(path) for path in header.parent.glob(pattern)] if not os.path.isabs(pattern) else []
        else:
            names = [name]
        for one in names:
            if "\0" not in one:
                # the latter as Windows writes it
                yield from dict.fromkeys((header.parent / one, header.parent / one.replace("\\", "/")))


def _folders_of(source: Path) -> Iterator[Path]:
    """The folders that are read for a DICOM case: its own, and those that links in it lead to."""
    if not os.path.isdir(source):
        is_dicom = not ending_of(source) and source.suffix.lower() not in (".zip", ".gz", ".hdr", ".img")
        if not is_dicom or not os.path.isfile(source):
            return
        from flareseg.io.dicom import is_dicomdir

        source, is_slice = source.parent, not is_dicomdir(source)
        if is_slice:
            yield source  # one slice stands for its series
            return
    yield source
    seen = {os.path.realpath(source)}
    for place, folders, _ in os.walk(source, followlinks=True):
        for name in list(folders):
            folder = os.path.join(place, name)
            if os.path.islink(folder):
                real = os.path.realpath(folder)
                if real in seen:
                    folders.remove(name)
                    continue
                seen.add(real)
                yield Path(folder)


def _refuse_linked_slices(written: Sequence[Written], folders: Iterable[Path], places: Places) -> None:
    """An output that exists elsewhere may be one of the slices, by a hard link, or by a link among the slices."""
    existing = {content: one for one in written if (content := places.content(one.path))}
    if not existing:
        return
    for folder in folders:
        for place, _, files in os.walk(folder, followlinks=False):
            for name in files:
                content = places.content(os.path.join(place, name))
                if content in existing:
                    one = existing[content]
                    raise UsageError(
                        f"'{shown(one.path)}', {one.what}, is a file of the DICOM folder '{shown(folder)}'; {ADVICE}."
                    )


def _refuse_double(written: Sequence[Written], places: Places) -> None:
    seen: dict[Place, Written] = {}
    for one in written:
        for place in {places.of(one.path), places.target(one.path)}:
            if place in seen:
                other = seen[place]
                raise UsageError(
                    f"'{shown(one.path)}' would be both {other.what} and {one.what}; give each a name of its own."
                )
        seen[places.of(one.path)] = seen[places.target(one.path)] = one
    files = {os.path.realpath(one.path): one for one in written}
    for one in written:
        folder = os.path.realpath(one.path)
        while (higher := os.path.dirname(folder)) != folder:
            folder = higher
            if (under := files.get(folder)) is not None:
                raise UsageError(
                    f"'{shown(under.path)}' would be both {under.what} and the folder of {one.what}; "
                    "give each a name of its own."
                )
