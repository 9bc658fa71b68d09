"""The audit finds nothing in a ledger that agrees, and names each single thing that does not."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from schemas.arrow import MEASURES
from stream_processors.audit.conservation import read_landed
from stream_processors.audit.datasets import ASSETS, Dataset, check_datasets, datasets_from_files
from stream_processors.audit.model import Check, Difference, Report
from stream_processors.audit.rollups import when_settled
from stream_processors.audit.run import list_half_moved, list_unsettled
from stream_processors.audit.windows import check_windows, read_counted

from . import books
from .conftest import NO_BROKER, Books

TOLLBOOK = str(Path(sys.executable).with_name("tollbook"))
PICO = Decimal("0.000000000001")
LANDED = books.blocks()


def row_where(**wanted: Any) -> books.Row:
    """A priced row that windows have counted."""
    return next(
        row
        for block in LANDED
        if block.index <= books.counted_until(block.partition)
        for row in block.rows
        if row["cost_usd"] is not None and all(row[name] == value for name, value in wanted.items())
    )


def place(row: books.Row) -> str:
    return f"src_partition = {row['src_partition']} AND src_offset = {row['src_offset']}"


def differences(report: Report, table: str) -> list[Difference]:
    return [d for check in report.checks for d in check.differences if d.table == table]


def undecided(report: Report) -> dict[str, str]:
    return {check.name: check.undecided for check in report.checks if check.undecided}


def windows_of(row: books.Row) -> set[tuple[str, str]]:
    """(scope, window) of everything that a row is counted in."""
    micros = int(row["occurred_at"].timestamp()) * 1_000_000
    return {
        (
            f"{row['organization']} {scope_kind}:{row[scope_kind]}",
            f"{kind} {books.instant(books.CALENDAR.window(kind, micros).start).isoformat()}",
        )
        for kind in books.WINDOW_KINDS
        for scope_kind in books.SCOPE_KINDS
    }


def test_a_ledger_that_agrees_has_no_difference(agreeing: Books) -> None:
    report = agreeing.audit()
    assert [d for check in report.checks for d in check.differences] == []
    assert undecided(report) == {"upstream": NO_BROKER, "alert_log": NO_BROKER, "limit_log": NO_BROKER}
    assert report.exit_code == 3
    checked = report.to_json()["checked"]
    assert checked["conservation"] == books.PARTITIONS * books.BLOCKS * books.BLOCK_OFFSETS
    assert checked["windows"] > 500
    assert (checked["alerts"], checked["limits"]) == (3, 4 + 4 + 1)
    assert report.to_json()["ahead"] == {"alerts": 1}
    assert [mark["windows_block"] for mark in report.watermarks] == [10, 10, 8]


def test_an_empty_ledger_has_no_difference(empty_books: Books) -> None:
    assert [d for check in empty_books.audit().checks for d in check.differences] == []


def test_one_pico_dollar_more_on_a_row(agreeing: Books) -> None:
    row = row_where(organization="acme", department="sales", src_partition=0)
    agreeing.spoil(f"ALTER TABLE usage UPDATE cost_usd = cost_usd + {PICO} WHERE {place(row)}")
    report = agreeing.audit()
    found = differences(report, "windows")
    assert {(d.scope, d.window) for d in found} == windows_of(row)
    for difference in found:
        assert difference.measure == "cost_usd"
        assert Decimal(str(difference.expected)) - Decimal(str(difference.found)) == PICO
        assert difference.position["src_partition"] == 0
    for rollup in ("usage_hourly", "usage_daily"):
        [difference] = differences(report, rollup)
        assert difference.measure == "cost_usd"
        assert difference.scope.startswith("acme department:sales ")
        assert Decimal(str(difference.expected)) - Decimal(str(difference.found)) == PICO
    assert {d.scope for d in differences(report, "dataset usage")} >= {"acme department:sales", "everything"}
    assert report.exit_code == 1


def test_a_row_moved_to_another_department(agreeing: Books) -> None:
    row = row_where(organization="acme", department="sales", src_partition=0)
    moved = row | {"department": "engineering"}
    agreeing.spoil(f"ALTER TABLE usage DELETE WHERE {place(row)}")
    books.insert(agreeing.client, "usage", [moved])
    report = agreeing.audit()
    scopes = {d.scope for d in differences(report, "windows")}
    assert scopes == {"acme department:sales", "acme department:engineering"}
    assert any(d.scope.startswith("acme department:sales ") for d in differences(report, "usage_hourly"))


def test_a_deleted_row(agreeing: Books) -> None:
    row = row_where(src_partition=1)
    agreeing.spoil(f"ALTER TABLE usage DELETE WHERE {place(row)}")
    report = agreeing.audit()
    of_usage = {(d.window, d.measure): (d.expected, d.found) for d in differences(report, "usage")}
    assert of_usage[f"offset {row['src_offset']}", "entries"] == (1, 0)
    assert (1, 0) not in [value for key, value in of_usage.items() if key[0] != f"offset {row['src_offset']}"]
    found = differences(report, "windows")
    assert {(d.scope, d.window) for d in found} == windows_of(row)
    assert {d.measure for d in found} >= {"cost_usd", "requests", "input_tokens"}
    requests = next(d for d in found if d.measure == "requests" and d.window.startswith("month"))
    assert requests.found == requests.expected + 1


def test_a_doubled_row(agreeing: Books) -> None:
    row = row_where(src_partition=2)
    agreeing.spoil(f"INSERT INTO usage SELECT * FROM usage WHERE {place(row)}")
    report = agreeing.audit()
    of_usage = {(d.window, d.measure): (d.expected, d.found) for d in differences(report, "usage")}
    assert of_usage[f"offset {row['src_offset']}", "entries"] == (1, 2)
    assert (0, 1) in [value for key, value in of_usage.items() if key[1] == "repeated"]
    assert {(d.scope, d.window) for d in differences(report, "windows")} == windows_of(row)
    assert differences(report, "usage_hourly") == []


def test_a_row_at_an_offset_that_was_rejected(agreeing: Books) -> None:
    """The block's counts still hold: one row too few here, one reject's offset twice there."""
    row = row_where(src_partition=2)
    block = next(b for b in LANDED if b.partition == 2 and b.offset == row["block_offset"])
    agreeing.spoil(f"ALTER TABLE usage UPDATE src_offset = {block.rejects[0]} WHERE {place(row)}")
    found = {d.window: (d.expected, d.found) for d in differences(agreeing.audit(), "usage")}
    assert found[f"offset {row['src_offset']}"] == (1, 0)
    assert found[f"offset {block.rejects[0]}"] == (1, 2)


@pytest.mark.parametrize("table", ["usage_hourly", "usage_daily"])
def test_one_changed_rollup_row(agreeing: Books, table: str) -> None:
    key = "(organization, department, model, src_partition)"
    one = f"SELECT {key} FROM {table} WHERE requests > 0 ORDER BY {key} LIMIT 1"
    agreeing.spoil(f"ALTER TABLE {table} UPDATE output_tokens = output_tokens + 1 WHERE {key} IN ({one})")
    report = agreeing.audit()
    start = "hour" if table == "usage_hourly" else "toDateTime(day, {zone:String})"
    changed = agreeing.client.query(
        f"SELECT organization, department, toUnixTimestamp({start}) FROM {table} WHERE {key} IN ({one})",
        {"zone": books.CALENDAR.zone},
    ).result_rows
    found = differences(report, table)
    assert len(found) == len(changed) > 0
    for organization, department, at in changed:
        scope, window = f"{organization} department:{department} ", datetime.fromtimestamp(at, UTC).isoformat()
        assert any(d.scope.startswith(scope) and d.window.endswith(window) for d in found), found
    assert {(d.measure, d.found - d.expected) for d in found} == {("output_tokens", 1)}
    assert differences(report, "windows") + differences(report, "usage") == []


@pytest.mark.parametrize("kind", books.WINDOW_KINDS)
def test_one_changed_window_entry(agreeing: Books, kind: str) -> None:
    entries = [e for e in books.window_entries(LANDED) if e["window_kind"] == kind and e["src_partition"] == 2]
    for scope_kind in books.SCOPE_KINDS:
        entry = next(e for e in entries if e["scope_kind"] == scope_kind)
        # Of two entries at one position the one that came last counts.
        books.insert(agreeing.client, "window_entries", [entry | {"cost_usd": entry["cost_usd"] + PICO}])
        [difference] = _windows(agreeing)
        assert difference.table == "windows"
        assert difference.scope == f"{entry['organization']} {scope_kind}:{entry['scope']}"
        assert difference.window == f"{kind} {entry['window_start'].isoformat()}"
        assert difference.measure == "cost_usd"
        assert Decimal(str(difference.found)) - Decimal(str(difference.expected)) == PICO
        assert difference.position == {"src_partition": 2, "block_offset": 8}
        books.insert(agreeing.client, "window_entries", [entry])


def _windows(agreeing: Books) -> list[Difference]:
    ledger = agreeing.ledger
    return check_windows(ledger, read_landed(ledger), read_counted(ledger, books.PARTITIONS)).differences


def _entry(entry: books.Row) -> str:
    return (
        f"window_kind = '{entry['window_kind']}' AND organization = '{entry['organization']}' "
        f"AND scope_kind = '{entry['scope_kind']}' AND scope = '{entry['scope']}' "
        f"AND toUnixTimestamp(window_start) = {int(entry['window_start'].timestamp())} "
        f"AND src_partition = {entry['src_partition']} AND segment = {entry['segment']}"
    )


def test_a_missing_window(agreeing: Books) -> None:
    entry = next(e for e in books.window_entries(LANDED) if e["window_kind"] == "hour" and e["src_partition"] == 0)
    agreeing.spoil("ALTER TABLE window_entries DELETE WHERE " + _entry(entry))
    found = differences(agreeing.audit(), "windows")
    assert {d.window for d in found} == {f"hour {entry['window_start'].isoformat()}"}
    requests = next(d for d in found if d.measure == "requests")
    assert (requests.expected, requests.found) == (entry["requests"], 0)


def test_a_window_that_no_row_belongs_to(agreeing: Books) -> None:
    entry = next(e for e in books.window_entries(LANDED) if e["window_kind"] == "day" and e["src_partition"] == 0)
    books.insert(agreeing.client, "window_entries", [entry | {"scope_kind": "user", "scope": "nobody"}])
    found = differences(agreeing.audit(), "windows")
    assert {d.scope for d in found} == {f"{entry['organization']} user:nobody"}
    requests = next(d for d in found if d.measure == "requests")
    assert (requests.expected, requests.found) == (0, entry["requests"])


def test_a_day_that_ends_at_the_wrong_hour(agreeing: Books) -> None:
    """The day on which clocks go forward has 23 hours."""
    short = books.CALENDAR.window("day", int(books.START.timestamp() + 86_400) * 1_000_000)
    assert short.end - short.start == 23 * 3_600_000_000
    agreeing.spoil(
        "ALTER TABLE window_entries UPDATE window_end = window_end + INTERVAL 1 HOUR "
        f"WHERE window_kind = 'day' AND scope_kind = 'organization' AND scope = 'acme' AND src_partition = 0 "
        f"AND toUnixTimestamp(window_start) = {short.start // 1_000_000}"
    )
    [difference] = differences(agreeing.audit(), "windows")
    assert difference.measure == "window_end"
    assert (difference.expected, difference.found) == ("2026-03-29T22:00:00+00:00", "2026-03-29T23:00:00+00:00")


def test_one_changed_alert(agreeing: Books) -> None:
    used = Decimal(books.alerts(LANDED)[1]["used"])
    agreeing.spoil(f"ALTER TABLE alert_entries UPDATE used = '{used - PICO:f}' WHERE alert_id = 'alert-75'")
    [difference] = [d for check in agreeing.audit().checks for d in check.differences]
    assert (difference.table, difference.scope, difference.measure) == (
        "alerts",
        "acme department:sales",
        "used (cost)",
    )
    assert difference.window == f"month {books.instant(books.MONTH.start).isoformat()}"
    assert (difference.expected, difference.found) == (f"{used:.12f}", f"{used - PICO:f}")
    assert difference.position == {"key": "alert-75 raised", "block_offsets": "0:6, 1:8, 2:4"}


@pytest.mark.parametrize("unit", ["cost", "tokens", "requests", "output_tokens"])
def test_one_changed_limit(agreeing: Books, unit: str) -> None:
    record = next(r for r in books.limits(LANDED) if r["unit"] == unit)
    changed = Decimal(record["used"]) + 1
    agreeing.spoil(f"ALTER TABLE limit_entries UPDATE used = '{changed:f}' WHERE budget_id = 'sales-{unit}'")
    [difference] = [d for check in agreeing.audit().checks for d in check.differences]
    assert (difference.table, difference.measure) == ("limits", f"used ({unit})")
    assert difference.scope == "acme department:sales"
    assert difference.window == f"month {books.instant(books.MONTH.start).isoformat()}"
    assert Decimal(str(difference.found)) - Decimal(str(difference.expected)) == 1


def test_one_changed_limit_that_counts_only_some_usage(agreeing: Books) -> None:
    agreeing.spoil("ALTER TABLE limit_entries UPDATE used = '9999' WHERE budget_id = 'sales-only-week'")
    found = {d.measure: d.found for check in agreeing.audit().checks for d in check.differences}
    assert found["used (requests)"] == "9999"


#: What a track has landed of partition 0 up to its fourth block; its budget was then removed.
TRACK = f"""
INSERT INTO window_entries
SELECT
    'month',
    toDateTime64(toDateTime(toStartOfMonth(occurred_at, '{{zone}}'), '{{zone}}'), 6, 'UTC') AS start,
    toDateTime64(toDateTime(addMonths(toStartOfMonth(occurred_at, '{{zone}}'), 1), '{{zone}}'), 6, 'UTC'),
    organization, 'user[department=sales]', user, src_partition, -1, 6, any(src_epoch), 0,
    {", ".join(f"sum({name})" for name in MEASURES)}, sum(ifNull(cost_usd, 0))
FROM usage
WHERE department = 'sales' AND src_partition = 0 AND block_offset <= 6
GROUP BY ALL
"""


def test_windows_kept_for_a_budget_are_checked_at_their_own_position(agreeing: Books) -> None:
    checked = agreeing.audit().to_json()["checked"]["windows"]
    agreeing.spoil(TRACK.format(zone=books.CALENDAR.zone))
    report = agreeing.audit().to_json()
    assert report["differing"] == 0
    assert report["checked"]["windows"] > checked
    agreeing.spoil(
        "ALTER TABLE window_entries UPDATE requests = requests + 1 "
        "WHERE scope_kind = 'user[department=sales]' AND scope = 'ann' AND organization = 'acme'"
    )
    found = differences(agreeing.audit(), "windows")
    assert {(d.scope, d.measure, d.position["block_offset"]) for d in found} == {
        ("acme user[department=sales]:ann", "requests", 6)
    }


def test_remaining_follows_from_used(agreeing: Books) -> None:
    agreeing.spoil("ALTER TABLE limit_entries UPDATE remaining = '0' WHERE budget_id = 'sales-requests'")
    [difference] = [d for check in agreeing.audit().checks for d in check.differences]
    assert (difference.table, difference.measure, difference.found) == ("limits", "remaining (requests)", "0")


def test_a_block_that_leaves_offsets_out(agreeing: Books) -> None:
    agreeing.spoil(
        "ALTER TABLE blocks UPDATE first_offset = first_offset + 1 WHERE src_partition = 1 AND block_offset = 0"
    )
    found = {d.measure: (d.expected, d.found) for d in differences(agreeing.audit(), "blocks")}
    assert found == {"first_offset": (0, 1), "offsets": (19, 20)}


def test_a_missing_block(agreeing: Books) -> None:
    agreeing.spoil("ALTER TABLE blocks DELETE WHERE src_partition = 1 AND block_offset = 4")
    report = agreeing.audit()
    found = {d.measure: (d.expected, d.found) for d in differences(report, "blocks")}
    assert found == {"extends": (2, 4), "first_offset": (40, 60)}
    assert ("block 4", "rows") in {(d.window, d.measure) for d in differences(report, "usage")}


def changed_dataset(folder: Path, name: str, old: str = "", new: str = "") -> list[Dataset]:
    """The shipped dataset, with something in its file replaced."""
    text = next(ASSETS.rglob(f"{name}.yaml")).read_text()
    assert old in text
    (folder / "changed.yaml").write_text(text.replace(old, new, 1) if old else text)
    return datasets_from_files(books.CALENDAR.zone, folder)


def test_the_shipped_datasets_agree(agreeing: Books) -> None:
    datasets = datasets_from_files(books.CALENDAR.zone)
    check = check_datasets(agreeing.ledger, datasets)
    assert (check.differences, check.notes) == ([], [])
    assert {dataset.name for dataset in datasets} >= {"usage", "usage_daily", "alerts", "limits"}
    assert check.checked > 1_000


@pytest.mark.parametrize(
    ("name", "old", "new", "measure", "scope"),
    [
        ("usage", "FROM usage_hourly", "FROM usage_hourly WHERE department != 'sales'", "requests", "everything"),
        (
            "usage",
            "FROM usage_hourly",
            "FROM usage_hourly WHERE organization != 'zeta'",
            "tokens",
            "everything",
        ),
        ("usage", "toString(sum(row_cost_usd))", "toString(sum(row_cost_usd) * 2)", "cost_usd_exact", "everything"),
        ("usage", "expression: sum(row_requests)", "expression: sum(row_requests) - 1", "requests", "everything"),
        ("usage", "NULL, sum(row_cost_usd))", "NULL, sum(row_cost_usd) * 2)", "cost_usd_known", "everything"),
        ("usage", "toDate(hour, '{zone}') AS ts_day", "toDate(hour, '{zone}') + 1 AS ts_day", "requests", "ts_day:"),
        ("usage", "      hour,\n", "      hour + 3600 AS hour,\n", "requests", "hour:"),
        ("usage", "      model,\n", "      'x' AS model,\n", "tokens", "model:x"),
        ("usage_daily", "AS user,", "|| '!' AS user,", "cost_usd_known", "user:"),
        ("usage_daily", "toDateTime(day, '{zone}')", "toDateTime(day, 'UTC')", "requests", "day_start:"),
        ("alerts", "concat('$', used, ' of $', limit)", "'7'", "times shown", " 7"),
        ("alerts", "      threshold,\n", "      threshold + 1 AS threshold,\n", "times shown", ""),
        ("alerts", "FROM alerts", "FROM alerts WHERE unit != 'cost'", "times shown", ""),
        ("limits", "if(current, used, '0')", "'7'", "times shown", ""),
        ("limits", "FROM budget_status", "FROM budget_status WHERE used = '0'", "times shown", ""),
    ],
)
def test_one_changed_dataset(
    agreeing: Books, tmp_path: Path, name: str, old: str, new: str, measure: str, scope: str
) -> None:
    check = check_datasets(agreeing.ledger, changed_dataset(tmp_path, name, old, new))
    assert {d.table for d in check.differences} == {f"dataset {name}"}
    assert any(d.measure == measure and scope in d.scope for d in check.differences), check.differences


def test_a_dataset_that_cannot_be_asked(agreeing: Books, tmp_path: Path) -> None:
    datasets = changed_dataset(tmp_path, "usage", "FROM usage_hourly", "FROM usage_weekly")
    [difference] = check_datasets(agreeing.ledger, datasets).differences
    assert difference.measure == "query"
    assert "usage_weekly" in str(difference.found)


def test_a_dataset_of_which_the_audit_knows_nothing_is_named(agreeing: Books, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("{table_name: blocks, columns: [], metrics: []}")
    check = check_datasets(agreeing.ledger, datasets_from_files("UTC", tmp_path))
    assert check.notes == ["dataset blocks: nothing in it that the audit knows"]
    assert check.undecided


def test_a_moment_between_rows_and_rollup_is_no_difference(agreeing: Books) -> None:
    """Rows beyond the last recorded block are an insert under way; the rollup may say something else until it ends."""
    readings = [Check("usage_hourly", differing=1, differences=[_off(by)]) for by in (1, 2)] + [Check("usage_hourly")]
    last = LANDED[-1].rows[-1]
    books.insert(agreeing.client, "usage", [last | {"block_offset": 12, "src_offset": 999}])
    assert not when_settled(agreeing.ledger, lambda: readings.pop(0), sleep=lambda _: None).differing


def test_a_lasting_difference_is_found_while_rows_come_in(agreeing: Books) -> None:
    last = LANDED[-1].rows[-1]
    books.insert(agreeing.client, "usage", [last | {"block_offset": 12, "src_offset": 999}])
    check = when_settled(
        agreeing.ledger, lambda: Check("usage_hourly", differing=1, differences=[_off(1)]), sleep=lambda _: None
    )
    assert check.differing == 1


def _off(by: int) -> Difference:
    return Difference("usage_hourly", "acme", "hour", "requests", 10, 10 + by)


def test_the_command_says_what_it_found(agreeing: Books) -> None:
    """Exit 3 without a broker, 1 with a difference whether there is a broker or not."""
    assert _command(agreeing)[0] == 3
    agreeing.spoil("ALTER TABLE limit_entries UPDATE used = '7' WHERE budget_id = 'sales-tokens'")
    code, text = _command(agreeing, "--json")
    report = json.loads(text)
    assert code == 1
    assert report["ok"] is False
    [difference] = report["differences"]
    assert list(difference) == ["table", "scope", "window", "measure", "expected", "found", "position"]
    assert (difference["table"], difference["found"]) == ("limits", "7")
    assert len(report["watermarks"]) == books.PARTITIONS
    code, text = _command(agreeing)
    assert code == 1
    assert "used (tokens)" in text


def _command(agreeing: Books, *arguments: str) -> tuple[int, str]:
    settings = agreeing.settings
    environment = {
        "TOLLBOOK_STATE_DIR": str(settings.state_dir),
        "TOLLBOOK_KAFKA": "127.0.0.1:1",
        "TOLLBOOK_CLICKHOUSE": settings.clickhouse,
        "TOLLBOOK_CLICKHOUSE_PASSWORD": settings.clickhouse_password.get_secret_value(),
        "TOLLBOOK_CLICKHOUSE_DATABASE": settings.clickhouse_database,
        "TOLLBOOK_CALENDAR": str(settings.calendar),
        "TOLLBOOK_PARTITIONS": str(settings.partitions),
    }
    done = subprocess.run(
        [TOLLBOOK, "audit", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout


def test_provisional_usage_that_never_ended_is_told(empty_books: Books) -> None:
    uses = [
        ("open", 0, "provisional", "ok", "0.25", 49),
        ("open", 1, "provisional", "ok", "0.25", 1),  # the first one counts
        ("young", 0, "provisional", "ok", "9", 47),
        ("ended", 0, "provisional", "ok", "9", 49),
        ("ended", 1, "final", "ok", "9", 49),
        ("cancelled", 0, "provisional", "cancelled", "9", 49),
        ("unpriced", 0, "provisional", "error", "NULL", 49),
        ("plain", 0, "usage", "ok", "9", 49),
    ]
    rows = ", ".join(
        f"('jobs', '{event_id}', {revision}, '{kind}', '{status}', {cost}, now64(6) - toIntervalHour({hours}), {place})"
        for place, (event_id, revision, kind, status, cost, hours) in enumerate(uses)
    )
    columns = "source, event_id, revision, kind, status, cost_usd, booked_at, src_offset"
    empty_books.spoil(f"INSERT INTO usage ({columns}) VALUES {rows}")
    check = list_unsettled(empty_books.ledger)
    assert (check.checked, check.notes) == (
        2,
        ["jobs: 2 uses without a final within 48 hours stand as they are, 0.50 US dollars"],
    )


def test_usage_that_was_moved_half_way_is_told(empty_books: Books) -> None:
    sides = [("a", "in"), ("a", "out"), ("b", "in"), ("b", "out"), ("b", "in")]
    at = "2026-03-05 12:00:00"
    rows = ", ".join(
        f"('svc', '{event}', '{event}{place}', 'adjustment', map('reassigned', '{side}'), '{at}', {place})"
        for place, (event, side) in enumerate(sides)
    )
    empty_books.spoil(
        f"INSERT INTO usage (source, corrects, event_id, kind, tags, occurred_at, src_offset) VALUES {rows}"
    )
    check = list_half_moved(empty_books.ledger)
    assert (check.checked, check.notes) == (
        1,
        [
            "svc: 1 uses are on their way to another department; if nothing moves them now, "
            "run `tollbook directory correct --from 2026-03-01T00:00:00Z` again"
        ],
    )
