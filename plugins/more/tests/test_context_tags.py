"""`context_tags = "outside"`: the CRF reads a context as a part of the sentence in which there are no names."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkit.data.types import ORPHANS, Example, Span
from mmkit.decoders.crf_tagger import CrfTagger
from mmkit.encoders.transformer import TransformerEncoder
from mmkit.fusers.text_only import TextOnly
from mmkit.model import Model
from mmkit.testing import check_decoder, stand_in_examples
from mmkit_more.outside import CONTEXT_SPANS, in_one_row
from mmkit_more.tagger import ContextTagger
from raising import raises

NOTE = "more.text_context"
LIMIT = 24
TEXTS = {
    "Jordan scores in Paris": "Named entities: Jordan is a player, and Paris is a city",
    "Kovelo": "a river of the north",
    "with Amazon and Kovelo": "",
    "at home": "home " * 40,
    "too long a text for this encoder " * 4: "and nothing of this is read",
}
POSTS = [
    Example.from_tokens(text, text.split(), spans=(Span(0, 1, "PER"),), notes={NOTE: context})
    for text, context in TEXTS.items()
]


def whole(x: Example) -> Example:
    """The example with its context as words of the sentence, which are in no span."""
    words = x.notes[NOTE].split()
    return Example.from_tokens(x.id, [*x.tokens, *(["<EOS>"] if words else []), *words], spans=x.spans)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Model]:
    """The tagger of both, and the core's tagger for the whole texts, with the same weights."""
    folder = tmp_path_factory.mktemp("outside")
    TransformerEncoder.sample(folder, seed=1, examples=[whole(x) for x in POSTS])
    made = []
    for decoder in (
        ContextTagger(context_tags="outside", word_dropout=0.0),
        CrfTagger(scheme="bioes", dropout=0),
    ):
        torch.manual_seed(3)
        text = TransformerEncoder(name=str(folder), dropout=0.0, max_length=LIMIT)
        text.build()
        fuser = TextOnly()
        fuser.build({"text": text})
        labels = decoder.fit([replace(x, spans=(Span(0, 1, "LOC"),)) for x in POSTS] + POSTS)
        decoder.build(fuser.dims, labels)
        for parameter in (*decoder.crf.parameters(), *decoder.linear.parameters()):
            torch.nn.init.normal_(parameter)
        made.append(Model({"text": text}, fuser, decoder, labels).eval())
    made[1].load_state_dict(made[0].state_dict())
    return made[0], made[1]


def test_the_likelihood_is_that_of_the_whole_text_tagged_outside(models: tuple[Model, Model]) -> None:
    ours, cores = models
    alone = [posts for x in POSTS if (posts := [x])]
    for posts in (POSTS, *alone):
        loss = ours.train()(ours.collate(ours.items(posts)))["nll"]
        expected = cores.train()(cores.collate(cores.items([whole(x) for x in posts])))["nll"]
        torch.testing.assert_close(loss, expected)
        grads = [
            torch.autograd.grad(value, model.decoder.crf.transitions)[0]
            for value, model in ((loss, ours), (expected, cores))
        ]
        torch.testing.assert_close(*grads)


def test_spans_that_reach_into_the_context_are_counted_and_not_predicted(models: tuple[Model, Model]) -> None:
    ours, cores = models
    predictions = ours.eval().predict(ours.collate(ours.items(POSTS), targets=False))
    expected = cores.eval().predict(cores.collate(cores.items([whole(x) for x in POSTS]), targets=False))
    dropped = 0
    for x, found, all_ in zip(POSTS, predictions, expected, strict=True):
        inside = [
            (s, score)
            for s, score in zip(all_.spans, all_.span_scores, strict=True)
            if s.end <= len(x.tokens)
        ]
        assert list(found.spans) == [s for s, _ in inside]
        assert found.span_scores == pytest.approx([score for _, score in inside], abs=1e-5)
        assert found.notes.get(CONTEXT_SPANS, 0) == len(all_.spans) - len(inside)
        assert found.notes.get(ORPHANS, []) == [
            b for b in all_.notes.get(ORPHANS, []) if b[1] <= len(x.tokens)
        ]
        dropped += found.notes.get(CONTEXT_SPANS, 0)
    assert dropped  # random weights find names in some context
    assert predictions[0].spans


def test_a_context_that_is_cut_is_said_to_be_cut(models: tuple[Model, Model]) -> None:
    cut = [item.cut.get("text") for item in models[0].items(POSTS)]
    assert [c and (c.token is None, c.context) for c in cut[1:4]] == [None, None, (True, True)]
    assert cut[4] is not None and cut[4].token is not None


def test_by_default_a_context_has_no_tags() -> None:
    plain, outside = ContextTagger(), ContextTagger(context_tags="outside")
    views = plain.views(POSTS[0])
    assert views["text"].markers == ()
    assert outside.views(POSTS[0])["text"] == replace(views["text"], markers=tuple(range(4, 16)))
    assert outside.views(POSTS[0])["plain"] == views["plain"]
    assert plain.score_names and not outside.score_names  # a mixture would compare different words


def test_what_does_not_go_together_is_refused() -> None:
    with raises("more.context-tags", match=r"there is no context"):
        ContextTagger(context=None, context_tags="outside")
    with raises("more.context-tags", match=r"two_views"):
        ContextTagger(two_views=True, context_tags="outside")


def test_the_contract() -> None:
    posts = [replace(x, notes={NOTE: f"{x.tokens[0]} is known"}) for x in stand_in_examples()]
    check_decoder("more.crf_tagger.v1", {"context_tags": "outside"}, examples=posts)


@given(
    first=st.lists(st.integers(-1, 9), max_size=5),
    context=st.lists(st.integers(-1, 9), max_size=5),
)
@settings(deadline=None, max_examples=60, derandomize=True)
def test_words_stand_in_one_row_without_gaps(first: list[int], context: list[int]) -> None:
    row = in_one_row(
        torch.tensor([first], dtype=torch.int64), torch.tensor([context], dtype=torch.int64)
    ).tolist()
    real = [p for p in (*first, *context) if p >= 0]
    assert row == [real + [-1] * (len(first) + len(context) - len(real))]
