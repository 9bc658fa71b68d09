"""A mail server and a webhook on this machine, to which the notifier of a stack delivers the alerts about probes."""

import base64
import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import create_server
from typing import Any

from aiosmtpd.controller import Controller

from benchmarks.stacks import Stack

HOST = "127.0.0.1"
NOTIFY = """\
[channel.mail]
kind = "email"
host = "{host}"
port = {smtp_port}
security = "none"
sender = "tollbook@example.com"
to = ["probe@example.com"]

[channel.hook]
kind = "webhook"
url = "http://{host}:{http_port}/"
secret_files = ["webhook-key"]
allow_private = true

[[route]]
channels = ["mail", "hook"]
organizations = ["{organization}"]
"""
SUBJECT = re.compile(rb"^Subject: .* user (\S+) of ", re.MULTILINE)

Arrived = Callable[[str, float], None]  # the user, and when (monotonic seconds)


@contextmanager
def inboxes(stack: Stack, organization: str, mailed: Arrived, posted: Arrived) -> Iterator[None]:
    """While entered, says of each alert about a user of the organization when mail and webhook took it."""
    with _webhook(posted) as http_port, _mail_server(mailed) as smtp_port:
        folder = stack.config.state_dir
        (folder / "webhook-key").write_text(f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}")
        file = folder / "notify.toml"  # the notifier follows it
        file.write_text(NOTIFY.format(host=HOST, smtp_port=smtp_port, http_port=http_port, organization=organization))
        yield


@contextmanager
def _webhook(posted: Arrived) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posted(json.loads(body)["data"]["scope"], time.monotonic())
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            serving.join()


@contextmanager
def _mail_server(mailed: Arrived) -> Iterator[int]:
    class Handler:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 (aiosmtpd's name)
            at = time.monotonic()
            found = SUBJECT.search(envelope.content.replace(b"\r\n ", b" "))  # a long subject is folded
            if found:
                mailed(found[1].decode(), at)
            return "250 OK"

    with create_server((HOST, 0)) as probe:
        port: int = probe.getsockname()[1]
    controller = Controller(Handler(), hostname=HOST, port=port)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()
