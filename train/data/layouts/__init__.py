"""Public data sets, each in its own layout, as cases of one kind. One module a layout; nothing is read here but names.

What a label map annotates is decided by the data set, not by what occurs in it: a liver data set annotates livers in a
case without one. Where the data set does not say (FLARE23), a structure is annotated in the cases in which it occurs.
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
    """The cases of a source, by name.

    Raises:
        InputError: when the folder holds none in this layout or cannot be read, or `only` or `without` names
            one that is not there.
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
