"""The guard on the running ledger: it hears of what is used, lets go of reservations, and knows idle from dead."""

import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from producers.client import Producer
from producers.guard import Guard
from producers.limit_book import Estimate
from schemas.event import UsageEvent
from schemas.settings import Settings
from tests.conftest import Environment
from tollbook import main

DEADLINE_S = 120
PAGE = (Path(__file__).parents[2] / "docs/guard.md").read_text()
SNIPPET = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]


def new_guard(settings: Settings) -> Guard:
    return Guard(settings, fail_closed=True, stale_after_s=DEADLINE_S, wait_s=DEADLINE_S)


@pytest.fixture(scope="module")
def guard(settings: Settings) -> Iterator[Guard]:
    with Producer(settings) as producer:
        for number in range(64):  # so that every shard has something to tell, also on a ledger that is new
            producer.emit(usage("guarded-by-nobody", user=f"user-{number}"))
    with new_guard(settings) as guard:
        until(lambda: guard.staleness_s() < DEADLINE_S)
        yield guard


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, "not within the deadline"
        time.sleep(0.05)


@pytest.fixture
def organization(guard: Guard, stack: Environment, tmp_path: Path) -> str:
    """One of its own, with a budget of 100 tokens a month for each user, which the guard has heard of."""
    organization = f"guarded-{secrets.token_hex(4)}"
    apply_budget(stack, tmp_path, organization, "limit = 100\n")
    until(lambda: standings(guard, organization) == [(0, 0)])  # without a restart, and before any usage
    return organization


def test_a_reservation_becomes_usage(guard: Guard, settings: Settings, organization: str) -> None:
    verdict = guard.check(organization, {"user": "ada"}, Estimate(output_tokens=90))
    assert verdict.allowed
    assert standings(guard, organization) == [(0, 90)]
    with Producer(settings) as producer:
        producer.emit(usage(organization, output_tokens=40), guard.settles(verdict))
    until(lambda: standings(guard, organization) == [(40, 0)])
    assert guard.check(organization, {"user": "ada"}, Estimate(output_tokens=1)).allowed


def apply_budget(stack: Environment, folder: Path, organization: str, rest: str) -> None:
    """A budget in tokens a month for each user of an organization, and of the same name."""
    file = folder / "budgets.toml"
    file.write_text(
        f'[[budget]]\nid = "{organization}"\nscope = "user:*"\norganization = "{organization}"\nperiod = "month"\n'
        f'unit = "tokens"\n{rest}'
    )
    applied = CliRunner().invoke(main, ["budgets", "apply", str(file)], env=stack)  # quicker than a process
    assert applied.exit_code == 0, applied.output


def usage(organization: str, **fields: Any) -> UsageEvent:
    values = {"event_id": secrets.token_hex(8), "source": "guard-test", "occurred_at": datetime.now(UTC)}
    values |= {"organization": organization, "user": "ada", "provider": "openai", "model": "gpt-4o-mini"}
    return UsageEvent.model_validate(values | fields)


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
        future = datetime.now(UTC) + timedelta(hours=1)
        producer.emit(usage(organization, output_tokens=40, occurred_at=future), guard.settles(verdict))
    until(lambda: standings(guard, organization) == [(0, 0)])


def test_guards_at_a_limit_overshoot_by_less_than_an_estimate_a_client(
    settings: Settings, stack: Environment, tmp_path: Path
) -> None:
    """200 clients at 4 guards with one call each: what each guard sees at once are its own calls alone."""
    organization = f"guarded-{secrets.token_hex(4)}"
    clients, guard_count, estimate, limit = 200, 4, 10, 1_000
    apply_budget(stack, tmp_path, organization, f'limit = {limit}\naction = "block_new"\n')
    with ExitStack() as open_guards:
        guards = [open_guards.enter_context(new_guard(settings)) for _ in range(guard_count)]
        for guard in guards:
            until(lambda guard=guard: standings(guard, organization) == [(0, 0)])  # type: ignore[misc]
        with Producer(settings) as producer:
            for client in range(clients):
                guard = guards[client % guard_count]
                verdict = guard.check(organization, {"user": "ada"}, Estimate(output_tokens=estimate))
                if verdict.allowed:
                    producer.emit(usage(organization, output_tokens=estimate), guard.settles(verdict))
        used = producer.acknowledged * estimate
        assert limit <= used < limit + clients * estimate
        for guard in guards:
            until(lambda guard=guard: standings(guard, organization) == [(used, 0)])  # type: ignore[misc]
            refused = guard.check(organization, {"user": "ada"}, Estimate())
            assert (refused.decision, refused.allowed) == ("block_new", False)


def test_the_page_s_example_runs(stack: Environment) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SNIPPET], env=os.environ | stack, capture_output=True, text=True, timeout=120, check=True
    )
    assert re.search(r"Verdict\(decision='(allow|block_new)'", ran.stdout)
