"""The report's server: for this machine only."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.serving import LOOPBACK, server


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Of a server of a folder with a page, a record, and a secret beside the folder."""
    folder = tmp_path / "reports"
    (folder / "records").mkdir(parents=True)
    (folder / "index.html").write_text("the page")
    (folder / "records" / "one.json").write_text("{}")
    (tmp_path / "secret").write_text("secret")
    serving = server(folder)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield serving.server_port
    serving.shutdown()
    serving.server_close()


def asked(port: int, path: str, *, method: str = "GET", host: str | None = None) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    connection.request(method, path, headers={"Host": host or f"{LOOPBACK}:{port}"})
    answer = connection.getresponse()
    return answer.status, answer.read(), dict(answer.getheaders())


def test_the_page_and_the_records_are_there(port: int) -> None:
    status, body, headers = asked(port, "/")
    assert (status, body) == (200, b"the page") and headers["Cache-Control"] == "no-store"
    assert asked(port, "/records/one.json")[:2] == (200, b"{}")
    assert asked(port, "/index.html", method="HEAD")[0] == 200
    assert asked(port, "/", host=f"localhost:{port}")[0] == 200


@pytest.mark.parametrize("path", ["/records/", "/../secret", "/%2e%2e/secret", "/records/../../secret", "/nothing"])
def test_nothing_else_is(port: int, path: str) -> None:
    status, body, _ = asked(port, path)
    assert status == 404 and b"secret" not in body and b"one.json" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_changed(port: int, method: str) -> None:
    assert asked(port, "/index.html", method=method)[0] == 501


def test_a_page_elsewhere_that_points_its_name_here_is_refused(port: int) -> None:
    for method in ("GET", "HEAD"):
        assert asked(port, "/", method=method, host="attacker.example:80")[0] == 403


def test_only_the_loopback_address_is_listened_on(tmp_path: Path) -> None:
    serving = server(tmp_path)
    assert serving.server_address[0] == LOOPBACK
    serving.server_close()


def test_a_port_that_is_taken_is_bad_input(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        with pytest.raises(BenchError, match="cannot be listened on.*Choose another --port"):
            server(tmp_path, other.getsockname()[1])
