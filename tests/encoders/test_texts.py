"""`mmkit.transformer.v1` over plain texts: its `source`, pooling, storing, and what stays as without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from mmkit.data.types import Entity, Example, Mention
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.encoders.store import prepare
from mmkit.encoders.texts import Texts
from mmkit.encoders.transformer import TransformerEncoder
from raising import raises

TEXTS = [
    "Paris",
    "Jordan scored 30 points in Chicago",
    "the Amazon is a river, Amazon a shop",
    "long words " * 40,
]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=["tiny_bert", "tiny_roberta"])
def model(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def built(
    folder: Path, source: str | None = "sentence", frozen: bool = True, **options: Any
) -> TransformerEncoder:
    encoder = TransformerEncoder(str(folder), source=source, frozen=frozen, **options)
    encoder.build()
    return encoder


def sentence(text: str, **fields: Any) -> Example:
    return Example("x", text, (), (), **fields)


def pooled(encoder: TransformerEncoder, *records: Example | Entity) -> Tensor:
    return encoder(encoder.collate(records, [{}] * len(records)))["pooled"]


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_features_are_those_of_transformers(model: Path, pooling: Any, attention: Any) -> None:
    encoder = built(model, pooling=pooling, attention=attention, max_length=30)
    ours = pooled(encoder, *map(sentence, TEXTS))
    tokens = AutoTokenizer.from_pretrained(model)(
        TEXTS, padding=True, truncation=True, max_length=30, return_tensors="pt"
    )
    with torch.no_grad():
        states = AutoModel.from_pretrained(model)(**tokens).last_hidden_state
    real = tokens["attention_mask"][..., None]
    theirs = states[:, 0] if pooling == "cls" else (states * real).sum(1) / real.sum(1)
    torch.testing.assert_close(ours[:, 0], theirs, atol=5e-6, rtol=0)


def test_sources_and_slots(model: Path) -> None:
    encoder = built(model, "note:seen", slots=2, pooling="mean")
    records = [sentence("x", notes={"seen": ["Paris", "Jordan", "Chicago"]}), sentence("x"), Entity("Q", "n")]
    features = encoder(encoder.collate(records, [{}] * 3))
    assert set(features) == encoder.provides == {"pooled", "mask"}
    assert features["mask"].tolist() == [[True, True], [False, False], [False, False]]
    expected = pooled(built(model, pooling="mean"), sentence("Paris"), sentence("Jordan"))
    torch.testing.assert_close(features["pooled"][0], expected[:, 0])
    assert not features["pooled"][1:].any()
    entity, spoken = Entity("Q", "Paris", description="a river"), sentence("a", mention=Mention("Paris"))
    named = pooled(built(model, "name"), entity)
    torch.testing.assert_close(named, pooled(built(model, "mention"), spoken))


def test_stored_features_are_the_computed_ones(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = built(model, pooling="mean")
    records = list(map(sentence, TEXTS))
    computed = pooled(encoder, *records)
    assert prepare(encoder, records).computed == len(TEXTS)
    monkeypatch.setattr(Texts, "load", lambda *_: pytest.fail("a text was tokenised"))
    host = pooled(encoder, *records)
    assert encoder.stored is not None and encoder.stored.place("cpu", 1e9)
    assert torch.equal(pooled(encoder, *records), host)
    torch.testing.assert_close(host, computed, atol=5e-6, rtol=0)


def test_a_view_is_neither_stored_nor_read_by_source(tiny_bert: Path) -> None:
    encoder = built(tiny_bert, None)
    assert not isinstance(encoder, ItemEncoder) and encoder.provides >= {"tokens", "mask", "pooled"}
    with raises("encoder.no-view", match="'text'"):
        encoder.collate([sentence("Paris")], [{}])
    assert built(tiny_bert).store and not built(tiny_bert, store=False).store


def test_plain_texts_know_no_markers(tiny_bert: Path) -> None:
    encoder = TransformerEncoder(str(tiny_bert), source="mention", frozen=True)
    encoder.build(special_tokens=("[E1]", "[/E1]"))
    assert encoder.fingerprint() == built(tiny_bert, "sentence").fingerprint()
    assert encoder.length(sentence("Paris"), {}) == 0


def test_a_trainable_encoder_trains(model: Path) -> None:
    encoder = built(model, frozen=False, pooling="mean").train()
    assert encoder.backbone.training
    pooled(encoder, *map(sentence, TEXTS)).square().sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None] == []


def test_a_saved_encoder_builds_without_its_source(model: Path, tmp_path: Path) -> None:
    encoder = built(model, pooling="mean")
    encoder.save(tmp_path / "saved")
    again = TransformerEncoder("no-such-model", source="sentence", frozen=True, pooling="mean")
    again.build(saved=tmp_path / "saved")
    again.load_state_dict(encoder.state_dict())
    assert again.fingerprint() == encoder.fingerprint()
    assert torch.equal(pooled(again, *map(sentence, TEXTS)), pooled(encoder, *map(sentence, TEXTS)))


def test_the_fingerprint_covers_what_decides_the_features(tiny_bert: Path, tiny_roberta: Path) -> None:
    encoders = [
        built(tiny_bert),
        built(tiny_bert, pooling="mean"),
        built(tiny_bert, max_length=20),
        built(tiny_bert, feature_dtype="float16"),
        built(tiny_roberta),
    ]
    assert len({encoder.fingerprint() for encoder in encoders}) == len(encoders)
    assert built(tiny_bert, "name_description", slots=2).fingerprint() == encoders[0].fingerprint()


def test_texts_are_cut_to_what_the_model_takes(model: Path) -> None:
    encoder = built(model)
    limit = 512 if "bert" in model.name and "ro" not in model.name else 62
    assert len(encoder.source.load("Paris " * 1000)) == limit
    with raises("encoder.max-length", match=f"takes at most {limit} subwords"):
        built(model, max_length=limit + 1)


def test_a_model_of_texts_and_pictures_is_refused(tiny_clip: Path) -> None:
    with raises("encoder.wrong-model", match=r"\(clip\)") as error:
        built(tiny_clip)
    assert "mmkit.clip_text.v1" in error.value.hint


def test_an_unknown_source_is_refused_before_anything_is_loaded() -> None:
    with raises("encoder.reads-nothing", match="'descriptoin'") as error:
        TransformerEncoder("no-such-model", source="descriptoin")
    assert "did you mean 'description'" in error.value.hint
