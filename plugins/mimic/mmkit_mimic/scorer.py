"""`mimic.units.v1`: the mean of the three units' scores."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmkit.batch import Features, States
from mmkit.errors import PartError
from mmkit.scorers.base import SCORE, Scorer
from mmkit_mimic.towers import STATES
from mmkit_mimic.units import CrossUnit, PictureUnit, TextUnit

CELLS = 1 << 25
"""Weights of attention between tokens that are in memory together when entities are ranked: 128 MB."""

SCALE = 10.0
"""The score that is shown as 0.75."""


class Projections(nn.Module):
    """The layers that make pictures `width` wide; they stand beside CLIP in the authors' checkpoints."""

    def __init__(self, pooled: int, tokens: int, width: int) -> None:
        super().__init__()
        self.image_cls_fc, self.image_tokens_fc = nn.Linear(pooled, width), nn.Linear(tokens, width)


class Matcher(nn.Module):
    """A LayerNorm for each feature, and the units."""

    def __init__(self, pooled: int, tokens: int, picture: int, tglu: int, vdlu: int, cmfu: int) -> None:
        super().__init__()
        self.text_cls_layernorm, self.text_tokens_layernorm = nn.LayerNorm(pooled), nn.LayerNorm(tokens)
        self.image_cls_layernorm, self.image_tokens_layernorm = nn.LayerNorm(picture), nn.LayerNorm(picture)
        self.tglu = TextUnit(pooled, tokens, tglu)
        self.vdlu = PictureUnit(picture, vdlu)
        self.cmfu = CrossUnit(pooled, picture, cmfu)


class ThreeUnits(Scorer):
    """The mean of three scores: of texts (TGLU), of pictures (VDLU), and of texts with pictures (CMFU).

    The same layers read mentions and entities. Scores of parts are `tglu`, `vdlu` and `cmfu`; the loss
    `cross_entropy` of `mmkit.entity_matcher.v1` holds each of them to the gold entity, and their mean. Of an entity,
    its tokens (T · `tglu` numbers) and a few vectors are kept. Source: sections 4.3 to 4.6 of the paper, and the
    authors' code where it differs.

    Args:
        picture: width of a picture's features behind their projection.
        tglu, vdlu, cmfu: widths inside the units.
    """

    requires = STATES
    entity_requires = STATES

    def __init__(self, picture: int = 96, tglu: int = 96, vdlu: int = 96, cmfu: int = 96) -> None:
        super().__init__()
        widths = {"picture": picture, "tglu": tglu, "vdlu": vdlu, "cmfu": cmfu}
        for name, width in widths.items():
            if width < 1:
                raise ValueError(f"{name} must be at least 1, not {width}")
        self.widths = widths

    def build(self, dims: Mapping[str, int], entity_dims: Mapping[str, int]) -> None:
        """Raises `PartError` if mentions and entities have features of other widths."""
        other = [f"{name} is {dims[name]} and {entity_dims.get(name)} wide" for name in sorted(dims)]
        if any(entity_dims.get(name) != width for name, width in dims.items()):
            raise PartError(
                f"the same layers read mentions and entities, but {', '.join(other)}",
                hint="give both sides the same CLIP model",
                code="part.widths",
            )
        picture = self.widths["picture"]
        self.encoder = Projections(dims["picture.pooled"], dims["picture.tokens"], picture)
        units = {name: self.widths[name] for name in ("tglu", "vdlu", "cmfu")}
        self.matcher = Matcher(dims["text.pooled"], dims["text.tokens"], picture, **units)

    def query(self, states: States) -> Features:
        text, tokens, image, places = self._seen(states.tensors)
        matcher = self.matcher
        return {
            "text": text,
            "token_mask": states["text.token_mask"],
            **matcher.tglu.of_mention(tokens),
            **_of_vdlu(matcher.vdlu.of_mention(image, places)),
            "fused": matcher.cmfu(text, places),
        }

    def entity(self, features: Features) -> Features:
        text, tokens, image, places = self._seen(features)
        matcher = self.matcher
        return {
            "text": text,
            "token_mask": features["text.token_mask"],
            **matcher.tglu.of_entity(text, tokens),
            **_of_vdlu(matcher.vdlu.of_entity(image, places)),
            "fused": matcher.cmfu(text, places),
        }

    def scores(self, query: Features, entities: Features) -> Features:
        if torch.is_grad_enabled():
            return self._scores(query, entities)
        pairs = max(1, CELLS // (query["key"].shape[1] * entities["asking"].shape[1]))
        count = max(1, pairs // len(query["key"]))
        starts = range(0, len(entities["asking"]), count)
        parts = [self._scores(query, {k: v[at : at + count] for k, v in entities.items()}) for at in starts]
        return {name: torch.cat([part[name] for part in parts], dim=1) for name in parts[0]}

    def unit(self, score: float) -> float:
        """½ + ½ s / (`SCALE` + |s|): scores reach hundreds, where a logistic function would make all of them 1."""
        return 0.5 + 0.5 * score / (SCALE + abs(score))

    def _scores(self, query: Features, entities: Features) -> Features:
        matcher = self.matcher
        tglu = matcher.tglu(query, entities)
        vdlu = matcher.vdlu(_vdlu_of(query), _vdlu_of(entities))
        cmfu = query["fused"] @ entities["fused"].t()
        return {SCORE: (tglu + vdlu + cmfu) / 3, "tglu": tglu, "vdlu": vdlu, "cmfu": cmfu}

    def _seen(self, features: Features) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Text, tokens, picture and places, after their LayerNorms."""
        matcher, project = self.matcher, self.encoder
        return (
            matcher.text_cls_layernorm(features["text.pooled"]),
            matcher.text_tokens_layernorm(features["text.tokens"]),
            matcher.image_cls_layernorm(project.image_cls_fc(features["picture.pooled"])),
            matcher.image_tokens_layernorm(project.image_tokens_fc(features["picture.tokens"])),
        )


VDLU = "vdlu."


def _of_vdlu(features: Features) -> Features:
    return {VDLU + name: tensor for name, tensor in features.items()}


def _vdlu_of(features: Features) -> Features:
    return {k.removeprefix(VDLU): v for k, v in features.items() if k.startswith(VDLU)}
