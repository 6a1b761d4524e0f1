"""A CRM on loopback that writes down what it is sent and answers as it is told."""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Got(NamedTuple):
    """One request, as it came."""

    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def text(self) -> str | None:
        return self.event["data"].get("text")


Answer = tuple[int, dict[str, str], bytes]


class Receiver:
    """`answers` are given in turn, then always 200. `think` may look at each request first."""

    def __init__(self, host: str = "127.0.0.1"):
        self.got: list[Got] = []
        self.answers: list[int | Answer] = []
        self.think: Callable[[Got], int | Answer | None] = lambda got: None
        self.delay = 0.0
        self.under_way = self.most_under_way = self.connections = 0
        self.lock = threading.Lock()
        self.server = _Server((host, 0), _Handler)
        self.server.receiver = self
        self.url = f"http://{host}:{self.server.server_port}/hook"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def texts(self) -> list[str | None]:
        return [got.text for got in self.got]

    @property
    def types(self) -> list[str]:
        return [got.event["type"] for got in self.got]

    def answer(self, got: Got) -> Answer:
        with self.lock:
            self.got.append(got)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            planned = self.answers.pop(0) if self.answers else None
        try:
            time.sleep(self.delay)
            found = self.think(got) or planned or 200
        finally:
            with self.lock:
                self.under_way -= 1
        return (found, {}, b"") if isinstance(found, int) else found

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        self.server.receiver.connections += 1

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, headers, answer = self.server.receiver.answer(Got(dict(self.headers), body))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(answer)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass
