"""A model on this machine: its answers, and that it runs no code of strangers."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmkit_chat.answers import Answer
from mmkit_chat.local_model import LocalModel
from mmkit_chat.stand_ins import save_causal_lm
from own_code import check_refused

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


def test_no_code_of_a_model_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_refused(LocalModel, tmp_path, monkeypatch)
