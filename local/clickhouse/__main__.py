"""`python -m local.clickhouse`: runs the ClickHouse engine behind ClickHouse's HTTP interface until SIGTERM."""

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

import click
from aiohttp import web

from local.clickhouse.auth import Account
from local.clickhouse.engine import Engine
from local.clickhouse.errors import ClickHouseError
from local.clickhouse.faults import FaultyFront
from local.clickhouse.server import Front

_SHUTDOWN_SECONDS = 60.0


@click.command(epilog="Example: TOLLBOOK_CLICKHOUSE_PASSWORD=… python -m local.clickhouse --port 8123")
@click.option("--port", type=click.IntRange(1, 65535), help="Default: the port of TOLLBOOK_CLICKHOUSE, else 8123.")
@click.option(
    "--path", type=click.Path(path_type=Path, file_okay=False), help="Default: TOLLBOOK_STATE_DIR/clickhouse."
)
def main(port: int | None, path: Path | None) -> None:
    """Run the ClickHouse engine on 127.0.0.1, for the owner `tollbook` and the reader `tollbook_reader`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    os.environ["TZ"] = "UTC"  # the engine's default zone: a moment reads the same on every machine
    accounts = _accounts()
    chosen_port = port or _port()
    try:
        engine = Engine(path or Path(os.environ.get("TOLLBOOK_STATE_DIR", ".tollbook")) / "clickhouse")
    except ClickHouseError as error:
        sys.exit(f"The ClickHouse engine cannot start: {error}")
    front = FaultyFront if os.environ.get("TOLLBOOK_FAULT") == "front" else Front
    asyncio.run(_serve(front(engine, accounts), chosen_port))


async def _serve(front: Front, port: int) -> None:
    """Serves until SIGTERM or SIGINT, then lets running queries finish before the engine closes."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    runner = web.AppRunner(
        front.application(),
        access_log=None,
        auto_decompress=False,  # body.py decodes, lz4 too
        handler_cancellation=True,  # a SELECT whose client is gone is killed
        shutdown_timeout=_SHUTDOWN_SECONDS,
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    _report_ready()
    await stopped.wait()
    await runner.cleanup()


def _accounts() -> tuple[Account, ...]:
    owner = os.environ.get("TOLLBOOK_CLICKHOUSE_PASSWORD", "")
    reader = os.environ.get("TOLLBOOK_CLICKHOUSE_READER_PASSWORD", "")
    if not owner:
        raise click.UsageError("TOLLBOOK_CLICKHOUSE_PASSWORD is not set: the owner needs a password.")
    accounts = [Account("tollbook", owner, readonly=False)]
    if reader:
        accounts.append(Account("tollbook_reader", reader, readonly=True))
    return tuple(accounts)


def _port() -> int:
    address = urlsplit(os.environ.get("TOLLBOOK_CLICKHOUSE", "http://127.0.0.1:8123"))
    if address.hostname not in ("127.0.0.1", "localhost"):
        raise click.UsageError(f"TOLLBOOK_CLICKHOUSE names {address.hostname}: the local engine serves 127.0.0.1 only.")
    return address.port or 8123


def _report_ready() -> None:
    ready = os.environ.get("TOLLBOOK_READY_FILE")
    if ready:
        Path(ready).write_text(str(os.getpid()))


if __name__ == "__main__":
    main()
