"""Database sessions whose cookie is a signed JWT: it names the row, and proves that we made it.

Django's middleware and login views stay as they are. To them `session_key` is the cookie's
value; inside, `_session_key` is the row's key, as in the class below this one.
"""

from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING

from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user,
)
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.utils import timezone

from crypto import bearer_tokens

if TYPE_CHECKING:
    from .models import User

AUDIENCE = "web-session"

LIFETIME = timedelta(days=1)
"""Of a session outside of any browser; what runs longer takes an API key."""


def begin_for(user: "User") -> tuple[str, int]:
    """A session of `user` outside of any browser: its token, and for how many seconds it lasts."""
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.set_expiry(LIFETIME)
    session.save()
    return session.session_key, LIFETIME // timedelta(seconds=1)


def user_of(token: str) -> "User | None":
    """Whose session the token names, while it goes on and its user is active."""
    # Not put in place of a request's own session: that one would be sent back as a cookie.
    user = get_user(SimpleNamespace(session=SessionStore(token)))
    return user if user.is_authenticated else None


class SessionStore(DatabaseStore):
    """Logged out is who has no row, or whose cookie no secret on the ring has signed."""

    def __init__(self, session_key: str | None = None):
        row_key, self.is_current = self._read(session_key)
        super().__init__(row_key)

    @property
    def session_key(self) -> str | None:
        """The cookie's value, signed by the current secret; None for a session not yet saved."""
        if self._session_key is None:
            return None
        claims = {"sid": self._session_key}
        age = self.get_session_cookie_age()
        return bearer_tokens.sign(claims, audience=AUDIENCE, seconds=age)

    def load(self):
        data = super().load()
        if not self.is_current:
            self.modified = True  # A retired secret signed the cookie: send a new one.
        return data

    def delete(self, session_key: str | None = None) -> None:
        row_key = self._read(session_key)[0] if session_key else self._session_key
        self.model.objects.filter(session_key=row_key).delete()

    def _get_session_from_db(self):
        found = self.model.objects.filter(
            session_key=self._session_key, expire_date__gt=timezone.now()
        ).first()
        if found is None:
            self._session_key = None
        return found

    @staticmethod
    def _read(cookie: str | None) -> tuple[str | None, bool]:
        if not cookie:
            return None, True
        try:
            verified = bearer_tokens.verify(cookie, audience=AUDIENCE)
        except bearer_tokens.InvalidBearerToken:
            return None, True
        return verified.claims.get("sid"), verified.is_current
