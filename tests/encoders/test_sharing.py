"""Frozen encoders of one checkpoint are one network: in memory, on disk, and for the hash of its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from mmkit.data.sample.mel import wikimel_sample
from mmkit.data.types import Example
from mmkit.encoders import sharing as module
from mmkit.encoders.clip_image import ClipImageEncoder
from mmkit.encoders.clip_text import ClipTextEncoder
from mmkit.encoders.sharing import shared, sharing, weights_hash
from mmkit.encoders.transformer import TransformerEncoder
from mmkit.loading.knowledge import read_entities
from mmkit.loading.splits import read_split
from mmkit.model import Model, assemble
from mmkit.recipe import Recipe, load_recipe
from mmkit.runs.folder import Run, save_run
from mmkit.training.checkpoint import trained_state

RECIPE = """
[recipe]
format = 1
seed = 7

[data.train]
@readers = "mmkit.wikimel.v1"
root = "{root}"
file = "wikimel.json"
split = "train"
images = "images"

[data.entities]
@readers = "mmkit.kb_jsonl.v1"
root = "{root}"
file = "kb.jsonl"

[model.encoders.mention]
@encoders = "mmkit.clip_text.v1"
name = "{clip}"
source = "mention"

[model.encoders.text]
@encoders = "mmkit.clip_text.v1"
name = "{clip}"
source = "mention_sentence"

[model.encoders.photo]
@encoders = "mmkit.clip_image.v1"
name = "{clip}"

[model.encoders.parts]
@encoders = "mmkit.clip_image.v1"
name = "{clip}"
source = "objects"
slots = 8

[model.encoders.entity]
@encoders = "mmkit.clip_text.v1"
name = "{clip}"
source = "description"

[model.fuser]
@fusers = "mmkit.pooled_query.v1"
encoders = ["mention", "text", "photo", "parts"]
hidden = 32

[model.decoder]
@decoders = "mmkit.entity_matcher.v1"
entities = "entity"

[metrics.linking]
@metrics = "mmkit.linking.v1"

[training]
epochs = 1
batch_size = 8
save_frozen = {save_frozen}
score = "linking.top1"
"""


def test_one_network_for_a_key_within_a_block() -> None:
    def make() -> nn.Module:
        return nn.Linear(1, 1)

    assert shared("a", make) is not shared("a", make)
    with sharing():
        first, other = shared("a", make), shared("b", make)
        assert shared("a", make) is first and other is not first
        with sharing():
            assert shared("a", make) is not first
        assert shared("a", make) is first
    assert shared("a", make) is not first


def test_what_shares(tiny_clip: Path, tiny_bert: Path) -> None:
    clip, bert = str(tiny_clip), str(tiny_bert)
    with sharing():
        texts = [ClipTextEncoder(clip, source) for source in ("mention", "description")]
        trained = ClipTextEncoder(clip, "mention", frozen=False)
        pictures = [ClipImageEncoder(clip), ClipImageEncoder(clip, "objects", slots=3)]
        plain = [TransformerEncoder(bert, source=s, frozen=True) for s in ("mention", "sentence")]
        marked = TransformerEncoder(bert, frozen=True)
        encoders = [*texts, trained, *pictures, *plain, marked]
        for encoder in encoders:
            encoder.build(("[E]",))
    assert texts[0].backbone is texts[1].backbone and pictures[0].backbone is pictures[1].backbone
    assert plain[0].backbone is plain[1].backbone
    assert len({id(encoder.backbone) for encoder in encoders}) == 5
    assert all(p.requires_grad for p in trained.parameters())
    assert not any(p.requires_grad for encoder in (*texts, *pictures, *plain) for p in encoder.parameters())
    alone = ClipTextEncoder(clip, "mention")
    alone.build()
    assert alone.backbone is not texts[0].backbone


def test_shared_weights_are_hashed_once(tiny_clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sharing():
        encoders = [ClipTextEncoder(str(tiny_clip), source) for source in ("mention", "sentence", "name")]
        for encoder in encoders:
            encoder.build()
    hashed: list[int] = []
    original = module._hash
    monkeypatch.setattr(module, "_hash", lambda tensors: hashed.append(len(tensors)) or original(tensors))
    assert len({encoder.fingerprint() for encoder in encoders}) == 1
    assert sum(hashed) == len(encoders[0].backbone.state_dict())


def test_a_kept_hash_notices_changes() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    seen = {weights_hash(network)}
    with torch.no_grad():
        network[0].weight[0, 0] += 1
    seen.add(weights_hash(network))
    network.load_state_dict({k: v + 1 for k, v in network.state_dict().items()})
    seen.add(weights_hash(network))
    network[1](torch.ones(2, 2))  # running statistics
    seen.add(weights_hash(network))
    assert len(seen) == 4 and weights_hash(network) in seen


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> str:
    return wikimel_sample(tmp_path_factory.mktemp("world") / "wikimel", seed=1)["train"]["root"]


@pytest.fixture
def recipe(tmp_path: Path, world: str, tiny_clip: Path, request: pytest.FixtureRequest) -> Recipe:
    save_frozen = getattr(request, "param", "true")
    path = tmp_path / "shared.cfg"
    path.write_text(RECIPE.format(root=world, clip=tiny_clip, save_frozen=save_frozen), encoding="utf-8")
    return load_recipe(path)


def linked(model: Model, examples: list[Example]) -> Tensor:
    """What the fuser makes of some examples, each encoder having read them."""
    return model.eval().fuser(model.named_encoders, model.collate(model.items(examples), targets=False))[
        "query"
    ]


TEXTS, PICTURES = ("entity", "mention", "text"), ("parts", "photo")


def networks(model: Model) -> list[int]:
    """The sets of encoders that share, as how many networks there are of texts and of pictures."""
    encoders: dict[str, Any] = model.named_encoders
    return [len({id(encoders[name].backbone) for name in names}) for names in (TEXTS, PICTURES)]


@pytest.mark.parametrize("recipe", ["true", "false"], indirect=True)
def test_a_run_holds_a_shared_network_once(recipe: Recipe, tmp_path: Path, tiny_clip: Path) -> None:
    examples, entities = read_split(recipe, "train").examples[:4], read_entities(recipe)
    model = assemble(recipe, examples=examples, entities=entities)
    assert networks(model) == [1, 1]
    run = save_run(tmp_path / "run", recipe, model)
    kept = recipe.training.save_frozen
    with safe_open(run.weights_file, framework="pt") as file:
        written = [name for name in file.keys() if name.startswith("encoders.")]  # noqa: SIM118 - not a mapping
    once = {name.split(".", 2)[2] for name in written}
    assert len(written) == len(once) and bool(once) == kept
    backbones = (tiny_clip / "model.safetensors").stat().st_size
    heads = sum(p.nbytes for p in model.fuser.parameters())
    assert run.weights_file.stat().st_size < heads + kept * backbones + 60_000
    again = Run(run.folder).model()
    assert networks(again) == [1, 1]
    assert model.state_dict().keys() == again.state_dict().keys()
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    )
    assert torch.equal(linked(again, examples), linked(model, examples))


def test_a_model_with_shared_networks_moves_and_trains_as_any(recipe: Recipe, tmp_path: Path) -> None:
    examples = read_split(recipe, "train").examples[:4]
    model = assemble(recipe, examples=examples, entities=read_entities(recipe)).train()
    before = {name: encoder.fingerprint() for name, encoder in model.named_encoders.items()}
    assert len(set(before.values())) == 2
    assert not any(encoder.training for encoder in model.named_encoders.values())
    model.to(torch.float64).to(torch.float32).to("cpu")
    assert networks(model) == [1, 1]
    assert {n: e.fingerprint() for n, e in model.named_encoders.items()} == before
    assert not any(name.startswith("encoders.") for name in trained_state(model))
    two = assemble(recipe, examples=examples, entities=read_entities(recipe))
    assert two.named_encoders["text"].backbone is not model.named_encoders["text"].backbone


def test_an_encoder_that_is_trained_has_a_network_of_its_own(recipe: Recipe, tmp_path: Path) -> None:
    recipe = recipe.with_overrides(
        {"model.encoders.entity.frozen": True, "model.encoders.text.frozen": False}
    )
    examples = read_split(recipe, "train").examples[:2]
    model = assemble(recipe, examples=examples, entities=read_entities(recipe))
    assert networks(model) == [2, 1]
    with torch.no_grad():
        model.named_encoders["text"].backbone.text_projection.weight.zero_()
    again = Run(save_run(tmp_path / "run", recipe, model).folder).model()
    assert networks(again) == [2, 1]
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    )
