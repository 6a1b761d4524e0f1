import subprocess
import sys
from base64 import urlsafe_b64encode
from hashlib import pbkdf2_hmac

import pytest
from cryptography.fernet import Fernet

from crypto import keyring
from crypto.keyring import DecryptionError, KeyRing
from tests.environment import child_environment

OLD = "an-0lder-secret-of-this-installation-2024"
NEW = "the-N3wer-secret-of-this-installation-2025"


def independent_fernet(secret: str) -> Fernet:
    """What any other program makes of the published recipe; shares no code with ours."""
    key = pbkdf2_hmac("sha256", secret.encode(), b"instagram-oauth-encryption-v1", 100_000, 32)
    return Fernet(urlsafe_b64encode(key))


def test_another_program_reads_what_the_ring_writes():
    assert (
        independent_fernet(NEW).decrypt(KeyRing(NEW).encrypt("tök€n").encode()) == "tök€n".encode()
    )


def test_the_ring_reads_what_another_program_wrote():
    assert KeyRing(NEW).decrypt(independent_fernet(NEW).encrypt(b"token").decode()) == "token"


def test_a_fallback_opens_but_does_not_encrypt():
    written_before = KeyRing(OLD).encrypt("token")
    ring = KeyRing(NEW, [OLD])
    assert ring.decrypt(written_before) == "token"
    with pytest.raises(DecryptionError):
        KeyRing(OLD).decrypt(ring.encrypt("token"))


@pytest.mark.parametrize(
    ("ring", "ciphertext", "reason"),
    [
        (KeyRing(NEW), KeyRing(OLD).encrypt("token"), "no key on the ring opens it"),
        (KeyRing(NEW), "IGAA-plain-token", "not a Fernet token"),
        (KeyRing(NEW), "gAAAAAé", "no key on the ring opens it"),
        (KeyRing(None), KeyRing(OLD).encrypt("token"), "SESSION_SECRET is not set"),
        (KeyRing(OLD), KeyRing(OLD).encrypt("token")[:-4] + "AAAA", "no key on the ring opens it"),
    ],
    ids=["other secret", "no ciphertext", "no ASCII", "no secret", "forged"],
)
def test_what_cannot_be_opened_says_why(ring, ciphertext, reason):
    with pytest.raises(DecryptionError, match=reason) as caught:
        ring.decrypt(ciphertext)
    assert ciphertext not in str(caught.value)


def test_nothing_is_encrypted_without_a_secret():
    with pytest.raises(RuntimeError, match="SESSION_SECRET is not set"):
        KeyRing(None).encrypt("token")


def test_the_fingerprint_names_a_secret_and_nothing_printed_holds_a_key():
    ring = KeyRing(NEW, [OLD])
    assert repr(ring) == f"<KeyRing {ring.primary.fingerprint} {ring.fallbacks[0].fingerprint}>"
    key = ring.primary
    assert len(key.fingerprint) == 12
    assert key.fingerprint == KeyRing(NEW).primary.fingerprint != ring.fallbacks[0].fingerprint
    assert repr(key) == f"Key(fingerprint='{key.fingerprint}')"


def test_no_key_of_a_secret_is_the_secret_or_another_of_its_keys():
    key = keyring.derive(NEW)
    keys = {NEW, key.fingerprint, key.signing_key.hex(), key.django_key}
    assert len(keys) == 4


def test_starting_the_site_derives_each_key_once():
    script = """
import crypto.keyring as keyring
derived = []
stretch = keyring.PBKDF2HMAC
keyring.PBKDF2HMAC = lambda **how: derived.append(how) or stretch(**how)
import instamsg.wsgi
keyring.get_keyring().encrypt("token")
print(len(derived))
"""
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=child_environment(SESSION_SECRET=NEW, SESSION_SECRET_FALLBACKS=OLD),
        check=True,
    )
    assert result.stdout.strip() == "2"
