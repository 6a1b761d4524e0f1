"""Rows that are over, and that nobody deletes by the way: logins, attempts, one-time links."""

from datetime import timedelta

from axes.models import AccessAttempt
from django.contrib.sessions.models import Session
from django.db.models import QuerySet
from django.utils import timezone

from .models import ConnectAttempt, Invitation

ATTEMPTS_KEPT = timedelta(days=1)
"""Far above a lock-out; the security events tell of failed logins for good."""


def sessions() -> QuerySet:
    return Session.objects.filter(expire_date__lt=timezone.now())


def invitations() -> QuerySet:
    return Invitation.objects.forgettable()


def connect_attempts() -> QuerySet:
    return ConnectAttempt.objects.forgettable()


def login_attempts() -> QuerySet:
    return AccessAttempt.objects.filter(attempt_time__lt=timezone.now() - ATTEMPTS_KEPT)
