"""`mmkit.transformer_texts.v1`: a Hugging Face text model over a record's plain texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from transformers import PreTrainedModel

from mmkit.batch import Features
from mmkit.data.types import Example
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.encoders.texts import Texts
from mmkit.encoders.transformer_backbone import (
    Attention,
    LoadedText,
    Pooling,
    TextModel,
    pool,
    sample_model,
)
from mmkit.errors import MMKitError
from mmkit.ops.precision import Precision
from mmkit.pretrained.networks import described

LENGTH = 512
"""The number of subwords to which texts are cut, unless `max_length` or the model says otherwise."""


class TransformerTexts(ItemEncoder):
    """Any Hugging Face text model: one vector of each of a record's first `slots` texts.

    `name` is a model of the Hub (with an optional `revision`) or a local folder. `source` is `mention`,
    `mention_sentence` or `sentence` for examples, `name`, `description` or `name_description` for entities, or
    `note:KEY` for a note of an annotator. Texts are cut to 512 subwords at most unless `max_length` says otherwise.
    `pooled` is the first position's state, the last one's (for a causal model, whose first state has seen nothing),
    or the mean. `dropout` replaces every dropout of the model's configuration, and `attention_dropout` that of
    attention weights alone. If the model is frozen, its features are stored.

    Features: `pooled [B, n, D]` and `mask [B, n]`; n is the largest number of texts of a record in the batch, at
    least 1.
    """

    captures = True
    provides = frozenset({"pooled", "mask"})
    version: ClassVar[str] = "mmkit.transformer.v1"
    """The name of the part that once read words and texts: its stored features are this part's too."""

    source: Texts
    backbone: PreTrainedModel

    def __init__(
        self,
        name: str,
        source: str,
        *,
        slots: int = 1,
        revision: str | None = None,
        max_length: int | None = None,
        frozen: bool = False,
        store: bool = True,
        feature_dtype: Literal["float32", "float16"] = "float32",
        feature_precision: Precision = "fp32",
        pooling: Pooling = "cls",
        dropout: float | None = None,
        attention_dropout: float | None = None,
        attention: Attention = "sdpa",
    ) -> None:
        super().__init__(
            Texts(source, slots),
            frozen=frozen,
            store=store,
            feature_dtype=feature_dtype,
            feature_precision=feature_precision,
        )
        self.name = name
        self.model = TextModel(name, revision, max_length, dropout, attention, attention_dropout)
        self.pooling = pooling

    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None:
        """Load configuration, tokenizer and weights; `special_tokens` are not used by plain texts.

        Raises `PartError` for a model that cannot be loaded or is not a pure text model, and for a `max_length` beyond
        the model's limit.
        """
        loaded = self.model.load(saved, self.frozen)
        loaded.check_pooling(self.pooling)
        self.backbone = loaded.network
        self._take(loaded)
        if self.frozen:
            self.requires_grad_(False).train()

    def build_tokenizer(self, special_tokens: Sequence[str] = ()) -> bool:
        self._take(self.model.tokenizer_alone())
        return True

    def _take(self, loaded: LoadedText) -> None:
        self.tokenizer, self.config = loaded.tokenizer, loaded.config
        limit = loaded.limit()
        self.source.set_tokenizer(self.tokenizer, self.model.max_length or min(limit or LENGTH, LENGTH))
        self.dim = self.config.hidden_size

    def problems(self) -> Iterator[MMKitError]:
        yield from self.model.pretrained().problems()

    def weight_bytes(self) -> int | None:
        return self.model.pretrained().weight_bytes()

    def save(self, folder: Path) -> None:
        """Write the configuration and the tokenizer to `folder`."""
        self.config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def network(self, items: Features) -> Features:
        """`pooled [N, D]` of `input_ids` and `attention_mask` `[N, L]`."""
        mask = items["attention_mask"]
        tokens = self.backbone(input_ids=items["input_ids"], attention_mask=mask).last_hidden_state
        return {"pooled": pool(self.pooling, tokens, mask.bool())}

    def describe(self) -> dict[str, Any]:
        return {"config": described(self.backbone), "pooling": self.pooling}

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """Save a tiny random BERT whose vocabulary is the examples' frequent words and all characters."""
        return sample_model(folder, seed, examples)
