"""Who has used most of what an alert of a budget is about: known from the ledger's rows, and only told.

The alert itself does not hold it, since it must not depend on what has landed. It is asked when an alert is taken in,
so that each attempt of its delivery says the same. Alerts hardly wait for it: see the times below.
"""

import logging
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from schemas.money import to_pico, usd_text
from schemas.settings import Settings

MOST_S = 0.5  # then nothing more is asked for what was taken in together
CONNECT_S = ANSWER_S = 1
PAUSE_S = 30.0  # not asked again so long after a failure
NAMED = 3
#: What table `usage_daily` has; it is smaller by far than `usage`.
OF_A_DAY = {"organization", "department", "user", "project", "model"}
NAME = re.compile(r"[a-z][a-z0-9_]*")
QUESTION = """
SELECT `{by}` AS scope, sum({amount}) AS used, sum(used) OVER () AS total
FROM {table}
WHERE {where}
GROUP BY scope
HAVING used > 0
ORDER BY used DESC, scope
LIMIT {most}
"""
log = logging.getLogger("tollbook.notifier")

Alert = Mapping[str, Any]  # alert.v1 with instants as text


class Question(NamedTuple):
    """SQL with its parameters; the answer's scopes are of the kind `by`."""

    by: str
    sql: str
    parameters: dict[str, Any]


def question(alert: Alert, zone: str) -> Question | None:
    """The users, or of a user the models, that have used most in the window; None when it is not a budget's alert.

    Days are those of `zone`. Raises ValueError when the alert names what cannot be a column.
    """
    if not alert["budget_id"] or alert["state"] != "raised":
        return None
    kind = alert["scope_kind"]
    by = "model" if kind == "user" else "user"
    pairs = [pair.split("=") for pair in alert["conditions"].split("&") if pair]
    chosen = {kind: [alert["scope"]]} | {name: [unquote(one) for one in values.split("|")] for name, values in pairs}
    unit = alert["unit"]
    amount = {"cost": "cost_usd", "tokens": "input_tokens + output_tokens"}.get(unit, unit)
    for name in (*chosen, "requests" if unit in ("cost", "tokens") else unit):
        if not NAME.fullmatch(name):
            raise ValueError(f"alert {alert['alert_id']}: {name!r}: no name of a column")
    daily = chosen.keys() <= OF_A_DAY and alert["window_kind"] != "hour"
    start, end = (datetime.fromisoformat(alert[name]).timestamp() for name in ("window_start", "window_end"))
    bounds = "day >= toDate({start:Int64}, {zone:String}) AND day < toDate({end:Int64}, {zone:String})"
    if not daily:
        bounds = "occurred_at >= fromUnixTimestamp({start:Int64}) AND occurred_at < fromUnixTimestamp({end:Int64})"
    where = [f"`{name}` IN {{of_{name}:Array(String)}}" for name in chosen]
    sql = QUESTION.format(
        by=by,
        amount=amount,
        table="usage_daily" if daily else "usage",
        where=" AND ".join(["organization = {organization:String}", *where, bounds]),
        most=NAMED,
    )
    parameters = {"organization": alert["organization"], "start": int(start), "end": int(end)}
    parameters |= {f"of_{name}": values for name, values in chosen.items()}
    return Question(by, sql, parameters | ({"zone": zone} if daily else {}))


class Contributors:
    """Asks ClickHouse. What cannot be known in time is left out, and never raised."""

    def __init__(self, settings: Settings, zone: str) -> None:
        self._settings, self._zone = settings, zone
        self._client: Client | None = None
        self._paused_until_s = 0.0

    def of(self, alerts: Sequence[Alert]) -> list[list[dict[str, Any]]]:
        """For each alert the scopes that used most, and how many percent of the whole; as far as usage has landed."""
        until_s = time.monotonic() + MOST_S
        return [self._of(alert) if time.monotonic() < until_s else [] for alert in alerts]

    def _of(self, alert: Alert) -> list[dict[str, Any]]:
        if time.monotonic() < self._paused_until_s:
            return []
        try:
            asked = question(alert, self._zone)
            if asked is None:
                return []
            if self._client is None:
                self._client = _connect(self._settings)
            rows = self._client.query(asked.sql, parameters=asked.parameters).named_results()
            return [_contributor(asked.by, alert["unit"], row) for row in rows]
        except (ClickHouseError, HTTPError) as error:
            self._client, self._paused_until_s = None, time.monotonic() + PAUSE_S
            log.warning("cannot tell who contributed to alert %s: %s", alert["alert_id"], error)
        except ValueError as error:
            log.warning("cannot tell who contributed: %s", error)
        return []


def _contributor(by: str, unit: str, row: Mapping[str, Any]) -> dict[str, Any]:
    used, total = ((to_pico(each) if unit == "cost" else int(each)) for each in (row["used"], row["total"]))
    text = usd_text(used) if unit == "cost" else str(used)
    return {"scope_kind": by, "scope": row["scope"], "used": text, "percent": used * 100 // total}


def _connect(settings: Settings) -> Client:
    address = urlsplit(settings.clickhouse)
    return clickhouse_connect.get_client(
        host=address.hostname,
        port=address.port or 8123,
        secure=address.scheme == "https",
        username=settings.clickhouse_user,
        password=settings.clickhouse_password.get_secret_value(),
        database=settings.clickhouse_database,
        connect_timeout=CONNECT_S,
        send_receive_timeout=ANSWER_S,
        query_retries=0,
    )
