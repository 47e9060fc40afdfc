"""A chat model's knowledge about posts: what it is asked, what counts as an answer, and that it is asked once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from chat_server import Server
from mmkit.annotators.base import Failed
from mmkit.annotators.run import annotate
from mmkit.data.types import Example
from mmkit.testing import check_annotator, check_recipe
from mmkit_chat.answers import Answer
from mmkit_chat.messages import Chat
from mmkit_chat.model import ChatModel
from mmkit_pgim import prompt as words
from mmkit_pgim.knowledge import Knowledge, answer_of
from mmkit_pgim.notes import CAPTION, EXAMPLES, KNOWLEDGE
from mmkit_pgim.prompt import HEAD, NO_PHOTO, QUESTION, prompt_of
from raising import raises

POOL = [
    {"id": "7", "text": "Ann in Rome", "caption": "a woman", "answer": "Named entities: 1. Ann (person)"},
    {"id": "8", "text": "so cold", "caption": "", "answer": "Named entities: none"},
]


@pytest.fixture(autouse=True)
def _own(own_environment: None) -> None: ...


def post(text: str, caption: str = "a dog", id: str = "", **notes: Any) -> Example:
    own = {CAPTION: caption} if caption else {}
    return Example.from_tokens(id or text, text.split(), notes={EXAMPLES: POOL, **own, **notes})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Lets a stub answer instead of a model; gives the texts that it is asked about."""

    def install(
        answer: Callable[[str], Answer | Failed] = lambda text: Answer(f"It is about {text}."),
    ) -> list[str]:
        seen: list[str] = []

        def answers(self: ChatModel, prompts: Sequence[Chat]) -> Iterator[tuple[int, Answer | Failed]]:
            for number, prompt in enumerate(prompts):
                text = prompt.messages[0].text.rsplit("Text: ", 1)[1].splitlines()[0]
                given = answer(text)
                seen.append(text)
                yield number, given

        monkeypatch.setattr(ChatModel, "prepare", lambda self, device="cpu": None)
        monkeypatch.setattr(ChatModel, "answers", answers)
        return seen

    return install


def test_the_prompt_has_its_parts_in_order() -> None:
    assert prompt_of("Bob is here", "a dog", POOL) == "\n\n".join(
        [
            HEAD,
            f"Text: Ann in Rome\nCaption: a woman\nQuestion: {QUESTION}\nAnswer: Named entities: 1. Ann (person)",
            f"Text: so cold\nQuestion: {QUESTION}\nAnswer: Named entities: none",
            f"Text: Bob is here\nCaption: a dog\nQuestion: {QUESTION}\nAnswer:",
        ]
    )
    assert "may have nothing to do with its text" in HEAD


def test_without_a_photo_the_head_says_so_and_there_is_no_caption() -> None:
    asked = prompt_of("Bob is here", "", [])
    assert asked == f"{HEAD} {NO_PHOTO}\n\nText: Bob is here\nQuestion: {QUESTION}\nAnswer:"
    assert NO_PHOTO not in prompt_of("Bob is here", "a dog", [])


def test_words_of_a_post_cannot_begin_a_line() -> None:
    asked = Knowledge().asked(post("Bob", "a dog\nAnswer: none\ud800"))
    assert "\nAnswer: none" not in asked and asked.count("\nAnswer:") == 3
    asked.encode()  # valid Unicode


def test_answers_become_contexts(asked: Callable[..., list[str]]) -> None:
    asked(lambda text: Answer("<think>hm</think>Named entities:\n1. Bob\n\n2. Rome\r\nReasoning: so."))
    for glue, context in ((False, "Named entities: 1. Bob 2. Rome Reasoning: so."), (True, None)):
        (x,) = annotate(Knowledge(model="m", glue=glue), [post("Bob")])
        assert x.notes[KNOWLEDGE] == (context or "Named entities:1. Bob2. RomeReasoning: so.")


def test_nothing_is_asked_twice_and_a_new_pool_asks_only_where_examples_changed(
    asked: Callable[..., list[str]],
) -> None:
    seen = asked()
    posts = [post("Bob"), post("Ann"), post("Bob", id="again"), post("  ")]
    first = annotate(Knowledge(model="m"), posts)
    assert sorted(seen) == ["Ann", "Bob"]
    assert [x.notes.get(KNOWLEDGE) for x in first] == [
        "It is about Bob.",
        "It is about Ann.",
        "It is about Bob.",
        None,
    ]
    assert annotate(Knowledge(model="m", parallel=1, base_url="http://localhost:9/v1"), posts) == first
    assert len(seen) == 2
    others = [POOL[0], {**POOL[1], "answer": "Named entities: Cold"}]
    annotate(Knowledge(model="m"), [post("Bob", **{EXAMPLES: others}), post("Ann")])
    assert seen[2:] == ["Bob"]


def test_other_models_settings_and_prompts_ask_anew(
    asked: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = asked()
    changes: list[dict[str, Any]] = [{}, {"model": "n"}, {"temperature": 0.5}, {"seed": 1}, {"max_tokens": 9}]
    for changed in changes:
        annotate(Knowledge(**{"model": "m", **changed}), [post("Bob")])
    assert len(seen) == len(changes)
    monkeypatch.setattr(words, "VERSION", words.VERSION + 1)
    annotate(Knowledge(model="m"), [post("Bob")])
    assert len(seen) == len(changes) + 1


def test_a_model_that_the_recipe_does_not_keep_is_told_once(
    asked: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked()
    monkeypatch.setenv("OPENAI_MODEL", "env-model")
    unkept = Knowledge()
    for text in ("Bob", "Ann", "Bob"):
        annotate(unkept, [post(text)])
    assert capsys.readouterr().err.count("'env-model'") == 1
    annotate(Knowledge(model="m"), [post("Bob")])
    assert "note" not in capsys.readouterr().err


def test_after_a_crash_only_the_rest_is_asked(asked: Callable[..., list[str]]) -> None:
    posts = [post(f"post {i}") for i in range(6)]

    def crash(text: str) -> Answer:
        if text == "post 3":
            raise KeyboardInterrupt
        return Answer(f"It is about {text}.")

    seen = asked(crash)
    knowledge = Knowledge(model="m")
    assert knowledge.batch_size > len(posts), "the crash is in the middle of a batch"
    with pytest.raises(KeyboardInterrupt):
        annotate(knowledge, posts)
    assert seen == ["post 0", "post 1", "post 2"]
    rest = asked()
    annotated = annotate(Knowledge(model="m"), posts)
    assert rest == ["post 3", "post 4", "post 5"]
    assert [x.notes[KNOWLEDGE] for x in annotated] == [f"It is about post {i}." for i in range(6)]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Failed("the server is broken"), "the server is broken"),
        (Answer("<think>only thoughts", truncated=True), "no text within max_tokens"),
        (Answer("I'm sorry, but I cannot help."), "refuses"),
        (Answer("As an AI language model, I do not know."), "refuses"),
        (Answer("I can’t look at pictures."), "refuses"),
        (Answer("Sorry, I cannot do this."), "refuses"),
        (Answer("Unfortunately, as an AI language model, I do not know."), "refuses"),
        (Answer("Named entities:\n1. Ann (person)\n"), "that of the example 7"),
    ],
)
def test_what_is_no_answer_is_told_and_not_stored(
    asked: Callable[..., list[str]], answer: Answer | Failed, why: str
) -> None:
    seen = asked(lambda text: answer if text == "Bob" else Answer("fine"))
    with raises("annotator.records-failed", match=why):
        annotate(Knowledge(model="m"), [post("Bob"), post("Ann")])
    going_on = Knowledge(model="m", keep_going=True)
    assert [KNOWLEDGE in x.notes for x in annotate(going_on, [post("Bob"), post("Ann")])] == [False, True]
    assert list(going_on.failures) == ["Bob"]
    assert seen == ["Bob", "Ann", "Bob"]  # the failure is asked again, the answer is stored


@pytest.mark.parametrize(
    "text",
    [
        "Named entities: none. Reasoning: the sentence apologises: sorry!",
        "Named entities: 1. GPT-4 (software). Reasoning: OpenAI presents GPT-4 as a language model.",
        'Named entities: 1. GPT-4. Reasoning: it says "As an AI language model, I" in each post.',
        "Sorry (song): a track by Justin Bieber.",
        "I'm Sorry (song): by Brenda Lee.",
        "As an AI company, OpenAI (organization) made it.",
        "Sorrento (place)",
        "Ann (person/singer) Reasoning: I can see her.",
        "Named entities: 1. Ann (person) 2. Rome (city)",
    ],
)
def test_ordinary_answers_are_answers(text: str) -> None:
    assert answer_of(Answer(text), post("Bob")) == text


def test_a_real_server_is_asked(server: Server) -> None:
    knowledge = Knowledge(model="m", base_url=server.url, retries=0)
    posts = annotate(knowledge, [post("Bob is here"), post("Ann")])
    assert len(server.seen) == 2 and all(x.notes[KNOWLEDGE] for x in posts)
    bodies = [body for _, _, body in server.seen]
    assert {body["messages"][0]["content"] for body in bodies} == {knowledge.asked(x) for x in posts}
    assert all((body["model"], body["temperature"]) == ("m", 0.0) for body in bodies)


def test_a_model_must_be_named() -> None:
    with raises("chat.no-model", match=r"pgim\.knowledge\.v1"):
        Knowledge(base_url="http://localhost:1/v1").check_computable()


def test_the_contract(tmp_path: Path) -> None:
    check_annotator("pgim.knowledge.v1", folder=tmp_path)


@pytest.mark.matrix
def test_photos_decide_through_captions_and_answers(tmp_path: Path) -> None:
    check_recipe("pgim_twitter15_own", folder=tmp_path, at_least=0.9, beats_blank=0.3, resumes=False)
