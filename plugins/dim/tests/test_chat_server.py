"""Descriptions from a chat server: what is asked, stored and listed."""

from __future__ import annotations

import pytest

from chat_server import Server
from describing import described, describer, entities
from mmkit.annotators.makers import Maker
from mmkit.annotators.run import annotate
from mmkit.annotators.store import ResultStore
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


def test_it_says_which_model_answered_also_from_the_store(server: Server) -> None:
    annotator = describer(server)
    annotate(annotator, entities("Told1", "Told2", "Paris", "Told1"))
    told = Maker("m", "m-2026 ␛[2J", "build 7", 2, 2, 60, 14)
    assert list(annotator.makers) == [told, Maker("m", results=1)]
    again = describer(server)
    annotate(again, entities("Told2", "Told1"))
    assert list(again.makers) == [told]
    with ResultStore.of(again.fingerprint()) as store:  # as earlier versions stored it
        store.put({again.key(Entity("Q", "Rome")): "Rome is old."})
    (old,) = annotate(again, entities("Rome"))
    assert old.description == "Rome is old." and list(again.makers) == [Maker("m", results=1)]
    assert len(server.names()) == 3


# What servers do


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


def test_a_stopped_run_goes_on_with_what_is_missing(server: Server) -> None:
    names = [*(f"N{i}" for i in range(9)), "Locked", *(f"N{i}" for i in range(10, 15))]
    with raises("chat.server", match="key"):
        annotate(describer(server, parallel=1), entities(*names))
    stored = server.names()[:9]  # also those of the batch that was not complete
    server.seen.clear()
    opened = entities(*(name.replace("Locked", "Open") for name in names))
    annotated = annotate(describer(server, parallel=1), opened)
    assert server.names() == [x.name for x in opened if x.name not in stored]
    assert all(described(annotated))
