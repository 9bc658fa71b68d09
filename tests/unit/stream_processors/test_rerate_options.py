"""What `tollbook rerate` refuses before it asks anybody."""

import pytest
from click.testing import CliRunner

from stream_processors.commands.rerate import rerate

START = ("--from", "2026-03-01T00:00:00Z")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", "2026-03-01"), "--from = '2026-03-01': a time has a zone"),
        (("--from", "March"), "--from = 'March': not a time like"),
        (("--from", "1999-01-01T00:00:00Z"), "the ledger's dates are 2015-01-01 to before 2100-01-01"),
        ((*START, "--to", "2026-03-01T00:00:00Z"), "must be after --from"),
        (
            (*START, "--where", "colour=red"),
            "--where = 'colour=red': NAME=VALUE, with NAME one of source, organization",
        ),
        ((*START, "--where", "model"), "--where = 'model': NAME=VALUE"),
    ],
)
def test_what_cannot_be_rerated_is_told(arguments: tuple[str, ...], said: str) -> None:
    refused = CliRunner().invoke(rerate, arguments)
    assert (refused.exit_code, said in refused.output) == (1, True), refused.output
