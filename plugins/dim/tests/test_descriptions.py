"""Descriptions by a tiny local model: as transformers gives them, stored by what was asked; and settings refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from mmkit.annotators.run import annotate
from mmkit.data.types import Entity, Example
from mmkit_chat.answers import Answer
from mmkit_chat.local_model import LocalModel
from mmkit_chat.messages import Chat, Prompt
from mmkit_dim.descriptions import EntityDescriptions
from raising import raises

NAMES = ["Jordan", "Amazon", "Ada Lovelace", "the river that runs through Paris"]
TEXTS = ["Jordan scored in the match", "Amazon opened a shop in Paris", "Ada Lovelace wrote programs"]


def sample_settings(folder: Path, seed: int = 1) -> dict[str, Any]:
    examples = [Example.from_tokens(str(i), text.split()) for i, text in enumerate(TEXTS)]
    return EntityDescriptions.sample(folder, seed, examples)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(sample_settings(tmp_path_factory.mktemp("lm") / "model")["model"])


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OPENAI_MODEL", raising=False)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The prompts of every call of the model."""
    seen: list[list[str]] = []
    ask = LocalModel.ask

    def recorded(self: LocalModel, prompts: Sequence[Prompt], max_tokens: int) -> list[Answer]:
        seen.append([Chat.of(prompt).messages[0].text for prompt in prompts])
        return ask(self, prompts, max_tokens)

    monkeypatch.setattr(LocalModel, "ask", recorded)
    return seen


def entities(*names: str) -> list[Entity]:
    return [Entity(f"Q{i}", name) for i, name in enumerate(names)]


def local(model: str, **settings: Any) -> EntityDescriptions:
    return EntityDescriptions(model, "local", **{"max_tokens": 12, **settings})


def direct_answer(model: str, prompt: str, max_tokens: int) -> str:
    """What transformers answers to one prompt alone."""
    tokenizer, network = AutoTokenizer.from_pretrained(model), AutoModelForCausalLM.from_pretrained(model)
    if tokenizer.chat_template is None:
        inputs = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
    else:
        turn = [{"role": "user", "content": prompt}]
        inputs = tokenizer.apply_chat_template(
            turn, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
    tokens = network.generate(**inputs, max_new_tokens=max_tokens, do_sample=False)
    return tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def without_template(model: str, folder: Path) -> str:
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(folder)
    AutoModelForCausalLM.from_pretrained(model).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("chat", [True, False], ids=["chat", "plain"])
def test_batches_give_what_transformers_gives_for_each_alone(model: str, tmp_path: Path, chat: bool) -> None:
    name = model if chat else without_template(model, tmp_path / "plain")
    annotated = annotate(local(name, prompt="Introduce {name}", parallel=3), entities(*NAMES))
    expected = [Answer(direct_answer(name, f"Introduce {n}", 12), True).whole_sentences() for n in NAMES]
    assert [x.description for x in annotated] == expected
    assert len(set(expected)) == len(NAMES), "the name must make a difference"


def test_a_chat_template_gets_its_settings(model: str, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = "{{ style }} {{ messages[0].content }}"
    tokenizer.save_pretrained(tmp_path / "styled")
    AutoModelForCausalLM.from_pretrained(model).save_pretrained(tmp_path / "styled")
    one, other = (
        annotate(local(str(tmp_path / "styled"), chat_template_kwargs={"style": s}), entities("Jordan"))
        for s in ("brief", "long Paris")
    )
    assert one != other


def test_answers_are_stored_by_what_was_asked(model: str, asked: list[list[str]]) -> None:
    settings = {"prompt": "Who is {name}?"}
    first = annotate(local(model, **settings), entities("Jordan", "Paris"))
    renumbered = [Entity("other", "Jordan"), Entity("ids", "Paris")]
    again = annotate(local(model, **settings, parallel=1), renumbered)
    assert [x.description for x in again] == [x.description for x in first]
    assert asked == [["Who is Jordan?", "Who is Paris?"]]
    annotate(local(model, **settings, max_tokens=3), entities("Jordan"))
    annotate(local(model, prompt="What is {name}?"), entities("Jordan"))
    assert asked[1:] == [["Who is Jordan?"], ["What is Jordan?"]]


def test_a_prompt_may_tell_entities_of_one_name_apart(model: str, asked: list[list[str]]) -> None:
    known = [Entity("Q1", "Jordan", description="a country"), Entity("Q2", "Jordan", description="a {name}")]
    annotator = local(model, prompt="{name} ({description}): {{introduce}}", overwrite=True)
    annotated = annotate(annotator, known)
    assert asked == [["Jordan (a country): {introduce}", "Jordan (a {name}): {introduce}"]]
    assert annotated[0].description != annotated[1].description


def test_entities_that_have_a_description_load_no_model(tmp_path: Path) -> None:
    known = [Entity("Q1", "Paris", description="A city.")]
    assert annotate(local(str(tmp_path / "nothing")), known) == known
    assert annotate(EntityDescriptions(), known) == known, "nor need they any to be named"


def test_a_model_that_says_nothing_is_no_description(model: str, tmp_path: Path) -> None:
    silent = LocalModel(model)
    end = silent.tokenizer.eos_token_id
    silent.model.generation_config.forced_eos_token_id = end
    silent.model.save_pretrained(tmp_path / "silent")
    silent.tokenizer.save_pretrained(tmp_path / "silent")
    annotator = local(str(tmp_path / "silent"), max_tokens=1)
    with raises("annotator.records-failed", match="Q0: the answer has no text"):
        annotate(annotator, entities("Jordan"))


def test_a_folders_files_are_part_of_the_fingerprint(model: str, tmp_path: Path) -> None:
    other = sample_settings(tmp_path / "other", seed=2)["model"]
    assert local(model).fingerprint() != local(other).fingerprint()
    assert local(model).fingerprint() == local(sample_settings(tmp_path / "same")["model"]).fingerprint()


def test_only_what_changes_answers_is_part_of_the_fingerprint() -> None:
    def fingerprint(**settings: Any) -> str:
        return EntityDescriptions(**{"model": "m", **settings}).fingerprint()

    same = {
        "base_url": "http://a/v1",
        "parallel": 2,
        "retries": 0,
        "timeout": 1.0,
        "requests_per_minute": 9.0,
    }
    assert fingerprint(**same, overwrite=True, keep_going=True) == fingerprint()
    others = {"model": "n", "prompt": "{name}", "max_tokens": 9, "temperature": 1.0, "seed": 5}
    others["chat_template_kwargs"] = {"enable_thinking": False}
    assert len({fingerprint()} | {fingerprint(**{k: v}) for k, v in others.items()}) == len(others) + 1


def test_a_model_that_is_none_is_named(tmp_path: Path) -> None:
    with raises("part.model-unloadable", match="the language"):
        annotate(local(str(tmp_path / "nothing")), entities("Jordan"))


def test_no_model_at_all_is_told() -> None:
    for backend in ("server", "local"):
        with raises("chat.no-model"):
            annotate(EntityDescriptions(backend=backend), entities("Jordan"))


@pytest.mark.parametrize(
    ("settings", "code", "says"),
    [
        ({"prompt": "Introduce it"}, "dim.prompt", "{name}"),
        ({"prompt": "{name} {id}"}, "dim.prompt", "{name}"),
        ({"prompt": "{name.__class__}"}, "dim.prompt", "{name}"),
        ({"prompt": "{name} {"}, "dim.prompt", "{name}"),
        ({"backend": "local", "temperature": 0.7}, "part.setting", ""),
        ({"parallel": 0}, "part.setting", "parallel"),
        ({"max_tokens": -1}, "part.setting", "max_tokens"),
        ({"timeout": 0.0}, "part.setting", "timeout"),
        ({"retries": -1}, "part.setting", "retries"),
        ({"requests_per_minute": 0.0}, "part.setting", "requests_per_minute"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], code: str, says: str) -> None:
    with raises(code, match=says):
        EntityDescriptions("m", **settings)
