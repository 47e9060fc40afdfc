"""From an authors' checkpoint to a run, with tiny backbones in place of theirs: it predicts what theirs would."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from mmkit.data.types import Example
from mmkit.inference.predictor import Predictor
from mmkit.loading.sample import sampled
from mmkit.model import Model, assemble
from mmkit.recipe import Recipe, load_recipe
from mmkit.runs.importing import import_checkpoint
from mmkit_tesga.convert import INPUT, KEPT, UNK, WORDS, Form, TesgaImporter, authors_names
from raising import raises

RECIPES = {"joint": "tesga_jmere", "entities": "tesga_twitter15", "relations": "tesga_mnre"}
BERT = "encoders.text.backbone."


def tiny(form: Form) -> tuple[dict[str, Any], list[Example]]:
    """What makes the shipped recipe one of tiny backbones and a narrow network; and some sample examples."""
    sample = sampled(load_recipe(RECIPES[form]))
    names = {name: sample.build(f"model.encoders.{name}").name for name in ("text", "visual", "similarity")}
    overrides = {f"model.encoders.{encoder}.name": name for encoder, name in names.items()}
    narrow = {"model.fuser.hidden": 12, "model.fuser.heads": 2}
    return {**overrides, **narrow}, list(sample.build("data.test"))[:8]


def untrained(form: Form, recipe: Recipe) -> Model:
    """A network as the authors' file would hold one, with their labels: its markers are what [UNK] is."""
    names = dict.fromkeys(authors_names(form), torch.zeros(1))
    model = assemble(recipe, labels=TesgaImporter().labels(names)).eval()
    if form == "relations":
        with torch.no_grad():
            words: Tensor = model.get_parameter(WORDS)
            words[-4:] = words[UNK]
    return model


def authors_state(form: Form, model: Model) -> dict[str, Tensor]:
    """What the authors' code would have saved of it, with everything that is no part of what it computes."""
    own = model.state_dict()
    state = {theirs: own[ours].clone() for theirs, ours in authors_names(form).items()}
    for theirs in INPUT:
        state[f"{theirs}.weight"] /= KEPT
        state[f"{theirs}._weight"] = torch.randn_like(state[f"{theirs}.weight"])
    state |= {f"bert.{name.removeprefix(BERT)}": own[name] for name in own if name.startswith(BERT)}
    if form == "relations":
        words = "bert.embeddings.word_embeddings.weight"
        state[words] = state[words][:-4]  # they know no markers
    if form == "entities":
        state["get_re_ls_feature.weight_ih_l0"] = torch.randn(3)
    return state | {
        "bert.embeddings.position_ids": torch.arange(512)[None],
        "bert.pooler.dense.weight": torch.randn(4, 4),
        "img_model.visual_encoder.cls_token": torch.randn(1, 1, 8),
    }


@pytest.mark.parametrize("form", get_args(Form))
def test_an_imported_checkpoint_predicts_what_the_authors_model_does(form: Form, tmp_path: Path) -> None:
    overrides, examples = tiny(form)
    recipe = load_recipe(RECIPES[form], overrides)
    model = untrained(form, recipe)
    torch.save({"model": authors_state(form, model), "epoch": 59}, tmp_path / "best.pth")
    run = import_checkpoint("tesga", tmp_path / "best.pth", tmp_path / "run", overrides)
    wanted = Predictor(model, recipe, "cpu").predict_batch(examples)
    found = Predictor.from_run(run.folder, "cpu").predict_batch(examples)
    assert any(prediction.spans or prediction.relations for prediction in wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.spans == other.spans and one.relations == other.relations
        assert one.span_scores == pytest.approx(other.span_scores, abs=1e-5)
        assert one.relation_scores == pytest.approx(other.relation_scores, abs=1e-5)


def test_another_width_is_refused_with_shapes(tmp_path: Path) -> None:
    overrides, _ = tiny("joint")
    model = untrained("joint", load_recipe(RECIPES["joint"], overrides))
    torch.save(authors_state("joint", model), tmp_path / "best.pth")
    wider = {**overrides, "model.fuser.hidden": 16}
    with raises("run.weights-do-not-fit", match=r"norm\.bias: \(12,\) in the file, \(16,\) in"):
        import_checkpoint("tesga", tmp_path / "best.pth", tmp_path / "run", wider)


def test_another_checkpoint_is_refused_by_its_file(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "best.pth")
    with raises("import.not-of-paper") as error:
        import_checkpoint("tesga", tmp_path / "best.pth", tmp_path / "run")
    assert error.value.where == str(tmp_path / "best.pth")
