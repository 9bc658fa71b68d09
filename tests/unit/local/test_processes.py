"""The process table: names, order, and who gets which secret."""

from itertools import combinations
from pathlib import Path

import pytest

from local.config import SECRETS, load_config
from local.processes import NAMES, Process, process_table, selected


@pytest.fixture
def table(tmp_path: Path) -> list[Process]:
    config = load_config({}, tmp_path)
    return process_table(config, config.addresses | {name: f"value-of-{name}" for name in SECRETS})


def test_names_are_those_of_the_command_line(table: list[Process]) -> None:
    assert tuple(process.name for process in table) == NAMES


def test_everything_comes_after_what_it_needs(table: list[Process]) -> None:
    assert not [(earlier.name, later.name) for earlier, later in combinations(table, 2) if later.name in earlier.after]
    assert {name for process in table for name in process.after} <= set(NAMES)


def test_leaving_superset_out_leaves_its_step_out(table: list[Process]) -> None:
    names = [process.name for process in selected(table, ("superset",))]
    assert names == [name for name in NAMES if not name.startswith("superset")]


@pytest.mark.parametrize("named", [None, "year.toml"])
def test_everything_that_reads_the_calendar_is_led_to_it(tmp_path: Path, named: str | None) -> None:
    path = tmp_path / (named or "calendar.toml")
    path.touch()
    config = load_config({"TOLLBOOK_CALENDAR": named} if named else {}, tmp_path)
    table = process_table(config, config.addresses | dict.fromkeys(SECRETS, "secret"))
    led = {process.name for process in table if process.environment.get("TOLLBOOK_CALENDAR") == str(path)}
    assert led >= set(NAMES) - {"kafka", "registry"}


def test_without_a_calendar_none_is_named(table: list[Process]) -> None:
    assert not [process.name for process in table if "TOLLBOOK_CALENDAR" in process.environment]


def test_workers_get_no_secret_but_their_own(table: list[Process]) -> None:
    worker = next(process for process in table if process.name == "rating")
    given = {name for name in SECRETS if f"value-of-{name}" in worker.environment.values()}
    assert given == {"clickhouse_password"}


def test_superset_gets_neither_the_owner_s_password_nor_the_repository_s_path(table: list[Process]) -> None:
    for process in table:
        if process.name.startswith("superset"):
            assert "value-of-clickhouse_password" not in process.environment.values()
            assert "PYTHONPATH" not in process.environment


def test_no_secret_is_on_a_command_line(table: list[Process]) -> None:
    assert not [process.name for process in table if "value-of-" in " ".join(process.command)]
