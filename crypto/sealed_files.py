"""Files of any size under a passphrase, written and read as a stream.

AES-256-GCM over one piece after the other. The nonce of a piece holds its number and whether it
is the last, so one that is changed, missing, moved, or from another file does not open. The key
comes from the passphrase by scrypt, with a salt of the file's own.
"""

import hmac
import os
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

MAGIC = b"InstaMsg sealed file 1\n"
SALT, PREFIX, PROOF = 16, 7, 32
HEADER = len(MAGIC) + SALT + PREFIX + PROOF
PIECE = 64 * 1024
TAG = 16
SHORTEST = 12
"""Characters that a passphrase has at least."""


class WrongPassphrase(Exception):
    """It does not open the file, or the file's first bytes are damaged."""


class Broken(Exception):
    """A part of the file is not what was written, or is missing."""


def is_sealed(file: BinaryIO) -> bool:
    """Whether a file begins like one of these; the file stands at its beginning afterwards."""
    found = file.read(len(MAGIC))
    file.seek(0)
    return found == MAGIC


class SealingWriter:
    """What is written goes on to `file` sealed; complete once it is closed."""

    def __init__(self, file: BinaryIO, passphrase: str):
        self.file, self.number, self.waiting = file, 0, bytearray()
        begin = MAGIC + os.urandom(SALT + PREFIX)
        self.cipher, proof = _keys(passphrase, begin)
        self.prefix, self.header = begin[-PREFIX:], begin + proof
        file.write(self.header)

    def write(self, data: bytes) -> None:
        self.waiting += data
        # The last piece has to be known as such, so one always waits.
        while len(self.waiting) > PIECE:
            self._seal(bytes(self.waiting[:PIECE]), is_last=False)
            del self.waiting[:PIECE]

    def close(self) -> None:
        """Write what is left, as the end. The file itself stays open."""
        self._seal(bytes(self.waiting), is_last=True)
        self.waiting.clear()

    def _seal(self, piece: bytes, *, is_last: bool) -> None:
        nonce = _nonce(self.prefix, self.number, is_last)
        self.file.write(self.cipher.encrypt(nonce, piece, self.header))
        self.number += 1


class OpeningReader:
    """Reads what a SealingWriter wrote. Raises WrongPassphrase, and Broken where it reads on."""

    def __init__(self, file: BinaryIO, passphrase: str):
        self.file, self.number, self.opened = file, 0, b""
        self.header = file.read(HEADER)
        begin = self.header[:-PROOF]
        self.cipher, proof = _keys(passphrase, begin)
        if not hmac.compare_digest(proof, self.header[-PROOF:]):
            raise WrongPassphrase("the passphrase is wrong, or the first bytes are damaged")
        self.prefix = begin[-PREFIX:]
        self.next = file.read(PIECE + TAG)

    def read(self, size: int) -> bytes:
        """`size` bytes; fewer at the end alone."""
        parts, left = [], size
        while left and (self.opened or self.next is not None):
            if not self.opened:
                self._open()
            part, self.opened = self.opened[:left], self.opened[left:]
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def _open(self) -> None:
        piece, self.next = self.next, self.file.read(PIECE + TAG) or None
        nonce = _nonce(self.prefix, self.number, self.next is None)
        try:
            self.opened = self.cipher.decrypt(nonce, piece, self.header)
        except (InvalidTag, ValueError):
            raise Broken(f"part {self.number + 1} of the sealed file does not open") from None
        self.number += 1


def _keys(passphrase: str, begin: bytes) -> tuple[AESGCM, bytes]:
    """The cipher, and the proof that a header was written under this passphrase."""
    salt = begin[len(MAGIC) : len(MAGIC) + SALT]
    # 64 MiB, half a second: what a guess costs somebody who has the file.
    stretched = Scrypt(salt=salt, length=64, n=2**16, r=8, p=2).derive(passphrase.encode())
    return AESGCM(stretched[:32]), hmac.digest(stretched[32:], begin, "sha256")


def _nonce(prefix: bytes, number: int, is_last: bool) -> bytes:
    return prefix + number.to_bytes(4, "big") + bytes([is_last])
