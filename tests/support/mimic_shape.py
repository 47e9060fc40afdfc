"""A third party's linker in the shape of MIMIC (Luo et al., KDD 2023, arXiv 2307.09721): parts on public contracts.

Mentions and entities, each a text and a picture, are read by the same two towers, which are trained along. Three units
compare them by all their tokens and patches; every unit is held to the gold entity by itself. The towers are toys.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor, nn

from mmkit import registry
from mmkit.batch import Features, States
from mmkit.data.types import Entity, Example
from mmkit.encoders.base import Encoder
from mmkit.scorers.base import SCORE, Scorer

WORDS, LENGTH, SIDE, PATCH = 997, 12, 8, 4
TEXT, VISION, JOINT = 16, 20, 16


class Tower(Encoder):
    """Tokens `[B, 1, L, D]` and a vector of length 1 `[B, 1, J]`, of a mention or an entity."""

    provides = frozenset({"pooled", "tokens"})

    def __init__(self) -> None:
        super().__init__()
        self.dim = JOINT

    def save(self, folder: Path) -> None: ...

    def check_reads(self, kind: type[Example] | type[Entity]) -> None:
        """Mentions and entities alike."""

    def both(self, tokens: Tensor, first: Tensor) -> Features:
        return {
            "tokens": tokens[:, None],
            "pooled": nn.functional.normalize(self.project(first), dim=-1)[:, None],
        }


class TextTower(Tower):
    """Words by hash; a layer of attention."""

    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None:
        self.words = nn.Embedding(WORDS + 1, TEXT)
        self.layer = nn.TransformerEncoderLayer(TEXT, 2, 32, dropout=0.0, batch_first=True)
        self.project = nn.Linear(TEXT, JOINT)

    def collate(self, examples, views) -> Features:
        return {"words": torch.stack([self._read(x) for x in examples])}

    def _read(self, x: Example | Entity) -> Tensor:
        text = f"{x.name} {x.description}" if isinstance(x, Entity) else f"{x.mention.text} {x.text}"
        hashes = [1 + zlib.crc32(word.encode()) % WORDS for word in text.lower().split()][:LENGTH]
        return torch.tensor(hashes + [0] * (LENGTH - len(hashes)))

    def forward(self, inputs: Features) -> Features:
        tokens = self.layer(self.words(inputs["words"]))
        return self.both(tokens, tokens.mean(1))


class PictureTower(Tower):
    """Patches of the first picture; without one, zeros that go through the network like any other."""

    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None:
        self.patches = nn.Conv2d(3, VISION, PATCH, PATCH)
        self.first = nn.Parameter(torch.randn(VISION))
        self.project = nn.Linear(VISION, JOINT)

    def collate(self, examples, views) -> Features:
        return {"pixels": torch.stack([self._read(x) for x in examples])}

    def _read(self, x: Example | Entity) -> Tensor:
        if not x.images:
            return torch.zeros(3, SIDE, SIDE)
        with Pillow.open(x.images[0].path) as picture:
            small = picture.convert("RGB").resize((SIDE, SIDE))
        return torch.from_numpy(np.asarray(small, dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1

    def forward(self, inputs: Features) -> Features:
        patches = self.patches(inputs["pixels"]).flatten(2).transpose(1, 2).tanh()
        return self.both(torch.cat([self.first + patches[:, :1], patches], 1), patches.mean(1))


class MimicScorer(Scorer):
    """Three units; names of modules are those of the authors' checkpoint."""

    requires = frozenset(f"{tower}.{what}" for tower in ("text", "image") for what in ("pooled", "tokens"))
    entity_requires = requires

    def __init__(
        self,
        text: int = TEXT,
        vision: int = VISION,
        dv: int = 12,
        tglu: int = 8,
        vdlu: int = 8,
        cmfu: int = 8,
    ) -> None:
        super().__init__()
        self.widths = text, vision, dv, tglu, vdlu, cmfu

    def build(self, dims: Mapping[str, int], entity_dims: Mapping[str, int]) -> None:
        text, vision, dv, tglu, vdlu, cmfu = self.widths
        joint = dims["text.pooled"]
        self.encoder = nn.ModuleDict(
            {"image_cls_fc": nn.Linear(joint, dv), "image_tokens_fc": nn.Linear(vision, dv)}
        )
        self.matcher = nn.ModuleDict(
            {
                "text_cls_layernorm": nn.LayerNorm(joint),
                "text_tokens_layernorm": nn.LayerNorm(text),
                "image_cls_layernorm": nn.LayerNorm(dv),
                "image_tokens_layernorm": nn.LayerNorm(dv),
                "tglu": TextUnit(joint, text, tglu),
                "vdlu": nn.ModuleDict({d: Direction(dv, vdlu) for d in ("dual_ent2men", "dual_men2ent")}),
                "cmfu": CrossUnit(joint, dv, cmfu),
            }
        )

    def query(self, states: States) -> Features:
        seen = self._seen(states.tensors)
        return {**seen, "fused": self.matcher["cmfu"](seen["text"], seen["patches"])}

    def entity(self, features: Features) -> Features:
        """All that the units need of an entity, of which nothing depends on the mention."""
        seen = self._seen(features)
        kept = {
            "text": seen["text"],
            "asking": self.matcher["tglu"].fc_query(seen["tokens"]),
            "global": self.matcher["tglu"].fc_cls(seen["text"]),
            "fused": self.matcher["cmfu"](seen["text"], seen["patches"]),
        }
        for name, direction in self.matcher["vdlu"].items():
            kept |= {f"{name}.{k}": v for k, v in direction.own(seen["image"], seen["patches"]).items()}
        return kept

    def _seen(self, features: Features) -> Features:
        matcher = self.matcher
        text, tokens = features["text.pooled"].squeeze(1), features["text.tokens"].squeeze(1)
        image, patches = features["image.pooled"].squeeze(1), features["image.tokens"].squeeze(1)
        return {
            "text": matcher["text_cls_layernorm"](text),
            "tokens": matcher["text_tokens_layernorm"](tokens),
            "image": matcher["image_cls_layernorm"](self.encoder["image_cls_fc"](image)),
            "patches": matcher["image_tokens_layernorm"](self.encoder["image_tokens_fc"](patches)),
        }

    def scores(self, query: Features, entities: Features) -> Features:
        matcher = self.matcher
        tglu = matcher["tglu"].scores(query["text"], query["tokens"], entities)
        parts = []
        for name, asks_entity in (("dual_ent2men", True), ("dual_men2ent", False)):
            direction = matcher["vdlu"][name]
            mention = {k: v[:, None] for k, v in direction.own(query["image"], query["patches"]).items()}
            entity = {k: entities[f"{name}.{k}"][None] for k in mention}
            parts.append(direction(entity, mention) if asks_entity else direction(mention, entity))
        vdlu = (parts[0] + parts[1]) / 2
        cmfu = query["fused"] @ entities["fused"].t()
        return {SCORE: (tglu + vdlu + cmfu) / 3, "tglu": tglu, "vdlu": vdlu, "cmfu": cmfu}


class TextUnit(nn.Module):
    """TGLU: the global texts' product, and what the entity's tokens find among the mention's."""

    def __init__(self, joint: int, text: int, width: int) -> None:
        super().__init__()
        self.fc_query, self.fc_key = nn.Linear(text, width), nn.Linear(text, width)
        self.fc_value, self.fc_cls = nn.Linear(text, width), nn.Linear(joint, width)
        self.layer_norm = nn.LayerNorm(width)

    def scores(self, text: Tensor, tokens: Tensor, entities: Features) -> Tensor:
        key, value = self.fc_key(tokens), self.fc_value(tokens)  # [B, L, d]
        asked = torch.einsum("ntd,bld->bntl", entities["asking"], key) / key.shape[-1] ** 0.5
        context = self.layer_norm(asked.softmax(-1).mean(2) @ value)  # [B, N, d]
        local = (entities["global"][None] * context).sum(-1)
        return (text @ entities["text"].t() + local) / 2


class Direction(nn.Module):
    """One direction of VDLU."""

    def __init__(self, dv: int, width: int) -> None:
        super().__init__()
        self.cls_fc, self.tokens_fc, self.fc = (
            nn.Linear(dv, width),
            nn.Linear(dv, width),
            nn.Linear(width, width),
        )
        self.gate_fc = nn.Linear(width, 1)
        self.add_layer_norm, self.layer_norm = nn.LayerNorm(width), nn.LayerNorm(width)

    def own(self, image: Tensor, patches: Tensor) -> Features:
        """What one side has for either role: `[..., d]`."""
        return {"cls": self.cls_fc(image), "patches": self.tokens_fc(patches).mean(-2)}

    def forward(self, query: Features, key: Features) -> Tensor:
        context = self.fc(self.add_layer_norm(key["patches"] + query["cls"]))
        gate = self.gate_fc(context).tanh()
        return (self.layer_norm(gate * context + key["cls"]) * self.layer_norm(query["cls"])).sum(-1)


class CrossUnit(nn.Module):
    """CMFU's side of a mention or an entity: its picture as its text sees it."""

    def __init__(self, joint: int, dv: int, width: int) -> None:
        super().__init__()
        self.text_fc, self.image_fc = nn.Linear(joint, width), nn.Linear(dv, width)
        self.gate_fc, self.gate_layer_norm = nn.Linear(width, 1), nn.LayerNorm(width)

    def forward(self, text: Tensor, patches: Tensor) -> Tensor:
        asks, seen = self.text_fc(text), self.image_fc(patches)
        weights = (seen @ asks[..., None]).softmax(-2)
        return self.gate_layer_norm(self.gate_fc(asks).tanh() * asks + (weights * seen).sum(-2))


def register() -> None:
    """Make the parts known in this process, as a plugin's entry points would."""
    for registry_, name, part in (
        (registry.encoders, "mimic_shape.text.v1", TextTower),
        (registry.encoders, "mimic_shape.picture.v1", PictureTower),
        (registry.scorers, "mimic_shape.units.v1", MimicScorer),
    ):
        if name not in registry_:
            registry_.register(name)(part)
