"""A real ClickHouse front, and a database of its own with a ledger that agrees for each test."""

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from schemas.settings import Settings
from stream_processors.audit.model import Report
from stream_processors.audit.queries import Ledger
from stream_processors.audit.run import run_audit
from stream_processors.sink.migrate import migrate
from stream_processors.warehouse import connect

from . import books

START_S = 60.0
NO_BROKER = "there is no broker in this test"


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The front's address; its owner's password is `secret`."""
    folder = tmp_path_factory.mktemp("front")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    ready = folder / "ready"
    variables = {
        "TOLLBOOK_STATE_DIR": str(folder),
        "TOLLBOOK_READY_FILE": str(ready),
        "TOLLBOOK_CLICKHOUSE_PASSWORD": "secret",
    }
    command = [sys.executable, "-m", "local.clickhouse", "--port", str(port)]
    process = subprocess.Popen(command, env=os.environ | variables)
    try:
        deadline = time.monotonic() + START_S
        while not ready.exists():
            assert process.poll() is None, "the front ended"
            assert time.monotonic() < deadline, "the front did not start"
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@dataclass(frozen=True)
class Books:
    """A ledger in a database of its own."""

    settings: Settings
    client: Client

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.client, books.CALENDAR)

    def audit(self) -> Report:
        return run_audit(self.settings, deep=False, kafka_error=NO_BROKER, tell=lambda _name, _count: None)

    def spoil(self, *statements: str) -> None:
        """Run statements on the tables; mutations are waited for."""
        for statement in statements:
            self.client.command(statement, settings={"mutations_sync": 2})


@pytest.fixture
def empty_books(clickhouse: str, tmp_path: Path) -> Iterator[Books]:
    """Migrated, with nothing in it."""
    calendar = tmp_path / "calendar.toml"
    calendar.write_text(f'zone = "{books.CALENDAR.zone}"\n')
    settings = Settings(
        state_dir=tmp_path,
        clickhouse=clickhouse,
        clickhouse_password="secret",
        clickhouse_database=f"audit_{uuid.uuid4().hex}",
        calendar=calendar,
        partitions=books.PARTITIONS,
    )
    migrate(settings)
    with connect(settings) as client:
        yield Books(settings, client)
        client.command(f"DROP DATABASE {settings.clickhouse_database}")


@pytest.fixture
def agreeing(empty_books: Books) -> Books:
    """A ledger whose numbers agree."""
    books.land(empty_books.client, books.blocks())
    return empty_books
