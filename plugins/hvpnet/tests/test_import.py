"""From an authors' checkpoint to a run that predicts, with narrow stand-ins of their backbones."""

from __future__ import annotations

import json
import string
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoTokenizer, BertConfig, BertModel, BertTokenizer

import mmkit
from mmkit.model import assemble
from mmkit.recipe import load_recipe
from mmkit.runs.importing import import_checkpoint
from mmkit_hvpnet.convert import PREFIXES, TAGS, HvpnetImporter, Task, authors_names
from raising import raises

LAYERS = 2


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Overrides that name a narrow BERT and a narrow ResNet-50."""
    folder = tmp_path_factory.mktemp("backbones")
    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.ascii_lowercase]
    words += ["##" + letter for letter in string.ascii_lowercase]
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=8,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=128,
    )
    BertModel(config).save_pretrained(folder / "text")
    vocabulary = {word: i for i, word in enumerate(words)}
    BertTokenizer(vocab=vocabulary, model_max_length=128).save_pretrained(folder / "text")
    (folder / "vision").mkdir()
    args = {"channels": [2, 2, 2, 2], "stem_width": 2, "num_classes": 0}
    cfg = {"input_size": [3, 64, 64], "num_classes": 0, "first_conv": "conv1", "classifier": "fc"}
    config_json = {"architecture": "resnet50", "model_args": args, "pretrained_cfg": cfg}
    (folder / "vision" / "config.json").write_text(json.dumps(config_json))
    resnet = timm.create_model("resnet50", **args)
    save_file(resnet.state_dict(), folder / "vision" / "model.safetensors")
    return {"backbones.text": str(folder / "text"), "backbones.vision": str(folder / "vision")}


def authors_state(task: Task, backbones: dict[str, str]) -> dict[str, Tensor]:
    """What the authors' code would have saved for such backbones: our model's tensors under their names."""
    importer = HvpnetImporter()
    hint = {"ner": "crf.transitions", "re": "classifier.weight"}[task]
    labels = importer.labels({hint: torch.zeros(1)})
    recipe = load_recipe(importer.recipe({hint: torch.zeros(1)}), backbones)
    model = assemble(recipe, labels=labels)
    torch.manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    ours = model.state_dict()
    state = {"image_model.resnet.bn1.num_batches_tracked": torch.tensor(9)}
    for name in authors_names(task, LAYERS):
        kind = name.rpartition(".")[2]
        if name.startswith("gates."):
            state[name] = ours[f"fuser.gates.{kind}"].chunk(LAYERS)[int(name.split(".")[1])].clone()
        else:
            theirs = next(prefix for prefix in PREFIXES if name.startswith(prefix))
            state[name] = ours[PREFIXES[theirs] + name.removeprefix(theirs)]
    return state


@pytest.mark.parametrize("task", ["ner", "re"])
def test_an_authors_checkpoint_becomes_a_run(task: Task, backbones: dict[str, str], tmp_path: Path) -> None:
    state = authors_state(task, backbones)
    torch.save(state, tmp_path / "best_model.pth")
    run = import_checkpoint("hvpnet", tmp_path / "best_model.pth", tmp_path / "run", backbones)
    weights = run.model().state_dict()
    for theirs, ours in (
        (
            "bert.embeddings.word_embeddings.weight",
            "encoders.text.backbone.embeddings.word_embeddings.weight",
        ),
        ("image_model.resnet.layer4.2.conv3.weight", "encoders.vision.backbone.layer4.2.conv3.weight"),
        ("encoder_conv.2.bias", "fuser.project.2.bias"),
    ):
        assert torch.equal(weights[ours], state[theirs])
    gates = torch.cat([state[f"gates.{i}.weight"] for i in range(LAYERS)])
    assert torch.equal(weights["fuser.gates.weight"], gates)
    assert run.facts()["imported_from"] == {"paper": "hvpnet", "file": "best_model.pth"}


def test_markers_have_the_ids_the_authors_gave_them(backbones: dict[str, str], tmp_path: Path) -> None:
    torch.save(authors_state("re", backbones), tmp_path / "best_model.pth")
    run = import_checkpoint("hvpnet", tmp_path / "best_model.pth", tmp_path / "run", backbones)
    tokenizer = AutoTokenizer.from_pretrained(run.folder / "encoders" / "text")
    theirs = AutoTokenizer.from_pretrained(backbones["backbones.text"])
    markers = ["<s>", "</s>", "<o>", "</o>"]
    theirs.add_special_tokens({"additional_special_tokens": markers})
    assert tokenizer.convert_tokens_to_ids(markers) == theirs.convert_tokens_to_ids(markers)


def test_an_imported_run_predicts_with_the_authors_labels(backbones: dict[str, str], tmp_path: Path) -> None:
    state = authors_state("ner", backbones)
    state["fc.bias"][TAGS.index("B-ORG")] += 1000
    torch.save(state, tmp_path / "best_model.pth")
    run = import_checkpoint("hvpnet", tmp_path / "best_model.pth", tmp_path / "run", backbones)
    entities = mmkit.load(run.folder).predict(text="a dog")["entities"]
    assert [(e["text"], e["label"]) for e in entities] == [("a", "ORG"), ("dog", "ORG")]


def test_other_backbones_are_refused_with_shapes(backbones: dict[str, str], tmp_path: Path) -> None:
    state = {**authors_state("ner", backbones), "fc.weight": torch.zeros(13, 9)}
    torch.save(state, tmp_path / "best_model.pth")
    with raises("run.weights-do-not-fit", match=r"decoder.linear.weight: \(13, 9\) in") as caught:
        import_checkpoint("hvpnet", tmp_path / "best_model.pth", tmp_path / "run", backbones)
    assert "override the recipe's pretrained models" in caught.value.hint
    assert not (tmp_path / "run").exists()
