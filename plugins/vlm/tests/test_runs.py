"""Runs of the recipes with a server: what is asked, resumed after a kill, refused, and written down."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

import mmkit
from hostile_server import HostileServer, without_end
from mmkit.data.types import Entity, Example, Image, Mention, Span
from mmkit.inference.evaluate import evaluate
from mmkit.loading.sample import sampled
from mmkit.recipe import Recipe, load_recipe
from mmkit.training.train import train
from mmkit_chat import client
from mmkit_vlm.account import NOTE, account, told
from mmkit_vlm.entities import Entities
from mmkit_vlm.links import NO_CANDIDATES, Links
from mmkit_vlm.pictures import data_uri
from mmkit_vlm.settings import ChatSettings, ShotSettings
from raising import raises
from recording import say

pytestmark = pytest.mark.usefixtures("own_environment")


def recipe(server: Any, **settings: Any) -> Recipe:
    """Entities of the sample, asked of a server."""
    own = {
        "chat.backend": "server",
        "chat.model": "m",
        "chat.base_url": f"{server.url}/v1",
        "chat.retries": 0,
    }
    given = {f"model.decoder.{name}": value for name, value in {**own, "shots.number": 2, **settings}.items()}
    return sampled(load_recipe("vlm_entities")).with_overrides(given)


def name_first_word(handler: Any, **more: Any) -> None:
    """Name the question's first word in capitals, with the first type."""
    content = handler.body["messages"][-1]["content"]
    text = content if isinstance(content, str) else content[-1]["text"]
    words = [word for word in text.split()[1:] if word[:1].isupper()]
    said = [{"text": words[0], "type": "LOC"}] if words else []
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    say(handler, json.dumps({"entities": said}), usage=usage, **more)


def test_a_run_asks_once_and_is_like_any_other(talking: Any, tmp_path: Path) -> None:
    talking.answer = partial(name_first_word, model="m-2026", system_fingerprint="build 7")
    given = recipe(talking, **{"chat.prices": [1.0, 2.0]})
    figures = train(given, tmp_path / "run", device="cpu", quiet=True)["figures"]
    asked = len(talking.bodies)
    assert asked == len({json.dumps(body["messages"]) for body in talking.bodies}), "no question twice"
    assert 0 < figures["test"]["spans.f1"] < 1
    again, _ = evaluate(tmp_path / "run", device="cpu")
    assert again == figures["test"]
    assert len(talking.bodies) == asked, "stored answers need no server"

    shown = repr(mmkit.load(tmp_path / "run", "cpu"))
    assert "4 types: LOC, MISC, ORG, PER" in shown and "shots" not in shown and "base64" not in shown

    sums = json.loads((tmp_path / "run/vlm/test.json").read_text(encoding="utf-8"))
    assert sums["examples"] == sums["usable"] >= sums["questions"] == sums["counted"] > 10
    assert sums["cost"] == pytest.approx(sums["questions"] * 20 / 1e6)
    assert sums["models"] == {"m": sums["examples"]} and sums["told"] == {"m-2026, build 7": sums["examples"]}

    first = talking.bodies[0]
    assert [message["role"] for message in first["messages"]] == ["user", "assistant"] * 2 + ["user"]
    picture, text = first["messages"][0]["content"]
    assert picture["image_url"]["url"].startswith("data:image/jpeg;base64,")
    assert text["text"].startswith("Find the named entities")
    schema = first["response_format"]["json_schema"]["schema"]
    types = schema["properties"]["entities"]["items"]["properties"]["type"]["enum"]
    assert types == ["LOC", "MISC", "ORG", "PER"]


def test_one_signal_ends_scoring_and_no_question_is_asked_twice(talking: Any, tmp_path: Path) -> None:
    given = recipe(talking, **{"chat.parallel": 2})

    def interrupt_at_tenth(handler: Any) -> None:
        if len(talking.bodies) == 10:
            os.kill(os.getpid(), signal.SIGINT)
        name_first_word(handler)

    talking.answer = interrupt_at_tenth
    with raises("training.interrupted", match="everything is saved after update 1; it is scored when"):
        train(given, tmp_path / "run", device="cpu", quiet=True)
    assert len(talking.bodies) <= 12, "those that were under way may end"
    talking.answer = name_first_word
    summary = train(given, tmp_path / "run", device="cpu", quiet=True, resume=True)
    assert summary["status"] == "completed" and summary["figures"]["test"]["spans.f1"] > 0
    questions = [json.dumps(body["messages"]) for body in talking.bodies]
    assert len(questions) - len(set(questions)) <= 2, "only those that were under way"


RUN = """
import json, sys
from mmkit.recipe import load_recipe
from mmkit.training.train import train
train(load_recipe(sys.argv[1]), sys.argv[2], device="cpu", quiet=True)
"""


@pytest.mark.matrix
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_run_asks_nothing_twice(talking: Any, tmp_path: Path) -> None:
    given = recipe(talking, **{"chat.parallel": 1})
    file = tmp_path / "own.cfg"
    file.write_text(given.to_str(), encoding="utf-8")
    command = [sys.executable, "-c", RUN, str(file), str(tmp_path / "run")]
    started: list[subprocess.Popen[bytes]] = []

    def kill_at_tenth(handler: Any) -> None:
        if len(talking.bodies) == 10:
            os.kill(started[0].pid, signal.SIGKILL)
            handler.close_connection = True
        else:
            name_first_word(handler)

    talking.answer = kill_at_tenth
    started.append(subprocess.Popen(command, env=dict(os.environ)))
    assert started[0].wait(120) == -signal.SIGKILL
    answered = [json.dumps(body["messages"]) for body in talking.bodies[:9]]
    talking.bodies.clear()
    talking.answer = name_first_word
    train(given, tmp_path / "again", device="cpu", quiet=True)
    later = [json.dumps(body["messages"]) for body in talking.bodies]
    assert not set(answered) & set(later)
    assert len(later) == len(set(later))


def question(id: str = "1", *words: str) -> Example:
    return Example.from_tokens(id, words or ("Jordan", "runs"), spans=(Span(0, 1, "PER"),))


def decoder(server: Any, shots: int = 0, **settings: Any) -> Entities:
    url = server if isinstance(server, str) else f"{server.url}/v1"
    chat = ChatSettings(**{"model": "m", "base_url": url, "retries": 0, "timeout": 10.0, **settings})
    made = Entities(chat, ShotSettings(number=shots))
    made.build({"query": 1}, made.fit([question()]))
    return made


def decoded(made: Entities, *examples: Example) -> list[Any]:
    import torch

    from mmkit.batch import Batch, States

    asked = tuple(made.task.question(example) for example in examples)
    return made.decode(States({"query": torch.zeros(len(asked), 1)}), Batch(asked, {}), {})


def test_the_run_keeps_the_model_that_the_environment_names(
    talking: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    talking.answer = lambda handler: say(handler, '{"entities": []}')
    monkeypatch.setenv("OPENAI_MODEL", "first")
    kept = decoder(talking, model=None).fit([question()])
    assert kept["model"] == "first"
    assert "model" not in decoder(talking, model="own").fit([question()])
    for now, warned in (("first", False), ("", False), ("second", True)):
        monkeypatch.setenv("OPENAI_MODEL", now)
        again = decoder(talking, model=None)
        capsys.readouterr()
        again.build({"query": 1}, kept)
        said = capsys.readouterr().err
        assert ("'first'" in said and "'second'" in said) is warned and bool(said) is warned
        (found,) = decoded(again, question(now or "none", "Jordan", now or "none"))
        assert talking.bodies[-1]["model"] == found.notes[NOTE]["model"] == "first"
    with raises("run.labels"):
        decoder(talking, model=None).build({"query": 1}, {**kept, "model": 3})


def test_a_run_without_a_model_of_its_own_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_MODEL", raising=False)
    assert "model" not in Entities(ChatSettings()).fit([question()])


def test_equal_questions_are_paid_for_once(talking: Any) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    talking.answer = lambda handler: say(handler, '{"entities": []}', usage=usage)
    made = decoder(talking, prices=(1e6, 1e6))
    found = account(decoded(made, question("1"), question("2"), question("3", "Ann")))
    assert found is not None and len(talking.bodies) == 2
    assert (found["examples"], found["questions"], found["counted"], found["cost"]) == (3, 2, 2, 30)
    assert any("1 questions are equal" in line for line in told("test", found))


def test_a_mention_without_candidates_is_not_asked_about(talking: Any) -> None:
    talking.answer = lambda handler: say(handler, '{"entity": "1"}')
    made = Links(ChatSettings(model="m", base_url=f"{talking.url}/v1", retries=0))
    made.build({"query": 1}, made.fit([]), [Entity("Q1", "Jordan")])
    with_one = replace(question(), mention=Mention("Jordan"), candidates=("Q1",))
    without, linked = decoded(made, replace(with_one, candidates=()), with_one)
    assert (without.links, linked.links) == ((), ("Q1",))
    assert len(talking.bodies) == 1
    found = account([without, linked])
    assert found is not None and found["not_asked"] == {NO_CANDIDATES: 1} and found["usable"] == 1
    assert next(told("test", found)).startswith("test: 1 of 1 answers can be used")


def test_an_answer_without_an_end_is_no_answer(talking: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MOST_BYTES", 100_000)
    talking.answer = without_end
    made = decoder(talking)
    with raises("vlm.no-answer", match=r"1: the answer is too long"):
        decoded(made, question())
    made.keep_going = True
    (found,) = decoded(made, question())
    assert found.spans == () and found.notes[NOTE]["no_answer"] == "the answer is too long"


def test_a_redirect_to_another_host_is_not_followed(talking: Any) -> None:
    with HostileServer(lambda handler: handler.say({}), "127.0.0.2") as elsewhere:
        target = f"{elsewhere.url}/v1/chat/completions"
        talking.answer = lambda handler: handler.send(307, b"", Location=target)
        with raises("chat.server", match="redirects to another address"):
            decoded(decoder(talking), question())
        assert elsewhere.headers == []


def test_a_busy_server_is_asked_again_when_it_says(talking: Any) -> None:
    arrived: list[float] = []

    def busy_first(handler: Any) -> None:
        arrived.append(time.monotonic())
        if len(arrived) == 1:
            handler.send(429, b"{}", Retry_After="0.4")
        else:
            say(handler, '{"entities": [{"text": "Jordan", "type": "PER"}]}')

    talking.answer = busy_first
    (found,) = decoded(decoder(talking, retries=1), question())
    assert found.spans == (Span(0, 1, "PER"),)
    assert 0.4 <= arrived[1] - arrived[0] < 5


def test_no_picture_is_sent_that_cannot_be_read(talking: Any, tmp_path: Path) -> None:
    talking.answer = lambda handler: say(handler, '{"entities": []}')
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    images = (Image(str(tmp_path / "broken.jpg")), Image(None))
    (found,) = decoded(decoder(talking), Example.from_tokens("1", ["Jordan"], images=images))
    assert isinstance(talking.bodies[0]["messages"][0]["content"], str)
    assert found.notes[NOTE]["pictures_unreadable"] == 1


def test_pictures_of_shots_that_cannot_be_read_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    Pillow.new("RGB", (8, 8)).save(tmp_path / "whole.png")
    images = tuple(Image(str(tmp_path / name)) for name in ("broken.jpg", "whole.png"))
    shown = replace(question(), images=images, mention=Mention("Jordan"), candidates=("Q1",), entity="Q1")
    for kind in (Entities, Links):
        made = kind(ChatSettings(model="m", pictures=2), ShotSettings(number=1))
        labels = made.fit([shown])
        assert "1 pictures of the 1 examples to show cannot be read" in capsys.readouterr().err
        made.build({"query": 1}, labels, [Entity("Q1", "Jordan")])
        (shot,) = made.examples
        assert (len(shot.pictures), shot.unreadable) == (1, 1)


def test_no_comment_of_a_photo_is_sent(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[0x010E] = "secret place"
    Pillow.new("RGB", (8, 8)).save(tmp_path / "1.jpg", comment=b"secret name", exif=exif)
    uri = data_uri(Image(str(tmp_path / "1.jpg")), 8, 10_000)
    sent = base64.b64decode(uri.partition(",")[2])
    assert sent.startswith(b"\xff\xd8") and b"secret" not in sent


@pytest.mark.parametrize(
    "setting", [{"pictures": -1}, {"picture_side": 0}, {"picture_side": -5}, {"picture_bytes": 0}]
)
def test_pictures_that_cannot_be_are_refused(setting: dict[str, int]) -> None:
    ((name, number),) = setting.items()
    for backend in ("server", "stand_in"):
        with raises("part.setting", match=rf"chat\.{name} must be at least [\d,]+, not {number}"):
            Entities(ChatSettings(model="m", backend=backend, **setting))  # type: ignore[arg-type]


@pytest.mark.parametrize("prices", [(-1.0, 2.0), (1.0, float("nan")), (float("inf"), 1.0)])
def test_prices_that_cannot_be_are_refused(prices: tuple[float, float]) -> None:
    with raises("part.setting", match=r"chat\.prices"):
        Entities(ChatSettings(model="m", prices=prices))


@pytest.mark.parametrize("setting", [{"candidates": 0}, {"words": -5}])
def test_a_question_of_no_candidates_is_refused(setting: dict[str, int]) -> None:
    with raises("part.setting", match=next(iter(setting))):
        Links(ChatSettings(model="m"), **setting)


@pytest.mark.parametrize("number", [-1, 201])
def test_a_number_of_shots_that_cannot_be_is_refused(number: int) -> None:
    with raises("part.setting", match="from 0 to pool"):
        Entities(ChatSettings(model="m"), ShotSettings(number=number))


def test_a_description_of_no_label_is_refused() -> None:
    with raises("vlm.described-label", match="PERSON") as caught:
        Entities(ChatSettings(model="m"), describe={"PERSON": "a person"}).fit([question()])
    assert "PER" in caught.value.hint
    with raises("vlm.described-label") as caught:
        Links(ChatSettings(model="m"), describe={"PER": "a person"}).fit([question()])
    assert caught.value.hint == "it has no labels: leave describe out"
