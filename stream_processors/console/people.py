"""Who may act on budgets: a person for each token in the folder `console` of the state directory.

The file NAME.token holds the token of NAME; who has removed it has taken the right away, at once.
"""

import hmac
import re
from pathlib import Path

from schemas.tokens import read_token

FOLDER = "console"  # in the state directory
NAME = r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}"
SUFFIX = ".token"
SHORTEST = 32  # nobody gets in by a file that is empty or was written by hand


def token_of(folder: Path, name: str) -> str:
    """A person's token, made when there is none. Raises ValueError for what is no name."""
    if re.fullmatch(NAME, name) is None:
        raise ValueError(f"name = {name!r}: must be 1 to 64 letters, digits, '.', '_', '@', '+' or '-'")
    return read_token(folder / f"{name}{SUFFIX}")


def person_of(folder: Path, given: str) -> str | None:
    """Whose token it is; None when it is nobody's."""
    encoded = given.encode(errors="surrogateescape")
    found = None
    for file in sorted(folder.glob(f"*{SUFFIX}")):
        token = file.read_text().strip()
        if len(token) >= SHORTEST and hmac.compare_digest(token.encode(), encoded):
            found = file.name.removesuffix(SUFFIX)
    return found
