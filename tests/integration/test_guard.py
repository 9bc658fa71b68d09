"""The guard on the running ledger: it hears of what is used, lets go of reservations, and knows idle from dead."""

import json
import os
import re
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from producers.client import Producer
from producers.guard import Guard
from producers.limit_book import Estimate
from schemas.calendar import PERIODS, Calendar
from schemas.event import UsageEvent
from schemas.settings import Settings
from stream_processors.alert_log import read_alerts
from tests.conftest import Environment
from tollbook import main

DEADLINE_S = 120
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/guard.md").read_text()
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


#: 50 clients of one guard, with one call each when a line comes in: how many of them were allowed.
CLIENTS = """
import sys, time
sys.path.insert(0, sys.argv[4])
from tests.integration.test_guard import DEADLINE_S, new_guard, standings, until, usage
from producers.client import Producer
from producers.limit_book import Estimate
from schemas.settings import Settings

organization, clients, estimate = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
settings = Settings()
with new_guard(settings) as guard, Producer(settings) as producer:
    until(lambda: standings(guard, organization) == [(0, 0)])
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(clients):
        verdict = guard.check(organization, {"user": "ada"}, Estimate(output_tokens=estimate))
        if verdict.allowed:
            producer.emit(usage(organization, output_tokens=estimate), guard.settles(verdict))
    producer.flush()
    print(producer.acknowledged, flush=True)
    sys.stdin.readline()
"""


def test_guards_at_a_limit_overshoot_by_less_than_an_estimate_a_client(
    guard: Guard, settings: Settings, stack: Environment, tmp_path: Path
) -> None:
    """200 clients at 4 guard processes with one call each: what each guard sees at once are its own calls alone."""
    organization = f"guarded-{secrets.token_hex(4)}"
    clients, guard_count, estimate, limit = 200, 4, 10, 1_000
    apply_budget(stack, tmp_path, organization, f'limit = {limit}\naction = "block_new"\n')
    command = [sys.executable, "-c", CLIENTS, organization, str(clients // guard_count), str(estimate), str(ROOT)]
    guards = [
        subprocess.Popen(
            command, env=os.environ | stack, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path
        )
        for _ in range(guard_count)
    ]
    try:
        assert [_line(each) for each in guards] == ["ready"] * guard_count
        for each in guards:
            _go(each)
        used = sum(int(_line(each)) for each in guards) * estimate
        assert limit <= used < limit + clients * estimate
        guards[0].kill()  # what it had reserved was its own: nobody else waits for it
        until(lambda: standings(guard, organization) == [(used, 0)])
        refused = guard.check(organization, {"user": "ada"}, Estimate())
        assert (refused.decision, refused.allowed) == ("block_new", False)
    finally:
        for each in guards:
            each.kill()
            each.communicate()


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _go(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def test_a_pause_lasts_until_somebody_resumes_it(
    guard: Guard, settings: Settings, stack: Environment, tmp_path: Path
) -> None:
    organization = f"guarded-{secrets.token_hex(4)}"
    apply_budget(stack, tmp_path, organization, 'limit = 100\naction = "pause"\n')
    until(lambda: standings(guard, organization) == [(0, 0)])
    resume = ["budgets", "resume", organization, "--scope", "ada", "--author", "mia"]
    early = CliRunner().invoke(main, resume, env=stack)
    assert (early.exit_code, f"nothing is paused for ada of {organization}" in early.output) == (1, True)

    with Producer(settings) as producer:
        producer.emit(usage(organization, output_tokens=120))
    until(lambda: standings(guard, organization) == [(120, 0)])
    refused = guard.check(organization, {"user": "ada"}, Estimate(), continues=True)
    assert (refused.decision, refused.allowed, refused.budget_id) == ("pause", False, organization)
    until(lambda: told(stack, organization) == ["pause"])

    done = CliRunner().invoke(main, resume, env=stack)
    assert (done.exit_code, f"user ada of {organization} goes on" in done.output) == (0, True), done.output
    until(lambda: guard.check(organization, {"user": "ada"}, Estimate(output_tokens=1)).allowed)
    until(lambda: told(stack, organization) == ["allow"])
    assert CliRunner().invoke(main, resume, env=stack).exit_code == 1
    shown = CliRunner().invoke(main, ["budgets", "show", organization], env=stack).output
    assert f"UTC: resumed for ada of {organization} by mia" in shown


def test_a_budget_holds_from_its_date_on(guard: Guard, settings: Settings, stack: Environment, tmp_path: Path) -> None:
    """Applied before it is valid, on a scope that has used more than its limit already."""
    organization = f"guarded-{secrets.token_hex(4)}"
    with Producer(settings) as producer:
        producer.emit(usage(organization, output_tokens=120))
    valid_from = datetime.now(UTC) + timedelta(seconds=4)
    dates = f"valid_from = {valid_from.isoformat()}\n"
    apply_budget(stack, tmp_path, organization, f'limit = 100\nthresholds = [100]\naction = "block_new"\n{dates}')
    assert standings(guard, organization) == [] or datetime.now(UTC) >= valid_from
    until(lambda: standings(guard, organization) == [(120, 0)])
    assert datetime.now(UTC) >= valid_from
    assert guard.check(organization, {"user": "ada"}, Estimate()).decision == "block_new"
    [alert] = [record for record in read_alerts(settings, follow=False) if record["budget_id"] == organization]
    assert alert["raised_at"] >= valid_from


def test_who_will_exceed_a_limit_is_said_without_new_usage(
    settings: Settings, stack: Environment, tmp_path: Path
) -> None:
    """In a window of which some has passed and some is left, with a limit between what is used and what it comes to."""
    organization, now, used = f"guarded-{secrets.token_hex(4)}", time.time_ns() // 1000, 10_000
    windows = [Calendar().window(period, now) for period in PERIODS]
    window = next(each for each in windows if 0.1 < (now - each.start) / (each.end - each.start) < 0.9)
    with Producer(settings) as producer:
        producer.emit(usage(organization, output_tokens=used))
    limit = (used + used * (window.end - window.start) // (now - window.start)) // 2
    file = tmp_path / "budgets.toml"
    file.write_text(
        f'[[budget]]\nid = "{organization}"\nscope = "user:*"\norganization = "{organization}"\nunit = "tokens"\n'
        f'period = "{window.kind}"\nlimit = {limit}\nthresholds = [1000]\nforecast = true\n'
    )
    applied = CliRunner().invoke(main, ["budgets", "apply", str(file)], env=stack)
    assert applied.exit_code == 0, applied.output

    def own() -> list[Any]:
        return [record for record in read_alerts(settings, follow=False) if record["budget_id"] == organization]

    until(lambda: bool(own()))
    [alert] = own()
    assert (alert["type"], alert["state"], alert["scope"], alert["used"]) == ("forecast", "raised", "ada", str(used))
    assert alert["detail"].startswith(f"user ada of {organization} will exceed {limit:,} tokens")
    assert alert["threshold"] >= 100


def told(stack: Environment, organization: str) -> list[str]:
    """What the collector says a call of the user may do, by the budget of this test alone."""
    token = (Path(stack["TOLLBOOK_STATE_DIR"]) / "collector/token").read_text().strip()
    request = urllib.request.Request(  # noqa: S310
        f"{stack['TOLLBOOK_COLLECTOR']}/v1/limits/{organization}/user/ada", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:  # noqa: S310
        limits = json.load(answer)["limits"]
    return [each["decision"] for each in limits if each["budget_id"] == organization]


def test_the_page_s_example_runs(stack: Environment) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SNIPPET], env=os.environ | stack, capture_output=True, text=True, timeout=120, check=True
    )
    assert re.search(r"Verdict\(decision='(allow|block_new)'", ran.stdout)
