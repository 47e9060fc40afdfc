"""Pooled features as vectors, and the simplest query: absent things count for nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from linking import Given
from mmkit.batch import Batch
from mmkit.fusers.pooled import projected, shared_width, total, vectors
from mmkit.fusers.pooled_query import PooledQuery
from mmkit.fusers.projection import Projection
from raising import raises

ENCODERS = {"words": Given(6), "pictures": Given(4)}
MASK = torch.tensor([[True, True], [True, False], [False, False]])


def built(**settings: object) -> PooledQuery:
    torch.manual_seed(0)
    fuser = PooledQuery(["words", "pictures"], hidden=8, **settings)  # type: ignore[arg-type]
    fuser.build(ENCODERS)
    return fuser.eval()


def query(fuser: PooledQuery, words: Tensor, pictures: Tensor, mask: Tensor = MASK) -> Tensor:
    text = {"pooled": words, "mask": torch.ones(len(words), 9, dtype=torch.bool)}
    batch = Batch((), {"words": text, "pictures": {"pooled": pictures, "mask": mask}})
    return fuser(ENCODERS, batch)["query"]


def test_vectors_of_absent_things_are_zero() -> None:
    pooled = torch.randn(3, 2, 4)
    found, mask = vectors({"pooled": pooled, "mask": MASK})
    assert torch.equal(mask, MASK)
    assert torch.equal(found[MASK], pooled[MASK]) and not found[~MASK].any()
    torch.testing.assert_close(total({"pooled": pooled, "mask": MASK})[0], pooled[0].sum(0))
    assert not total({"pooled": pooled, "mask": MASK})[2].any()


def test_one_vector_an_example_is_always_real() -> None:
    pooled = torch.randn(3, 4)
    found, mask = vectors({"pooled": pooled, "mask": torch.zeros(3, 7, dtype=torch.bool)})
    assert found.shape == (3, 1, 4) and mask.all() and mask.shape == (3, 1)
    assert torch.equal(total({"pooled": pooled}), pooled)


def test_what_shares_a_layer_must_have_one_width() -> None:
    assert shared_width({"a": Given(3), "b": Given(3)}, ["a", "b"], "x") == 3
    with raises("part.widths", match="words 6, pictures 4"):
        shared_width(ENCODERS, ["words", "pictures"], "x.part.v1")


def test_only_what_is_used_is_projected() -> None:
    torch.manual_seed(0)
    rows = []

    class Counting(Projection):
        def forward(self, input: Tensor) -> Tensor:
            rows.append(len(input))
            found: Tensor = super().forward(input)
            return found

    layers = Counting(6, 4, 0.0)
    single, others = torch.randn(3, 6), torch.randn(3, 2, 6)
    used = torch.tensor([[True, True], [False, False], [False, True]])
    one, each = projected(layers, single, others, used)
    all_one, all_each = projected(layers, single, others, None)
    assert rows == [3 + 3, 3 + 6]
    torch.testing.assert_close(one, layers(single))
    torch.testing.assert_close(all_one, one)
    torch.testing.assert_close(all_each, layers(others.flatten(0, 1)).view(3, 2, 4))
    torch.testing.assert_close(each, all_each.masked_fill(~used.unsqueeze(2), 0.0))
    wanted = torch.autograd.grad(all_each[used].square().sum(), list(layers.parameters()))
    gradients = torch.autograd.grad(each.square().sum(), list(layers.parameters()))
    for own, of_all in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(own, of_all)


def test_a_projection_is_linear_relu_and_norm() -> None:
    projection = Projection(4, 6, dropout=0.5).eval()
    x = torch.randn(5, 4)
    linear, norm = projection[0], projection[2]
    torch.testing.assert_close(projection(x), norm((x @ linear.weight.T + linear.bias).clamp(min=0)))


def test_the_query_is_the_head_of_the_sum_of_projections() -> None:
    fuser = built()
    words, pictures = torch.randn(3, 6), torch.randn(3, 2, 4)
    text = fuser.projections["words"](words)
    expected = text[0] + fuser.projections["pictures"](pictures[0].sum(0))
    found = query(fuser, words, pictures)
    torch.testing.assert_close(found[0], fuser.head(expected))
    torch.testing.assert_close(found[2], fuser.head(text[2]))
    assert fuser.dims == {"query": 6} and found.shape == (3, 6)


def test_what_stands_in_absent_slots_changes_nothing() -> None:
    fuser, words, pictures = built(), torch.randn(3, 6), torch.randn(3, 2, 4)
    changed = torch.where(MASK[..., None], pictures, torch.full_like(pictures, 99.0))
    assert torch.equal(query(fuser, words, pictures), query(fuser, words, changed))
    assert not torch.equal(query(fuser, words, pictures)[0], query(fuser, words, -pictures)[0])


def test_the_query_may_be_as_wide_as_the_entities() -> None:
    fuser = built(dim=10)
    assert fuser.dims == {"query": 10}
    assert query(fuser, torch.randn(3, 6), torch.randn(3, 2, 4)).shape == (3, 10)


def test_every_parameter_gets_a_gradient() -> None:
    fuser = built()
    query(fuser, torch.randn(3, 6), torch.randn(3, 2, 4)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in fuser.parameters())


def test_an_encoder_is_needed_and_asked_for_vectors() -> None:
    with pytest.raises(ValueError, match="at least one"):
        PooledQuery([])
    assert PooledQuery(["a"]).requires() == {"a": frozenset({"pooled", "mask"})}
