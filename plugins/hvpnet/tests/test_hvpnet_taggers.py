"""The taggers of subwords: labels, targets, losses and predictions, and how older recipes come by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmkit.batch import Batch
from mmkit.data.types import Span
from mmkit.recipe import load_recipe
from mmkit_hvpnet.convert import TAGS, TYPES
from mmkit_hvpnet.taggers import SubwordCrfTagger, SubwordSoftmaxTagger
from tagging import EXAMPLES, PIECES, built, force, sentence, text_inputs, text_states

TAGGERS = [SubwordCrfTagger, SubwordSoftmaxTagger]


def test_labels_are_the_authors_thirteen() -> None:
    labels = SubwordCrfTagger(types=list(TYPES)).fit(EXAMPLES)
    assert labels == {"types": list(TYPES), "scheme": "bio", "subwords": "tagged", "tags": list(TAGS)}


def test_parameter_names_are_the_checkpoints() -> None:
    names = {name for name, _ in built(SubwordCrfTagger()).named_parameters()}
    assert names == {"linear.weight", "linear.bias"} | {
        f"crf.{name}" for name in ("start_transitions", "end_transitions", "transitions")
    }


def test_targets_are_the_authors() -> None:
    tagger = built(SubwordCrfTagger(types=list(TYPES)))
    tags = tagger.targets(EXAMPLES, {"text": text_inputs(PIECES)})["tags"]
    assert [" ".join(TAGS[i] for i in row) for row in tags.tolist()] == [
        "[CLS] B-PER I-PER X X O B-LOC X [SEP]",
        "[CLS] O X B-ORG [SEP] [PAD] [PAD] [PAD] [PAD]",
        "[CLS] O [SEP] [PAD] [PAD] [PAD] [PAD] [PAD] [PAD]",
    ]


def test_targets_of_a_cut_sentence_and_of_a_second_text() -> None:
    tagger = built(SubwordCrfTagger(types=list(TYPES)))
    tags = tagger.targets(EXAMPLES[:1], {"text": text_inputs(PIECES[:1], limit=5)})["tags"]
    assert [TAGS[i] for i in tags[0]] == ["[CLS]", "B-PER", "I-PER", "X", "[SEP]"]

    inputs = text_inputs([[1, 2, 1]])  # the last word and [SEP] become a context of two subwords
    inputs["word_index"][0, 4], inputs["first_subword"] = -1, torch.tensor([[1, 2]])
    tags = tagger.targets([sentence("d", 2)], {"text": inputs})["tags"]
    assert [TAGS[i] for i in tags[0]] == ["[CLS]", "O", "O", "X", "X", "[SEP]"]


def test_the_crf_scores_all_subwords() -> None:
    tagger, inputs = built(SubwordCrfTagger()), text_inputs(PIECES)
    states, targets = text_states(inputs), tagger.targets(EXAMPLES, {"text": inputs})
    emissions, expected = tagger.linear(states["tokens"]), []
    for b in range(3):
        n = int(inputs["attention_mask"][b].sum())
        tags, mask = targets["tags"][b : b + 1, :n], torch.ones(1, n, dtype=torch.bool)
        expected.append(-tagger.crf.log_likelihood(emissions[b : b + 1, :n], tags, mask))
    torch.testing.assert_close(tagger.loss(states, targets)["nll"], torch.cat(expected).mean())


@pytest.mark.parametrize("tagger_class", TAGGERS)
def test_taggers_learn_and_predict_their_training_data(tagger_class: Any) -> None:
    tagger, inputs = built(tagger_class()).train(), text_inputs(PIECES)
    states, targets = text_states(inputs), tagger.targets(EXAMPLES, {"text": inputs})
    optimizer = torch.optim.Adam(tagger.parameters(), lr=0.3)
    for _ in range(60):
        optimizer.zero_grad()
        sum(tagger.loss(states, targets).values()).backward()
        optimizer.step()
    predictions = tagger.eval().decode(states, Batch(tuple(EXAMPLES), {"text": inputs}))
    assert [p.spans for p in predictions] == [e.spans for e in EXAMPLES]
    assert all(0.5 < score <= 1 for p in predictions for score in p.span_scores)


@pytest.mark.parametrize("tagger_class", TAGGERS)
def test_words_that_were_cut_off_are_outside(tagger_class: Any) -> None:
    tagger = built(tagger_class())
    tagger.linear.weight.data.zero_()
    tagger.linear.bias.data = torch.zeros(len(tagger.tags))
    tagger.linear.bias.data[tagger.tags.ids["B-PER"]] = 50.0  # every word that has a state
    inputs = text_inputs([[1, 3, 1, 2], [1]], limit=4)
    states, examples = text_states(inputs), (EXAMPLES[0], EXAMPLES[2])
    targets = tagger.targets(examples, {"text": inputs})
    assert sum(tagger.loss(states, targets).values()).isfinite()
    first, second = tagger.decode(states, Batch(examples, {"text": inputs}))
    assert first.spans == (Span(0, 1, "PER"), Span(1, 2, "PER"))
    assert second.spans == (Span(0, 1, "PER"),)


@pytest.mark.parametrize("tagger_class", TAGGERS)
@pytest.mark.parametrize("pieces", [[[]], [[], [1, 1]]])
def test_empty_sentences(tagger_class: Any, pieces: list[list[int]]) -> None:
    tagger, inputs = built(tagger_class()), text_inputs(pieces)
    examples = tuple(sentence(str(i), len(row)) for i, row in enumerate(pieces))
    states, targets = text_states(inputs), tagger.targets(examples, {"text": inputs})
    loss = sum(tagger.loss(states, targets).values())
    loss.backward()
    assert loss.isfinite()
    predictions = tagger.decode(states, Batch(examples, {"text": inputs}))
    assert [p.id for p in predictions] == [e.id for e in examples] and predictions[0].spans == ()


@pytest.mark.parametrize("tagger_class", TAGGERS)
def test_special_tags_at_a_words_first_subword_are_outside(tagger_class: Any) -> None:
    examples = [sentence("a", 5, Span(0, 1, "PER"))]
    tagger, inputs = built(tagger_class(), examples), text_inputs([[1] * 5])  # 7 tags
    tags = ["B-PER", "[PAD]", "B-PER", "X", "[CLS]", "[SEP]", "B-PER"]
    states = force(tagger, text_states(inputs), [tags])
    (prediction,) = tagger.decode(states, Batch(tuple(examples), {"text": inputs}))
    assert prediction.spans == (Span(1, 2, "PER"),)


# Recipes and runs of before


def older(folder: Path, name: str, *settings: str) -> Path:
    """A recipe of today's in the form that it had when the core tagged subwords."""
    text = load_recipe(name).to_str()
    mine = '@decoders = "hvpnet.crf_tagger.v1"'
    assert text.count(mine) == 1
    before = ['@decoders = "mmkit.crf_tagger.v1"', *settings]
    (folder / "older.cfg").write_text(text.replace(mine, "\n".join(before)), encoding="utf-8")
    return folder / "older.cfg"


@pytest.mark.parametrize("name", ["hvpnet_twitter15", "text_only_twitter17"])
@pytest.mark.parametrize("filled", [(), ("constraints = false",)])
def test_a_recipe_that_tagged_subwords_in_the_core_is_todays(
    name: str, filled: tuple[str, ...], tmp_path: Path
) -> None:
    assert (
        load_recipe(older(tmp_path, name, 'subwords = "tagged"', *filled)).config == load_recipe(name).config
    )


def test_tagging_words_instead_is_an_override_as_before(tmp_path: Path) -> None:
    words = {"model.decoder.subwords": "first"}
    by_words = load_recipe("hvpnet_twitter15", words).config["model"]["decoder"]
    assert by_words["@decoders"] == "mmkit.crf_tagger.v1" and by_words["subwords"] == "first"
    again = load_recipe(older(tmp_path, "hvpnet_twitter15", 'subwords = "tagged"'), words)
    assert again.config["model"]["decoder"] == by_words
