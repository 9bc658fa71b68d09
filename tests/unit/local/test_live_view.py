"""The demonstration's live view: plain lines away from a terminal, a picture on one."""

import io
from decimal import Decimal

import pytest
from rich.console import Console

from local.ledger import Measured
from local.live_view import live_view


def measured(events: int, alerts: int) -> Measured:
    return Measured(
        events=events,
        tokens=events * 4_000,
        cost_usd=Decimal("1234.567891"),
        clock="Mon 09:30",
        departments=[{"organization": "acme", "department": "", "calls": "7", "spent_usd": None}],
        alerts=[
            {
                "alert_id": str(number),
                "raised": "09:30:01",
                "severity": "info",
                "budget_id": "b",
                "detail": f"no {number}",
            }
            for number in range(alerts)
        ],
    )


def shown(terminal: bool, steps: list[Measured | None]) -> str:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=160, highlight=False, color_system=None)
    with live_view(console, 1_000) as show:
        for step in steps:
            show(step)
    return output.getvalue()


def test_plain_lines_tell_an_alert_once() -> None:
    lines = shown(False, [measured(1_000, 1), measured(1_000, 2)])
    assert lines.count("no 0") == 1
    assert lines.count("no 1") == 1
    assert "1,000 of 1,000 events" in lines
    assert "1,234.57 USD" in lines


def test_plain_lines_count_the_alerts_that_are_not_shown() -> None:
    assert "and 4 more alerts" in shown(False, [measured(1_000, 10)])


def test_plain_lines_are_seldom_before_the_end() -> None:
    lines = shown(False, [measured(1, 0), measured(2, 0), measured(1_000, 0)])
    assert [line.split()[2] for line in lines.splitlines()] == ["1", "1,000"]


@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_measured_shows_nothing_new(terminal: bool) -> None:
    assert "events" not in shown(terminal, [None])


def test_picture_names_departments_and_the_newest_alerts() -> None:
    picture = shown(True, [measured(500, 8)])
    assert "(unassigned)" in picture
    assert "unpriced" in picture
    assert "no 7" in picture
    assert "no 0" not in picture
