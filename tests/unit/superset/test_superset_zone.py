"""The zone of the dashboards is the calendar's; a calendar that is named and missing is an error, never UTC."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "superset"
SHOW = "import superset_config; print(superset_config.ZONE)"


def zone(tmp_path: Path, **named: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(FOLDER), "SUPERSET_HOME": str(tmp_path)}
    return subprocess.run(
        [sys.executable, "-c", SHOW],
        cwd=tmp_path,
        env=environment | {"TOLLBOOK_SUPERSET_SECRET_KEY": "key"} | named,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("text", "expected"), [('zone = "Europe/Berlin"', "Europe/Berlin"), ("", "UTC")])
def test_zone_is_the_calendar_s(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "year.toml"
    path.write_text(text)
    assert zone(tmp_path, TOLLBOOK_CALENDAR=str(path)).stdout.strip() == expected


def test_without_a_calendar_days_are_utc_days(tmp_path: Path) -> None:
    assert zone(tmp_path).stdout.strip() == "UTC"


def test_missing_calendar_is_an_error(tmp_path: Path) -> None:
    run = zone(tmp_path, TOLLBOOK_CALENDAR=str(tmp_path / "gone.toml"))
    assert run.returncode == 1
    assert f"TOLLBOOK_CALENDAR: {tmp_path / 'gone.toml'} is not there" in run.stderr
