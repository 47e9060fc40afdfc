"""`mmkit.transformer.v1`: the name under which recipes know both text encoders of transformers."""

from __future__ import annotations

from typing import Any, Literal

from mmkit.encoders.base import Encoder
from mmkit.encoders.transformer_backbone import Attention, Pooling
from mmkit.encoders.transformer_texts import TransformerTexts
from mmkit.encoders.transformer_words import TransformerWords
from mmkit.errors import PartError
from mmkit.ops.precision import Precision


class _Either(Encoder):
    """Makes an encoder of plain texts if there is a `source`; a separate class keeps the signature of `__init__`."""

    def __new__(cls, *arguments: Any, source: str | None = None, **settings: Any) -> Any:
        if source is None:
            return super().__new__(cls)
        if settings.pop("extra_views", None):
            raise PartError(
                "an encoder with a source reads no views",
                hint="remove extra_views or source",
                code="encoder.reads-nothing",
            )
        if settings.pop("window_overlap", None) is not None:
            raise PartError(
                "an encoder with a source makes one vector of a text, and reads no windows",
                hint="leave out window_overlap or source",
                code="encoder.windows",
            )
        if settings.pop("drop_lone_spaces", None):
            raise PartError(
                "an encoder with a source reads texts as they are written, and drops no spaces",
                hint="leave out drop_lone_spaces or source",
                code="encoder.lone-spaces",
            )
        settings.pop("view", None)
        return TransformerTexts(*arguments, **{**settings, "source": source})


class TransformerEncoder(TransformerWords, _Either):
    """Any Hugging Face text encoder: the words of a view or, with a `source`, a record's plain texts.

    Without a `source` this is `mmkit.transformer_words.v1`: `tokens [B, T, D]`, `mask [B, T]` and `pooled [B, D]` of
    the decoder's `view`, cut to `max_length` subwords or, with `window_overlap`, read in windows of this length;
    `slots`, `store`, `feature_dtype` and `feature_precision` are ignored. With one it is
    `mmkit.transformer_texts.v1`: `pooled [B, n, D]` and `mask [B, n]` of a record's first `slots` texts; `view`,
    `extra_views`, `window_overlap` and `drop_lone_spaces` are ignored.
    """

    @property
    def captures(self) -> bool | str:
        return super().captures

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
        window_overlap: int | None = None,
        drop_lone_spaces: bool = False,
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
            name,
            view=view,
            extra_views=extra_views,
            revision=revision,
            max_length=max_length,
            window_overlap=window_overlap,
            drop_lone_spaces=drop_lone_spaces,
            frozen=frozen,
            pooling=pooling,
            dropout=dropout,
            attention_dropout=attention_dropout,
            attention=attention,
        )
