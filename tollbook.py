"""The command line: mounts each package's commands, nothing else.

A package is imported only when one of its commands is asked for, so that help is quick and a package that cannot be
imported takes none of the others with it.
"""

import os
from collections.abc import Mapping
from importlib import import_module

import click

COMMANDS = {
    "up": ("local.cli", "Start the whole stack on this machine."),
    "down": ("local.cli", "Stop the whole stack; no process is left."),
    "status": ("local.cli", "Show every process, the addresses, and how far each stage lags."),
    "doctor": ("local.cli", "Check that this machine can run the stack."),
    "demo": ("local.demo", "Start everything, replay a working day, watch it, prove it."),
    "simulate": ("producers.cli", "Emit seeded usage of simulated organizations."),
    "replay": ("producers.cli", "Emit the usage of a public trace."),
    "wait": ("stream_processors.commands.query", "Return when every acknowledged event is landed and counted."),
    "audit": ("stream_processors.commands.audit", "Prove that stream, table, rollups and dashboard agree."),
    "sql": ("stream_processors.commands.query", "Ask the ledger's ClickHouse."),
    "tail": ("stream_processors.commands.query", "Print a topic, decoded, as JSON lines."),
    "budgets": ("stream_processors.commands.budgets", "Apply and list budgets."),
    "limits": ("stream_processors.commands.budgets", "Show what a scope has used and what is left."),
    "alerts": ("stream_processors.commands.alerts", "Show alerts, follow or answer them."),
    "prices": ("stream_processors.commands.prices", "Show, apply and compare prices."),
    "tax": ("stream_processors.commands.tax", "Show a month's cost, the tax on it, and both together."),
    "settle": ("stream_processors.commands.settle", "Book volume discounts, overages and credits."),
    "rerate": ("stream_processors.commands.rerate", "Book usage at other prices, by the difference."),
    "directory": ("stream_processors.commands.directory", "Apply and show who belongs where."),
    "adjust": ("stream_processors.commands.adjust", "Reverse, correct and credit; show what it made of a month."),
    "periods": ("stream_processors.commands.periods", "Close months; show what was booked for them afterwards."),
    "rejected": ("stream_processors.commands.rejected", "List what was rejected; export, repair and replay it."),
    "notify": ("notifiers.commands", "Try channels, see what was delivered."),
    "explain": ("stream_processors.commands.explain", "Tell where an event is, at each stage."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order in which one needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, from its package. Raises click.ClickException when the package does not provide it."""
        if cmd_name not in COMMANDS:
            return None
        module_name, _ = COMMANDS[cmd_name]
        try:
            commands: list[click.Command] = import_module(module_name).commands
        except ImportError as error:
            raise click.ClickException(f"`{cmd_name}` is not available: {error}") from error
        found = [command for command in commands if command.name == cmd_name]
        if not found:
            raise click.ClickException(f"`{cmd_name}` is not available: {module_name} does not provide it")
        return found[0]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="tollbook")
def main() -> None:
    """A ledger for LLM token usage, kept by a stream: the same number everywhere, exact and provable.

    Example: tollbook up --detach
    """
    os.environ.update(without_proxy(os.environ))


def without_proxy(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that keep requests to this machine's own services from an `http_proxy`.

    Libraries read one spelling or the other. What a process starts inherits them.
    """
    stated = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if stated.strip() == "*":
        return {}
    names = [name.strip() for name in stated.split(",") if name.strip()]
    value = ",".join(dict.fromkeys([*names, "127.0.0.1", "localhost"]))
    return {"no_proxy": value, "NO_PROXY": value}


if __name__ == "__main__":
    main()
