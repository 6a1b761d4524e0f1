"""What stands in an account's way is remembered, and nothing worse is hidden by it."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import Account, TokenUnreadable
from crypto.keyring import KeyRing

Problem, Status = Account.Problem, Account.Status
pytestmark = pytest.mark.django_db


@pytest.fixture
def revoked(account):
    account.note_problem(Problem.REVOKED, "The password was changed.")
    return Account.objects.get()


def test_what_is_revoked_stays_so_since_the_first_time(revoked):
    for problem in Problem:
        Account.objects.get().note_problem(problem, "Something else.")
    now = Account.objects.get()
    assert (now.problem, now.problem_at) == (Problem.REVOKED, revoked.problem_at)
    assert now.problem_reason == "The password was changed."


def test_being_held_counts_anew_each_time(account):
    account.note_problem(Problem.HELD, "Blocked for a day.")
    first = Account.objects.get().problem_at
    account.note_problem(Problem.HELD, "Blocked for a week.")
    assert Account.objects.get().problem_at > first


def test_what_was_held_may_turn_out_to_be_revoked(account):
    account.note_problem(Problem.HELD, "Blocked for a day.")
    account.note_problem(Problem.REVOKED, "The app was removed.")
    assert Account.objects.get().status == Status.REVOKED


def test_what_has_expired_is_not_called_revoked(account):
    Account.objects.update(token_expires_at=timezone.now() - timedelta(seconds=1))
    account.note_problem(Problem.REVOKED, "The access token has expired.")
    assert Account.objects.get().status == Status.EXPIRED


@pytest.mark.parametrize("problem", [Problem.REVOKED, Problem.HELD])
def test_a_token_that_no_key_opens_hides_nothing(account, settings, problem):
    account.note_problem(problem, "As Instagram said.")
    right = settings.KEYRING
    settings.KEYRING = KeyRing("another-S3cret-that-opens-nothing-here-99")
    with pytest.raises(TokenUnreadable):
        Account.objects.get().client()
    settings.KEYRING = right
    Account.objects.get().client()
    assert Account.objects.get().problem == problem


def test_an_account_without_a_token_has_no_problem_with_it(account):
    Account.objects.update(access_token=None)
    account.note_problem(Problem.HELD, "Blocked for a day.")
    assert Account.objects.get().status == Status.DISCONNECTED
    assert Account.objects.get().problem == ""
