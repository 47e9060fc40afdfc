"""The dual-way query against a reading of the paper one mention at a time, and what it does without parts."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from linking import Given
from mmkit.batch import Batch, Features
from mmkit.encoders.base import Encoder
from mmkit_dwe.fuser import DualWay
from raising import raises

TEXT, IMAGE, HIDDEN = 6, 4, 8


def encoders(**widths: int) -> dict[str, Encoder]:
    usual = {"mention": TEXT, "text": TEXT, "photo": IMAGE, "parts": IMAGE, "profile": TEXT}
    return {name: Given(dim) for name, dim in (usual | widths).items()}


def built(**settings: object) -> DualWay:
    torch.manual_seed(0)
    fuser = DualWay(hidden=HIDDEN, heads=2, **settings)  # type: ignore[arg-type]
    fuser.build(encoders())
    return fuser.eval()


def features(mask: list[list[bool]], width: int) -> Features:
    real = torch.tensor(mask)
    return {"pooled": torch.randn(*real.shape, width), "mask": real}


def inputs(parts: list[list[bool]], seed: int = 1) -> dict[str, Features]:
    torch.manual_seed(seed)
    ones = [[True]] * len(parts)
    widths = {"mention": TEXT, "text": TEXT, "photo": IMAGE}
    return {name: features(ones, width) for name, width in widths.items()} | {"parts": features(parts, IMAGE)}


def attended(fuser: DualWay, query: Tensor, keys: Tensor) -> Tensor:
    """Multi-head attention of one vector `[D]` over some `[n, D]`, head by head."""
    attention = fuser.enhance.attention
    projected = F.linear(torch.cat([query[None], keys]), attention.in_proj_weight, attention.in_proj_bias)
    q, k, v = projected.chunk(3, dim=-1)
    found = []
    for head in range(attention.num_heads):
        at = slice(head * attention.head_dim, (head + 1) * attention.head_dim)
        weights = torch.softmax(k[1:, at] @ q[0, at] / math.sqrt(attention.head_dim), dim=0)
        found.append(weights @ v[1:, at])
    return attention.out_proj(torch.cat(found))


@settings(max_examples=25, deadline=None)
@given(
    parts=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=4),
    mask_parts=st.booleans(),
)
def test_equals_the_paper_one_mention_at_a_time(parts: list[list[bool]], mask_parts: bool) -> None:
    fuser, given_ = built(mask_parts=mask_parts), inputs(parts)
    fused = fuser.fuse(**given_)
    for i, real in enumerate(parts):
        m, x = (fuser.project_text(given_[name]["pooled"][i, 0]) for name in ("mention", "text"))
        v = fuser.project_image(given_["photo"]["pooled"][i, 0])
        kept = torch.tensor(real)
        pieces = given_["parts"]["pooled"][i] * kept[:, None]
        if mask_parts:
            pieces = pieces[kept] if any(real) else torch.zeros(1, IMAGE)
        by_sight = attended(fuser, m, fuser.project_image(pieces))
        by_text = attended(fuser, m, x[None])
        torch.testing.assert_close(fused.query[i], fuser.head(m + by_sight + by_text), atol=1e-5, rtol=1e-4)
        for pair, expected in ((fused.coarse, (v, x)), (fused.fine, (by_sight, by_text))):
            torch.testing.assert_close(torch.stack([p[i] for p in pair]), torch.stack(expected))


def test_the_released_form_attends_to_parts_that_are_not_there() -> None:
    three = inputs([[True, False, False], [True, True, True], [False, False, False]])
    alone = {name: {k: v[:1, :1] for k, v in f.items()} for name, f in three.items()}
    released = built(mask_parts=False)
    assert not torch.allclose(released.fuse(**three).query[:1], released.fuse(**alone).query)


def test_losses_come_with_targets_alone() -> None:
    fuser, given_ = built(), inputs([[True, True], [True, False], [False, False]])
    states = fuser(encoders(), Batch((), given_, {"gold": torch.arange(3)}))
    assert set(states.losses) == {"coarse", "fine"} and states["query"].shape == (3, TEXT)
    assert fuser(encoders(), Batch((), given_)).losses == {}


def test_both_losses_follow_from_the_pairs_and_one_scale() -> None:
    fuser, given_ = built(), inputs([[True], [True]])
    fused = fuser.fuse(**given_)
    losses = fuser(encoders(), Batch((), given_, {"gold": torch.arange(2)})).losses
    for name, (left, right) in (("coarse", fused.coarse), ("fine", fused.fine)):
        logits = F.normalize(left, dim=1) @ F.normalize(right, dim=1).T / 0.07
        expected = (F.cross_entropy(logits, torch.arange(2)) + F.cross_entropy(logits.T, torch.arange(2))) / 2
        torch.testing.assert_close(losses[name], expected)


def test_a_profile_adds_to_what_the_parts_gave() -> None:
    fuser, given_ = built(profile="profile"), inputs([[True], [True]])
    profile = features([[True, True], [False, False]], TEXT)
    without, with_one = fuser.fuse(**given_), fuser.fuse(**given_, profile=profile)
    assert not torch.allclose(with_one.query[0], without.query[0])
    torch.testing.assert_close(with_one.query[1], without.query[1])
    assert not torch.allclose(with_one.fine[0][0], without.fine[0][0])


def test_a_photo_without_words_makes_a_query() -> None:
    given_ = inputs([[True], [True]])
    for name in ("mention", "text"):
        given_[name]["mask"] = torch.zeros(2, 1, dtype=torch.bool)
    query = built().fuse(**given_).query
    assert query.isfinite().all() and not torch.equal(query[0], query[1])


@pytest.mark.parametrize(
    ("widths", "says"), [({"text": 5}, "mention 6, text 5"), ({"photo": 5}, "photo 5, parts 4")]
)
def test_encoders_that_share_a_projection_have_one_width(widths: dict[str, int], says: str) -> None:
    with raises("part.widths", match=says):
        DualWay(hidden=8, heads=2).build(encoders(**widths))


def test_the_query_may_be_as_wide_as_the_entities() -> None:
    assert built(dim=5).fuse(**inputs([[True]])).query.shape == (1, 5)


def test_asks_for_the_profile_only_when_named() -> None:
    assert set(DualWay().requires()) == {"mention", "text", "photo", "parts"}
    assert set(DualWay(profile="attributes").requires()) >= {"attributes"}


@pytest.mark.parametrize("mask_parts", [True, False])
def test_shows_the_attention_over_parts_as_the_paper_computes_it(mask_parts: bool) -> None:
    fuser = built(mask_parts=mask_parts)
    given_ = inputs([[True, True, False], [False, False, False]])
    batch = Batch((), given_, inspecting=True)
    shown = [each["attention over parts"] for each in fuser.inspect(fuser(encoders(), batch), batch)]
    first = ["part 1", "part 2"] if mask_parts else ["part 1", "part 2", "nothing (3)"]
    nothing = ["nothing (1)"] if mask_parts else ["nothing (1)", "nothing (2)", "nothing (3)"]
    assert [table.columns for table in shown] == [first, nothing]
    attention = fuser.enhance.attention
    m = fuser.project_text(given_["mention"]["pooled"][0, 0])
    pieces = given_["parts"]["pooled"][0] * torch.tensor([[1.0], [1.0], [0.0]])
    keys = fuser.project_image(pieces[: len(first)])
    q, k, _ = F.linear(torch.cat([m[None], keys]), attention.in_proj_weight, attention.in_proj_bias).chunk(
        3, -1
    )
    for head in range(2):
        at = slice(head * 4, head * 4 + 4)
        expected = torch.softmax(k[1:, at] @ q[0, at] / 2.0, dim=0)
        assert shown[0].values[head] == pytest.approx(expected.tolist(), abs=1e-5)
        assert sum(shown[1].values[head]) == pytest.approx(1)
    assert "attention" not in fuser(encoders(), Batch((), given_)).tensors
