"""What the running stack shows to others: nothing beyond loopback, no secret in a file that they may read."""

import json
import stat
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from local.config import SECRETS

Environment = dict[str, str]
RunTollbook = Callable[..., subprocess.CompletedProcess[str]]

SMALL_BYTES = 1_000_000
DEAD_PROXY = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}


def test_no_process_listens_beyond_loopback(stack: Environment, run_tollbook: RunTollbook) -> None:
    report = json.loads(run_tollbook(stack, "status", "--json").stdout)
    family = psutil.Process(report["supervisor"]["pid"]).children(recursive=True)
    assert {entry["pid"] for entry in report["processes"]} <= {process.pid for process in family}
    listening = [
        connection.laddr
        for process in family
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
    ports = {int(address.rsplit(":")[-1].split("/")[0]) for address in report["addresses"].values()}
    assert ports <= {address.port for address in listening}


def test_state_is_closed_to_others(stack: Environment) -> None:
    state_dir = Path(stack["TOLLBOOK_STATE_DIR"])
    assert stat.S_IMODE(state_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((state_dir / "stack.toml").stat().st_mode) == 0o600


def test_no_secret_is_in_a_log_or_in_a_file_of_another_mode_than_0600(
    stack: Environment, run_tollbook: RunTollbook
) -> None:
    state_dir = Path(stack["TOLLBOOK_STATE_DIR"])
    values = tomllib.loads((state_dir / "stack.toml").read_text())
    secrets = [values[name].encode() for name in SECRETS]
    run_tollbook(stack, "budgets", "token", "kept-secret")
    tokens = {"collector/token", "console/kept-secret.token"}
    secrets += [(state_dir / name).read_bytes().strip() for name in tokens]
    holding = [path for path in state_dir.rglob("*") if _holds(path, secrets)]
    assert {path.relative_to(state_dir).as_posix() for path in holding} >= {"stack.toml", *tokens}
    assert not [path for path in holding if path.is_relative_to(state_dir / "logs")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in holding} == {0o600}


def _holds(path: Path, secrets: list[bytes]) -> bool:
    try:
        content = path.read_bytes() if path.is_file() and path.stat().st_size < SMALL_BYTES else b""
    except FileNotFoundError:  # a running engine removes its own
        return False
    return any(secret in content for secret in secrets)


@pytest.mark.parametrize(
    "command",
    [("sql", "SELECT 1"), ("wait", "--timeout", "60"), ("tail", "usage.events")],
)
def test_commands_reach_the_stack_past_a_proxy(
    stack: Environment, run_tollbook: RunTollbook, command: tuple[str, ...]
) -> None:
    answer = run_tollbook(stack | DEAD_PROXY, *command)
    assert answer.returncode == 0, answer.stdout + answer.stderr
