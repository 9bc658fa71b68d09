"""Bearer tokens in files: made once, readable by their owner only, compared without telling how far they agree."""

import hmac
import os
import secrets
from pathlib import Path


def read_token(path: Path) -> str:
    """The token in a file, made when there is none, mode 0600 from its first byte; its folder is 0700."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    token = secrets.token_urlsafe(32)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{token}\n")
    return token


def is_bearer(header: str, token: str) -> bool:
    """Whether an `Authorization` header carries this token."""
    return hmac.compare_digest(header.encode(errors="surrogateescape"), f"Bearer {token}".encode())
