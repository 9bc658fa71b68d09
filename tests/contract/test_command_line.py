"""The command line: every command it lists is there, explains itself, and costs nothing until it is used."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

import tollbook

PACKAGES = ("schemas", "producers", "stream_processors", "notifiers", "local", "confluent_kafka", "pyarrow")


def leaves(name: str, command: click.Command) -> list[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        return [(name, command)]
    return [leaf for sub, inner in command.commands.items() for leaf in leaves(f"{name} {sub}", inner)]


@pytest.mark.parametrize("name", tollbook.COMMANDS)
def test_command_is_provided_and_shows_an_example(name: str) -> None:
    command = tollbook.main.get_command(click.Context(tollbook.main), name)
    assert command is not None
    shown = {path: f"{leaf.help} {leaf.epilog}" for path, leaf in leaves(name, command)}
    assert [path for path, text in shown.items() if f"Example: tollbook {path}" not in text] == []


def test_help_lists_every_command() -> None:
    shown = CliRunner().invoke(tollbook.main, ["--help"])
    assert shown.exit_code == 0
    assert [name for name in tollbook.COMMANDS if f"\n  {name} " not in shown.output] == []


def test_help_imports_no_package() -> None:
    script = "import sys, tollbook; tollbook.main(['-h'], standalone_mode=False); print(*sys.modules, file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(PACKAGES).isdisjoint(run.stderr.split())


def test_unknown_command_is_a_usage_error() -> None:
    assert CliRunner().invoke(tollbook.main, ["fly"]).exit_code == 2


def test_a_package_that_cannot_be_imported_takes_no_other_command_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tollbook.COMMANDS, "audit", ("no_such_package.cli", "Gone."))
    runner = CliRunner()
    failed = runner.invoke(tollbook.main, ["audit"])
    assert failed.exit_code == 1
    assert "`audit` is not available: No module named 'no_such_package'" in failed.output
    assert runner.invoke(tollbook.main, ["--help"]).exit_code == 0
    assert runner.invoke(tollbook.main, ["status", "--help"]).exit_code == 0
