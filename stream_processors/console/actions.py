"""The ledger as the console uses it: the same actions as the command line's, one change at a time."""

import asyncio
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from schemas.settings import Settings
from stream_processors.commands.output import require_kafka

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


class Ledger:
    """Runs what blocks beside the loop. A change reads what it changes, so none begins before the last has ended."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._changing = asyncio.Lock()

    async def ask(
        self, question: Callable[Concatenate[Settings, Given], Answer], *given: Given.args, **named: Given.kwargs
    ) -> Answer:
        """What `question` answers. Raises KafkaException within seconds when the broker is away."""

        def run() -> Answer:
            require_kafka(self.settings.kafka)
            return question(self.settings, *given, **named)

        return await asyncio.to_thread(run)

    async def change(
        self, action: Callable[Concatenate[Settings, Given], Answer], *given: Given.args, **named: Given.kwargs
    ) -> Answer:
        """What `action` (of `stream_processors.budget_actions`) made of it."""
        async with self._changing:
            return await self.ask(action, *given, **named)
