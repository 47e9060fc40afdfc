"""`mmkit.clip_text.v1`: CLIP's projections of texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from transformers import CLIPTextModelWithProjection

from mmkit.batch import Features
from mmkit.data.types import Example
from mmkit.encoders.clip_backbone import clip_model, clip_network
from mmkit.encoders.clip_sample import write_tiny_clip
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.encoders.texts import Texts
from mmkit.errors import MMKitError, PartError
from mmkit.ops.precision import Precision
from mmkit.pretrained.networks import described
from mmkit.pretrained.source import Pretrained
from mmkit.pretrained.vocabulary import check_vocabulary

LEGACY_END = 2
"""The end token's id in configurations before 2023, for which transformers uses a text's highest id."""


class ClipTextEncoder(ItemEncoder):
    """CLIP's projection of each of a record's texts, unnormalised; texts are cut to `max_length` tokens.

    `name` is a CLIP model of the Hub (with an optional `revision`) or a local folder. `source` is `mention`,
    `mention_sentence` or `sentence` for examples, `name`, `description` or `name_description` for entities, or
    `note:KEY` for a note of an annotator.

    Features: `pooled [B, n, D]` and `mask [B, n]`; n is the largest number of texts of a record in the batch, at
    least 1.
    """

    captures = True
    provides = frozenset({"pooled", "mask"})
    version: ClassVar[str] = "mmkit.clip_text.v1"

    source: Texts
    backbone: CLIPTextModelWithProjection

    def __init__(
        self,
        name: str,
        source: str,
        *,
        slots: int = 1,
        revision: str | None = None,
        max_length: int = 77,
        frozen: bool = True,
        store: bool = True,
        feature_dtype: Literal["float32", "float16"] = "float32",
        feature_precision: Precision = "fp32",
    ) -> None:
        super().__init__(
            Texts(source, slots),
            frozen=frozen,
            store=store,
            feature_dtype=feature_dtype,
            feature_precision=feature_precision,
        )
        self.name, self.revision, self.max_length = name, revision, max_length

    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None:
        """Load network and tokenizer; `special_tokens` are for views, not for plain texts.

        Raises `PartError` for a model that cannot be loaded, is not CLIP, or takes fewer than `max_length` tokens.
        """
        model = self._model(saved)
        self.backbone = clip_network(
            CLIPTextModelWithProjection, self.name, self.revision, saved, self.frozen
        )
        self.tokenizer = model.tokenizer()
        if saved is None:
            check_vocabulary(self.tokenizer, self.backbone.config, self.name, growing=False)
        limit = self.backbone.config.max_position_embeddings
        if self.max_length > limit:
            raise PartError(
                f"max_length = {self.max_length}, but {self.name!r} takes at most {limit} tokens",
                code="encoder.max-length",
            )
        self._check_end()
        self.source.set_tokenizer(self.tokenizer, self.max_length)
        self.dim = cast(int, self.backbone.config.projection_dim)
        if self.frozen:
            self.requires_grad_(False).train()

    def _model(self, saved: Path | None = None) -> Pretrained:
        needs = ("tokenizer",) if saved else ("weights", "tokenizer")
        return clip_model(self.name, self.revision, saved, needs)

    def problems(self) -> Iterator[MMKitError]:
        yield from self._model().problems()

    def weight_bytes(self) -> int | None:
        return self._model().weight_bytes()

    def build_tokenizer(self, special_tokens: Sequence[str] = ()) -> bool:
        self.source.set_tokenizer(self._model().tokenizer(), self.max_length)
        return True

    def _check_end(self) -> None:
        """Refuse a tokenizer whose end token, whose state represents a text, is not the one that the network
        expects."""
        end, wanted = self.tokenizer.eos_token_id, self.backbone.config.eos_token_id
        fits = end == max(self.tokenizer.get_vocab().values()) if wanted == LEGACY_END else end == wanted
        if not fits:
            raise PartError(
                f"{self.name!r} expects token {wanted} at the end of a text, but its tokenizer ends with {end}",
                hint="do the tokenizer and the weights belong together?",
                code="encoder.wrong-tokenizer",
            )

    def network(self, items: Features) -> Features:
        """`pooled [N, D]` of `input_ids [N, L]`."""
        # no mask: attention is causal, and nothing after the end token is read
        return {"pooled": self.backbone(input_ids=items["input_ids"]).text_embeds}

    def describe(self) -> dict[str, Any]:
        return {"config": described(self.backbone)}

    def save(self, folder: Path) -> None:
        """Write the configuration and the tokenizer to `folder`."""
        self.backbone.config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """Save a tiny CLIP, which `mmkit.clip_image.v1` uses too, beside `folder`."""
        return {"name": str(write_tiny_clip(folder, seed, examples)), "revision": None}
