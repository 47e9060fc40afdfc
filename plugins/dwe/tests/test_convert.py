"""The authors' state dicts under our names: complete, or refused with a list of what is wrong."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmkit_dwe.convert import NAMES, DweImporter, convert_state
from mmkit_dwe.fuser import DualWay
from raising import raises


def authors_state() -> dict[str, Tensor]:
    """A state dict with the authors' names, every tensor one number that tells it from the others."""
    return {name: torch.full((1,), float(i)) for i, name in enumerate(NAMES)}


class Width:
    dim = 6


def test_the_names_are_those_of_the_fuser() -> None:
    fuser = DualWay(hidden=8)
    fuser.build({name: Width() for name in ("mention", "text", "photo", "parts")})  # type: ignore[misc]
    assert {f"fuser.{name}" for name in fuser.state_dict()} == {*NAMES.values(), "fuser.log_scale"}


def test_every_tensor_arrives_under_its_name() -> None:
    state = authors_state()
    converted = convert_state(state)
    assert all(converted[ours] is state[theirs] for theirs, ours in NAMES.items())
    assert converted["fuser.project_text.2.weight"] is state["text_trans.2.weight"]
    assert converted["fuser.head.1.bias"] is state["pedia_out_trans.1.bias"]


def test_the_scale_is_the_losses_own_or_its_start_value() -> None:
    assert convert_state(authors_state())["fuser.log_scale"].item() == pytest.approx(math.log(1 / 0.07))
    state = authors_state() | {"clip_loss.logit_scale": torch.tensor(3.0), "logit_scale": torch.tensor(2.0)}
    assert convert_state(state)["fuser.log_scale"].item() == 3.0


def test_what_nothing_uses_is_left_out_and_the_input_as_it_was() -> None:
    unused = ("split_trans.0.weight", "entity_trans.2.bias", "text_att.in_proj_weight", "logit_scale")
    state = authors_state() | dict.fromkeys(unused, torch.zeros(1))
    before = dict(state)
    assert convert_state(state).keys() == convert_state(authors_state()).keys()
    assert state == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gate.0.weight": torch.zeros(1)}, "1 unknown: gate.0.weight"),
        ({"img_att.in_proj_bias": None}, "1 missing: img_att.in_proj_bias"),
        (
            {"img_trans.4.bias": torch.zeros(1), "img_trans.2.bias": None},
            "unknown: img_trans.4.bias; 1 missing",
        ),
    ],
)
def test_other_names_are_refused_by_name(change: dict[str, Tensor | None], message: str) -> None:
    state = authors_state() | change
    with raises("import.not-of-paper", match=f"not a DWE checkpoint.*{message}"):
        convert_state({name: tensor for name, tensor in state.items() if tensor is not None})


def test_the_recipe_is_wikimels_and_a_file_of_another_model_is_refused() -> None:
    assert DweImporter().recipe(authors_state()) == "dwe_wikimel"
    with raises("import.not-of-paper"):
        DweImporter().recipe({"weight": torch.zeros(1)})
