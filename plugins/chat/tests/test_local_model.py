"""A model on this machine: its answers, and that it runs no code of strangers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mmkit.annotators.base import Failed
from mmkit_chat import templates
from mmkit_chat.answers import Answer
from mmkit_chat.local_model import LocalModel
from mmkit_chat.model import ChatModel
from mmkit_chat.stand_ins import save_causal_lm
from own_code import check_refused
from raising import raises

TEXTS = ["Jordan scored in the match", "Amazon opened a shop in Paris", "Ada Lovelace wrote programs"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("lm") / "model"
    save_causal_lm(folder, 1, TEXTS)
    return str(folder)


def test_an_answer_that_the_model_ends_is_no_truncated_one(model: str) -> None:
    machine = LocalModel(model)
    (answer,) = machine.ask(["Jordan"], 5)
    assert answer.truncated
    (short,) = machine.ask(["Jordan"], 1)
    ids = range(len(machine.tokenizer))
    first = [i for i in ids if machine.tokenizer.decode([i], skip_special_tokens=True) == short.text]
    machine.model.generation_config.eos_token_id = [*first, 2]  # now the first token ends it
    assert machine.ask(["Jordan"], 5) == [Answer(short.text)]


def test_a_prompt_that_is_too_long_is_a_failure_of_its_own(model: str) -> None:
    machine = LocalModel(model)
    short, long, again = machine.ask(["Jordan", "Jordan " * 2000, "Jordan"], 5)
    assert isinstance(short, Answer) and short == again
    assert isinstance(long, Failed)
    assert re.search(r"has [\d,]+ tokens: with max_tokens = 5, the model reads 1,024", long.reason)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{% for m in messages %}{{ m.content }", "cannot be used: line 1: "),
        ("{{ raise_exception('only\\nsystem') }}", "cannot be used: TemplateError: only system"),
        ("{{ messages[0].content.missing.more }}", "cannot be used: UndefinedError"),
        ("{{ 1 // 0 }}", "cannot be used: ZeroDivisionError"),
        ("{{ ''.__class__.__mro__ }}", "cannot be used: SecurityError"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "cannot be used: RecursionError"),
        (
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
            r"more than 0\.2 s",
        ),
        ("{{ 'x' * 1001 }}", "makes a text of 1,001 characters"),
        ({"other": "{{ messages }}"}, "cannot be used: ValueError"),
        (3, "cannot be used"),
    ],
)
def test_a_chat_template_that_fails_is_one_message(
    model: str, monkeypatch: pytest.MonkeyPatch, template: Any, says: str
) -> None:
    machine = LocalModel(model)
    machine.tokenizer.chat_template = template
    monkeypatch.setattr(templates, "MOST_CHARACTERS", 1000)
    if "more than" in says:
        monkeypatch.setattr(templates, "SECONDS", 0.2)
    with raises("chat.template", match=says):
        machine.ask(["Jordan"], 5)


@pytest.mark.parametrize(
    "name", ["padding", "tokenize", "add_generation_prompt", "chat_template", "documents"]
)
def test_what_a_call_sets_is_no_setting_of_a_template(name: str) -> None:
    for pictures in (False, True):
        with raises("part.setting", match=name):
            ChatModel(
                "m", "local", chat_template_kwargs={name: 1, "enable_thinking": False}, pictures=pictures
            )
    ChatModel("m", "local", chat_template_kwargs={"enable_thinking": False})


def test_a_model_that_sees_pictures_is_another(model: str) -> None:
    blind, seeing = ChatModel(model, "local"), ChatModel(model, "local", pictures=True)
    assert blind.identity() != seeing.identity()


def test_no_code_of_a_model_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_refused(LocalModel, tmp_path, monkeypatch)
