"""The guard on the running ledger: it hears of what is used, lets go of reservations, and knows idle from dead."""

import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from producers.client import Producer
from producers.guard import Guard
from producers.limit_book import Estimate
from schemas.event import UsageEvent
from schemas.settings import Settings
from tests.conftest import Environment, RunTollbook

DEADLINE_S = 120
PAGE = (Path(__file__).parents[2] / "docs/guard.md").read_text()
SNIPPET = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]


@pytest.fixture
def guard(settings: Settings) -> Iterator[Guard]:
    with Guard(settings, fail_closed=True, stale_after_s=DEADLINE_S, wait_s=DEADLINE_S) as guard:
        yield guard


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, "not within the deadline"
        time.sleep(0.05)


@pytest.fixture
def organization(guard: Guard, stack: Environment, run_tollbook: RunTollbook, tmp_path: Path) -> str:
    """One of its own, with a budget of 100 tokens a month for each user, which the guard has heard of."""
    organization = f"guarded-{secrets.token_hex(4)}"
    file = tmp_path / "budgets.toml"
    file.write_text(
        f'[[budget]]\nid = "{organization}"\nscope = "user:*"\norganization = "{organization}"\nperiod = "month"\n'
        'unit = "tokens"\nlimit = 100\n'
    )
    applied = run_tollbook(stack, "budgets", "apply", str(file))
    assert applied.returncode == 0, applied.stderr
    until(lambda: standings(guard, organization) == [(0, 0)])  # without a restart, and before any usage
    return organization


def test_a_reservation_becomes_usage(guard: Guard, settings: Settings, organization: str) -> None:
    verdict = guard.check(organization, {"user": "ada"}, Estimate(output_tokens=90))
    assert verdict.allowed
    assert standings(guard, organization) == [(0, 90)]
    with Producer(settings) as producer:
        event = UsageEvent(
            event_id=secrets.token_hex(8), source="guard-test", occurred_at=datetime.now(UTC),
            organization=organization, user="ada", provider="openai", model="gpt-4o-mini", output_tokens=40,
        )  # fmt: skip
        producer.emit(event, guard.settles(verdict))
    until(lambda: standings(guard, organization) == [(40, 0)])
    assert guard.check(organization, {"user": "ada"}, Estimate(output_tokens=1)).allowed


def standings(guard: Guard, organization: str) -> list[tuple[int, int]]:
    """Used and reserved of the budgets of this test alone."""
    found = guard.standings(organization, "user", "ada")
    return [(each.used, each.reserved) for each in found if each.budget_id == organization]


def test_an_idle_stream_is_not_a_dead_one(guard: Guard) -> None:
    until(lambda: guard.staleness_s() < DEADLINE_S)
    first = time.time() - guard.staleness_s()
    until(lambda: time.time() - guard.staleness_s() > first + 1)  # heard again, without any usage


def test_an_event_that_is_rejected_ends_its_reservation_too(
    guard: Guard, settings: Settings, organization: str
) -> None:
    verdict = guard.check(organization, {"user": "ada"}, Estimate(output_tokens=90))
    with Producer(settings) as producer:
        event = UsageEvent(
            event_id=secrets.token_hex(8), source="guard-test", occurred_at=datetime.now(UTC) + timedelta(hours=1),
            organization=organization, user="ada", provider="openai", model="gpt-4o-mini", output_tokens=40,
        )  # fmt: skip
        producer.emit(event, guard.settles(verdict))
    until(lambda: standings(guard, organization) == [(0, 0)])


def test_the_page_s_example_runs(stack: Environment) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SNIPPET], env=os.environ | stack, capture_output=True, text=True, timeout=120, check=True
    )
    assert re.search(r"Verdict\(decision='(allow|block_new)'", ran.stdout)
