"""The three interaction units. Names of modules are those of the authors' checkpoints.

Shapes: B mentions, N entities, T tokens of a text, P places of a picture, d wide inside a unit.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from mmkit.batch import Features


class TextUnit(nn.Module):
    """TGLU (section 4.3): the product of the pooled texts, and what an entity's tokens find among a mention's.

    `pooled` and `tokens` are the widths of a text's two features.
    """

    def __init__(self, pooled: int, tokens: int, width: int) -> None:
        super().__init__()
        self.fc_query, self.fc_key = nn.Linear(tokens, width), nn.Linear(tokens, width)
        self.fc_value, self.fc_cls = nn.Linear(tokens, width), nn.Linear(pooled, width)
        self.layer_norm = nn.LayerNorm(width)

    def of_mention(self, tokens: Tensor) -> Features:
        """`key` and `value [B, T, d]`."""
        return {"key": self.fc_key(tokens), "value": self.fc_value(tokens)}

    def of_entity(self, text: Tensor, tokens: Tensor) -> Features:
        """`asking [N, T, d]` and `global [N, d]`."""
        return {"asking": self.fc_query(tokens), "global": self.fc_cls(text)}

    def forward(self, query: Features, entities: Features) -> Tensor:
        """Scores `[B, N]`. Places where a `token_mask` is False neither attend nor are attended to."""
        key, value = query["key"], query["value"]
        asked = torch.einsum("ntd,bld->bntl", entities["asking"], key) / key.shape[-1] ** 0.5
        asked = asked.masked_fill(~query["token_mask"][:, None, None], float("-inf"))
        asks = entities["token_mask"].to(asked.dtype)
        share = asks / asks.sum(1, keepdim=True).clamp(min=1)  # the mean over an entity's tokens
        # the mean is taken of the weights: it is the same, without a tensor [B, N, T, d]
        weights = torch.einsum("nt,bntl->bnl", share, asked.softmax(-1))
        context = self.layer_norm(weights @ value)
        local = (entities["global"] * context).sum(-1)
        return cast(Tensor, (query["text"] @ entities["text"].t() + local) / 2)


class Direction(nn.Module):
    """One direction of VDLU (section 4.4): how well a key's picture fits a query's, through a gate."""

    def __init__(self, picture: int, width: int) -> None:
        super().__init__()
        self.fc, self.gate_fc = nn.Linear(width, width), nn.Linear(width, 1)
        self.cls_fc, self.tokens_fc = nn.Linear(picture, width), nn.Linear(picture, width)
        self.add_layer_norm, self.layer_norm = nn.LayerNorm(width), nn.LayerNorm(width)

    def as_query(self, image: Tensor) -> Features:
        """`cls` and its `normed` form `[..., d]`."""
        cls = self.cls_fc(image)
        return {"cls": cls, "normed": self.layer_norm(cls)}

    def as_key(self, image: Tensor, places: Tensor) -> Features:
        """`cls` and `places`, the mean over the places, `[..., d]`."""
        return {"cls": self.cls_fc(image), "places": self.tokens_fc(places).mean(-2)}

    def forward(self, query: Features, key: Features) -> Tensor:
        """Scores of pairs; the two sides have shapes `[B, 1, d]` and `[1, N, d]`, in either order."""
        context = self.fc(self.add_layer_norm(key["places"] + query["cls"]))
        gate = self.gate_fc(context).tanh()
        out = self.layer_norm(gate * context + key["cls"])  # the released code has one LayerNorm for both
        return cast(Tensor, (out * query["normed"]).sum(-1))


class PictureUnit(nn.Module):
    """VDLU (section 4.4): pictures compared in both directions, each with weights of its own."""

    def __init__(self, picture: int, width: int) -> None:
        super().__init__()
        self.dual_ent2men, self.dual_men2ent = Direction(picture, width), Direction(picture, width)

    def of_mention(self, image: Tensor, places: Tensor) -> Features:
        """What a mention is as a key of the first direction, and as a query of the second."""
        return _named(
            key=self.dual_ent2men.as_key(image, places),
            query=self.dual_men2ent.as_query(image),
        )

    def of_entity(self, image: Tensor, places: Tensor) -> Features:
        """What an entity is as a query of the first direction, and as a key of the second."""
        return _named(
            query=self.dual_ent2men.as_query(image),
            key=self.dual_men2ent.as_key(image, places),
        )

    def forward(self, query: Features, entities: Features) -> Tensor:
        """Scores `[B, N]`."""
        mention = {name: tensor[:, None] for name, tensor in query.items()}
        entity = {name: tensor[None] for name, tensor in entities.items()}
        first = self.dual_ent2men(_role(entity, "query"), _role(mention, "key"))
        second = self.dual_men2ent(_role(mention, "query"), _role(entity, "key"))
        return cast(Tensor, (first + second) / 2)


class CrossUnit(nn.Module):
    """CMFU (section 4.5): one record's picture as its text sees it. The score is the product of both records'."""

    def __init__(self, pooled: int, picture: int, width: int) -> None:
        super().__init__()
        self.text_fc, self.image_fc = nn.Linear(pooled, width), nn.Linear(picture, width)
        self.gate_fc, self.gate_layer_norm = nn.Linear(width, 1), nn.LayerNorm(width)

    def forward(self, text: Tensor, places: Tensor) -> Tensor:
        """`[N, d]` of texts `[N, D]` and places `[N, P, v]`."""
        asks, shown = self.text_fc(text), self.image_fc(places)
        weights = (shown @ asks[..., None]).softmax(-2)  # not divided by the root of the width, as published
        seen = (weights * shown).sum(-2)
        return cast(Tensor, self.gate_layer_norm(self.gate_fc(asks).tanh() * asks + seen))


def _named(**roles: Features) -> Features:
    return {f"{role}.{name}": tensor for role, features in roles.items() for name, tensor in features.items()}


def _role(features: Features, role: str) -> Features:
    prefix = f"{role}."
    return {k.removeprefix(prefix): v for k, v in features.items() if k.startswith(prefix)}
