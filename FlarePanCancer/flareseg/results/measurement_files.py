"""Measurements as files: .csv, .json and .parquet, and the data dictionary that says what each column is."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flareseg.errors import UsageError
from flareseg.io.atomic import atomic_path
from flareseg.results.columns import COLUMNS, FEATURES, FLAG, NUMBER, POINT, TEXT, WHOLE, Column
from flareseg.results.measure import Measurement, cell
from flareseg.text import Number, as_json, encodable, shown, write_csv_rows

CSV, JSON, PARQUET, MARKDOWN = ".csv", ".json", ".parquet", ".md"
ENDINGS = (CSV, JSON, PARQUET)


def write_measurements(path: Path, rows: Sequence[Measurement], *, overwrite: bool = False) -> None:
    """Write measurements as .csv, .json or .parquet, by the ending, whole or not at all.

    The columns of features are there where any row has features. In a .csv a text that a spreadsheet would calculate,
    such as the case name "=1+1", gets an apostrophe before it; the others hold names as they are.

    Raises:
        UsageError: for another ending, or a .parquet without the package pyarrow.
        OutputError: when the file exists and `overwrite` is not set, or cannot be written.
    """
    check_measurements_name(path)
    columns = columns_of(rows)
    values = [row.as_row() for row in rows]
    with atomic_path(path, overwrite=overwrite) as temporary:
        if path.suffix.lower() == PARQUET:
            _write_parquet(temporary, columns, values)
            return
        with temporary.open("w", newline="", encoding="utf-8") as file:
            if path.suffix.lower() == JSON:
                table = [{column.name: row.get(column.name) for column in columns} for row in values]
                file.write(as_json(table, indent=1) + "\n")
                return
            write_csv_rows(file, [[column.name for column in columns]])
            write_csv_rows(file, ([_csv_cell(column, row.get(column.name)) for column in columns] for row in values))


def columns_of(rows: Sequence[Measurement]) -> tuple[Column, ...]:
    """The columns of a file with these rows."""
    return COLUMNS + FEATURES if any(row.features is not None for row in rows) else COLUMNS


def check_measurements_name(path: Path) -> None:
    """See that measurements can be written to a file of this ending.

    Raises:
        UsageError: for another one, or where .parquet needs a package that is not installed.
    """
    check_table_name(path, "Measurements", ENDINGS)
    if path.suffix.lower() == PARQUET:
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise UsageError(
                ".parquet is written by the package pyarrow, which is not installed; run: pip install pyarrow."
            ) from None


def check_table_name(path: Path, what: str, endings: Sequence[str] = (CSV, JSON)) -> None:
    """See that a file ends in one of `endings`.

    Raises:
        UsageError: when it does not.
    """
    if path.suffix.lower() not in endings:
        listed = " or ".join(filter(None, [", ".join(endings[:-1]), endings[-1]]))
        raise UsageError(f"{what} go into a file that ends in {listed}, not '{shown(path.name)}'.")


def is_measurements(path: Path) -> bool:
    """Whether a file is an earlier table of measurements, or empty.

    Raises:
        OSError: when it cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(2**16)
    first = [column.name for column in COLUMNS[:4]]
    if not start.strip():
        return True
    if path.suffix.lower() == PARQUET:
        return _parquet_names(path)[:4] == first
    if path.suffix.lower() == CSV:
        return start.split(b"\n", 1)[0].strip().decode("utf-8", "replace").split(",")[:2] == first[:2]
    return all(name.encode() in start for name in first) and start.lstrip().startswith(b"[")


def write_dictionary(path: Path, *, overwrite: bool = False) -> None:
    """Write what every column is, as .csv, .json or .md (a table for a page); raises as `write_measurements`."""
    check_dictionary_name(path)
    texts = {CSV: dictionary_text, JSON: lambda: as_json(dictionary(), indent=1) + "\n", MARKDOWN: dictionary_table}
    with atomic_path(path, overwrite=overwrite) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        file.write(texts[path.suffix.lower()]())


def check_dictionary_name(path: Path) -> None:
    """See that a data dictionary can be written to a file of this ending; raises UsageError for another one."""
    check_table_name(path, "Data dictionaries", (CSV, JSON, MARKDOWN))


def dictionary() -> list[dict[str, Any]]:
    """What every column is, in their order."""
    return [asdict(column) for column in COLUMNS + FEATURES]


def dictionary_text() -> str:
    """The same as CSV."""
    text, table = io.StringIO(), dictionary()
    write_csv_rows(text, [list(table[0])])
    write_csv_rows(text, [list(row.values()) for row in table])
    return text.getvalue()


def dictionary_table() -> str:
    """The same as a table in Markdown."""
    lines = [("column", "unit", "rows", "what it is", "defined by"), ("---",) * 5]
    lines += [(f"`{one.name}`", one.unit, one.rows, one.definition, one.source) for one in COLUMNS + FEATURES]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _csv_cell(column: Column, value: Any) -> str:
    text = cell(column.name, value)
    return text if isinstance(value, str) else Number(text)


def _write_parquet(path: Path, columns: Sequence[Column], values: Sequence[dict[str, Any]]) -> None:
    import pyarrow
    import pyarrow.parquet

    kinds = {
        TEXT: pyarrow.string(),
        WHOLE: pyarrow.int64(),
        NUMBER: pyarrow.float64(),
        FLAG: pyarrow.bool_(),
        POINT: pyarrow.list_(pyarrow.float64(), 3),
    }
    fields, arrays = [], []
    for column in columns:
        about = {"unit": column.unit, "definition": column.definition, "source": column.source}
        fields.append(pyarrow.field(column.name, kinds[column.kind], metadata=about))
        of_each = [row.get(column.name) for row in values]
        arrays.append(pyarrow.array(map(_storable, of_each), kinds[column.kind]))
    pyarrow.parquet.write_table(pyarrow.Table.from_arrays(arrays, schema=pyarrow.schema(fields)), path)


def _storable(value: Any) -> Any:
    """Parquet holds UTF-8 only."""
    return encodable(value) if isinstance(value, str) else value


def _parquet_names(path: Path) -> list[str]:
    import pyarrow
    import pyarrow.parquet

    try:
        return list(pyarrow.parquet.read_schema(path).names)
    except (pyarrow.ArrowException, OSError):
        return []
