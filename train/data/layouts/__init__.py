"""Finding the cases of public data sets: one module per layout. Only file names and metadata are read, no images.

Which structures a label map annotates is a property of the data set, not of the labels that occur: a liver data set
annotates the liver even in a case without one. If a data set does not say (FLARE23), the structures that occur in a
case count as annotated.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flareseg.errors import InputError
from flareseg.io.files import IMAGE_ENDINGS, SEGMENTS_ENDING, ending_of
from train.config import Layout, SourceConfig
from train.data.layouts import (
    abdomenatlas,
    abdomenct1k,
    amos22,
    btcv,
    cases,
    ctorg,
    flare23,
    flare_laptop,
    flare_pancancer,
    kits23,
    lits,
    msd,
    nnunet,
    pairs,
    totalsegmentator,
    word,
)
from train.data.layouts.found import WITHOUT_CT, FoundCase

LAYOUTS: dict[Layout, Callable[[Path, SourceConfig], list[FoundCase]]] = {
    "cases": cases.find,
    "pairs": pairs.find,
    "nnunet": nnunet.find,
    "flare23": flare23.find,
    "flare_laptop": flare_laptop.find,
    "flare_pancancer": flare_pancancer.find,
    "totalsegmentator": totalsegmentator.find,
    "abdomenatlas": abdomenatlas.find,
    "msd": msd.find,
    "abdomenct1k": abdomenct1k.find,
    "amos22": amos22.find,
    "word": word.find,
    "btcv": btcv.find,
    "kits23": kits23.find,
    "lits": lits.find,
    "ctorg": ctorg.find,
}
_ARCHIVES = (".zip", ".7z", ".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True)
class Findings:
    """What a source holds.

    Attributes:
        cases: sorted by name.
        files: number of images, label maps and archives in its folder.
        used: how many of them the cases use.
        left_out: names of cases and files that are not used, by the reason.
        others: names of labels that are none of FLARE's structures, and are read as background.
    """

    cases: tuple[FoundCase, ...]
    files: int
    used: int
    left_out: dict[str, tuple[str, ...]]
    others: tuple[str, ...]


def look_into(source: SourceConfig, *, maps_will_do: bool = False) -> Findings:
    """The cases of a source, and what of its folder they leave out.

    Args:
        source: of the configuration.
        maps_will_do: whether a source may consist of label maps without CTs, such as one that new patients are made of.

    Raises:
        InputError: when the folder cannot be read or holds no case in this layout, or `only` or `without` names
            a missing case.
    """
    folder = Path(source.path).expanduser()
    try:
        found = sorted(LAYOUTS[source.layout](folder, source), key=lambda case: case.name)
        files = list(_files(folder))
    except OSError as error:
        raise InputError(f"The folder '{folder}' cannot be read: {error.strerror or error}.") from None
    missing = {*source.only, *source.without} - {case.name for case in found}
    if missing:
        raise InputError(f"The source '{source.name}' has no case '{sorted(missing)[0]}'.")
    reasons = {case.name: _reason(case, source) for case in found}
    kept = tuple(case for case in found if not reasons[case.name])
    left_out: defaultdict[str, list[str]] = defaultdict(list)
    for name, reason in reasons.items():
        if reason:
            left_out[reason].append(name)
    if not kept and not (maps_will_do and any(case.left_out == WITHOUT_CT for case in found)):
        why = next((f"; left out: {case.left_out}" for case in found if case.left_out), "")
        raise InputError(f"'{folder}' holds no case in the layout '{source.layout}'{why}; see train/README.md.")
    theirs = {path for case in found for path in case.files}
    names = {case.name for case in found}
    for path in files:
        if path not in theirs:
            left_out[_other(path.relative_to(folder), names)].append(str(path.relative_to(folder)))
    used = len({path for case in kept for path in case.files})
    others = tuple(dict.fromkeys(name for case in kept for name in case.others))
    return Findings(kept, len(files), used, {why: tuple(left_out[why]) for why in sorted(left_out)}, others)


def _reason(case: FoundCase, source: SourceConfig) -> str:
    """Why a case is not taken; empty if it is."""
    if source.only and case.name not in source.only:
        return "not in `only`"
    return "in `without`" if case.name in source.without else case.left_out


def _other(path: Path, names: Sequence[str] | set[str]) -> str:
    """The reason for a file that belongs to no case: its folder, with the names of cases and numbers as a star."""
    if path.name.lower().endswith(_ARCHIVES) and not ending_of(path):
        return "an archive that is not unpacked"
    parts = ("*" if part in names else re.sub(r"\d+", "*", part) for part in path.parent.parts)
    return f"not part of the layout, in {'/'.join((*parts, ''))}" if path.parent.parts else "not part of the layout"


def _files(folder: Path) -> Iterator[Path]:
    """Images, label maps and archives in `folder` and below, without hidden ones."""
    known = (*IMAGE_ENDINGS, SEGMENTS_ENDING, *_ARCHIVES)
    for here, inside, names in os.walk(folder, followlinks=True):  # as the layouts do
        inside[:] = sorted(name for name in inside if not name.startswith((".", "__MACOSX")))
        for name in sorted(names):
            if name.lower().endswith(known) and not name.startswith("."):
                yield Path(here, name)
