"""The socket: a threaded HTTP server on loopback, and the Sandbox it speaks for."""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from . import consent, control, disabling, errors, events, media, pages, phone, platform, store
from .faults import Faults
from .pace import Pace
from .sender import Sender
from .state import World
from .wire import BadRequest, Dropped, Request, Response, as_text, fields

HOST = "127.0.0.1"
MAX_BODY = 8 * 1024 * 1024
KEPT_REQUESTS = 2000


class Sandbox:
    """One offline Instagram. `start` serves in threads of its own until `stop`."""

    def __init__(
        self,
        *,
        app_id: str,
        app_secret: str,
        verify_token: str,
        control_token: str,
        redirect_uris: list[str],
        webhook_url: str = "",
        port: int = 0,
        state_file: str | Path | None = None,
    ) -> None:
        self.app_id, self.verify_token, self.control_token = app_id, verify_token, control_token
        self.app_secrets = [part.strip() for part in app_secret.split(",") if part.strip()]
        self.redirect_uris, self.webhook_url = list(redirect_uris), webhook_url
        self.world, self.faults, self.pace = World(), Faults(), Pace()
        self.requests: deque[dict[str, Any]] = deque(maxlen=KEPT_REQUESTS)
        self.webhooks = Sender(
            lambda: self.webhook_url,
            self.app_secrets[0],
            lambda: self.world.settings,
            lambda accepted: disabling.attempted(self, accepted),
        )
        self._keeper = store.Keeper(self.world, Path(state_file)) if state_file else None
        self._server = _Server((HOST, port), _Handler)
        self._server.sandbox = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="sandbox", daemon=True
        )

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def site(self) -> str:
        """Where a person finds the site this sandbox plays Instagram for; empty if unknown."""
        known = self.redirect_uris[0] if self.redirect_uris else self.webhook_url
        parts = urlsplit(known)
        return f"{parts.scheme}://{parts.netloc}/" if parts.netloc else ""

    def start(self) -> Sandbox:
        self.webhooks.start()
        if self._keeper:
            self._keeper.start()
            with self.world.lock:
                events.resume(self)
        self._thread.start()
        return self

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.close_all()
        self.webhooks.stop()
        if self._keeper:
            self._keeper.stop()

    def reset(self) -> None:
        """Back to the seed: nothing said, nothing waiting, nothing broken."""
        with self.world.lock:
            self.webhooks.clear()
            self.world.reset()
            self.faults.listed.clear()
            self.requests.clear()
            self.pace = Pace()

    def __enter__(self) -> Sandbox:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def answer(self, request: Request) -> Response:
        """Every request ends here, whatever it is about."""
        path = request.path
        if path.startswith("/_sandbox/"):
            return control.answer(self, request)
        if path == "/oauth/authorize":
            return consent.answer(self, request)
        if path == "/" or path.startswith("/phone"):
            return phone.answer(self, request)
        if path.startswith("/static/"):
            return pages.asset(path)
        if path.startswith("/profile_pic/"):
            return media.serve_avatar(path)
        return platform.answer(self, request)


class _Server(ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    # On Windows the option would let two sandboxes share one port.
    allow_reuse_address = os.name != "nt"
    sandbox: Sandbox

    def __init__(self, *args: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def close_all(self) -> None:
        """Hang up on kept-alive clients too: a stopped sandbox answers nobody."""
        self.server_close()
        for request in list(self._open):
            self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            traceback.print_exc()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 60
    server: _Server

    def _handle(self) -> None:
        after: list[Callable[[], None]] = []
        try:
            response = self._answer()
            after = response.after
            self._write(response)
        except Dropped as dropped:
            after = dropped.after
            self._hang_up()
        except OSError:
            # The client went away. What it asked for has happened all the same.
            self.close_connection = True
        finally:
            for step in after:
                step()

    def _hang_up(self) -> None:
        """Close now, not when the thread ends: what follows may take a while."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_POST = do_DELETE = do_HEAD = do_PUT = do_PATCH = _handle

    def _answer(self) -> Response:
        sandbox = self.server.sandbox
        # A page elsewhere may point its own name at 127.0.0.1; its Host gives it away.
        if self.headers.get("Host") not in (f"{HOST}:{sandbox.port}", f"localhost:{sandbox.port}"):
            self.close_connection = True
            return as_text("This server answers to 127.0.0.1 and localhost only.", 421)
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not re.fullmatch(r"[0-9]{1,12}", length):
            self.close_connection = True
            return as_text("A Content-Length is needed.", 411)
        if int(length) > MAX_BODY:
            self.close_connection = True
            return as_text("The body is too large.", 413)
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise Dropped
        path, _, query = self.path.partition("?")
        try:
            request = Request(
                self.command, unquote(path, errors="replace"), fields(query), self.headers, body
            )
            return sandbox.answer(request)
        except BadRequest as error:
            return as_text(str(error), 400)
        except Dropped:
            raise
        except Exception:
            # A fault of the sandbox itself: say so as the platform would, and show where.
            traceback.print_exc()
            return errors.GraphError("An unknown error has occurred.", 1, http=500).response()

    def _write(self, response: Response) -> None:
        self.send_response(response.status)
        headers = {
            "Content-Type": response.content_type,
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": pages.NOTHING_ALLOWED,
            "Referrer-Policy": "same-origin",
            **response.headers,
        }
        if response.status != 204:
            headers["Content-Length"] = str(len(response.body))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)
        self.wfile.flush()

    def version_string(self) -> str:
        return "sandbox"

    def log_message(self, *args: Any) -> None:
        """Nothing: `GET /_sandbox/requests` tells more, and never a secret."""
