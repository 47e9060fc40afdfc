"""The units: padding, parts of an entity's tensors, pairs, and blocks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmkit.batch import Features, States
from mmkit_mimic import scorer as scorer_module
from mmkit_mimic.scorer import ThreeUnits
from raising import raises

DIMS = {"text.pooled": 6, "text.tokens": 8, "picture.pooled": 6, "picture.tokens": 10}


def seen(count: int, tokens: int, lengths: list[int], seed: int) -> Features:
    torch.manual_seed(seed)
    return {
        "text.pooled": torch.randn(count, 6),
        "text.tokens": torch.randn(count, tokens, 8),
        "text.token_mask": torch.arange(tokens) < torch.tensor(lengths)[:, None],
        "picture.pooled": torch.randn(count, 6),
        "picture.tokens": torch.randn(count, 4, 10),
    }


@pytest.fixture
def units() -> ThreeUnits:
    torch.manual_seed(0)
    made = ThreeUnits(picture=5, tglu=4, vdlu=6, cmfu=3)
    made.build(DIMS, DIMS)
    return made.eval()


def scored(units: ThreeUnits, mentions: Features, entities: Features) -> Features:
    return units.scores(units.query(States(mentions)), units.entity(entities))


def changed(features: Features, noise: Tensor) -> Features:
    """With other values at the places of padding."""
    tokens, mask = features["text.tokens"], features["text.token_mask"][..., None]
    return {**features, "text.tokens": torch.where(mask, tokens, noise)}


def test_padding_of_either_side_makes_no_difference(units: ThreeUnits) -> None:
    mentions, entities = seen(3, 7, [7, 2, 5], 1), seen(4, 7, [3, 7, 6, 2], 2)
    before = scored(units, mentions, entities)
    noise = torch.full((7, 8), 9.0)
    after = scored(units, changed(mentions, noise), changed(entities, noise))
    for name in ("score", "tglu", "vdlu", "cmfu"):
        torch.testing.assert_close(after[name], before[name])
    entities["text.token_mask"] = torch.ones(4, 7, dtype=torch.bool)
    assert not torch.allclose(scored(units, mentions, entities)["tglu"], before["tglu"])


def test_the_score_is_the_mean_of_the_units_and_each_pair_has_its_own(units: ThreeUnits) -> None:
    mentions, entities = seen(3, 5, [5, 4, 3], 1), seen(4, 6, [6, 2, 3, 4], 2)
    whole = scored(units, mentions, entities)
    torch.testing.assert_close(whole["score"], (whole["tglu"] + whole["vdlu"] + whole["cmfu"]) / 3)
    for b in range(3):
        for n in range(4):
            one = scored(
                units,
                {name: tensor[b : b + 1] for name, tensor in mentions.items()},
                {name: tensor[n : n + 1] for name, tensor in entities.items()},
            )
            torch.testing.assert_close(one["score"][0, 0], whole["score"][b, n])


def test_entities_in_parts_and_as_pairs_score_the_same(
    units: ThreeUnits, monkeypatch: pytest.MonkeyPatch
) -> None:
    mentions, entities = seen(2, 5, [5, 4], 1), seen(7, 5, [5, 2, 3, 4, 5, 2, 3], 2)
    query, kept = units.query(States(mentions)), units.entity(entities)
    whole = units.scores(query, kept)
    rows = torch.tensor([[6, 0, 3], [1, 1, 5]])
    pairs = units.pairs(query, {name: tensor[rows] for name, tensor in kept.items()})
    monkeypatch.setattr(scorer_module, "CELLS", 2 * 2 * 25)  # two entities together
    with torch.no_grad():
        parts = units.scores(query, kept)
        some = units.pairs(query, {name: tensor[rows] for name, tensor in kept.items()})
    for name, scores in whole.items():
        torch.testing.assert_close(parts[name], scores)
        torch.testing.assert_close(pairs[name], scores.gather(1, rows))
        torch.testing.assert_close(some[name], scores.gather(1, rows))


def test_scores_for_people_rise_and_stay_apart(units: ThreeUnits) -> None:
    scores = [-900.0, -3.0, 0.0, 10.0, 400.0, 400.01, 401.0]
    shown = [units.unit(score) for score in scores]
    assert shown == sorted(set(shown)) and shown[0] > 0 and shown[-1] < 1
    assert shown[2] == 0.5 and shown[3] == 0.75


def test_every_layer_learns(units: ThreeUnits) -> None:
    found = scored(units, seen(3, 5, [5, 4, 3], 1), seen(4, 5, [5, 2, 3, 4], 2))
    (found["score"] * torch.randn(3, 4)).sum().backward()
    still = [name for name, p in units.named_parameters() if p.grad is None or not p.grad.any()]
    # a softmax does not change if the same is added to everything
    assert still == ["matcher.tglu.fc_key.bias"] or not still


def test_other_widths_of_entities_are_refused() -> None:
    with raises("part.widths", match="text.tokens is 8 and 9 wide"):
        ThreeUnits().build(DIMS, {**DIMS, "text.tokens": 9})
    with pytest.raises(ValueError, match="cmfu must be at least 1"):
        ThreeUnits(cmfu=0)
