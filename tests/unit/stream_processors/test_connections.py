"""A connection that a peer resets, used while only the event loop knows: with a real socket on uvloop."""

import asyncio
import socket
import struct

import uvloop
from aiokafka import conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.admin import ApiVersionRequest

from stream_processors.connections import Connection

RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, of no seconds


class Unversioned:
    """Leaves out the exchange of versions: the peer is no broker."""

    async def _do_version_lookup(self) -> None:
        return


class Ours(Unversioned, Connection): ...


class Theirs(Unversioned, conn.AIOKafkaConnection):  # type: ignore[misc] # aiokafka has no types
    ...


async def _reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
    writer.transport.abort()


async def _sent_in_the_turn_after_the_reset(kind: type[conn.AIOKafkaConnection]) -> BaseException | None:
    """What sending raised."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[BaseException | None] = loop.create_future()
    server = await asyncio.start_server(_reset, "127.0.0.1", 0)
    connection = kind("127.0.0.1", server.sockets[0].getsockname()[1], request_timeout_ms=2_000)

    def send() -> None:
        try:
            assert connection.connected()
            connection.send(ApiVersionRequest())
        except (RuntimeError, KafkaConnectionError) as error:
            outcome.set_result(error)
        else:
            outcome.set_result(None)

    async with server:
        await connection.connect()
        lost = connection._protocol.connection_lost

        def connection_lost(error: Exception | None) -> None:
            lost(error)
            loop.call_soon(send)

        connection._protocol.connection_lost = connection_lost
        connection._writer.write(b"anything")
        found = await asyncio.wait_for(outcome, 10)
        connection.close()
        return found


def test_it_says_that_it_is_broken() -> None:
    assert isinstance(uvloop.run(_sent_in_the_turn_after_the_reset(Ours)), KafkaConnectionError)


def test_aiokafka_alone_lets_the_words_of_the_loop_through() -> None:
    """Once this fails, `stream_processors/connections.py` can go."""
    assert type(uvloop.run(_sent_in_the_turn_after_the_reset(Theirs))) is RuntimeError
