"""Descriptions from chat servers: transformers' own, and one that does everything a server should not."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mmkit.annotators.run import annotate
from mmkit.data.types import Entity, Example
from mmkit.errors import DataError, MMKitError
from mmkit_dim.descriptions import EntityDescriptions
from mmkit_dim.endpoint import Endpoint
from raising import raises

KEY = "sk-very/secret+key"


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))
    for name in [n for n in os.environ if n.startswith("OPENAI_") or n.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


class Server(ThreadingHTTPServer):
    """Speaks the interface; an entity's name, the prompt's last word, says how it is treated: see `TREATMENTS`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.arrived: list[float] = []
        self.working, self.most_working = 0, 0
        self.lock = threading.Lock()
        self.released = threading.Event()
        self.treat_all_as = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def names(self) -> list[str]:
        return [name for name, _, _ in self.seen]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = body["messages"][0]["content"].split()[-1]
        server = self.server
        with server.lock:
            server.seen.append((name, {k.lower(): v for k, v in self.headers.items()}, body))
            server.arrived.append(time.monotonic())
            tries = server.names().count(name)
            server.working += 1
            server.most_working = max(server.most_working, server.working)
        try:
            treatment = TREATMENTS.get(server.treat_all_as or name.rstrip("0123456789"), answer)
            treatment(self, name, tries)
        finally:
            with server.lock:
                server.working -= 1

    def send(self, status: int, body: str, kind: str = "application/json", **headers: str) -> None:
        content = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for header, value in headers.items():
            self.send_header(header.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def say(self, content: Any, finish: str = "stop") -> None:
        message = {"role": "assistant", "content": content}
        self.choices([{"index": 0, "message": message, "finish_reason": finish}])

    def choices(self, choices: Any) -> None:
        self.send(200, json.dumps({"id": "1", "object": "chat.completion", "created": 0, "choices": choices}))

    def log_message(self, format: str, *args: Any) -> None:
        pass


Treatment = Callable[[Handler, str, int], None]


def answer(handler: Handler, name: str, tries: int) -> None:
    handler.say(f"{name} is well known.")


def first(treatment: Callable[[Handler], None]) -> Treatment:
    """At first that treatment, then an answer."""
    return lambda handler, name, tries: treatment(handler) if tries == 1 else answer(handler, name, tries)


def always(treatment: Callable[[Handler], None]) -> Treatment:
    return lambda handler, name, tries: treatment(handler)


def break_off(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [{"mess')
    handler.close_connection = True


def interrupt(handler: Handler) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    handler.server.released.wait(30)


def echo(status: int, **headers: str) -> Callable[[Handler], None]:
    """An error that repeats the request's credentials, as careless servers do."""

    def treatment(handler: Handler) -> None:
        words = f"bad header {handler.headers['Authorization']} and {KEY}"
        handler.send(status, json.dumps({"error": {"message": words}}), **headers)

    return treatment


MALFORMED: dict[str, Callable[[Handler], None]] = {
    "Truncated": lambda h: h.send(200, '{"choices": [{"message"'),
    "Page": lambda h: h.send(200, "<html>gateway</html>", "text/html"),
    "Nothing": lambda h: h.choices([]),
    "Null": lambda h: h.choices(None),
    "Odd": lambda h: h.choices([{"message": "text"}]),
    "Textless": lambda h: h.say(None),
    "Parts": lambda h: h.say([{"type": "text"}]),
    "Blank": lambda h: h.say("  \n"),
}
UNSERVED: dict[str, Callable[[Handler], None]] = {
    "Busy": lambda h: h.send(429, "{}", Retry_After="0"),
    "Broken": lambda h: h.send(500, "oh", "text/plain"),
    "Away": lambda h: h.send(503, "{}", Retry_After="0.01"),
    "Cut": break_off,
}
TREATMENTS: dict[str, Treatment] = {
    **{name: first(treatment) for name, treatment in (MALFORMED | UNSERVED).items()},
    **{f"Ever{name}": always(treatment) for name, treatment in (MALFORMED | UNSERVED).items()},
    "Hang": always(lambda h: h.server.released.wait(30) and None),
    "Interrupt": always(interrupt),
    "Refused": always(lambda h: h.send(400, json.dumps({"error": {"message": "not this one"}}))),
    "Locked": always(echo(401)),
    "Forbidden": always(echo(403)),
    "Unknown": always(lambda h: h.send(404, json.dumps({"error": {"message": "no model x"}}))),
    "Poor": always(lambda h: h.send(429, json.dumps({"error": {"code": "insufficient_quota"}}))),
    "Echo": always(echo(400)),
    "Long": always(lambda h: h.say("It is old. It is big. It has", "length")),
    "Thinking": always(lambda h: h.say("<think>Hmm, what is", "length")),
}


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.released.set()
        made.shutdown()
        thread.join()


def entities(*names: str) -> list[Entity]:
    return [Entity(f"Q{i}", name) for i, name in enumerate(names)]


def describer(server: Server | str, **settings: Any) -> EntityDescriptions:
    url = server if isinstance(server, str) else server.url
    given = {"model": "m", "base_url": url, "prompt": "Introduce {name}", "retries": 1, "timeout": 60.0}
    return EntityDescriptions(**{**given, **settings})


def described(annotated: list[Entity]) -> list[str]:
    return [x.description for x in annotated]


# A real server


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    texts = ["Jordan scored in the match", "Amazon opened a shop in Paris", "Ada Lovelace wrote programs"]
    examples = [Example.from_tokens(str(i), text.split()) for i, text in enumerate(texts)]
    folder = tmp_path_factory.mktemp("lm") / "model"
    return str(EntityDescriptions.sample(folder, 1, examples)["model"])


@pytest.fixture(scope="module")
def transformers_serve(language_model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `transformers serve` with a tiny model."""
    if not all(importlib.util.find_spec(package) for package in ("fastapi", "uvicorn")):
        pytest.skip("transformers[serving] is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [str(Path(sys.executable).with_name("transformers")), "serve", language_model]
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    log = tmp_path_factory.mktemp("serve") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*program, *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    pytest.fail(f"transformers serve does not answer:\n{log.read_text()}")


def test_a_real_server_says_what_the_local_model_says(
    transformers_serve: str, language_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = entities("Jordan", "Paris", "Amazon", "Ada Lovelace", 'Jordan "Air" {shoe}\n</s>')
    monkeypatch.setenv("OPENAI_BASE_URL", transformers_serve)
    monkeypatch.setenv("OPENAI_MODEL", language_model)
    served = annotate(EntityDescriptions(max_tokens=12, parallel=2), known)
    local = annotate(EntityDescriptions(language_model, "local", max_tokens=12), known)
    assert described(served) == described(local)
    assert len(set(described(served))) == len(known), "the name must make a difference"


def test_a_real_servers_answers_are_stored_for_any_address(
    transformers_serve: str, language_model: str
) -> None:
    known = entities("Jordan", "Paris")
    first = annotate(EntityDescriptions(language_model, max_tokens=8, base_url=transformers_serve), known)
    nowhere = EntityDescriptions(language_model, max_tokens=8, base_url="http://127.0.0.1:1/v1")
    assert annotate(nowhere, known) == first


def test_a_real_servers_refusal_is_told(transformers_serve: str) -> None:
    with pytest.raises(DataError, match=r"Q0: 400: Server is pinned to .*requested 'm'"):
        annotate(describer(transformers_serve), entities("Jordan"))


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
        "EverTruncated": "the answer is no JSON",
        "EverPage": "the answer has no choices",
        "EverNothing": "the answer has no choices",
        "EverTextless": "the answer has no text",
        "EverBlank": "the answer's text is empty",
        "EverBusy": "429: {}",
        "EverBroken": "500: oh",
        "EverCut": "the connection broke off",
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
        ("Forbidden", "does not let this key in"),
        ("Unknown", "knows no such model, or has no chat interface here .404: no model x"),
        ("Poor", "wants to be paid"),
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
    with raises("dim.chat-server", match=r"has not served the last 16 requests \(503"):
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


# Credentials


def _everything_said(error: BaseException, caplog: pytest.LogCaptureFixture, cache: Path) -> str:
    """All that a user or a file gets to see: messages, tracebacks, logs, stored files."""
    shown = "".join(traceback.format_exception(error)) + str(error) + repr(error) + caplog.text
    return shown + "".join(path.read_bytes().decode("latin-1") for path in cache.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["Locked", "Forbidden", "Echo"])
def test_the_key_is_never_shown_even_if_the_server_repeats_it(
    server: Server,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    annotator = describer(server, parallel=1)
    with caplog.at_level(logging.DEBUG), pytest.raises(MMKitError, match=r"\*\*\*") as caught:
        annotate(annotator, entities("Paris", name))
    assert server.seen[0][1]["authorization"] == f"Bearer {KEY}"
    said = _everything_said(caught.value, caplog, tmp_path / "cache")
    assert "127.0.0.1" in said
    for text in (said, annotator.fingerprint(), repr(Endpoint.of(server.url)), str(annotator.failures)):
        assert KEY not in text


def test_credentials_within_the_address_are_sent_and_never_shown(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url.replace("://", "://ann:pass%2Fword@"))
    with caplog.at_level(logging.DEBUG), raises("dim.chat-server", match="Basic") as caught:
        annotate(describer(server, base_url=None), entities("Locked"))
    assert server.seen[0][1]["authorization"] == "Basic YW5uOnBhc3Mvd29yZA=="
    said = _everything_said(caught.value, caplog, tmp_path / "cache")
    assert not [secret for secret in ("pass%2Fword", "pass/word", "YW5uOnBhc3Mvd29yZA==") if secret in said]


def test_a_recipe_may_not_hold_credentials() -> None:
    with raises("dim.credentials") as caught:
        EntityDescriptions("m", base_url="https://ann:secret@host/v1")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["host:secret/v1", "ftp://secret/v1", "http://", "http://[secret", "http://a:secret"]
)
def test_an_address_that_is_none_is_told_without_repeating_it(url: str) -> None:
    with raises("dim.server-address") as caught:
        Endpoint.of(url)
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_openai_without_a_key_is_told_before_anything_is_sent() -> None:
    with raises("dim.no-server-key"):
        annotate(EntityDescriptions("m"), entities("Paris"))


def test_a_key_with_odd_characters_is_told_without_repeating_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sécret")
    with raises("dim.server-key") as caught:
        annotate(describer(server), entities("Paris"))
    assert "sécret" not in str(caught.value)
