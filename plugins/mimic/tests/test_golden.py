"""The authors' network: with their weights, imported as a checkpoint's are, ours computes the same.

`mimic` gives the authors' layers features of CLIP; `mimic_clip` is the whole network, with a small CLIP.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from golden import CLOSE, authors_state, golden_files, salt_of
from linking import Given
from mmkit.batch import Batch, Features
from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.types import Entity, Example
from mmkit.decoders.entity_matcher import EntityMatcher
from mmkit.encoders.base import Encoder
from mmkit.entities.linked import LinkedEntities
from mmkit.entities.side import EntitySide
from mmkit.model import Model
from mmkit.runs.importing import load_converted
from mmkit_mimic.convert import convert_state
from mmkit_mimic.picture import PictureTower
from mmkit_mimic.scorer import ThreeUnits
from mmkit_mimic.text import TextTower
from mmkit_mimic.towers import Towers

LOSSES = {"matching": "overall", "tglu": "text", "vdlu": "image", "cmfu": "image_text"}
"""Our losses → theirs."""


class GivenTower(Given):
    provides = frozenset({"pooled", "tokens"})

    def __init__(self, dim: int, token_dim: int) -> None:
        super().__init__(dim)
        self.token_dim = token_dim


class Table:
    """Tensors of entities in memory."""

    def __init__(self, tensors: Features) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors["text"])

    def gather(self, rows: Tensor) -> Features:
        return {name: tensor[rows] for name, tensor in self.tensors.items()}

    recent = gather

    def blocks(self):
        for first in range(0, len(self), 4):
            yield first, {name: tensor[first : first + 4] for name, tensor in self.tensors.items()}


def imported(name: str, file: Path, towers: dict[str, Encoder], theirs: dict[str, Encoder]) -> Model:
    """A model with the authors' weights of a salt; `towers` read mentions, `theirs` entities."""
    fuser, other = Towers(), Towers()
    fuser.build(towers)
    other.build(theirs)
    scorer = ThreeUnits(picture=24, tglu=16, vdlu=20, cmfu=12)
    scorer.build(fuser.dims, other.dims)
    side = EntitySide(theirs, other, scorer)
    model = Model(towers, fuser, EntityMatcher(loss="cross_entropy"), {}, entity_side=side)
    load_converted(model, convert_state(authors_state(name, salt_of(file))), file)
    return model.eval()


def check_scores_losses_and_ranks(
    model: Model, inputs: tuple[dict[str, Features], dict[str, Features]], golden: Features, folder: Path
) -> None:
    """Through scorer, matcher and ranking; `inputs` of mentions and of entities."""
    side, decoder = model.entity_side, model.decoder
    base = KnowledgeBase.build(folder / "base", [Entity(f"Q{i}", f"name {i}") for i in range(6)])
    decoder.build({}, {}, base)
    decoder.check_scorer(side.scorer)
    examples = [
        Example.from_tokens(str(i), ["x"], entity=f"Q{row}") for i, row in enumerate(golden["answer"])
    ]
    with torch.no_grad():
        states = model.fuser(model.named_encoders, Batch(tuple(examples), inputs[0]))
        kept = side(list(base), inputs[1])
        scores = side.scorer.scores(side.scorer.query(states), kept)
        decoder.link_to(LinkedEntities(Table(kept), side.scorer))
        trained_on = [Example.from_tokens(str(i), ["x"], entity=f"Q{i}") for i in range(4)]
        losses = decoder.loss(states, decoder.targets(trained_on, {}))
    for name in ("score", "tglu", "vdlu", "cmfu"):
        torch.testing.assert_close(scores[name], golden[name], **CLOSE)
    for ours, theirs in LOSSES.items():
        torch.testing.assert_close(losses[ours].reshape(1), golden[f"{theirs}_loss"], **CLOSE)
    torch.testing.assert_close(sum(losses.values()).reshape(1), golden["loss"], **CLOSE)
    assert [rank.overall for rank in decoder.rank(states, examples)] == golden["rank"].tolist()


@pytest.mark.parametrize("file", golden_files("mimic"))
def test_golden_layers_on_given_features(file: Path, tmp_path: Path) -> None:
    golden = load_file(file)

    def given(side: str) -> dict[str, Features]:
        tokens = golden[f"{side}_text_tokens"]
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool)
        text = {"pooled": golden[f"{side}_text"], "tokens": tokens, "token_mask": mask}
        picture = {"pooled": golden[f"{side}_image"], "tokens": golden[f"{side}_image_tokens"]}
        return {
            "text": {name: tensor[:, None] for name, tensor in text.items()},
            "picture": {name: tensor[:, None] for name, tensor in picture.items()},
        }

    def towers() -> dict[str, Encoder]:
        return {"text": GivenTower(32, 32), "picture": GivenTower(32, 48)}

    model = imported("mimic", file, towers(), towers())
    check_scores_losses_and_ranks(model, (given("mention"), given("entity")), golden, tmp_path)


@pytest.mark.parametrize("file", golden_files("mimic_clip"))
def test_golden_with_a_small_clip(file: Path, tmp_path: Path) -> None:
    golden, salt = load_file(file), salt_of(file)

    def given(side: str, count: int, seed: int, blank: int) -> dict[str, Features]:
        drawn = np.random.RandomState(seed + salt).standard_normal((count, 3, 32, 32)).astype(np.float32)
        drawn[blank] = 0
        text = {name: golden[f"{side}_{name}"] for name in ("input_ids", "attention_mask")}
        mask = torch.ones(count, 1, dtype=torch.bool)
        loaded = {f"loaded.{name}": tensor.long() for name, tensor in text.items()}
        return {
            "text": {"mask": mask, **loaded},
            "picture": {"mask": mask, "loaded.pixels": torch.from_numpy(drawn)},
        }

    model = imported("mimic_clip", file, small_clip(), small_clip())
    mentions, entities = given("mention", 4, 210, 2), given("entity", 6, 211, 1)
    with torch.no_grad():
        for side, inputs in (("mention", mentions), ("entity", entities)):
            encoders = model.named_encoders if side == "mention" else model.entity_encoders
            text, picture = (encoders[name](inputs[name]) for name in ("text", "picture"))
            project = model.entity_side.scorer.encoder
            found = {
                "text": text["pooled"],
                "text_tokens": text["tokens"],
                "image_projected": project.image_cls_fc(picture["pooled"]),
                "image_tokens_projected": project.image_tokens_fc(picture["tokens"]),
            }
            for name, tensor in found.items():
                torch.testing.assert_close(tensor[:, 0], golden[f"{side}_{name}"], **CLOSE)
    check_scores_losses_and_ranks(model, (mentions, entities), golden, tmp_path)


def small_clip() -> dict[str, Encoder]:
    """Towers as small as the golden file's CLIP, whose weights the checkpoint brings; padding counts, as in theirs."""
    shape = {"num_hidden_layers": 2, "num_attention_heads": 4, "projection_dim": 32}
    text, picture = TextTower("golden", reads_padding=True, max_length=10), PictureTower("golden")
    text.backbone = CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=100,
            hidden_size=32,
            intermediate_size=64,
            max_position_embeddings=16,
            bos_token_id=98,
            eos_token_id=99,
            pad_token_id=99,
            **shape,
        )
    )
    picture.backbone = CLIPVisionModelWithProjection(
        CLIPVisionConfig(hidden_size=48, intermediate_size=96, image_size=32, patch_size=16, **shape)
    )
    text.dim = picture.dim = 32
    text.token_dim, picture.token_dim = 32, 48
    return {"text": text, "picture": picture}
