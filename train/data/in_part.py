"""Which structures of a case are drawn in part: said by its source, by a list of cases, or by its own files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from flareseg.errors import InputError
from flareseg.labels import by_names
from train.config import SourceConfig
from train.data.layouts.found import FoundCase
from train.data.named_cases import listed_names


def drawn_in_part(source: SourceConfig, cases: Sequence[FoundCase]) -> dict[str, tuple[int, ...]]:
    """Label values of what is drawn in part, in ascending order, by the name of the case.

    Raises:
        InputError: when a list cannot be read, or names a case that the source does not have.
    """
    lists = _lists(source)
    known = {case.name for case in cases} | {f"{source.name}_{case.name}" for case in cases}
    for structure, names in lists.items():
        if missing := [name for name in names if name not in known]:
            raise InputError(
                f"{len(missing)} of the {len(names)} cases with {structure} in part are none of the source "
                f"'{source.name}', the first is {missing[0]!r}."
            )
    said = {case.name: {one.value for one in by_names(_said_of(source, lists, case.name))} for case in cases}
    return {case.name: tuple(sorted(said[case.name] | {*case.in_part})) for case in cases}


def names_in_part(source: SourceConfig, case: str) -> tuple[str, ...]:
    """The structures of which a source says that not all are drawn in a case.

    Raises:
        InputError: when a list cannot be read.
    """
    return _said_of(source, _lists(source), case)


def _said_of(source: SourceConfig, lists: Mapping[str, Collection[str]], case: str) -> tuple[str, ...]:
    if not isinstance(source.in_part, dict):
        return tuple(source.in_part)
    return tuple(one for one, names in lists.items() if case in names or f"{source.name}_{case}" in names)


def _lists(source: SourceConfig) -> dict[str, dict[str, None]]:
    """The cases of each structure that is drawn in part in some of them, as keys in their order."""
    if not isinstance(source.in_part, dict):
        return {}
    whose = f"of what is in_part in the source '{source.name}'"
    return {one: dict.fromkeys(listed_names(wanted, whose)) for one, wanted in source.in_part.items()}
