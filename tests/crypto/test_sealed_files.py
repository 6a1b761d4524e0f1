import io
from functools import cache

import pytest

from crypto import sealed_files
from crypto.sealed_files import (
    HEADER,
    PIECE,
    TAG,
    Broken,
    OpeningReader,
    SealingWriter,
    WrongPassphrase,
)

PASSPHRASE = "a passphrase of the shop"
TEXT = bytes(range(256)) * 1000  # Four pieces, the last one shorter.


@pytest.fixture(autouse=True, scope="module")
def quick_keys():
    """A key takes half a second on purpose; here each is derived once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealed_files, "_keys", cache(sealed_files._keys))
        yield


def seal(text: bytes) -> bytes:
    file = io.BytesIO()
    writer = SealingWriter(file, PASSPHRASE)
    for start in range(0, len(text), 100_000):
        writer.write(text[start : start + 100_000])
    writer.close()
    return file.getvalue()


def unseal(sealed: bytes, passphrase: str = PASSPHRASE) -> bytes:
    reader = OpeningReader(io.BytesIO(sealed), passphrase)
    return reader.read(1) + reader.read(200_000) + reader.read(10**9) + reader.read(1)


@pytest.fixture(scope="module")
def sealed():
    return seal(TEXT)


def pieces(sealed: bytes) -> list[bytes]:
    body, size = sealed[HEADER:], PIECE + TAG
    return [body[start : start + size] for start in range(0, len(body), size)]


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE])
def test_what_was_sealed_opens_again(size):
    assert unseal(seal(TEXT[:size])) == TEXT[:size]


def test_the_same_text_is_never_sealed_the_same_way(sealed):
    assert seal(TEXT) != sealed
    assert TEXT[:64] not in sealed


def test_another_passphrase_does_not_open_it(sealed):
    with pytest.raises(WrongPassphrase):
        unseal(sealed, "another passphrase of it")


def test_no_changed_byte_goes_unnoticed(sealed):
    for at in [*range(30, HEADER, 7), *range(HEADER, len(sealed), 9973), len(sealed) - 1]:
        changed = bytearray(sealed)
        changed[at] ^= 1
        with pytest.raises((Broken, WrongPassphrase)):
            unseal(bytes(changed))


def test_a_cut_file_does_not_open(sealed):
    header, parts = sealed[:HEADER], pieces(sealed)
    assert len(parts) == 4
    for cut in [header, *(header + b"".join(parts[:n]) for n in (1, 2, 3)), sealed[:-1]]:
        with pytest.raises(Broken):
            unseal(cut)
    with pytest.raises(WrongPassphrase):
        unseal(header[:40])


def test_pieces_in_another_order_or_from_another_file_do_not_open(sealed):
    header, (one, two, three, four) = sealed[:HEADER], pieces(sealed)
    others = pieces(seal(TEXT))
    for parts in [
        [two, one, three, four], [one, three, four], [one, one, two, three, four],
        [one, two, three, four, four], [one, others[1], three, four], [one, two, three, others[3]],
    ]:  # fmt: skip
        with pytest.raises(Broken):
            unseal(header + b"".join(parts))
