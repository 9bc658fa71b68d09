"""Where a statement's clauses stand, whatever comments, strings and binary data surround them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.clickhouse import sql
from local.clickhouse.errors import ClickHouseError


@pytest.mark.parametrize(
    ("text", "keyword", "output_format"),
    [
        (b"SELECT 1", "SELECT", None),
        (b"select 1 format JSON", "SELECT", "JSON"),
        (b"SELECT 1 FORMAT JSON SETTINGS a = 1 ; -- end", "SELECT", "JSON"),
        (b"SELECT format FROM t", "SELECT", None),
        (b"SELECT 'FORMAT JSON'", "SELECT", None),
        (b"SELECT * FROM (SELECT 1 FORMAT JSON)", "SELECT", None),
        (b"/* a /* ; */ b */ (SELECT 1)", "SELECT", None),
        (b"WITH 1 AS x SELECT x", "SELECT", None),
        (b"FROM t SELECT 1", "SELECT", None),
        (b"WITH 1 AS x INSERT INTO t SELECT x", "INSERT", None),
        (b"SELECT $x$ ; ' $x$, `;`, \";\", 'it''s;', 'a\\';'", "SELECT", None),
        (b"SHOW TABLES FORMAT TSV", "SHOW", "TSV"),
        (b"create table t (format String) engine = Memory", "CREATE", None),
    ],
)
def test_kind_and_format(text: bytes, keyword: str, output_format: str | None) -> None:
    statement = sql.parse(text)
    assert (statement.keyword, statement.format) == (keyword, output_format)


def test_head_and_tail_leave_out_the_semicolon() -> None:
    statement = sql.parse(b"SELECT 1 FORMAT JSON ; ; # comment")
    assert (statement.head, statement.tail) == (b"SELECT 1 ", b"FORMAT JSON")


@pytest.mark.parametrize(
    "text", [b"", b" -- nothing", b";", b"SELECT 1; SELECT 2", b"SELECT 1 /* ; */ ; ; DROP TABLE t"]
)
def test_none_or_several_statements_are_refused(text: bytes) -> None:
    with pytest.raises(ClickHouseError) as refused:
        sql.parse(text)
    assert refused.value.code == 62


@pytest.mark.parametrize(
    ("text", "target", "settings", "data"),
    [
        (b"INSERT INTO t FORMAT CSV\n1,2", b"INSERT INTO t ", b"", b"1,2"),
        (b"insert into t (a, `FORMAT x`) format CSV\r\n\n1", b"insert into t (a, `FORMAT x`) ", b"", b"\n1"),
        (b"INSERT INTO t SETTINGS a = 1 FORMAT CSV 1", b"INSERT INTO t ", b"SETTINGS a = 1 ", b"1"),
        (b"INSERT INTO t FORMAT Native \n\x01'\xff", b"INSERT INTO t ", b"", b"\x01'\xff"),
        (
            b"/* FORMAT */ INSERT INTO FUNCTION null('a') FORMAT CSV",
            b"/* FORMAT */ INSERT INTO FUNCTION null('a') ",
            b"",
            b"",
        ),
    ],
)
def test_inserts_with_data_are_split(text: bytes, target: bytes, settings: bytes, data: bytes) -> None:
    insert = sql.insert_with_data(text)
    assert insert is not None
    assert (insert.target, insert.settings, text[insert.data_start :]) == (target, settings, data)


@pytest.mark.parametrize(
    "text",
    [
        b"INSERT INTO t VALUES (1) FORMAT CSV",
        b"INSERT INTO t SELECT 1 FORMAT CSV",
        b"INSERT INTO t WITH 1 AS x SELECT x FORMAT CSV",
        b"INSERT INTO t FROM INFILE 'x' FORMAT CSV",
        b"INSERT INTO t (a, b",
        b"INSERT INTO t FORMAT",
        b"SELECT 'INSERT INTO t FORMAT CSV'",
        b"",
    ],
)
def test_other_statements_are_not_split(text: bytes) -> None:
    assert sql.insert_with_data(text) is None


@given(st.binary(max_size=200))
def test_binary_data_never_moves_the_split(data: bytes) -> None:
    text = b"INSERT INTO t FORMAT Native\n" + data
    insert = sql.insert_with_data(text)
    assert insert is not None
    assert text[insert.data_start :] == data


@given(st.binary(max_size=300))
def test_tokens_are_in_order_and_never_overlap(text: bytes) -> None:
    at = 0
    for token in sql.tokens(text):
        assert at <= token.start < token.end <= len(text)
        assert text[token.start : token.end] == token.text
        at = token.end


def test_outfile_is_found_only_as_a_clause() -> None:
    assert sql.writes_outfile(b"SELECT 1 into /* */ OUTFILE 'x'")
    assert not sql.writes_outfile(b"SELECT 'INTO OUTFILE'")
