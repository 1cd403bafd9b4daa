"""Finding the cases of public data sets: one module per layout. Only file names and metadata are read, no images.

Which structures a label map annotates is a property of the data set, not of the labels that occur: a liver data set
annotates the liver even in a case without one. If a data set does not say (FLARE23), the structures that occur in a
case count as annotated.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flareseg.errors import InputError
from train.config import Layout, SourceConfig
from train.data.layouts import abdomenct1k, cases, flare23, msd, pairs, totalsegmentator
from train.data.layouts.found import FoundCase

LAYOUTS: dict[Layout, Callable[[Path, SourceConfig], list[FoundCase]]] = {
    "cases": cases.find,
    "pairs": pairs.find,
    "flare23": flare23.find,
    "totalsegmentator": totalsegmentator.find,
    "msd": msd.find,
    "abdomenct1k": abdomenct1k.find,
}


def find_cases(source: SourceConfig) -> list[FoundCase]:
    """The cases of a source, sorted by name.

    Raises:
        InputError: when the folder cannot be read or holds no case in this layout, or `only` or `without` names
            a missing case.
    """
    folder = Path(source.path).expanduser()
    try:
        found = sorted(LAYOUTS[source.layout](folder, source), key=lambda case: case.name)
    except OSError as error:
        raise InputError(f"The folder '{folder}' cannot be read: {error.strerror or error}.") from None
    missing = {*source.only, *source.without} - {case.name for case in found}
    if missing:
        raise InputError(f"The source '{source.name}' has no case '{sorted(missing)[0]}'.")
    if source.only:
        found = [case for case in found if case.name in source.only]
    found = [case for case in found if case.name not in source.without]
    if not found:
        raise InputError(f"'{folder}' holds no case in the layout '{source.layout}'; see train/README.md.")
    return found
