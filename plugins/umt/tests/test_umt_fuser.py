"""The interaction of words and regions: what the image reaches, blank images and settings."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from linking import Given
from mmkit.batch import Batch, States
from mmkit.data.types import Example
from mmkit.registry import build_part
from mmkit_umt.fuser import Interaction, region_mask
from raising import raises

WIDTH, CHANNELS, SIDE = 12, 10, 3


class Words(Given):
    provides = frozenset({"tokens", "mask"})


class Grid(Given):
    provides = frozenset({"grid", "mask"})


ENCODERS = {"text": Words(WIDTH), "vision": Grid(CHANNELS)}


def built(**settings: object) -> Interaction:
    torch.manual_seed(0)
    fuser = Interaction(**{"heads": 3, "initializer_range": 0.3, **settings})  # type: ignore[arg-type]
    fuser.build(ENCODERS)
    return fuser.eval()


def batch(images: Tensor, lengths: tuple[int, ...] = (5, 3)) -> Batch:
    """Random states of texts that are so long, and random maps of images under their mask `[B, n]`."""
    draw = torch.Generator().manual_seed(1)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
    positions = torch.arange(max(lengths)).expand(len(lengths), -1)
    text = {
        "tokens": torch.randn(*mask.shape, WIDTH, generator=draw),
        "mask": mask,
        "first_subword": positions,
        "word_index": positions,
    }
    grid = torch.randn(*images.shape, CHANNELS, SIDE, SIDE, generator=draw)
    return Batch((), {"text": text, "vision": {"grid": grid, "mask": images}})


ONE = torch.ones(2, 1, dtype=torch.bool)


def run(fuser: Interaction, given: Batch) -> States:
    with torch.no_grad():
        return fuser(ENCODERS, given)


def test_the_image_changes_words_but_not_the_span_detector() -> None:
    fuser, given = built(), batch(ONE)
    before = run(fuser, given)
    given.inputs["vision"]["grid"] = given.inputs["vision"]["grid"] + 1
    after = run(fuser, given)
    assert not torch.allclose(after["tokens"], before["tokens"])
    assert torch.equal(after["auxiliary"], before["auxiliary"])


def test_the_order_of_regions_does_not_matter() -> None:
    fuser, given = built(), batch(ONE)
    before = run(fuser, given)
    given.inputs["vision"]["grid"] = given.inputs["vision"]["grid"].flip(3, 4)
    torch.testing.assert_close(run(fuser, given)["tokens"], before["tokens"])


def test_where_all_images_are_blank_the_first_is_asked() -> None:
    images = torch.tensor([[False, False, False], [False, True, True]])
    mask = region_mask(images, 6)
    assert mask is not None
    assert mask.int().tolist() == [[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 1]]
    assert region_mask(torch.zeros(2, 1, dtype=torch.bool), 4) is None


def test_a_width_that_the_heads_do_not_divide_is_an_error() -> None:
    with raises("part.heads", match="12 .*5 heads"):
        built(heads=5)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"layers": [1, 0, 1]}, "layers"),
        ({"heads": 0}, "heads"),
        ({"dropout": 1.0}, "dropout"),
        ({"initializer_range": 0.0}, "initializer_range"),
    ],
)
def test_wrong_settings_are_errors(settings: dict[str, object], says: str) -> None:
    with raises("part.refused", match=says):
        build_part("fusers", "umt.interaction.v1", settings)


def test_shows_the_visual_gate_of_each_word() -> None:
    fuser, given = built(), batch(ONE)
    given.inputs["text"]["first_subword"] = torch.tensor([[1, 3, -1], [2, -1, -1]])
    examples = (Example.from_tokens("a", ["x", "y", "z"]), Example.from_tokens("b", ["x"]))
    given = replace(given, examples=examples, inspecting=True)
    with torch.no_grad():
        shown = fuser.inspect(fuser(ENCODERS, given), given)
        text, vision = given.inputs["text"], given.inputs["vision"]
        states = fuser.interact(text["tokens"], text["mask"], vision["grid"], vision["mask"])
        gates = torch.sigmoid(
            fuser.gate(torch.cat([states["image_aware_text"], states["word_aware_visual"]], dim=-1))
        ).mean(-1)
    first, second = (each["visual gate"] for each in shown)
    assert first.by_token and first.rows == ("x", "y", "z")
    assert first.values == [[pytest.approx(gates[0, at].item())] for at in (1, 3)] + [
        [pytest.approx(float("nan"), nan_ok=True)]
    ]
    assert second.values == [[pytest.approx(gates[1, 2].item())]]
    assert first.to_dict()["values"][2] == [None]
    assert "gate" not in run(fuser, replace(given, inspecting=False)).tensors
