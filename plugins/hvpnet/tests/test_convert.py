"""The authors' state dicts under our names: complete, or refused with a list of what is wrong."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmkit_hvpnet.convert import RELATIONS, HvpnetImporter, Task, authors_names, convert_state
from raising import raises


def authors_state(task: Task, layers: int = 2) -> dict[str, Tensor]:
    """A state dict with the authors' names, every tensor one number that tells it from the others."""
    return {name: torch.full((1,), float(i)) for i, name in enumerate(authors_names(task, layers))}


@pytest.mark.parametrize("task", ["ner", "re"])
def test_every_tensor_arrives_under_a_name_of_ours(task: Task) -> None:
    state = authors_state(task)
    converted = convert_state(state)
    assert len(converted) == len(state) - 2  # the two layers' gates are one tensor each for weight and bias
    assert {name.split(".")[0] for name in converted} == {"encoders", "fuser", "decoder"}
    carried = torch.cat(list(converted.values()))
    assert sorted(carried.tolist()) == sorted(t.item() for t in state.values())
    assert (
        converted["encoders.text.backbone.encoder.layer.1.output.dense.bias"]
        is (state["bert.encoder.layer.1.output.dense.bias"])
    )
    assert (
        converted["encoders.vision.backbone.layer4.2.bn3.running_var"]
        is (state["image_model.resnet.layer4.2.bn3.running_var"])
    )


def test_gates_are_stacked_in_the_order_of_the_layers() -> None:
    state = authors_state("ner", layers=12)
    for i in range(12):
        state[f"gates.{i}.weight"] = torch.full((4, 3), float(i))
    weight = convert_state(state)["fuser.gates.weight"]
    assert weight.shape == (48, 3)
    assert weight.view(12, 4, 3)[:, 0, 0].tolist() == list(range(12))


def test_heads_of_both_tasks() -> None:
    ner, relations = convert_state(authors_state("ner")), convert_state(authors_state("re"))
    assert {n for n in ner if n.startswith("decoder.")} == {
        "decoder.linear.weight",
        "decoder.linear.bias",
        "decoder.crf.transitions",
        "decoder.crf.start_transitions",
        "decoder.crf.end_transitions",
    }
    assert {n for n in relations if n.startswith("decoder.")} == {
        "decoder.linear.weight",
        "decoder.linear.bias",
    }


def test_what_nothing_uses_is_left_out() -> None:
    state = authors_state("ner")
    real = state | {
        "bert.embeddings.position_ids": torch.arange(512),
        "bert.pooler.dense.weight": torch.zeros(1),
        "image_model.resnet.fc.bias": torch.zeros(1),
        "image_model.resnet.bn1.num_batches_tracked": torch.tensor(7),
    }
    assert convert_state(real).keys() == convert_state(state).keys()


def test_the_input_is_left_as_it_was() -> None:
    state = authors_state("re")
    before = dict(state)
    convert_state(state)
    assert state == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip.logit_scale": torch.zeros(1)}, "1 unknown: clip.logit_scale"),
        ({"encoder_conv.2.weight": None}, "1 missing: encoder_conv.2.weight"),
        (
            {"gates.0.bias": None, "gates.2.bias": torch.zeros(1)},
            "unknown: gates.2.bias; 1 missing: gates.0.bias",
        ),
        ({"bert.encoder.layer.0.output.dense.bias": None}, "missing: bert.encoder.layer.0.output.dense.bias"),
    ],
)
def test_other_names_are_refused_by_name(change: dict[str, Tensor | None], message: str) -> None:
    state = authors_state("ner") | change
    with raises("import.not-of-paper", match=message):
        convert_state({name: tensor for name, tensor in state.items() if tensor is not None})


def test_a_file_of_another_model_is_refused() -> None:
    with raises("import.not-of-paper"):
        HvpnetImporter().recipe({"weight": torch.zeros(1)})


def test_the_recipe_is_the_one_of_the_task() -> None:
    importer = HvpnetImporter()
    assert importer.recipe(authors_state("ner")) == "hvpnet_twitter15"
    assert importer.recipe(authors_state("re")) == "hvpnet_mnre"


def test_relations_are_the_23_of_mnre() -> None:
    assert len(set(RELATIONS)) == 23
    assert RELATIONS[0] == "None"
