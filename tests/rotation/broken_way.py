"""A way to PostgreSQL that breaks at the worst moment."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


@contextmanager
def breaking_at(url: str, word: str, **how: bool) -> Iterator[str]:
    """The address of a proxy on loopback that hangs up when `word` is said to the server.

    The server has `heard` it by then and has `answered`, unless these are False; who asked hears
    nothing in any case. Who comes afterwards gets through, unless it breaks `for_good`.
    """
    there = urlsplit(url)
    way = _Way((there.hostname, there.port or 5432), word.encode(), **how)
    way.start()
    try:
        user = there.netloc.rpartition("@")[0]
        yield there._replace(netloc=f"{user}@127.0.0.1:{way.port}").geturl()
    finally:
        way.close()


class _Way(threading.Thread):
    def __init__(
        self,
        there: tuple[str, int],
        word: bytes,
        *,
        heard: bool = True,
        answered: bool = True,
        for_good: bool = False,
    ):
        super().__init__(daemon=True)
        self.there, self.word, self.is_broken = there, word, False
        self.heard, self.answered, self.for_good = heard, answered, for_good
        self.clients: list[socket.socket] = []
        self.entrance = socket.create_server(("127.0.0.1", 0))
        self.port = self.entrance.getsockname()[1]

    def run(self) -> None:
        passing = []
        with suppress(OSError):
            while True:
                client, _ = self.entrance.accept()
                passing.append(threading.Thread(target=self.connect, args=(client,), daemon=True))
                passing[-1].start()
        for thread in passing:
            thread.join(5)

    def close(self) -> None:
        self.entrance.shutdown(socket.SHUT_RDWR)
        self.join(20)
        self.entrance.close()

    def connect(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if self.is_broken and self.for_good:
                return
            self.clients.append(client)
            with socket.create_connection(self.there) as server:
                asked = threading.Event()
                back = threading.Thread(
                    target=self.pass_back, args=(server, client, asked), daemon=True
                )
                back.start()
                with suppress(OSError):
                    self.pass_on(client, server, asked)
                with suppress(OSError):
                    server.shutdown(socket.SHUT_RDWR)
                back.join(5)

    def pass_on(self, client: socket.socket, server: socket.socket, asked: threading.Event) -> None:
        while data := client.recv(65536):
            if self.word not in data or self.is_broken:
                server.sendall(data)
                continue
            self.is_broken = True
            asked.set()
            if self.for_good:
                for other in self.clients:
                    if other is not client:
                        other.shutdown(socket.SHUT_RDWR)
            if self.heard:
                server.sendall(data)
            if not self.heard or not self.answered:
                return

    def pass_back(
        self, server: socket.socket, client: socket.socket, asked: threading.Event
    ) -> None:
        with suppress(OSError):
            while (data := server.recv(65536)) and not asked.is_set():
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)
