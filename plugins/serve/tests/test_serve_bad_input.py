"""Whatever a stranger sends, the answer is JSON with the right status, and the server lives."""

from __future__ import annotations

import base64
import json
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from serving import TEXT, Served, alive, encoded, error

PREDICT = "/v1/runs/tagger/predict"
MANY = "/v1/runs/tagger/predict-many"
JSON = {"content-type": "application/json"}


@pytest.fixture(autouse=True)
def _lives(client: httpx.Client) -> Iterator[None]:
    yield
    alive(client)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "json.syntax"),
        (b"{", 400, "json.syntax"),
        (b'{"text": "a"} x', 400, "json.syntax"),
        (b'{"text": NaN}', 400, "json.unreadable"),
        (b'{"text": "a", "text": "b"}', 400, "json.unreadable"),
        (b"[" * 100_000, 400, "json.unreadable"),
        (b'{"text": ' + b"9" * 10_000 + b"}", 400, "json.unreadable"),
        (b'{"text": "\\ud800"}', 400, "json.surrogate"),
        (b'{"text": "\xff"}', 400, "serve.not-utf8"),
        (b"\x00\x01\x02", 400, "json.syntax"),
        (b"[]", 422, "serve.fields"),
        (b"null", 422, "serve.fields"),
        (b"{}", 422, "input.text"),
        (b'{"text": null}', 422, "input.text"),
        (b'{"text": 3}', 422, "input.text"),
        (b'{"text": ["a", 1]}', 422, "input.text"),
        (b'{"text": ["a b", "c"]}', 422, "input.text"),
        (b'{"text": ""}', 422, "input.no-words"),
        (b'{"text": " \\n "}', 422, "input.no-words"),
        (b'{"txet": "a"}', 422, "serve.fields"),
        (b'{"text": "a", "colour": 1}', 422, "input.unknown"),
        (b'{"text": "a", "mention": "a"}', 422, "input.not-for-task"),
        (b'{"text": "a", "id": 3}', 422, "serve.fields"),
        (b'{"text": "a", "images": "x"}', 422, "input.images"),
        (b'{"text": "a", "images": [3]}', 422, "input.images"),
        (b'{"text": "a", "images": [{"data": "aaaa", "path": "/etc/passwd"}]}', 422, "input.images"),
        (b'{"text": "a", "images": ["/etc/passwd"]}', 422, "serve.no-upload"),
        (b'{"text": "a", "images": ["photo.jpg"]}', 422, "serve.no-upload"),
        (b'{"text": "a", "images": ["http://127.0.0.1/a.png"]}', 422, "serve.no-upload"),
        (b'{"text": "a", "images": [""]}', 422, "image.empty"),
        (b'{"text": "a", "images": ["aGVsbG8="]}', 422, "image.format"),
        (b'{"text": "a", "images": ["aaaa", "aaaa", "aaaa", "aaaa"]}', 422, "serve.too-many-images"),
        (json.dumps({"text": "a" * 501}).encode(), 422, "serve.text-too-long"),
        (json.dumps({"text": ["a"] * 300}).encode(), 422, "serve.text-too-long"),
    ],
)
def test_wrong_bodies(client: httpx.Client, body: bytes, status: int, code: str) -> None:
    assert error(client.post(PREDICT, content=body, headers=JSON)) == (status, code)


def test_a_misspelt_field_has_a_hint(client: httpx.Client) -> None:
    hint = client.post(PREDICT, json={"txet": "a"}).json()["error"]["hint"]
    assert hint == "did you mean 'text'?"


def test_a_wrong_request_among_several_is_named(client: httpx.Client) -> None:
    response = client.post(MANY, json={"requests": [{"text": "a"}, {"text": 1}]})
    assert error(response) == (422, "input.text")
    assert response.json()["error"]["where"] == "requests[1]"
    for body in ({}, {"requests": []}, {"requests": 1}, {"requests": [{}], "x": 1}, []):
        assert error(client.post(MANY, json=body)) == (422, "serve.fields")
    assert error(client.post(MANY, json={"requests": [{"text": "a"}] * 21})) == (422, "serve.too-many-texts")


def test_wrong_forms(client: httpx.Client, photo: bytes) -> None:
    def form(*fields: tuple[str, Any]) -> tuple[int, str]:
        return error(client.post(PREDICT, files=list(fields)))

    file = ("a.jpg", photo)
    assert form(("images", file)) == (422, "input.text")
    assert form(("text", (None, "a")), ("text", (None, "b"))) == (422, "serve.fields")
    assert form(("text", (None, "a")), ("photo", file)) == (422, "serve.fields")
    assert form(("text", (None, "a")), ("images", (None, "/etc/passwd"))) == (422, "serve.no-upload")
    assert form(("text", (None, "a")), ("images", ("a.jpg", b""))) == (422, "image.empty")
    assert form(("text", (None, "a")), *[("images", file)] * 5)[0] in (400, 422)
    broken = {"content-type": "multipart/form-data; boundary=x"}
    for body in (
        b"",
        b"--x\r\n\r\n\r\n--x--",
        b"nonsense",
        b"--x\r\nContent-Disposition: form-data\r\n\r\na",
    ):
        status, _ = error(client.post(PREDICT, content=body, headers=broken))
        assert status in (400, 422)
    no_boundary = {"content-type": "multipart/form-data"}
    assert error(client.post(PREDICT, content=b"x", headers=no_boundary)) == (400, "serve.multipart")


def test_wrong_types_paths_and_methods(client: httpx.Client) -> None:
    for kind in ("", "text/plain", "application/xml", "application/x-www-form-urlencoded"):
        response = client.post(PREDICT, content=b"{}", headers={"content-type": kind})
        assert error(response) == (415, "serve.content-type")
    assert error(client.get(PREDICT)) == (405, "serve.method")
    assert error(client.post("/healthz")) == (405, "serve.method")
    for path in (
        "/v1/runs/other/predict",
        "/v2",
        "/static/../app.py",
        "/static/page.py",
        "/%00",
        "/v1/runs/",
    ):
        assert error(client.get(path)) == (404, "serve.no-such-path")
    assert error(client.post(PREDICT + "?html=perhaps", json={"text": "a"})) == (422, "serve.query")


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["text", "images", "id", "data", "name", "top"]), inner, max_size=4
            )
        ),
        max_leaves=8,
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_is_answered_or_refused(client: httpx.Client, value: Any) -> None:
    body = json.dumps(value).encode()
    response = client.post(PREDICT, content=body, headers=JSON)
    if response.status_code != 200:
        assert error(response)[0] in (400, 422)


@given(st.binary(max_size=300))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_no_picture(client: httpx.Client, content: bytes) -> None:
    image = base64.b64encode(content).decode()
    status, code = error(client.post(PREDICT, json={"text": TEXT, "images": [image]}))
    assert status == 422
    assert code.startswith("image.")


def refused_image(client: httpx.Client, content: bytes) -> tuple[int, str]:
    return error(client.post(PREDICT, data={"text": TEXT}, files=[("images", ("x.png", content))]))


def test_picture_bombs_are_refused_by_their_header(client: httpx.Client) -> None:
    begun = time.monotonic()
    assert refused_image(client, encoded(Image.new("1", (600, 600)))) == (413, "serve.too-many-pixels")
    huge = encoded(Image.new("1", (9000, 9000)))  # 81 megapixels in a few kilobytes
    assert refused_image(client, huge) == (413, "image.too-large")
    assert refused_image(client, lying_png(60_000, 60_000)) == (413, "image.too-large")
    assert refused_image(client, encoded(Image.new("L", (1, 5000)))) == (422, "image.too-thin")
    assert time.monotonic() - begun < 10


def test_broken_pictures_are_named(client: httpx.Client, photo: bytes) -> None:
    for content in (photo[: len(photo) // 2], lying_png(100, 100)):
        response = client.post(PREDICT, data={"text": TEXT}, files=[("images", ("my photo.png", content))])
        assert error(response) == (422, "image.broken")
        told = response.json()["error"]
        assert told["where"].endswith("my photo.png")
        assert "/tmp" not in response.text and "mmkit-serve" not in response.text


def lying_png(width: int, height: int) -> bytes:
    """A PNG whose header promises pixels that do not follow."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_large_body_is_refused_while_it_is_read(client: httpx.Client) -> None:
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1600):  # 100 MB
            sent += 65_536
            yield b"a" * 65_536

    assert error(client.post(PREDICT, content=pieces(), headers=JSON)) == (413, "serve.body-too-large")
    declared = client.post(PREDICT, content=b"a" * 100_000_000, headers=JSON)
    assert error(declared) == (413, "serve.body-too-large")
    assert declared.headers["connection"] == "close"
    batch = "/v1/runs/tagger/batch"
    large = client.post(batch, content=pieces(), headers={"content-type": "application/jsonl"})
    assert error(large) == (413, "serve.body-too-large")


def test_memory_for_bodies_is_bounded_over_all_requests(serve: Served) -> None:
    with serve(max_memory=100_000) as client:
        body = json.dumps({"text": "a", "images": ["a" * 150_000]})
        response = client.post(PREDICT, content=body, headers=JSON)
        assert error(response) == (503, "serve.memory")
        assert int(response.headers["retry-after"]) > 0
        alive(client)  # what the refused request held was given back


def connected(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=20)


def head(length: int) -> bytes:
    return (
        f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def received(connection: socket.socket) -> bytes:
    """Everything until the server closes the connection."""
    found = b""
    while part := connection.recv(65_536):
        found += part
    return found


def test_slow_clients_are_sent_away(client: httpx.Client) -> None:
    begun = time.monotonic()
    for sent in (
        b"",
        b"POST /v1",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    ):  # a head that never ends
        with connected(client) as connection:
            connection.sendall(sent)
            assert b"408" in received(connection).partition(b"\r\n")[0]
    with connected(client) as connection:  # a body that never ends
        connection.sendall(head(100) + b'{"te')
        answer = received(connection)
        assert b"408" in answer.partition(b"\r\n")[0] and b"serve.slow-body" in answer
    assert time.monotonic() - begun < 20


def test_what_is_not_http_gets_json(client: httpx.Client) -> None:
    for sent in (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"hello\r\n\r\n"):
        with connected(client) as connection:
            connection.sendall(sent)
            answer = received(connection)
            assert b"400" in answer.partition(b"\r\n")[0]
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "serve.closed"
    with connected(client) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000)
        assert b"40" in received(connection).partition(b"\r\n")[0]


def test_closed_connections_do_no_harm(client: httpx.Client) -> None:
    body = json.dumps({"text": TEXT}).encode()
    for sent in (head(100), head(100) + b"{", head(len(body)) + body, b"GET", b""):
        for _ in range(5):
            connection = connected(client)
            connection.sendall(sent)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
            connection.close()


def test_a_client_that_takes_no_answer_is_dropped(client: httpx.Client) -> None:
    lines = b"\n".join(json.dumps({"text": "Jordan in Paris " * 20}).encode() for _ in range(400))
    request = (
        "POST /v1/runs/tagger/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/jsonl\r\n"
        f"Content-Length: {len(lines)}\r\n\r\n"
    ).encode()
    before = open_requests(client)
    with connected(client) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(request + lines)
        until = time.monotonic() + 60
        while open_requests(client) == before:
            assert time.monotonic() < until
        while open_requests(client) > before:
            assert time.monotonic() < until


def open_requests(client: httpx.Client) -> int:
    """The number of requests in flight, without the one that asks."""
    [line] = [x for x in client.get("/metrics").text.splitlines() if x.startswith("mmkit_requests_open ")]
    return int(float(line.split()[1])) - 1
