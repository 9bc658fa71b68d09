"""ClickHouse over HTTP, one request a call and never a hidden retry.

A client library that repeats an INSERT whose answer was cut off would double rows behind our back; here every
failure reaches the caller, who reads back before it repeats (see `landing.py`).
"""

import http.client
import io
import re
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import pyarrow as pa

from schemas.settings import Settings

CONNECT_S = 5.0
SEND_S = 5.0  # for the whole request
ANSWER_S = 120.0  # well below Kafka's max.poll.interval.ms, so that a stalled insert does not cost the partitions

#: Codes of errors that pass without anybody changing the data or the tables. All others are final.
TRANSIENT_CODES = frozenset(
    {
        159,  # TIMEOUT_EXCEEDED
        160,  # TOO_SLOW
        202,  # TOO_MANY_SIMULTANEOUS_QUERIES
        203,  # NO_FREE_CONNECTION
        209,  # SOCKET_TIMEOUT
        210,  # NETWORK_ERROR
        225,  # NO_ZOOKEEPER
        236,  # ABORTED
        241,  # MEMORY_LIMIT_EXCEEDED
        242,  # TABLE_IS_READ_ONLY (a replica without its keeper)
        243,  # NOT_ENOUGH_SPACE
        252,  # TOO_MANY_PARTS (of merges behind; the limit of partitions an insert is lifted)
        279,  # ALL_CONNECTION_TRIES_FAILED
        285,  # TOO_FEW_LIVE_REPLICAS
        286,  # UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
        319,  # UNKNOWN_STATUS_OF_INSERT
        373,  # SESSION_IS_LOCKED
        394,  # QUERY_WAS_CANCELLED
        425,  # SYSTEM_ERROR
        439,  # CANNOT_SCHEDULE_TASK
        473,  # DEADLOCK_AVOIDED
        745,  # SERVER_OVERLOADED
        999,  # KEEPER_EXCEPTION
        1001,  # STD_EXCEPTION
        1002,  # UNKNOWN_EXCEPTION
    }
)
_CODE_IN_TEXT = re.compile(r"Code: (\d+)")
# The buffers go uncompressed: on one machine copying is cheaper than lz4, measured.
_WRITE = pa.ipc.IpcWriteOptions(use_threads=False)
_BUFFER_BYTES = 1 << 18  # what is larger, as a batch's columns, passes by


class AwayError(Exception):
    """ClickHouse did not answer, or says it cannot now. Whether the statement ran is unknown: read back, try again."""


class RefusedError(Exception):
    """ClickHouse refuses for good: trying the same again cannot help. `code` is ClickHouse's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Warehouse:
    """The ledger's database. Every call raises AwayError or RefusedError."""

    def __init__(self, settings: Settings) -> None:
        self._address = urlsplit(settings.clickhouse)
        self._database = settings.clickhouse_database
        self._headers = {
            "X-ClickHouse-User": settings.clickhouse_user,
            "X-ClickHouse-Key": settings.clickhouse_password.get_secret_value(),
        }

    def run(self, sql: str, settings: Mapping[str, str | int] | None = None, database: str | None = None) -> bytes:
        """Runs one statement, in `database` instead of the ledger's when given; what it printed."""
        chosen = self._database if database is None else database
        return self._ask({"database": chosen, **(settings or {})}, sql)

    def select(self, sql: str, names_coded: bool = False, /, **parameters: str | int) -> pa.Table:
        """The rows of a SELECT; `{name:Type}` in it stands for a parameter.

        `names_coded`: columns of LowCardinality come as dictionaries.
        """
        arguments: dict[str, str | int] = {
            "database": self._database,
            "default_format": "ArrowStream",
            "output_format_arrow_string_as_string": 1,
            "output_format_arrow_low_cardinality_as_dictionary": int(names_coded),
            "output_format_arrow_use_signed_indexes_for_dictionary": 1,
        }
        named = {f"param_{name}": value for name, value in parameters.items()}
        return pa.ipc.open_stream(self._ask(arguments | named, sql)).read_all()

    def insert(self, table: str, rows: pa.RecordBatch, settings: Mapping[str, str | int] | None = None) -> None:
        """Inserts one record batch, which ClickHouse takes as one block; nothing to do when it has no rows."""
        if not rows.num_rows:
            return
        columns = ", ".join(f"`{name}`" for name in rows.schema.names)
        sql = f"INSERT INTO `{table}` ({columns}) FORMAT ArrowStream"

        def body(out: Any) -> None:
            with pa.ipc.new_stream(out, rows.schema, options=_WRITE) as writer:
                writer.write_batch(rows)

        self._post({"database": self._database, "query": sql, **(settings or {})}, body)

    def _ask(self, arguments: Mapping[str, str | int], sql: str) -> bytes:
        statement = sql.encode()
        return self._post(arguments, lambda out: out.write(statement))

    def _post(self, arguments: Mapping[str, str | int], body: Callable[[Any], object]) -> bytes:
        """`body` writes what is sent into a file, twice: first to know its size, then straight into the connection.

        A batch has tens of megabytes: memory for another copy of it costs more than the rest of the sink's work.
        """
        size = pa.MockOutputStream()
        body(size)
        connection = self._connect()
        try:
            connection.putrequest("POST", f"/?{urlencode(arguments)}")
            for name, value in (self._headers | {"Content-Length": str(size.size())}).items():
                connection.putheader(name, value)
            connection.endheaders()
            with io.BufferedWriter(_Sending(connection.sock, SEND_S), _BUFFER_BYTES) as out:
                body(out)
            connection.sock.settimeout(ANSWER_S)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise AwayError(f"ClickHouse at {self._address.netloc}: {error!r}") from error
        finally:
            connection.close()
        code = answer.headers.get("X-ClickHouse-Exception-Code")
        if answer.status != http.client.OK or code:
            raise failure(answer.status, code, text.decode(errors="replace"))
        return text

    def _connect(self) -> http.client.HTTPConnection:
        secure = self._address.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        port = self._address.port or (8443 if secure else 8123)
        return kind(self._address.hostname or "127.0.0.1", port, timeout=CONNECT_S)


class _Sending(io.RawIOBase):
    """A connected socket as a file that takes everything within so many seconds, however slowly the other side reads.

    Raises TimeoutError afterwards, also at once when it is closed with something unsent.
    """

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._socket = connection
        self._deadline = time.monotonic() + seconds

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request was not taken in time")
        self._socket.settimeout(left)
        return self._socket.send(data)


def failure(status: int, code: str | None, text: str) -> AwayError | RefusedError:
    """What an answer other than 200 means: by ClickHouse's code, else by the HTTP status (5xx and 429 pass)."""
    found = _CODE_IN_TEXT.search(text)
    number = int(code) if code and code.isdigit() else int(found[1]) if found else 0
    message = text.strip()[:1000] or f"HTTP status {status}"
    if number in TRANSIENT_CODES or (not number and (status >= 500 or status == 429)):
        return AwayError(message)
    return RefusedError(number, message)
