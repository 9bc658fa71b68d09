"""`tollbook demo --exit`: the whole ledger on this machine, from nothing to a passing audit, and nothing left."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Environment = dict[str, str]
TOLLBOOK = str(Path(sys.executable).with_name("tollbook"))
TIMEOUT_S = 900  # for a cold and busy machine; nobody's pace is judged here


@pytest.mark.timeout(TIMEOUT_S)
def test_demo_proves_its_numbers_and_leaves_nothing(
    new_stack_environment: Callable[[], Environment],
    run_tollbook: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    environment = new_stack_environment()
    try:
        run = subprocess.run(
            [TOLLBOOK, "demo", "--exit"],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        assert "Every number agrees, to the pico-dollar." in run.stdout
        assert "160,000 of 160,000 events" in run.stdout
        assert re.search(
            r"^[1-9]\d* critical alerts were delivered .* The last:\n +critical: .* reached ", run.stdout, re.MULTILINE
        )
        assert not re.search(r"^(superset|login) ", run.stdout, re.MULTILINE)  # of what is about to stop
        state = json.loads(run_tollbook(environment, "status", "--json").stdout)
        assert not state["supervisor"]["running"]
    finally:
        run_tollbook(environment, "down")
