"""Which cases of a source validate: the same ones whatever else the source holds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from flareseg.errors import UsageError


def split_of(names: Sequence[str], validation: int | float | list[str], *, seed: int = 0, source: str = "") -> set[str]:
    """The validation cases among `names`.

    Every case has its own place between 0 and 1, from a hash of the seed, the source and its name. A share takes the
    cases below it, so that other cases change nothing; a number takes the lowest ones, so that a case that is added
    later moves at most one of them.

    Args:
        names: of the labelled cases.
        validation: a number of cases, a share below 1, or names, with or without the source's before them.
        seed: of the configuration.
        source: name of the source.

    Raises:
        UsageError: when a name is not there, or nothing would be left to learn from.
    """
    if isinstance(validation, list):
        wanted = {name if name in names else name.removeprefix(f"{source}_") for name in validation}
        missing = wanted - set(names)
        if missing:
            raise UsageError(f"The source '{source}' has no labelled case '{sorted(missing)[0]}' to validate with.")
        return wanted
    places = {name: _place(f"{seed}/{source}/{name}") for name in names}
    if 0 < validation < 1:
        return {name for name, place in places.items() if place < validation}
    count = int(validation)
    if count and count >= len(names):
        raise UsageError(f"The source '{source}' has {len(names)} labelled cases; {count} of them cannot validate.")
    return set(sorted(names, key=lambda name: places[name])[:count])


def _place(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
