"""The reader may look at data, and at nothing else, however it asks."""

from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from .conftest import Front

SECRET = "not for readers"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of the machine that no reader may see."""
    path = tmp_path / "secret.csv"
    path.write_text(f"{SECRET}\n")
    return path


@pytest.fixture
def spend(client: Client) -> str:
    """A table with three rows, in the test's database."""
    client.command("CREATE TABLE spend (user String, tokens Int64) ENGINE = MergeTree ORDER BY user")
    client.command("INSERT INTO spend VALUES ('ann', 1), ('bob', 2), ('ann', 3)")
    client.command("CREATE VIEW by_user AS SELECT user, sum(tokens) AS total FROM spend GROUP BY user")
    return "spend"


ALLOWED = [
    ("SELECT sum(tokens) FROM spend", b"6\n"),
    ("select /* a */ count() from spend -- b", b"3\n"),
    ("WITH t AS (SELECT user FROM spend) SELECT uniqExact(user) FROM t;", b"2\n"),
    ("(SELECT 1) UNION ALL (SELECT 1)", b"1\n1\n"),
    ("SELECT total FROM by_user ORDER BY user", b"4\n2\n"),
    ("SELECT 'a; DROP TABLE spend' AS `a; b`", b"a; DROP TABLE spend\n"),
    ("SELECT 'file(''x'')', 'INTO OUTFILE'", b"file(\\'x\\')\tINTO OUTFILE\n"),
    ("SELECT sum(number) FROM numbers(4)", b"6\n"),
    ("SELECT file FROM (SELECT 1 AS file)", b"1\n"),
    ("EXISTS TABLE spend", b"1\n"),
    ("SHOW TABLES", b"by_user\nspend\n"),
    ("SELECT name FROM system.tables WHERE database = currentDatabase() ORDER BY name", b"by_user\nspend\n"),
    ("SELECT count() > 0 FROM information_schema.columns WHERE table_name = 'spend'", b"1\n"),
    ("SELECT toDate('2026-07-03') + INTERVAL 1 DAY AS d FORMAT JSONEachRow", b'{"d":"2026-07-04"}\n'),
    ("SELECT if(1 IN (1, 2), formatReadableQuantity(1000), '')", b"1.00 thousand\n"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "expected"), ALLOWED)
def test_looking_is_allowed(front: Front, database: str, spend: str, query: str, expected: bytes) -> None:
    status, _, body = front.post(query, reader=True, database=database)
    assert (status, body) == (200, expected)


def test_descriptions_and_plans_are_allowed(front: Front, database: str, spend: str) -> None:
    for query in (
        "DESCRIBE spend",
        "SHOW CREATE TABLE spend",
        "EXPLAIN SELECT * FROM spend",
        "SHOW COLUMNS FROM spend",
    ):
        assert front.post(query, reader=True, database=database)[0] == 200, query


CHANGES = [
    "INSERT INTO spend VALUES ('eve', 9)",
    "INSERT INTO spend FORMAT CSV\neve,9\n",
    "INSERT INTO spend SELECT 'eve', 9",
    "WITH 1 AS x INSERT INTO spend SELECT 'eve', x",
    "DROP TABLE spend",
    "/* SELECT */ drop /**/ table spend",
    "SELECT 1; DROP TABLE spend",
    "SELECT 1 ;\n;DROP TABLE spend",
    "SELECT 1 PARALLEL WITH DROP TABLE spend",
    "CREATE TABLE other (n Int8) ENGINE = Memory",
    "CREATE TEMPORARY TABLE other (n Int8)",
    "CREATE VIEW other AS SELECT 1",
    "CREATE FUNCTION f AS x -> x",
    "ALTER TABLE spend DELETE WHERE 1",
    "DELETE FROM spend WHERE 1",
    "UPDATE spend SET tokens = 0 WHERE 1",
    "TRUNCATE TABLE spend",
    "OPTIMIZE TABLE spend",
    "RENAME TABLE spend TO other",
    "SYSTEM SHUTDOWN",
    "SYSTEM FLUSH LOGS",
    "KILL QUERY WHERE 1",
    "SET max_threads = 1",
    "SET readonly = 0",
    "USE default",
    "BACKUP TABLE spend TO File('x')",
    "ATTACH TABLE other",
    "DETACH TABLE spend",
    "GRANT ALL ON *.* TO tollbook_reader",
    "SELECT 1 SETTINGS readonly = 0",
    "SELECT 1 SETTINGS max_threads = 63",
    "SHOW PROCESSLIST",
    "SHOW GRANTS",
    "SELECT * FROM system.processes",
    'SELECT * FROM "system"."processes"',
    "SELECT * FROM `system` . /**/ `processes`",
    "SELECT 1 WHERE 'x' IN (SELECT name FROM system.users)",
    "SELECT 1 WHERE 'x' IN system.server_settings",
    "SELECT sleep(3)",
    "SELECT SLEEPEACHROW(1)",
    "SELECT dictGet('d', 'a', 1)",
]


@pytest.mark.parametrize("query", CHANGES)
def test_anything_else_is_refused(front: Front, client: Client, database: str, spend: str, query: str) -> None:
    status, headers, body = front.post(query, reader=True, database=database)
    assert status in (400, 403), body
    assert headers["X-ClickHouse-Exception-Code"] in ("497", "164", "62"), body
    assert client.query("SELECT count(), sum(tokens) FROM spend").result_rows == [(3, 6)]


ESCAPES = [
    "SELECT * FROM file('{path}', CSV)",
    "SELECT file('{path}')",
    "SELECT FILE ('{path}')",
    "SELECT `file`('{path}')",
    "SELECT \"file\" /* ( */ ('{path}')",
    "SELECT `fi\\x6ce`('{path}')",
    "SELECT arrayMap(x -> file(x), ['{path}'])",
    "SELECT (SELECT (SELECT file('{path}')))",
    "SELECT 1 UNION ALL SELECT length(file('{path}'))",
    "SELECT 1 WHERE 'a' IN (file('{path}'))",
    "SELECT 1 FROM numbers(1) ORDER BY file('{path}')",
    "SELECT * FROM view(SELECT * FROM file('{path}', CSV))",
    "SELECT * FROM (SELECT * FROM file('{path}', CSV)) AS t JOIN numbers(1) ON 1",
    "WITH (SELECT file('{path}')) AS s SELECT s",
    "WITH file('{path}') AS s SELECT s",
    "SELECT * FROM '{path}'",
    "SELECT * FROM `{path}`",
    'SELECT * FROM "{path}"',
    "SELECT * FROM default.`{path}`",
    'SELECT * FROM "default"."{path}"',
    "SELECT * FROM `def\\x61ult`.`{path}`",
    "SELECT * FROM default /* x */ . `{path}`",
    "SELECT default.`{path}`.c1 FROM default.`{path}`",
    "SELECT 1 WHERE 'a' IN default.`{path}`",
    "SELECT * FROM merge('default', '.*')",
    "SELECT * FROM loop(default.`{path}`)",
    "SELECT * FROM loop(default, `{path}`)",
    "SELECT * FROM {{t:Identifier}}",
    "SELECT * FROM {{d:Identifier}}.{{t:Identifier}}",
    "DESCRIBE file('{path}', CSV)",
    "DESCRIBE TABLE default.`{path}`",
    "SHOW COLUMNS FROM `{path}` FROM default",
    "SHOW TABLES FROM default",
    "SHOW CREATE TABLE default.`{path}`",
    "EXISTS TABLE default.`{path}`",
    "EXPLAIN SELECT * FROM file('{path}', CSV)",
    "SELECT 1 INTO OUTFILE '{path}' TRUNCATE",
    "SELECT 1 into/**/outfile '{path}' APPEND",
    "EXPLAIN AST SELECT 1 INTO OUTFILE '{path}' TRUNCATE",
    "EXPLAIN SELECT 1 INTO OUTFILE '{path}' TRUNCATE",
    "SHOW TABLES INTO OUTFILE '{path}' TRUNCATE",
    "DESCRIBE spend INTO OUTFILE '{path}' TRUNCATE",
    "INSERT INTO FUNCTION file('{path}', CSV) SELECT 1",
    "SELECT * FROM url('file://{path}', CSV)",
    "SELECT * FROM s3('http://127.0.0.1:1/x', CSV)",
    "SELECT * FROM remote('127.0.0.1:1', system.one)",
    "SELECT * FROM cluster('default', default.`{path}`)",
    "SELECT * FROM mysql('127.0.0.1:1', 'd', 't', 'u', 'p')",
    "SELECT * FROM postgresql('127.0.0.1:1', 'd', 't', 'u', 'p')",
    "SELECT * FROM sqlite('{path}', 't')",
    "SELECT * FROM hdfs('hdfs://127.0.0.1:1/x', 'CSV')",
    "SELECT * FROM executable('cat', CSV, 'a String')",
    "SELECT * FROM input('a String')",
    "SELECT * FROM python(accounts)",
    "SELECT * FROM Python(accounts)",
    "SELECT * FROM dictionary('d')",
    "SELECT * FROM eval('SELECT 1')",
    "SELECT * FROM filesystem('{path}')",
    "SELECT 1 AS c FORMAT Template SETTINGS format_template_resultset = '{path}', format_template_row = '{path}'",
    "SELECT 1 AS c SETTINGS format_template_resultset = '{path}', format_template_row = '{path}' FORMAT Template",
    "SELECT aiGenerate('x', 'y')",
    "SELECT filesystemAvailable()",
    "SELECT addressToLine(1)",
]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM file('{path}', CSV)",
        "SELECT `fi\\x6ce`('{path}')",
        "SELECT * FROM '{path}'",
        "SELECT * FROM default /* x */ . `{path}`",
        "SELECT * FROM `def\\x61ult`.`{path}`",
        "SELECT * FROM {{d:Identifier}}.{{t:Identifier}}",
    ],
)
def test_the_ways_out_are_open_to_the_owner(front: Front, secret: Path, query: str) -> None:
    status, _, body = front.post(query.format(path=secret), param_t=str(secret), param_d="default")
    assert (status, SECRET.encode() in body) == (200, True), "an escape that works for nobody proves nothing"


@pytest.mark.parametrize("query", ESCAPES)
def test_no_way_out_of_the_data(front: Front, database: str, spend: str, secret: Path, query: str) -> None:
    for arguments in ({}, {"database": database}):
        text = query.format(path=secret)
        status, _, body = front.post(text, reader=True, param_t=str(secret), param_d="default", **arguments)
        assert status in (400, 403, 404), body
        assert SECRET.encode() not in body
    assert secret.read_text() == f"{SECRET}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        {"database": "default"},
        {"database": "system"},
        {"readonly": "0"},
        {"dialect": "prql"},
        {"allow_introspection_functions": "1"},
        {"max_threads = 1, readonly": "0"},
    ],
)
def test_arguments_do_not_help(front: Front, arguments: dict[str, str]) -> None:
    status, headers, _ = front.post("SELECT 1", reader=True, **arguments)
    assert (status, headers["X-ClickHouse-Exception-Code"]) in ((403, "497"), (400, "36"))


def test_harmless_settings_are_taken(front: Front) -> None:
    assert front.post("SELECT getSetting('max_execution_time')", reader=True, max_execution_time="5")[2] == b"5\n"
    assert front.post("SELECT 1", reader=True, default_format="CSV INTO OUTFILE 'x'")[0] == 404


def test_a_wrong_path_leaks_no_content_through_a_format_schema(front: Front, secret: Path) -> None:
    status, _, body = front.post("SELECT 1", reader=True, format_schema=str(secret), default_format="Template")
    assert status in (400, 403)
    assert SECRET.encode() not in body


def test_clickhouse_connect_as_the_reader(front: Front, database: str, spend: str) -> None:
    with front.client(reader=True, database=database) as reader:
        assert reader.query(
            "SELECT sum(tokens) FROM spend WHERE user = {u:String}", parameters={"u": "ann"}
        ).result_rows == [(4,)]
        assert reader.query_df("SELECT * FROM by_user ORDER BY user")["total"].tolist() == [4, 2]
        with pytest.raises(DatabaseError) as refused:
            reader.command("DROP TABLE spend")
        assert refused.value.code == 497
        with pytest.raises(DatabaseError):
            reader.insert("spend", [["eve", 1]], column_names=["user", "tokens"], column_type_names=["String", "Int64"])
