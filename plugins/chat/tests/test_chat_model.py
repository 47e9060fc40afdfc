"""A chat model on a server that does everything a server should not: pace, retries, and when to give up."""

from __future__ import annotations

import asyncio
import email.utils
import math
import signal
import socket
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import anyio
import openai
import pytest

from asking import ask, chat_model, known
from chat_server import KEY, MALFORMED, TREATMENTS, UNSERVED, Server
from mmkit.annotators.base import Failed
from mmkit_chat.answers import Answer
from mmkit_chat.model import ChatModel
from mmkit_chat.retries import wait_before
from raising import raises

pytestmark = pytest.mark.usefixtures("own_environment")


# What is asked


def test_a_request_says_what_is_set_and_nothing_else(server: Server) -> None:
    ask(server, "Ann", seed=7, max_tokens=9)
    ((_, headers, body),) = server.seen
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Introduce Ann"}],
        "max_tokens": 9,
        "temperature": 0.0,
        "seed": 7,
    }
    assert "authorization" not in headers, "a server that needs no key gets none"


def test_settings_without_a_value_are_left_to_the_server(server: Server) -> None:
    thoughtless = {"enable_thinking": False}
    ask(server, "Paris", temperature=None, seed=None, chat_template_kwargs=thoughtless)
    body = server.seen[0][2]
    assert set(body) == {"model", "messages", "max_tokens", "chat_template_kwargs"}
    assert body["chat_template_kwargs"] == thoughtless


def test_the_environment_says_where_what_and_with_which_key(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_MODEL", "env-model")
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    ask(server, "Paris", base_url=None, model=None)
    _, headers, body = server.seen[0]
    assert body["model"] == "env-model"
    assert headers["authorization"] == f"Bearer {KEY}"


def test_no_more_requests_wait_than_allowed(server: Server) -> None:
    ask(server, *(f"Name{i}" for i in range(20)), parallel=3)
    assert len(server.seen) == 20
    assert server.most_working <= 3


def test_requests_leave_at_the_rate_allowed(server: Server) -> None:
    model = chat_model(server, requests_per_minute=1200, parallel=2)
    model.ask([f"N{i}" for i in range(8)])
    model.ask(["N8"])
    gaps = [later - earlier for earlier, later in zip(server.arrived, server.arrived[1:], strict=False)]
    assert sum(gaps) >= 8 * 0.05 * 0.95, "calls of 8 and 1 prompts keep one pace"


def test_works_within_an_event_loop(server: Server) -> None:
    async def in_a_notebook() -> Sequence[Answer | Failed]:
        return ask(server, "Paris")

    assert asyncio.run(in_a_notebook()) == known("Paris")


# What servers do


def test_a_server_that_recovers_is_asked_again(server: Server) -> None:
    names = [*MALFORMED, *UNSERVED]
    assert ask(server, *names, parallel=20) == known(*names)
    assert {name: server.names().count(name) for name in names} == dict.fromkeys(names, 2)


def test_a_server_that_never_answers_is_given_up(server: Server) -> None:
    assert ask(server, "Hang", timeout=0.3) == [Failed("no answer in time")]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("Locked", "does not accept the key"),
        ("Forbidden", "does not allow this key to be used"),
        ("Unknown", "does not have this model, or has no chat interface here .404: no model x"),
        ("Poor", "asks for payment"),
    ],
)
def test_what_would_meet_every_request_stops_at_once(server: Server, name: str, what: str) -> None:
    server.treat_all_as = name
    with raises("chat.server", match=what) as caught:
        ask(server, *(f"N{i}" for i in range(100)), parallel=2)
    assert caught.value.where == f"{server.url}, model 'm'"
    assert caught.value.hint
    assert len(server.seen) <= 4


def test_what_is_paid_for_is_answered_before_an_error(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = threading.Event()

    def refuse(handler: Any, name: str, tries: int) -> None:
        TREATMENTS["Poor"](handler, name, tries)
        refused.set()

    def pay(handler: Any, name: str, tries: int) -> None:
        refused.wait(10)
        handler.say(f"{name} is well known.")

    monkeypatch.setitem(TREATMENTS, "Broke", refuse)
    monkeypatch.setitem(TREATMENTS, "Paid", pay)
    names = ["Paid0", "Paid1", "Paid2", "Broke", *(f"Late{i}" for i in range(9))]
    came = {}
    with raises("chat.server", match="payment"):
        for number, answer in chat_model(server, parallel=4).answers([f"Introduce {name}" for name in names]):
            came[names[number]] = answer
    assert came == dict(zip(names, known(*names[:3]), strict=False))
    assert sorted(server.names()) == sorted(names[:4]), "no other prompt is sent"


# Retries


def error(status: int, **headers: str) -> openai.APIStatusError:
    given = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    response: Any = SimpleNamespace(status_code=status, headers=given, request=None)
    return openai.APIStatusError("no", response=response, body={})


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry_After": "180"}, 180),
        ({"Retry_After": "900"}, 900),
        ({"Retry_After_Ms": "1500", "Retry_After": "9"}, 1.5),
        ({}, 0.5),
        *[({"Retry_After": odd}, 0.5) for odd in ("nan", "-1", "x" * 60_000, "soon", "0", "[1, 2]")],
        ({"Retry_After": "Mon, 01 Jan 1990 00:00:00 GMT"}, 0.5),
        ({"Retry_After": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, 0.5),
        *[({"Retry_After": long}, math.inf) for long in ("901", "1e400", "inf", "1e9")],
        ({"Retry_After": "Mon, 01 Jan 2990 00:00:00 GMT"}, math.inf),
        ({"X_Should_Retry": "false"}, math.inf),
    ],
)
def test_a_busy_server_says_when_it_is_asked_again(headers: dict[str, str], seconds: float) -> None:
    assert wait_before(1, error(429, **headers)) == pytest.approx(seconds)


def test_a_date_says_when_a_server_is_asked_again() -> None:
    date = email.utils.format_datetime(datetime.now(UTC) + timedelta(seconds=300), usegmt=True)
    assert 290 < wait_before(1, error(503, Retry_After=date)) <= 300


def test_pauses_grow_and_what_does_not_pass_is_not_repeated() -> None:
    assert [wait_before(again, error(500)) for again in (1, 2, 3, 9)] == [0.5, 1, 2, 8]
    assert wait_before(1, error(400)) == wait_before(1, error(404)) == math.inf


def test_a_long_wait_is_told_once_and_a_longer_one_is_a_failure(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waited: list[float] = []

    async def paused(seconds: float, stopped: anyio.Event) -> bool:
        waited.append(seconds)
        return False

    monkeypatch.setattr("mmkit_chat.server._paused", paused)
    monkeypatch.setitem(TREATMENTS, "Slow", lambda h, name, tries: busy(h, name, tries, "180"))
    monkeypatch.setitem(TREATMENTS, "Closed", lambda h, name, tries: busy(h, name, 1, "3600"))
    *answers, closed = ask(server, "Slow1", "Slow2", "Closed")
    assert answers == known("Slow1", "Slow2")
    assert waited.count(180) == 2
    assert capsys.readouterr().err.count("asks to wait 180 s") == 1
    assert isinstance(closed, Failed) and closed.reason.startswith("the server asks to wait 3,600 s, 429")
    assert server.names().count("Closed") == 1


def busy(handler: Any, name: str, tries: int, wait: str) -> None:
    if tries == 1:
        handler.send(429, "{}", Retry_After=wait)
    else:
        handler.say(f"{name} is well known.")


def test_there_is_one_number_of_retries_for_all_that_goes_wrong(server: Server) -> None:
    def odd(handler: Any, name: str, tries: int) -> None:
        if tries % 2:
            handler.send(500, "oh", Retry_After="0.01")
        else:
            handler.choices([])

    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(TREATMENTS, "Odd", odd)
        (answer,) = ask(server, "Odd", retries=2)
    assert isinstance(answer, Failed)
    assert len(server.seen) == 3


def test_a_server_that_is_not_there_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with raises("chat.server", match="cannot be reached") as caught:
            ask(url, "Paris", retries=0)
    assert url in caught.value.where


def test_a_server_that_serves_nobody_is_given_up(server: Server) -> None:
    server.treat_all_as = "EverAway"
    with raises("chat.server", match=r"has not answered the last 16 requests \(503"):
        ask(server, *(f"N{i}" for i in range(200)), parallel=4)
    assert len(server.seen) < 50


def test_an_interrupt_does_not_wait_for_answers(server: Server) -> None:
    started = time.monotonic()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            ask(server, "Interrupt", timeout=30.0)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - started < 10


# Settings


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"backend": "local", "temperature": 0.7}, "greedy"),
        ({"parallel": 0}, "parallel"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"timeout": 0.0}, "timeout"),
        ({"retries": -1}, "retries"),
        ({"requests_per_minute": 0.0}, "requests_per_minute"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], says: str) -> None:
    with raises("part.setting", match=says):
        ChatModel("m", **settings)


@pytest.mark.parametrize("backend", ["server", "local"])
def test_no_model_at_all_is_told(backend: Any) -> None:
    with raises("chat.no-model", match=r"mine\.part\.v1"):
        ChatModel(backend=backend, part="mine.part.v1").identity()


def test_only_what_changes_answers_is_part_of_the_identity() -> None:
    same = {
        "base_url": "http://a/v1",
        "parallel": 2,
        "retries": 0,
        "timeout": 1.0,
        "requests_per_minute": 9.0,
    }
    usual = ChatModel("m").identity()
    assert ChatModel("m", **same).identity() == usual  # type: ignore[arg-type]
    others = {"max_tokens": 9, "temperature": 1.0, "seed": 5, "chat_template_kwargs": {"a": 1}}
    identities = [ChatModel(**{"model": "m", name: value}).identity() for name, value in others.items()]
    identities.append(ChatModel("n").identity())
    assert all(identity != usual for identity in identities)
