"""Long texts in windows: where they begin and end, whose state a word gets, and what becomes of spans."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mmkit.batch import Batch, Features, States
from mmkit.data.conll import ConllImagesReader
from mmkit.data.types import Example, Span, TextView
from mmkit.decoders.crf_tagger import CrfTagger
from mmkit.decoders.pair_classifier import PairClassifier
from mmkit.decoders.softmax_tagger import SoftmaxTagger
from mmkit.decoders.tagger import Tagger
from mmkit.encoders.transformer import TransformerEncoder
from mmkit.encoders.windows import best_window, cut_windows
from mmkit.fit import Parts, check_fit
from mmkit.fusers.text_only import TextOnly
from raising import raises

TOKENS = ["unbelievably", "long", "words", "get", "cut", "Jordan", "scored", "in", "Chicago"]
LONG = Example.from_tokens("long", TOKENS * 5)


def built(folder: Path, **options: object) -> TransformerEncoder:
    torch.manual_seed(0)
    encoder = TransformerEncoder(str(folder), **options)  # type: ignore[arg-type]
    encoder.build()
    return encoder.eval()


def collate(encoder: TransformerEncoder, *examples: Example, second: tuple[str, ...] = ()) -> Features:
    views = [TextView(x.tokens, tuple(range(len(x.tokens))), second=second) for x in examples]
    return encoder.collate(examples, [{"text": view} for view in views])


# Where windows are


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=40),
    room=st.integers(2, 20),
    share=st.integers(0, 100),
)
def test_windows_cover_a_text_and_overlap(sizes: list[int], room: int, share: int) -> None:
    words, overlap = np.repeat(np.arange(len(sizes)), sizes), share * (room - 1) // 100
    windows = cut_windows(words, room, overlap)
    begin, end = windows.T
    assert begin[0] == 0 and end[-1] == len(words)
    assert (end - begin > 0).all() and (end - begin <= room).all()
    assert (np.diff(begin) > 0).all()
    assert (end[:-1] - begin[1:] >= overlap).all()
    if len(words) <= room:
        assert len(windows) == 1
    if 2 * max(sizes) + overlap <= room:  # no word is so long that it has to be taken apart
        edges = {0, *np.cumsum(sizes).tolist()}
        assert edges.issuperset(windows.flatten().tolist())
        longest = np.diff([0, *np.cumsum(sizes)]).max()
        assert len(windows) == 1 or end[-1] - begin[-1] > room - longest  # the last one is as long as may be


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=40),
    room=st.integers(8, 20),
    overlap=st.integers(0, 7),
)
def test_a_word_belongs_to_the_window_where_it_has_most_context(
    sizes: list[int], room: int, overlap: int
) -> None:
    words = np.repeat(np.arange(len(sizes)), sizes)
    windows = cut_windows(words, room, overlap)
    chosen = best_window(words, windows)
    for word in range(len(sizes)):
        at = np.flatnonzero(words == word)
        contexts = [
            min(at[0] - s, e - at[-1] - 1) if s <= at[0] and at[-1] < e else -1 for s, e in windows.tolist()
        ]
        if max(contexts) >= 0:
            assert {contexts[k] for k in chosen[at]} == {max(contexts)}
        else:
            assert all(windows[k, 0] <= i < windows[k, 1] for i, k in zip(at, chosen[at], strict=True))


# What the encoder makes of them


def test_a_text_that_fits_is_read_as_ever(tiny_bert: Path, examples: list[Example]) -> None:
    plain, windowed = built(tiny_bert), built(tiny_bert, window_overlap=100)
    one, other = collate(plain, *examples), collate(windowed, *examples)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert all(torch.equal(t, windowed(other)[name]) for name, t in plain(one).items())


@pytest.mark.parametrize("model", ["bert", "roberta"])
def test_each_word_has_the_state_of_its_window(model: str, tiny_bert: Path, tiny_roberta: Path) -> None:
    folder = tiny_bert if model == "bert" else tiny_roberta
    limit, overlap = 24, 8
    encoder = built(folder, max_length=limit, window_overlap=overlap)
    whole = collate(built(folder, max_length=None if model == "bert" else 62), LONG)
    short = Example.from_tokens("short", LONG.tokens[:3])
    inputs = collate(encoder, short, LONG)
    tokens = encoder(inputs)["tokens"]
    first = inputs["first_subword"]
    assert (first[1] >= 0).all(), "no word is cut off"
    if model == "bert":
        T = whole["input_ids"].shape[1]
        assert torch.equal(whole["input_ids"][0], inputs["input_ids"][1][:T])
    torch.testing.assert_close(tokens[0, :5], encoder(collate(encoder, short))["tokens"][0, :5])
    word_of, ids = inputs["word_index"][1].numpy(), inputs["input_ids"][1]
    real = np.flatnonzero(word_of >= 0)
    assert real[0] == 1
    windows = cut_windows(word_of[real], limit - 2, overlap)
    chosen = best_window(word_of[real], windows)
    for k, (begin, end) in enumerate(windows.tolist()):
        row = torch.cat([ids[:1], ids[1 + begin : 1 + end], ids[[real[-1] + 1]]])
        alone = encoder.backbone(input_ids=row[None], attention_mask=torch.ones(1, len(row)).long())
        at = np.flatnonzero(chosen == k)
        torch.testing.assert_close(tokens[1, 1 + at], alone.last_hidden_state[0, 1 + at - begin])


def test_windows_see_the_prefix_of_their_example(tiny_bert: Path) -> None:
    encoder = built(tiny_bert, max_length=24, window_overlap=4)
    heads, width = encoder.prefix_shape()[0]
    prefix = [
        (torch.randn(2, heads, 3, width), torch.randn(2, heads, 3, width)) for _ in encoder.prefix_shape()
    ]
    other = Example.from_tokens("other", LONG.tokens[::-1])
    both = encoder(collate(encoder, LONG, other), prefix=prefix)["tokens"]
    for i, example in enumerate([LONG, other]):
        own = [(key[i : i + 1], value[i : i + 1]) for key, value in prefix]
        alone = encoder(collate(encoder, example), prefix=own)["tokens"]
        torch.testing.assert_close(both[i, : alone.shape[1]], alone[0])


def test_a_context_is_left_out_before_a_sentence_is_cut(tiny_bert: Path) -> None:
    encoder = built(tiny_bert, max_length=24, window_overlap=4)
    behind = TextView((*LONG.tokens, "Paris"), (*range(len(LONG.tokens)), -1))
    plain = TextView.of(LONG)
    one, other = encoder.subwords.encode([behind, plain])
    assert one.cut == 1 and other.cut == 0
    assert np.array_equal(one.ids, other.ids)
    assert torch.equal(
        collate(encoder, LONG, second=("Paris", "loves"))["input_ids"], collate(encoder, LONG)["input_ids"]
    )
    fits = Example.from_tokens("fits", ["Paris", "loves", "Amazon"])
    sentence = TextView((*fits.tokens, *LONG.tokens), (0, 1, 2, *[-1] * len(LONG.tokens)))
    inputs = encoder.collate([fits], [{"text": sentence}])
    assert inputs["input_ids"].shape[1] == 24 and not any("window" in name for name in inputs)


# Whole models


class SeesNothingAround(nn.Module):
    """A network whose states are of each subword alone, so that windows can change nothing."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, width)

    def forward(self, input_ids: Tensor, **more: Tensor) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=self.table(input_ids))


def alone(folder: Path, **options: object) -> TransformerEncoder:
    """An encoder of such a network, the same whatever the options."""
    encoder = built(folder, **options)
    torch.manual_seed(3)
    encoder.backbone = SeesNothingAround(len(encoder.tokenizer), encoder.dim)  # type: ignore[assignment]
    return encoder


def stated(encoder: TransformerEncoder, tagger: Tagger, examples: list[Example]) -> tuple[States, Batch]:
    views = [tagger.views(x) for x in examples]
    inputs = {"text": encoder.collate(examples, views)}
    batch = Batch(tuple(examples), inputs, tagger.targets(examples, inputs))
    return TextOnly()({"text": encoder}, batch), batch


WORDS = ("Jordan", "Chicago", "Paris", "unbelievably", "the", ",", "x")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(
    texts=st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=70), min_size=1, max_size=3),
    limit=st.integers(12, 30),
    overlap=st.integers(0, 9),
    crf=st.booleans(),
)
def test_spans_and_losses_are_those_of_the_whole_text(
    tiny_bert: Path, texts: list[list[str]], limit: int, overlap: int, crf: bool
) -> None:
    """Where states depend on the word alone, a text in windows is tagged as one that is read at once: spans go over
    borders, none comes twice, and each word counts once in the loss."""
    examples = [
        Example.from_tokens(str(i), text, spans=(Span(0, 1, "PER"), Span(len(text) - 1, len(text), "LOC")))
        for i, text in enumerate([*text, "x"] for text in texts)
    ]
    tagger: Tagger = CrfTagger(dropout=0.0) if crf else SoftmaxTagger(dropout=0.0)
    torch.manual_seed(5)
    tagger.build({"tokens": 64}, tagger.fit(examples))
    tagger.linear.weight.data *= 20
    tagger.eval()
    found = []
    for encoder in (alone(tiny_bert), alone(tiny_bert, max_length=limit, window_overlap=overlap)):
        states, batch = stated(encoder, tagger, examples)
        found.append((tagger.decode(states, batch), tagger.loss(states, batch.targets)))
    (spans, losses), (windowed, windowed_losses) = found
    assert [p.spans for p in spans] == [p.spans for p in windowed]
    for name, loss in losses.items():
        torch.testing.assert_close(windowed_losses[name], loss)
    for prediction in windowed:
        bounds = [(s.start, s.end) for s in prediction.spans]
        assert bounds == sorted(set(bounds)) and all(a[1] <= b[0] for a, b in itertools.pairwise(bounds))


def test_every_word_is_learned_from(tiny_bert: Path) -> None:
    encoder = built(tiny_bert, max_length=24, window_overlap=4)
    example = Example.from_tokens("x", LONG.tokens, spans=(Span(44, 45, "LOC"),))  # the last word
    tagger = SoftmaxTagger(dropout=0.0)
    tagger.build({"tokens": encoder.dim}, tagger.fit([example]))
    states, batch = stated(encoder, tagger, [example])
    states["tokens"].retain_grad()
    tagger.loss(states, batch.targets)["cross_entropy"].backward()
    gradient = states["tokens"].grad
    assert gradient is not None
    learned = gradient[0].abs().sum(1) > 0
    assert learned[batch.inputs["text"]["first_subword"][0]].all() and int(learned.sum()) == 45
    assert all(p.grad is not None for p in encoder.backbone.parameters())


@pytest.mark.real_data
def test_the_long_texts_of_cp_mner_are_read_whole(tiny_bert: Path, shared: Path) -> None:
    root = shared / "data" / "cp_mner"
    if not root.is_dir():
        pytest.skip("CP-MNER is not beside the project")
    examples = ConllImagesReader(str(root), "train.txt", images="images")
    longest = max(examples, key=lambda x: len(x.tokens))
    assert len(longest.tokens) == 555
    cut, windowed = built(tiny_bert), built(tiny_bert, window_overlap=128)
    assert (collate(cut, longest)["first_subword"] < 0).any()
    inputs = collate(windowed, longest)
    assert (inputs["first_subword"] >= 0).all()
    states = windowed(inputs)["tokens"]
    assert states.shape[1] == inputs["input_ids"].shape[1] > 555 and torch.isfinite(states).all()


# Assembly


def test_what_cannot_read_windows_says_so(tiny_bert: Path, recipe_of) -> None:
    windowed = {"model.encoders.text.window_overlap": 8}
    recipe = recipe_of("text_only_mnre", windowed)
    parts = Parts({"text": recipe.build("model.encoders.text")}, TextOnly(), PairClassifier())
    with raises("recipe.parts-do-not-fit", match="window_overlap"):
        check_fit(recipe, parts)
    tagging = recipe_of("text_only_twitter15", windowed)
    check_fit(tagging, Parts({"text": tagging.build("model.encoders.text")}, TextOnly(), CrfTagger()))


@pytest.fixture
def recipe_of():
    from mmkit.recipe import load_recipe

    return load_recipe


@pytest.mark.parametrize("overlap", [-1, 22, 30])
def test_an_overlap_that_leaves_no_room_is_refused(tiny_bert: Path, overlap: int) -> None:
    with raises("encoder.windows"):
        built(tiny_bert, max_length=24, window_overlap=overlap)


def test_plain_texts_have_no_windows(tiny_bert: Path) -> None:
    with raises("encoder.windows"):
        TransformerEncoder(str(tiny_bert), source="sentence", window_overlap=8)
