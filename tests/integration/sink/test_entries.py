"""Windows, alerts, limits and budgets land; repeated, reordered or by writers that lost, the newest stands."""

from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pytest
from confluent_kafka import Producer

from schemas.arrow import MEASURES, WINDOW_ENTRIES
from schemas.block import to_ipc
from schemas.codec import encode
from schemas.registry import Registry
from schemas.topics import ALERTS, BUDGETS, LIMITS, WINDOWS

from .chains import produce
from .conftest import Ledger, wait_until

HOUR = 1_760_000_400_000_000 // 3_600_000_000 * 3_600_000_000
POSITION = {"src_epoch": "epoch-1", "src_partition": 0, "src_offset": 9, "block_offset": 3}


@pytest.fixture
def landing(quiet: Ledger) -> "Landing":
    quiet.start_sink()
    return Landing(quiet)


class Landing:
    """Writes records and waits until ClickHouse has what a query asks for."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._producer = Producer({"bootstrap.servers": ledger.settings.kafka})
        self._registry = Registry(ledger.settings.registry)

    def send(self, topic: str, value: bytes | None, partition: int = 0, key: str = "", **headers: bytes) -> int:
        return produce(self._producer, topic, partition, value, headers, key)

    def send_avro(self, topic: str, name: str, record: dict[str, Any], **headers: bytes) -> int:
        return self.send(topic, encode(record, name, self._registry.schema_id(topic)), **headers)

    def expect(self, sql: str, rows: list[dict[str, Any]]) -> None:
        seen: list[list[dict[str, Any]]] = []

        def there() -> bool:
            seen[:] = [self.ledger.query(sql)]
            return seen[0] == rows

        try:
            wait_until(there, 60)
        except AssertionError:
            assert seen[0] == rows


def window_entry(scope: str, block_offset: int, cost_pico: int, segment: int = 0) -> dict[str, Any]:
    names = {"window_kind": "hour", "organization": "acme", "scope_kind": "department", "scope": scope}
    times = {"window_start": HOUR, "window_end": HOUR + 3_600_000_000}
    place = {"src_partition": 0, "segment": segment, "block_offset": block_offset, "src_epoch": "e", "src_offset": 1}
    return names | times | place | dict.fromkeys(MEASURES, 1) | {"cost_pico": Decimal(cost_pico)}


def windows_value(*entries: dict[str, Any]) -> bytes:
    return to_ipc(pa.RecordBatch.from_pylist(list(entries), schema=WINDOW_ENTRIES))


def test_the_newest_entry_of_a_window_stands_whatever_the_order(landing: Landing) -> None:
    marks = [orjson.dumps([POSITION | {"block_offset": offset}]) for offset in (70, 60)]
    landing.send(WINDOWS, windows_value(window_entry("w1", 70, 10**25)), watermarks=marks[0])
    landing.send(WINDOWS, windows_value(window_entry("w1", 60, 5), window_entry("w1", 65, 7, 65)), watermarks=marks[1])
    landing.expect(
        "SELECT cost_usd, requests FROM windows WHERE scope = 'w1'",
        [{"cost_usd": Decimal(10**25 + 7).scaleb(-12), "requests": 2}],
    )
    landing.expect(
        "SELECT shard, block_offset FROM watermarks FINAL WHERE stage = 'windows' AND src_partition = 0 AND shard = 0",
        [{"shard": 0, "block_offset": 70}],
    )


def alert(alert_id: str, **fields: Any) -> dict[str, Any]:
    names = dict.fromkeys(("organization", "scope_kind", "scope", "window_kind", "unit", "severity"), "x")
    rest = {"type": "threshold", "state": "raised", "threshold": 50, "used": "1", "limit": "2"}
    times = dict.fromkeys(("window_start", "window_end", "raised_at"), HOUR)
    return {"alert_id": alert_id} | names | rest | times | {"positions": [POSITION]} | fields


def test_alerts_follow_their_chain_and_pipeline_alerts_stand_beside_it(landing: Landing) -> None:
    head = landing.send_avro(ALERTS, "alert.v1", alert("a1"), extends=b"-1")
    landing.send_avro(ALERTS, "alert.v1", alert("zombie"), extends=b"-1")
    landing.send_avro(ALERTS, "alert.v1", alert("beside", type="pipeline"))
    landing.send_avro(ALERTS, "alert.v1", alert("a2", used="2"), extends=str(head).encode())
    landing.expect(
        "SELECT alert_id, type, used FROM alerts WHERE alert_id IN ('a1', 'a2', 'zombie', 'beside') ORDER BY alert_id",
        [
            {"alert_id": "a1", "type": "threshold", "used": "1"},
            {"alert_id": "a2", "type": "threshold", "used": "2"},
            {"alert_id": "beside", "type": "pipeline", "used": "1"},
        ],
    )
    landing.expect("SELECT positions[1].block_offset AS at FROM alerts WHERE alert_id = 'a1'", [{"at": 3}])


def test_the_newest_limit_stands(landing: Landing) -> None:
    names = dict.fromkeys(("organization", "scope_kind", "scope", "window_kind", "unit", "decision"), "x")
    times = dict.fromkeys(("window_start", "window_end", "as_of"), HOUR)
    for used in ("1", "2"):
        limit = {"budget_id": "l1", "used": used, "limit": "9", "remaining": "7", "positions": [POSITION]}
        landing.send_avro(LIMITS, "limit.v1", names | times | limit, key="l1")
    landing.expect("SELECT used, remaining FROM limits WHERE budget_id = 'l1'", [{"used": "2", "remaining": "7"}])


def test_a_budget_is_as_its_newest_version_says_until_it_is_removed(landing: Landing) -> None:
    entry = {"organization": "*", "scope": "department:*", "period": "month", "unit": "cost", "thresholds": [50, 90]}
    versions = [entry | {"version": 1, "effective_at": 0, "limit": "1.00"}]
    versions.append(entry | {"version": 2, "effective_at": 1, "limit": "2.00"})
    landing.send(BUDGETS, orjson.dumps({"id": "b1", "history": versions}), key="b1")
    sql = "SELECT version, limit, scope_kind, scope, removed FROM budgets FINAL WHERE id = 'b1'"
    landing.expect(sql, [{"version": 2, "limit": "2.00", "scope_kind": "department", "scope": "*", "removed": False}])
    landing.send(BUDGETS, None, key="b1")
    landing.expect(sql, [{"version": 0, "limit": "", "scope_kind": "", "scope": "", "removed": True}])
