"""`mmkit.transformer.v1`: alignment of subwords with tokens, cutting, special tokens, saving, errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoTokenizer, T5Config, T5EncoderModel

from mmkit.batch import of_view
from mmkit.data.types import Entity, Example, TextView
from mmkit.encoders.abilities import ReadsViews
from mmkit.encoders.subwords import OVERHEAD
from mmkit.encoders.transformer import TransformerEncoder
from raising import raises
from text_encoders import built, collate

MARKERS = ("<s>", "</s>", "<o>", "</o>")


def sentence(text: str) -> Example:
    return Example.from_tokens("x", text.split())


def pieces(encoder: TransformerEncoder, ids: torch.Tensor) -> list[str]:
    return encoder.subwords.tokenizer.convert_ids_to_tokens(ids.tolist())


@pytest.fixture(scope="module")
def bert(tiny_bert: Path) -> TransformerEncoder:
    return built(tiny_bert, MARKERS)


@pytest.fixture(scope="module", params=["bert", "roberta"])
def encoder(request: pytest.FixtureRequest, tiny_bert: Path, tiny_roberta: Path) -> TransformerEncoder:
    return built(tiny_bert if request.param == "bert" else tiny_roberta, MARKERS)


def test_further_views_are_collated_beside_the_main_one(tiny_bert: Path, examples: list[Example]) -> None:
    encoder = built(tiny_bert, extra_views=["plain"])
    assert isinstance(encoder, ReadsViews) and encoder.extra_views == ("plain",)
    whole = [TextView((*x.tokens, "Paris"), (*range(len(x.tokens)), -1)) for x in examples]
    plain = [TextView.of(x) for x in examples]
    inputs = encoder.collate(examples, [{"text": w, "plain": p} for w, p in zip(whole, plain, strict=True)])
    for view, own in (("text", inputs), ("plain", of_view(inputs, "plain"))):
        alone = collate(built(tiny_bert), examples, whole if view == "text" else plain)
        assert alone.keys() == {name for name in own if ":" not in name}
        assert all(torch.equal(own[name], tensor) for name, tensor in alone.items())
        assert encoder(own)["tokens"].shape[:2] == alone["input_ids"].shape
    with raises("encoder.no-view", match="'plain'"):
        collate(encoder, examples)
    with raises("encoder.reads-nothing"):
        TransformerEncoder(str(tiny_bert), source="sentence", extra_views=["plain"])


def test_shapes_and_padding(encoder: TransformerEncoder, examples: list[Example]) -> None:
    inputs = collate(encoder, examples)
    B, T = inputs["input_ids"].shape
    assert inputs["word_index"].shape == inputs["attention_mask"].shape == (B, T)
    assert inputs["first_subword"].shape == (B, max(len(x.tokens) for x in examples))
    assert inputs["marker_index"].shape == (B, 0)
    assert int(inputs["attention_mask"].sum(1).max()) == T
    features = encoder(inputs)
    assert features["tokens"].shape == (B, T, encoder.dim) and features["pooled"].shape == (B, encoder.dim)
    assert features["mask"].dtype == torch.bool
    assert set(features) <= encoder.provides


def test_first_subwords_stand_for_their_tokens(encoder: TransformerEncoder, examples: list[Example]) -> None:
    inputs = collate(encoder, examples)
    for row, example in enumerate(examples):
        first = inputs["first_subword"][row]
        assert (first[: len(example.tokens)] > 0).all() and (first[len(example.tokens) :] == -1).all()
        for token, word in enumerate(example.tokens):
            at = inputs["word_index"][row] == token
            text = "".join(pieces(encoder, inputs["input_ids"][row][at]))
            assert text.replace("##", "").replace("Ġ", "").lower() == word.lower()
            assert first[token] == at.nonzero()[0, 0]


def test_every_byte_level_word_is_seen_after_a_space(tiny_roberta: Path) -> None:
    encoder = built(tiny_roberta)
    inputs = collate(encoder, [sentence("Paris Paris")])
    first = inputs["input_ids"][0][inputs["word_index"][0] == 0]
    assert pieces(encoder, first)[0].startswith("Ġ")
    assert torch.equal(first, inputs["input_ids"][0][inputs["word_index"][0] == 1])


def test_padding_changes_nothing(encoder: TransformerEncoder, examples: list[Example]) -> None:
    together = encoder(collate(encoder, examples))
    for row, example in enumerate(examples):
        alone = encoder(collate(encoder, [example]))
        n = alone["tokens"].shape[1]
        torch.testing.assert_close(together["tokens"][row, :n], alone["tokens"][0], atol=2e-6, rtol=0)
        torch.testing.assert_close(together["pooled"][row], alone["pooled"][0], atol=2e-6, rtol=0)


def test_markers_are_whole_and_found(bert: TransformerEncoder) -> None:
    example = sentence("Jordan loves Paris")
    words = ("<s>", "Jordan", "</s>", "loves", "<o>", "Paris", "</o>")
    view = TextView(words, index=(-1, 0, -1, 1, -1, 2, -1), markers=(0, 4))
    inputs = collate(bert, [example], [view])
    found = inputs["input_ids"][0][inputs["marker_index"][0]]
    assert pieces(bert, found) == ["<s>", "<o>"]
    assert (inputs["word_index"][0][inputs["marker_index"][0]] == -1).all()
    first = inputs["first_subword"][0]
    assert inputs["word_index"][0][first].tolist() == [0, 1, 2]


def test_second_text_is_encoded_as_a_pair(bert: TransformerEncoder) -> None:
    view = TextView(("Jordan",), (0,), second=("in", "Chicago"))
    inputs = collate(bert, [sentence("Jordan")], [view])
    words, types, real = (inputs[k][0] for k in ("word_index", "token_type_ids", "attention_mask"))
    assert (types == 1).any() and (words[types == 1] == -1).all() and real.all()
    assert inputs["first_subword"].tolist() == [[1]]


def test_second_text_is_cut_first(tiny_bert: Path) -> None:
    encoder = built(tiny_bert, max_length=12)
    words = ("the", "Amazon", "in", "Paris")
    example = Example.from_tokens("x", words)
    view = TextView(words, tuple(range(4)), second=tuple("abcdefghijkl"))
    inputs = collate(encoder, [example], [view])
    assert inputs["input_ids"].shape[1] == 12
    assert (inputs["first_subword"] >= 0).all()
    assert 0 < int((inputs["token_type_ids"] == 1).sum()) < 12
    assert pieces(encoder, inputs["input_ids"][0])[-1] == "[SEP]"


def test_second_text_disappears_when_the_first_fills_the_room(tiny_bert: Path) -> None:
    encoder = built(tiny_bert, max_length=8)
    words = ("unbelievably", "long", "Paris")
    example = Example.from_tokens("x", words)
    with_second = collate(encoder, [example], [TextView(words, (0, 1, 2), second=("the", "river"))])
    without = collate(encoder, [example])
    assert all(torch.equal(with_second[k], without[k]) for k in without)


def test_sentence_longer_than_the_encoder_is_cut(tiny_roberta: Path) -> None:
    encoder = built(tiny_roberta)
    example = Example.from_tokens("x", ["Paris"] * 100)
    inputs = collate(encoder, [example])
    assert inputs["input_ids"].shape[1] == 62  # 64 positions, of which RoBERTa never uses the first two
    first = inputs["first_subword"][0]
    kept = int((first >= 0).sum())
    assert 0 < kept < 100 and (first[kept:] == -1).all()
    assert encoder(inputs)["tokens"].isfinite().all()
    assert encoder.length(example, {"text": TextView.of(example)}) == 62


def test_markers_cut_off_are_minus_one(tiny_bert: Path) -> None:
    encoder = built(tiny_bert, MARKERS, max_length=6)
    view = TextView(("<s>", *["Paris"] * 20, "<o>"), (-1, *range(20), -1), markers=(0, 21))
    inputs = collate(encoder, [Example.from_tokens("x", ["Paris"] * 20)], [view])
    assert inputs["marker_index"].tolist() == [[1, -1]]


@pytest.mark.parametrize("nothing", ["\u200b", "\u200d\ufe0f", "\u0000", "\u00ad"])
def test_a_word_without_subwords_becomes_unknown(bert: TransformerEncoder, nothing: str) -> None:
    example = Example.from_tokens("x", ["Paris", nothing, "spring"])
    inputs = collate(bert, [example])
    first = inputs["first_subword"][0]
    assert (first > 0).all()
    assert (inputs["word_index"][0][first] == torch.arange(3)).all()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12), min_size=1, max_size=12
    )
)
def test_any_words_align(bert: TransformerEncoder, words: list[str]) -> None:
    inputs = collate(bert, [Example.from_tokens("x", words)])
    index, first = inputs["word_index"][0], inputs["first_subword"][0]
    assert index[first].tolist() == list(range(len(words)))
    inside = index[index >= 0]
    assert (inside.diff() >= 0).all()  # subwords keep the order of the words
    assert index[0] == -1 and index[-1] == -1


def test_encodings_are_computed_once(tiny_bert: Path, examples: list[Example], monkeypatch) -> None:
    encoder = built(tiny_bert)
    before = collate(encoder, examples)

    def forbidden(views):
        raise AssertionError("tokenised again")

    monkeypatch.setattr(encoder.subwords, "_tokenise", forbidden)
    after = collate(encoder, examples)
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert encoder.length(examples[0], {"text": TextView.of(examples[0])}) == int(
        before["attention_mask"][0].sum()
    )


def test_the_cache_is_bounded_by_subwords(tiny_bert: Path) -> None:
    encoder = built(tiny_bert)
    encoder.subwords.room = 3 * OVERHEAD
    many = [sentence("Paris " * n) for n in range(1, 9)]
    for some in (many, many[:3], many):
        assert len(collate(encoder, some)["input_ids"]) == len(some)
        assert 0 < len(encoder.subwords._kept) < 3


def test_little_is_kept_of_a_stream(tiny_bert: Path) -> None:
    encoder = built(tiny_bert)
    before = encoder.subwords.room
    encoder.expect_new()
    assert encoder.subwords.room < before


def test_an_empty_sentence_has_special_tokens_only(encoder: TransformerEncoder) -> None:
    inputs = collate(encoder, [Example("x", "", (), ())])
    assert inputs["input_ids"].shape == (1, 2) and inputs["first_subword"].shape == (1, 0)
    assert encoder(inputs)["tokens"].isfinite().all()


def test_entities_have_no_tokens_of_their_own(bert: TransformerEncoder) -> None:
    view = TextView(("Paris", "Hilton"), (0, 1))
    inputs = bert.collate([Entity("Q1", "Paris Hilton")], [{"text": view}])
    assert inputs["first_subword"].shape == (1, 2)


def test_special_tokens_get_new_rows_the_same_each_time(tiny_bert: Path) -> None:
    rows = load_file(tiny_bert / "model.safetensors")["embeddings.word_embeddings.weight"]
    a, b = built(tiny_bert, MARKERS), built(tiny_bert, MARKERS)
    weights = a.backbone.get_input_embeddings().weight
    assert torch.equal(weights, b.backbone.get_input_embeddings().weight)
    assert torch.equal(weights[: len(rows)], rows) and len(weights) == len(rows) + len(MARKERS)


def test_every_parameter_gets_a_gradient(encoder: TransformerEncoder, examples: list[Example]) -> None:
    encoder.zero_grad()
    encoder(collate(encoder, examples))["tokens"].square().sum().backward()
    assert [n for n, p in encoder.named_parameters() if p.grad is None] == []


def test_a_frozen_encoder_stays_in_evaluation_mode(tiny_bert: Path, examples: list[Example]) -> None:
    encoder = built(tiny_bert, frozen=True).train()
    inputs = collate(encoder, examples)
    out = encoder(inputs)["tokens"]
    assert not out.requires_grad
    assert torch.equal(out, encoder(inputs)["tokens"])


def test_dropout_can_be_switched_off(tiny_bert: Path, examples: list[Example]) -> None:
    on, off = built(tiny_bert).train(), built(tiny_bert, dropout=0.0).train()
    inputs = collate(on, examples)
    assert not torch.equal(on(inputs)["tokens"], on(inputs)["tokens"])
    assert torch.equal(off(inputs)["tokens"], off(inputs)["tokens"])


def test_attention_has_a_dropout_of_its_own(tiny_bert: Path, examples: list[Example]) -> None:
    alone = built(tiny_bert, dropout=0.0, attention_dropout=0.5).train()
    inputs = collate(alone, examples)
    assert not torch.equal(alone(inputs)["tokens"], alone(inputs)["tokens"])
    others = built(tiny_bert, attention_dropout=0.0)
    config = others.backbone.config
    assert (config.attention_probs_dropout_prob, config.hidden_dropout_prob) == (0, 0.1)
    torch.testing.assert_close(others.eval()(inputs)["tokens"], built(tiny_bert).eval()(inputs)["tokens"])


def test_a_dropout_of_attention_that_a_model_does_not_have(tmp_path: Path, tiny_bert: Path) -> None:
    T5EncoderModel(
        T5Config(vocab_size=99, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    ).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path)
    with raises("encoder.attention-dropout", match="t5") as refused:
        built(tmp_path, attention_dropout=0.0)
    assert "dropout_rate" in refused.value.hint


def test_mean_pooling_leaves_padding_out(tiny_bert: Path, examples: list[Example]) -> None:
    encoder = built(tiny_bert, pooling="mean")
    features = encoder(collate(encoder, examples))
    expected = torch.stack([t[m].mean(0) for t, m in zip(features["tokens"], features["mask"], strict=True)])
    torch.testing.assert_close(features["pooled"], expected)


def test_a_saved_encoder_builds_without_its_source(
    encoder: TransformerEncoder, examples: list[Example], tmp_path: Path
) -> None:
    encoder.save(tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))
    again = TransformerEncoder("a/name-that-is-not-asked-for")
    again.build(MARKERS, saved=tmp_path)
    again.load_state_dict(encoder.state_dict())
    inputs, same = collate(encoder, examples), collate(again, examples)
    assert all(torch.equal(inputs[k], same[k]) for k in inputs)
    assert torch.equal(encoder(inputs)["tokens"], again.eval()(same)["tokens"])


def test_sample_is_deterministic(examples: list[Example], tmp_path: Path) -> None:
    for name in "ab":
        TransformerEncoder.sample(tmp_path / name, seed=3, examples=examples)
    for file in sorted((tmp_path / "a").iterdir()):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


def test_a_missing_view_is_named(bert: TransformerEncoder, examples: list[Example]) -> None:
    with raises("encoder.no-view", match="'text'"):
        bert.collate(examples[:1], [{"texts": TextView.of(examples[0])}])
