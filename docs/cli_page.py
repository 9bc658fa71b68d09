"""Prints docs/cli.md: every command with its own help (`make docs` writes it, a contract test compares)."""

from collections.abc import Iterator

import click

import tollbook

WIDTH = 100
INTRODUCTION = """\
# The command line

What each command says of itself (`tollbook COMMAND --help`); written by `make docs`.

Exit status of every command: 0 equal or done, 1 a difference or a failure, 2 wrong usage, 3 it cannot be decided (lag,
a service away). Settings come from `TOLLBOOK_*` variables, then `tollbook.toml` in the working directory, then what
`tollbook up` wrote into the state directory; [.env.example](../.env.example) lists them all."""


def page() -> str:
    """The whole page."""
    return "\n\n".join([INTRODUCTION, *_sections(tollbook.main, "tollbook", None)]) + "\n"


def _sections(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent, terminal_width=WIDTH, max_content_width=WIDTH)
    context.help_option_names = ["-h", "--help"] if parent is None else context.help_option_names
    yield f"## {context.command_path}\n\n```text\n{command.get_help(context).rstrip()}\n```"
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            if found is not None:
                yield from _sections(found, inner, context)


if __name__ == "__main__":
    click.echo(page(), nl=False)
