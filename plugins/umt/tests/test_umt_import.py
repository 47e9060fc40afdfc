"""From an authors' checkpoint to a run, with tiny backbones in place of theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mmkit.data.types import Example
from mmkit.inference.predictor import Predictor
from mmkit.loading.sample import sampled
from mmkit.model import Model, assemble
from mmkit.recipe import load_recipe
from mmkit.runs.importing import import_checkpoint
from mmkit_umt.convert import BACKBONES, STACKS, UmtImporter, authors_names, convert_state
from raising import raises

ONE_EACH = dict.fromkeys(STACKS, 1)


def bare(layers: int = 1) -> dict[str, Tensor]:
    """A state dict of the authors' names, each tensor one number that tells it from the others."""
    names = ["bert.embeddings.word_embeddings.weight", *authors_names(dict.fromkeys(STACKS, layers))]
    return {name: torch.full((1,), float(i)) for i, name in enumerate(names)}


@pytest.mark.parametrize("layers", [1, 11])
def test_every_tensor_arrives_under_a_name_of_ours(layers: int) -> None:
    state = bare(layers)
    converted = convert_state(state)
    assert {name.split(".")[0] for name in converted} == {"encoders", "fuser", "decoder"}
    assert sorted(t.item() for t in converted.values()) == sorted(t.item() for t in state.values())


def test_what_nothing_uses_is_left_out() -> None:
    real = bare() | {
        "bert.embeddings.position_ids": torch.arange(512),
        "bert.pooler.dense.weight": torch.zeros(1),
        "resnet.fc.bias": torch.zeros(1),
        "resnet.bn1.num_batches_tracked": torch.tensor(7),
    }
    assert convert_state(real).keys() == convert_state(bare()).keys()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"txt2img_attention.layer.1.output.dense.weight": torch.zeros(1)},
            "15 .*txt2img_attention",
        ),
        ({"pooler.weight": torch.zeros(1)}, r"1 .*pooler\.weight"),
        ({"aux_crf.transitions": None}, r"1 .*aux_crf\.transitions"),
        (
            {"bert.embeddings.word_embeddings.weight": None},
            r"1 .*bert\.embeddings\.word_embeddings",
        ),
    ],
)
def test_other_names_are_refused_by_name(change: dict[str, Tensor | None], says: str) -> None:
    state = {name: tensor for name, tensor in (bare() | change).items() if tensor is not None}
    with raises("import.not-of-paper", match=says):
        convert_state(state)


def tiny() -> tuple[dict[str, Any], list[Example]]:
    """What makes the shipped recipe one of tiny backbones; and some sample examples."""
    sample = sampled(load_recipe("umt_twitter15"))
    encoders = sample.config["model"]["encoders"]
    backbones = {f"backbones.{name}": encoders[name]["name"] for name in ("text", "vision")}
    narrow = {"model.fuser.heads": 4, "model.encoders.vision.grid": 2, "model.fuser.initializer_range": 0.3}
    return backbones | narrow, list(sample.build("data.test"))[:8]


def authors_state(model: Model, image: bool) -> dict[str, Tensor]:
    """What the authors' code would have saved of it, with or without the image encoder's file."""
    own = model.state_dict()
    state = {theirs: own[ours].clone() for theirs, ours in authors_names(ONE_EACH).items()}
    for theirs, ours in BACKBONES.items():
        if image or theirs == "bert.":
            state |= {theirs + n.removeprefix(ours): t.clone() for n, t in own.items() if n.startswith(ours)}
    return state


@pytest.mark.parametrize("image", [False, True])
def test_an_imported_checkpoint_predicts_what_the_authors_model_does(image: bool, tmp_path: Path) -> None:
    overrides, examples = tiny()
    recipe = load_recipe("umt_twitter15", overrides)
    torch.manual_seed(0)
    model = assemble(recipe, labels=UmtImporter().labels({})).eval()
    with torch.no_grad():
        for parameter in (*model.fuser.parameters(), *model.decoder.parameters()):
            parameter.add_(0.3 * torch.randn_like(parameter))
        if image:
            for buffer in model.encoders["vision"].buffers():
                if buffer.is_floating_point():
                    buffer.mul_(1.1)
    torch.save(authors_state(model, image), tmp_path / "pytorch_model.bin")
    run = import_checkpoint("umt", tmp_path / "pytorch_model.bin", tmp_path / "run", overrides)
    wanted = Predictor(model, recipe, "cpu").predict_batch(examples)
    found = Predictor.from_run(run.folder, "cpu").predict_batch(examples)
    assert any(prediction.spans for prediction in wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.spans == other.spans
        assert one.span_scores == pytest.approx(other.span_scores, abs=1e-5)


def test_another_width_is_refused_with_shapes(tmp_path: Path) -> None:
    overrides, _ = tiny()
    model = assemble(load_recipe("umt_twitter15", overrides), labels=UmtImporter().labels({}))
    torch.save(authors_state(model, False), tmp_path / "pytorch_model.bin")
    wider = {**overrides, "model.fuser.hidden": 16}
    with raises("run.weights-do-not-fit", match=r"widen\.bias: \(256,\).*\(16,\)"):
        import_checkpoint("umt", tmp_path / "pytorch_model.bin", tmp_path / "run", wider)


def test_another_checkpoint_is_refused_by_its_file(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    with raises("import.not-of-paper") as error:
        import_checkpoint("umt", tmp_path / "pytorch_model.bin", tmp_path / "run")
    assert error.value.where == str(tmp_path / "pytorch_model.bin")
