"""With a proxy in the environment, this machine's own services are still asked directly."""

import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx2
import pytest
from clickhouse_connect.driver.httputil import check_env_proxy

from local import readiness
from tollbook import without_proxy

DEAD = "http://127.0.0.1:9"
SPELLINGS = ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY")


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        serving.join()


@pytest.fixture(params=["http_proxy", "HTTP_PROXY"])
def proxied(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SPELLINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(request.param, DEAD)


@pytest.mark.usefixtures("proxied")
def test_readiness_is_asked_directly(url: str) -> None:
    assert readiness.http_answers(url)


@pytest.mark.usefixtures("proxied")
def test_clients_go_to_the_proxy_unless_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked() -> list[bool]:
        plain = urllib.request.build_opener()  # `urlopen` keeps what it found in the environment the first time
        return [_answers(lambda: httpx2.get(url)), _answers(lambda: plain.open(url))]

    assert asked() == [False, False]
    assert check_env_proxy("http", "127.0.0.1", 8123) == DEAD
    for name, value in without_proxy({}).items():
        monkeypatch.setenv(name, value)
    assert asked() == [True, True]
    assert check_env_proxy("http", "127.0.0.1", 8123) is None


def _answers(ask: Any) -> bool:
    try:
        ask()
    except (OSError, httpx2.HTTPError):
        return False
    return True


@pytest.mark.parametrize("spelling", ["no_proxy", "NO_PROXY"])
def test_what_was_stated_is_kept(spelling: str) -> None:
    value = "example.com,localhost,127.0.0.1"
    assert without_proxy({spelling: "example.com, localhost"}) == {"no_proxy": value, "NO_PROXY": value}
    assert without_proxy({spelling: "*"}) == {}
