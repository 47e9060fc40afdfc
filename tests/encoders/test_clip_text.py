"""CLIP's texts: equal to transformers' own, cut as CLIP cuts, stored or trained, and refused where they do not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoTokenizer, CLIPModel

from mmkit.data.types import Entity, Example, Mention
from mmkit.encoders.clip_sample import END, START, write_tiny_clip
from mmkit.encoders.clip_text import ClipTextEncoder
from mmkit.encoders.items import BLANK, CollatedItems, MissingImages
from mmkit.encoders.store import prepare
from mmkit.encoders.texts import Texts
from raising import raises

LONG = "Jordan plays basketball in Chicago and Paris " * 20


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))


def built(folder: Path, source: str = "sentence", **options: Any) -> ClipTextEncoder:
    encoder = ClipTextEncoder(str(folder), source, **options)
    encoder.build()
    return encoder


def sentence(text: str, **fields: Any) -> Example:
    return Example("x", text, (), (), **fields)


def pooled(encoder: ClipTextEncoder, *records: Example | Entity) -> Tensor:
    return encoder(encoder.collate(records, [{}] * len(records)))["pooled"]


def clips_own(folder: Path, texts: list[str], max_length: int = 77) -> Tensor:
    tokens = AutoTokenizer.from_pretrained(folder)(
        texts, padding=True, truncation=True, max_length=max_length, return_tensors="pt"
    )
    with torch.no_grad():
        return CLIPModel.from_pretrained(folder).get_text_features(**tokens).pooler_output


TEXTS = ["Jordan scored 30 points in Chicago", "Paris", "a river , the Amazon", LONG, "naïve 日本 🏀 <3"]


@pytest.mark.parametrize("max_length", [77, 9])
def test_features_are_those_of_transformers(tiny_clip: Path, max_length: int) -> None:
    encoder = built(tiny_clip, max_length=max_length)
    ours = pooled(encoder, *map(sentence, TEXTS))
    assert ours.shape == (5, 1, encoder.dim)
    torch.testing.assert_close(ours[:, 0], clips_own(tiny_clip, TEXTS, max_length), atol=2e-6, rtol=0)


def test_the_end_is_found_as_older_configurations_say(tiny_clip: Path, tmp_path: Path) -> None:
    older = shutil.copytree(tiny_clip, tmp_path / "older")
    config = json.loads((older / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 2
    (older / "config.json").write_text(json.dumps(config))
    ours = pooled(built(older), *map(sentence, TEXTS))
    torch.testing.assert_close(ours[:, 0], clips_own(older, TEXTS), atol=2e-6, rtol=0)
    torch.testing.assert_close(ours, pooled(built(tiny_clip), *map(sentence, TEXTS)))


def test_what_exceeds_the_limit_is_cut(tiny_clip: Path) -> None:
    encoder = built(tiny_clip)
    ids = encoder.source.load(LONG)
    assert len(ids) == 77 and ids[0] == encoder.tokenizer.bos_token_id
    assert ids[-1] == encoder.tokenizer.eos_token_id
    assert torch.equal(*pooled(encoder, sentence(LONG), sentence(LONG + "and more")))


def test_sources_and_slots(tiny_clip: Path) -> None:
    one = sentence("Jordan scored", mention=Mention("Jordan"), notes={"faces": ["a man", "a boy", "a dog"]})
    other = sentence("Paris in spring", notes={"faces": ["a man"]})
    encoder = built(tiny_clip, "note:faces", slots=2)
    features = encoder(encoder.collate([one, other, sentence("none")], [{}] * 3))
    assert set(features) == encoder.provides
    assert features["mask"].tolist() == [[True, True], [True, False], [False, False]]
    expected = pooled(built(tiny_clip), sentence("a man"), sentence("a boy"))[:, 0]
    torch.testing.assert_close(features["pooled"][0], expected)
    torch.testing.assert_close(features["pooled"][1, 0], expected[0])
    assert not features["pooled"][~features["mask"]].any()
    both = pooled(built(tiny_clip, "mention_sentence"), one)
    torch.testing.assert_close(both, pooled(built(tiny_clip), sentence("Jordan [SEP] Jordan scored")))
    described = pooled(built(tiny_clip, "description"), Entity("Q1", "Paris", description="a city"))
    torch.testing.assert_close(described, pooled(built(tiny_clip), sentence("a city")))


def test_batches_are_no_wider_than_their_texts(tiny_clip: Path) -> None:
    encoder = built(tiny_clip, "note:faces", slots=4)
    empty, one = sentence("x"), sentence("x", notes={"faces": "Paris"})
    inputs = encoder.collate([one, empty], [{}] * 2)
    assert inputs["mask"].shape == (2, 1)
    ids = CollatedItems.of(inputs).loaded["input_ids"]
    assert ids.shape == (2, 3)  # a blank and a real text: start, "paris", end
    nothing = encoder(encoder.collate([empty, empty], [{}] * 2))
    assert nothing["pooled"].shape == (2, 1, encoder.dim) and not nothing["pooled"].any()
    assert not nothing["mask"].any()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_stored_features_are_the_computed_ones(tiny_clip: Path, dtype: str) -> None:
    records = [
        sentence(text, notes={"words": text.split()[:n]})
        for text, n in zip(TEXTS, (1, 0, 3, 2, 2), strict=True)
    ]
    encoder = built(tiny_clip, "note:words", slots=3, feature_dtype=dtype)
    batches = [records, records[1:2], records[3:]]
    computed = [encoder(encoder.collate(batch, [{}] * len(batch))) for batch in batches]
    distinct = {word for record in records for word in record.notes["words"]}
    report = prepare(encoder, records)
    assert report.computed == len(distinct)
    read = []
    for budget in (0, 1e9):
        assert encoder.stored is not None
        encoder.stored.place("cpu", budget)
        read.append([encoder(encoder.collate(batch, [{}] * len(batch))) for batch in batches])
    tolerance = 2e-6 if dtype == "float32" else 5e-3
    for ours, host, placed in zip(computed, *read, strict=True):
        assert torch.equal(ours["mask"], host["mask"]) and torch.equal(ours["mask"], placed["mask"])
        assert torch.equal(host["pooled"], placed["pooled"])
        torch.testing.assert_close(host["pooled"], ours["pooled"], atol=tolerance, rtol=0)
        assert not host["pooled"][~host["mask"]].any()


def test_the_same_batch_gives_the_same_bits(tiny_clip: Path) -> None:
    encoder = built(tiny_clip)
    records = list(map(sentence, sorted(TEXTS, key=len)))
    computed = encoder.encode(encoder.source.stack([encoder.source.load(x.text) for x in records]))["pooled"]
    prepare(encoder, records)
    assert torch.equal(pooled(encoder, *records)[:, 0], computed)


def test_a_hit_tokenises_nothing(tiny_clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = list(map(sentence, TEXTS))
    assert prepare(built(tiny_clip), records).computed == len(TEXTS)
    encoder = built(tiny_clip)
    monkeypatch.setattr(Texts, "load", lambda *_: pytest.fail("a text was tokenised"))
    assert prepare(encoder, records).computed == 0
    assert pooled(encoder, *records).shape == (5, 1, encoder.dim)


def test_texts_without_a_stored_one_are_computed(tiny_clip: Path) -> None:
    encoder = built(tiny_clip)
    new = pooled(encoder, sentence("Paris Hilton"))
    prepare(encoder, [sentence("Paris")])
    torch.testing.assert_close(pooled(encoder, sentence("Paris Hilton"), sentence("Paris"))[:1], new)


def test_blank_texts_alone_are_stored_too(tiny_clip: Path) -> None:
    encoder = built(tiny_clip, "note:none", slots=2)
    prepare(encoder, [sentence("a"), sentence("b")])
    for budget in (0, 1e9):
        assert encoder.stored is not None
        encoder.stored.place("cpu", budget)
        features = encoder(encoder.collate([sentence("a"), sentence("b")], [{}] * 2))
        assert features["pooled"].shape == (2, 1, encoder.dim)
        assert not features["pooled"].any() and not features["mask"].any()


def test_a_trainable_encoder_trains(tiny_clip: Path) -> None:
    encoder = built(tiny_clip, frozen=False).train()
    assert encoder.backbone.training
    pooled(encoder, *map(sentence, TEXTS)).square().sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_frozen_encoder_is_a_pure_function(tiny_clip: Path) -> None:
    encoder = built(tiny_clip).train()
    first = pooled(encoder, *map(sentence, TEXTS))
    assert not encoder.backbone.training and not first.requires_grad
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(pooled(encoder, *map(sentence, TEXTS)), first)


def test_a_saved_encoder_builds_without_its_source(tiny_clip: Path, tmp_path: Path) -> None:
    encoder = built(tiny_clip)
    encoder.save(tmp_path / "saved")
    for file in (tmp_path / "saved").iterdir():
        assert file.suffix != ".safetensors" and str(tiny_clip) not in file.read_text(encoding="utf-8")
    again = ClipTextEncoder("no-such-model", "sentence")
    again.build(saved=tmp_path / "saved")
    again.load_state_dict(encoder.state_dict())
    assert again.fingerprint() == encoder.fingerprint()
    assert torch.equal(pooled(again, *map(sentence, TEXTS)), pooled(encoder, *map(sentence, TEXTS)))


def test_the_fingerprint_covers_what_decides_the_features(
    tiny_clip: Path, tmp_path: Path, examples: list[Example]
) -> None:
    other_words = write_tiny_clip(tmp_path / "other-words", seed=1, examples=examples[:2])
    other_weights = write_tiny_clip(tmp_path / "other-weights", seed=2, examples=examples)
    encoders = [
        built(tiny_clip),
        built(tiny_clip, max_length=20),
        built(tiny_clip, feature_dtype="float16"),
        built(other_words),
        built(other_weights),
    ]
    assert len({encoder.fingerprint() for encoder in encoders}) == len(encoders)
    assert built(tiny_clip, "mention", slots=3).fingerprint() == encoders[0].fingerprint()
    before = encoders[0].fingerprint()
    with torch.no_grad():
        encoders[0].backbone.text_projection.weight[0, 0] += 1
    assert encoders[0].fingerprint() != before


@pytest.mark.parametrize(
    ("options", "code", "what"),
    [
        ({"source": "mentoin"}, "encoder.reads-nothing", "'mentoin'"),
        ({"source": "mention", "slots": 0}, "part.setting", "slots = 0"),
        ({"source": "mention", "max_length": 78}, "encoder.max-length", "77"),
        ({"source": "mention", "max_length": 2}, "encoder.max-length", "2"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    tiny_clip: Path, options: dict[str, Any], code: str, what: str
) -> None:
    with raises(code, match=what):
        ClipTextEncoder(str(tiny_clip), **options).build()


def test_records_of_another_kind_are_refused(tiny_clip: Path) -> None:
    with raises("encoder.no-note", match="an entity has no text 'mention'"):
        built(tiny_clip, "mention").source.items(Entity("Q1", "Paris"), MissingImages())
    with raises("input.not-unicode"):
        pooled(built(tiny_clip), sentence("half a \ud83d sign"))


def test_another_kind_of_model_is_refused(tiny_bert: Path) -> None:
    with raises("encoder.wrong-model", match="bert model, not CLIP") as error:
        ClipTextEncoder(str(tiny_bert), "mention").build()
    assert "openai/clip-vit-base-patch32" in error.value.hint


def test_a_model_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with raises("encoder.unloadable", match="check the name") as error:
        ClipTextEncoder("openai/clip-vit-base-patch23", "mention").build()
    assert "did you mean 'openai/clip-vit-base-patch32'" in error.value.hint
    with raises("encoder.unloadable", match=r"folder must contain config\.json"):
        ClipTextEncoder(str(tmp_path), "mention").build()


def test_a_damaged_model_is_refused(tiny_clip: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(tiny_clip, tmp_path / "damaged")
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with raises("encoder.unloadable", match="CLIP"):
        ClipTextEncoder(str(damaged), "mention").build()
    (damaged / "config.json").write_text('{"model_type": "clip", "text_config": {"hidden_size": "wide"}}')
    with raises("encoder.unloadable", match="CLIP"):
        ClipTextEncoder(str(damaged), "mention").build()


def test_a_tokenizer_of_another_model_is_refused(tiny_clip: Path, tmp_path: Path) -> None:
    mixed = shutil.copytree(tiny_clip, tmp_path / "mixed")
    config = json.loads((mixed / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 7
    (mixed / "config.json").write_text(json.dumps(config))
    with raises(
        "encoder.wrong-tokenizer", match="expects token 7 at the end of a text, but its tokenizer ends with"
    ):
        ClipTextEncoder(str(mixed), "mention").build()


@pytest.fixture(scope="module")
def encoder(tiny_clip: Path) -> ClipTextEncoder:
    return built(tiny_clip)


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60).filter(lambda text: "<|" not in text))
def test_any_text_has_tokens_that_end_once(encoder: ClipTextEncoder, text: str) -> None:
    ids = encoder.source.load(text)
    start, end = (encoder.tokenizer.convert_tokens_to_ids(token) for token in (START, END))
    assert ids[0] == start and ids[-1] == end and (ids[:-1] != end).all()  # nothing is unknown
    keys = [key for key, _ in encoder.source.items(sentence(text), MissingImages())]
    assert keys != [BLANK] or not text.strip()


def test_the_sample_is_one_model_for_texts_and_pictures(tmp_path: Path, examples: list[Example]) -> None:
    from mmkit.encoders.clip_image import ClipImageEncoder

    texts = ClipTextEncoder.sample(tmp_path / "mmkit.clip_text.v1-1-ab", 1, examples)
    pictures = ClipImageEncoder.sample(tmp_path / "mmkit.clip_image.v1-1-ab", 1, examples)
    assert texts == pictures == {"name": str(tmp_path / "mmkit.clip.v2-1-ab"), "revision": None}
    again = write_tiny_clip(tmp_path / "again", 1, examples)
    for file in again.iterdir():
        assert file.read_bytes() == (Path(texts["name"]) / file.name).read_bytes()


def test_the_samples_texts_are_told_apart(tiny_clip: Path, examples: list[Example]) -> None:
    words = [sentence(word) for word in sorted({token for x in examples for token in x.tokens})]
    features = torch.nn.functional.normalize(pooled(built(tiny_clip), *words)[:, 0], dim=-1)
    likeness = features @ features.T - torch.eye(len(words))
    spoken = {word.text.lower() for word in words}
    assert len(spoken) > 20 and likeness.mean() < 0.7
    different = torch.tensor([[a.text.lower() != b.text.lower() for b in words] for a in words])
    assert likeness[different].max() < 0.99
