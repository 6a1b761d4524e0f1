import copy
import pickle

import pytest
from django.contrib.admin.utils import quote
from django.core import serializers
from django.core.exceptions import FieldError
from django.db import connection
from django.db.models import Count
from django.forms import modelform_factory
from django.forms.models import model_to_dict
from django.template import Context, Template
from django.test.utils import override_settings
from django.urls import reverse

from accounts.models import Account, Membership, Role
from crypto.columns import encrypted_columns
from crypto.fields import count_stored_values, encrypted_fields
from crypto.keyring import DecryptionError, KeyRing, get_keyring

from .secrets_of_a_shop import NO_TEXT, kept_octets, overwrite, overwrite_with_no_text

TOKEN = "IGAAaVeryPrivateTokenOfLunaCeramics00001"
LOST = KeyRing("another-S3cret-that-opens-nothing-here-99")

pytestmark = pytest.mark.django_db


@pytest.fixture
def account():
    return Account.objects.create(instagram_account_id="17841", username="luna", access_token=TOKEN)


def column(account) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT access_token_encrypted FROM accounts WHERE id = %s", [account.pk])
        return cursor.fetchone()[0]


def test_the_column_holds_plain_fernet_text(account):
    assert column(account).startswith("gAAAAA")
    assert get_keyring().decrypt(column(account)) == TOKEN


def test_only_reveal_gives_the_plain_text(account):
    for loaded in (account, Account.objects.get(), copy.copy(account)):
        assert loaded.access_token.reveal() == TOKEN


def test_nothing_else_shows_plain_text(account):
    account = Account.objects.get()
    shown = [
        repr(account.access_token),
        str(account.access_token),
        f"{account.access_token}",
        Template("{{ account.access_token }}").render(Context({"account": account})),
        repr(account.__dict__),
        repr(model_to_dict(account)),
        repr(list(Account.objects.values())),
        repr(list(Account.objects.values_list("access_token", flat=True))),
        str(pickle.dumps(account)),
        serializers.serialize("json", [account]),
        str(modelform_factory(Account, fields="__all__")(instance=account)),
    ]
    assert not [text for text in shown if TOKEN in text]
    assert "&lt;sealed&gt;" in shown[3]


def test_none_and_only_none_clears_it(account):
    account.access_token = None
    account.save()
    assert column(account) is None
    assert not Account.objects.get().access_token
    with pytest.raises(ValueError, match="assign None"):
        account.access_token = ""


@pytest.mark.parametrize("value", [b"IGAAbytes", 7, ["IGAA"]])
def test_only_text_is_taken(account, value):
    with pytest.raises(TypeError, match="takes text or None"):
        account.access_token = value
    with pytest.raises(TypeError, match="takes text or None"):
        Account.objects.update(access_token=value)


def test_an_update_encrypts_too(account):
    Account.objects.update(access_token="IGAAanotherToken")
    assert column(account).startswith("gAAAAA")
    assert Account.objects.get().access_token.reveal() == "IGAAanotherToken"


def test_saving_other_fields_needs_no_key_and_keeps_the_ciphertext(account):
    before = column(account)
    with override_settings(KEYRING=KeyRing(None)):
        loaded = Account.objects.get()
        loaded.username = "luna.ceramics"
        loaded.save()
        loaded.refresh_from_db()
        Account.objects.defer("access_token").get().access_token  # noqa: B018  (loads it)
    assert column(account) == before


def test_a_lost_key_is_an_error_only_where_the_value_is_opened(account):
    with override_settings(KEYRING=LOST):
        loaded = Account.objects.get()
        assert loaded.access_token
        assert str(loaded.access_token) == "<sealed>"
        with pytest.raises(DecryptionError):
            loaded.access_token.reveal()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="a text column holds text")
class TestWhatIsNoText:
    @pytest.fixture(params=[overwrite_with_no_text, overwrite], ids=["text", "blob"])
    def spoilt(self, request, account):
        request.param(account, NO_TEXT)
        return account

    def test_it_is_an_error_only_where_the_value_is_opened(self, spoilt):
        for loaded in (
            Account.objects.get(),
            Account.objects.defer("access_token").get(),
            Account.objects.annotate(number=Count("memberships")).get(),
            Account.objects.distinct().get(),
        ):
            assert str(loaded.access_token) == "<sealed>"
            with pytest.raises(DecryptionError):
                loaded.access_token.reveal()
        (token,) = Account.objects.values_list("access_token", flat=True)
        assert str(token) == "<sealed>"

    def test_saving_the_row_keeps_each_byte(self, spoilt):
        before = kept_octets(spoilt)
        loaded = Account.objects.get()
        loaded.username = "luna.ceramics"
        loaded.save()
        assert kept_octets(spoilt) == before
        loaded.access_token = TOKEN
        loaded.save()
        assert Account.objects.get().access_token.reveal() == TOKEN

    def test_it_can_be_dumped_and_does_not_open_after_loading_either(self, spoilt):
        dump = serializers.serialize("json", Account.objects.all())
        dump.encode()
        for loaded in serializers.deserialize("json", dump):
            loaded.save()
        with pytest.raises(DecryptionError):
            Account.objects.get().access_token.reveal()

    def test_the_pages_with_its_row_open(self, spoilt, client, admin_user):
        Membership.objects.create(user=admin_user, account=spoilt, role=Role.OWNER)
        client.force_login(admin_user)
        for page in (
            reverse("account_list"),
            reverse("account", args=[spoilt.pk]),
            reverse("admin:accounts_account_changelist"),
            reverse("admin:accounts_account_change", args=[quote(spoilt.pk)]),
        ):
            response = client.get(page)
            assert response.status_code == 200
            assert "luna" in response.content.decode()

    def test_bytes_around_ciphertext_do_not_open_by_either_way(self, account):
        around = column(account).encode() + b"\x80"
        for spoil in (overwrite_with_no_text, overwrite):
            spoil(account, around)
            with pytest.raises(DecryptionError):
                Account.objects.get().access_token.reveal()
            ((_, stored),) = encrypted_columns()[0].ends(2)
            assert not get_keyring().opens(stored)


@pytest.mark.parametrize("keyring", [get_keyring(), KeyRing(None)], ids=["with key", "without"])
def test_dumped_data_loads_back_unchanged(account, keyring):
    before = column(account)
    with override_settings(KEYRING=keyring):
        dump = serializers.serialize("json", Account.objects.all())
        assert f"sealed:{before}" in dump
        Account.objects.all().delete()
        for loaded in serializers.deserialize("json", dump):
            loaded.save()
    assert column(account) == before


@pytest.mark.parametrize("lookup", ["exact", "in", "startswith", "contains", "gt"])
def test_it_cannot_be_searched(lookup):
    value = [TOKEN] if lookup == "in" else TOKEN
    with pytest.raises(FieldError, match="is encrypted"):
        Account.objects.filter(**{f"access_token__{lookup}": value})


def test_isnull_can_be_asked(account):
    assert Account.objects.filter(access_token__isnull=False).count() == 1
    assert Account.objects.exclude(access_token__isnull=False).count() == 0


def test_the_operators_sql_works_as_it_stands(account):
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE accounts SET access_token_encrypted = NULL, token_expires_at = NULL;"
        )
    assert Account.objects.get().status == Account.Status.DISCONNECTED


def test_encrypted_columns_are_found_by_class_and_counted(account):
    assert [f"{f.model.__name__}.{f.name}" for f in encrypted_fields()] == [
        "Account.access_token",
        "CrmEndpoint.secret",
        "CrmEndpoint.previous_secret",
    ]
    assert count_stored_values() == 1
    assert next(encrypted_fields()).clears == ("token_expires_at",)
