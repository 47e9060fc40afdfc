"""Descriptions from a chat server that does everything a server should not: what is asked, tried again and told."""

from __future__ import annotations

import asyncio
import signal
import socket
import time

import pytest

from chat_server import KEY, MALFORMED, UNSERVED, Server, described, describer, entities
from mmkit.annotators.run import annotate
from mmkit.data.types import Entity
from raising import raises

pytestmark = pytest.mark.usefixtures("own_environment")


# What is asked


def test_a_request_says_what_is_set_and_nothing_else(server: Server) -> None:
    name = 'Ann "the {0} {name}"\n{"role": "system"} \ud800 É'
    (annotated,) = annotate(describer(server, seed=7, max_tokens=9), [Entity("Q", name)])
    ((_, headers, body),) = server.seen
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": 'Introduce Ann "the {0} {name}" {"role": "system"} ? É'}],
        "max_tokens": 9,
        "temperature": 0.0,
        "seed": 7,
    }
    assert "authorization" not in headers, "a server that needs no key gets none"
    assert annotated == Entity("Q", name, description="É is well known.")


def test_settings_without_a_value_are_left_to_the_server(server: Server) -> None:
    thoughtless = {"enable_thinking": False}
    annotate(
        describer(server, temperature=None, seed=None, chat_template_kwargs=thoughtless), entities("Paris")
    )
    body = server.seen[0][2]
    assert set(body) == {"model", "messages", "max_tokens", "chat_template_kwargs"}
    assert body["chat_template_kwargs"] == thoughtless


def test_the_environment_says_where_what_and_with_which_key(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_MODEL", "env-model")
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    annotate(describer(server, base_url=None, model=None), entities("Paris"))
    _, headers, body = server.seen[0]
    assert body["model"] == "env-model"
    assert headers["authorization"] == f"Bearer {KEY}"


def test_entities_with_a_description_cost_nothing_unless_told_to(server: Server) -> None:
    known = [Entity("Q1", "Paris", description="A city."), Entity("Q2", "Jordan", description=" ")]
    assert described(annotate(describer(server), known)) == ["A city.", "Jordan is well known."]
    assert server.names() == ["Jordan"]
    again = annotate(describer(server, overwrite=True), known)
    assert described(again) == ["Paris is well known.", "Jordan is well known."]
    assert server.names() == ["Jordan", "Paris"]


def test_one_question_is_asked_once(server: Server) -> None:
    annotate(describer(server), entities("Paris", "Jordan", "Paris"))
    assert sorted(server.names()) == ["Jordan", "Paris"]
    annotate(describer(server), entities("Jordan"))
    annotate(describer(server, parallel=2, retries=0), entities("Jordan"))
    assert len(server.names()) == 2
    annotate(describer(server, model="other"), entities("Jordan"))
    annotate(describer(server, prompt="Describe {name}"), entities("Jordan"))
    annotate(describer(server, max_tokens=3), entities("Jordan"))
    assert len(server.names()) == 5


def test_no_more_requests_wait_than_allowed(server: Server) -> None:
    annotate(describer(server, parallel=3), entities(*(f"Name{i}" for i in range(20))))
    assert len(server.seen) == 20
    assert server.most_working <= 3


def test_requests_leave_at_the_rate_allowed(server: Server) -> None:
    annotate(describer(server, requests_per_minute=1200, parallel=2), entities(*(f"N{i}" for i in range(9))))
    gaps = [later - earlier for earlier, later in zip(server.arrived, server.arrived[1:], strict=False)]
    assert sum(gaps) >= 8 * 0.05 * 0.95, "batches of 8 and 1 keep one pace"


def test_works_within_an_event_loop(server: Server) -> None:
    async def in_a_notebook() -> list[Entity]:
        return annotate(describer(server), entities("Paris"))

    assert described(asyncio.run(in_a_notebook())) == ["Paris is well known."]


# What servers do


def test_a_server_that_recovers_is_asked_again(server: Server) -> None:
    names = [*MALFORMED, *UNSERVED]
    annotated = annotate(describer(server, parallel=20), entities(*names))
    assert described(annotated) == [f"{name} is well known." for name in names]
    assert {name: server.names().count(name) for name in names} == dict.fromkeys(names, 2)


def test_what_still_fails_is_listed_and_not_stored(server: Server) -> None:
    reasons = {
        "EverTruncated": "the answer is not JSON",
        "EverPage": "the answer has no choices",
        "EverNothing": "the answer has no choices",
        "EverTextless": "the answer has no text",
        "EverBlank": "the answer's text is empty",
        "EverBusy": "429: {}",
        "EverBroken": "500: oh",
        "EverCut": "the connection was broken",
        "Refused": "400: not this one",
    }
    names = ["Paris", *reasons, "Jordan"]
    annotator = describer(server, parallel=20, timeout=60.0)
    with raises("annotator.records-failed", match="9 records could not be annotated") as caught:
        annotate(annotator, entities(*names))
    assert list(annotator.failures.values()) == list(reasons.values())
    assert all(reason in str(caught.value) for reason in reasons.values())
    assert server.names().count("Refused") == 1, "what is refused is not repeated"
    assert server.names().count("EverBusy") == server.names().count("EverBlank") == 2

    server.seen.clear()
    forgiving = describer(server, parallel=20, timeout=60.0, keep_going=True)
    annotated = annotate(forgiving, entities(*names))
    assert set(server.names()) == set(reasons), "only what failed is tried again"
    assert described(annotated) == ["Paris is well known.", *[""] * 9, "Jordan is well known."]


def test_a_server_that_never_answers_is_given_up(server: Server) -> None:
    annotator = describer(server, timeout=0.3, keep_going=True)
    annotate(annotator, entities("Hang"))
    assert annotator.failures == {"Q0": "no answer in time"}


def test_an_entity_without_a_name_is_not_asked_about(server: Server) -> None:
    annotator = describer(server, keep_going=True)
    annotate(annotator, entities(" ", "Paris"))
    assert annotator.failures == {"Q0": "it has no name"}
    assert server.names() == ["Paris"]


def test_long_answers_end_with_a_sentence_and_mere_thoughts_fail(server: Server) -> None:
    annotator = describer(server, keep_going=True)
    assert described(annotate(annotator, entities("Long", "Thinking"))) == ["It is old. It is big.", ""]
    assert "no text within max_tokens" in annotator.failures["Q1"]
    assert server.names().count("Thinking") == 1, "the likeliest words stay the likeliest"


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
    with raises("dim.chat-server", match=what) as caught:
        annotate(describer(server, parallel=2), entities(*(f"N{i}" for i in range(100))))
    assert caught.value.where == f"{server.url}, model 'm'"
    assert caught.value.hint
    assert len(server.seen) <= 4


def test_a_server_that_is_not_there_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with raises("dim.chat-server", match="cannot be reached") as caught:
            annotate(describer(url, retries=0), entities("Paris"))
    assert url in caught.value.where


def test_a_server_that_serves_nobody_is_given_up(server: Server) -> None:
    server.treat_all_as = "EverAway"
    with raises("dim.chat-server", match=r"has not answered the last 16 requests \(503"):
        annotate(describer(server, parallel=4, keep_going=True), entities(*(f"N{i}" for i in range(200))))
    assert len(server.seen) < 50


def test_a_stopped_run_goes_on_with_what_is_missing(server: Server) -> None:
    names = [*(f"N{i}" for i in range(9)), "Locked", *(f"N{i}" for i in range(10, 15))]
    with raises("dim.chat-server", match="key"):
        annotate(describer(server, parallel=1), entities(*names))
    stored = server.names()[:8]  # two batches of 4
    server.seen.clear()
    opened = entities(*(name.replace("Locked", "Open") for name in names))
    annotated = annotate(describer(server, parallel=1), opened)
    assert server.names() == [x.name for x in opened if x.name not in stored]
    assert all(described(annotated))


def test_an_interrupt_does_not_wait_for_answers(server: Server) -> None:
    started = time.monotonic()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            annotate(describer(server, timeout=30.0), entities("Interrupt"))
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - started < 10
