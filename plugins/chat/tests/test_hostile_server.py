"""Chat servers that are not to be trusted: who gets a key, and answers of every form."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hostile_server import Answer, Handler, HostileServer, drip, drip_headers, without_end
from mmkit.annotators.base import Failed
from mmkit_chat import client
from mmkit_chat.endpoint import Endpoint
from mmkit_chat.server import ChatServer
from raising import raises

KEY = "sk-secret"
GOOD = {"index": 0, "message": {"role": "assistant", "content": "Paris is a city."}, "finish_reason": "stop"}


def say_good(handler: Handler) -> None:
    handler.say({"choices": [GOOD]})


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer(say_good) as running:
        yield running


@pytest.fixture
def elsewhere() -> Iterator[HostileServer]:
    """Another host: this machine has many addresses."""
    with HostileServer(say_good, "127.0.0.2") as running:
        yield running


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("OPENAI_") or n.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def ask(server: HostileServer | str, timeout: float = 10.0, prompts: int = 1) -> list[Any]:
    url = server if isinstance(server, str) else f"{server.url}/v1"
    return ChatServer(Endpoint.of(url), "m", {}, retries=0, timeout=timeout).ask(["Who?"] * prompts)


# Keys


def test_the_key_goes_to_the_server_named_beside_it_alone(
    server: HostileServer, elsewhere: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-mine")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Own-Key: secret\nX-Other: more")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
    ask(server)
    ask(elsewhere)
    told, withheld = server.headers[0], elsewhere.headers[0]
    assert told["authorization"] == f"Bearer {KEY}"
    assert (told["openai-organization"], told["x-own-key"]) == ("org-mine", "secret")
    assert "authorization" not in withheld
    assert not {"openai-organization", "x-own-key", "x-other"} & withheld.keys()
    assert KEY not in str(withheld)


def test_without_an_address_in_the_environment_the_key_is_openais(
    server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert Endpoint.of(None).authorization == f"Bearer {KEY}"
    server.answer = lambda handler: handler.send(401, b"{}")
    with raises("chat.server", match="does not accept the key") as refused:
        ask(server)
    assert "is sent only if OPENAI_BASE_URL is" in refused.value.hint
    assert "authorization" not in server.headers[0]


@pytest.mark.parametrize("url", ["http://chat.example.org/v1", "http://me:secret@chat.example.org/v1"])
def test_no_key_crosses_a_network_in_plain_text(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with raises("network.plain-key") as refused:
        Endpoint.of(None)
    assert "secret" not in str(refused.value)
    monkeypatch.delenv("OPENAI_API_KEY")
    assert "@" in url or Endpoint.of(None).authorization is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(
    server: HostileServer, elsewhere: HostileServer, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
    server.answer = lambda handler: handler.send(status, b"", Location=f"{elsewhere.url}/v1/chat/completions")
    with raises("chat.server", match="redirects to another address"):
        ask(server)
    assert elsewhere.headers == []


# Answers

DEEP = 100_000
BODIES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "application/json"),
    "a page": (b"<html>Log in</html>", "text/html"),
    "a page that says it is JSON": (b"<html>", "application/json"),
    "a list": (b"[]", "application/json"),
    "a number": (b"3", "application/json"),
    "null": (b"null", "application/json"),
    "choices that are a text": (b'{"choices": "abc"}', "application/json"),
    "choices of null": (b'{"choices": [null]}', "application/json"),
    "choices of numbers": (b'{"choices": [3]}', "application/json"),
    "a message that is a list": (b'{"choices": [{"message": []}]}', "application/json"),
    "no end": (b'{"choices": [{"message": {"content": 3}}]}', "application/json"),
    "no text": (b"\xff\xfe", "application/json"),
    "deep lists": (b"[" * DEEP + b"]" * DEEP, "application/json"),
    "a deep answer": (b'{"choices":' * DEEP + b"1" + b"}" * DEEP, "application/json"),
    "a long number": (b'{"choices": ' + b"9" * 10_000 + b"}", "application/json"),
    "another kind": (b'{"choices": []}', "application/x-thing"),
    "a kind that is none": (b"\xff", ";;;"),
}


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("body", BODIES)
def test_an_answer_of_another_form_is_a_failure(server: HostileServer, body: str, status: int) -> None:
    content, kind = BODIES[body]
    server.answer = lambda handler: handler.send(status, content, kind)
    (answer,) = ask(server)
    assert isinstance(answer, Failed)
    assert len(answer.reason) <= 300


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("charset", ["hex", "base64", "zlib_codec", "rot13", "undefined", "a\tb"])
def test_a_charset_that_is_none_is_a_failure(server: HostileServer, charset: str, status: int) -> None:
    kind = f"text/plain; charset={charset}"
    server.answer = lambda handler: handler.send(status, b'{"error": {"message": "bad"}}', kind)
    (answer,) = ask(server)
    assert isinstance(answer, Failed) and (status == 200 or "bad" in answer.reason)


def test_a_slow_charset_takes_no_time(server: HostileServer) -> None:
    server.answer = lambda handler: handler.send(500, b"a" * 300_000, "text/plain; charset=punycode")
    started = time.monotonic()
    (answer,) = ask(server)
    assert isinstance(answer, Failed) and time.monotonic() - started < 2, "punycode would take half a minute"


def test_a_charset_does_not_matter_to_an_answer(server: HostileServer) -> None:
    body = json.dumps({"choices": [GOOD]}).encode()
    server.answer = lambda handler: handler.send(200, body, "application/json; charset=hex")
    (answer,) = ask(server)
    assert answer.text == "Paris is a city."


def test_what_a_client_trips_over_is_a_failure(
    server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trip(completion: object) -> None:
        raise AssertionError

    monkeypatch.setattr("mmkit_chat.server._answer", trip)
    assert ask(server) == [Failed("the answer is not in the form of a chat answer")]


def test_an_answer_without_a_reason_to_end_is_one(server: HostileServer) -> None:
    server.answer = lambda handler: handler.say({"choices": [{"message": {"content": "It is."}}]})
    (answer,) = ask(server)
    assert isinstance(answer, Failed) or answer.text == "It is."


def packed(handler: Handler) -> None:
    handler.send(200, gzip.compress(b" " * 2_000_000), Content_Encoding="gzip")


@pytest.mark.parametrize("form", [without_end, packed])
def test_an_answer_is_of_bounded_size(
    server: HostileServer, form: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MOST_BYTES", 1_000_000)
    server.answer = form
    assert ask(server) == [Failed("the answer is too long")]


@pytest.mark.parametrize("form", [drip, drip_headers])
def test_an_answer_comes_in_bounded_time(server: HostileServer, form: Answer) -> None:
    server.answer = form
    started = time.monotonic()
    assert ask(server, timeout=0.3) == [Failed("no answer in time")]
    assert time.monotonic() - started < 5


def test_what_is_packed_is_read(server: HostileServer) -> None:
    body = gzip.compress(json.dumps({"choices": [GOOD]}).encode())
    server.answer = lambda handler: handler.send(200, body, Content_Encoding="gzip")
    (answer,) = ask(server)
    assert answer.text == "Paris is a city."
