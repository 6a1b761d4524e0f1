"""Turns secrets into keys, and keys into a ring that encrypts, decrypts and signs.

One secret gives four keys. Only the first is fixed by the outside world: it opens what other
programs wrote under the same secret, and they open ours.
"""

import hmac
import logging
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache, lru_cache

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from django.conf import settings

logger = logging.getLogger(__name__)

SALT = b"instagram-oauth-encryption-v1"
ITERATIONS = 100_000


class DecryptionError(Exception):
    """No key on the ring opens the value; the text says why and holds nothing secret."""


@dataclass(frozen=True)
class Key:
    """All that one secret is used for. Printing it shows the fingerprint alone."""

    fingerprint: str
    fernet: Fernet = field(repr=False)
    signing_key: bytes = field(repr=False)
    django_key: str = field(repr=False)


@lru_cache(maxsize=64)
def derive(secret: str) -> Key:
    """The keys of `secret`, derived once per process.

    PBKDF2's output grows block by block, so the first 32 of 64 bytes are exactly the 32-byte
    key that other programs derive from the same secret; the second half is ours alone.
    """
    kdf = PBKDF2HMAC(algorithm=SHA256(), length=64, salt=SALT, iterations=ITERATIONS)
    stretched = kdf.derive(secret.encode())
    root = stretched[32:]

    def labelled(label: bytes) -> bytes:
        return hmac.digest(root, label, "sha256")

    return Key(
        fingerprint=labelled(b"fingerprint").hex()[:12],
        fernet=Fernet(urlsafe_b64encode(stretched[:32])),
        signing_key=labelled(b"bearer-token"),
        django_key=labelled(b"django-secret-key").hex(),
    )


@cache
def note_fallback(key: Key) -> None:
    """Say so, once per process: as long as this happens the fallback must stay on the ring."""
    logger.warning("Fallback secret %s was needed to open a value or a login", key.fingerprint)


class KeyRing:
    """The key that encrypts and signs, and older or coming ones that still open.

    `primary` may be None: then nothing can be encrypted, and only the fallbacks open values.
    """

    def __init__(self, primary: str | None, fallbacks: Iterable[str] = ()):
        self.primary = derive(primary) if primary else None
        self.fallbacks = [derive(secret) for secret in fallbacks]

    def __repr__(self) -> str:
        return f"<KeyRing {' '.join(key.fingerprint for key in self.keys) or 'empty'}>"

    @property
    def keys(self) -> list[Key]:
        return ([self.primary] if self.primary else []) + self.fallbacks

    def encrypt(self, text: str) -> str:
        """`text` as plain Fernet text. Raises RuntimeError when there is no SESSION_SECRET."""
        if self.primary is None:
            raise RuntimeError("Nothing can be encrypted: SESSION_SECRET is not set.")
        return self.primary.fernet.encrypt(text.encode()).decode("ascii")

    def decrypt(self, ciphertext: str) -> str:
        """The text behind `ciphertext`. Raises DecryptionError when no key opens it."""
        key, plain = self.open(ciphertext)
        if key is not self.primary:
            note_fallback(key)
        try:
            return plain.decode()
        except UnicodeDecodeError:
            raise DecryptionError("what it holds is not UTF-8 text") from None

    def open(self, ciphertext: str, *, primary_last: bool = False) -> tuple[Key, bytes]:
        """The key that opens `ciphertext`, and what is in it. Raises DecryptionError.

        `primary_last` saves time where most values are still under a fallback.
        """
        if isinstance(ciphertext, bytes):  # In bytes Fernet passes over what is none of its own.
            ciphertext = ciphertext.decode(errors="replace")
        for key in [*self.fallbacks, self.primary] if primary_last else self.keys:
            try:
                return key, key.fernet.decrypt(ciphertext)
            except (InvalidToken, ValueError, TypeError):  # What no Fernet ever wrote.
                continue
        raise DecryptionError(self._why_not(ciphertext))

    def opens(self, ciphertext: str) -> bool:
        try:
            self.open(ciphertext)
        except DecryptionError:
            return False
        return True

    def find(self, fingerprint: str) -> Key | None:
        """The key that bears `fingerprint`, or None when it is not on the ring."""
        return next((key for key in self.keys if key.fingerprint == fingerprint), None)

    def _why_not(self, ciphertext: str) -> str:
        if not self.keys:
            return "SESSION_SECRET is not set"
        if not isinstance(ciphertext, str) or not ciphertext.startswith("gAAAAA"):
            return "the stored value is not a Fernet token"
        names = ", ".join(key.fingerprint for key in self.keys)
        return f"no key on the ring opens it (tried {names}); was SESSION_SECRET changed or lost?"


def get_keyring() -> KeyRing:
    """The ring of this process, made from the environment when the settings were read."""
    return settings.KEYRING
