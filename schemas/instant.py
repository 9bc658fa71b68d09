"""Instants as people write them: always with a zone, never a bare number."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator, ValidationInfo

_LIKE = "2026-03-01T00:00:00Z"
_NO_TIME = f"not a time like {_LIKE}"


def parse_instant(name: str, text: str) -> datetime:
    """The instant that `text` says, for the option or field `name`. ValueError names it, the value and the rule."""
    try:
        return _read(text)
    except ValueError as error:
        raise ValueError(f"{name} = {text!r}: {error}") from error


def _read(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(_NO_TIME) from error
    if moment.tzinfo is None:
        raise ValueError(f"a time has a zone, as {_LIKE} or …+01:00")
    return moment


def _no_number(value: Any, info: ValidationInfo) -> Any:
    """Refuses what pydantic would take for seconds since 1970: 20260101 would be a day of that year."""
    if isinstance(value, (bool, int, float)) or (isinstance(value, str) and "-" not in value[1:]):
        raise ValueError(_NO_TIME)
    if info.mode == "json" and isinstance(value, str):  # from JSON a strict model takes text, too
        return _read(value)
    return value


#: With a zone, as a datetime or as text.
Instant = Annotated[AwareDatetime, BeforeValidator(_no_number)]
