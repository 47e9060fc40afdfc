"""The visual prefix against a loop-by-loop reading of the paper, and what it asks of the encoders."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from mmkit.batch import Batch
from mmkit.encoders.abilities import GivesGrid, TakesPrefix
from mmkit.fusers.needs import Needs
from mmkit_hvpnet.fuser import VisualPrefix
from raising import raises


class StandInText(nn.Module):
    """Gives back what it was handed, so that a test can look at the prefix."""

    dim = 12

    def __init__(self, shapes: list[tuple[int, int]]) -> None:
        super().__init__()
        self.shapes = shapes

    def prefix_shape(self) -> list[tuple[int, int]]:
        return self.shapes

    def forward(self, inputs: dict[str, Tensor], prefix: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        self.prefix = prefix
        return {"tokens": inputs["embedded"], "mask": inputs["embedded"].abs().sum(-1) > 0}


class StandInVision(nn.Module):
    def __init__(self, dim: int, grid: int) -> None:
        super().__init__()
        self.dim, self.grid = dim, grid

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        real = getattr(self, "real", None)
        return {"grid": inputs["pixels"], **({} if real is None else {"mask": real})}


def build(
    shapes: list[tuple[int, int]], channels: int, side: int, blocks: int = 4
) -> tuple[VisualPrefix, dict]:
    torch.manual_seed(0)
    encoders = {"text": StandInText(shapes), "vision": StandInVision(channels, side)}
    fuser = VisualPrefix(hidden=5, blocks=blocks)
    fuser.build(encoders)
    return fuser, encoders


def spelled_out(fuser: VisualPrefix, grid: Tensor, layers: int, heads: int) -> list[tuple[Tensor, Tensor]]:
    """Picture by picture, layer by layer, block by block."""
    examples, pictures, channels, side, _ = grid.shape
    cells, blocks = side * side, fuser.blocks
    gate_weights = fuser.gates.weight.view(layers, blocks, -1)
    gate_biases = fuser.gates.bias.view(layers, blocks)
    prefix = []
    for layer in range(layers):
        mixed = []
        for picture in range(pictures):
            tokens = grid[:, picture].reshape(examples, cells, channels)
            parts = fuser.project(tokens).chunk(blocks, dim=-1)
            mean = sum(parts) / blocks
            score = F.linear(mean.reshape(examples, -1), gate_weights[layer], gate_biases[layer])
            gate = torch.softmax(F.leaky_relu(score), dim=-1)
            mixed.append(sum(gate[:, i, None, None] * parts[i] for i in range(blocks)))
        key, value = torch.cat(mixed, dim=1).chunk(2, dim=-1)
        rows = pictures * cells
        prefix.append((key.reshape(examples, heads, rows, -1), value.reshape(examples, heads, rows, -1)))
    return prefix


@settings(max_examples=25, deadline=None)
@given(
    layers=st.integers(1, 4),
    heads=st.integers(1, 3),
    head_dim=st.integers(1, 4),
    channels=st.integers(1, 6),
    side=st.integers(1, 3),
    blocks=st.integers(1, 5),
    pictures=st.integers(1, 4),
)
def test_equals_the_loops_of_the_paper(
    *, layers: int, heads: int, head_dim: int, channels: int, side: int, blocks: int, pictures: int
) -> None:
    fuser, _ = build([(heads, head_dim)] * layers, channels, side, blocks)
    grid = torch.randn(2, pictures, channels, side, side)
    expected = spelled_out(fuser, grid, layers, heads)
    prefix = fuser.prefix(grid)
    assert len(prefix) == layers
    for (key, value), (expected_key, expected_value) in zip(prefix, expected, strict=True):
        assert key.shape == (2, heads, pictures * side * side, head_dim)
        torch.testing.assert_close(key, expected_key)
        torch.testing.assert_close(value, expected_value)


def test_hands_the_prefix_to_the_text_encoder_and_its_states_to_the_decoder() -> None:
    fuser, encoders = build([(2, 3)] * 2, channels=4, side=2)
    embedded = torch.randn(2, 5, 12)
    alignment = {
        "word_index": torch.zeros(2, 5, dtype=torch.long),
        "first_subword": torch.zeros(2, 3, dtype=torch.long),
        "marker_index": torch.zeros(2, 0, dtype=torch.long),
    }
    grid = torch.randn(2, 4, 4, 2, 2)
    states = fuser(
        encoders, Batch((), {"text": {"embedded": embedded, **alignment}, "vision": {"pixels": grid}})
    )
    assert VisualPrefix.provides <= states.tensors.keys()
    assert states["tokens"] is embedded
    assert fuser.dims == {"tokens": 12}
    torch.testing.assert_close(encoders["text"].prefix[1][0], fuser.prefix(grid)[1][0])


def test_asks_for_a_text_encoder_that_takes_a_prefix() -> None:
    assert VisualPrefix(text="a", vision="b").requires() == {
        "a": Needs(frozenset({"tokens", "mask"}), (TakesPrefix,)),
        "b": Needs(frozenset({"grid"}), (GivesGrid,)),
    }


def test_refuses_layers_of_different_widths() -> None:
    with raises("hvpnet.layer-widths", match="'text'"):
        build([(2, 3), (1, 3)], channels=4, side=2)


def test_shows_the_gates_of_each_real_image_as_the_paper_computes_them() -> None:
    fuser, encoders = build([(2, 3)] * 2, channels=4, side=2, blocks=3)
    embedded, grid = torch.randn(2, 5, 12), torch.randn(2, 2, 4, 2, 2)
    inputs = {"text": {"embedded": embedded}, "vision": {"pixels": grid}}
    encoders["vision"].real = torch.tensor([[True, True], [False, False]])
    batch = Batch((), inputs, inspecting=True)
    shown = fuser.inspect(fuser(encoders, batch), batch)
    assert [list(each) for each in shown] == [["gates, image 1", "gates, image 2"], ["gates, image 1"]]
    weight, bias = fuser.gates.weight.view(2, 3, -1), fuser.gates.bias.view(2, 3)
    for place, image in ((0, 0), (0, 1), (1, 0)):
        table = shown[place][f"gates, image {image + 1}"]
        assert (table.rows, table.columns) == (["layer 1", "layer 2"], ["block 1", "block 2", "block 3"])
        parts = fuser.project(grid[place, image].reshape(4, 4)).chunk(3, dim=-1)
        mean = (sum(parts) / 3).flatten()
        for layer in range(2):
            scores = F.leaky_relu(weight[layer] @ mean + bias[layer])
            assert table.values[layer] == pytest.approx(scores.softmax(0).tolist(), abs=1e-6)
            assert sum(table.values[layer]) == pytest.approx(1)
    assert "gates" not in fuser(encoders, Batch((), inputs)).tensors
