"""All checks of an audit, in the order of the stream."""

from collections.abc import Callable, Mapping, Sequence

from confluent_kafka import KafkaException

from schemas.calendar import load_calendar
from schemas.money import to_pico, usd_text
from schemas.registry import RegistryAwayError
from schemas.settings import Settings
from schemas.topics import PRICES
from stream_processors.audit.amounts import check_amounts
from stream_processors.audit.conservation import (
    Landed,
    Upstream,
    check_chain,
    check_contents,
    check_upstream,
    read_landed,
)
from stream_processors.audit.datasets import Dataset, check_datasets, datasets_from_files
from stream_processors.audit.deep import Configured, check_deep
from stream_processors.audit.model import Check, Report, Value
from stream_processors.audit.queries import Ledger
from stream_processors.audit.rerated import check_rerated
from stream_processors.audit.rollups import check_rollups, when_settled
from stream_processors.audit.stream import check_alert_log, check_limit_log, read_upstream
from stream_processors.audit.superset import SupersetError, datasets_from_superset
from stream_processors.audit.windows import check_windows, read_counted
from stream_processors.core.revisions import HOUR_US, LIFETIME_US
from stream_processors.reference_prices import overrides_of
from stream_processors.warehouse import connect

NAMED = 20
#: Called with the name of each check before it runs, and with how many events a deep audit has compared since.
Tell = Callable[[str, int], None]


def run_audit(settings: Settings, deep: bool, kafka_error: str, tell: Tell) -> Report:
    """Compares everything with everything. Raises WarehouseError, KafkaException.

    `kafka_error` says why the broker cannot be asked, '' when it can; what needs it is then undecided.
    """
    with connect(settings) as client:
        ledger = Ledger(client, load_calendar(settings.calendar))
        tell("positions", 0)
        # First what has landed, then how far the stream is: so the stream is never behind.
        landed = read_landed(ledger)
        counted = read_counted(ledger, settings.partitions)
        upstream = [] if kafka_error else read_upstream(settings)

        steps: list[tuple[str, Callable[[], list[Check]]]] = [
            ("upstream", lambda: [_upstream_check(landed, upstream, kafka_error)]),
            ("blocks", lambda: [check_chain(ledger, landed)]),
            ("conservation", lambda: [check_contents(ledger, landed)]),
            ("windows", lambda: [check_windows(ledger, landed, counted)]),
            ("alerts", lambda: [check_amounts(ledger, "alerts", landed)]),
            ("alert_log", lambda: [_log("alert_log", check_alert_log, ledger, settings, kafka_error)]),
            ("limits", lambda: [check_amounts(ledger, "limits", landed)]),
            ("limit_log", lambda: [_log("limit_log", check_limit_log, ledger, settings, kafka_error)]),
            ("rollups", lambda: check_rollups(ledger)),
            ("unpriced", lambda: [list_unpriced(ledger)]),
            ("unsettled", lambda: [list_unsettled(ledger)]),
            ("half_moved", lambda: [list_half_moved(ledger)]),
            ("datasets", lambda: [_datasets(ledger, settings)]),
        ]

        checks: list[Check] = []
        for name, step in steps:
            tell(name, 0)
            checks += step()
        if deep:
            tell("deep", 0)
            checks.append(_deep(ledger, settings, landed, upstream, kafka_error, lambda count: tell("deep", count)))
            tell("rerated", 0)
            checks.append(_rerated(ledger, settings, kafka_error, lambda count: tell("rerated", count)))
    return Report(checks, watermarks(landed, counted, upstream))


def list_unpriced(ledger: Ledger) -> Check:
    """No comparison but a statement: how many requests have no cost, and of which models; `checked` counts them."""
    rows = ledger.ask("unpriced")
    check = Check("unpriced", checked=sum(row["requests"] for row in rows))
    check.notes = [f"{row['provider']} {row['model']}: {row['requests']:,} requests without a price" for row in rows]
    _cut(check, "models")
    return check


def list_unsettled(ledger: Ledger, hours: int = LIFETIME_US // HOUR_US) -> Check:
    """No comparison but a statement: provisional usage whose final no longer can be booked as one; `checked` counts it.

    Of events that were first booked `hours` ago: what is booked stands.
    """
    rows = ledger.ask("unsettled", {"hours": hours})
    check = Check("unsettled", checked=sum(row["uses"] for row in rows))
    check.notes = [
        f"{row['source']}: {row['uses']:,} uses without a final within {hours} hours stand as they are, "
        f"{usd_text(to_pico(row['cost_usd']))} US dollars"
        for row in rows
    ]
    _cut(check, "sources")
    return check


def list_half_moved(ledger: Ledger) -> Check:
    """No comparison but a statement: usage that counts twice, as `directory correct` was ended; `checked` counts it."""
    rows = ledger.ask("half_moved")
    check = Check("half_moved", checked=sum(row["uses"] for row in rows))
    check.notes = [
        f"{row['source']}: {row['uses']:,} uses are on their way to another department; if nothing moves them now, "
        f"run `tollbook directory correct --from {row['since']}T00:00:00Z` again"
        for row in rows
    ]
    _cut(check, "sources")
    return check


def _cut(check: Check, what: str) -> None:
    more = len(check.notes) - NAMED
    if more > 0:
        check.notes[NAMED:] = [f"and {more:,} {what} more"]


def watermarks(
    landed: Mapping[int, Landed], counted: Mapping[int, int], upstream: Sequence[Upstream]
) -> list[dict[str, Value]]:
    """Per source partition: how far rows and windows have landed, where the log ends, and the events in between."""
    ends = {source.src_partition: source for source in upstream}
    return [
        _watermark(number, landed.get(number), counted.get(number), ends.get(number))
        for number in sorted(landed.keys() | ends.keys())
    ]


def _watermark(number: int, part: Landed | None, windows: int | None, source: Upstream | None) -> dict[str, Value]:
    known = part is not None and (source is None or part.src_epoch == source.src_epoch)
    last = part.last_offset if part is not None and known else -1
    return {
        "src_partition": number,
        "src_epoch": source.src_epoch if source else part.src_epoch if part else "",
        "landed_offset": last,
        "landed_block": part.block_offset if part else -1,
        "windows_block": -1 if windows is None else windows,
        "log_end": source.end if source else None,
        "lag": source.end - last - 1 if source else None,
    }


def _upstream_check(landed: Mapping[int, Landed], upstream: Sequence[Upstream], kafka_error: str) -> Check:
    return Check("upstream", undecided=kafka_error) if kafka_error else check_upstream(landed, upstream)


def _log(
    name: str, check: Callable[[Ledger, Settings], Check], ledger: Ledger, settings: Settings, kafka_error: str
) -> Check:
    if kafka_error:
        return Check(name, undecided=kafka_error)
    try:
        return check(ledger, settings)
    except (KafkaException, RegistryAwayError) as error:
        return Check(name, undecided=str(error))


def _deep(
    ledger: Ledger,
    settings: Settings,
    landed: Mapping[int, Landed],
    upstream: Sequence[Upstream],
    kafka_error: str,
    progress: Callable[[int], None],
) -> Check:
    if kafka_error or not upstream:
        return Check("deep", undecided=kafka_error or "usage.events has no partition")
    try:
        return check_deep(ledger, settings, landed, upstream[0].src_epoch, progress)
    except (KafkaException, RegistryAwayError) as error:
        return Check("deep", undecided=str(error))


def _rerated(ledger: Ledger, settings: Settings, kafka_error: str, progress: Callable[[int], None]) -> Check:
    if kafka_error:
        return Check("rerated", undecided=kafka_error)
    try:
        return check_rerated(ledger, Configured(settings.kafka, PRICES, overrides_of).at, progress)
    except KafkaException as error:
        return Check("rerated", undecided=str(error))


def _datasets(ledger: Ledger, settings: Settings) -> Check:
    try:
        datasets, origin = _dashboard(ledger, settings)
    except SupersetError as error:
        return Check("datasets", undecided=str(error))
    check = when_settled(ledger, lambda: check_datasets(ledger, datasets))
    check.notes.append(origin)
    return check


def _dashboard(ledger: Ledger, settings: Settings) -> tuple[list[Dataset], str]:
    from_superset = datasets_from_superset(settings)
    if from_superset is not None:
        return from_superset, f"as Superset at {settings.superset} has them"
    return datasets_from_files(ledger.calendar.zone), "Superset is off: as superset/assets has them"
