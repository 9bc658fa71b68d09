"""What a request asks for, read from its URL and headers. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from local.clickhouse.errors import BAD_ARGUMENTS, UNKNOWN_FORMAT, refusal

# Arguments of the HTTP interface itself; any other one is an engine setting or a `param_…`.
_TRANSPORT = {
    *("query", "database", "default_format", "user", "password", "quota_key", "role", "client_protocol_version"),
    *("session_id", "session_timeout", "session_check", "close_session", "query_id", "stacktrace"),
    *("compress", "decompress", "enable_http_compression", "http_zlib_compression_level", "buffer_size"),
    *("wait_end_of_query", "send_progress_in_http_headers", "http_headers_progress_interval_ms"),
    *("cancel_http_readonly_queries_on_client_close", "add_http_cors_header"),
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SESSION_SECONDS_MAX = 3600


@dataclass(frozen=True, slots=True)
class Request:
    """One request without its body: settings and parameters are still text, as they came."""

    query: str
    database: str
    default_format: str
    settings: Mapping[str, str]
    params: Mapping[str, str]
    query_id: str
    session_id: str
    session_timeout_s: int
    session_must_exist: bool
    wait_end_of_query: bool
    compressed_answer: bool
    compressed_blocks_in: bool
    compressed_blocks_out: bool
    buffer_bytes: int


def read(arguments: Iterable[tuple[str, str]], headers: Mapping[str, str], new_query_id: str) -> Request:
    """Reads URL (or form) arguments; a repeated argument's last value counts.

    Raises ClickHouseError (36) for a value that is not of its kind, (73) for a malformed format name.
    """
    url = dict(arguments)
    return Request(
        query=url.get("query", ""),
        database=url.get("database") or headers.get("X-ClickHouse-Database", ""),
        default_format=_format_name(headers.get("X-ClickHouse-Format") or url.get("default_format") or "TabSeparated"),
        settings=_settings(url),
        params={name.removeprefix("param_"): value for name, value in url.items() if name.startswith("param_")},
        query_id=url.get("query_id") or new_query_id,
        session_id=url.get("session_id", ""),
        session_timeout_s=min(_number(url, "session_timeout", 60), _SESSION_SECONDS_MAX),
        session_must_exist=_flag(url, "session_check"),
        wait_end_of_query=_flag(url, "wait_end_of_query"),
        compressed_answer=_flag(url, "enable_http_compression"),
        compressed_blocks_in=_flag(url, "decompress"),
        compressed_blocks_out=_flag(url, "compress"),
        buffer_bytes=_number(url, "buffer_size", 1 << 20),
    )


def _settings(url: Mapping[str, str]) -> dict[str, str]:
    settings = {name: value for name, value in url.items() if name not in _TRANSPORT and not name.startswith("param_")}
    for name in settings:
        if not _NAME.fullmatch(name):
            raise refusal(BAD_ARGUMENTS, f"Setting name {name!r} is not an identifier", "BAD_ARGUMENTS")
    return settings


def _format_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise refusal(UNKNOWN_FORMAT, f"Unknown format {name!r}", "UNKNOWN_FORMAT")
    return name


def _number(url: Mapping[str, str], name: str, default: int) -> int:
    value = url.get(name)
    if value is None or value == "":
        return default
    if not value.isascii() or not value.isdigit():
        raise refusal(BAD_ARGUMENTS, f"{name} is {value!r}: it must be a whole number", "BAD_ARGUMENTS")
    return int(value)


def _flag(url: Mapping[str, str], name: str) -> bool:
    value = url.get(name, "0").lower()
    if value not in ("", "0", "1", "true", "false"):
        raise refusal(BAD_ARGUMENTS, f"{name} is {value!r}: it must be 0 or 1", "BAD_ARGUMENTS")
    return value in ("1", "true")
