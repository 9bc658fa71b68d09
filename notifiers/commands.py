"""`tollbook notify`: try a channel, see what was delivered, resume what was given up."""

import secrets
import sqlite3
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from notifiers.channels import sender
from notifiers.config import Config, ConfigError, load_config
from notifiers.delivery import Batch, Result
from notifiers.outbox import connect, read_status, resume
from schemas.settings import Settings

CANNOT_DECIDE = 3
PIPE_WIDTH = 400
COUNTS = ("waiting", "delivered", "given_up", "perhaps_repeated")


def reports_failure(command: Callable[..., None]) -> Callable[..., None]:
    """Exit 1 with a message that names what is wrong in notify.toml."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except ConfigError as error:
            raise click.ClickException(str(error)) from error

    return run


@click.group()
def notify() -> None:
    """Deliver alerts by mail, Slack, webhooks and push, as notify.toml says.

    Example: tollbook notify test ops-mail
    """


@notify.command()
@click.argument("channel")
@reports_failure
def test(channel: str) -> None:
    """Send one test alert to CHANNEL, now, past routes and quiet hours; every address of a mail channel gets it.

    Exit status: 0 the receiver has taken it, 1 it has not, 2 notify.toml has no such channel.

    Example: tollbook notify test ops-mail
    """
    config = _config()
    if channel not in config.channel:
        known = ", ".join(config.channel) or "none"
        raise click.BadParameter(f"{channel!r}: {Settings().notify} has: {known}", param_hint="CHANNEL")
    send = sender(config.channel[channel], config.link)
    failed = False
    for address in getattr(config.channel[channel], "to", ("",)):
        batch = Batch(f"test-{secrets.token_hex(8)}", address, (sample(channel, datetime.now(UTC)),))
        try:
            outcome = send(batch, int(time.time()))
        except (OSError, ValueError) as error:
            raise click.ClickException(str(error)) from error
        click.echo(": ".join(filter(None, (channel, address, outcome.result.value, outcome.reason))))
        failed |= outcome.result is not Result.ACCEPTED
    sys.exit(1 if failed else 0)


@notify.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reports_failure
def status(as_json: bool) -> None:
    """Show what each channel has delivered, what waits, and what may have come twice.

    Exit status: 0 all is well, 1 a channel is disabled or something was given up or kept as no alert, 3 no notifier
    has run here.

    Example: tollbook notify status --json
    """
    report = _report(_config())
    if as_json:
        click.echo(orjson.dumps(report))
    else:
        _print_status(report)
    wrong = report["undecodable"] or any(each["disabled"] or each["given_up"] for each in report["channels"].values())
    sys.exit(1 if wrong else 0)


@notify.command("resume")
@click.argument("channel")
def resume_channel(channel: str) -> None:
    """Enable CHANNEL again and try everything that it has not delivered.

    Example: tollbook notify resume ops-hook
    """
    count = resume(_outbox(), channel, time.time_ns() // 1000)
    click.echo(f"{channel}: {count} deliveries are tried again")


commands: list[click.Command] = [notify]


def sample(channel: str, now: datetime) -> dict[str, Any]:
    """An alert about nothing, in the form in which the outbox gives alerts to channels."""
    at = now.isoformat().replace("+00:00", "Z")
    return {
        "alert_id": f"test-{secrets.token_hex(8)}",
        "type": "test",
        "state": "raised",
        "revision": 0,
        "budget_id": "",
        "organization": "",
        "scope_kind": "channel",
        "scope": channel,
        "window_kind": "",
        "window_start": at,
        "window_end": at,
        "conditions": "",
        "threshold": 0,
        "used": "0",
        "limit": "0",
        "unit": "",
        "severity": "info",
        "recipients": [],
        "detail": f"This is a test of channel {channel}; nothing is wrong",
        "cause_event": "",
        "positions": [],
        "late": False,
        "deliver": True,
        "raised_at": at,
    }


def _config() -> Config:
    return load_config(Settings().notify)


def _outbox() -> sqlite3.Connection:
    folder: Path = Settings().state_dir / "notifier"
    if not (folder / "outbox.sqlite").exists():
        failure = click.ClickException(f"{folder}: no notifier has run here. See `tollbook status`.")
        failure.exit_code = CANNOT_DECIDE
        raise failure
    return connect(folder)


def _report(config: Config) -> dict[str, Any]:
    """Every channel that is configured, and those that only the outbox knows."""
    found = read_status(_outbox())
    empty = dict.fromkeys(COUNTS, 0) | {"next_due_at": None, "reason": ""}
    names = dict.fromkeys([*config.channel, *found["channels"], *found["disabled"]])
    return found | {
        "channels": {
            name: {
                **empty,
                **found["channels"].get(name, {}),
                "configured": name in config.channel,
                "disabled": found["disabled"].get(name, ""),
            }
            for name in names
        }
    }


def _print_status(report: dict[str, Any]) -> None:
    table = Table("channel", "state", *(name.replace("_", " ") for name in COUNTS), "last reason", box=None)
    for name, each in report["channels"].items():
        state = "disabled" if each["disabled"] else "in use" if each["configured"] else "not configured"
        table.add_row(name, state, *(str(each[count]) for count in COUNTS), each["disabled"] or each["reason"] or "")
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    if report["channels"]:
        console.print(table)
    else:
        console.print(f"{Settings().notify} configures no channel; alerts are recorded, none is delivered.")
    for outcome, count in sorted(report["alerts"].items()):
        console.print(f"alerts, {outcome}: {count}")
    if report["undecodable"]:
        console.print(f"records that are no alerts: {report['undecodable']}")
