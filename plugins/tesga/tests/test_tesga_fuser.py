"""The fuser: gate, tasks, dropconnect, and what it asks of encoders."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from linking import Given
from mmkit.batch import Batch
from mmkit_tesga.attention import GatedAttention
from mmkit_tesga.dropconnect import LinearDropConnect
from mmkit_tesga.fuser import SimilarityGated
from raising import raises

B, T, L, D = 2, 7, 4, 10
MASK = torch.arange(T) < torch.tensor([[7], [4]])
REAL = torch.arange(L) < torch.tensor([[3], [4]])


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fuser(**settings: object) -> SimilarityGated:
    torch.manual_seed(0)
    made = SimilarityGated(**{"hidden": 8, "heads": 2, **settings})
    made.build({name: Given(D) for name in ("text", "visual", "similarity")})
    return made.eval()


def given() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return draw(B, T, D), MASK, draw(B, L, D, seed=1), REAL, torch.tensor([[0.4], [0.9]])


def test_the_released_form_attends_to_padding() -> None:
    text, mask, visual, real, similarity = given()
    changed = text.masked_fill(~mask.unsqueeze(2), 5.0)
    made = fuser(mask_padding=False)
    first = made.fuse(text, mask, visual, real, similarity)["entities"]
    other = made.fuse(changed, mask, visual, real, similarity)["entities"]
    assert not torch.allclose(first[mask], other[mask])


def test_the_similarity_gates_what_the_picture_adds() -> None:
    text, mask, visual, real, similarity = given()
    fused = {
        gate: fuser().fuse(text, mask, visual, real, torch.full_like(similarity, gate))["entities"]
        for gate in (0.0, 1.0)
    }
    assert torch.equal(fused[0.0][..., :8], fused[1.0][..., :8]), "the enhanced states are not gated"
    assert not torch.allclose(fused[0.0][..., 8:], fused[1.0][..., 8:])


def test_one_task_is_the_same_network_with_the_other_left_out() -> None:
    joint, alone = fuser(), fuser(tasks=["entities"])
    state = {k: v for k, v in joint.state_dict().items() if "relations" not in k}
    for name in ("from_text.weight", "from_text.bias"):
        state[name] = state[name][:16]
    alone.load_state_dict(state)
    assert torch.equal(alone.fuse(*given())["entities"], joint.fuse(*given())["entities"])
    assert "relations" not in alone.provides and alone.dims == {"entities": 16}


def test_one_query_stands_for_the_same_one_at_each_position() -> None:
    torch.manual_seed(0)
    block = GatedAttention(8, 2, 0.0)
    query, sequence, gate = draw(B, 1, 8), draw(B, T, 8, seed=1), torch.tensor([[0.4], [0.9]])
    repeated = block(query.expand(-1, T, -1), sequence, MASK, gate)
    torch.testing.assert_close(block(query, sequence, MASK, gate), repeated)


def test_dropconnect_drops_weights_in_training_alone() -> None:
    torch.manual_seed(0)
    layer = LinearDropConnect(200, 100, 0.1)
    x = torch.eye(200)
    full = layer.eval()(x) - layer.bias
    assert torch.allclose(full, layer.weight.T)
    kept = layer.train()(x) - layer.bias
    dropped = kept.abs() < 1e-6
    assert 0.08 < dropped.float().mean() < 0.12
    torch.testing.assert_close(kept[~dropped], full[~dropped] / 0.9)


def test_runs_on_what_the_encoders_give() -> None:
    text, mask, visual, real, similarity = given()
    made = fuser()
    inputs = {
        "text": {"tokens": text, "mask": mask, "first_subword": torch.zeros(B, 3, dtype=torch.long)},
        "visual": {
            "tokens": visual.unsqueeze(1),
            "lengths": real.sum(1, keepdim=True),
            "mask": torch.tensor([[True], [True]]),
        },
        "similarity": {"similarity": similarity.unsqueeze(1), "mask": torch.tensor([[True], [True]])},
    }
    states = made({name: Given(D) for name in inputs}, Batch((), inputs))
    for task, value in made.fuse(text, mask, visual, real, similarity).items():
        assert torch.equal(states[task], value)
    assert {"mask", "first_subword", "entities", "relations"} <= states.tensors.keys()

    absent = made.fuse(text, mask, visual, real, similarity * torch.tensor([[1.0], [0.0]]))["entities"]
    for encoder in ("visual", "similarity"):  # given similarities are real where the photo is not
        without = {**inputs, encoder: {**inputs[encoder], "mask": torch.tensor([[True], [False]])}}
        none = made({name: Given(D) for name in inputs}, Batch((), without))["entities"]
        assert torch.equal(none, absent), "a photo that is not there adds nothing"


@pytest.mark.parametrize(
    "settings",
    [
        {"tasks": ["entities", "entities"]},
        {"tasks": []},
        {"hidden": 0},
        {"heads": 0},
        {"dropconnect": 1.5},
        {"dropconnect": -0.1},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object]) -> None:
    [name] = settings
    with raises("part.setting", match=name):
        SimilarityGated(**settings)


def test_shows_its_gate_which_is_closed_without_a_photo() -> None:
    text, mask, visual, real, similarity = given()
    inputs = {
        "text": {"tokens": text, "mask": mask, "first_subword": torch.zeros(B, 3, dtype=torch.long)},
        "visual": {
            "tokens": visual.unsqueeze(1),
            "lengths": real.sum(1, keepdim=True),
            "mask": torch.tensor([[True], [False]]),
        },
        "similarity": {"similarity": similarity.unsqueeze(1), "mask": torch.tensor([[True], [True]])},
    }
    encoders, batch = {name: Given(D) for name in inputs}, Batch((), inputs, inspecting=True)
    made = fuser()
    shown = made.inspect(made(encoders, batch), batch)
    values = [each["similarity gate"].values for each in shown]
    assert values == [[[pytest.approx(0.4)]], [[0.0]]]
    assert "gate" not in made(encoders, Batch((), inputs)).tensors
