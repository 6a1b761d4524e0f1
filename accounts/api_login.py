"""User name and password, proved to the API: as hard to guess there as on the login page."""

from datetime import timedelta

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.signals import user_logged_in
from django.http import HttpRequest

from . import problems
from .api_access import admit
from .models import User
from .problems import Problem

LOCK_OUT = timedelta(hours=settings.AXES_COOLOFF_TIME)


def user_by_password(request: HttpRequest, username: str, password: str) -> User:
    """The user, who is recorded as logged in. Raises Problem: 401, or 429 after a few failures."""
    user = authenticate(request, username=username, password=password)
    if getattr(request, "axes_locked_out", False):
        request.axes_locked_out = False  # Its middleware would answer with a page.
        text = f"Too many failed logins. Try again in {LOCK_OUT.seconds // 60} minutes."
        headers = {"Retry-After": str(LOCK_OUT.seconds)}
        raise Problem(problems.TOO_MANY_REQUESTS, text, headers=headers)
    if user is None:
        text = "The user name or the password is wrong."
        raise Problem(problems.UNAUTHENTICATED, text, reason="password")
    request.user = user
    user_logged_in.send(sender=type(user), request=request, user=user)
    return admit(request, user)
