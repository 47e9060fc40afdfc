"""The authors' state dicts under our names: complete, or refused with a list of what is wrong; and as a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmkit.inference.evaluate import evaluate
from mmkit.loading.sample import sampled
from mmkit.model import assemble
from mmkit.recipe import load_recipe
from mmkit.runs.importing import import_checkpoint
from mmkit_mimic.convert import NAMES, MimicImporter, convert_state
from raising import raises

CLIP = (
    "encoder.clip.text_model.final_layer_norm.weight",
    "encoder.clip.text_projection.weight",
    "encoder.clip.vision_model.pre_layrnorm.bias",
    "encoder.clip.visual_projection.weight",
)


def authors_state() -> dict[str, Tensor]:
    """A state dict with the authors' names, every tensor one number that tells it from the others."""
    return {name: torch.full((1,), float(i)) for i, name in enumerate((*sorted(NAMES), *CLIP))}


def test_layers_and_both_sides_of_clip_arrive_under_their_names() -> None:
    state = authors_state()
    found = convert_state(state)
    assert all(found[f"entity_side.scorer.{name}"] is state[name] for name in NAMES)
    for side in ("encoders", "entity_side.encoders"):
        assert found[f"{side}.text.backbone.text_projection.weight"] is state[CLIP[1]]
        assert found[f"{side}.picture.backbone.vision_model.pre_layrnorm.bias"] is state[CLIP[2]]
        assert found[f"{side}.picture.backbone.visual_projection.weight"] is state[CLIP[3]]
    assert len(found) == len(NAMES) + 2 * len(CLIP)


def test_what_nothing_uses_is_left_out() -> None:
    unused = (
        "matcher.cmfu.context_layer_norm.weight",
        "encoder.clip.logit_scale",
        "encoder.clip.text_model.embeddings.position_ids",
    )
    state = authors_state() | dict.fromkeys(unused, torch.zeros(1))
    assert convert_state(state).keys() == convert_state(authors_state()).keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"matcher.gate.weight": torch.zeros(1)}, "1 unknown: matcher.gate.weight"),
        ({"encoder.clip.audio.weight": torch.zeros(1)}, "1 unknown: encoder.clip.audio.weight"),
        ({"matcher.tglu.fc_key.bias": None}, "1 missing: matcher.tglu.fc_key.bias"),
    ],
)
def test_other_names_are_refused_by_name(change: dict[str, Tensor | None], message: str) -> None:
    state = authors_state() | change
    with raises("import.not-of-paper", match=f"not a MIMIC checkpoint.*{message}"):
        convert_state({name: tensor for name, tensor in state.items() if tensor is not None})


def test_the_recipe_is_the_released_one_and_a_file_of_another_model_is_refused() -> None:
    assert MimicImporter().recipe(authors_state()) == "mimic_richpedia_released"
    with raises("import.not-of-paper", match="no matcher.tglu"):
        MimicImporter().recipe({"weight": torch.zeros(1)})


def test_an_authors_checkpoint_becomes_a_run_that_evaluates(tmp_path: Path) -> None:
    path = tmp_path / "mimic_richpedia_released.cfg"
    path.write_text(sampled(load_recipe("mimic_richpedia_released")).to_str(), encoding="utf-8")
    model = assemble(load_recipe(path), labels={}).state_dict()
    torch.manual_seed(0)
    state = {}
    for name, tensor in model.items():
        theirs = name.removeprefix("entity_side.scorer.")
        if name.startswith("encoders."):
            theirs = f"encoder.clip.{name.partition('.backbone.')[2]}"
        elif name.startswith("entity_side.encoders."):
            continue
        state[theirs] = 0.1 * torch.randn(tensor.shape)
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "epoch=3.ckpt")
    run = import_checkpoint("mimic", tmp_path / "epoch=3.ckpt", tmp_path / "run", recipe=str(path))
    weights = run.model().state_dict()
    name = "text.backbone.text_projection.weight"
    for side in ("encoders", "entity_side.encoders"):
        assert torch.equal(weights[f"{side}.{name}"], state["encoder.clip.text_projection.weight"])
    figures, _ = evaluate(run.folder, device="cpu")
    assert 0 <= figures["linking.kb_top1"] <= 1 and figures["linking.recall"] == 1
