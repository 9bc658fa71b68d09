"""What one sees while the demonstration's day is replayed: a picture on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from local.ledger import Measured

PLAIN_EVERY_S = 5.0
ALERTS_SHOWN = 6

Show = Callable[[Measured | None], None]


@contextmanager
def live_view(console: Console, events: int) -> Iterator[Show]:
    """Yields what shows each measurement of a day of so many events; None leaves the last one standing."""
    if not console.is_terminal:
        yield _plain(console, events)
        return
    with Live(console=console, refresh_per_second=4) as live:
        rate = _Rate()

        def show(measured: Measured | None) -> None:
            if measured:
                live.update(_picture(measured, events, rate.per_s(measured.events)))

        yield show


class _Rate:
    """Events a second between two measurements."""

    def __init__(self) -> None:
        self._events = 0
        self._at_s = time.monotonic()

    def per_s(self, events: int) -> float:
        now_s = time.monotonic()
        rate = (events - self._events) / max(now_s - self._at_s, 1e-3)
        self._events, self._at_s = events, now_s
        return rate


def _plain(console: Console, events: int) -> Show:
    rate, told = _Rate(), set[str]()
    due_s = time.monotonic()

    def show(measured: Measured | None) -> None:
        nonlocal due_s
        if measured is None or (time.monotonic() < due_s and measured.events < events):
            return
        due_s = time.monotonic() + PLAIN_EVERY_S
        console.print(_headline(measured, events, rate.per_s(measured.events)))
        fresh = [alert for alert in measured.alerts if alert["alert_id"] not in told]
        told.update(alert["alert_id"] for alert in fresh)
        for alert in fresh[:ALERTS_SHOWN]:
            console.print(f"  {alert['raised']}  {alert['severity']:8}  {alert['budget_id']}: {alert['detail']}")
        if len(fresh) > ALERTS_SHOWN:
            console.print(f"  and {len(fresh) - ALERTS_SHOWN} more alerts")

    return show


def _headline(measured: Measured, events: int, per_s: float) -> str:
    return (
        f"{measured.clock:>9}  {measured.events:>9,} of {events:,} events  {per_s:>7,.0f}/s  "
        f"{measured.tokens:>15,} tokens  {measured.cost_usd:>10,.2f} USD  {len(measured.alerts):>4} alerts"
    )


def _picture(measured: Measured, events: int, per_s: float) -> RenderableType:
    return Group(
        Text(_headline(measured, events, per_s), style="bold"),
        ProgressBar(total=events, completed=measured.events),
        Text(),
        _departments(measured),
        Text(),
        _alerts(measured),
    )


def _departments(measured: Measured) -> Table:
    table = Table("organization", "department", box=None)
    for name in ("requests", "USD"):
        table.add_column(name, justify="right")
    for row in measured.departments:
        cost_usd = f"{Decimal(row['cost_usd']):,.2f}" if row["spent_usd"] else "unpriced"
        table.add_row(row["organization"], row["department"] or "(unassigned)", f"{int(row['calls']):,}", cost_usd)
    return table


def _alerts(measured: Measured) -> Table:
    table = Table("raised", "severity", "budget", "alert", box=None)
    for alert in reversed(measured.alerts[-ALERTS_SHOWN:]):
        table.add_row(alert["raised"], alert["severity"], alert["budget_id"], alert["detail"])
    return table
