"""Copies, conflicts, revisions, entries by hand and re-rating in one load, and workers killed in between."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from stream_processors.core.price_file import parse_prices
from stream_processors.core.price_history import changes_between, histories_after
from stream_processors.reference_prices import Overrides, overrides_of
from stream_processors.versioned_log import to_bytes

from .ground import wait_until
from .load import EPOCH, Record, events_of, last_hour, schema_id_of
from .mixed import mixed
from .scenario import Scenario

WORKERS = ("rating", "windows")
EVENTS = 6_000


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_corrections_of_all_kinds_and_kills(scenario: Scenario) -> None:
    """Half of the load comes while it is re-rated, by a command that was killed half-way and is run again."""
    ground = scenario.ground
    start, end = last_hour()
    events = events_of(scenario.run, scenario.seed, EVENTS, start, end)
    names = events.column("organization").dictionary.to_pylist()
    prices = scenario.path.with_name("prices.toml")
    prices.write_text("".join(map(_half_price, names)))
    first, second = mixed(events, schema_id_of(ground.settings), scenario.seed, _overrides(prices.read_text()))
    scenario.watch([*first, *second])
    _send_and_kill(scenario, first)

    where = [word for name in names for word in ("--where", f"organization={name}")]
    rerate = ("rerate", "--from", _text(start), "--to", _text(end), *where)
    ground.tollbook("prices", "apply", str(prices))
    ground.tollbook_dies("entries.sent:2", *rerate)
    with ThreadPoolExecutor(1) as aside:
        rerated = aside.submit(ground.tollbook, *rerate)
        _send_and_kill(scenario, second)
        rerated.result()
    scenario.over()
    ground.tollbook(*rerate)  # what came after its last look
    scenario.over()
    scenario.check(deep=True, shrinks=True)


def _send_and_kill(scenario: Scenario, part: list[Record]) -> None:
    ground = scenario.ground
    sending = scenario.send(part, rate=2_000)
    for name in WORKERS:
        wait_until(lambda: ground.lag() > 0, "events under way")
        ground.wait_restarted(name, ground.kill(name))
    sending.finish()


def _half_price(organization: str) -> str:
    return f"""
[[price]]
id = "off-{organization}"
organization = "{organization}"
service_tier = "*"
[[price.range]]
from = 2026-01-01T00:00:00Z
discount_percent = 50
"""


def _overrides(text: str) -> Overrides:
    """As the reference takes them."""
    changes = changes_between([], parse_prices(text, "prices.toml"))
    return overrides_of([to_bytes(each) for each in histories_after({}, changes, 1, datetime.now(UTC))], 1)


def _text(micros: int) -> str:
    return (EPOCH + timedelta(microseconds=micros)).isoformat()
