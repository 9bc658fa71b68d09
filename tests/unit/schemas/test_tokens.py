"""Tokens: made once, private, and compared whole."""

import stat
from pathlib import Path

import pytest

from schemas.tokens import is_bearer, read_token


def test_a_token_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "collector/token"
    token = read_token(path)
    assert len(token) >= 32
    assert read_token(path) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer secre", "bearer secret", "secret", "Bearer \udcff"]
)
def test_only_the_whole_token_opens(header: str) -> None:
    assert is_bearer("Bearer secret", "secret")
    assert not is_bearer(header, "secret")
