"""The baseline fusers: what they hand the decoder, and that pictures count exactly where they should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn

from mmkit.batch import Batch, States
from mmkit.data.types import Example
from mmkit.encoders.base import Encoder
from mmkit.fusers.base import Fuser
from mmkit.fusers.concat import Concat, mean_of
from mmkit.fusers.text_only import TextOnly


class Given(Encoder):
    """Returns its inputs as features, scaled by a parameter."""

    def __init__(self, dim: int, provides: set[str]) -> None:
        super().__init__()
        self.dim, self.provides = dim, frozenset(provides)  # type: ignore[misc]
        self.scale = nn.Parameter(torch.tensor(1.0))

    def build(self, special_tokens=(), saved=None) -> None: ...

    def save(self, folder) -> None: ...

    def collate(self, examples: Sequence[Example], views: Sequence[Mapping]) -> dict[str, Tensor]:
        raise NotImplementedError

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {k: v * self.scale if v.is_floating_point() else v for k, v in inputs.items()}


TEXT, VISION = {"tokens", "mask", "pooled"}, {"pooled", "mask"}
ENCODERS = {"words": Given(6, TEXT), "pictures": Given(5, VISION)}
ALIGNMENT = {
    "word_index": torch.tensor([[-1, 0, 1, -1], [-1, 0, -1, -1]]),
    "first_subword": torch.tensor([[1, 2], [1, -1]]),
    "marker_index": torch.empty(2, 0, dtype=torch.long),
}


def batch(pictures: Tensor, real: list[list[bool]]) -> Batch:
    draw = torch.Generator().manual_seed(0)
    text = {
        "tokens": torch.randn(2, 4, 6, generator=draw),
        "pooled": torch.randn(2, 6, generator=draw),
        "mask": torch.tensor([[True] * 4, [True] * 3 + [False]]),
        **ALIGNMENT,
    }
    return Batch((), {"words": text, "pictures": {"pooled": pictures, "mask": torch.tensor(real)}})


def built(fuser: Fuser) -> Fuser:
    torch.manual_seed(0)
    fuser.build(ENCODERS)
    return fuser.eval()


def fused(fuser: Fuser, pictures: Tensor | None = None, real: list[list[bool]] | None = None) -> States:
    pictures = torch.ones(2, 3, 5) if pictures is None else pictures
    return fuser(ENCODERS, batch(pictures, real or [[True, True, False], [True, False, False]]))


@pytest.mark.parametrize("fuser", [TextOnly("words"), Concat("words", "pictures", hidden=7)])
def test_states_are_as_promised(fuser: Fuser) -> None:
    states = fused(built(fuser))
    assert set(states.tensors) == fuser.provides and states.losses == {}
    assert states["tokens"].shape == (2, 4, fuser.dims["tokens"])
    assert states["pooled"].shape == (2, fuser.dims["pooled"])
    assert all(torch.equal(states[k], v) for k, v in ALIGNMENT.items())
    for name, wanted in fuser.requires().items():
        assert wanted <= ENCODERS[name].provides


def test_text_only_hands_on_the_text() -> None:
    states = fused(built(TextOnly("words")))
    given = batch(torch.ones(2, 3, 5), [[True] * 3] * 2).inputs["words"]
    assert all(torch.equal(states[k], given[k]) for k in given)


def test_concat_joins_the_same_picture_to_every_token() -> None:
    draw = torch.Generator().manual_seed(1)
    states = fused(built(Concat("words", "pictures", hidden=7)), torch.randn(2, 3, 5, generator=draw))
    beside = states["tokens"][..., 6:]
    assert torch.equal(beside, states["pooled"][:, None, 6:].expand_as(beside))
    assert not torch.equal(beside[0], beside[1])


def test_blank_pictures_do_not_count() -> None:
    fuser = built(Concat("words", "pictures"))
    pictures = torch.randn(2, 3, 5)
    changed = pictures.clone()
    changed[0, 2], changed[1, 1:] = 100.0, -100.0
    assert torch.equal(fused(fuser, pictures)["tokens"], fused(fuser, changed)["tokens"])
    changed[0, 0] = 100.0
    assert not torch.equal(fused(fuser, pictures)["tokens"], fused(fuser, changed)["tokens"])


def test_an_example_without_pictures_gets_zeros() -> None:
    mean = mean_of(torch.randn(2, 3, 5), torch.tensor([[False] * 3, [True, True, False]]))
    assert not mean[0].any() and mean[1].any()


def test_every_parameter_of_concat_gets_a_gradient() -> None:
    fuser = built(Concat("words", "pictures"))
    fused(fuser, torch.randn(2, 3, 5))["tokens"].square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in fuser.parameters())
    assert ENCODERS["words"].scale.grad is not None and ENCODERS["pictures"].scale.grad is not None
