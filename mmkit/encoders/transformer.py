"""`mmkit.transformer.v1`: any Hugging Face text encoder, over the words of a view or over plain texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_MAPPING,
    AddedToken,
    AutoConfig,
    AutoModel,
    BertConfig,
    BertModel,
    BertTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from mmkit.batch import Features
from mmkit.data.types import Entity, Example, TextView
from mmkit.encoders import prefix as prefixes
from mmkit.encoders.abilities import Prefix
from mmkit.encoders.pretrained import (
    LOADING_ERRORS,
    cannot_load,
    described,
    hub_options,
    load_network,
    load_tokenizer,
    no_bars,
)
from mmkit.encoders.sampling import make_once, word_pieces
from mmkit.encoders.sharing import shared
from mmkit.encoders.subwords import Subwords
from mmkit.encoders.texts import PlainTextEncoder
from mmkit.errors import PartError, did_you_mean

WELL_KNOWN = (
    "answerdotai/ModernBERT-base",
    "bert-base-cased",
    "bert-base-multilingual-cased",
    "bert-base-uncased",
    "bert-large-uncased",
    "microsoft/deberta-v3-base",
    "roberta-base",
    "roberta-large",
    "vinai/bertweet-base",
    "xlm-roberta-base",
    "xlm-roberta-large",
)
"""Only for the hint when a name cannot be found."""

PLAIN_LENGTH = 512
"""Subwords that plain texts are cut to, unless `max_length` or the model says otherwise."""


class TransformerEncoder(PlainTextEncoder):
    """Any Hugging Face text encoder: words to subwords, special tokens, a second text, prefix attention.

    `name` is a model of the Hub (with an optional `revision`) or a local folder. It encodes the decoder's
    `view`, cut to `max_length` subwords with special ones (default: the model's limit). `pooled` is the first
    position's state or the mean over real ones. `dropout` replaces every dropout of the model's
    configuration.

    Features: `tokens [B, T, D]`, `mask [B, T]`, `pooled [B, D]`; see `mmkit.batch.Batch` for the inputs. Those of
    `extra_views` are collated beside them, for a fuser that runs the encoder on more than one view
    (`mmkit.batch.of_view`).

    With a `source` it encodes a record's first `slots` plain texts instead of a view (see `PlainTextEncoder`), cut
    to 512 subwords at most unless `max_length` says otherwise, and stores what it makes of them if it is frozen.
    Features: `pooled [B, n, D]`, `mask [B, n]`.
    """

    provides = frozenset({"tokens", "mask", "pooled", "prefix"})
    version: ClassVar[str] = "mmkit.transformer.v1"

    backbone: PreTrainedModel
    subwords: Subwords

    def __init__(
        self,
        name: str,
        *,
        view: str = "text",
        extra_views: list[str] | None = None,
        source: str | None = None,
        slots: int = 1,
        revision: str | None = None,
        max_length: int | None = None,
        frozen: bool = False,
        store: bool = True,
        feature_dtype: Literal["float32", "float16"] = "float32",
        pooling: Literal["cls", "mean"] = "cls",
        dropout: float | None = None,
        attention: Literal["sdpa", "eager"] = "sdpa",
    ) -> None:
        # views differ by decoder, and their tokens take much room: only plain texts are stored
        store = store and source is not None
        super().__init__(source, slots=slots, frozen=frozen, store=store, feature_dtype=feature_dtype)
        self.reads_items = source is not None
        if self.reads_items:
            self.provides = frozenset({"pooled", "mask"})
        if source is not None and extra_views:
            raise PartError("an encoder with a source reads no views", hint="leave out extra_views or source")
        self.extra_views = tuple(extra_views or ())
        self.provides |= {f"view:{name}" for name in self.extra_views}
        self.name, self.view, self.revision, self.max_length = name, view, revision, max_length
        self.pooling, self.dropout, self.attention = pooling, dropout, attention
        self._prefix_shape: list[tuple[int, int]] | None = None

    # Building and saving

    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None:
        """Load configuration, tokenizer and weights, and add `special_tokens` to a view's vocabulary.

        New embedding rows are drawn from torch's global generator. Raises `PartError` for a model that cannot
        be had or is not an encoder, and for a `max_length` beyond the model's limit.
        """
        added = () if self.source is not None else tuple(special_tokens)
        source = str(saved or self.name)
        options = hub_options(None if saved else self.revision)
        try:
            config = AutoConfig.from_pretrained(source, **options)
            self._refuse_decoders(config)
            self.tokenizer = load_tokenizer(source, **options)
            self.tokenizer.add_tokens([AddedToken(t, normalized=False, special=True) for t in added])

            def make() -> PreTrainedModel:
                return self._network(config, saved, options)

            key = (type(self), self.name, self.revision, added, self.dropout, self.attention, saved is None)
            self.backbone = shared(key, make) if self.frozen else make()
        except LOADING_ERRORS as error:
            files = "config.json, model.safetensors and the tokenizer's files"
            raise cannot_load("the text encoder", source, WELL_KNOWN, files, error) from error
        limit = self._limit(self.tokenizer)
        if self.source is None:
            self.subwords = Subwords(self.tokenizer, limit)
        else:
            self.set_tokenizer(self.tokenizer, self.max_length or min(limit or PLAIN_LENGTH, PLAIN_LENGTH))
        types = (
            getattr(config, "type_vocab_size", 0) > 1 and "token_type_ids" in self.tokenizer.model_input_names
        )
        self._inputs = ("input_ids", "attention_mask", *(("token_type_ids",) if types else ()))
        self.dim = config.hidden_size
        self._prefix_shape = None
        if self.frozen:
            self.requires_grad_(False).train()

    def _refuse_decoders(self, config: PreTrainedConfig) -> None:
        causal = (
            type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING
        )
        if not hasattr(config, "hidden_size"):
            raise PartError(
                f"{self.name!r} ({config.model_type}) is no text encoder alone",
                hint="take one; mmkit.clip_text.v1 reads the texts of a CLIP model",
            )
        if config.is_encoder_decoder or causal or getattr(config, "is_decoder", False):
            kind = "an encoder-decoder" if config.is_encoder_decoder else "a causal language model"
            raise PartError(
                f"{self.name!r} ({config.model_type}) is {kind}, not a text encoder",
                hint="take an encoder, such as BERT, RoBERTa, XLM-R, DeBERTa or ModernBERT",
            )

    def _network(
        self, config: PreTrainedConfig, saved: Path | None, options: Mapping[str, Any]
    ) -> PreTrainedModel:
        """The model with pretrained weights or, for a `saved` one, as its class initialises it."""
        if self.dropout is not None:
            for key, value in config.to_dict().items():
                if "dropout" in key and isinstance(value, int | float):
                    setattr(config, key, self.dropout)
        model_class = MODEL_MAPPING.get(type(config), None)
        if getattr(model_class, "_supports_attention_backend", False):
            sdpa = self.attention == "sdpa" and getattr(model_class, "_supports_sdpa", False)
            options = {**options, "attn_implementation": prefixes.SDPA if sdpa else prefixes.EAGER}
        if saved is not None:
            model = AutoModel.from_config(config, dtype=torch.float32, **options)
        else:
            model = load_network(AutoModel, self.name, config, optional=("pooler.",), **options)
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # unused; its parameters would never get a gradient
        embeddings = len(cast(nn.Embedding, model.get_input_embeddings()).weight)
        if len(self.tokenizer) > embeddings:
            if saved is not None:
                raise PartError(f"{len(self.tokenizer)} tokens but {embeddings} embeddings", where=str(saved))
            model.resize_token_embeddings(len(self.tokenizer), mean_resizing=False)
        return model

    def _limit(self, tokenizer: PreTrainedTokenizerFast) -> int | None:
        """The most subwords to encode: `max_length`, or what tokenizer and position embeddings allow."""
        limits = [tokenizer.model_max_length] if tokenizer.model_max_length < 1_000_000 else []
        positions = getattr(self.backbone.config, "max_position_embeddings", None)
        if positions:
            table = getattr(getattr(self.backbone, "embeddings", None), "position_embeddings", None)
            reserved = getattr(table, "padding_idx", None)  # RoBERTa counts positions from padding_idx + 1
            limits.append(positions - (0 if reserved is None else reserved + 1))
        limit = min(limits, default=None)
        if self.max_length is None:
            return limit
        if limit is not None and self.max_length > limit:
            raise PartError(
                f"max_length = {self.max_length}, but {self.name!r} takes at most {limit} subwords"
            )
        return self.max_length

    def save(self, folder: Path) -> None:
        """Write the configuration and the tokenizer (with its added tokens) to `folder`."""
        self.backbone.config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    # Running

    def collate(
        self, examples: Sequence[Example | Entity], views: Sequence[Mapping[str, TextView]]
    ) -> dict[str, Tensor]:
        """The tokenizer's tensors and the alignment with tokens; tokenised on first sight only.

        Of plain texts, as `ItemEncoder` says.
        """
        if self.source is not None:
            return super().collate(examples, views)
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
        """The number of subwords of the view this encoder reads; plain texts count for nothing."""
        if self.source is not None:
            return 0
        return len(self.subwords.encode([_view(self.view, views)])[0].ids)

    def prefix_shape(self) -> list[tuple[int, int]]:
        """(heads, head_dim) of each layer's prefix; raises `PartError` if the model cannot use one."""
        if self._prefix_shape is None:
            self._prefix_shape = prefixes.prove(self.backbone)
        return self._prefix_shape

    def forward(self, inputs: dict[str, Tensor], prefix: Prefix | None = None) -> Features:
        """Features of a collated batch.

        `prefix` holds, for each layer, a key and a value `[B, heads, P, head_dim]` put before the layer's own
        and never masked; queries, positions and the length of the output stay as they are.
        """
        if self.source is not None:
            return super().forward(inputs)
        extra = {} if prefix is None else {"prefix": prefix}
        tokens = self.backbone(**{name: inputs[name] for name in self._inputs}, **extra).last_hidden_state
        mask = inputs["attention_mask"].bool()
        return {"tokens": tokens, "mask": mask, "pooled": self._pool(tokens, mask)}

    def _pool(self, tokens: Tensor, mask: Tensor) -> Tensor:
        if self.pooling == "cls":
            return tokens[:, 0]
        return (tokens * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)

    def pooled(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        tokens = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self._pool(tokens, attention_mask.bool())

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "config": described(self.backbone), "pooling": self.pooling}

    # Sample

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """Save a tiny random BERT whose vocabulary is the examples' frequent words and all characters."""
        make_once(folder, lambda made: _write_sample(made, seed, word_pieces(examples)))
        return {"name": str(folder), "revision": None}


def _view(name: str, views: Mapping[str, TextView]) -> TextView:
    if name not in views:
        raise PartError(f"the decoder makes no view {name!r} of an example", hint=did_you_mean(name, views))
    return views[name]


def _write_sample(folder: Path, seed: int, vocabulary: dict[str, int]) -> None:
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        initializer_range=0.1,  # about 1 / sqrt(64), so that so small a network learns from scratch
    )
    with torch.random.fork_rng(devices=[]), no_bars():
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(folder)
    BertTokenizer(vocab=vocabulary, model_max_length=512).save_pretrained(folder)
