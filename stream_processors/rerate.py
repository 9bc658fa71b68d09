"""Other prices for what is booked: the correction that `tollbook rerate` makes."""

from stream_processors.core.corrections import PRICE_TAG
from stream_processors.core.price_book import PriceBook
from stream_processors.core.rerating import rerate
from stream_processors.core.statements import BOOKED_ROWS, PRICE_TYPES
from stream_processors.correct import SELECT, Correction

_TYPES = ", ".join(f"'{name}'" for name in PRICE_TYPES)
_OURS = f"(usage.adjustment_type IN ({_TYPES}) AND usage.tags['{PRICE_TAG}'] = {{version:String}})"


def rerating(book: PriceBook, is_newest: bool, reason: str, author: str) -> Correction:
    """To the prices of `book`; `is_newest`: rating prices with it from now on."""
    return Correction(
        f"{SELECT}\nFROM usage",
        BOOKED_ROWS,
        _OURS,
        book.version,
        is_newest,
        lambda rows: rerate(rows, book, reason, author),
    )
