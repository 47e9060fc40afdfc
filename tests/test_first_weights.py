"""A part's first weights follow from the recipe's seed and the part's name alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mmkit.encoders.base import Encoder
from mmkit.fusers.text_only import TextOnly
from mmkit.model import Model, assemble
from mmkit.recipe import load_recipe
from mmkit.testing import registered_parts

RECIPE = """
[recipe]
format = 1
seed = {seed}

[data.train]
@readers = "mmkit.jsonl.v1"
root = "."
file = "x.jsonl"

{encoders}

[model.fuser]
@fusers = "{fuser}"

[model.decoder]
@decoders = "mmkit.softmax_tagger.v1"

[metrics.spans]
@metrics = "mmkit.span_f1.v1"

[training]
epochs = 1
batch_size = 1
learning_rate = 1e-3
score = "spans.f1"
"""


class Drawn(Encoder):
    """One layer with new weights, and `more` random numbers that a larger network would draw."""

    provides = frozenset({"tokens", "mask", "pooled"})

    def __init__(self, more: int = 0) -> None:
        super().__init__()
        self.more, self.dim = more, 4

    def build(self, special_tokens=(), saved=None):
        self.layer = nn.Linear(self.dim, self.dim)
        torch.rand(self.more)

    def save(self, folder): ...

    def collate(self, examples, views):
        raise NotImplementedError

    def forward(self, inputs):
        raise NotImplementedError


class Drawing(TextOnly):
    """As `mmkit.text_only.v1`, but it draws a random number."""

    def build(self, encoders):
        super().build(encoders)
        torch.rand(1)


@pytest.fixture(scope="module", autouse=True)
def _registered():
    with registered_parts(encoders={"t.drawn.v1": Drawn}, fusers={"t.drawing.v1": Drawing}):
        yield


def made(folder: Path, *encoders: str, seed: int = 3, more: int = 0, fuser: str = "") -> Model:
    """A tagger of that text encoder alone, or of that and another encoder of the same shape."""
    sections = [f'[model.encoders.{n}]\n@encoders = "t.drawn.v1"\nmore = {more}' for n in encoders]
    fuser = fuser or "mmkit.text_only.v1" if len(encoders) == 1 else "mmkit.concat.v1"
    path = folder / "x.cfg"
    path.write_text(RECIPE.format(seed=seed, encoders="\n\n".join(sections), fuser=fuser), encoding="utf-8")
    return assemble(load_recipe(path), labels={"types": ["PER"], "tags": ["O", "B-PER", "I-PER"]})


def weight(model: Model, name: str) -> Tensor:
    return model.state_dict()[f"encoders.{name}.layer.weight"]


def test_another_part_in_the_recipe_changes_nothing(tmp_path):
    alone, beside = made(tmp_path, "text"), made(tmp_path, "vision", "text")
    assert torch.equal(weight(alone, "text"), weight(beside, "text"))


def test_two_parts_of_one_shape_differ(tmp_path):
    model = made(tmp_path, "text", "vision")
    assert not torch.equal(weight(model, "text"), weight(model, "vision"))


def test_what_earlier_parts_draw_changes_no_later_one(tmp_path):
    one, other = (made(tmp_path, "text", "vision", more=more).state_dict() for more in (0, 5))
    assert any(name.startswith("fuser.") for name in one) and any(n.startswith("decoder.") for n in one)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_the_fuser_draws_changes_no_decoder(tmp_path):
    one, other = (
        made(tmp_path, "text", fuser=fuser).state_dict() for fuser in ("mmkit.text_only.v1", "t.drawing.v1")
    )
    assert any(name.startswith("decoder.") for name in one)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_seed_decides(tmp_path):
    torch.manual_seed(0)
    one = weight(made(tmp_path, "text", seed=3), "text")
    torch.manual_seed(1)
    same, other = (weight(made(tmp_path, "text", seed=seed), "text") for seed in (3, 4))
    assert torch.equal(one, same) and not torch.equal(one, other)
