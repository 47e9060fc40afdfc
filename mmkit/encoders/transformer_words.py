"""`mmkit.transformer_words.v1`: a Hugging Face text model over the words of a view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from mmkit.batch import Features
from mmkit.data.types import Entity, Example, TextView
from mmkit.encoders import prefix as prefixes
from mmkit.encoders.abilities import Prefix
from mmkit.encoders.base import Encoder
from mmkit.encoders.subwords import Subwords
from mmkit.encoders.transformer_backbone import (
    Attention,
    Pooling,
    TextModel,
    pool,
    sample_model,
)
from mmkit.errors import MMKitError, PartError, did_you_mean


class TransformerWords(Encoder):
    """Any Hugging Face text model: words to subwords, special tokens, a second text, prefix attention.

    `name` is a model of the Hub (with an optional `revision`) or a local folder. It encodes the decoder's
    `view`, cut to `max_length` subwords with special ones (default: the model's limit). `pooled` is the first
    position's state, the last real one's, or the mean over real ones. `dropout` replaces every dropout of the
    model's configuration.

    Of an encoder-decoder model only the encoder is used. In a causal model a word's state does not see the following
    words, so only a decoder with `reads_causal` can use one, and a prefix cannot be used.

    Features: `tokens [B, T, D]`, `mask [B, T]`, `pooled [B, D]`; see `mmkit.batch.Batch` for the inputs. Those of
    `extra_views` are collated too, for a fuser that runs the encoder on more than one view (`mmkit.batch.of_view`).
    """

    provides = frozenset({"tokens", "mask", "pooled"})

    backbone: PreTrainedModel

    def __init__(
        self,
        name: str,
        *,
        view: str = "text",
        extra_views: list[str] | None = None,
        revision: str | None = None,
        max_length: int | None = None,
        frozen: bool = False,
        pooling: Pooling = "cls",
        dropout: float | None = None,
        attention: Attention = "sdpa",
    ) -> None:
        super().__init__()
        self.name = name
        self.model = TextModel(name, revision, max_length, dropout, attention)
        self.view, self.extra_views = view, tuple(extra_views or ())
        self.frozen, self.pooling = frozen, pooling
        self._prefix_shape: list[tuple[int, int]] | None = None

    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None:
        """Load configuration, tokenizer and weights, and add `special_tokens` to the vocabulary.

        New embedding rows are drawn from torch's global generator. Raises `PartError` for a model that cannot be
        loaded or is not a pure text model, and for a `max_length` beyond the model's limit.
        """
        loaded = self.model.load(saved, self.frozen, special_tokens)
        loaded.check_pooling(self.pooling)
        self.backbone, self.tokenizer, self.config = loaded.network, loaded.tokenizer, loaded.config
        self.subwords = Subwords(self.tokenizer, loaded.limit())
        self._inputs = ("input_ids", "attention_mask", *(("token_type_ids",) if loaded.types else ()))
        self.dim, self.causal = self.config.hidden_size, loaded.causal
        self._prefix_shape = None
        if self.frozen:
            self.requires_grad_(False).train()

    def problems(self) -> Iterator[MMKitError]:
        yield from self.model.pretrained().problems()

    def weight_bytes(self) -> int | None:
        return self.model.pretrained().weight_bytes()

    def save(self, folder: Path) -> None:
        """Write the configuration and the tokenizer (with its added tokens) to `folder`."""
        self.config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def collate(
        self, examples: Sequence[Example | Entity], views: Sequence[Mapping[str, TextView]]
    ) -> dict[str, Tensor]:
        """The tokenizer's tensors and the alignment with tokens; each text is tokenised only once."""
        inputs = self._collate_view(self.view, examples, views)
        for name in self.extra_views:
            extra = self._collate_view(name, examples, views)
            inputs |= {f"{name}:{tensor}": value for tensor, value in extra.items()}
        return inputs

    def _collate_view(
        self, name: str, examples: Sequence[Example | Entity], views: Sequence[Mapping[str, TextView]]
    ) -> dict[str, Tensor]:
        encoded = self.subwords.encode([_view(name, v) for v in views])
        widths = [
            len(x.tokens) if isinstance(x, Example) else len(e.first)
            for x, e in zip(examples, encoded, strict=True)
        ]
        inputs = self.subwords.collate(encoded, max(widths))
        if "token_type_ids" not in self._inputs:
            del inputs["token_type_ids"]
        return inputs

    def length(self, example: Example, views: Mapping[str, TextView]) -> int:
        """The number of subwords of the view that this encoder reads."""
        return len(self.subwords.encode([_view(self.view, views)])[0].ids)

    def prefix_shape(self) -> list[tuple[int, int]]:
        """(heads, head_dim) of each layer's prefix; raises `PartError` if the model cannot use one."""
        if self._prefix_shape is None:
            self._prefix_shape = prefixes.prove(self.backbone)
        return self._prefix_shape

    def forward(self, inputs: dict[str, Tensor], prefix: Prefix | None = None) -> Features:
        """Features of a collated batch.

        `prefix` contains, for each layer, a key and a value `[B, heads, P, head_dim]`, which come before the layer's
        own and are never masked; queries, positions and the length of the output stay as they are.
        """
        extra = {} if prefix is None else {"prefix": prefix}
        tokens = self.backbone(**{name: inputs[name] for name in self._inputs}, **extra).last_hidden_state
        mask = inputs["attention_mask"].bool()
        return {"tokens": tokens, "mask": mask, "pooled": pool(self.pooling, tokens, mask)}

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """Save a tiny random BERT whose vocabulary is the examples' frequent words and all characters."""
        return sample_model(folder, seed, examples)


def _view(name: str, views: Mapping[str, TextView]) -> TextView:
    if name not in views:
        raise PartError(
            f"the decoder makes no view {name!r} of an example",
            hint=did_you_mean(name, views),
            code="encoder.no-view",
        )
    return views[name]
