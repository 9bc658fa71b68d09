"""What the reader may ask. Pure; everything not known to be harmless is refused.

It judges the statement as the engine's own parser prints it (`formatQuery`): one statement, no comments, strings and
quoted names in one canonical form; and that text, not the one that came, is what then runs. Below it the engine's
`readonly = 1` refuses writes and most sources a second time; but that alone would let a reader read the machine's
files, by the scalar function `file` and by any table of the database `default`, whose names are paths.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from local.clickhouse.errors import ACCESS_DENIED, ClickHouseError, refusal
from local.clickhouse.sql import Token, tokens

_STATEMENTS = {b"SELECT", b"WITH", b"(", b"SHOW", b"DESCRIBE", b"EXISTS", b"EXPLAIN"}
_SHOW = {
    *(b"TABLES", b"DATABASES", b"COLUMNS", b"FULL", b"EXTENDED", b"CREATE", b"INDEX", b"INDEXES", b"INDICES", b"KEYS"),
    *(b"FUNCTIONS", b"SETTING", b"SETTINGS", b"CHANGED", b"ENGINES", b"DICTIONARIES"),
}
_NEVER = {
    (b"INTO", b"OUTFILE"),
    (b"INSERT", b"INTO"),
    (b"PARALLEL", b"WITH"),
}
_SYSTEM_TABLES = {
    *("columns", "tables", "databases", "settings", "functions", "one", "numbers", "numbers_mt", "zeros", "zeros_mt"),
    *("data_type_families", "formats", "table_engines", "time_zones", "dictionaries", "collations", "keywords"),
    *(
        "build_options",
        "aggregate_function_combinators",
        "data_skipping_indices",
        "projections",
        "parts",
        "contributors",
    ),
}
_TABLE_FUNCTIONS = {
    *("numbers", "numbers_mt", "zeros", "zeros_mt", "generateseries", "generate_series", "values", "sqlstandardvalues"),
    *("null", "primes", "view", "format", "generaterandom"),
}
# Scalar functions that reach files, networks, other stores or the machine, or only hold a thread.
_SCALAR_FUNCTIONS = re.compile(
    r"ai[a-z]+|file|filesystem[a-z]*|dict[a-z0-9]*|joinget[a-z]*|sleep[a-z]*|addressto[a-z]*|demangle|"
    r"getmacro|getserver[a-z]*|getclienthttpheader|showcertificate|zookeeper[a-z]*|evalmlmethod|catboost[a-z]*|"
    r"getoskernelversion|generateserialid|trap|hasthreadfuzzer"
)
_SETTINGS = re.compile(
    r"(max|min|output_format|date_time|cast|join|group_by|format_csv|distinct|aggregate_functions)_[a-z0-9_]+|"
    r"session_timezone|extremes|limit|offset|final|log_comment|timeout_overflow_mode|prefer_column_name_to_alias|"
    r"use_query_cache|transform_null_in|empty_result_for_aggregation_by_empty_set|"
    r"(http|send|receive|connect)_[a-z0-9_]*timeout[a-z0-9_]*"
)


def check_settings(database: str, settings: Mapping[str, str]) -> None:
    """Raises ClickHouseError (497) for a database whose tables are not data, or a setting that is not harmless."""
    if database in ("default", "system"):
        raise _denied(f"database {database}")
    for name in settings:
        if not _SETTINGS.fullmatch(name):
            raise _denied(f"setting {name}")


def check_statement(canonical: bytes, table_functions: frozenset[str]) -> None:
    """Judges a statement printed by the engine; `table_functions` are all the engine has, in lower case.

    Raises ClickHouseError (497) naming what is refused.
    """
    found = list(tokens(canonical))
    _check_kind(found)
    for left, right in pairwise(found):
        if (left.text.upper(), right.text.upper()) in _NEVER:
            raise _denied(f"{_name(left)} {_name(right)}")
        if right.text == b"(" and left.kind in ("word", "identifier"):
            _check_function(_name(left).lower(), table_functions)
    _check_names(found)


def _check_kind(found: Sequence[Token]) -> None:
    first = found[0].text.upper() if found else b""
    if first not in _STATEMENTS:
        raise _denied(f"{first.decode(errors='replace')} statements")
    if first == b"SHOW" and (len(found) < 2 or found[1].text.upper() not in _SHOW):
        raise _denied("this SHOW statement")
    if first in (b"SHOW", b"DESCRIBE", b"EXISTS"):
        for token in found:
            if _is_name(token) and _name(token) == "default":
                raise _denied("database default")


def _check_function(name: str, table_functions: frozenset[str]) -> None:
    if name in table_functions - _TABLE_FUNCTIONS or _SCALAR_FUNCTIONS.fullmatch(name):
        raise _denied(f"function {name}")


def _check_names(found: Sequence[Token]) -> None:
    """Tables of `default` and most of `system`, and names that only the parameters' values would tell."""
    for first, dot, second in zip(found, found[1:], found[2:], strict=False):
        if dot.text == b"." and _is_name(first) and _is_name(second):
            if _name(first) == "default":
                raise _denied("database default")
            if _name(first).lower() == "system" and _name(second) not in _SYSTEM_TABLES:
                raise _denied(f"table system.{_name(second)}")
        if dot.text == b":" and second.text.lower() == b"identifier":
            raise _denied("parameters of type Identifier")


def _is_name(token: Token) -> bool:
    return token.kind in ("word", "identifier")


def _name(token: Token) -> str:
    text = token.text.decode(errors="replace")
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if token.kind == "identifier" else text


def _denied(what: str) -> ClickHouseError:
    return refusal(ACCESS_DENIED, f"tollbook_reader: Not enough privileges for {what}", "ACCESS_DENIED")
