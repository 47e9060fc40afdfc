"""Linking figures against plain float64 loops, and the protocol's corners."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mmkit.data.types import Example, Prediction
from mmkit.decoders.search import rank_among
from mmkit.errors import DataError, RecipeError
from mmkit.metrics.bootstrap import f1_interval
from mmkit.metrics.linking import NOTE, TOP, Linking

NAMES = [
    f"{prefix}{name}" for prefix in ("", "strict_", "kb_") for name in (*(f"top{k}" for k in TOP), "mrr")
]


def example(id: str, entity: str | None = "gold", candidates: tuple[str, ...] = ()) -> Example:
    return Example.from_tokens(id, ["w"], entity=entity, candidates=candidates)


def noted(id: str, everywhere: int | None, among: int | None = None, found: bool | None = None) -> Prediction:
    note: dict[str, Any] = {"knowledge_base": {"size": 99, "rank": everywhere, "links": [], "scores": []}}
    if found is not None:
        note["candidates"] = {"size": 9, "found": found, "rank": among}
    return Prediction(id, notes={NOTE: note})


def figures(*scored: tuple[Example, Prediction], **settings: Any) -> dict[str, float]:
    metric = Linking(**settings)
    examples, predictions = zip(*scored, strict=True)
    metric.update(examples, predictions)
    return metric.compute()


def test_equals_a_plain_float64_reference_on_random_data():
    """Ranks as the matcher finds them, against loops over float64 cosines that know nothing of blocks or notes."""
    draw = np.random.default_rng(0)
    B, N, C, D = 60, 300, 12, 6
    features, query = draw.normal(size=(N, D)).astype(np.float32), draw.normal(size=(B, D)).astype(np.float32)
    features[50:70] = features[20]
    gold = draw.integers(N, size=B)
    gold[:5] = 55
    query += 1.5 * features[gold]
    lists = np.stack([draw.choice(N, C, replace=False) for _ in range(B)])
    lists[::2, 3] = gold[::2]

    a, b = torch.from_numpy(query), torch.from_numpy(features)
    everything, valid = b.expand(B, -1, -1), torch.ones(B, N, dtype=torch.bool)
    own, rows = torch.from_numpy(gold), torch.from_numpy(lists)
    _, ranks = rank_among(a, everything, valid, b[own], torch.arange(N) == own[:, None])
    _, among = rank_among(a, b[rows], valid[:, :C], b[own], rows == own[:, None])
    found = [g in row for g, row in zip(gold, lists.tolist(), strict=True)]
    cases = zip(ranks.tolist(), among.tolist(), found, strict=True)
    computed = figures(*((example(str(i)), noted(str(i), *case)) for i, case in enumerate(cases)))

    wide = query.astype(np.float64), features.astype(np.float64)
    rates: dict[str, list[float]] = {name: [] for name in [*NAMES, "recall"]}
    for q, g, row in zip(wide[0], gold, lists, strict=True):
        cosine = [float(np.dot(q, e) / np.sqrt(np.dot(q, q) * np.dot(e, e))) for e in wide[1]]
        rank = 1 + sum(cosine[j] >= cosine[g] for j in row if j != g)
        overall = 1 + sum(cosine[j] >= cosine[g] for j in range(N) if j != g)
        listed = g in row
        for prefix, value in (("", rank), ("strict_", rank if listed else None), ("kb_", overall)):
            for k in TOP:
                rates[f"{prefix}top{k}"].append(value is not None and value <= k)
            rates[f"{prefix}mrr"].append(0.0 if value is None else 1 / value)
        rates["recall"].append(listed)
    assert computed == pytest.approx({name: float(np.mean(values)) for name, values in rates.items()})
    assert computed["strict_top1"] < computed["top1"]  # the data tell the figures apart
    assert computed["kb_top1"] < computed["top1"]


def test_a_gold_entity_missing_from_its_candidates():
    found = figures((example("a"), noted("a", 7, 2, False)), (example("b"), noted("b", 1, 1, True)))
    assert (found["top1"], found["top5"], found["mrr"]) == (0.5, 1.0, 0.75)
    assert (found["strict_top1"], found["strict_top20"], found["strict_mrr"]) == (0.5, 0.5, 0.5)
    assert found["recall"] == 0.5
    assert (found["kb_top5"], found["kb_top10"]) == (0.5, 1.0)


def test_an_entity_that_the_knowledge_base_lacks_counts_as_wrong():
    found = figures((example("a"), noted("a", None, None, False)), (example("b"), noted("b", None)))
    assert set(found.values()) == {0.0}


def test_without_candidates_the_whole_knowledge_base_is_ranked():
    found = figures(*((example(str(i)), noted(str(i), rank)) for i, rank in enumerate([1, 4, 30, None])))
    assert found["top1"] == found["strict_top1"] == found["kb_top1"] == 0.25
    assert found["mrr"] == found["kb_mrr"] == pytest.approx((1 + 1 / 4 + 1 / 30) / 4)
    assert found["recall"] == 0.75


def test_examples_without_an_entity_are_not_counted():
    found = figures((example("a", entity=None), Prediction("a")), (example("b"), noted("b", 1)))
    assert found["top1"] == 1.0


def test_all_figures_are_there_before_anything_is_counted():
    nothing = Linking().compute()
    assert nothing.keys() == {*NAMES, "recall"}
    assert set(nothing.values()) == {0.0}
    metric = Linking()
    metric.update([example("a")], [noted("a", 1)])
    metric.reset()
    assert metric.compute() == nothing


# Predictions of another origin


def test_links_are_ranked_by_their_scores_with_ties_against_the_model():
    links = Prediction("a", links=("x", "gold", "y", "z"), link_scores=(0.9, 0.5, 0.5, 0.1))
    found = figures((example("a"), links))
    assert found["mrr"] == found["kb_mrr"] == pytest.approx(1 / 3)
    assert (found["top1"], found["top5"]) == (0.0, 1.0)
    assert found["recall"] == 1.0


def test_links_without_scores_are_ranked_by_their_order():
    assert figures((example("a"), Prediction("a", links=("x", "gold"))))["mrr"] == 0.5


def test_only_links_among_the_candidates_compete_there():
    links = Prediction("a", links=("x", "y", "gold"), link_scores=(0.9, 0.8, 0.7))
    found = figures((example("a", candidates=("y", "z", "gold")), links))
    assert (found["mrr"], found["strict_mrr"], found["kb_mrr"]) == pytest.approx((1 / 2, 1 / 2, 1 / 3))
    found = figures((example("a", candidates=("y", "z")), links))
    assert (found["mrr"], found["strict_mrr"], found["recall"]) == (0.5, 0.0, 0.0)


def test_what_is_not_listed_is_not_found():
    found = figures((example("a", candidates=("x", "gold")), Prediction("a", links=("x",))))
    assert found.pop("recall") == 1.0  # which is about the candidates, not about the prediction
    assert set(found.values()) == {0.0}


def test_an_entity_listed_twice_does_not_compete_with_itself():
    links = Prediction("a", links=("gold", "gold", "x"), link_scores=(0.5, 0.9, 0.7))
    assert figures((example("a"), links))["top1"] == 1.0


def test_the_right_answer_is_right():
    gold = example("a", candidates=("x", "gold"))
    assert set(figures((gold, Prediction.of(gold))).values()) == {1.0}


# Intervals and refusals


def test_the_interval_is_that_of_the_accuracy():
    ranks = [1, 1, 2, 1, 9, 1, 1, 3] * 5
    found = figures(*((example(str(i)), noted(str(i), r)) for i, r in enumerate(ranks)), bootstrap=200)
    hits = np.array([[r == 1, 1, 1] for r in ranks], dtype=np.int64)
    assert (found["top1.low"], found["top1.high"]) == f1_interval(hits, 200)
    assert found["top1.low"] < found["top1"] == 0.625 < found["top1.high"]
    assert {"top1.low", "top1.high"} < Linking(bootstrap=10).compute().keys()


def test_refusals():
    with pytest.raises(RecipeError, match="not -1"):
        Linking(bootstrap=-1)
    with pytest.raises(DataError, match="a: 2 links but 1 scores"):
        figures((example("a"), Prediction("a", links=("x", "y"), link_scores=(0.5,))))
    for note in ({}, {"knowledge_base": {"rank": "first"}}, {"knowledge_base": {"rank": 0}}, []):
        with pytest.raises(DataError, match="lacks ranks"):
            figures((example("a"), Prediction("a", notes={NOTE: note})))
