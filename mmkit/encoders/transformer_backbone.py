"""Hugging Face text models: loading, the largest length of texts, and a tiny stand-in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from transformers import (
    MODEL_MAPPING,
    AddedToken,
    AutoModel,
    BertConfig,
    BertModel,
    BertTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from mmkit.data.types import Example
from mmkit.encoders import prefix as prefixes
from mmkit.encoders.sampling import make_once, word_pieces
from mmkit.encoders.sharing import shared
from mmkit.errors import PartError
from mmkit.ops.dropout import with_fast_dropout
from mmkit.pretrained.networks import no_bars
from mmkit.pretrained.source import Pretrained
from mmkit.pretrained.vocabulary import check_vocabulary

WELL_KNOWN = (
    "answerdotai/ModernBERT-base",
    "bert-base-cased",
    "bert-base-multilingual-cased",
    "bert-base-uncased",
    "bert-large-uncased",
    "roberta-base",
    "roberta-large",
    "xlm-roberta-base",
    "xlm-roberta-large",
)
"""Only for the hint when a name cannot be found: all have a fast tokenizer that needs no further package."""

Pooling: TypeAlias = Literal["cls", "mean", "last"]
Attention: TypeAlias = Literal["sdpa", "eager"]


@dataclass(frozen=True, slots=True)
class TextModel:
    """A text model that a recipe names: of the Hub (with an optional `revision`) or a local folder.

    `max_length` counts subwords with special ones (None: the model's limit). `dropout` replaces every dropout of
    the model's configuration, and `attention_dropout` those of attention weights alone.
    """

    name: str
    revision: str | None = None
    max_length: int | None = None
    dropout: float | None = None
    attention: Attention = "sdpa"
    attention_dropout: float | None = None

    def pretrained(self, saved: Path | None = None) -> Pretrained:
        """Where it is loaded from: a run's folder, if it is `saved` there."""
        needs = ("tokenizer",) if saved else ("weights", "tokenizer")
        what, name = "the text encoder", self.name
        return Pretrained(name, what, self.revision, WELL_KNOWN, needs=needs, saved=saved)

    def load(self, saved: Path | None, frozen: bool, added: Sequence[str] = ()) -> LoadedText:
        """The model with its tokenizer, which gets the tokens `added`; with `saved`, as initialised and offline.

        Of an encoder-decoder model only the encoder is kept. Frozen ones of one checkpoint are shared (see
        `sharing`). New embedding rows are drawn from torch's global generator. Raises `PartError` for a model that
        cannot be had, that is not for texts alone, or whose tokenizer is not its own.
        """
        pretrained = self.pretrained(saved)
        config = pretrained.config()
        if not hasattr(config, "hidden_size"):
            raise PartError(
                f"{self.name!r} ({config.model_type}) is not a pure text model",
                hint="use one; mmkit.clip_text.v1 reads texts with a CLIP model",
                code="encoder.wrong-model",
            )
        pretrained.check(*pretrained.needs)
        tokenizer = pretrained.tokenizer()
        if saved is None:
            check_vocabulary(tokenizer, config, self.name)
        tokenizer.add_tokens([AddedToken(t, normalized=False, special=True) for t in added])

        def make() -> PreTrainedModel:
            return self._network(config, len(tokenizer), pretrained)

        changes = (self.dropout, self.attention_dropout, self.attention)
        key = (TextModel, self.name, self.revision, tuple(added), changes, saved is None)
        network = shared(key, make) if frozen else make()
        if config.is_encoder_decoder:
            config.vocab_size = max(config.vocab_size, len(tokenizer))
            return LoadedText(self, network, tokenizer, config)
        return LoadedText(self, network, tokenizer, network.config)

    def tokenizer_alone(self, added: Sequence[str] = ()) -> LoadedText:
        """The same without weights: a network that holds no numbers, to ask how long texts may be.

        Raises `PartError` for a tokenizer or a configuration that cannot be had.
        """
        pretrained = self.pretrained()
        config, tokenizer = pretrained.config(), pretrained.tokenizer()
        tokenizer.add_tokens([AddedToken(t, normalized=False, special=True) for t in added])
        with torch.device("meta"):
            network = pretrained.initialised(AutoModel, config)
        encoder = network.get_encoder() if config.is_encoder_decoder else network
        return LoadedText(self, encoder, tokenizer, config)

    def _network(self, config: PreTrainedConfig, tokens: int, pretrained: Pretrained) -> PreTrainedModel:
        """The model with pretrained weights or, for a `saved` one, as its class initialises it."""
        self._set_dropout(config)
        saved, options = pretrained.saved, {}
        model_class = MODEL_MAPPING.get(type(config), None)
        if getattr(model_class, "_supports_attention_backend", False):
            sdpa = self.attention == "sdpa" and getattr(model_class, "_supports_sdpa", False)
            options = {"attn_implementation": prefixes.SDPA if sdpa else prefixes.EAGER}
        model: Any
        if saved is not None:
            model = pretrained.initialised(AutoModel, config, **options)
        else:
            model = pretrained.network(AutoModel, config, optional=("pooler.",), **options)
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # unused; its parameters would never get a gradient
        embeddings = len(model.get_input_embeddings().weight)
        if tokens > embeddings:
            if saved is not None:
                raise PartError(
                    f"{tokens} tokens but {embeddings} embeddings",
                    where=str(saved),
                    code="encoder.wrong-tokenizer",
                )
            model.resize_token_embeddings(tokens, mean_resizing=False)
        encoder: PreTrainedModel = model.get_encoder() if config.is_encoder_decoder else model
        with_fast_dropout(encoder)
        return encoder

    def _set_dropout(self, config: PreTrainedConfig) -> None:
        """Raises `PartError` if there is an `attention_dropout`, but none of attention in the configuration."""
        rates = {name: value for name, value in config.to_dict().items() if isinstance(value, int | float)}
        known = {
            name for name in rates if "dropout" in name or name.endswith("_pdrop")
        }  # so GPT-2 calls them
        of_attention = {name for name in known if "attention" in name or name.startswith("attn")}
        if self.attention_dropout is not None and not of_attention:
            raise PartError(
                f"attention_dropout is set, but {self.name!r} ({config.model_type}) has no dropout of attention alone",
                hint=f"remove it; dropout sets {', '.join(sorted(known))}" if known else "remove it",
                code="encoder.attention-dropout",
            )
        for name in sorted(known):
            own = self.attention_dropout if name in of_attention else None
            value = self.dropout if own is None else own
            if value is not None:
                setattr(config, name, value)


@dataclass(frozen=True, slots=True)
class LoadedText:
    """A text model's network and tokenizer, and the configuration from which it can be built again."""

    model: TextModel
    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    config: PreTrainedConfig

    @property
    def causal(self) -> bool:
        """Whether a word's state sees only the words before it."""
        return prefixes.is_causal(self.config)

    @property
    def types(self) -> bool:
        """Whether the network takes `token_type_ids`."""
        sizes = getattr(self.config, "type_vocab_size", 0)
        return sizes > 1 and "token_type_ids" in self.tokenizer.model_input_names

    def limit(self) -> int | None:
        """The largest number of subwords: `max_length`, or the limit of tokenizer and position embeddings.

        Raises `PartError` for a `max_length` beyond that.
        """
        wanted, longest = self.model.max_length, self.tokenizer.model_max_length
        limits = [longest] if longest < 1_000_000 else []
        positions = getattr(self.config, "max_position_embeddings", None)
        if positions:
            table = getattr(getattr(self.network, "embeddings", None), "position_embeddings", None)
            reserved = getattr(table, "padding_idx", None)  # RoBERTa counts positions from padding_idx + 1
            limits.append(positions - (0 if reserved is None else reserved + 1))
        limit = min(limits, default=None)
        if wanted is None:
            return limit
        if limit is not None and wanted > limit:
            raise PartError(
                f"max_length = {wanted}, but {self.model.name!r} takes at most {limit} subwords",
                code="encoder.max-length",
            )
        return wanted

    def check_pooling(self, pooling: Pooling) -> None:
        """Raise `PartError` for pooling by the first state of a causal model, which has seen only one token."""
        if pooling == "cls" and self.causal:
            raise PartError(
                f"{self.model.name!r} ({self.config.model_type}) is a causal language model, so that its "
                "first state has seen nothing of a text",
                hint='set pooling = "last" or "mean", or use an encoder such as BERT, RoBERTa or ModernBERT',
                code="encoder.causal",
            )


def pool(pooling: Pooling, tokens: Tensor, mask: Tensor) -> Tensor:
    """One state of each text `[B, D]` from states `[B, T, D]`: the first, the last real one, or the mean of the real
    ones."""
    if pooling == "cls":
        return tokens[:, 0]
    if pooling == "last":
        at = (mask.sum(1) - 1).clamp(min=0)
        return tokens.gather(1, at[:, None, None].expand(-1, 1, tokens.shape[2])).squeeze(1)
    return (tokens * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def sample_model(folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
    """Save a tiny random BERT whose vocabulary is the examples' frequent words and all characters."""
    make_once(folder, lambda made: _write_sample(made, seed, word_pieces(examples)))
    return {"name": str(folder), "revision": None}


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
