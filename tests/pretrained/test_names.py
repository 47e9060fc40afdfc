"""Names of pretrained models that nothing can be loaded for, here or on the Hub: what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from huggingface_hub.hf_api import ModelInfo

from mmkit.encoders.timm_pooled import TimmEncoder
from mmkit.encoders.transformer import TransformerEncoder
from mmkit.errors import PartError
from mmkit.pretrained import hub
from refusals import message


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "no/such/folder",
            "there is no such folder\n  → check the name: the working directory has no folder 'no'",
        ),
        (
            "https://huggingface.co/bert-base-uncased",
            "a web address, not a name\n  → check the name: give it without",
        ),
        ("~/models/bert", "`~` is not replaced in a recipe"),
        ("models\\bert", "write the path with /"),
        ("", "the name is empty"),
        ("C:/models/bert", "there is no such folder"),
        ("weights/model.safetensors", "there is no such file"),
    ],
)
@pytest.mark.parametrize("kind", [TransformerEncoder, TimmEncoder])
def test_a_name_that_can_be_nothing_says_why(name: str, said: str, kind: Any) -> None:
    assert said in message(kind(name))


def test_a_misspelt_folder_has_near_misses(bert: Path) -> None:
    assert "did you mean 'bert'" in message(TransformerEncoder(str(bert.parent / "bertt")))


def test_offline_a_models_absence_is_said_plainly() -> None:
    for encoder in (TransformerEncoder("someone/something"), TimmEncoder("resnet18.a1_in1k")):
        (error,) = encoder.problems()
        assert "it is not on this machine, and the Hub may not be contacted (HF_HUB_OFFLINE" in str(error)
        assert encoder.weight_bytes() is None


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (RepositoryNotFoundError, "the Hub has no such model, or the model is private"),
        (GatedRepoError, "it is a gated model"),
        (ConnectionError, "the Hub does not answer (ConnectionError)"),
    ],
)
def test_the_hub_is_asked_for_a_list_of_files_alone(
    raised: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise raised.__new__(raised)  # the Hub client makes them of an answer

    monkeypatch.setattr(hub, "offline", lambda: False)
    monkeypatch.setattr(HfApi, "model_info", refuse)
    (error,) = TransformerEncoder("someone/something").problems()
    assert said in str(error)


def test_what_a_model_of_the_hub_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    there: list[str] = []

    def info(self: HfApi, name: str, **options: Any) -> ModelInfo:
        assert options["timeout"]
        return ModelInfo(id=name, siblings=[{"rfilename": file} for file in there], tags=[])

    monkeypatch.setattr(hub, "offline", lambda: False)
    monkeypatch.setattr(HfApi, "model_info", info)
    there[:] = ["config.json", "model.safetensors", "tokenizer.json"]
    assert list(TransformerEncoder("a/b").problems()) == []
    there[:] = ["config.json", "tf_model.h5", "vocab.txt"]
    assert "on the Hub it has no weights that can be read here" in str(
        next(TransformerEncoder("a/b").problems())
    )
    there[:] = ["config.json", "model.safetensors"]
    assert "on the Hub it has no tokenizer" in str(next(TransformerEncoder("a/b").problems()))


# What the Hub's client has kept on this machine


@pytest.mark.parametrize("name", ["someone/bert", "someone/bert-bin"])
def test_a_model_that_was_fetched_is_used_offline_and_looked_at(
    name: str, kept: Callable[[str], Path]
) -> None:
    folder = kept(name)
    encoder = TransformerEncoder(name)
    assert list(encoder.problems()) == [] and (encoder.weight_bytes() or 0) > 1000
    encoder.build()
    (weights,) = [*folder.glob("model.safetensors"), *folder.glob("pytorch_model.bin")]
    weights.write_bytes(weights.read_bytes()[:-60])
    said = message(TransformerEncoder(name))
    assert f"cannot load the text encoder {name!r}: {weights} is cut off" in said


def test_a_fetched_model_of_which_files_are_missing_says_so_offline(kept: Callable[[str], Path]) -> None:
    folder = kept("someone/bert")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(PartError) as caught:
        TransformerEncoder("someone/bert").build()
    assert caught.value.code in ("encoder.unloadable", "encoder.wrong-tokenizer", "encoder.no-tokenizer")


def test_a_name_that_the_hub_cannot_have_says_so() -> None:
    (error,) = TransformerEncoder("bert base uncased").problems()
    assert "no model of the Hub can be called so" in str(error)
