"""Models without a price are found once each, with an event to look at."""

from rating_events import batch, framed, schema_of

from stream_processors.core.price_book import PriceBook
from stream_processors.core.rating import rate
from stream_processors.core.revisions import Revisions
from stream_processors.core.seen import Seen
from stream_processors.core.unpriced import Unpriced, unpriced_alert, unpriced_models


def found(*values: bytes) -> list[Unpriced]:
    return unpriced_models(rate(batch(values), schema_of, PriceBook.compiled(), Seen(), Revisions()).rows)


def test_each_model_is_named_once_with_its_first_event() -> None:
    events = [
        framed(event_id="a"),
        framed(event_id="b", model="new-1"),
        framed(event_id="c", model="new-1"),
        framed(event_id="d", model="new-1", provider="house"),
    ]
    assert found(*events) == [
        Unpriced("anthropic", "new-1", "acme", "b"),
        Unpriced("house", "new-1", "acme", "d"),
    ]
    assert found(framed()) == found() == []


def test_an_alert_is_the_same_whoever_raises_it() -> None:
    first, again = Unpriced("house", "m", "acme", "a"), Unpriced("house", "m", "other", "b")
    assert first.alert_id == again.alert_id != Unpriced("house", "n", "acme", "a").alert_id
    record = unpriced_alert(first, 7)
    assert (record["type"], record["scope"], record["cause_event"]) == ("unpriced", "house/m", "a")
