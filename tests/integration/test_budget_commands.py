"""Budgets, limits and alerts through the command line, on a real broker, registry and ClickHouse.

A stack without the stream: its alert chain and its ledger belong to these tests alone.
"""

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from schemas.calendar import Calendar
from schemas.codec import encode
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.topics import ALERTS
from stream_processors.budget_log import read_histories
from stream_processors.core.alert_subjects import instant
from stream_processors.core.alerts import AlertBook, alert_record, limit_record
from stream_processors.core.budgets import Budget
from tollbook import main

DEADLINE_S = 30
TOLLBOOK = str(Path(sys.executable).with_name("tollbook"))
Environment = dict[str, str]
RunTollbook = Callable[..., subprocess.CompletedProcess[str]]
WINDOW = Calendar().window("month", time.time_ns() // 1000)
BUDGET = Budget("department-month", "*", "department", "*", "month", "cost", 150 * 10**12, (50, 75, 100), 1)
FILE = """
[[budget]]
id = "department-month"
scope = "department:*"
period = "month"
unit = "cost"
limit = "150.00"

[[budget]]
id = "user-day"
scope = "user:*"
period = "day"
unit = "tokens"
limit = 1_000_000
"""


@pytest.fixture(scope="module")
def still_stack(new_stack_environment: Callable[[], Environment], run_tollbook: RunTollbook) -> Iterator[Environment]:
    """Kafka, registry and ClickHouse, provisioned and migrated; nothing streams."""
    environment = new_stack_environment()
    without = [
        f"--without={name}" for name in ("rating", "windows", "sink", "notifier", "collector", "console", "superset")
    ]
    try:
        started = run_tollbook(environment, "up", "--detach", *without)
        assert started.returncode == 0, started.stdout + started.stderr
        yield environment
    finally:
        stopped = run_tollbook(environment, "down")
        assert stopped.returncode == 0, stopped.stdout + stopped.stderr


@pytest.fixture(scope="module")
def still_settings(still_stack: Environment) -> Settings:
    return Settings.model_validate(tomllib.loads((Path(still_stack["TOLLBOOK_STATE_DIR"]) / "stack.toml").read_text()))


@pytest.fixture
def tell(still_stack: Environment) -> Callable[..., Result]:
    """Runs a command in this process, which is quicker than one process each; variables can be set aside."""

    def invoke(*arguments: str, **overrides: str) -> Result:
        return CliRunner().invoke(main, arguments, env=still_stack | overrides)

    return invoke


@pytest.fixture
def run(tell: Callable[..., Result]) -> Callable[..., Any]:
    """The JSON that a command prints; fails when the command does."""

    def run_json(*arguments: str, **overrides: str) -> Any:
        done = tell(*arguments, "--json", **overrides)
        assert done.exit_code == 0, done.output
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run_json


def chain_of(changes_at: list[int], scope: str) -> list[dict[str, Any]]:
    """The alerts that these totals of a department lead to, one after the other."""
    book, records = AlertBook(), []
    for used in changes_at:
        for change in book.due(BUDGET, "acme", "department", scope, WINDOW, used * 10**12):
            records.append(alert_record(change, BUDGET, [], "", time.time_ns() // 1000))
            book.fold(book.head + 1, book.head, records[-1])
    return records


def nobody() -> str:
    """An address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


class Appender:
    """Writes alerts to one partition, linked or not."""

    def __init__(self, settings: Settings, partition: int) -> None:
        self._schema_id = Registry(settings.registry).schema_id(ALERTS)
        self._producer = Producer({"bootstrap.servers": settings.kafka, "acks": "all"})
        self._partition = partition

    def append(self, record: Mapping[str, Any], extends: int | None) -> int:
        """The offset where the record landed."""
        landed: list[int | None] = []
        headers: dict[str, str | bytes | None] = {} if extends is None else {"extends": str(extends)}
        self._producer.produce(
            ALERTS,
            key=record["alert_id"],
            value=encode(dict(record), "alert.v1", self._schema_id),
            partition=self._partition,
            headers=headers,
            on_delivery=lambda error, message: landed.append(None if error else message.offset()),
        )
        assert self._producer.flush(DEADLINE_S) == 0
        [offset] = landed
        assert offset is not None
        return offset


def test_applying_listing_changing_and_pruning(
    run: Callable[..., Any], tell: Callable[..., Result], still_settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "budgets.toml"
    file.write_text(FILE)
    run("budgets", "apply", str(file), "--prune")
    [again] = run("budgets", "apply", str(file))
    assert (again["added"], again["changed"]) == ([], [])
    assert again["unchanged"] == ["department-month", "user-day"]

    first_version = read_histories(still_settings.kafka)["department-month"][-1].budget.version
    file.write_text(FILE.split('[[budget]]\nid = "user')[0].replace("150.00", "200.00"))
    [changed] = run("budgets", "apply", str(file))
    assert [(change["old"]["limit"], change["new"]["limit"]) for change in changed["changed"]] == [("150.00", "200.00")]
    assert changed["kept"] == ["user-day"]
    history = read_histories(still_settings.kafka)["department-month"]
    assert [dated.budget.version for dated in history[-2:]] == [first_version, first_version + 1]
    assert history[-2].effective_at < history[-1].effective_at

    file.write_text(file.read_text().replace("200.00", "300.00"))
    [planned] = run("budgets", "apply", str(file), "--next-window")
    [change] = planned["changed"]
    assert (change["new"]["limit"], change["effective_at"]) == ("300.00", as_json(WINDOW.end))
    told = tell("budgets", "list").stdout
    assert f"planned    department-month: limit 200.00 → 300.00 (version {first_version + 2}), from " in told
    assert "planned for " in tell("budgets", "show", "department-month").stdout
    file.write_text(file.read_text().replace("300.00", "200.00"))
    assert "what was planned is dropped" in tell("budgets", "apply", str(file)).stdout

    [pruned] = run("budgets", "apply", str(file), "--prune")
    assert pruned["removed"] == ["user-day"]
    [listed] = run("budgets", "list")
    assert [(budget["id"], budget["limit"]) for budget in listed] == [("department-month", "200.00")]


def as_json(at: int) -> str:
    return f"{instant(at):%Y-%m-%dT%H:%M:%SZ}"


def test_a_top_up_is_kept_with_the_budget_and_mistakes_are_refused(
    run: Callable[..., Any], tell: Callable[..., Result], still_settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "budgets.toml"
    file.write_text(FILE.replace("user-day", "topped-up"))
    run("budgets", "apply", str(file), "--author", "mia")
    given_to = ("--scope", "ada", "--organization", "acme", "--author", "tom")
    [given] = run("budgets", "top-up", "topped-up", "500000", *given_to)
    assert (given["amount"], given["unit"], given["scope"]) == ("500000", "tokens", "ada")
    order = ("--id", "order-1")
    again = [run("budgets", "top-up", "topped-up", "5", *given_to, *order)[0]["again"] for _ in range(2)]
    assert again == [False, True]
    other = tell("budgets", "top-up", "topped-up", "6", *given_to, *order)
    assert (other.exit_code, "'order-1': another top-up of this budget has it" in other.stderr) == (2, True)
    grant, ordered = read_histories(still_settings.kafka)["topped-up"][-1].budget.grants
    assert (ordered.amount, ordered.id) == (5, "order-1")
    assert (grant.organization, grant.scope, grant.amount) == ("acme", "ada", 500_000)
    assert run("budgets", "apply", str(file))[0]["changed"] == []
    told = tell("budgets", "show", "topped-up").stdout.splitlines()
    assert told[0].startswith("user:* day tokens 1,000,000 at 50,")
    assert [line.partition("UTC: ")[2] for line in told[1:4]] == [
        "applied by mia",
        "topped up by 500,000 tokens for ada of acme by tom",
        "topped up by 5 tokens for ada of acme by tom",
    ]
    [lasting] = run("budgets", "top-up", "topped-up", "7", *given_to, "--until", "2100-01-01T00:00:00Z")
    assert lasting["until"] == "2100-01-01T00:00:00Z"
    assert "in each window until 2100-01-01T00:00:00Z by tom" in tell("budgets", "show", "topped-up").stdout
    past = tell("budgets", "top-up", "topped-up", "7", *given_to, "--until", "2020-01-01T00:00:00Z")
    assert (past.exit_code, "'2020-01-01T00:00:00Z': must be later than now" in past.stderr) == (2, True)
    assert tell("budgets", "show", "nobody").exit_code == 2
    for arguments, said in (
        (("nobody", "5", "--scope", "ada"), "no budget in force"),
        (("topped-up", "1.5", "--scope", "ada"), "whole number"),
        (("topped-up", "5"), "say whose"),
    ):
        refused = tell("budgets", "top-up", *arguments)
        assert (refused.exit_code, said in refused.stderr) == (2, True), refused.stderr


def test_a_file_with_a_mistake_changes_nothing(
    tell: Callable[..., Result], still_settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "budgets.toml"
    file.write_text(FILE.replace("department-month", "never-applied").replace("1_000_000", "1.5"))
    refused = tell("budgets", "apply", str(file))
    assert refused.exit_code == 1
    assert f"{file}:14: limit = 1.5: must be" in refused.stderr
    assert "never-applied" not in read_histories(still_settings.kafka)


def test_alerts_shows_the_chain_and_nothing_that_lost(run: Callable[..., Any], still_settings: Settings) -> None:
    partition = 1
    appender = Appender(still_settings, partition)
    first, second, third = chain_of([80, 160], "chained")
    [lost, *_] = chain_of([80], "lost")
    head = appender.append(first, -1)
    appender.append(lost, -1)
    head = appender.append(second, head)
    appender.append(second, head - 2)
    appender.append({**lost, "type": "threshold"}, None)
    appender.append({**lost, "type": "pipeline", "scope": "beside"}, None)
    appender.append(third, head)
    shown = [alert for alert in run("alerts") if alert["scope"] in ("chained", "lost", "beside")]
    assert [(alert["scope"], alert["threshold"]) for alert in shown] == [
        ("chained", 50),
        ("chained", 75),
        ("chained", 100),
        ("beside", 50),  # appended before it, raised after it
    ]
    assert shown[0]["alert_id"] == first["alert_id"]
    assert shown[0]["window_end"].endswith("Z")


def test_alerts_can_be_followed(still_stack: Environment, still_settings: Settings) -> None:
    appender = Appender(still_settings, 2)
    first, second, _ = chain_of([160], "followed")
    head = appender.append(first, -1)
    follower = subprocess.Popen(
        [TOLLBOOK, "alerts", "--follow"], env=os.environ | still_stack, stdout=subprocess.PIPE, text=True
    )
    lines: queue.Queue[str] = queue.Queue()
    assert follower.stdout is not None
    reading = threading.Thread(target=put_all, args=(lines, follower.stdout))
    reading.start()
    try:
        assert " 50 % of 150.00 US dollars" in line_about("followed", lines)
        appender.append(second, head)
        assert " 75 % of 150.00 US dollars" in line_about("followed", lines)
    finally:
        follower.send_signal(signal.SIGINT)
        follower.wait(DEADLINE_S)
        reading.join(DEADLINE_S)
        follower.stdout.close()


def put_all(lines: "queue.Queue[str]", stream: Iterable[str]) -> None:
    for line in stream:
        lines.put(line)


def line_about(scope: str, lines: "queue.Queue[str]") -> str:
    """The next line that names the scope; queue.Empty after the deadline."""
    while True:
        line = lines.get(timeout=DEADLINE_S)
        if scope in line:
            return line


def test_people_get_tables_and_lines(tell: Callable[..., Result], tmp_path: Path) -> None:
    file = tmp_path / "budgets.toml"
    file.write_text(FILE.replace("department-month", "shown"))
    assert (
        "shown: department:* month cost 150.00 at 50, 75, 90, 95, 100 %" in tell("budgets", "apply", str(file)).stdout
    )
    listed = tell("budgets", "list").stdout
    assert [line.split()[:5] for line in listed.splitlines() if "shown" in line] == [
        ["shown", "department:*", "month", "150.00", "cost"]
    ]


def test_limits_tell_what_is_used(
    run: Callable[..., Any], tell: Callable[..., Result], still_settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "budgets.toml"
    file.write_text(FILE)
    run("budgets", "apply", str(file))
    over = Calendar().window("month", WINDOW.start - 1)
    for offset, (scope, window, used) in enumerate(
        [("engineering", WINDOW, 149_999_999_999_999), ("sales", WINDOW, 10**12), ("finance", over, 999 * 10**12)]
    ):
        record = limit_record(BUDGET, "acme", "department", scope, window, used, False, [], WINDOW.start)
        land(still_settings, record, offset)

    before = time.time()
    [[limit]] = run("limits", "department:engineering")
    past_s = [int(at - WINDOW.start // 1_000_000) for at in (before - 1, time.time() + 1)]
    whole_s = (WINDOW.end - WINDOW.start) // 1_000_000
    assert whole_s - past_s[1] <= limit["seconds_left"] <= whole_s - past_s[0]
    dearest, cheapest = (150 * whole_s / max(past, 1) for past in past_s)
    assert cheapest - 0.01 <= float(limit["projected"]) <= dearest + 0.01
    assert (limit["used"], limit["limit"], limit["remaining"]) == ("149.999999999999", "150.00", "0.000000000001")
    assert (limit["percent"], limit["current"], limit["decision"]) == ("99.9", True, "allow")
    [[ended]] = run("limits", "department:finance")
    assert (ended["current"], ended["seconds_left"], ended["projected"]) == (False, 0, "999")
    assert run("limits", "department:nobody") == [[]]

    [shown] = run("budgets", "show", "department-month")
    assert [(each["scope"], each["percent"]) for each in shown["members"]] == [
        ("engineering", "99.9"),
        ("sales", "0.6"),
    ]
    assert shown["history"][-1]["limit"] == "150.00"

    [listed] = run("budgets", "list")
    fullest = {budget["id"]: budget["fullest"] for budget in listed}
    assert (fullest["department-month"]["scope"], fullest["department-month"]["percent"]) == ("engineering", "99.9")
    assert fullest["user-day"] is None

    lines = [line.split() for line in tell("budgets", "--most", "1").stdout.splitlines()]
    assert [line[:3] for line in lines if line[0] == "department-month"] == [
        ["department-month", "acme", "department:engineering"]
    ]
    assert not any("department:sales" in line for line in lines)


def test_suggested_limits_are_amounts_of_days_with_the_days_that_exceed_them(
    run: Callable[..., Any], still_settings: Settings
) -> None:
    """Ten days of 1 to 10 dollars, in two calls each; today and what is older than asked for do not count."""
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    days = [(number, Decimal(number)) for number in range(1, 11)] + [(0, Decimal(500)), (40, Decimal(900))]
    rows = [
        ("suggested", "ann", noon - timedelta(days=ago), 1000 * ago, 1, half)
        for ago, dollars in days
        for half in (Decimal("0.000000000001"), dollars - Decimal("0.000000000001"))
    ]
    with clickhouse_connect.get_client(
        dsn=f"{still_settings.clickhouse}/{still_settings.clickhouse_database}",
        username=still_settings.clickhouse_user,
        password=still_settings.clickhouse_password.get_secret_value(),
    ) as client:
        names = ["organization", "user", "occurred_at", "input_tokens", "requests", "cost_usd"]
        client.insert("usage", rows, column_names=names)
    [found] = [each for each in run("budgets", "suggest", "--days", "30")[0] if each["organization"] == "suggested"]
    assert (found["scope"], found["days_used"], Decimal(found["highest"])) == ("user:ann", 10, 10)
    limits = [(each["percentile"], Decimal(each["limit"]), each["days_exceeded"]) for each in found["limits"]]
    assert limits == [(50, 6, 4), (90, 10, 0), (95, 10, 0), (99, 10, 0)]
    [tokens] = [
        each
        for each in run("budgets", "suggest", "--days", "5", "--unit", "tokens")[0]
        if each["organization"] == "suggested"
    ]
    assert (tokens["days_used"], tokens["highest"]) == (5, "10000")


def land(settings: Settings, record: Mapping[str, Any], offset: int) -> None:
    """As the sink does."""
    row = {**record, "positions": [], "limit_offset": offset}
    with clickhouse_connect.get_client(
        dsn=f"{settings.clickhouse}/{settings.clickhouse_database}",
        username=settings.clickhouse_user,
        password=settings.clickhouse_password.get_secret_value(),
    ) as client:
        client.insert("limit_entries", [list(row.values())], column_names=list(row))


def test_without_clickhouse_budgets_are_listed_and_limits_cannot_be_told(
    run: Callable[..., Any], tell: Callable[..., Result]
) -> None:
    away = {"TOLLBOOK_CLICKHOUSE": f"http://{nobody()}"}
    [listed] = run("budgets", "list", **away)
    assert all(budget["fullest"] is None for budget in listed)
    told = tell("limits", "department:engineering", **away)
    assert told.exit_code == 3
    assert f"ClickHouse at {away['TOLLBOOK_CLICKHOUSE']}" in told.stderr


@pytest.mark.parametrize("command", [("budgets", "list"), ("alerts",)])
def test_without_kafka_a_command_says_so_at_once(
    command: tuple[str, ...], still_stack: Environment, run_tollbook: RunTollbook
) -> None:
    away = {"TOLLBOOK_KAFKA": nobody()}
    told = run_tollbook(still_stack | away, *command)
    assert told.returncode == 3
    assert f"Error: Kafka at {away['TOLLBOOK_KAFKA']}" in told.stderr
    assert len(told.stderr.splitlines()) == 2


def test_a_scope_is_a_kind_and_a_name(tell: Callable[..., Result]) -> None:
    told = tell("limits", "engineering")
    assert told.exit_code == 2
    assert "KIND:NAME" in told.stderr
    told = tell("limits", "foo:bar")
    assert told.exit_code == 2
    assert "'foo' is no kind of scope: organization, department, user" in told.stderr
