"""What the readers of trace files share: errors that name the place, and columns of numbers from text."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from schemas.event import MAX_COUNT

FIRST_LINE = 2  # of a CSV file's rows: the header is line 1


class TraceError(ValueError):
    """A line of a trace file is not what its format says."""

    def __init__(self, path: Path, line: int, field: str, value: object, rule: str) -> None:
        super().__init__(f"{path}: line {line}: {field} = {str(value)[:100]!r}: {rule}")


def read_csv(path: Path, columns: tuple[str, ...]) -> pa.Table:
    """All columns of a CSV file as text, a row a line. Raises TraceError when a line or a column is missing."""

    refused: list[TraceError] = []

    def refuse(row: Any) -> str:  # what it raises would be swallowed
        rule = f"{row.expected_columns} fields, not {row.actual_columns}"
        refused.append(TraceError(path, row.number, "line", row.text, rule))
        return "error"

    with path.open("rb") as file:
        names = file.readline().decode("utf-8", "replace").strip().split(",")
    for column in columns:
        if column not in names:
            raise TraceError(path, 1, "header", ",".join(names), f"a column {column!r}")
    try:
        return pyarrow.csv.read_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(use_threads=False),
            # An empty line is a row too, so that row numbers stay line numbers.
            parse_options=pyarrow.csv.ParseOptions(invalid_row_handler=refuse, ignore_empty_lines=False),
            convert_options=pyarrow.csv.ConvertOptions(column_types={name: pa.string() for name in names}),
        )
    except pa.ArrowInvalid as error:
        if refused:
            raise refused[0] from None
        raise TraceError(path, 1, "file", path.name, str(error)) from error


def whole_numbers(path: Path, table: pa.Table, name: str) -> pa.Array:
    """A column of token counts as int64; raises TraceError at the first other value."""
    return parse(path, table, name, r"^([0-9]{1,9}|10{9})$", pa.int64(), f"a whole number, 0 to {MAX_COUNT}")


def seconds(path: Path, table: pa.Table, name: str, digits: int) -> pa.Array:
    """A column of seconds with decimals as float64; raises TraceError at the first other value."""
    pattern = rf"^[0-9]{{1,{digits}}}([.][0-9]+)?$"
    return parse(path, table, name, pattern, pa.float64(), f"seconds, at least 0, at most {digits} digits")


def parse(path: Path, table: pa.Table, name: str, pattern: str, kind: pa.DataType, rule: str) -> pa.Array:
    """A column of text that matches `pattern` everywhere, as `kind`; raises TraceError at the first other value."""
    text = column(table, name)
    matches = pc.match_substring_regex(text, pattern)
    if not pc.all(matches, min_count=0).as_py():
        raise _at(path, text, pc.index(matches, False).as_py(), name, rule)
    try:
        return text.cast(kind)
    except pa.ArrowInvalid:
        row = next(row for row in range(len(text)) if not _converts(text[row], kind))
        raise _at(path, text, row, name, rule) from None


def column(table: pa.Table, name: str) -> pa.Array:
    """A column in one piece."""
    return pa.concat_arrays(table.column(name).chunks) if table.num_rows else pa.array([], pa.string())


def _converts(value: pa.Scalar, kind: pa.DataType) -> bool:
    try:
        value.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


def _at(path: Path, text: pa.Array, row: int, name: str, rule: str) -> TraceError:
    return TraceError(path, row + FIRST_LINE, name, text[row].as_py(), rule)


def lines(path: Path, read: Callable[[int, bytes], Any]) -> list[Any]:
    """What `read` makes of each line (numbered from 1) of a file of JSON lines."""
    with path.open("rb") as file:
        return [read(number, line) for number, line in enumerate(file, start=1)]
