"""200 000 events over every priced model: the engine charges what the reference does, to the pico-dollar."""

import pytest

from stream_processors.core.price_book import PriceBook
from tests.unit.stream_processors.core.priced_events import every_model, generate, unequal


@pytest.mark.parametrize("seed", range(1, 11))
def test_every_price_is_that_of_the_reference(seed: int) -> None:
    differing, priced = unequal(PriceBook.compiled(), generate(seed, 20_000, every_model()))
    assert differing == []
    assert priced > 5_000
