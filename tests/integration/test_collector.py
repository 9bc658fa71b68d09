"""The collector of the running stack: a real request in, a row and a limit out; its page's examples work."""

import json
import os
import re
import secrets
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from schemas.settings import Settings
from stream_processors import warehouse
from tests.conftest import Environment, RunTollbook
from tollbook import main

DEADLINE_S = 120
PAGE = (Path(__file__).parents[2] / "docs/collector.md").read_text()
POSTED, ASKED = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
Request = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def request_of(stack: Environment) -> Request:
    """Asks the collector: (path, body, token) to status and answer."""
    own = (Path(stack["TOLLBOOK_STATE_DIR"]) / "collector/token").read_text().strip()

    def ask(path: str, body: Any = None, token: str = own) -> tuple[int, dict[str, Any]]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(f"{stack['TOLLBOOK_COLLECTOR']}{path}", data, headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            return refused.code, json.load(refused)

    return ask


def event(**fields: Any) -> dict[str, Any]:
    return {
        "event_id": secrets.token_hex(8),
        "source": "collector-test",
        "occurred_at": datetime.now(UTC).isoformat(),
        "organization": f"collected-{secrets.token_hex(4)}",
        "user": "ada",
        "provider": "openai",
        "model": "gpt-4o-mini",
        "input_tokens": 7,
    } | fields


def test_events_that_are_taken_are_in_the_ledger(
    request_of: Request, stack: Environment, settings: Settings, run_tollbook: RunTollbook, tmp_path: Path
) -> None:
    organization = f"collected-{secrets.token_hex(4)}"
    file = tmp_path / "budgets.toml"
    file.write_text(
        f'[[budget]]\nid = "{organization}"\nscope = "user:*"\norganization = "{organization}"\nperiod = "month"\n'
        'unit = "tokens"\nlimit = 100\n'
    )
    assert CliRunner().invoke(main, ["budgets", "apply", str(file)], env=stack).exit_code == 0
    sent = [event(organization=organization) for _ in range(3)]
    assert request_of("/v1/events", sent) == (202, {"acknowledged": 3})
    assert request_of("/v1/events", sent[0]) == (202, {"acknowledged": 1})  # sent again: counted once
    assert run_tollbook(stack, "wait", "--timeout", str(DEADLINE_S)).returncode == 0
    query = f"SELECT count() AS n, sum(input_tokens) AS tokens FROM usage WHERE organization = '{organization}'"
    assert [(row["n"], row["tokens"]) for row in warehouse.ask(settings, query)] == [(3, 21)]

    deadline = time.monotonic() + DEADLINE_S
    while True:
        status, told = request_of(f"/v1/limits/{organization}/user/ada")
        own = [each for each in told["limits"] if each["budget_id"] == organization]
        if own and own[0]["used"] == "21":
            break
        assert time.monotonic() < deadline, told
        time.sleep(0.1)
    assert status == 200
    assert (own[0]["limit"], own[0]["unit"], own[0]["decision"]) == ("100", "tokens", "allow")
    assert told["staleness_s"] is not None


def test_a_fault_sends_nothing(request_of: Request) -> None:
    status, told = request_of("/v1/events", [event(), event(input_tokens=-1)])
    assert status == 400
    assert told["faults"][0]["rule"] == "input_tokens = -1: only an adjustment may be negative"


@pytest.mark.parametrize("path", ["/v1/events", "/v1/limits/acme/user/ada", "/nowhere"])
def test_without_the_token_nothing_is_told(request_of: Request, path: str) -> None:
    assert request_of(path, {} if path == "/v1/events" else None, token="wrong")[0] == 401


def test_it_listens_on_this_machine_alone(stack: Environment) -> None:
    port = int(stack["TOLLBOOK_COLLECTOR"].rpartition(":")[2])
    listeners = [
        line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
    ]
    assert [address for address in listeners if address.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]


def test_the_page_s_examples_work(stack: Environment) -> None:
    for example, answer in ((POSTED, '{"acknowledged":1}'), (ASKED, '"scope":"ada"')):
        ran = subprocess.run(
            ["bash", "-c", example], env=os.environ | stack, capture_output=True, text=True, timeout=DEADLINE_S
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert answer in ran.stdout
