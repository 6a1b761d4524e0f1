"""What the registry knows of the secrets, and whom it lets write."""

import pytest
from django.contrib.admin.utils import quote
from django.db import connection, transaction
from django.test.utils import override_settings
from django.urls import reverse

from accounts.models import Account
from crypto.keyring import KeyRing, derive
from crypto.models import Secret, SecurityEvent, SupersededSecret

from .secrets_of_a_shop import NEW, OLD, OTHER, columns, fingerprint, opened, overwrite, store

pytestmark = pytest.mark.django_db


def current() -> str:
    return Secret.objects.current().fingerprint


def test_the_first_value_makes_its_secret_the_current_one():
    store(1)
    secret = Secret.objects.get()
    assert (secret.fingerprint, secret.is_current, secret.retired_at) == (
        fingerprint(OLD), True, None,
    )  # fmt: skip
    event = SecurityEvent.objects.get(kind=SecurityEvent.Kind.SECRET_FIRST_USED)
    assert event.subject == f"secret {fingerprint(OLD)}"


def test_a_row_holds_a_sentinel_that_only_its_secret_opens():
    store(1)
    secret = Secret.objects.get()
    assert secret.is_held_by(KeyRing(NEW, [OLD]))
    assert not secret.is_held_by(KeyRing(NEW))
    assert OLD not in str(vars(secret))


def test_a_name_alone_proves_nothing():
    store(1)
    Secret.objects.update(fingerprint=fingerprint(NEW))
    assert not Secret.objects.get().is_held_by(KeyRing(NEW))


def test_another_secret_beside_stored_values_is_known_but_not_current(settings):
    store(1)
    settings.KEYRING = KeyRing(NEW, [OLD])
    store(1, NEW, first=5)
    assert current() == fingerprint(OLD)
    assert Secret.objects.get(pk=fingerprint(NEW)).retired_at is None


def test_where_nothing_is_stored_the_next_secret_takes_over():
    (account,) = store(1)
    overwrite(account, None)
    store(1, NEW, first=5)
    assert current() == fingerprint(NEW)
    assert Secret.objects.get(pk=fingerprint(OLD)).retired_at is not None


def test_a_process_with_a_retired_secret_writes_nothing():
    (account,) = store(1)
    Secret.objects.make_current(derive(NEW))
    before = columns()
    with pytest.raises(SupersededSecret, match="still runs the old"), transaction.atomic():
        store(1, first=5)
    with override_settings(KEYRING=KeyRing(OLD)):
        account.access_token = "IGAANewToken0000000000000000000000000000"
        with pytest.raises(SupersededSecret), transaction.atomic():
            account.save()
    assert columns() == before


def test_a_rotation_that_went_past_a_process_with_both_secrets_has_it_write_under_the_new(settings):
    store(1)
    Secret.objects.make_current(derive(NEW))
    settings.KEYRING = KeyRing(OLD, [NEW])
    Account.objects.create(instagram_account_id="5", username="x", access_token="IGAAToken")
    assert opened(NEW) == {"x": "IGAAToken"}


def test_saving_what_was_loaded_asks_for_no_secret(django_assert_num_queries):
    store(1)
    Secret.objects.make_current(derive(NEW))
    account = Account.objects.get()
    account.username = "renamed"
    with django_assert_num_queries(1):
        account.save()


def test_saving_a_row_does_not_put_back_a_value_that_was_replaced_meanwhile():
    store(1)
    loaded = Account.objects.get()
    overwrite(loaded, KeyRing(NEW).encrypt("IGAAFresh"))
    loaded.username = "renamed"
    loaded.save()
    assert opened(NEW) == {"renamed": "IGAAFresh"}


def test_the_admin_does_not_put_it_back_either(admin_client):
    (account,) = store(1)
    url = reverse("admin:accounts_account_change", args=[quote(account.pk)])
    form = {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}
    overwrite(account, KeyRing(NEW).encrypt("IGAAFresh"))
    assert admin_client.post(url, form).status_code == 302
    assert opened(NEW) == {"shop.0": "IGAAFresh"}


def test_an_orphan_with_a_retired_secret_does_not_take_over_an_empty_database():
    (account,) = store(1)
    Secret.objects.make_current(derive(NEW))
    overwrite(account, None)
    with pytest.raises(SupersededSecret), transaction.atomic():
        store(1, first=5)


def test_a_lost_secret_does_not_keep_a_new_one_from_writing():
    store(1)
    store(1, OTHER, first=5)
    assert current() == fingerprint(OLD)
    assert Secret.objects.count() == 2


def test_going_back_to_a_retired_secret_revives_it():
    store(1)
    Secret.objects.make_current(derive(NEW))
    Secret.objects.make_current(derive(OLD))
    assert current() == fingerprint(OLD)
    assert Secret.objects.get(pk=fingerprint(NEW)).retired_by
    assert Secret.objects.get(pk=fingerprint(OLD)).retired_by == ""


def test_there_is_one_current_secret_at_most():
    from django.db import IntegrityError

    Secret.objects.make_current(derive(OLD))
    with pytest.raises(IntegrityError), transaction.atomic():
        Secret.objects.create(fingerprint="x", sentinel="", is_current=True)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer")
@pytest.mark.django_db(transaction=True)
def test_a_rotation_waits_for_whoever_is_writing_under_the_secret_before():
    from threading import Thread

    store(1)
    order = []

    def rotate():
        with transaction.atomic():
            Secret.objects.make_current(derive(NEW))
        order.append("rotated")
        connection.close()

    with transaction.atomic():
        store(1, first=5)
        thread = Thread(target=rotate)
        thread.start()
        thread.join(0.5)
        order.append("written")
    thread.join()
    assert order == ["written", "rotated"]
