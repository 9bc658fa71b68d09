"""Somebody to be told, for the demonstration: a webhook on this machine, and the `notify.toml` that leads to it."""

import base64
import json
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from local.config import HOST, Config, write_private

NOTIFY = """\
# Written by `tollbook demo`, so that alerts about simulated usage reach nobody else.
[channel.demo]
kind = "webhook"
url = "http://{host}:{port}/"
secret_files = ["webhook-key"]
allow_private = true

[[route]]
channels = ["demo"]
min_severity = "critical"
"""
POLL_S = 0.1


@contextmanager
def demo_inbox(config: Config) -> Iterator[list[dict[str, Any]]]:
    """Yields the alerts that have arrived, as the notifier that is started meanwhile delivers them."""
    alerts: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            alerts.append(json.loads(body)["data"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(POLL_S,), name="demo-inbox")
        serving.start()
        try:
            _lead_here(config, server.server_port)
            yield alerts
        finally:
            server.shutdown()
            serving.join()


def _lead_here(config: Config, port: int) -> None:
    folder = config.state_dir / "demo"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(folder / "webhook-key", f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}\n")
    write_private(folder / "notify.toml", NOTIFY.format(host=HOST, port=port))
    os.environ["TOLLBOOK_NOTIFY"] = str(folder / "notify.toml")
