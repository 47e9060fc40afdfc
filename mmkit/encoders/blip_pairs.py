"""Pairs of a photo and a sentence as items, for BLIP."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from mmkit.batch import Features
from mmkit.data.images import content_key, open_image
from mmkit.data.types import Entity, Example, Image
from mmkit.encoders.cut import Cut, cut_at, cut_sentence, limit_of
from mmkit.encoders.items import BLANK, ItemSource, MissingImages
from mmkit.encoders.pictures import Transform
from mmkit.encoders.texts import cutting, padded, text_key, token_ids
from mmkit.errors import ImageError, PartError


@dataclass(frozen=True, slots=True)
class Pair:
    """A photo, which may be blank, and a sentence."""

    photo: Image
    text: str


@dataclass(frozen=True, slots=True)
class LoadedPair:
    """A pair, ready for BLIP: `pixels [3, H, W]`, and the sentence's tokens `[L]`."""

    pixels: Tensor
    ids: Tensor


class Pairs(ItemSource[Pair, LoadedPair]):
    """An example's pair of first photo and plain text, one slot for each example.

    A pair without its photo is still a pair: if an example has no photo or a blank one, or a missing or broken one
    that may be blank, the all-zero tensor after normalisation (the mean colour) is used instead.
    """

    pictures = True

    def set_preparation(
        self,
        tokenizer: PreTrainedTokenizerFast,
        max_length: int,
        transform: Transform,
        size: tuple[int, int, int],
        first: int | None = None,
    ) -> None:
        """Cut texts to `max_length` tokens, the first of which becomes `first`, and prepare photos of `size`."""
        self.set_tokenizer(tokenizer, max_length)
        pad: Any = tokenizer.pad_token_id
        self._pad, self._first = pad or 0, first
        self._transform, self._size = transform, size

    def set_tokenizer(self, tokenizer: PreTrainedTokenizerFast, max_length: int) -> None:
        """Cut texts to `max_length` tokens."""
        self._tokenizer: Tokenizer = cutting(tokenizer, max_length)

    def check_reads(self, kind: type[Example] | type[Entity]) -> None:
        if kind is Entity:
            raise PartError(
                "BLIP reads pairs of an example's photo and text",
                hint="name another encoder",
                code="encoder.reads-nothing",
            )

    def identity(self, x: Example | Entity) -> Pair:
        """The pair."""
        if isinstance(x, Entity):
            raise PartError(
                "BLIP reads pairs of an example's photo and text, not entities",
                where=x.id,
                code="encoder.reads-nothing",
            )
        photos = (image for image in x.images if image.role == "photo")
        return Pair(next(photos, Image(None)), x.text)

    def chosen(self, x: Example | Entity) -> list[Image]:
        """The photo of the pair."""
        return [self.identity(x).photo]

    def items(self, x: Example | Entity, missing: MissingImages) -> list[tuple[str, Pair]]:
        """A hash of photo and text, and the pair; missing photos as `missing` says."""
        pair = self.identity(x)
        if pair.photo.path is None:
            return [self.stand_in(pair)]
        try:
            photo = content_key(pair.photo)
        except ImageError as error:
            missing.excuse(error)
            return [self.stand_in(pair)]
        key = f"{photo} {text_key(pair.text)}"
        return [(hashlib.blake2b(key.encode(), digest_size=16).hexdigest(), pair)]

    def cut(self, x: Example) -> Cut | None:
        """What is not read of the sentence."""
        at = cut_at(self._tokenizer, x.text)
        return None if at is None else cut_sentence(limit_of(self._tokenizer), x, at)

    def stand_in(self, raw: Pair) -> tuple[str, Pair]:
        """The sentence with a blank photo."""
        return f"{BLANK}:{text_key(raw.text)}", Pair(Image(None), raw.text)

    def blank(self) -> Pair:
        return Pair(Image(None), "")

    def load(self, raw: Pair) -> LoadedPair:
        """The photo resized and normalised, zeros for a blank one, and the text's tokens."""
        photo = raw.photo
        pixels = torch.zeros(self._size) if photo.path is None else self._transform(open_image(photo))
        ids = token_ids(self._tokenizer, raw.text)
        return LoadedPair(pixels, torch.tensor(ids if self._first is None else [self._first, *ids[1:]]))

    def stack(self, loaded: Sequence[LoadedPair]) -> Features:
        """`pixels [N, 3, H, W]`, and `input_ids` and `attention_mask` `[N, L]`; L is the length of the longest text."""
        pixels = torch.stack([pair.pixels for pair in loaded])
        return {"pixels": pixels, **padded([pair.ids for pair in loaded], self._pad)}

    def cost(self, raw: Pair) -> int:
        return len(raw.text)

    def describe(self) -> dict[str, Any]:
        described: dict[str, Any] = {"tokenizer": text_key(self._tokenizer.to_str())}
        return described if self._first is None else {**described, "enc": self._first}
