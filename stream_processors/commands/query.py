"""`tollbook sql`, `wait` and `tail`: asking the ledger."""

import sys

import click

from schemas.settings import Settings
from schemas.topics import BY_NAME
from stream_processors.commands.output import json_text, reports_failure, require_kafka
from stream_processors.landed import wait_landed
from stream_processors.sink.warehouse import AwayError, RefusedError, Warehouse
from stream_processors.tail import tail as tail_topic
from stream_processors.tail import topic_named
from stream_processors.warehouse import WarehouseError, ask


@click.command()
@click.argument("query")
@click.option("--format", "output_format", help="Any format of ClickHouse, as JSON, CSVWithNames, Arrow, Markdown.")
@reports_failure
def sql(query: str, output_format: str | None) -> None:
    """Ask the ledger's ClickHouse; a FORMAT clause in QUERY goes before --format.

    Printed as a table on a terminal and tab-separated in a pipe. It writes as the ledger's owner: take care.

    Example: tollbook sql "SELECT department, sum(cost_usd) FROM usage GROUP BY department" --format JSON
    """
    chosen = output_format or ("PrettyCompact" if sys.stdout.isatty() else "TabSeparated")
    settings = Settings()
    try:
        answer = Warehouse(settings).run(query, {"default_format": chosen})
    except RefusedError as error:
        raise click.ClickException(str(error)) from error
    except AwayError as error:
        raise WarehouseError(f"ClickHouse at {settings.clickhouse}: {error}") from error
    click.get_binary_stream("stdout").write(answer)


@click.command()
@click.option("--timeout", default=60.0, show_default=True, type=click.FloatRange(min=0), help="Seconds.")
@reports_failure
def wait(timeout: float) -> None:
    """Return when every event that usage.events holds now is in ClickHouse and counted in windows and limits.

    Exit status: 0 landed, 1 not within the time-out, 3 a service is away.

    Example: tollbook wait --timeout 120 && tollbook audit
    """
    settings = Settings()
    require_kafka(settings.kafka)
    ask(settings, "SELECT 1")
    try:
        landed = wait_landed(settings, timeout)
    except RefusedError as error:
        raise WarehouseError(f"ClickHouse at {settings.clickhouse}: {error}") from error
    if not landed:
        raise click.ClickException(f"not landed within {timeout:g} s; `tollbook status` shows which stage lags")


@click.command()
@click.argument("topic", type=click.Choice(list(BY_NAME)))
@click.option("--from-beginning", is_flag=True, help="The oldest records first, instead of the newest.")
@click.option(
    "--max",
    "most",
    type=click.IntRange(min=1),
    help="How many; default: the newest 10, or all.",
)
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@reports_failure
def tail(topic: str, from_beginning: bool, most: int | None, follow: bool) -> None:
    """Print records of TOPIC, decoded, as JSON lines; a record of Arrow rows is one line a row.

    Example: tollbook tail usage.alerts --follow
    """
    settings = Settings()
    require_kafka(settings.kafka)
    count = most if most is not None or from_beginning else 10
    try:
        for line in tail_topic(settings, topic_named(topic), count, from_beginning, follow):
            click.echo(json_text(line))
    except KeyboardInterrupt:
        pass  # the way to end it


commands: list[click.Command] = [sql, wait, tail]
