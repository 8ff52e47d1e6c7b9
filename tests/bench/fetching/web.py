"""A real web server on this machine that behaves as badly as it is told to."""

from __future__ import annotations

import io
import re
import socket
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bench.fetching.download import Patience

#: Gives up in a second, not in minutes.
HASTY = Patience(silent_s=0.5, window_s=0.2, least_bytes=1000, attempts=3, pause_s=0.01)


class Web:
    """files: by name. The rest is how it serves them.

    cuts: how many bytes a request for a file brings before the connection breaks, for one request after another.
    """

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.address = f"http://127.0.0.1:{server.server_port}"
        self.files: dict[str, bytes] = {}
        self.cuts: dict[str, list[int]] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.ranges = True
        self.stamp: str | None = '"one"'
        self.length: int | None = None
        self.drip = False
        self.silent = False
        self.status: int | None = None
        self.chunked = False

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        name, wanted = handler.path.lstrip("/"), handler.headers.get("Range")
        self.asked.append((name, wanted))
        if self.status or name not in self.files:
            handler.send_error(self.status or 404)
            return
        content, start = self.files[name], 0
        known = handler.headers.get("If-Range") in (None, self.stamp)
        if wanted and self.ranges and known:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if start >= len(content):
                handler.send_response(416)
                handler.send_header("Content-Range", f"bytes */{len(content)}")
                handler.end_headers()
                return
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            handler.send_response(200)
        if self.stamp:
            handler.send_header("ETag", self.stamp)
        if self.chunked:
            handler.send_header("Transfer-Encoding", "chunked")
        else:
            handler.send_header("Content-Length", str(self.length or len(content) - start))
        handler.end_headers()
        self.send(handler, name, content[start:])

    def send(self, handler: BaseHTTPRequestHandler, name: str, body: bytes) -> None:
        if self.drip:
            for byte in body:
                handler.wfile.write(bytes([byte]))
                time.sleep(0.01)
        elif self.silent:
            handler.wfile.write(body[:100])
            handler.rfile.read(1)  # until the other side has had enough
        elif self.cuts.get(name):
            handler.wfile.write(body[: self.cuts[name].pop(0)])
            handler.close_connection = True
        elif self.chunked:
            handler.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        else:
            handler.wfile.write(body)
            handler.close_connection = self.length is not None


@contextmanager
def serving() -> Iterator[Web]:
    """A server with nothing on it yet."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):
                web.serve(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # clients that go away are what it is for
    web = Web(server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def nowhere() -> str:
    """An address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def tar(path: Path, files: Mapping[str, bytes]) -> Path:
    """An archive with these files; compressed if its name says so."""
    with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def zipped(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    """The files below a folder, by relative name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
