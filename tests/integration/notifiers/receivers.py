"""Real receivers on loopback that fail as receivers do: a mail server and a web server with a script of answers."""

import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as default_policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller

STALL = -1  # takes the request and says nothing until the receiver is closed
CUT = -2  # takes the request and cuts the connection


@dataclass
class WebReceiver:
    """Answers with the script's statuses one after the other, then with the last one for good."""

    script: deque[int]
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def next_answer(self) -> int:
        return self.script.popleft() if len(self.script) > 1 else self.script[0]


@contextmanager
def web_receiver(*script: int) -> Iterator[WebReceiver]:
    receiver = WebReceiver(deque(script))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
            status = receiver.next_answer()
            if status == STALL:
                receiver.closed.wait()
            if status < 0:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", receiver.url)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        receiver.url = f"http://127.0.0.1:{server.server_port}/in"
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        try:
            yield receiver
        finally:
            receiver.closed.set()
            server.shutdown()
            serving.join()


class Inbox:
    """A handler of aiosmtpd that keeps what it accepts; it says the script's codes first: CUT accepts and cuts."""

    def __init__(self, *script: int) -> None:
        self.script = deque(script)
        self.mails: list[EmailMessage] = []
        self.recipients: list[str] = []

    async def handle_RCPT(  # noqa: N802 (aiosmtpd calls it so)
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if address.startswith("nobody@"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, server: Any, session: Any, envelope: Any
    ) -> str:
        code = self.script.popleft() if self.script else 250
        if code not in (250, CUT):
            return f"{code} not now"
        mail = message_from_bytes(envelope.content, policy=default_policy)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.recipients += envelope.rcpt_tos
        if code == CUT:
            server.transport.abort()
        return "250 OK"


@contextmanager
def mail_server(inbox: Inbox) -> Iterator[int]:
    """Serves an inbox; its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    controller = Controller(inbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()
