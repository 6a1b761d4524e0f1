"""A process that takes webhooks on several ports, counts them, and says when the first and the
last of each came.

It prints its ports, waits for a line, and prints what it has counted. The raw socket server costs
less than http.server: what is measured is the sender.
"""

import json
import socket
import sys
import threading
import time

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Taker:
    """One receiver; `pause` is how long each answer takes."""

    def __init__(self, pause: float):
        self.pause = pause
        self.count, self.first, self.last = 0, 0.0, 0.0
        self.lock = threading.Lock()
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            connection, _ = self.socket.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.take, args=(connection,), daemon=True).start()

    def take(self, connection: socket.socket) -> None:
        rest = b""
        while True:
            while b"\r\n\r\n" not in rest:
                if not (more := connection.recv(65536)):
                    return
                rest += more
            head, _, rest = rest.partition(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
            while len(rest) < length:
                rest += connection.recv(65536)
            rest = rest[length:]
            time.sleep(self.pause)
            now = time.time()
            with self.lock:
                self.count += 1
                self.first, self.last = self.first or now, now
            try:
                connection.sendall(ANSWER)
            except OSError:
                return


def main(pauses: list[str]) -> None:
    takers = [Taker(float(pause)) for pause in pauses]
    sys.stdout.write(json.dumps([taker.port for taker in takers]) + "\n")
    sys.stdout.flush()
    while sys.stdin.readline():
        found = [[taker.count, taker.first, taker.last] for taker in takers]
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
