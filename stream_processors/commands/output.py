"""What the commands share: how they print, and what their exit status says when something is wrong."""

from collections.abc import Callable, Collection, Sequence
from functools import wraps
from typing import Any

import click
import orjson
from confluent_kafka import KafkaException
from rich.console import Console
from rich.table import Table

from schemas.registry import RegistryAwayError
from stream_processors.warehouse import WarehouseAwayError

CANNOT_DECIDE = 3


def reports_failure(command: Callable[..., None]) -> Callable[..., None]:
    """Exit 1 with a message for what is wrong (ValueError), 3 when a service is away."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except ValueError as error:
            raise click.ClickException(str(error)) from error
        except (KafkaException, RegistryAwayError, WarehouseAwayError) as error:
            failure = click.ClickException(f"{error}\nIs the stack up? See `tollbook status`.")
            failure.exit_code = CANNOT_DECIDE
            raise failure from error

    return run


def json_text(value: Any) -> str:
    """One line of JSON; instants as `2026-11-01T00:00:00Z`."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC).decode()


def print_json(value: Any) -> None:
    """One line of JSON on standard output."""
    click.echo(json_text(value))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Collection[str]) -> None:
    """A plain table for people; the columns in `numbers` are aligned to the right."""
    table = Table(box=None)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table)
