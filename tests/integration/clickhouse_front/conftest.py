"""The real ClickHouse front, once a run, on a free port and in a directory of its own."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

OWNER_PASSWORD, READER_PASSWORD = "owner's password", "reader's password"
START_SECONDS = 60.0


@dataclass(slots=True)
class Front:
    """A running front; `start` and `end` may be called again on the same directory."""

    state_dir: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data_dir(self) -> Path:
        return self.state_dir / "clickhouse"

    def command(self, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {
            "TOLLBOOK_STATE_DIR": str(self.state_dir),
            "TOLLBOOK_CLICKHOUSE": self.url,
            "TOLLBOOK_CLICKHOUSE_PASSWORD": OWNER_PASSWORD,
            "TOLLBOOK_CLICKHOUSE_READER_PASSWORD": READER_PASSWORD,
        }
        command = [sys.executable, "-m", "local.clickhouse", *arguments]
        return subprocess.Popen(command, env=environment | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def start(self) -> None:
        ready = self.state_dir / "ready"
        ready.unlink(missing_ok=True)
        self.process = self.command(TOLLBOOK_FAULT="front", TOLLBOOK_READY_FILE=str(ready))
        deadline = time.monotonic() + START_SECONDS
        while not (ready.exists() and ready.read_text()):  # it is made before it is written
            assert self.process.poll() is None, self.process.communicate()[0].decode()
            assert time.monotonic() < deadline, "the front did not start"
            time.sleep(0.02)
        assert ready.read_text() == str(self.process.pid)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Ends the process by a signal; gives its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode

    def client(self, reader: bool = False, **options: object) -> Client:
        user, password = ("tollbook_reader", READER_PASSWORD) if reader else ("tollbook", OWNER_PASSWORD)
        return clickhouse_connect.get_client(
            host="127.0.0.1", port=self.port, username=user, password=password, **options
        )

    def post(
        self,
        data: bytes | str,
        reader: bool = False,
        headers: dict[str, str] | None = None,
        path: str = "/",
        **arguments: str,
    ) -> tuple[int, dict[str, str], bytes]:
        """A bare HTTP request: status, headers, body."""
        user, password = ("tollbook_reader", READER_PASSWORD) if reader else ("tollbook", OWNER_PASSWORD)
        body = data.encode() if isinstance(data, str) else data
        credentials = {"X-ClickHouse-User": user, "X-ClickHouse-Key": password}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", f"{path}?{urlencode(arguments)}", body, credentials | (headers or {}))
            response = connection.getresponse()
            return response.status, dict(response.headers), response.read()
        finally:
            connection.close()

    def fault(self, mode: str, count: int = 1, table: str = "") -> None:
        assert self.post("", path="/fault", mode=mode, count=str(count), table=table)[0] == 200


@pytest.fixture(scope="session")
def new_front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Front]]:
    """Starts a front that shares nothing with another; all are ended after the run."""
    fronts: list[Front] = []

    def make() -> Front:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        front = Front(tmp_path_factory.mktemp("front"), port)
        front.start()
        fronts.append(front)
        return front

    yield make
    for front in fronts:
        if front.process is not None and front.process.poll() is None:
            front.end()


@pytest.fixture(scope="session")
def front(new_front: Callable[[], Front]) -> Front:
    return new_front()


@pytest.fixture
def database(front: Front) -> Iterator[str]:
    """An empty database for one test."""
    name = f"test_{uuid.uuid4().hex}"
    with front.client() as owner:
        owner.command(f"CREATE DATABASE {name}")
        yield name
        owner.command(f"DROP DATABASE {name}")


@pytest.fixture
def client(front: Front, database: str) -> Iterator[Client]:
    """clickhouse-connect's own client as the owner, in the test's database."""
    with front.client(database=database) as owner:
        yield owner
