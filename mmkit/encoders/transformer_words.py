"""`mmkit.transformer_words.v1`: a Hugging Face text model over the words of a view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from mmkit.batch import Features, of_view
from mmkit.data.types import Entity, Example, Image, TextView
from mmkit.encoders import prefix as prefixes
from mmkit.encoders.abilities import Prefix
from mmkit.encoders.base import Encoder
from mmkit.encoders.cut import Cut
from mmkit.encoders.subwords import Subwords
from mmkit.encoders.transformer_backbone import (
    Attention,
    LoadedText,
    Pooling,
    TextModel,
    pool,
    sample_model,
)
from mmkit.encoders.windows import has_windows, joined, of_windows, prefix_of_windows
from mmkit.errors import MMKitError, PartError, did_you_mean

STREAMED = 1 << 20
"""Subwords that are kept of a stream: more than those of texts that are batched together."""


class TransformerWords(Encoder):
    """Any Hugging Face text model: words to subwords, special tokens, a second text, prefix attention.

    `name` is a model of the Hub (with an optional `revision`) or a local folder. It encodes the decoder's
    `view`, cut to `max_length` subwords with special ones (default: the model's limit). `pooled` is the first
    position's state, the last real one's, or the mean over real ones. `dropout` replaces every dropout of the
    model's configuration, and `attention_dropout` that of attention weights alone: at 0, attention needs no memory
    that grows with the square of the length, and on a CPU long texts train twice as fast.

    With `window_overlap`, a sentence that does not fit is not cut. It is read in windows of `max_length` subwords. Each
    window shares at least this number of subwords with the next one. The state of a word comes from the window in which
    the word has the most context on both sides. The joined states are the states of the sentence: a tagger scores it
    once and as a whole, each word counts once in the loss, and spans can cross the borders of windows. A context after
    the sentence is then left out. Only decoders with `reads_windows` can use it.

    `drop_lone_spaces` is for languages written without spaces. There, tokenizers of the SentencePiece kind (XLM-R, mT5)
    put a subword that is only a space before most words, where a tagger looks for the word's state. It is left out
    where the word has other subwords, so that texts become shorter too, of single characters half as long.

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
        window_overlap: int | None = None,
        drop_lone_spaces: bool = False,
        frozen: bool = False,
        pooling: Pooling = "cls",
        dropout: float | None = None,
        attention_dropout: float | None = None,
        attention: Attention = "sdpa",
    ) -> None:
        super().__init__()
        if window_overlap is not None and window_overlap < 0:
            raise PartError(
                f"window_overlap = {window_overlap}, but windows share no fewer than 0 subwords",
                hint="a quarter of max_length is usual; null cuts long texts",
                code="encoder.windows",
            )
        self.name, self.window_overlap, self.drop_lone_spaces = name, window_overlap, drop_lone_spaces
        self.model = TextModel(name, revision, max_length, dropout, attention, attention_dropout)
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
        self.backbone = loaded.network
        self._take(loaded)
        self._prefix_shape = None
        if self.frozen:
            self.requires_grad_(False).train()

    def expect_new(self) -> None:
        self.subwords.room = STREAMED

    def problems(self) -> Iterator[MMKitError]:
        yield from self.model.pretrained().problems()

    def weight_bytes(self) -> int | None:
        return self.model.pretrained().weight_bytes()

    def _take(self, loaded: LoadedText) -> None:
        self.tokenizer, self.config = loaded.tokenizer, loaded.config
        if loaded.causal and self.reads_in_windows:
            raise PartError(
                f"{self.name!r} ({self.config.model_type}) is a causal language model, whose words see what stands "
                "before them alone: it cannot read windows",
                hint="leave out window_overlap",
                code="encoder.windows",
            )
        self.subwords = Subwords(self.tokenizer, loaded.limit(), self.window_overlap, self.drop_lone_spaces)
        self._inputs = ("input_ids", "attention_mask", *(("token_type_ids",) if loaded.types else ()))
        self.dim, self.causal = self.config.hidden_size, loaded.causal

    @property
    def reads_in_windows(self) -> bool:
        return self.window_overlap is not None

    @property
    def captures(self) -> bool | str:
        return (
            "it reads long texts in windows, of which each batch has another number"
            if self.reads_in_windows
            else True
        )

    def lengthen(self, inputs: dict[str, Tensor], multiple: int) -> dict[str, Tensor]:
        """Every view's lengths rounded up, as far as the model's limit allows; see `Subwords.lengthen`."""
        own = [name for name in inputs if not any(name.startswith(f"{view}:") for view in self.extra_views)]
        longer = self.subwords.lengthen({name: inputs[name] for name in own}, multiple)
        for view in self.extra_views:
            extra = self.subwords.lengthen(of_view(inputs, view), multiple)
            longer |= {f"{view}:{name}": tensor for name, tensor in extra.items()}
        return longer

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
            inputs = {key: tensor for key, tensor in inputs.items() if not key.endswith("token_type_ids")}
        return inputs

    def length(self, example: Example, views: Mapping[str, TextView]) -> int:
        """The number of subwords of the view that this encoder reads."""
        return len(self.subwords.encode([_view(self.view, views)])[0].ids)

    def cut(self, example: Example, views: Mapping[str, TextView]) -> Cut | None:
        """The tokens beyond the limit, and whether a context behind them is cut."""
        view = _view(self.view, views)
        encoded = self.subwords.encode([view])[0]
        if not encoded.cut or self.subwords.max_length is None:
            return None
        lost = [token for token in view.index if token >= 0 and encoded.first[token] < 0]
        last = max((at for at, token in enumerate(view.index) if token >= 0), default=-1)
        behind = set(range(last + 1, len(view.words))).difference(
            view.markers
        )  # markers of a pair may be at the end
        return Cut(
            self.subwords.max_length,
            min(lost, default=None),
            context=bool(
                behind or view.second or not lost
            ),  # a decoder may have made a context's words markers
            words=True,
        )

    def pictures_read(self, example: Example | Entity) -> Sequence[Image]:
        return ()

    def build_tokenizer(self, special_tokens: Sequence[str] = ()) -> bool:
        self._take(self.model.tokenizer_alone(special_tokens))
        return True

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
        windows = has_windows(inputs)
        if prefix is not None and windows:
            prefix = prefix_of_windows(prefix, inputs)
        if prefix is not None and not torch.compiler.is_compiling():  # that does once what all layers do
            prefix = prefixes.Widened(prefix)
        extra = {} if prefix is None else {"prefix": prefix}
        rows = of_windows(inputs, self._inputs) if windows else {name: inputs[name] for name in self._inputs}
        tokens = self.backbone(**rows, **extra).last_hidden_state
        if windows:
            tokens = joined(tokens, inputs)
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
