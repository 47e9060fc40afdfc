"""A linker in MIMIC's shape fits: towers that are trained and shared, tokens and patches, a score that is no cosine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image as Pillow
from safetensors.torch import load_file

import mimic_shape
import mmkit
from golden import CLOSE, authors_state, golden_files, salt_of
from mmkit.batch import Batch, Features, States
from mmkit.data.jsonl import write_jsonl
from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.types import Entity, Example, Image, Mention
from mmkit.decoders.entity_matcher import EntityMatcher
from mmkit.entities.linked import LinkedEntities
from mmkit.inference.evaluate import evaluate
from mmkit.recipe import load_recipe
from mmkit.runs.folder import Run
from mmkit.runs.weights import load_tensors
from mmkit.training.train import train

mimic_shape.register()

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 60, 220)}
PLACES = ("Avon", "Bree", "Cole", "Dorn", "Elba", "Fife", "Gent", "Hull")


class Table:
    """Tensors of entities in memory."""

    def __init__(self, tensors: Features, size: int = 4) -> None:
        self.tensors, self.size = tensors, size

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def gather(self, rows):
        return {name: tensor[rows] for name, tensor in self.tensors.items()}

    recent = gather

    def blocks(self):
        for first in range(0, len(self), self.size):
            yield first, {name: tensor[first : first + self.size] for name, tensor in self.tensors.items()}


NAMES = {
    "text.pooled": "text",
    "text.tokens": "text_tokens",
    "image.pooled": "image",
    "image.tokens": "image_tokens",
}


@pytest.mark.parametrize("file", golden_files("mimic"))
def test_golden_units_losses_and_ranks(file: Path, tmp_path: Path) -> None:
    """The authors' layers, with their weights, on given features of CLIP: through scorer, matcher and ranking."""
    golden = load_file(file)
    scorer = mimic_shape.MimicScorer(text=32, vision=48, dv=24, tglu=16, vdlu=20, cmfu=12)
    scorer.build({"text.pooled": 32}, {"text.pooled": 32})
    theirs = authors_state("mimic", salt_of(file))
    unused = {name for name in theirs if "context_layer_norm" in name}
    scorer.load_state_dict({name: tensor for name, tensor in theirs.items() if name not in unused})
    states = States({ours: golden[f"mention_{name}"][:, None] for ours, name in NAMES.items()})
    with torch.no_grad():
        kept = scorer.entity({ours: golden[f"entity_{name}"][:, None] for ours, name in NAMES.items()})
        scores = scorer.scores(scorer.query(states), kept)
    for name in ("score", "tglu", "vdlu", "cmfu"):
        torch.testing.assert_close(scores[name], golden[name], **CLOSE)

    decoder = EntityMatcher(loss="cross_entropy")
    base = KnowledgeBase.build(tmp_path / "base", [Entity(f"Q{i}", f"name {i}") for i in range(6)])
    decoder.build({}, {}, base)
    decoder.check_scorer(scorer)
    decoder.link_to(LinkedEntities(Table(kept), scorer))
    trained_on = [Example.from_tokens(str(i), ["x"], entity=f"Q{i}") for i in range(4)]
    losses = decoder.loss(states, decoder.targets(trained_on, {}))
    named = {"matching": "overall", "tglu": "text", "vdlu": "image", "cmfu": "image_text"}
    for ours, theirs_ in named.items():
        torch.testing.assert_close(losses[ours].detach().reshape(1), golden[f"{theirs_}_loss"], **CLOSE)
    torch.testing.assert_close(sum(losses.values()).detach().reshape(1), golden["loss"], **CLOSE)
    asked = [Example.from_tokens(str(i), ["x"], entity=f"Q{row}") for i, row in enumerate(golden["answer"])]
    ranks = decoder.rank(states, asked)
    assert [rank.overall for rank in ranks] == golden["rank"].tolist()
    found = decoder.decode(states, Batch(tuple(asked), {}))
    assert [p.links[0] for p in found] == [f"Q{row}" for row in golden["score"].argmax(1).tolist()]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Three entities share each name; a photo's colour tells which one is meant, and a word of their texts."""
    folder = tmp_path_factory.mktemp("world")
    for name, colour in COLOURS.items():
        Pillow.new("RGB", (20, 14), colour).save(folder / f"{name}.png")
    entities, examples = [], {"train": [], "dev": []}
    for i, place in enumerate(PLACES):
        for j, colour in enumerate(COLOURS):
            entity = Entity(
                f"Q{3 * i + j}",
                place,
                description=f"a {colour} house",
                images=(Image(str(folder / f"{colour}.png")),),
            )
            entities.append(entity)
            for split, words in (("train", "we saw"), ("train", "look at"), ("dev", "here is")):
                said = Example.from_tokens(
                    f"{split}-{words}-{entity.id}",
                    [*words.split(), place],
                    images=(Image(str(folder / f"{colour}.png")),),
                    mention=Mention(place),
                    entity=entity.id,
                )
                examples[split].append(said)
    write_jsonl(folder / "entities.jsonl", entities, "entities")
    for split, some in examples.items():
        write_jsonl(folder / f"{split}.jsonl", some, "examples")
    return folder


RECIPE = """
[recipe]
format = 1

[data.train]
@readers = "mmkit.jsonl.v1"
root = "{data}"
file = "train.jsonl"

[data.dev]
@readers = "mmkit.jsonl.v1"
root = "{data}"
file = "dev.jsonl"

[data.entities]
@readers = "mmkit.kb_jsonl.v1"
root = "{data}"
file = "entities.jsonl"

[model.encoders.text]
@encoders = "mimic_shape.text.v1"

[model.encoders.image]
@encoders = "mimic_shape.picture.v1"

[model.fuser]
@fusers = "mmkit.side_by_side.v1"
encoders = ["text", "image"]
features = ["pooled", "tokens"]

[model.entities]
share = {{"text": "text", "image": "image"}}
batch_size = 7
block = 10

[model.entities.encoders.text]
@encoders = "mimic_shape.text.v1"

[model.entities.encoders.image]
@encoders = "mimic_shape.picture.v1"

[model.entities.fuser]
@fusers = "mmkit.side_by_side.v1"
encoders = ["text", "image"]
features = ["pooled", "tokens"]

[model.entities.scorer]
@scorers = "mimic_shape.units.v1"

[model.decoder]
@decoders = "mmkit.entity_matcher.v1"
loss = "cross_entropy"
negatives = "random"
count = 1

[metrics.linking]
@metrics = "mmkit.linking.v1"

[training]
epochs = 20
batch_size = 12
learning_rate = 1e-2
schedule = "constant"
score = "linking.kb_mrr"
"""


@pytest.fixture(scope="module")
def recipe(data):
    (data / "mimic_shape.cfg").write_text(RECIPE.format(data=data), encoding="utf-8")
    return load_recipe(data / "mimic_shape.cfg")


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mimic") / "run"
    train(recipe, folder, device="cpu", quiet=True)
    return folder


def test_it_learns_from_texts_and_pictures(run, data):
    assert Run(run).facts()["figures"]["dev"]["linking.kb_top1"] >= 0.9
    model = mmkit.load(run, device="cpu")
    for colour, row in (("red", 0), ("blue", 2)):
        (best, *_) = model.link("here is Avon", "Avon", images=[data / f"{colour}.png"])
        assert best.entity == f"Q{row}" and 0 <= best.score <= 1


def test_it_is_saved_loaded_and_evaluated_the_same(run):
    before = Run(run).facts()["figures"]["dev"]
    saved = (run / "predictions" / "dev.jsonl").read_text(encoding="utf-8")
    figures, predictions = evaluate(run, "dev", device="cpu")
    assert {name: figures[name] for name in before} == before
    links = [json.loads(line)["links"] for line in saved.splitlines()[1:]]
    assert [list(p.links) for p in predictions] == links
    assert (run / "entities" / "text").is_dir()


def test_the_towers_are_one_in_memory_and_in_the_file(run):
    model = Run(run).model()
    shared = model.entity_encoders["text"], model.named_encoders["text"]
    assert shared[0] is not shared[1] and shared[0].words is shared[1].words
    assert model.entity_encoders["image"].first is model.named_encoders["image"].first
    file, tensors = run / "model.safetensors", load_tensors(run / "model.safetensors")
    distinct = {tensor.data_ptr(): tensor.nbytes for tensor in tensors.values()}
    assert {"encoders.text.words.weight", "entity_side.encoders.text.words.weight"} <= tensors.keys()
    assert sum(distinct.values()) < sum(tensor.nbytes for tensor in tensors.values())
    assert file.stat().st_size < sum(distinct.values()) + 40_000


def test_entities_are_trained_along(recipe, tmp_path):
    """The gold entities' tensors carry gradients into towers and scorer."""
    model = _assembled(recipe)
    items = model.items(list(recipe.build("data.train"))[:6])
    model.train()
    losses = model(model.collate(items))
    assert losses.keys() == {"matching", "tglu", "vdlu", "cmfu"}
    model.decoder.linked.tensors.gather(torch.arange(3))["global"].sum().backward()
    assert model.named_encoders["text"].words.weight.grad.any()
    assert model.entity_side.scorer.matcher["tglu"].fc_cls.weight.grad.any()


def _assembled(recipe):
    from mmkit.inference.features import prepare_entities
    from mmkit.loading.knowledge import read_entities
    from mmkit.model import assemble

    model = assemble(recipe, examples=[], entities=read_entities(recipe))
    prepare_entities(model, torch.device("cpu"), recipe.training)
    return model
