"""What the commands share: how they print, and what their exit status says when something is wrong."""

import logging
import sys
from collections.abc import Callable, Collection, Sequence
from functools import wraps
from typing import Any

import click
import orjson
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from rich.console import Console
from rich.table import Table

from schemas.registry import RegistryAwayError
from schemas.settings import Settings
from stream_processors.budget_actions import RefusedError
from stream_processors.warehouse import WarehouseError

CANNOT_DECIDE = 3
BROKER_S = 5.0
PIPE_WIDTH = 400


def reports_failure(command: Callable[..., None]) -> Callable[..., None]:
    """Exit 1 with a message for what is wrong (ValueError), 3 when a service is away."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except ValueError as error:
            raise click.ClickException(str(error)) from error
        except KafkaException as error:
            raise _away(f"Kafka at {Settings().kafka}: {error.args[0].str()}") from error
        except (RegistryAwayError, WarehouseError) as error:
            raise _away(str(error)) from error

    return run


def reports_refusal(command: Callable[..., None]) -> Callable[..., None]:
    """Exit 2 for an argument that breaks a rule, naming it as the command line does."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except RefusedError as error:
            hint = error.field.upper() if error.field in ("budget", "amount") else f"--{error.field}"
            shown = "" if error.value is None else f"{error.value!r}: "
            raise click.BadParameter(f"{shown}{error.rule}", param_hint=hint) from error

    return run


def require_kafka(kafka: str) -> None:
    """Raises KafkaException within seconds when the broker is away, where a consumer would wait and log on."""
    quiet = logging.getLogger("tollbook.commands.kafka")
    quiet.setLevel(logging.CRITICAL)
    AdminClient({"bootstrap.servers": kafka}, logger=quiet).list_topics(timeout=BROKER_S)


def json_text(value: Any) -> str:
    """One line of JSON; instants as `2026-11-01T00:00:00Z`."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC).decode()


def print_json(value: Any) -> None:
    """One line of JSON on standard output."""
    click.echo(json_text(value))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Collection[str]) -> None:
    """A plain table for people; the columns in `numbers` are aligned to the right. In a pipe no line is broken."""
    table = Table(box=None)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    Console(highlight=False, markup=False, width=width).print(table)


def _away(message: str) -> click.ClickException:
    failure = click.ClickException(f"{message}\nIs the stack up? See `tollbook status`.")
    failure.exit_code = CANNOT_DECIDE
    return failure
