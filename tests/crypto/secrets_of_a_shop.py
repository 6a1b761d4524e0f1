"""Secrets and accounts for the tests of the secret's life."""

from django.db import connection
from django.test.utils import override_settings

from accounts.models import Account
from crypto import verdict
from crypto.columns import encrypted_columns
from crypto.keyring import KeyRing, derive

OLD = "an-0lder-secret-of-this-installation-2024"
NEW = "the-N3wer-secret-of-this-installation-2025"
OTHER = "another-S3cret-that-opens-nothing-here-99"
TOKEN = "IGAAaVeryPrivateTokenOfLunaCeramics{:05}"


def fingerprint(secret: str) -> str:
    return derive(secret).fingerprint


def store(number: int, secret: str = OLD, first: int = 0) -> list[Account]:
    """So many connected accounts, their tokens written by a process that runs `secret`."""
    with override_settings(KEYRING=KeyRing(secret)):
        return [
            Account.objects.create(
                instagram_account_id=str(17841000 + n),
                username=f"shop.{n}",
                access_token=TOKEN.format(n),
            )
            for n in range(first, first + number)
        ]


def overwrite(account: Account, ciphertext: str | bytes | None) -> None:
    """As somebody with SQL would."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE accounts SET access_token_encrypted = %s WHERE id = %s",
            [ciphertext, account.pk],
        )


NO_TEXT = b"gAAAAAB\x80\xff\x00\xed\xa0\x80"
"""What is no UTF-8, and what UTF-8 forbids."""


def overwrite_with_no_text(account: Account, octets: bytes = NO_TEXT) -> None:
    """SQLite keeps as text whatever it is told is text."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE accounts SET access_token_encrypted = CAST(%s AS TEXT) WHERE id = %s",
            [octets, account.pk],
        )


def kept_octets(account: Account) -> tuple[str, str]:
    """What SQLite holds there: of which type, and each byte."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT typeof(access_token_encrypted), hex(access_token_encrypted) "
            "FROM accounts WHERE id = %s",
            [account.pk],
        )
        return cursor.fetchone()


def out_of_sight(accounts: list[Account]) -> Account:
    """One in the middle, where no sample looks."""
    sampled = {ciphertext for _, ciphertext in encrypted_columns()[0].ends(verdict.SAMPLE)}
    stored = columns()
    return next(account for account in accounts if stored[account.pk] not in sampled)


def columns() -> dict[str, str | None]:
    """Account id → what stands in the column."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, access_token_encrypted FROM accounts")
        return dict(cursor.fetchall())


def opened(secret: str) -> dict[str, str]:
    """Username → token, of those that this one secret opens."""
    ring = KeyRing(secret)
    return {
        account.username: ring.decrypt(account.access_token.ciphertext)
        for account in Account.objects.filter(access_token__isnull=False)
        if ring.opens(account.access_token.ciphertext)
    }
