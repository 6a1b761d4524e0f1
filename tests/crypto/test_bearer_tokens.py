import jwt
import pytest
from django.test.utils import override_settings

from crypto import bearer_tokens
from crypto.bearer_tokens import InvalidBearerToken
from crypto.keyring import KeyRing

OLD = "an-0lder-secret-of-this-installation-2024"
NEW = "the-N3wer-secret-of-this-installation-2025"


def sign(secret, seconds=60, audience="web"):
    with override_settings(KEYRING=KeyRing(secret)):
        return bearer_tokens.sign({"sid": "7"}, audience=audience, seconds=seconds)


def verify(token, ring=None, audience="web"):
    with override_settings(KEYRING=ring or KeyRing(NEW)):
        return bearer_tokens.verify(token, audience=audience)


def test_a_token_says_what_was_signed():
    verified = verify(sign(NEW))
    assert verified.claims["sid"] == "7"
    assert verified.is_current


def test_a_fallback_verifies_and_is_not_current():
    assert not verify(sign(OLD), KeyRing(NEW, [OLD])).is_current


def test_the_header_names_the_secret_and_the_raw_secret_is_not_the_key():
    token = sign(NEW)
    assert jwt.get_unverified_header(token) == {
        "alg": "HS256",
        "typ": "JWT",
        "kid": KeyRing(NEW).primary.fingerprint,
    }
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, NEW, algorithms=["HS256"], audience="web")


@pytest.mark.parametrize(
    "token",
    [
        sign(OLD),
        sign(NEW, seconds=-bearer_tokens.LEEWAY - 1),
        sign(NEW, audience="api"),
        sign(NEW)[:-3] + "abc",
        jwt.encode({"sid": "7", "aud": "web"}, "", algorithm="none"),
        jwt.encode({"aud": "web", "exp": 2**40}, "x" * 40, headers={"kid": "000000000000"}),
        "",
        "no token",
    ],
    ids=[
        "other secret",
        "expired",
        "other use",
        "forged",
        "alg none",
        "unknown kid",
        "empty",
        "text",
    ],
)
def test_every_other_token_is_refused(token):
    with pytest.raises(InvalidBearerToken):
        verify(token)
