"""What is sent, which failures pass, and which are final."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyarrow as pa
import pytest

from schemas.settings import Settings
from stream_processors.sink.warehouse import AwayError, RefusedError, Warehouse, failure


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        (500, "241", "Code: 241. DB::Exception: Memory limit exceeded"),
        (500, None, "Code: 243. DB::Exception: Cannot reserve 1.00 MiB"),
        (503, None, "busy"),
        (502, None, ""),
        (429, None, "slow down"),
        (200, "394", "Code: 394. DB::Exception: Query was cancelled"),
    ],
)
def test_what_passes(status: int, code: str | None, text: str) -> None:
    assert isinstance(failure(status, code, text), AwayError)


@pytest.mark.parametrize(
    ("status", "code", "text", "number"),
    [
        (404, "60", "Code: 60. DB::Exception: Unknown table", 60),
        (500, "53", "Code: 53. DB::Exception: Type mismatch", 53),
        (403, "516", "Code: 516. DB::Exception: Authentication failed", 516),
        (500, "469", "Code: 469. DB::Exception: Constraint is violated", 469),
        (404, None, "not found", 0),
    ],
)
def test_what_is_final(status: int, code: str | None, text: str, number: int) -> None:
    error = failure(status, code, text)
    assert isinstance(error, RefusedError)
    assert error.code == number


def test_nobody_listening_is_away() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(AwayError, match="ConnectionRefusedError"):
            Warehouse(Settings(clickhouse=address)).run("SELECT 1")


@contextmanager
def warehouse_that(serves: Callable[[socket.socket], object]) -> Iterator[Warehouse]:
    """Over a server that does this with its one connection, then closes it."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                serves(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield Warehouse(Settings(clickhouse=f"http://127.0.0.1:{server.getsockname()[1]}"))
        thread.join()


def take_a_little(connection: socket.socket) -> None:
    connection.recv(1 << 16)


def test_an_answer_cut_off_is_away() -> None:
    with warehouse_that(take_a_little) as warehouse, pytest.raises(AwayError):
        warehouse.run("SELECT 1")


ROWS = pa.record_batch({"n": pa.array(range(500_000)), "name": pa.array(["anna", "ben"] * 250_000).dictionary_encode()})


def test_an_insert_is_one_batch_of_the_length_it_says() -> None:
    taken: list[tuple[int, bytes]] = []

    def take(connection: socket.socket) -> None:
        with connection.makefile("rwb") as stream:
            head = [line.partition(b":") for line in iter(stream.readline, b"\r\n")]
            [length] = [int(value) for name, _, value in head if name == b"Content-Length"]
            taken.append((length, stream.read(length)))
            stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with warehouse_that(take) as warehouse:
        warehouse.insert("usage", ROWS)
    [(length, body)] = taken
    assert len(body) == length > ROWS.nbytes
    assert list(pa.ipc.open_stream(body)) == [ROWS]


def test_an_insert_cut_off_in_the_middle_is_away() -> None:
    lost = r"ConnectionResetError|BrokenPipeError"
    with warehouse_that(take_a_little) as warehouse, pytest.raises(AwayError, match=lost):
        warehouse.insert("usage", ROWS)  # megabytes are still to come


def test_an_insert_that_trickles_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is for the whole request: a server that always takes a little would hold the sink for ever."""
    monkeypatch.setattr("stream_processors.sink.warehouse.SEND_S", 0.5)
    given_up = threading.Event()

    def trickle(connection: socket.socket) -> None:
        while not given_up.wait(0.01):
            connection.recv(1 << 15)

    with warehouse_that(trickle) as warehouse:
        try:
            with pytest.raises(AwayError, match="TimeoutError"):
                warehouse.insert("usage", ROWS)
        finally:
            given_up.set()
