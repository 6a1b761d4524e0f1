"""One file that holds a backup: a plain tar whose last member proves all others.

`tar -xf` unpacks it and `sha256sum -c SHA256SUMS` checks it, where none of this code is. Here
every byte is checked, those between the members too. Nothing is held in memory but one piece.
"""

import hashlib
import tarfile
import tempfile
from collections.abc import Callable
from itertools import zip_longest
from pathlib import PurePosixPath
from typing import BinaryIO

from crypto.sealed_files import Broken

SUMS = "SHA256SUMS"
BLOCK = 512
PIECE = 1024 * 1024
LONGEST = 100
"""Bytes of a member's name."""

END = bytes(2 * BLOCK)
ENCODING = ("utf-8", "surrogateescape")


class Damaged(Exception):
    """The archive is not what was written; the text says where."""


class NameRefused(Exception):
    """A member cannot be called that."""


class Writer:
    """A context manager that writes members; the archive is whole after it, if nothing failed."""

    def __init__(self, file: BinaryIO, moment: float):
        self.file, self.moment, self.sums = file, int(moment), _Sums()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type | None, *exc: object) -> None:
        with self.sums:
            if kind is None:
                size = self.sums.finish()
                self._write(SUMS, self.sums.file, size)
                self.file.write(END)

    def add(
        self, name: str, content: BinaryIO, size: int, told: Callable[[int], None] = lambda n: None
    ) -> None:
        """Add `size` bytes of `content`. Raises NameRefused before anything is written, and
        EOFError when there are fewer."""
        self.sums.add(name, self._write(name, content, size, told))

    def _write(
        self, name: str, content: BinaryIO, size: int, told: Callable[[int], None] = lambda n: None
    ) -> str:
        digest = hashlib.sha256()
        self.file.write(_entry(name, size, self.moment))
        left = size
        while left:
            piece = content.read(min(left, PIECE))
            if not piece:
                raise EOFError
            digest.update(piece)
            self.file.write(piece)
            left -= len(piece)
            told(len(piece))
        self.file.write(_padding(size))
        return digest.hexdigest()


def read(
    file: BinaryIO,
    keep: Callable[[str], BinaryIO | None] = lambda name: None,
    told: Callable[[int], None] = lambda n: None,
) -> None:
    """Read an archive to its end, and compare. Raises Damaged.

    `keep` says where the bytes of a member go, if anywhere; they are proven once this returns.
    """
    with _Sums() as sums:
        _read(file, keep, told, sums)
    if _take(file, len(END) + 1, "the end") != END:
        raise Damaged(f"The end of the archive, after {SUMS}, is damaged.")


def _read(
    file: BinaryIO,
    keep: Callable[[str], BinaryIO | None],
    told: Callable[[int], None],
    sums: "_Sums",
) -> None:
    before = ""
    while (info := _read_entry(file, before)).name != SUMS:
        before, target = info.name, keep(info.name)
        digest = hashlib.sha256()
        try:
            for piece in _pieces(file, info):
                digest.update(piece)
                told(len(piece))
                if target:
                    target.write(piece)
        finally:
            if target:
                target.close()
        sums.add(info.name, digest.hexdigest())
    sums.finish()
    with tempfile.SpooledTemporaryFile(PIECE) as stored:
        for piece in _pieces(file, info):
            stored.write(piece)
        if different := _first_difference(sums.file, stored):
            raise Damaged(f"{different} is damaged: it is not what was backed up.")


class _Sums:
    """The lines of SHA256SUMS; the last one, a comment to its readers, proves the others."""

    def __init__(self):
        self.file = tempfile.SpooledTemporaryFile(PIECE)  # noqa: SIM115  (closed by __exit__)
        self.digest = hashlib.sha256()

    def __enter__(self) -> "_Sums":
        return self

    def __exit__(self, *exc: object) -> None:
        self.file.close()

    def add(self, name: str, digest: str) -> None:
        line = f"{digest}  {name}\n".encode(*ENCODING)
        self.digest.update(line)
        self.file.write(line)

    def finish(self) -> int:
        """Write the last line; the file stands at its beginning. Returns its size."""
        self.file.write(_last_line(self.digest))
        size = self.file.tell()
        self.file.seek(0)
        return size


def _last_line(digest) -> bytes:
    return f"# sha256 of the lines above: {digest.hexdigest()}\n".encode()


def _entry(name: str, size: int, moment: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, moment, 0o600
    path = PurePosixPath(name)
    is_plain = name == str(path) and name.isprintable() and "\\" not in name
    if not is_plain or path.is_absolute() or ".." in path.parts:
        raise NameRefused("its name holds characters that an archive should not")
    if len(name.encode(*ENCODING)) > LONGEST:
        raise NameRefused(f"its name, with its folders, is longer than {LONGEST} bytes")
    return info.tobuf(tarfile.GNU_FORMAT, *ENCODING)


def _read_entry(file: BinaryIO, before: str) -> tarfile.TarInfo:
    where = f"after {before}" if before else "at the beginning"
    block = _take(file, BLOCK, f"the entry {where}", exactly=True)
    guess = block[:LONGEST].split(b"\0")[0].decode(errors="replace")
    damaged = Damaged(f"The entry of {guess or 'a member'} ({where}) is damaged.")
    try:
        info = tarfile.TarInfo.frombuf(block, *ENCODING)
        # Whatever differs from what is written here was changed.
        is_ours = _entry(info.name, info.size, info.mtime) == block
    except (tarfile.TarError, NameRefused, ValueError):
        raise damaged from None
    if not is_ours:
        raise damaged
    return info


def _pieces(file: BinaryIO, info: tarfile.TarInfo):
    left = info.size
    while left:
        piece = _take(file, min(left, PIECE), info.name, exactly=True)
        left -= len(piece)
        yield piece
    padding = _padding(info.size)
    if _take(file, len(padding), info.name, exactly=True) != padding:
        raise Damaged(f"{info.name} is damaged: what fills up its last block is.")


def _padding(size: int) -> bytes:
    return bytes(-size % BLOCK)


def _take(file: BinaryIO, size: int, name: str, *, exactly: bool = False) -> bytes:
    try:
        data = file.read(size)
    except Broken as exc:
        raise Damaged(f"{name} is damaged, or what stands next to it: {exc}.") from None
    if exactly and len(data) < size:
        raise Damaged(f"The archive ends in the middle of {name}: a part of it is missing.")
    return data


def _first_difference(expected: BinaryIO, stored: BinaryIO) -> str | None:
    """The member that differs from its sum; or the sums themselves; or None."""
    stored.seek(0)
    digest, last, found = hashlib.sha256(), b"", None
    for mine, theirs in zip_longest(expected, stored, fillvalue=b""):
        if mine != theirs and found is None:
            found = mine
        if theirs:
            digest.update(last)
            last = theirs
    if found is None:
        return None
    are_sums_whole = last == _last_line(digest) and found[:1] not in (b"#", b"")
    return found.decode(*ENCODING)[66:].rstrip("\n") if are_sums_whole else SUMS
