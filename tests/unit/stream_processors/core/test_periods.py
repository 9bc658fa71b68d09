"""Closing months: in order, once, and only when they are over."""

from datetime import UTC, date, datetime

import pytest
from pydantic import ValidationError

from stream_processors.core.periods import Event, Period, after

MONTH, END = date(2026, 3, 1), datetime(2026, 4, 1, tzinfo=UTC)


def event(state: str, at: datetime = END, **fields: str) -> Event:
    said = {"state": state, "at": at, "author": "mia", "reason": "invoiced", "src_epoch": "e", "ends": (1, 2)}
    return Event.model_validate(said | fields)


def test_a_month_is_closed_opened_and_closed_again() -> None:
    closed = after(None, MONTH, event("closed"), END)
    opened = after(closed, MONTH, event("open"), END)
    assert (closed.closed, opened.closed, after(opened, MONTH, event("closed"), END).closed) == (True, False, True)
    assert [each.state for each in opened.history] == ["closed", "open"]
    assert Period.model_validate_json(opened.model_dump_json()) == opened


def test_what_it_is_already_is_told_with_who() -> None:
    closed = after(None, MONTH, event("closed"), END)
    with pytest.raises(ValueError, match="month = 2026-03: it is closed already by mia at 2026-04-01 00:00 UTC"):
        after(closed, MONTH, event("closed"), END)
    with pytest.raises(ValueError, match=r"month = 2026-03: it is open already$"):
        after(None, MONTH, event("open"), END)


def test_a_month_that_is_running_is_not_closed() -> None:
    with pytest.raises(ValueError, match="month = 2026-03: it ends at 2026-04-01T00:00:00"):
        after(None, MONTH, event("closed", datetime(2026, 3, 31, 23, tzinfo=UTC)), END)


@pytest.mark.parametrize("field", ["author", "reason"])
def test_it_says_who_and_why(field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        event("closed", **{field: ""})
