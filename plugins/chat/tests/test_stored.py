"""Chats, schemas and stored answers: what is sent, what happens without schemas, and what is asked again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from mmkit.annotators.base import Failed
from mmkit_chat.answers import Answer
from mmkit_chat.messages import Chat, Message
from mmkit_chat.model import ChatModel
from mmkit_chat.stored import StoredAnswers
from raising import raises
from recording import recording_server, say

pytestmark = pytest.mark.usefixtures("own_environment")

SCHEMA = json.dumps({"type": "object"})
PICTURE = "data:image/jpeg;base64,QUJD"


@pytest.fixture
def talking() -> Iterator[Any]:
    with recording_server() as running:
        yield running


def model(server: Any, **settings: Any) -> ChatModel:
    made = ChatModel("m", base_url=f"{server.url}/v1", **{"retries": 0, "timeout": 20.0, **settings})
    made.prepare()
    return made


def chat(text: str, schema: str = SCHEMA) -> Chat:
    return Chat((Message("user", text),), schema)


def test_messages_pictures_and_schema_are_sent(talking: Any) -> None:
    asked = Chat(
        (Message("user", "Who?", (PICTURE,)), Message("assistant", "Ann."), Message("user", "Where?")), SCHEMA
    )
    model(talking).ask([asked])
    (body,) = talking.bodies
    assert body["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": PICTURE}},
                {"type": "text", "text": "Who?"},
            ],
        },
        {"role": "assistant", "content": "Ann."},
        {"role": "user", "content": "Where?"},
    ]
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert body["response_format"]["type"] == "json_schema"


def refuse_schemas(handler: Any) -> None:
    if "response_format" in handler.body:
        handler.send(422, b'{"detail": "Unexpected fields in the request: response_format"}')
    else:
        say(handler)


def test_a_server_without_schemas_is_asked_without(talking: Any) -> None:
    talking.answer = refuse_schemas
    answers = model(talking, parallel=1).ask([chat("a"), chat("b")])
    assert answers == [Answer("{}"), Answer("{}")]
    assert ["response_format" in body for body in talking.bodies] == [True, False, False]


def test_a_refusal_for_another_reason_keeps_the_schema(talking: Any) -> None:
    def refuse_long(handler: Any) -> None:
        if handler.body["messages"][0]["content"] == "long":
            handler.send(400, b'{"error": {"message": "too long"}}')
        else:
            say(handler)

    talking.answer = refuse_long
    long, short = model(talking, parallel=1).ask([chat("long"), chat("short")])
    assert isinstance(long, Failed) and "too long" in long.reason
    assert short == Answer("{}")
    assert "response_format" in talking.bodies[-1]


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}, (7, 2)),
        ({"prompt_tokens": -7, "completion_tokens": "2"}, (None, None)),
        ({"prompt_tokens": 10**30}, (None, None)),
        ("many", (None, None)),
        (None, (None, None)),
    ],
)
def test_tokens_are_those_the_server_counts(talking: Any, usage: Any, counted: tuple[Any, Any]) -> None:
    talking.answer = lambda handler: say(handler, usage=usage)
    (answer,) = model(talking).ask(["Who?"])
    assert (answer.prompt_tokens, answer.answer_tokens) == counted


def test_nothing_is_asked_twice(talking: Any) -> None:
    first = StoredAnswers(model(talking)).ask([chat("a"), chat("b"), chat("a")])
    assert len(talking.bodies) == 2
    again = StoredAnswers(ChatModel("m", base_url="http://127.0.0.1:1/v1"))
    assert again.ask([chat("b"), chat("a")]) == first[1::-1]
    assert again.asked == 0, "the address does not matter, and nobody is contacted"
    StoredAnswers(model(talking, temperature=1.0)).ask([chat("a")])
    StoredAnswers(model(talking)).ask([chat("a", schema="")])
    assert len(talking.bodies) == 4, "another temperature and another schema are other questions"


def test_answers_before_a_failure_are_stored(talking: Any) -> None:
    def lock_at_third(handler: Any) -> None:
        if len(talking.bodies) == 3:
            handler.send(401, b"{}")
        else:
            say(handler)

    talking.answer = lock_at_third
    prompts = [chat(text) for text in "abcd"]
    with raises("chat.server", match="key"):
        StoredAnswers(model(talking, parallel=1)).ask(prompts)
    talking.bodies.clear()
    talking.answer = say
    StoredAnswers(model(talking, parallel=1)).ask(prompts)
    assert [body["messages"][0]["content"] for body in talking.bodies] == ["c", "d"]


def test_what_is_no_answer_is_given_and_asked_again(talking: Any) -> None:
    talking.answer = lambda handler: say(handler, f'"{handler.body["messages"][0]["content"]}"')
    asked = [chat("good"), chat("bad"), chat("good")]
    for _ in range(2):
        told = StoredAnswers(model(talking)).ask(asked, keep=lambda number, answer: "good" in answer.text)
        assert [answer.text for answer in told if isinstance(answer, Answer)] == ['"good"', '"bad"', '"good"']
    assert sorted(body["messages"][0]["content"] for body in talking.bodies) == ["bad", "bad", "good"]


def test_what_answers_also_depend_on_is_another_question(talking: Any) -> None:
    for also in ({}, {"rules": 1}, {"rules": 1}, {"rules": 2}):
        StoredAnswers(model(talking), also, wait=False).ask([chat("a")])
    assert len(talking.bodies) == 3


def test_what_failed_is_asked_again(talking: Any) -> None:
    talking.answer = lambda handler: handler.send(400, b"{}")
    (failed,) = StoredAnswers(model(talking)).ask([chat("a")])
    assert isinstance(failed, Failed)
    talking.answer = say
    assert StoredAnswers(model(talking)).ask([chat("a")]) == [Answer("{}")]
