"""Superset's settings for the ledger. They come from the environment alone; nothing here is a secret.

TOLLBOOK_SUPERSET_SECRET_KEY          signs sessions; the keys of the tokens are derived from it
TOLLBOOK_CLICKHOUSE                   address, e.g. http://127.0.0.1:8123
TOLLBOOK_CLICKHOUSE_READER_PASSWORD   of the account `tollbook_reader`, which may only SELECT
TOLLBOOK_CLICKHOUSE_DATABASE          default `tollbook`
TOLLBOOK_CALENDAR                     path of calendar.toml, which must exist; without the variable days are UTC days
SUPERSET_HOME                         where the SQLite metadata is kept
TOLLBOOK_SUPERSET_DATABASE_URI        metadata elsewhere (PostgreSQL); needed for more than one worker
TOLLBOOK_REDIS                        e.g. redis://redis:6379/0; caches and rate limits of several workers
TOLLBOOK_SUPERSET_HTTPS               `true` where TLS ends in front of Superset: cookies are then sent over TLS only
"""

import hashlib
import hmac
import logging
import os
import sys
import time
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.append(str(Path(__file__).parent))
import sql_guard


def _zone() -> str:
    """The calendar's zone: what "today" means on a dashboard."""
    named = os.environ.get("TOLLBOOK_CALENDAR")
    if not named:
        return "UTC"
    path = Path(named)
    if not path.is_file():
        # UTC instead would show other days than SQL counts.
        raise FileNotFoundError(f"TOLLBOOK_CALENDAR: {named} is not there; mend the path, or unset it for UTC days")
    return str(tomllib.loads(path.read_text()).get("zone", "UTC"))


def _derived(purpose: str) -> str:
    """A key of its own for each purpose, from the one that was generated."""
    return hmac.new(SECRET_KEY.encode(), purpose.encode(), hashlib.sha256).hexdigest()


def _cache(prefix: str, **settings: object) -> dict[str, object]:
    place = {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": REDIS} if REDIS else {"CACHE_TYPE": "SimpleCache"}
    return place | {"CACHE_KEY_PREFIX": f"tollbook_{prefix}_"} | settings


ZONE = _zone()
# Superset resolves "current day" in the process's own zone.
os.environ["TZ"] = ZONE
time.tzset()

logging.getLogger("clickhouse_connect.driver.client").setLevel(logging.ERROR)  # it warns of each session_timezone

# --- where things are
CONSOLE = os.environ.get("TOLLBOOK_CONSOLE", "http://127.0.0.1:8091")  # as people's browsers reach it
SECRET_KEY = os.environ["TOLLBOOK_SUPERSET_SECRET_KEY"]
REDIS = os.environ.get("TOLLBOOK_REDIS", "")
SQLALCHEMY_DATABASE_URI = os.environ.get(
    "TOLLBOOK_SUPERSET_DATABASE_URI", f"sqlite:///{os.environ['SUPERSET_HOME']}/superset.db?timeout=30"
)
GUEST_TOKEN_JWT_SECRET = _derived("guest token")
GLOBAL_ASYNC_QUERIES_JWT_SECRET = _derived("asynchronous queries")

# --- caches: a crowd before one dashboard costs the warehouse one query every few seconds, and numbers stay live
CACHE_CONFIG = _cache("metadata", CACHE_DEFAULT_TIMEOUT=60)
DATA_CACHE_CONFIG = _cache("data", CACHE_DEFAULT_TIMEOUT=5)

# --- who may come in, and how often
AUTH_USER_REGISTRATION = False
PUBLIC_ROLE_LIKE = None
ENABLE_CORS = False
RATELIMIT_ENABLED = True
RATELIMIT_APPLICATION = "300 per second"  # opening a dashboard fetches some hundred files
RATELIMIT_STORAGE_URI = REDIS or "memory://"
AUTH_RATE_LIMIT = "30 per minute"
HTTPS = os.environ.get("TOLLBOOK_SUPERSET_HTTPS", "") == "true"
ENABLE_PROXY_FIX = HTTPS
SESSION_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
PERMANENT_SESSION_LIFETIME = timedelta(hours=12)

# --- the browser talks to this host only: no telemetry, no fonts or maps from elsewhere
TALISMAN_ENABLED = True
TALISMAN_CONFIG = {
    "content_security_policy": {
        "base-uri": ["'self'"],
        "default-src": ["'self'"],
        "connect-src": ["'self'"],
        "font-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "img-src": ["'self'", "blob:", "data:"],
        "object-src": ["'none'"],
        "script-src": ["'self'", "'strict-dynamic'"],
        "style-src": ["'self'", "'unsafe-inline'"],
        "worker-src": ["'self'", "blob:"],
    },
    "content_security_policy_nonce_in": ["script-src"],
    "force_https": HTTPS,
    "session_cookie_secure": HTTPS,
}
WTF_CSRF_ENABLED = True

FEATURE_FLAGS = {
    "ALERT_REPORTS": False,
    "ALLOW_ADHOC_SUBQUERY": False,
    "EMBEDDABLE_CHARTS": False,
    "EMBEDDED_SUPERSET": False,
    "ENABLE_TEMPLATE_PROCESSING": False,
    "RLS_IN_SQLLAB": True,
    "THUMBNAILS": False,
}

APP_NAME = "Tollbook"
SUPERSET_WEBSERVER_TIMEOUT = 60
SUPERSET_DASHBOARD_PERIODICAL_REFRESH_LIMIT = 0
ROW_LIMIT = 10_000
SQL_MAX_ROW = 100_000


def DB_CONNECTION_MUTATOR(  # noqa: N802 (Superset looks for this name)
    uri: Any, params: dict[str, Any], username: str, security_manager: object, source: object
) -> tuple[Any, dict[str, Any]]:
    """Gives the ledger's connection its host and its read-only account: the stored address holds neither.

    `session_timezone` makes ClickHouse read the bounds of a time filter in the calendar's zone; the client sends it
    although the server lists settings as closed to a reader, and the server has the last word.
    """
    from clickhouse_connect.common import set_setting

    if uri.drivername.partition("+")[0] != "clickhousedb":
        return uri, params
    set_setting("invalid_setting_action", "send")
    address = urlsplit(os.environ["TOLLBOOK_CLICKHOUSE"])
    secure = address.scheme == "https"
    uri = uri.set(
        host=address.hostname,
        port=address.port or (8443 if secure else 8123),
        username="tollbook_reader",
        password=os.environ["TOLLBOOK_CLICKHOUSE_READER_PASSWORD"],
        database=os.environ.get("TOLLBOOK_CLICKHOUSE_DATABASE", "tollbook"),
        query={"session_timezone": ZONE} | ({"secure": "true"} if secure else {}),
    )
    return uri, params


def SQL_QUERY_MUTATOR(sql: str, **_: object) -> str:  # noqa: N802 (Superset looks for this name)
    """Refuses a query that calls what is not on the list of `sql_guard`."""
    from superset.exceptions import QueryObjectValidationError

    if reason := sql_guard.refusal(sql):
        raise QueryObjectValidationError(reason)
    return sql
