"""Who is signed in, until when, and how often one may guess. In memory: a restart signs all out.

Nothing of a person is in an address: a page of a person has a random handle that only its session
knows.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

Clock = Callable[[], datetime]
IDLE = timedelta(minutes=20)  # a desk that nobody touches
LONGEST = timedelta(hours=10)  # a working day
MAX_SESSIONS = 200
MAX_OPEN = 500  # handles and forms of one session
FREE_GUESSES = 5
LONGEST_WAIT = timedelta(minutes=15)
FORGOTTEN = timedelta(hours=1)  # after the last wrong guess


@dataclass(frozen=True)
class Person:
    """Whom a handle stands for. The outside id is known only if it was typed in this session."""

    subject_id: str
    outside_id: str | None


@dataclass
class Session:
    """One signed-in registrar."""

    account: str
    began: datetime
    seen: datetime
    people: dict[str, Person] = field(default_factory=dict)  # by handle
    forms: dict[str, None] = field(default_factory=dict)  # shown and not sent yet

    def handle_of(self, person: Person) -> str:
        """Return the handle of a person, a new one at first sight.

        An outside id that was typed once stays known.
        """
        for handle, known in self.people.items():
            if known.subject_id == person.subject_id:
                if person.outside_id is not None:
                    self.people[handle] = person
                return handle
        handle = secrets.token_urlsafe(12)
        _keep_newest(self.people)
        self.people[handle] = person
        return handle

    def new_form(self) -> str:
        """Return a mark for a form that may be sent once."""
        mark = secrets.token_urlsafe(12)
        _keep_newest(self.forms)
        self.forms[mark] = None
        return mark

    def take_form(self, mark: str) -> bool:
        """Tell whether a form comes for the first time. A log cannot take back a double click."""
        return self.forms.pop(mark, self) is None


class Sessions:
    """All sessions of a desk, and the tokens against forged forms."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._sessions: dict[str, Session] = {}

    def begin(self, account: str) -> str:
        """Sign in; return the cookie. It is always a new one: nobody can have planted it."""
        self._drop_ended()
        while len(self._sessions) >= MAX_SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))
        cookie = secrets.token_urlsafe(32)
        now = self._clock()
        self._sessions[cookie] = Session(account, now, now)
        return cookie

    def find(self, cookie: str | None) -> Session | None:
        """Return the session of a cookie and count this as a sign of life; None if it has ended."""
        self._drop_ended()
        session = self._sessions.get(cookie or "")
        if session is not None:
            session.seen = self._clock()
        return session

    def end(self, cookie: str | None) -> None:
        """Sign out."""
        self._sessions.pop(cookie or "", None)

    def csrf_of(self, cookie: str) -> str:
        """The token that a form must carry when it comes with ``cookie``."""
        return hmac.new(self._secret, b"csrf\0" + cookie.encode(), hashlib.sha256).hexdigest()

    def is_csrf_of(self, cookie: str | None, token: object) -> bool:
        """Tell whether a form carries the token of its cookie."""
        if not cookie or not isinstance(token, str):
            return False
        return hmac.compare_digest(self.csrf_of(cookie).encode(), token.encode())

    def _drop_ended(self) -> None:
        now = self._clock()
        for cookie, session in list(self._sessions.items()):
            if now - session.seen > IDLE or now - session.began > LONGEST:
                del self._sessions[cookie]


class Throttle:
    """Slows down guessing of passwords: five are free, then the wait doubles up to 15 minutes.

    Names share 4,096 slots by their hash, so that memory is bounded and no name is kept.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wrong: dict[int, tuple[int, datetime]] = {}  # slot: number, last

    def wait_s(self, name: str) -> int:
        """Seconds until a password for ``name`` is looked at again; 0: now."""
        num_wrong, last = self._wrong.get(_slot(name), (0, self._clock()))
        if num_wrong < FREE_GUESSES:
            return 0
        wait = min(timedelta(seconds=2 ** (num_wrong - FREE_GUESSES)), LONGEST_WAIT)
        return max(0, -int((self._clock() - last - wait).total_seconds() // 1))

    def wrong(self, name: str) -> None:
        """Count a wrong guess."""
        num_wrong, last = self._wrong.get(_slot(name), (0, self._clock()))
        if self._clock() - last > FORGOTTEN:
            num_wrong = 0
        self._wrong[_slot(name)] = (min(num_wrong + 1, 60), self._clock())

    def right(self, name: str) -> None:
        """Forget the wrong guesses."""
        self._wrong.pop(_slot(name), None)


def _slot(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:2]) % 4096


def _keep_newest(kept: dict[str, Person] | dict[str, None]) -> None:
    while len(kept) >= MAX_OPEN:
        kept.pop(next(iter(kept)))
