"""The HTTP interface itself: what curl and any other client of ClickHouse sees."""

import gzip
import io
import json
import socket
import struct
import subprocess
import time
import uuid
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clickhouse_connect.driver.client import Client

from .conftest import OWNER_PASSWORD, READER_PASSWORD, Front

QUERY = "SELECT number AS n, concat('it''s ', toString(number)) AS s FROM numbers(3)"
DEADLINE_SECONDS = 30.0


def curl(front: Front, *arguments: str, path: str = "/", data: str | bytes | None = None) -> bytes:
    """What curl prints; raises when it fails."""
    command = ["curl", "-sS", "-u", f"tollbook:{OWNER_PASSWORD}", *arguments, front.url + path]
    if data is not None:
        command += ["--data-binary", "@-"]
    body = data.encode() if isinstance(data, str) else data
    return subprocess.run(command, input=body, capture_output=True, check=True, timeout=60).stdout


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)


def rows_of(output: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.splitlines()]


ROWS = [{"n": number, "s": f"it's {number}"} for number in range(3)]
READERS: dict[str, Callable[[bytes], list[dict[str, object]]]] = {
    "JSON": lambda out: json.loads(out)["data"],
    "JSONEachRow": rows_of,
    "CSVWithNames": lambda out: [
        {"n": int(line.split(",")[0]), "s": line.split(",")[1].strip('"')} for line in out.decode().splitlines()[1:]
    ],
    "TSV": lambda out: [
        {"n": int(line.split("\t")[0]), "s": line.split("\t")[1].replace("\\'", "'")}
        for line in out.decode().splitlines()
    ],
    "Parquet": lambda out: pq.read_table(io.BytesIO(out)).to_pylist(),
    "ArrowStream": lambda out: pa.ipc.open_stream(out).read_all().to_pylist(),
    "Arrow": lambda out: pa.ipc.open_file(out).read_all().to_pylist(),
}


@pytest.mark.parametrize("output_format", READERS)
@pytest.mark.parametrize("way", ["FORMAT", "default_format", "header"])
def test_formats_with_curl(front: Front, output_format: str, way: str) -> None:
    if way == "FORMAT":
        out = curl(front, data=f"{QUERY} FORMAT {output_format};\n-- done")
    elif way == "header":
        out = curl(front, "-H", f"X-ClickHouse-Format: {output_format}", data=QUERY)
    else:
        out = curl(front, path=f"/?default_format={output_format}", data=QUERY)
    assert [{"n": int(str(row["n"])), "s": row["s"]} for row in READERS[output_format](out)] == ROWS


def test_formats_for_people_and_machines(front: Front) -> None:
    assert "it's 2" in curl(front, data=QUERY + " FORMAT Pretty").decode()
    assert curl(front, data="SELECT 1 AS x FORMAT Native") == b"\x01\x01\x01x\x05UInt8\x01"
    assert curl(front, path="/?query=SELECT+1") == b"1\n"
    assert curl(front, path="/?query=SELECT", data="2") == b"2\n"
    assert json.loads(curl(front, data="SHOW DATABASES FORMAT JSON"))["rows"] >= 3


def test_headers_of_an_answer(front: Front) -> None:
    status, headers, _ = front.post("SELECT 1", query_id="abc", wait_end_of_query="1")
    assert status == 200
    assert headers["X-ClickHouse-Query-Id"] == "abc"
    assert headers["X-ClickHouse-Format"] == "TabSeparated"
    assert headers["X-ClickHouse-Timezone"] == "UTC"
    assert json.loads(headers["X-ClickHouse-Summary"])["read_rows"] == "1"
    assert curl(front, "--head", path="/?query=SELECT+1").startswith(b"HTTP/1.1 200")


def test_ping_needs_no_password(front: Front) -> None:
    for path in ("/ping", "/replicas_status", "/"):
        assert subprocess.check_output(["curl", "-sS", front.url + path]) == b"Ok.\n"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-ClickHouse-User": "tollbook", "X-ClickHouse-Key": "guess"},
        {"X-ClickHouse-User": "tollbook", "X-ClickHouse-Key": READER_PASSWORD},
        {"X-ClickHouse-User": "default", "X-ClickHouse-Key": ""},
        {"X-ClickHouse-User": "tollbook", "X-ClickHouse-Key": ""},
    ],
)
def test_wrong_credentials_are_refused(front: Front, headers: dict[str, str]) -> None:
    status, answered, body = front.post("SELECT 1", headers=headers)
    assert (status, answered["X-ClickHouse-Exception-Code"]) == (403, "516")
    assert body.startswith(b"Code: 516. DB::Exception: ")


def test_credentials_by_basic_header_url_and_none(front: Front) -> None:
    address = front.url + "/?query=SELECT+1"
    basic = "Authorization: Basic " + b64encode(f"tollbook:{OWNER_PASSWORD}".encode()).decode()
    assert subprocess.check_output(["curl", "-sS", "-H", basic, address]) == b"1\n"
    asked = f"{address}&user=tollbook&password=owner%27s%20password"
    assert subprocess.check_output(["curl", "-sS", asked]) == b"1\n"
    assert b"Code: 516" in subprocess.check_output(["curl", "-sS", address])
    assert b"Code: 516" in subprocess.check_output(["curl", "-sS", "-H", "Authorization: Basic ///", address])


def test_only_loopback_listens(front: Front) -> None:
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} | {"127.0.0.2"}
    for address in others - {"127.0.0.1"}:
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((address, front.port), timeout=2)


def test_get_changes_nothing(front: Front, database: str) -> None:
    out = curl(front, path=f"/?query=CREATE+TABLE+{database}.t+(n+Int8)+ENGINE=Memory")
    assert out.startswith(b"Code: 164.")


@pytest.mark.parametrize(
    ("query", "arguments", "status", "code"),
    [
        ("", {}, 400, 62),
        ("SELECT 1; SELECT 2", {}, 400, 62),
        ("SELECT 1 INTO OUTFILE 'x'", {}, 400, 294),
        ("SHOW TABLES INTO OUTFILE 'x'", {}, 400, 294),
        ("SELECT nothing", {}, 404, 47),
        ("SELECT 1 FORMAT Nonsense", {}, 404, 73),
        ("SELECT 1", {"default_format": "no such"}, 404, 73),
        ("SELECT 1", {"database": "no_such"}, 404, 81),
        ("SELECT 1", {"no_such_setting": "1"}, 404, 115),
        ("SELECT 1", {"bad setting": "1"}, 400, 36),
        ("SELECT 1", {"session_timeout": "soon"}, 400, 36),
        ("SELECT 1", {"session_id": "unknown", "session_check": "1"}, 404, 372),
        ("SELECT 1", {"compress": "1"}, 501, 48),
        ("SELECT {x:Int64}", {"param_x": "one"}, 400, 457),
    ],
)
def test_errors_have_status_code_and_text(
    front: Front, query: str, arguments: dict[str, str], status: int, code: int
) -> None:
    answered, headers, body = front.post(query, **arguments)
    assert (answered, headers["X-ClickHouse-Exception-Code"]) == (status, str(code))
    assert body.startswith(f"Code: {code}. DB::Exception: ".encode())
    assert body.count(b"DB::Exception") == 1


def test_an_error_in_mid_answer_breaks_it(front: Front) -> None:
    query = "SELECT throwIf(number = 3000000, 'too far') FROM numbers(10000000)"
    command = ["curl", "-sS", "-u", f"tollbook:{OWNER_PASSWORD}", front.url, "--data-binary", query]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 18, "curl takes the answer for whole"
    assert b"Code: 395" in done.stdout[-1000:]
    waited, _, body = front.post(query, wait_end_of_query="1")
    assert (waited, body[:9]) == (500, b"Code: 395")


def test_compressed_body_and_answer(front: Front) -> None:
    status, headers, body = front.post(
        gzip.compress(QUERY.encode()),
        headers={"Content-Encoding": "gzip", "Accept-Encoding": "gzip, deflate"},
        enable_http_compression="1",
    )
    assert (status, headers["Content-Encoding"]) == (200, "gzip")
    assert gzip.decompress(body).startswith(b"0\tit\\'s 0\n")
    assert "Content-Encoding" not in front.post(QUERY, headers={"Accept-Encoding": "gzip"})[1]
    assert front.post(b"not gzip", headers={"Content-Encoding": "gzip"})[2].startswith(b"Code: 271")
    assert front.post(gzip.compress(b"SELECT 1")[:-3], headers={"Content-Encoding": "gzip"})[0] == 400
    assert front.post(b"SELECT 1", headers={"Content-Encoding": "rot13"})[2].startswith(b"Code: 271")


INSERTED = [
    ("CSV", b"1,a\n2,b\n"),
    ("TSV", b"1\ta\n2\tb\n"),
    ("JSONEachRow", b'{"n":1,"s":"a"}\n{"n":2,"s":"b"}\n'),
    ("Values", b"(1,'a'),(2,'b')"),
    ("Native", b"\x02\x02\x01n\x05Int64" + struct.pack("<qq", 1, 2) + b"\x01s\x06String\x01a\x01b"),
]  # fmt: skip


@pytest.mark.parametrize(("input_format", "data"), INSERTED)
@pytest.mark.parametrize("way", ["body", "url"])
def test_inserts_in_formats(
    front: Front, client: Client, database: str, input_format: str, data: bytes, way: str
) -> None:
    client.command("CREATE TABLE t (n Int64, s String) ENGINE = MergeTree ORDER BY n")
    statement = f"INSERT INTO t (n, s) SETTINGS max_threads = 1 FORMAT {input_format}"
    if way == "url":
        status, headers, _ = front.post(data, query=statement, database=database)
    else:
        status, headers, _ = front.post(statement.encode() + b"\n" + data, database=database)
    assert status == 200
    assert json.loads(headers["X-ClickHouse-Summary"])["written_rows"] == "2"
    assert client.query("SELECT * FROM t ORDER BY n").result_rows == [(1, "a"), (2, "b")]


def test_an_insert_cut_in_mid_body_inserts_nothing(front: Front, client: Client, database: str) -> None:
    client.command("CREATE TABLE t (n Int64) ENGINE = MergeTree ORDER BY n")
    credentials = b64encode(f"tollbook:{OWNER_PASSWORD}".encode())
    spool = front.data_dir / "spool"
    with socket.create_connection(("127.0.0.1", front.port)) as connection:
        connection.sendall(
            b"POST /?database=%b HTTP/1.1\r\nHost: x\r\nAuthorization: Basic %b\r\nContent-Length: 1000000\r\n\r\n"
            b"INSERT INTO t FORMAT CSV\n" % (database.encode(), credentials) + b"1\n" * 200_000
        )
        wait_until(lambda: any(file.stat().st_size >= 400_000 for file in spool.iterdir()), "the body's first half")
    wait_until(lambda: not any(spool.iterdir()), "the spooled half removed")
    assert client.command("SELECT count() FROM t") == 0


def test_sessions_are_locked_while_in_use(front: Front) -> None:
    name = str(uuid.uuid4())
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(front.post, "SELECT sleepEachRow(1) FROM numbers(2)", session_id=name)
        wait_until(lambda: b"sleepEachRow" in front.post("SELECT query FROM system.processes")[2], "the query running")
        assert front.post("SELECT 1", session_id=name)[2].startswith(b"Code: 373")
        assert front.post("SELECT 1", session_id=name + "b")[0] == 200
        assert slow.result()[0] == 200
    assert front.post("SELECT 1", session_id=name, session_check="1")[0] == 200


def test_sessions_end_after_their_time_out(front: Front) -> None:
    name = str(uuid.uuid4())
    assert front.post("CREATE TEMPORARY TABLE mine (n Int8)", session_id=name, session_timeout="0")[0] == 200
    wait_until(
        lambda: front.post("SELECT 1", session_id=name, session_check="1", session_timeout="0")[0] == 404,
        "the session's end",
    )


@pytest.mark.parametrize("what", ["sum(cityHash64(number))", "number"])
def test_a_select_ends_when_its_client_goes(front: Front, client: Client, what: str) -> None:
    number = str(10**14 + uuid.uuid4().int % 10**12)
    running = "SELECT count() FROM system.processes WHERE position(query, concat({a:String}, {b:String})) > 0"

    def count() -> object:
        return client.command(running, parameters={"a": number[:5], "b": number[5:]})

    query = f"SELECT {what} FROM numbers({number})"
    command = ["curl", "-s", "-u", f"tollbook:{OWNER_PASSWORD}", front.url, "--data-binary", query]
    leaving = subprocess.Popen(command, stdout=subprocess.PIPE)
    wait_until(lambda: count() == 1, "the query running")
    leaving.kill()
    leaving.communicate()
    wait_until(lambda: count() == 0, "the query's end")


def test_mixed_queries_of_eight_threads(front: Front, client: Client, database: str) -> None:
    client.command("CREATE TABLE t (thread Int64, n Int64) ENGINE = MergeTree ORDER BY (thread, n)")
    rounds, batch = 20, 500

    def work(thread: int) -> None:
        with front.client(database=database) as own:
            for step in range(rounds):
                rows = [[thread, step * batch + number] for number in range(batch)]
                own.insert("t", rows, column_names=["thread", "n"], settings={"max_threads": 1 + thread % 2})
                counted = own.query("SELECT count(), max(n) FROM t WHERE thread = {t:Int64}", parameters={"t": thread})
                assert counted.result_rows == [((step + 1) * batch, (step + 1) * batch - 1)]
                assert (
                    own.command("SELECT getSetting('max_threads')", settings={"max_threads": thread + 1}) == thread + 1
                )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert client.query("SELECT count(), uniqExact(thread, n) FROM t").result_rows == [(8 * rounds * batch,) * 2]


def test_restart_and_kill_keep_what_was_answered(new_front: Callable[[], Front]) -> None:
    front = new_front()
    assert front.post("CREATE TABLE t (n Int64) ENGINE = MergeTree ORDER BY n")[0] == 200
    for count, number in ((1, 15), (2, 9)):
        assert front.post(f"INSERT INTO t VALUES ({count})")[0] == 200
        assert front.end(number) == (0 if number == 15 else -9)
        front.start()
        assert front.post("SELECT count() FROM t")[2] == f"{count}\n".encode()


def test_a_running_query_ends_before_the_front_does(new_front: Callable[[], Front]) -> None:
    front = new_front()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(front.post, "SELECT sleepEachRow(1) FROM numbers(2) SETTINGS max_block_size = 1")
        wait_until(lambda: b"sleepEachRow" in front.post("SELECT query FROM system.processes")[2], "the query running")
        assert front.end() == 0
        assert slow.result()[0] == 200


def test_a_second_front_on_the_directory_says_why_not(front: Front) -> None:
    second = front.command("--port", "1")
    output = second.communicate(timeout=60)[0].decode()
    assert second.returncode == 1
    assert "Code: 36" in output
    assert "open in another process" in output
    assert front.post("SELECT 1")[2] == b"1\n"


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"TOLLBOOK_CLICKHOUSE_PASSWORD": ""}, "TOLLBOOK_CLICKHOUSE_PASSWORD is not set"),
        ({"TOLLBOOK_CLICKHOUSE": "http://10.0.0.1:8123"}, "127.0.0.1 only"),
    ],
)
def test_unsafe_settings_are_refused(front: Front, tmp_path: Path, variables: dict[str, str], reason: str) -> None:
    refused = front.command("--path", str(tmp_path), **variables)
    assert reason in refused.communicate(timeout=60)[0].decode()
    assert refused.returncode == 2


def test_faults_on_request(front: Front, client: Client, database: str) -> None:
    client.command("CREATE TABLE t (n Int64) ENGINE = MergeTree ORDER BY n")

    def insert() -> int:
        return front.post("INSERT INTO t FORMAT CSV\n1\n", database=database)[0]

    front.fault("error500", count=2)
    assert [insert(), insert(), insert()] == [500, 500, 200]
    front.fault("disk_full")
    assert front.post("INSERT INTO t VALUES (1)", database=database)[2].startswith(b"Code: 243")
    assert client.command("SELECT count() FROM t") == 1
    front.fault("cut_after_commit")
    with pytest.raises(OSError, match=r"(?i)closed|reset"):
        insert()
    assert client.command("SELECT count() FROM t") == 2
    front.fault("error500", table="another")
    assert insert() == 200
    front.fault("error500", table="t")
    assert [insert(), insert()] == [500, 200]
    front.fault("space", count=5)
    assert [insert(), insert(), insert()] == [200, 200, 500]
    front.fault("none")
    assert insert() == 200
    front.fault("stall")
    with ThreadPoolExecutor(1) as pool:
        stalled = pool.submit(insert)
        wait_until(lambda: any((front.data_dir / "spool").iterdir()), "the insert waiting")
        assert not stalled.done()
        front.fault("none")
        assert stalled.result() == 200
    assert front.post("", path="/fault", mode="stall", reader=True)[0] == 403
    assert front.post("", path="/fault", mode="unknown")[0] == 400
