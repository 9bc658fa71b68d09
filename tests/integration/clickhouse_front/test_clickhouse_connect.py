"""clickhouse-connect's public behaviours, unchanged, against the front."""

import asyncio
import uuid
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import clickhouse_connect
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.compression import get_compressor
from clickhouse_connect.driver.exceptions import DatabaseError, ProgrammingError

from .conftest import OWNER_PASSWORD, Front

UTC = ZoneInfo("UTC")
MOMENT = datetime(2026, 7, 3, 4, 5, 6, 123456, tzinfo=UTC)
ID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")

# One value of each type the schema uses, at an edge where it has one, and how the client gives it back.
TYPES = [
    ("String", "it's\ta\nrow \\ ü €", None),
    ("String", "", None),
    ("LowCardinality(String)", "gpt-5", None),
    ("FixedString(4)", b"\x00\x01\xff\xfe", None),
    ("UUID", ID, None),
    ("Int8", -128, None),
    ("Int16", -32768, None),
    ("Int32", -(2**31), None),
    ("Int64", -(2**63), None),
    ("Int64", 2**63 - 1, None),
    ("Int128", -(2**127), None),
    ("Int128", 2**127 - 1, None),
    ("UInt8", 255, None),
    ("UInt16", 65535, None),
    ("UInt32", 2**32 - 1, None),
    ("UInt64", 2**64 - 1, None),
    ("Float64", 0.1, None),
    ("Bool", True, None),
    ("Decimal(38, 12)", Decimal("12345678901234567890123456.000000000001"), None),
    ("Decimal(38, 12)", Decimal("-0.000000000001"), None),
    ("DateTime", datetime(2026, 7, 3, 4, 5, 6, tzinfo=UTC), datetime(2026, 7, 3, 4, 5, 6)),
    ("DateTime64(6, 'UTC')", MOMENT, MOMENT.replace(tzinfo=None)),
    ("Date", date(2026, 7, 3), None),
    ("Nullable(String)", None, None),
    ("Nullable(Int64)", None, None),
    ("Nullable(Int64)", 7, None),
    ("Nullable(Decimal(38, 12))", None, None),
    ("Nullable(Decimal(38, 12))", Decimal("1.500000000000"), None),
    ("Nullable(DateTime64(6, 'UTC'))", None, None),
    ("Nullable(UUID)", ID, None),
    ("LowCardinality(Nullable(String))", None, None),
    ("Array(String)", ["a", "it's"], None),
    ("Array(Int64)", [], None),
    ("Array(Tuple(gate String, passed Bool))", [("tests", True)], [{"gate": "tests", "passed": True}]),
    ("Map(LowCardinality(String), Int64)", {"web_search": 3, "image": -1}, None),
    ("Enum8('usage' = 1, 'final' = 3)", "final", None),
]  # fmt: skip


@pytest.mark.parametrize(("type_name", "value", "given_back"), TYPES)
def test_every_type_comes_back_as_it_was_inserted(
    client: Client, type_name: str, value: object, given_back: object
) -> None:
    client.command(f"CREATE TABLE kept (v {type_name}) ENGINE = MergeTree ORDER BY tuple()")
    client.insert("kept", [[value]], column_names=["v"])

    [(found,)] = client.query("SELECT v FROM kept").result_rows

    assert found == (value if given_back is None else given_back)


def make_table(client: Client) -> None:
    client.command(
        "CREATE TABLE spend (user String, tokens Int64, cost Decimal(38, 12)) ENGINE = MergeTree ORDER BY user"
    )


ROWS = [("ann", 10, Decimal("0.000000000001")), ("bob", -3, Decimal("2.5")), ("o'neil", 0, Decimal("0"))]


def test_rows_columns_and_summaries(client: Client) -> None:
    make_table(client)

    summary = client.insert("spend", ROWS, column_names=["user", "tokens", "cost"])

    assert summary.written_rows == 3
    result = client.query("SELECT * FROM spend ORDER BY user")
    assert result.result_rows == ROWS
    assert result.column_names == ("user", "tokens", "cost")
    assert result.summary["read_rows"] == "3"
    assert client.query("SELECT * FROM spend LIMIT 0").column_names == ("user", "tokens", "cost")


def test_data_frames(client: Client) -> None:
    make_table(client)
    frame = pd.DataFrame({"user": ["ann", "bob"], "tokens": [10, 20], "cost": [Decimal("1.25"), Decimal("2.5")]})

    client.insert_df("spend", frame)

    found = client.query_df("SELECT * FROM spend ORDER BY user")
    assert found["user"].tolist() == ["ann", "bob"]
    assert found["tokens"].tolist() == [10, 20]
    assert found["cost"].tolist() == [Decimal("1.25"), Decimal("2.5")]


def test_arrow_tables_both_ways(client: Client) -> None:
    make_table(client)
    table = pa.table(
        {
            "user": pa.array(["ann", "bob", "ann"]).dictionary_encode(),
            "tokens": pa.array([1, 2, 3], pa.int64()),
            "cost": pa.array([Decimal("0.000000000001")] * 3, pa.decimal128(38, 12)),
        }
    )

    client.insert_arrow("spend", table)

    found = client.query_arrow(
        "SELECT user, sum(tokens) AS tokens, sum(cost) AS cost FROM spend GROUP BY user ORDER BY user"
    )
    assert found.column("user").to_pylist() == ["ann", "bob"]
    assert found.column("tokens").to_pylist() == [4, 2]
    assert found.column("cost").to_pylist() == [Decimal("0.000000000002"), Decimal("0.000000000001")]
    assert client.query_arrow("SELECT * FROM spend LIMIT 0").column_names == ["user", "tokens", "cost"]
    with client.query_arrow_stream("SELECT number FROM numbers(300000)") as batches:
        assert sum(batch.num_rows for batch in batches) == 300_000


def test_one_arrow_batch_is_one_part(client: Client) -> None:
    client.command("CREATE TABLE big (n Int64) ENGINE = MergeTree ORDER BY n")

    client.insert_arrow("big", pa.table({"n": np.arange(1_000_000)}))

    parts = "SELECT rows FROM system.parts WHERE database = currentDatabase() AND table = 'big' AND active"
    assert client.query(parts).result_rows == [(1_000_000,)]


def test_numpy(client: Client) -> None:
    found = client.query_np("SELECT number, number * 0.5 AS half FROM numbers(4)")
    assert found["half"].tolist() == [0.0, 0.5, 1.0, 1.5]


def test_blocks_are_streamed(client: Client) -> None:
    with client.query_row_block_stream("SELECT number FROM numbers(500000)") as blocks:
        sizes = [len(block) for block in blocks]
    assert sum(sizes) == 500_000
    assert len(sizes) > 1


def test_raw_queries_and_inserts(client: Client) -> None:
    make_table(client)

    client.raw_insert("spend", ["user", "tokens", "cost"], b"ann,1,0.5\nbob,2,1\n", fmt="CSV")

    assert client.raw_query("SELECT user, tokens FROM spend ORDER BY user", fmt="TSV") == b"ann\t1\nbob\t2\n"
    stream = client.raw_stream("SELECT number FROM numbers(200000)", fmt="TSV")
    assert stream.read().count(b"\n") == 200_000


@pytest.mark.parametrize("compression", ["gzip", "lz4", "zstd", "deflate"])
def test_compressed_bodies(client: Client, compression: str) -> None:
    make_table(client)
    rows = b"".join(b"user%d,%d,0.5\n" % (number, number) for number in range(50_000))
    if compression == "deflate":
        body = zlib.compress(rows)
    else:
        compressor = get_compressor(compression)
        halves = rows[: len(rows) // 2], rows[len(rows) // 2 :]
        body = b"".join(compressor.compress_block(half) for half in halves) + (compressor.flush() or b"")

    client.raw_insert("spend", ["user", "tokens", "cost"], body, fmt="CSV", compression=compression)

    assert client.query("SELECT count(), sum(tokens) FROM spend").result_rows == [(50_000, sum(range(50_000)))]


@pytest.mark.parametrize("compress", ["lz4", "zstd", "gzip", False])
def test_compressed_answers_and_inserts(front: Front, database: str, compress: str | bool) -> None:
    with front.client(database=database, compress=compress) as client:
        make_table(client)
        client.insert("spend", [("u", number, Decimal(1)) for number in range(20_000)])
        assert len(client.query("SELECT * FROM spend").result_rows) == 20_000


PARAMETERS = [
    ("String", 'it\'s "quoted" \\ back`tick` {braces} -- ; /*', None),
    ("String", "tab\tnew\nline", None),
    ("String", "", None),
    ("Int64", -(2**63), None),
    ("Decimal(38, 12)", Decimal("0.000000000001"), None),
    ("Date", date(2026, 2, 28), None),
    ("DateTime64(6, 'UTC')", MOMENT, MOMENT.replace(tzinfo=None)),
    ("Array(String)", ["a", "it's", "c,d"], None),
    ("Array(Int64)", [1, -2], None),
    ("Nullable(Int64)", None, None),
    ("UUID", ID, None),
    ("Bool", True, None),
]


@pytest.mark.parametrize(("type_name", "value", "given_back"), PARAMETERS)
def test_parameters_are_bound_by_the_server(client: Client, type_name: str, value: object, given_back: object) -> None:
    result = client.query(f"SELECT {{x:{type_name}}} AS x", parameters={"x": value})
    assert result.result_rows == [(value if given_back is None else given_back,)]


def test_parameters_too_long_for_a_url_come_in_a_form(client: Client) -> None:
    words = [f"word {number}'s" for number in range(20_000)]
    assert client.query("SELECT length({w:Array(String)})", parameters={"w": words}).result_rows == [(20_000,)]


def test_parameters_are_bound_by_the_client_too(client: Client) -> None:
    assert client.query("SELECT %s, %s", parameters=("it's", 3)).result_rows == [("it's", 3)]


def test_commands(client: Client) -> None:
    make_table(client)
    assert client.command("SELECT count() FROM spend") == 0
    assert client.command("EXISTS TABLE spend") == 1
    assert client.command("SHOW TABLES") == "spend"
    client.command("INSERT INTO spend VALUES ('ann', 1, 0.5), ('it''s; FORMAT CSV', 2, 1)")
    client.command("INSERT INTO spend SELECT user, tokens + 10, cost FROM spend")
    assert client.command("SELECT sum(tokens) FROM spend") == 26
    client.command("INSERT INTO spend FORMAT CSV", data="carl,5,1\n")
    assert client.command("SELECT tokens FROM spend WHERE user = 'carl'") == 5
    client.command("DROP TABLE spend")
    assert client.command("EXISTS TABLE spend") == 0


def test_settings_of_a_request_end_with_it(front: Front, database: str) -> None:
    ask = "SELECT getSetting('max_block_size')"
    for session in (True, False):
        with front.client(database=database, autogenerate_session_id=session) as client:
            before = client.command(ask)
            assert client.command(ask, settings={"max_block_size": 77}) == 77
            with pytest.raises(DatabaseError):
                client.command("SELECT throwIf(1)", settings={"max_block_size": 78})
            assert client.command(ask) == before


def test_settings_of_a_session_last(front: Front, database: str) -> None:
    with front.client(database=database) as client, front.client(database=database) as other:
        client.command("SET max_block_size = 99")
        assert client.command("SELECT getSetting('max_block_size')", settings={"max_block_size": 5}) == 5
        assert client.command("SELECT getSetting('max_block_size')") == 99
        assert other.command("SELECT getSetting('max_block_size')") != 99


def test_temporary_tables_and_use_last_for_a_session(front: Front, database: str) -> None:
    with front.client() as client, front.client() as other:
        client.command("CREATE TEMPORARY TABLE mine (n Int64)")
        client.insert("mine", [[1], [2]], column_names=["n"], column_type_names=["Int64"])
        client.command(f"USE {database}")
        assert client.command("SELECT sum(n) FROM mine") == 3
        assert client.command("SELECT currentDatabase()") == database
        with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
            other.command("SELECT sum(n) FROM mine")


def test_errors_carry_the_engines_code(client: Client) -> None:
    with pytest.raises(DatabaseError) as unknown:
        client.query("SELECT * FROM nothing_here")
    assert unknown.value.code == 60
    with pytest.raises(DatabaseError) as syntax:
        client.command("SELEKT 1 FROM")
    assert syntax.value.code == 62
    with pytest.raises(DatabaseError) as setting:
        client.command("SELECT 1", settings={"max_threads": "many"})
    assert setting.value.code in (6, 27)
    assert client.command("SELECT 1") == 1


def test_an_error_after_a_part_of_the_result_is_raised(client: Client) -> None:
    query = "SELECT throwIf(number = 3000000, 'too far') AS n FROM numbers(10000000)"
    with pytest.raises(Exception, match="too far"), client.query_row_block_stream(query) as blocks:
        for _ in blocks:
            pass


def test_a_wrong_value_inserts_nothing(client: Client) -> None:
    make_table(client)
    rows = b"ann,1,0.5\n" * 10_000 + b"bob,not a number,1\n"
    with pytest.raises(DatabaseError):
        client.raw_insert("spend", ["user", "tokens", "cost"], rows, fmt="CSV")
    assert client.command("SELECT count() FROM spend") == 0


def test_wrong_password_is_refused(front: Front) -> None:
    with pytest.raises((DatabaseError, ProgrammingError), match="516"):
        clickhouse_connect.get_client(host="127.0.0.1", port=front.port, username="tollbook", password="guess")


def test_insert_tokens_count_a_repeat_once(client: Client) -> None:
    client.command(
        "CREATE TABLE once (n Int64) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 100"
    )
    for _ in range(2):
        client.insert("once", [[1], [2]], column_names=["n"], settings={"insert_deduplication_token": "block-7"})
    assert client.command("SELECT count() FROM once") == 2


@pytest.mark.parametrize("async_insert", [0, 1])
def test_asynchronous_inserts_are_there_when_answered(client: Client, async_insert: int) -> None:
    make_table(client)
    client.insert("spend", ROWS, settings={"async_insert": async_insert, "wait_for_async_insert": 1})
    assert client.command("SELECT count() FROM spend") == 3


def test_the_asynchronous_client(front: Front, database: str) -> None:
    # In a thread of its own: the browser tests may keep a loop running in this one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, _ask_asynchronously(front, database)).result()


async def _ask_asynchronously(front: Front, database: str) -> None:
    client = await clickhouse_connect.get_async_client(
        host="127.0.0.1", port=front.port, username="tollbook", password=OWNER_PASSWORD, database=database
    )
    async with client:
        await client.command("CREATE TABLE t (n Int64) ENGINE = MergeTree ORDER BY n")
        await client.insert_arrow("t", pa.table({"n": [1, 2, 3]}))
        assert (await client.query("SELECT sum(n) FROM t")).result_rows == [(6,)]
