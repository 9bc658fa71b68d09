"""The commands `simulate` and `replay`: what they refuse before they ask anybody."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from producers.cli import Instant, Speed, _default_end, _event_times, commands

BY_NAME = {command.name: command for command in commands}
NOW = datetime(2026, 1, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("simulate", "Missing option '--events'"),
        ("simulate --events 0", "0 is not in the range"),
        ("simulate --events 5 --rate 0", "0.0 is not in the range"),
        ("simulate --events 5 --late 1.5", "1.5 is not in the range"),
        ("simulate --events 5 --from soon", "'soon' is not a date or time"),
        ("simulate --events 5 --from 2026-01-02 --to 2026-01-01", "must be before"),
        ("simulate --events 5 --from 2026-01-01 --to 2026-01-02 --days 3", "two of them decide the third"),
        ("replay", "Missing argument 'FILES...'"),
        ("replay nowhere.csv", "'nowhere.csv' does not exist"),
        ("replay {file} --speed 0", "'0' is not a number above 0, nor `max`"),
        ("replay {file} --speed fast", "'fast' is not a number above 0"),
        ("replay {file} --format csv", "'csv' is not one of"),
    ],
)
def test_wrong_usage_is_status_2_and_named(arguments: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("notes\n")
    name, *rest = arguments.format(file=file).split()
    result = CliRunner().invoke(BY_NAME[name], rest)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_file_of_no_format_is_status_1(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("notes\n")
    result = CliRunner().invoke(BY_NAME["replay"], [str(file)])
    assert result.exit_code == 1
    assert "line 1: 'notes': not the start of any of azure" in result.stderr


@pytest.mark.parametrize("name", ["simulate", "replay"])
def test_help_has_an_example(name: str) -> None:
    result = CliRunner().invoke(BY_NAME[name], ["--help"])
    assert result.exit_code == 0
    assert f"Example: tollbook {name} " in result.stdout


@pytest.mark.parametrize(
    ("start", "end", "days", "expected"),
    [
        (None, None, None, (NOW - DAY, NOW)),
        (None, None, 30.0, (NOW - 30 * DAY, NOW)),
        (NOW - 5 * DAY, None, None, (NOW - 5 * DAY, NOW)),
        (NOW - 5 * DAY, None, 2.0, (NOW - 5 * DAY, NOW - 3 * DAY)),
        (None, NOW - 5 * DAY, 2.0, (NOW - 7 * DAY, NOW - 5 * DAY)),
        (NOW - 5 * DAY, NOW - 4 * DAY, None, (NOW - 5 * DAY, NOW - 4 * DAY)),
    ],
)
def test_two_of_from_to_and_days_decide_the_third(
    start: datetime | None, end: datetime | None, days: float | None, expected: tuple[datetime, datetime]
) -> None:
    assert _event_times(start, end, days, NOW) == expected


def test_a_repeatable_run_ends_at_the_start_of_an_hour() -> None:
    end = _default_end(repeatable=True)
    assert (end.minute, end.second, end.microsecond) == (0, 0, 0)
    assert timedelta(0) <= datetime.now(UTC) - end < timedelta(hours=1, minutes=1)
    assert datetime.now(UTC) - _default_end(repeatable=False) < timedelta(minutes=1)


def test_a_time_without_a_zone_is_utc() -> None:
    assert Instant().convert("2026-03-01", None, None) == datetime(2026, 3, 1, tzinfo=UTC)
    assert Instant().convert("2026-03-01T02:00:00+02:00", None, None) == datetime(2026, 3, 1, tzinfo=UTC)


def test_speed_max_is_no_pace() -> None:
    assert Speed().convert("max", None, None) is None
    assert Speed().convert("2.5", None, None) == 2.5
    with pytest.raises(click.BadParameter):
        Speed().convert("nan", None, None)
