"""What docs/money.md tells a finance person works as it stands there, and its sums are right."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Environment, RunTollbook

PAGE = (Path(__file__).parents[2] / "docs" / "money.md").read_text()
[SNIPPET] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
[SUM] = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"^    (tollbook .*)$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def answers(stack: Environment, run_tollbook: RunTollbook) -> dict[str, str]:
    """What each command of the page prints, in the order of the page."""
    subprocess.run([sys.executable, "-c", SNIPPET], env=os.environ | stack, check=True, timeout=60)
    printed = {}
    for line in COMMANDS:
        answer = run_tollbook(stack, *shlex.split(line)[1:])
        assert answer.returncode == 0, line + answer.stdout + answer.stderr
        printed[line] = answer.stdout
    return printed


def test_the_sum_is_explained_as_the_page_says(answers: dict[str, str]) -> None:
    explained = answers["tollbook explain money-1"]
    assert SUM in explained
    assert "0.00036 USD" in explained


def test_every_number_agrees(answers: dict[str, str]) -> None:
    assert "Every number agrees, to the pico-dollar" in answers["tollbook audit --deep"]
