"""What is sent, which failures pass, and which are final."""

import socket
import threading

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


def test_an_answer_cut_off_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings = Settings(clickhouse=f"http://127.0.0.1:{server.getsockname()[1]}")

        def cut() -> None:
            connection, _ = server.accept()
            connection.recv(1 << 16)
            connection.close()

        thread = threading.Thread(target=cut)
        thread.start()
        with pytest.raises(AwayError):
            Warehouse(settings).run("SELECT 1")
        thread.join()


ROWS = pa.record_batch({"n": pa.array(range(500_000)), "name": pa.array(["anna", "ben"] * 250_000).dictionary_encode()})


def test_an_insert_is_one_batch_of_the_length_it_says() -> None:
    taken: list[tuple[int, bytes]] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings = Settings(clickhouse=f"http://127.0.0.1:{server.getsockname()[1]}")

        def take() -> None:
            connection, _ = server.accept()
            with connection, connection.makefile("rwb") as stream:
                head = [line.partition(b":") for line in iter(stream.readline, b"\r\n")]
                [length] = [int(value) for name, _, value in head if name == b"Content-Length"]
                taken.append((length, stream.read(length)))
                stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=take)
        thread.start()
        Warehouse(settings).insert("usage", ROWS)
        thread.join()
    [(length, body)] = taken
    assert len(body) == length > ROWS.nbytes
    assert list(pa.ipc.open_stream(body)) == [ROWS]


def test_an_insert_cut_off_in_the_middle_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings = Settings(clickhouse=f"http://127.0.0.1:{server.getsockname()[1]}")

        def cut() -> None:
            connection, _ = server.accept()
            connection.recv(1 << 16)
            connection.close()  # megabytes are still to come

        thread = threading.Thread(target=cut)
        thread.start()
        with pytest.raises(AwayError, match=r"ConnectionResetError|BrokenPipeError"):
            Warehouse(settings).insert("usage", ROWS)
        thread.join()
