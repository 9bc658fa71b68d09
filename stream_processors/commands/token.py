"""`tollbook budgets token`: who may act on budgets over HTTP."""

import click

from schemas.settings import Settings
from stream_processors.commands.output import reports_failure
from stream_processors.console.people import FOLDER, token_of


@click.command()
@click.argument("name")
@reports_failure
def token(name: str) -> None:
    """Print the token by which NAME acts in the console, made when there is none.

    What is done by it stands in the history of budgets under NAME. To take it back, remove `console/NAME.token` in the
    state directory.

    Example: tollbook budgets token mia
    """
    click.echo(token_of(Settings().state_dir / FOLDER, name))
