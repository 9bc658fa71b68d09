"""What README.md tells the reader to do next works as it stands there."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Environment = dict[str, str]
RunTollbook = Callable[..., subprocess.CompletedProcess[str]]

README = (Path(__file__).parents[2] / "README.md").read_text()
SNIPPET = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
SHELL = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)[0]
ASKED = re.findall(r"^    (tollbook (?:wait|sql|limits|alerts) ?.*)$", README, re.MULTILINE)
OF_README = "SELECT toString(cost_usd) AS usd, input_tokens, output_tokens FROM usage WHERE source = 'readme' LIMIT 1"


@pytest.fixture(scope="module")
def sent(stack: Environment, run_tollbook: RunTollbook) -> Environment:
    """The stack, after the reader has sent the event of the README and waited for it."""
    subprocess.run([sys.executable, "-c", SNIPPET], env=os.environ | stack, check=True, timeout=60)
    waited = run_tollbook(stack, "wait", "--timeout", "60")
    assert waited.returncode == 0, waited.stdout + waited.stderr
    return stack


def test_own_event_is_landed_and_priced(sent: Environment, run_tollbook: RunTollbook) -> None:
    row = json.loads(run_tollbook(sent, "sql", OF_README, "--format", "JSONEachRow").stdout)
    assert (int(row["input_tokens"]), int(row["output_tokens"])) == (1_200, 350)
    assert float(row["usd"]) > 0


@pytest.mark.parametrize("line", ASKED)
def test_commands_answer(sent: Environment, run_tollbook: RunTollbook, line: str) -> None:
    answer = run_tollbook(sent, *shlex.split(line)[1:])
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_curl_asks_the_same(sent: Environment) -> None:
    state = Path(sent["TOLLBOOK_STATE_DIR"])
    script = SHELL.replace(".tollbook/", f"{state}/").replace(":8123", f":{sent['TOLLBOOK_CLICKHOUSE_PORT']}")
    asked = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert "gpt-4o-mini" in asked.stdout


def test_own_event_is_in_the_windows_of_its_user(sent: Environment, run_tollbook: RunTollbook) -> None:
    [line] = [line for line in ASKED if "FROM windows" in line]
    rows = [json.loads(row) for row in run_tollbook(sent, *shlex.split(line)[1:]).stdout.splitlines()]
    assert {row["window_kind"] for row in rows} == {"hour", "day", "month"}
