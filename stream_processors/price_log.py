"""`usage.prices`: one record a price or currency of one's own, its whole dated history."""

from collections.abc import Mapping

from schemas.topics import PRICES
from stream_processors import versioned_log
from stream_processors.core.price_book import PriceBook
from stream_processors.core.price_file import conflicts
from stream_processors.core.price_history import History, entries_at, latest_version
from stream_processors.versioned_log import Follower


def read_histories(kafka: str) -> dict[str, History]:
    """Every price and currency that the topic holds, by id; KafkaException when the broker is away."""
    return versioned_log.read_histories(kafka, PRICES, History)


def follow_prices(kafka: str) -> Follower[History, PriceBook]:
    """The price book with the overrides in force."""
    return Follower(kafka, PRICES, History, book_of)


def book_of(histories: Mapping[str, History], version: int | None = None) -> PriceBook:
    """The price book of a version of the overrides, by default the newest. ValueError when they contradict."""
    number = latest_version(histories) if version is None else version
    entries = entries_at(histories, number)
    for conflict in conflicts(entries):
        raise ValueError(conflict)
    return PriceBook.compiled(entries, number)
