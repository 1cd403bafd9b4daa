"""What `prepare` found in each source: files seen and used, cases refused and left out with the reason, structures."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flareseg.labels import structures
from train.common.json_files import write_json
from train.config import SourceConfig
from train.data.layouts import Findings
from train.data.prepare_records import Prepared

SHOWN = 3
"""Names given as examples."""
_COLUMNS = ("source", "layout", "files", "used", "cases", "labelled", "turned", "refused", "left out")


def report_sources(
    sources: Sequence[SourceConfig], findings: Mapping[str, Findings], prepared: Iterable[Prepared], path: Path
) -> None:
    """Print the table of all sources, and write it with every name to `path` as JSON.

    Args:
        sources: of the configuration, with those that were made.
        findings: what each of them holds, by name.
        prepared: the result of every case.
        path: of the file.
    """
    results = {result.name: result for result in prepared}
    facts = [_facts(source, findings[source.name], results) for source in sources]
    print("\n".join(_text(facts)), flush=True)
    write_json(path, {"sources": facts})


def _facts(source: SourceConfig, found: Findings, results: Mapping[str, Prepared]) -> dict[str, Any]:
    mine = {case.name: results[f"{source.name}_{case.name}"] for case in found.cases}
    kept = [result.case for result in mine.values() if result.case]
    refused: defaultdict[str, list[str]] = defaultdict(list)
    for name, result in mine.items():
        if result.case is None:
            refused[result.refused].append(name)
    shown = Counter(name for case in kept for name in case.occurring)
    drawn = Counter(name for case in kept for name in case.annotated)
    partly = Counter(name for case in kept for name in case.in_part)
    guessed = Counter(name for result in mine.values() if result.case for name in result.pseudo)
    every = [structure.name for structure in structures()]
    return {
        "source": source.name,
        "layout": source.layout,
        "files": found.files,
        "used": found.used,
        "cases": len(kept),
        "labelled": sum(case.labels is not None for case in kept),
        "turned": sum(result.turned for result in mine.values()),
        "refused": dict(refused),
        "left out": {reason: list(names) for reason, names in found.left_out.items()},
        "structures": {name: [shown[name], drawn[name]] for name in every if drawn[name]},
        "drawn in part": {name: partly[name] for name in every if partly[name]},
        "pseudo-labels": {name: guessed[name] for name in every if guessed[name]},
        "read as background": list(found.others),
    }


def _text(facts: Sequence[dict[str, Any]]) -> list[str]:
    rows = [_COLUMNS, *(tuple(_number(entry[column]) for column in _COLUMNS) for entry in facts)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_COLUMNS))]
    lines = ["prepare: what the sources hold"]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append(f"  {'  '.join(cells)}".rstrip())
    for entry in facts:
        lines += [f"  {entry['source']}: {line}" for line in _details(entry)]
    return lines


def _number(value: Any) -> str:
    return str(sum(map(len, value.values())) if isinstance(value, dict) else value)


def _details(entry: Mapping[str, Any]) -> list[str]:
    """What a row of the table cannot hold, a line each."""
    lines = []
    if entry["structures"]:
        found = (f"{name} {shown}/{drawn}" for name, (shown, drawn) in entry["structures"].items())
        lines.append(f"structures, cases that show them / that annotate them: {', '.join(found)}")
    for key, title in (("drawn in part", "structures drawn in part"), ("pseudo-labels", "structures in pseudo-labels")):
        if entry[key]:
            found = (f"{name} {count}" for name, count in entry[key].items())
            lines.append(f"{title}, cases: {', '.join(found)}")
    if entry["read as background"]:
        lines.append(f"labels read as background, no structures of FLARE: {', '.join(entry['read as background'])}")
    together: defaultdict[str, list[str]] = defaultdict(list)
    for reason, names in entry["refused"].items():
        together[re.sub(r"'[^']*'", "'…'", reason)] += names  # the same reason, whatever the file is called
    lines += [f"refused {_some(names)}: {reason}" for reason, names in together.items()]
    lines += [f"left out {_some(names)}: {reason}" for reason, names in entry["left out"].items()]
    return lines


def _some(names: Sequence[str]) -> str:
    more = f", … ({len(names)})" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
