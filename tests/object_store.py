"""A store of files elsewhere, on loopback: as little of S3 as a storage needs, over plain HTTP.

`ObjectStore` is the server; `ObjectStorage` the Django storage before it, which has no folder and
fails in a way of its own, as those of django-storages do.
"""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import requests
from django.core.files.base import ContentFile
from django.core.files.storage import Storage
from django.utils.deconstruct import deconstructible

NO_SUCH_KEY = b"<Error><Code>NoSuchKey</Code></Error>"
AWAY = b"<Error><Code>ServiceUnavailable</Code></Error>"


class ObjectStore:
    """A context manager. `objects` holds what is stored, by path; `is_away` has it refuse all."""

    def __enter__(self) -> "ObjectStore":
        self.objects: dict[str, bytes] = {}
        self.is_away = False

        class Handler(BaseHTTPRequestHandler):
            store = self
            protocol_version = "HTTP/1.1"

            def do_PUT(self):
                data = self._body()
                if not self.store.is_away:
                    self.store.objects[self._key] = data
                self._answer(200)

            def do_GET(self):
                data = self.store.objects.get(self._key)
                self._answer(404 if data is None else 200, NO_SUCH_KEY if data is None else data)

            do_HEAD = do_GET

            def do_DELETE(self):
                if not self.store.is_away:
                    self.store.objects.pop(self._key, None)
                self._answer(204)

            @property
            def _key(self) -> str:
                return self.path.partition("?")[0]

            def _body(self) -> bytes:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                if "aws-chunked" not in self.headers.get("Content-Encoding", ""):
                    return data
                found, rest = b"", data
                while size := int(rest.partition(b"\r\n")[0].partition(b";")[0], 16):
                    rest = rest.partition(b"\r\n")[2]
                    found, rest = found + rest[:size], rest[size + 2 :]
                return found

            def _answer(self, status: int, data: bytes = b""):
                if self.store.is_away:
                    status, data = 503, AWAY
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Last-Modified", "Mon, 02 Nov 2026 10:00:00 GMT")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def log_message(self, *args):
                """The tests' output is their own."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc) -> None:
        self.server.shutdown()
        self.server.server_close()


class Refused(Exception):
    """No OSError: each library has its own."""


@deconstructible
class ObjectStorage(Storage):
    def __init__(self, url: str, password: str = ""):
        self.url = url

    def _open(self, name, mode="rb"):
        return ContentFile(self._ask("GET", name), name)

    def _save(self, name, content):
        data = BytesIO(b"".join(content.chunks()))
        self._ask("PUT", name, data=data)
        return name

    def delete(self, name):
        self._ask("DELETE", name)

    def exists(self, name):
        try:
            self._ask("HEAD", name)
        except FileNotFoundError:
            return False
        return True

    def _ask(self, method, name, **more):
        answer = requests.request(method, f"{self.url}/{name}", timeout=5, **more)
        if answer.status_code == 404:
            raise FileNotFoundError(name)
        if not answer.ok:
            raise Refused(f"{answer.status_code} for {self.url}")
        return answer.content
