"""The console's process: `python -m stream_processors.console`, until SIGTERM."""

import logging
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import click
from aiohttp import web

from schemas.settings import Settings
from stream_processors.console.actions import Ledger
from stream_processors.console.api import Api
from stream_processors.console.page import PLACE, Page
from stream_processors.console.people import FOLDER


def application(settings: Settings, people: Path) -> web.Application:
    """All of the console; `people` is the folder of tokens."""
    app = web.Application()
    app.router.add_get("/health", _health)
    ledger = Ledger(settings)
    app.add_subapp("/v1", Api(ledger, people).application())
    app.add_subapp(PLACE, Page(ledger, people, time.monotonic).application())
    app.router.add_get("/", _to_page)
    return app


async def _health(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def _to_page(_: web.Request) -> web.StreamResponse:
    raise web.HTTPSeeOther(f"{PLACE}/")


@click.command(epilog="Example: python -m stream_processors.console")
@click.option("--host", default="127.0.0.1", show_default=True, help="Another one only inside a container.")
def main(host: str) -> None:
    """Let people act on budgets over HTTP, each by a token of their own. Exit 0 after SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    settings = Settings()
    port = urlsplit(settings.console).port or 80
    app = application(settings, settings.state_dir / FOLDER)
    web.run_app(app, host=host, port=port, shutdown_timeout=5.0, access_log=None, print=None)


if __name__ == "__main__":
    main()
