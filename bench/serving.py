"""A folder shown in a browser of this machine, and to no other machine."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench.errors import BenchError

#: The only address that is listened on.
LOOPBACK = "127.0.0.1"


def server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of the folder's files, bound to the loopback address; port 0 takes a free one.

    BenchError when the port is taken or not allowed. Whoever gets it calls `serve_forever` and `server_close`.
    """
    try:
        return ThreadingHTTPServer((LOOPBACK, port), partial(Handler, directory=str(folder)))
    except (OSError, OverflowError) as error:
        raise BenchError(
            f"port {port} of {LOOPBACK} cannot be listened on ({getattr(error, 'strerror', None) or error})",
            wanted="a port that is free",
            cure="Choose another --port, or leave it out for any that is free.",
        ) from error


class Handler(SimpleHTTPRequestHandler):
    """Reads only, and only for those who ask for this machine by its own name.

    A web page elsewhere can point a name of its own at 127.0.0.1 and would then read what is served here; its
    requests bear that name.
    """

    server_version, sys_version = "rerank-bench", ""

    def do_GET(self) -> None:
        if self._at_home():
            super().do_GET()

    def do_HEAD(self) -> None:
        if self._at_home():
            super().do_HEAD()

    def end_headers(self) -> None:
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        super().end_headers()

    def list_directory(self, path: Any) -> None:
        """Folders without an index are not listed."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: what was asked for is on the screen of who asked."""

    def _at_home(self) -> bool:
        name = self.headers.get("Host", "").rsplit(":", 1)[0]
        if name in (LOOPBACK, "localhost"):
            return True
        self.send_error(HTTPStatus.FORBIDDEN, "asked for under another name than localhost")
        return False
