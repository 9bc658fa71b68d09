"""`notify.toml`: the channels, and which alerts go to which. Secrets never stand in it: a `…_file` field names a file.

Raises ConfigError naming file, field, value and rule; all mistakes are told at once.
"""

import re
import tomllib
from datetime import time
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

SEVERITIES = ("info", "warning", "caution", "critical")
Severity = Literal["info", "warning", "caution", "critical"]
Seconds = Annotated[float, Field(gt=0, le=300)]
Address = Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")]


class ConfigError(ValueError):
    """notify.toml is wrong; the message names each field, its value and the rule."""


class Quiet(NamedTuple):
    """Hours of the day, in the calendar's zone, in which a route holds alerts back; it may go over midnight."""

    start: time
    end: time


def _quiet(value: object) -> Quiet:
    match = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)", str(value))
    if match is None:
        raise ValueError("must be HH:MM-HH:MM, as 22:00-07:00")
    hours = [int(part) for part in match.groups()]
    start, end = time(hours[0], hours[1]), time(hours[2], hours[3])
    if start == end:
        raise ValueError("begins when it ends")
    return Quiet(start, end)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Channel(_Part):
    timeout_s: Seconds = 15.0


class Email(_Channel):
    """Mail by SMTP; each address is a delivery of its own, so that one that bounces repeats no other."""

    kind: Literal["email"]
    host: str
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password_file: Path | None = None
    sender: Address
    to: Annotated[tuple[Address, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _login_is_whole(self) -> Self:
        if bool(self.user) != (self.password_file is not None):
            raise ValueError("user and password_file: both or neither")
        if self.user and self.security == "none":
            raise ValueError("security = 'none': a password needs starttls or tls")
        return self


class Slack(_Channel):
    """An incoming webhook of Slack; its address is the secret."""

    kind: Literal["slack"]
    url_file: Path
    allow_private: bool = False


class Webhook(_Channel):
    """A webhook signed as Standard Webhooks says, with every key named: two of them while keys are being changed."""

    kind: Literal["webhook"]
    url: str
    secret_files: Annotated[tuple[Path, ...], Field(min_length=1)]
    allow_private: bool = False

    @model_validator(mode="after")
    def _address_is_usable(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.username is not None:
            raise ValueError(f"url = {self.url!r}: must be https://HOST/… without a user")
        if parts.scheme == "http" and not self.allow_private:
            raise ValueError(f"url = {self.url!r}: plain http only with allow_private = true")
        return self


class Apprise(_Channel):
    """Anything that Apprise speaks (ntfy, web push, Teams, Matrix …): one address of its form, in a file."""

    kind: Literal["apprise"]
    url_file: Path


Channel = Annotated[Email | Slack | Webhook | Apprise, Field(discriminator="kind")]


class Route(_Part):
    """Alerts that match all that a route states go to its channels. Every route that matches counts."""

    channels: Annotated[tuple[str, ...], Field(min_length=1)]
    min_severity: Severity = "info"
    types: tuple[str, ...] = ()  # threshold, pipeline …; none: all
    scopes: tuple[Annotated[str, Field(pattern=r"^[a-z_]+:.+$")], ...] = ()  # KIND:NAME or KIND:*; none: all
    organizations: tuple[str, ...] = ()  # none: all
    quiet: Annotated[Quiet | None, BeforeValidator(_quiet)] = None
    digest_minutes: Annotated[int, Field(ge=0, le=1440)] = 0  # 0: each alert by itself


class Config(_Part):
    """All of notify.toml."""

    channel: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")], Channel] = {}
    route: tuple[Route, ...] = ()
    environments: tuple[str, ...] = ("production",)  # whose alerts are delivered; '' (unassigned) always is
    link: str = ""  # address of the dashboard, in every message

    @model_validator(mode="after")
    def _routes_lead_somewhere(self) -> Self:
        for number, route in enumerate(self.route):
            unknown = [name for name in route.channels if name not in self.channel]
            if unknown:
                raise ValueError(f"route.{number}.channels = {unknown[0]!r}: no [channel.{unknown[0]}] in the file")
        return self


def load_config(path: Path) -> Config:
    """The configuration in `path`; without the file nothing is configured."""
    if not path.exists():
        return Config()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        return Config.model_validate(_beside(values, path.parent))
    except ValidationError as error:
        raise ConfigError("\n".join(f"{path}: {_explain(fault)}" for fault in error.errors())) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: {error}") from error


def read_secret(path: Path) -> str:
    """The content of a secret's file without white space around it; OSError, or ValueError when it is empty."""
    text = path.read_text(encoding="utf-8").strip()
    if not text:
        raise ValueError(f"{path}: is empty")
    return text


def _beside(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Paths in the file are relative to the file."""
    channels = values.get("channel")
    if not isinstance(channels, dict):
        return values
    return values | {
        "channel": {
            name: {field: _resolved(field, value, folder) for field, value in channel.items()}
            if isinstance(channel, dict)
            else channel
            for name, channel in channels.items()
        }
    }


def _resolved(field: str, value: Any, folder: Path) -> Any:
    if field.endswith("_file") and isinstance(value, str):
        return folder / value
    if field.endswith("_files") and isinstance(value, list):
        return [folder / each if isinstance(each, str) else each for each in value]
    return value


def _explain(fault: Any) -> str:
    rule = fault["msg"].removeprefix("Value error, ")
    place = ".".join(map(str, fault["loc"]))
    if fault["type"] == "value_error" and "=" in rule:  # a rule between fields names them itself
        return f"{place}: {rule}" if place else rule
    shown = "(missing)" if fault["type"] == "missing" else repr(fault["input"])[:100]
    return f"{place} = {shown}: {rule}"
