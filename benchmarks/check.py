"""Whether a system's totals are right: its rows and windows in ClickHouse, its alerts, against the generator's sums."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from clickhouse_connect.driver import Client

from benchmarks.job import MEASURES, Totals, Window

Sums = dict[Window, tuple[int, ...]]
#: Where each system keeps its money: Tollbook as dollars with 12 decimals, the peers as pico-dollars.
COST = {"tollbook": "toInt64(sum(cost_usd) * 1000000000000)", "bench": "sum(cost_pico)"}
WINDOWS = {
    "tollbook": (
        "SELECT scope_kind, scope, toUnixTimestamp64Micro(window_start), requests, input_tokens, output_tokens, "
        "toInt64(cost_usd * 1000000000000) FROM tollbook.windows "
        "WHERE window_kind = 'hour' AND scope_kind IN ('department', 'user')"
    ),
    "bench": (
        "SELECT scope_kind, scope, window_start_us, requests, input_tokens, output_tokens, cost_pico "
        "FROM bench.windows FINAL"
    ),
}


def sums_of_rows(client: Client, database: str) -> Sums:
    """The rows in `database`, added up as windows are."""
    found: Sums = {}
    for kind in ("department", "user"):
        query = (
            f"SELECT '{kind}', {kind}, toUnixTimestamp(toStartOfHour(occurred_at)) * 1000000, "
            f"count(), sum(input_tokens), sum(output_tokens), {COST[database]} "
            f"FROM {database}.usage GROUP BY ALL"
        )
        found |= _sums(client.query(query).result_rows)
    return found


def sums_of_windows(client: Client, database: str) -> Sums:
    """The windows that the system itself kept."""
    return _sums(client.query(WINDOWS[database]).result_rows)


def _sums(rows: Iterable[Iterable[int | str]]) -> Sums:
    return {(str(kind), str(scope), int(start)): tuple(map(int, rest)) for kind, scope, start, *rest in rows}


def differences(found: Mapping[Window, tuple[int, ...]], expected: Mapping[Window, tuple[int, ...]]) -> int:
    """How many windows have another sum than expected, lack, or should not be there."""
    nothing = (0,) * len(MEASURES)
    return sum(found.get(key, nothing) != expected.get(key, nothing) for key in found.keys() | expected.keys())


def wrong(found: Sums, once: Totals, as_sent: Totals) -> int:
    """Differences from the sums that count each event once, or as often as it was sent: whichever it is nearer to.

    Which of the two a system meets is another question (it drops duplicates or does not); meeting neither is wrong.
    """
    return min(differences(found, once.windows), differences(found, as_sent.windows))


@dataclass(frozen=True, slots=True)
class Ids:
    """What became of the events' ids."""

    lost: int
    doubled: int  # sent once, there more often
    copies_kept: int  # sent more often, there more often
    sent_again: int  # ids sent more often


def ids(found: Iterable[str], sent: Iterable[str]) -> Ids:
    """Compares the ids of the rows with those of the topic."""
    times_sent, times_found = Counter(sent), Counter(found)
    repeated = {event for event, times in times_sent.items() if times > 1}
    more = {event for event, times in times_found.items() if times > 1}
    return Ids(
        lost=sum(event not in times_found for event in times_sent),
        doubled=len(more - repeated),
        copies_kept=len(more & repeated),
        sent_again=len(repeated),
    )
