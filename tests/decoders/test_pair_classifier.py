"""The pair classifier: markers in every constellation of spans, units, targets and predictions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mmkit.batch import Batch, States
from mmkit.data.types import Example, Relation, Span, TextView
from mmkit.decoders.pair_classifier import PairClassifier
from raising import raises

WIDTH = 6


def pair(head: tuple[int, int], tail: tuple[int, int], label: str | None = "r") -> Relation:
    return Relation(Span(*head, "PER"), Span(*tail, "LOC"), label)


def sentence(tokens: str, *relations: Relation, id: str = "m-1") -> Example:
    return Example.from_tokens(id, tokens.split(), relations=relations)


def marked(tokens: str, head: tuple[int, int], tail: tuple[int, int]) -> TextView:
    return PairClassifier().views(sentence(tokens, pair(head, tail)))["text"]


# Views


@pytest.mark.parametrize(
    ("head", "tail", "text"),
    [
        ((0, 1), (2, 4), "<s> a </s> b <o> c d </o>"),
        ((3, 4), (0, 2), "<o> a b </o> c <s> d </s>"),
        ((0, 2), (2, 4), "<s> a b </s> <o> c d </o>"),  # one ends where the other begins
        ((2, 4), (0, 2), "<o> a b </o> <s> c d </s>"),
        ((0, 4), (1, 2), "<s> a <o> b </o> c d </s>"),
        ((1, 2), (0, 4), "<o> a <s> b </s> c d </o>"),
        ((0, 3), (0, 1), "<s> <o> a </o> b c </s> d"),
        ((0, 1), (0, 3), "<o> <s> a </s> b c </o> d"),
        ((1, 4), (3, 4), "a <s> b c <o> d </o> </s>"),
        ((3, 4), (1, 4), "a <o> b c <s> d </s> </o>"),
        ((1, 2), (1, 2), "a <s> <o> b </o> </s> c d"),
        ((0, 3), (1, 4), "<s> a <o> b c </s> d </o>"),  # crossing spans have crossing markers
    ],
)
def test_markers(head, tail, text):
    assert " ".join(marked("a b c d", head, tail).words) == text


spans = st.integers(1, 8).flatmap(
    lambda n: st.tuples(
        st.just(n),
        st.tuples(st.integers(0, n - 1), st.integers(1, n)).map(lambda s: (s[0], max(s[0] + 1, s[1]))),
        st.tuples(st.integers(0, n - 1), st.integers(1, n)).map(lambda s: (s[0], max(s[0] + 1, s[1]))),
    )
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(spans)
def test_markers_enclose_their_spans_and_leave_the_tokens_alone(case):
    n, head, tail = case
    tokens = tuple(f"w{i}" for i in range(n))
    view = marked(" ".join(tokens), head, tail)

    assert tuple(w for w, i in zip(view.words, view.index, strict=True) if i >= 0) == tokens
    assert [i for i in view.index if i >= 0] == list(range(n))
    assert [view.words[i] for i in view.markers] == ["<s>", "<o>"]
    bounds = {name: view.words.index(name) for name in ("<s>", "</s>", "<o>", "</o>")}
    assert len(view.words) == n + 4
    for opening, closing, (start, end) in (("<s>", "</s>", head), ("<o>", "</o>", tail)):
        inside = view.index[bounds[opening] + 1 : bounds[closing]]
        assert [i for i in inside if i >= 0] == list(range(start, end))
    crossing = head[0] < tail[0] < head[1] < tail[1] or tail[0] < head[0] < tail[1] < head[1]
    a, b, c, d = (bounds[name] for name in ("<s>", "</s>", "<o>", "</o>"))
    nested_or_apart = b < c or d < a or (a < c and d < b) or (c < a and b < d)
    assert nested_or_apart is not crossing


def test_text_order_puts_the_earlier_marker_first():
    example = sentence("a b c", pair((2, 3), (0, 1)))
    view = PairClassifier(order="text").views(example)["text"]
    assert [view.words[i] for i in view.markers] == ["<o>", "<s>"]


def test_markers_can_be_chosen():
    classifier = PairClassifier(head_markers=("[H]", "[/H]"), tail_markers=("[T]", "[/T]"))
    assert classifier.special_tokens == ("[H]", "[/H]", "[T]", "[/T]")
    view = classifier.views(sentence("a b", pair((0, 1), (1, 2))))["text"]
    assert view.words == ("[H]", "a", "[/H]", "[T]", "b", "[/T]")


@pytest.mark.parametrize(
    "options",
    [
        {"head_markers": ("<s>", "<s>")},
        {"tail_markers": ("<s>", "</s>")},
        {"head_markers": ("", "</s>")},
    ],
)
def test_markers_that_cannot_be_told_apart_are_refused(options):
    with raises("part.markers"):
        PairClassifier(**options)


@pytest.mark.parametrize("relations", [[], ["r", "r"]])
def test_relations_must_be_names_that_differ(relations):
    with raises("part.label-names"):
        PairClassifier(relations=relations)


# Units and labels


def test_an_example_with_several_pairs_becomes_as_many():
    first, second = pair((0, 1), (1, 2)), pair((1, 2), (2, 3), None)
    classifier = PairClassifier()
    single = sentence("a b c", first)
    assert classifier.units(single) == [single]
    units = classifier.units(sentence("a b c", first, second))
    assert [(unit.id, unit.relations) for unit in units] == [("m-1#0", (first,)), ("m-1#1", (second,))]


def test_an_example_without_a_pair_is_an_error():
    with raises(
        "task.no-pair", match=r"m-1: there is no pair of spans to classify\n.*a head and a tail span"
    ):
        PairClassifier().units(sentence("a b"))


def test_relations_are_learnt_with_none_first_or_as_given():
    data = [
        sentence("a b c", *(pair((0, 1), (1, 2), label) for label in ("/per/loc", "None", "/loc/loc"))),
        sentence("a b"),
    ]
    assert PairClassifier().fit(data) == {"relations": ["None", "/loc/loc", "/per/loc"]}
    given = ["/per/loc", "/loc/loc", "None", "never seen"]
    assert PairClassifier(relations=given).fit(data) == {"relations": given}
    with raises(
        "task.unknown-relation", match=r"m-1: the relation '/per/loc' is unknown\n.*did you mean '/per/locs'"
    ):
        PairClassifier(relations=["/per/locs", "None"]).fit(data)
    with raises("task.no-relations"):
        PairClassifier().fit([sentence("a b")])
    with raises("task.no-label", match="m-1: a relation without a label"):
        PairClassifier().fit([sentence("a b", pair((0, 1), (1, 2), None))])


# Training and prediction

EXAMPLES = (
    sentence("a b c", pair((0, 1), (1, 2), "None"), id="x"),
    sentence("a b c", pair((0, 1), (2, 3), "r"), id="y"),
)


def built(classifier: PairClassifier) -> PairClassifier:
    torch.manual_seed(0)
    classifier.build({"tokens": WIDTH}, classifier.fit(EXAMPLES))
    return classifier.eval()


def states(markers: list[list[int]]) -> States:
    tokens = torch.randn(len(markers), 9, WIDTH, generator=torch.Generator().manual_seed(1))
    return States({"tokens": tokens, "marker_index": torch.tensor(markers)})


@pytest.mark.parametrize("layer_norm", [False, True])
def test_scores_come_from_the_two_opening_markers(layer_norm):
    classifier, given = built(PairClassifier(layer_norm=layer_norm)), states([[1, 4], [6, 2]])
    both = torch.stack(
        [torch.cat([t[h], t[o]]) for t, h, o in zip(given["tokens"], (1, 6), (4, 2), strict=True)]
    )
    expected = classifier.linear(F.layer_norm(both, [2 * WIDTH]) if layer_norm else both)
    torch.testing.assert_close(classifier.logits(given), expected)
    targets = classifier.targets(EXAMPLES, {})
    assert targets["relation"].tolist() == [0, 1]
    loss = classifier.loss(given, targets)["cross_entropy"]
    torch.testing.assert_close(loss, F.cross_entropy(expected, targets["relation"]))


def test_dropout_is_of_the_states_and_in_training_alone():
    classifier, given = built(PairClassifier(dropout=1.0)), states([[1, 4], [6, 2]])
    dropped = classifier.train().logits(given)
    assert torch.equal(dropped, classifier.linear.bias.expand(2, -1))
    assert not torch.equal(classifier.eval().logits(given), dropped)


def test_a_marker_that_was_cut_off_takes_the_first_position():
    classifier = built(PairClassifier())
    cut, first = states([[3, -1], [-1, -1]]), states([[3, 0], [0, 0]])
    assert torch.equal(classifier.logits(cut), classifier.logits(first))


def test_predictions_are_the_pairs_with_label_and_probability():
    classifier, given = built(PairClassifier()), states([[1, 4], [1, 5]])
    classifier.linear.weight.data.zero_()
    for best, label in enumerate(["None", "r"]):
        classifier.linear.bias.data = torch.tensor([0.0, 0.0])
        classifier.linear.bias.data[best] = 1.0
        unlabelled = tuple(replace(e, relations=(replace(e.relations[0], label=None),)) for e in EXAMPLES)
        predictions = classifier.decode(given, Batch(unlabelled, {}))
        assert [p.id for p in predictions] == ["x", "y"]
        for prediction, example in zip(predictions, EXAMPLES, strict=True):
            assert prediction.relations == (replace(example.relations[0], label=label),)
            assert prediction.relation_scores == pytest.approx([torch.sigmoid(torch.tensor(1.0)).item()])


def test_targets_of_an_unknown_relation_name_the_example():
    classifier = built(PairClassifier())
    unknown = sentence("a b", pair((0, 1), (1, 2), "None?"), id="z")
    with raises("task.unknown-relation", match=r"z: the relation 'None\?'"):
        classifier.targets([unknown], {})


def test_parameter_names():
    assert set(built(PairClassifier()).state_dict()) == {"linear.weight", "linear.bias"}
    names = set(built(PairClassifier(layer_norm=True)).state_dict())
    assert names == {"linear.weight", "linear.bias", "norm.weight", "norm.bias"}
