"""The files that shops sent, in memory: the oldest make room for the newest."""

from __future__ import annotations

ROOM = 64 * 1024 * 1024

File = tuple[bytes, str]  # the bytes and their content type


class Shelf:
    def __init__(self) -> None:
        self._files: dict[str, File] = {}
        self._size = 0

    def put(self, name: str, file: File) -> None:
        self._files[name] = file
        self._size += len(file[0])
        # The newest stays, however large it is: its echo is about to name it.
        while self._size > ROOM and len(self._files) > 1:
            oldest = next(iter(self._files))
            self._size -= len(self._files.pop(oldest)[0])

    def get(self, name: str) -> File | None:
        return self._files.get(name)
