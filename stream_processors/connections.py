"""Connections of aiokafka that break the same way on uvloop as on asyncio's own loop.

For one turn of the loop after a peer reset a connection, aiokafka still takes it for connected, and writes. asyncio
ignores that; uvloop raises RuntimeError, which aiokafka does not expect: it ended the task that keeps a client's
metadata, without a word, and whatever waited for metadata waited for ever. Seen once in ten kill -9 of a broker.
"""

from typing import Any

from aiokafka import conn
from aiokafka.errors import KafkaConnectionError, KafkaError


class Connection(conn.AIOKafkaConnection):  # type: ignore[misc] # aiokafka has no types
    """Tells its users that it is broken, in the words they know."""

    def send(self, request: Any, expect_response: bool = True) -> Any:
        """Aiokafka's; KafkaConnectionError also where the event loop is the first to know."""
        try:
            return super().send(request, expect_response)
        except KafkaError:  # they are RuntimeErrors, too
            raise
        except RuntimeError as error:
            self.close(reason=conn.CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: {error}") from error


def use() -> None:
    """For every client of this process."""
    conn.AIOKafkaConnection = Connection
