"""Which tensors of a run fit a model, and which rows belong to labels that both have."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkit.decoders.base import LabelAxes
from mmkit.runs.taking import by_name, compared, fitting_decoder, grown

NAMES = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True)


@given(NAMES, NAMES, st.sampled_from([("tags",), ("tags", None), (None, "tags"), ("tags", "tags")]))
@settings(deadline=None)
def test_entries_of_labels_that_both_have_are_taken(
    names: list[str], others: list[str], axes: LabelAxes
) -> None:
    def size(labels: list[str]) -> list[int]:
        return [3 if key is None else len(labels) for key in axes]

    own = torch.arange(float(torch.tensor(size(names)).prod())).view(size(names))
    saved = -1 - torch.arange(float(torch.tensor(size(others)).prod())).view(size(others))
    made = by_name(own, saved, axes, {"tags": names}, {"tags": others})
    both = set(names) & set(others)
    assert (made is None) == (not both)
    if made is None:
        return
    for place in torch.cartesian_prod(*map(torch.arange, own.shape)).view(-1, own.dim()).tolist():
        found = [
            i if key is None else others.index(names[i]) if names[i] in both else None
            for i, key in zip(place, axes, strict=True)
        ]
        known = None not in found
        assert made[tuple(place)] == (saved[tuple(found)] if known else own[tuple(place)])  # type: ignore[arg-type]
    assert own.min() >= 0  # the model's own tensor is not written to


def decoder(labels: list[str], extra: int = 7) -> dict[str, torch.Tensor]:
    return {
        "decoder.linear.weight": torch.rand(len(labels), 4),
        "decoder.linear.bias": torch.rand(len(labels)),
        "decoder.norm.weight": torch.rand(extra),
    }


AXES: dict[str, LabelAxes] = {"linear.weight": ("tags", None), "linear.bias": ("tags",)}


def test_a_tensor_that_may_have_labels_is_not_taken_by_position() -> None:
    labels: Any = ({"tags": ["a", "b", "c"]}, {"tags": ["c", "b", "x"]})
    own, saved = decoder(["a", "b", "c"]), decoder(["c", "b", "x"])
    found = fitting_decoder(own, saved, *labels, AXES, "decoder.")
    assert set(found.rows) == {"decoder.linear.weight", "decoder.linear.bias"}
    assert set(found.whole) == {"decoder.norm.weight"}
    assert torch.equal(found.rows["decoder.linear.bias"][2], saved["decoder.linear.bias"][0])
    found = fitting_decoder(decoder(["a"] * 3, 3), decoder(["a"] * 3, 3), *labels, AXES, "decoder.")
    assert "may belong to labels" in found.new["decoder.norm.weight"]
    known = {**AXES, "norm.weight": (None,)}
    found = fitting_decoder(decoder(["a"] * 3, 3), decoder(["a"] * 3, 3), *labels, known, "decoder.")
    assert not found.new


def test_a_decoder_that_does_not_say_gives_all_or_nothing() -> None:
    own, saved = decoder(["a", "b"]), decoder(["a", "b"])
    found = fitting_decoder(own, saved, {"tags": ["a", "b"]}, {"tags": ["a", "b"]}, None, "decoder.")
    assert set(found.whole) == set(own) and not found.new
    found = fitting_decoder(own, saved, {"tags": ["a", "b"]}, {"tags": ["b", "a"]}, None, "decoder.")
    assert set(found.new) == set(own) and not found.whole


def test_embeddings_of_other_special_tokens_are_not_taken() -> None:
    own, saved = torch.zeros(12, 2), torch.ones(10, 2)
    made = grown(own, saved, 4)  # 8 words; the run has 2 tokens after them, the model 4
    assert made is not None and made[:, 0].tolist() == [1.0] * 8 + [0.0] * 4
    made = grown(saved, own, 2)  # the run has 2 more than the model
    assert made is not None and made[:, 0].tolist() == [0.0] * 10
    assert grown(own, torch.ones(10, 3), 4) is None
    assert grown(own, torch.ones(5, 2), 4) is None


def test_labels_are_compared_by_kind() -> None:
    now = {"types": ["PER", "ORG"], "tags": ["O", "B-PER"], "scheme": "bio", "relations": ["x"]}
    before = {"types": ["LOC", "PER"], "tags": ["O"], "scheme": "bio"}
    assert dict(compared(now, before)) == {
        "types": {"taken": ["PER"], "new": ["ORG"], "left": ["LOC"]},
        "relations": {"taken": [], "new": ["x"], "left": []},
    }
