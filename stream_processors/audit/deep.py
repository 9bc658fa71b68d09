"""The books against the events themselves, decoded and priced again by `stream_processors.reference`."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from importlib.metadata import version
from typing import Any

from confluent_kafka import Message

from schemas.money import to_pico
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.topics import DIRECTORY, EVENTS, PRICES
from stream_processors.audit.compare import instant_text, scope_text
from stream_processors.audit.conservation import Landed
from stream_processors.audit.model import Check, Difference, Value
from stream_processors.audit.queries import Ledger
from stream_processors.logs import LogReader
from stream_processors.reference import COLUMNS, Partition, Verdict, people_of
from stream_processors.reference_prices import overrides_of

CHUNK = 50_000  # offsets compared at a time
REPEATS = ("duplicate", "conflict")

#: What the books say of one offset.
Booked = Mapping[str, Any]


def check_deep(
    ledger: Ledger, settings: Settings, landed: Mapping[int, Landed], epoch: str, progress: Callable[[int], None]
) -> Check:
    """Every landed event that the broker still has; `progress` is told how many more were compared.

    Raises KafkaException or RegistryAwayError.
    """
    check = Check("deep")
    skipped = 0
    overrides = Configured(settings.kafka, PRICES, overrides_of)
    people = Configured(settings.kafka, DIRECTORY, people_of)
    with LogReader(settings.kafka) as reader, closing(Registry(settings.registry)) as registry:
        for part in landed.values():
            if part.src_epoch != epoch:
                check.notes.append(f"{EVENTS}[{part.src_partition}]: of another epoch, its events are gone")
                continue
            start, _ = reader.bounds(EVENTS, part.src_partition)
            skipped += start
            judge = Partition(registry.schema_text, complete=start == 0)
            versions_of = block_versions(ledger, part)
            for messages, first, last in chunks(
                reader.read(EVENTS, part.src_partition, start), start, part.last_offset
            ):
                verdicts = {}
                for message in messages:
                    offset = message.offset() or 0
                    prices, directory = versions_of(offset)
                    booked_us = message.timestamp()[1] * 1000
                    verdicts[offset] = judge.judge(
                        message.value() or b"", booked_us, overrides.at(prices), people.at(directory)
                    )
                _compare(ledger, check, part, range(first, last + 1), verdicts)
                progress(len(verdicts))
    if skipped:
        check.notes.append(f"retention took {skipped} events; a repeat of one of them looks new")
    return check


class Configured:
    """What a topic of dated histories says as of each version."""

    def __init__(self, kafka: str, topic: str, of: Callable[[list[bytes], int], Any]) -> None:
        with LogReader(kafka) as reader:
            start, _ = reader.bounds(topic, 0)
            self._records = [message.value() or b"" for message in reader.read(topic, 0, start)]
        self._of = of
        self._known: dict[int, Any] = {}

    def at(self, version: int) -> Any:
        """As the reference takes it."""
        if version not in self._known:
            self._known[version] = self._of(self._records, version)
        return self._known[version]


def block_versions(ledger: Ledger, part: Landed) -> Callable[[int], tuple[int, int]]:
    """Tells for an offset which versions of price overrides and directory its block names."""
    rows = ledger.ask("block_versions", {"partition": part.src_partition, "epoch": part.src_epoch})
    lasts = [row["last_offset"] for row in rows]
    versions = [
        (int(row["price_version"].partition(" + overrides ")[2] or 0), row["directory_version"]) for row in rows
    ]

    def version_of(offset: int) -> tuple[int, int]:
        place = bisect_left(lasts, offset)
        return versions[place] if place < len(versions) else (0, 0)

    return version_of


def chunks(messages: Iterator[Message], start: int, last: int) -> Iterator[tuple[list[Message], int, int]]:
    """Records up to offset `last`, about CHUNK offsets at a time, with the first and last offset they stand for."""
    held: list[Message] = []
    for message in messages:
        offset = message.offset() or 0
        if offset > last:
            break
        if offset - start >= CHUNK:
            yield held, start, offset - 1
            held, start = [], offset
        held.append(message)
    yield held, start, last


def _compare(ledger: Ledger, check: Check, part: Landed, offsets: range, verdicts: Mapping[int, Verdict]) -> None:
    parameters = {
        "partition": part.src_partition,
        "epoch": part.src_epoch,
        "first": offsets.start,
        "last": offsets.stop - 1,
    }
    booked = ledger.ask("booked_rows", parameters, columns=", ".join(COLUMNS))
    rows = {row["src_offset"]: row for row in booked if not row["src_entry"]}
    pairs = {row["src_offset"]: row for row in booked if row["src_entry"]}
    rejects = {row["src_offset"]: row["reason"] for row in ledger.ask("booked_rejects", parameters)}
    installed = f"genai-prices {version('genai-prices')} "
    for offset in sorted(verdicts.keys() | rows.keys() | rejects.keys()):
        row = rows.get(offset)
        if row is not None and not row["price_version"].startswith(installed):
            check.undecided = f"rows were priced with {row['price_version']}, installed is {installed.strip()}"
            continue
        place = {"src_epoch": part.src_epoch, "src_partition": part.src_partition, "src_offset": offset}
        verdict = verdicts.get(offset)
        check.add(judge_offset(verdict, row, rejects.get(offset), place))
        check.add(judge_pair(verdict, row, pairs.get(offset), place))
    check.checked += len(verdicts)


def judge_offset(
    verdict: Verdict | None, row: Booked | None, reason: str | None, place: Mapping[str, Value]
) -> list[Difference]:
    """What the books say of one offset against the verdict (None: the broker has no record there). Pure."""
    source = f"{EVENTS}[{place['src_partition']}]"
    window = f"offset {place['src_offset']}"

    def differ(table: str, measure: str, expected: Value, found: Value, scope: str = source) -> Difference:
        return Difference(table, scope, window, measure, expected, found, place)

    if verdict is None:
        return [differ("usage", "entry", None, f"reject: {reason}" if row is None else "row")]
    expected = f"reject: {verdict.reason}" if verdict.reason else "row"
    if row is None and reason is None:
        return [differ("usage", "entry", expected, None, _scope(verdict) or source)]
    if verdict.doubtful and (reason in REPEATS or row is not None):
        expected = "row" if row is not None else f"reject: {reason}"
    found = "row" if row is not None else f"reject: {reason}"
    if expected != found:
        table = "usage" if row is not None else "rejected"
        return [differ(table, "entry", expected, found, _scope(verdict) or source)]
    if row is None or verdict.values is None:
        return []
    return [
        differ("usage", name, want, have, _scope(verdict) or source)
        for name, want, have in unequal_columns(verdict.values, row)
    ]


def judge_pair(
    verdict: Verdict | None, row: Booked | None, pair: Booked | None, place: Mapping[str, Value]
) -> list[Difference]:
    """The second row of an offset, which takes back what a revision counts elsewhere. Pure."""
    if verdict is None or row is None or (verdict.values is None and not verdict.reason):
        return []  # told already, or not to be judged
    source = f"{EVENTS}[{place['src_partition']}]"
    expected = None if verdict.reason else verdict.pair
    found = [("entry 1", "row" if expected else None, "row" if pair else None)]
    unequal = list(unequal_columns(expected, pair)) if expected and pair else found
    return [
        Difference("usage", source, f"offset {place['src_offset']}", name, want, have, place)
        for name, want, have in unequal
        if want != have
    ]


def unequal_columns(expected: Mapping[str, Any], row: Booked) -> Iterator[tuple[str, Value, Value]]:
    """(column, expected, found) of each value that is not the reference's; dollars exact, as text."""
    for name, want in expected.items():
        have = row["cost_usd"] if name == "cost_pico" else row[name]
        if name == "cost_pico":
            have_pico = None if have is None else to_pico(have)
            if want != have_pico:
                yield "cost_pico", want, have_pico
        elif name == "occurred_at":
            if want != have:
                yield name, instant_text(want), instant_text(have)
        elif want != have:
            yield name, want, have


def _scope(verdict: Verdict) -> str:
    if verdict.values is None:
        return ""
    return scope_text(verdict.values["organization"], "department", verdict.values["department"])
