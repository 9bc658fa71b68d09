"""The reader's guard, on statements as the engine prints them."""

import pytest

from local.clickhouse.errors import ClickHouseError
from local.clickhouse.readonly import check_settings, check_statement

TABLE_FUNCTIONS = frozenset({"file", "url", "s3", "numbers", "merge", "view", "a_new_one"})


@pytest.mark.parametrize(
    "canonical",
    [
        b"SELECT 1",
        b"WITH\n    x AS\n    (\n        SELECT 1\n    )\nSELECT *\nFROM x",
        b"SELECT sum(a), 'file(', `file` FROM t AS url WHERE (a > 1) AND (b IN ('x'))",
        b"SELECT * FROM numbers(3)",
        b"SELECT * FROM view(SELECT 1)",
        b"SELECT name FROM system.tables",
        b"SHOW TABLES FROM tollbook",
        b"DESCRIBE TABLE tollbook.usage",
        b"EXPLAIN\nSELECT 1",
        b"SELECT 1\nFORMAT JSON",
    ],
)
def test_looking_passes(canonical: bytes) -> None:
    check_statement(canonical, TABLE_FUNCTIONS)


@pytest.mark.parametrize(
    ("canonical", "named"),
    [
        (b"", "statements"),
        (b"INSERT INTO t SELECT 1", "INSERT"),
        (b"WITH 1 AS x INSERT INTO t SELECT x", "INSERT INTO"),
        (b"SET a = 1", "SET"),
        (b"SHOW GRANTS", "SHOW"),
        (b"SELECT 1\nINTO OUTFILE 'x'", "INTO OUTFILE"),
        (b"SELECT file('x')", "function file"),
        (b"SELECT FiLe('x')", "function file"),
        (b"SELECT * FROM `file`('x')", "function file"),
        (b"SELECT * FROM a_new_one(1)", "function a_new_one"),
        (b"SELECT dictGetString('d', 'a', 1)", "function dictgetstring"),
        (b"SELECT * FROM default.`/etc/passwd`", "database default"),
        (b"SELECT * FROM `default`.t", "database default"),
        (b"SHOW TABLES FROM default", "database default"),
        (b"SELECT * FROM system.processes", "system.processes"),
        (b"SELECT * FROM `system`.`users`", "system.users"),
        (b"SELECT * FROM {t:Identifier}", "Identifier"),
        (b"SELECT * FROM t PARALLEL WITH DROP TABLE t", "PARALLEL WITH"),
    ],
)
def test_the_rest_is_refused_by_name(canonical: bytes, named: str) -> None:
    with pytest.raises(ClickHouseError, match=named) as refused:
        check_statement(canonical, TABLE_FUNCTIONS)
    assert refused.value.code == 497


@pytest.mark.parametrize(
    ("database", "settings"),
    [
        ("default", {}),
        ("system", {}),
        ("t", {"readonly": "0"}),
        ("t", {"dialect": "prql"}),
        ("t", {"format_schema": "x"}),
    ],
)
def test_settings_that_relax_are_refused(database: str, settings: dict[str, str]) -> None:
    with pytest.raises(ClickHouseError) as refused:
        check_settings(database, settings)
    assert refused.value.code == 497


def test_harmless_settings_pass() -> None:
    check_settings("tollbook", {"max_threads": "2", "date_time_input_format": "best_effort", "session_timezone": "UTC"})
