# SPDX-License-Identifier: Apache-2.0
"""Sessions: who is logged in to the console, in memory; a restart logs everybody out.

- A session lives twelve hours, and no longer than the token that opened it is known.
- Its id is in a cookie that no script can read; every form carries its other secret, so that no other page can send one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from surefoot.fleet.enroll import token_hash

LIFE = timedelta(hours=12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One person at one browser.

    Attributes:
        session_id: The cookie's value.
        form_token: What every form of this session carries.
        by: The operator's name.
        hashed: The hash of the token that opened it.
        ends_at: When it is over, aware, UTC.
    """

    session_id: str
    form_token: str
    by: str
    hashed: bytes
    ends_at: datetime


class Sessions:
    """All sessions of this process."""

    def __init__(self, token_name: Callable[[bytes], str | None], secret: Callable[[], str]) -> None:
        """Know operators by ``token_name``, from the hash of their token; make ids by ``secret``."""
        self._token_name = token_name
        self._secret = secret
        self._open: dict[str, Session] = {}

    def enter(self, token: str, now: datetime) -> Session | None:
        """Open a session with an operator's token; nothing when nobody knows it."""
        self._open = {key: session for key, session in self._open.items() if now < session.ends_at}
        hashed = token_hash(token.strip())
        by = self._token_name(hashed)
        if by is None:
            return None
        session = Session(session_id=self._secret(), form_token=self._secret(), by=by, hashed=hashed, ends_at=now + LIFE)
        self._open[session.session_id] = session
        return session

    def find(self, session_id: str, now: datetime) -> Session | None:
        """Return an open session by its id; nothing when it is over, or its operator is let in no longer."""
        session = self._open.get(session_id)
        if session is None or now >= session.ends_at or self._token_name(session.hashed) != session.by:
            self.leave(session_id)
            return None
        return session

    def leave(self, session_id: str) -> None:
        """End a session, if it is there."""
        self._open.pop(session_id, None)
