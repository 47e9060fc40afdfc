"""The authors' state dicts under our names: complete, or refused with a list of what is wrong."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmkit_dim.convert import NAMES, DimImporter, convert_state
from mmkit_dim.fuser import DynamicQuery
from raising import raises


def authors_state() -> dict[str, Tensor]:
    """A state dict with the authors' names, every tensor one number that tells it from the others."""
    return {name: torch.full((1,), float(i)) for i, name in enumerate(NAMES)}


class Width:
    dim = 6


def test_the_names_are_those_of_the_released_form() -> None:
    fuser = DynamicQuery()
    fuser.build({name: Width() for name in ("mention", "text", "photo", "caption")})  # type: ignore[misc]
    assert {f"fuser.{name}" for name in fuser.state_dict()} == set(NAMES.values())


def test_every_tensor_arrives_under_its_name_and_nothing_else() -> None:
    unused = ("img_trans.0.weight", "img_att.in_proj_weight", "text_att.out_proj.bias", "gate.gate.0.weight")
    scales = ("logit_scale", "clip_loss.logit_scale")
    state = authors_state() | dict.fromkeys((*unused, *scales), torch.zeros(1))
    before = dict(state)
    assert convert_state(state) == {ours: state[theirs] for theirs, ours in NAMES.items()}
    assert state == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gates.0.weight": torch.zeros(1)}, "1 unknown: gates.0.weight"),
        ({"text_trans.0.bias": None}, "1 missing: text_trans.0.bias"),
    ],
)
def test_other_names_are_refused_by_name(change: dict[str, Tensor | None], message: str) -> None:
    state = authors_state() | change
    with raises("import.not-of-paper", match=f"not a DIM checkpoint.*{message}"):
        convert_state({name: tensor for name, tensor in state.items() if tensor is not None})


def test_the_recipe_is_wikimels_and_a_file_of_another_model_is_refused() -> None:
    assert DimImporter().recipe(authors_state()) == "dim_wikimel"
    with raises("import.not-of-paper"):
        DimImporter().recipe({"weight": torch.zeros(1)})
