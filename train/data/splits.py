"""The validation split of a source, stable when cases are added."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from flareseg.errors import UsageError


def split_of(names: Sequence[str], validation: int | float | list[str], *, seed: int = 0, source: str = "") -> set[str]:
    """Choose the validation cases among `names`.

    A hash of the seed, the source and the name gives each case a number between 0 and 1. A fraction selects the cases
    below it, independently of the other cases; a count selects the lowest ones, so that a case added later replaces at
    most one of them.

    Args:
        names: of the labelled cases.
        validation: a number of cases, a fraction below 1, or names, with or without the name of the source as prefix.
        seed: of the configuration.
        source: name of the source.

    Raises:
        UsageError: when a name is unknown, or no case would be left for training.
    """
    if isinstance(validation, list):
        wanted = {name if name in names else name.removeprefix(f"{source}_") for name in validation}
        missing = wanted - set(names)
        if missing:
            raise UsageError(f"The source '{source}' has no labelled case '{sorted(missing)[0]}' for validation.")
        return wanted
    places = {name: _place(f"{seed}/{source}/{name}") for name in names}
    if 0 < validation < 1:
        return {name for name, place in places.items() if place < validation}
    count = int(validation)
    if count and count >= len(names):
        raise UsageError(
            f"The source '{source}' has {len(names)} labelled cases; {count} for validation leave none for training."
        )
    return set(sorted(names, key=lambda name: places[name])[:count])


def _place(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
