"""Linking figures against plain float64 loops, and the protocol's corners."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from mmkit.data.types import Example, GoldRank, Prediction
from mmkit.decoders.search import rank_among
from mmkit.metrics.base import ReadsRanks, is_share, shown
from mmkit.metrics.bootstrap import f1_interval
from mmkit.metrics.linking import OLD_NOTE, TOP, Linking
from mmkit.metrics.scoring import check_score
from raising import raises

NAMES = [
    f"{prefix}{name}" for prefix in ("", "strict_", "kb_") for name in (*(f"top{k}" for k in TOP), "mrr")
]


def example(id: str, entity: str | None = "gold", candidates: tuple[str, ...] = ()) -> Example:
    return Example.from_tokens(id, ["w"], entity=entity, candidates=candidates)


def ranked(overall: int | None, among: int | None = None, listed: bool | None = None) -> GoldRank:
    """Ranks as a decoder gives them; `listed` is None where the example lists no candidates."""
    return (
        GoldRank(overall, overall is not None, overall)
        if listed is None
        else GoldRank(among, listed, overall)
    )


def noted(id: str, rank: GoldRank, lists: bool) -> Prediction:
    """A prediction as old files have them."""
    note: dict[str, Any] = {"knowledge_base": {"size": 99, "rank": rank.overall, "links": [], "scores": []}}
    if lists:
        note["candidates"] = {"size": 9, "found": rank.listed, "rank": rank.among}
    return Prediction(id, notes={OLD_NOTE: note})


def figures(*scored: tuple[Example, Prediction | GoldRank], **settings: Any) -> dict[str, float]:
    metric = Linking(**settings)
    for example, found in scored:
        if isinstance(found, GoldRank):
            metric.update_ranks([example], [found])
        else:
            metric.update([example], [found])
    return metric.compute()


def test_equals_a_plain_float64_reference_on_random_data():
    """Ranks as the matcher finds them, against loops over float64 cosines that know nothing of blocks."""
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
    computed = figures(*((example(str(i)), ranked(*case)) for i, case in enumerate(cases)))

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
    rates |= {"mean_rank": among.tolist(), "kb_mean_rank": ranks.tolist()}
    assert computed == pytest.approx({name: float(np.mean(values)) for name, values in rates.items()})
    assert computed["strict_top1"] < computed["top1"]  # the data tell the figures apart
    assert computed["kb_top1"] < computed["top1"]


def test_a_mean_rank_is_there_only_if_every_entity_has_a_rank():
    known = [(example("a"), ranked(7, 2, True)), (example("b"), ranked(3, 1, True))]
    found = figures(*known)
    assert (found["mean_rank"], found["kb_mean_rank"]) == (1.5, 5.0)
    assert (found["top1"], found["top3"]) == (0.5, 1.0)
    assert not any(name.endswith("mean_rank") for name in figures(*known, (example("c"), ranked(None))))
    missing = figures(*known, (example("c"), ranked(None, 2, False)))
    assert "kb_mean_rank" not in missing and missing["mean_rank"] == pytest.approx(5 / 3)
    unsure = figures((example("a"), Prediction("a", links=("x", "y"))))
    assert not any(name.endswith("mean_rank") for name in unsure)


def test_a_mean_rank_is_shown_as_it_is_and_others_in_percent():
    names = ("linking.kb_mean_rank", "mean_rank", "linking.mean_rank.low", "spans.f1", "linking.mrr")
    assert [shown(name, 0.5) for name in names] == ["0.50"] * 3 + ["50.00"] * 2
    assert [is_share(name) for name in names] == [False] * 3 + [True] * 2


def test_no_training_chooses_its_best_epoch_by_a_mean_rank():
    check_score({"linking": Linking()}, "linking.kb_mrr")
    with raises("recipe.unknown-score", match="kb_mean_rank"):
        check_score({"linking": Linking()}, "linking.kb_mean_rank")


def test_a_gold_entity_missing_from_its_candidates():
    found = figures((example("a"), ranked(7, 2, False)), (example("b"), ranked(1, 1, True)))
    assert (found["top1"], found["top5"], found["mrr"]) == (0.5, 1.0, 0.75)
    assert (found["strict_top1"], found["strict_top20"], found["strict_mrr"]) == (0.5, 0.5, 0.5)
    assert found["recall"] == 0.5
    assert (found["kb_top5"], found["kb_top10"]) == (0.5, 1.0)


def test_old_predictions_bring_their_ranks_in_a_note():
    draw = np.random.default_rng(1)
    ranks = [
        ranked(int(draw.integers(1, 40)), int(draw.integers(1, 20)), bool(draw.integers(2)))
        for _ in range(30)
    ]
    ranks += [ranked(None, None, False), ranked(None), ranked(3), ranked(50)]
    lists = [True] * 31 + [False] * 3
    examples = [example(str(i), candidates=("x",) if lists[i] else ()) for i in range(34)]
    old = [noted(x.id, rank, some) for x, rank, some in zip(examples, ranks, lists, strict=True)]
    assert figures(*zip(examples, old, strict=True)) == figures(*zip(examples, ranks, strict=True))
    assert isinstance(Linking(), ReadsRanks)


def test_an_entity_that_the_knowledge_base_lacks_counts_as_wrong():
    found = figures((example("a"), ranked(None, None, False)), (example("b"), ranked(None)))
    assert set(found.values()) == {0.0}


def test_without_candidates_the_whole_knowledge_base_is_ranked():
    found = figures(*((example(str(i)), ranked(rank)) for i, rank in enumerate([1, 4, 30, None])))
    assert found["top1"] == found["strict_top1"] == found["kb_top1"] == 0.25
    assert found["mrr"] == found["kb_mrr"] == pytest.approx((1 + 1 / 4 + 1 / 30) / 4)
    assert found["recall"] == 0.75


def test_examples_without_an_entity_are_not_counted():
    found = figures((example("a", entity=None), Prediction("a")), (example("b"), ranked(1)))
    assert found["top1"] == 1.0


def test_all_figures_are_there_before_anything_is_counted():
    nothing = Linking().compute()
    assert nothing.keys() == {*NAMES, "recall"}
    assert all(map(math.isnan, nothing.values()))
    metric = Linking()
    metric.update_ranks([example("a")], [ranked(1)])
    metric.reset()
    assert metric.compute().keys() == nothing.keys()
    assert all(map(math.isnan, metric.compute().values()))


# Predictions that bring no ranks


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


def test_a_list_of_candidates_says_nothing_of_the_whole_knowledge_base():
    found = figures((example("a", candidates=("x", "gold")), Prediction("a", links=("x", "gold"))))
    assert (found["top1"], found["mrr"]) == (0.0, 0.5)
    assert found["kb_top1"] == 0.0  # one of the candidates is better
    assert not {"kb_top5", "kb_mrr"} & found.keys()


def test_a_gold_entity_beyond_the_end_of_its_list_leaves_figures_open():
    """Seven are better; whether it is the eighth or the hundredth the prediction does not say."""
    seven = Prediction("b", links=tuple(f"x{i}" for i in range(7)))
    right = Prediction("a", links=("gold",))
    found = figures((example("a"), right), (example("b"), seven))
    assert found == {
        f"{prefix}{name}": 0.5 for prefix in ("", "strict_", "kb_") for name in ("top1", "top3", "top5")
    }
    candidates = ("gold", *seven.links)
    found = figures((example("b", candidates=candidates), seven))
    assert found["top5"] == found["strict_top5"] == 0.0 and found["recall"] == 1.0
    assert not {"top10", "mrr", "strict_mrr"} & found.keys()
    found = figures((example("b", candidates=seven.links), seven))
    assert (
        found["strict_mrr"] == found["recall"] == 0.0
    )  # not listed is not found, whatever its rank would be
    assert not {"top10", "mrr"} & found.keys()


def test_a_prediction_without_links_finds_nothing():
    found = figures((example("a"), Prediction("a")), (example("b"), Prediction("b", links=("gold",))))
    assert {found[name] for name in NAMES} == {0.5}


def test_an_entity_listed_twice_does_not_compete_with_itself():
    for scores in ((0.5, 0.9, 0.7), (0.9, 0.5, 0.7)):
        links = Prediction("a", links=("gold", "gold", "x"), link_scores=scores)
        assert figures((example("a"), links))["top1"] == 1.0


def test_the_right_answer_is_right():
    gold = example("a", candidates=("x", "gold"))
    found = figures((gold, Prediction.of(gold)))
    assert found["top1"] == found["strict_mrr"] == 1.0
    assert set(found.values()) == {1.0}


# Intervals and refusals


def test_the_interval_is_that_of_the_accuracy():
    ranks = [1, 1, 2, 1, 9, 1, 1, 3] * 5
    found = figures(*((example(str(i)), ranked(r)) for i, r in enumerate(ranks)), bootstrap=200)
    hits = np.array([[r == 1, 1, 1] for r in ranks], dtype=np.int64)
    assert (found["top1.low"], found["top1.high"]) == f1_interval(hits, 200)
    assert found["top1.low"] < found["top1"] == 0.625 < found["top1.high"]
    assert {"top1.low", "top1.high"} < Linking(bootstrap=10).compute().keys()


def test_refusals():
    with raises("part.setting", match="not -1"):
        Linking(bootstrap=-1)
    with raises("predictions.link-scores", match="a: 2 links but 1"):
        figures((example("a"), Prediction("a", links=("x", "y"), link_scores=(0.5,))))
    for note in ({}, {"knowledge_base": {"rank": "first"}}, {"knowledge_base": {"rank": 0}}, []):
        with raises("predictions.no-ranks"):
            figures((example("a"), Prediction("a", notes={OLD_NOTE: note})))
