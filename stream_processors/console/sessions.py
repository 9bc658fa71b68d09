"""Who is logged in on the console's page: in memory, for a working day, and no longer than their token is there."""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from stream_processors.console.people import person_of

LASTS_S = 12 * 3600


@dataclass(slots=True)
class Session:
    """One browser's login."""

    person: str
    token: str
    until: float  # on the clock of `Sessions`
    form_secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))  # every form carries it back
    told: list[str] = field(default_factory=list)  # what the next page says

    def sent(self, form_secret: str) -> bool:
        """Whether a form came from a page of this session."""
        return hmac.compare_digest(form_secret.encode(errors="surrogateescape"), self.form_secret.encode())


class Sessions:
    """By the value of the cookie. `clock` tells seconds, from anywhere."""

    def __init__(self, people: Path, clock: Callable[[], float]) -> None:
        self._people, self._clock = people, clock
        self._sessions: dict[str, Session] = {}

    def begin(self, token: str) -> str | None:
        """The cookie of a new session; None when the token is nobody's."""
        person = person_of(self._people, token)
        if person is None:
            return None
        now = self._clock()
        self._sessions = {cookie: each for cookie, each in self._sessions.items() if each.until > now}
        cookie = secrets.token_urlsafe(32)
        self._sessions[cookie] = Session(person, token, now + LASTS_S)
        return cookie

    def find(self, cookie: str) -> Session | None:
        """The session of a cookie, while it lasts and its token still opens."""
        session = self._sessions.get(cookie)
        if session is None or session.until <= self._clock():
            return None
        return session if person_of(self._people, session.token) == session.person else None

    def end(self, cookie: str) -> None:
        """Whoever has the cookie is logged out."""
        self._sessions.pop(cookie, None)
