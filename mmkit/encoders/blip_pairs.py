"""What BLIP's encoders of pairs share: an example is one pair of its photo and its sentence."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoImageProcessor, BlipForImageTextRetrieval

from mmkit.batch import Features
from mmkit.data.images import content_key, open_image
from mmkit.data.types import Entity, Example, Image, TextView
from mmkit.encoders.base import BLANK, ItemEncoder
from mmkit.encoders.blip_backbone import blip_error, blip_network
from mmkit.encoders.blip_sample import write_tiny_blip
from mmkit.encoders.pictures import input_size, pixels_of
from mmkit.encoders.pretrained import LOADING_ERRORS, described, hub_options, load_tokenizer
from mmkit.encoders.texts import cutting, text_key, token_ids
from mmkit.errors import ImageError, PartError

PAIR = "pair/"
"""Before the names of what `collate` loaded, as features that it found stored have names of their own."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A photo, which may be blank, and a sentence."""

    photo: Image
    text: str


@dataclass(frozen=True, slots=True)
class LoadedPair:
    """A pair as BLIP reads it: `pixels [3, H, W]`, and the sentence's tokens."""

    pixels: Tensor
    ids: list[int]


class BlipPairEncoder(ItemEncoder):
    """BLIP as an encoder of an example's pair of first photo and plain text, one slot an example.

    `name` is a BLIP for retrieval of the Hub (with an optional `revision`) or a local folder; its own image
    processor prepares the photo, and texts are cut to `max_length` tokens.

    A pair without its photo is still a pair: where an example has none, or a blank one, and where a missing or
    broken one may be blank, the all-zero tensor after normalisation (the mean colour) takes its place, and its
    features are what BLIP makes of that and the sentence. `mask` is false there.
    """

    reads_pictures = True

    backbone: BlipForImageTextRetrieval

    def __init__(
        self,
        name: str,
        *,
        revision: str | None = None,
        max_length: int,
        frozen: bool = True,
        store: bool = True,
        feature_dtype: Literal["float32", "float16"] = "float32",
    ) -> None:
        super().__init__(feature_dtype)
        self.name, self.revision, self.max_length = name, revision, max_length
        self.frozen, self.store = frozen, store

    # Building and saving

    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None:
        """Load network, tokenizer and image processor; `special_tokens` mark words of a view, not of a plain text.

        Raises `PartError` for a model that cannot be had, is another kind, or takes fewer than `max_length` tokens.
        """
        self.backbone = blip_network(self.name, self.revision, saved, self.frozen)
        source, options = str(saved or self.name), hub_options(None if saved else self.revision)
        try:
            self.tokenizer = load_tokenizer(source, **options)
            self.processor: Any = AutoImageProcessor.from_pretrained(source, **options)
        except LOADING_ERRORS as error:
            raise blip_error(source, error) from error
        config: Any = self.backbone.config
        limit = config.text_config.max_position_embeddings
        if self.max_length > limit:
            raise PartError(f"max_length = {self.max_length}, but {self.name!r} takes at most {limit} tokens")
        self._tokenizer = cutting(self.tokenizer, self.max_length)
        self._transform = pixels_of(self.processor)
        self._size = input_size(self.name, self._transform, config.vision_config.image_size)
        if self.frozen:
            self.requires_grad_(False).train()

    def save(self, folder: Path) -> None:
        """Write the configuration, the tokenizer and the image processor's settings to `folder`."""
        self.backbone.config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        self.processor.save_pretrained(folder)

    def describe(self) -> dict[str, Any]:
        return {
            "tokenizer": text_key(self._tokenizer.to_str()),
            "processor": self.processor.to_dict(),
            "config": described(self.backbone),
        }

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """Save a tiny BLIP, which all of BLIP's encoders use, beside `folder`."""
        return {"name": str(write_tiny_blip(folder, seed, examples)), "revision": None}

    # An example's pair

    def check_reads(self, kind: type[Example] | type[Entity]) -> None:
        if kind is Entity:
            raise PartError("BLIP reads pairs of an example's photo and text", hint="name another encoder")

    def identity(self, x: Example | Entity) -> Hashable:
        return self._pair(x)

    def _pair(self, x: Example | Entity) -> Pair:
        if isinstance(x, Entity):
            raise PartError("BLIP reads pairs of an example's photo and text, not entities", where=x.id)
        photos = (image for image in x.images if image.role == "photo")
        return Pair(next(photos, Image(None)), x.text)

    def items(self, x: Example | Entity) -> list[tuple[str, Any]]:
        """A hash of photo and text, and the pair; missing photos as `missing_images` says."""
        pair = self._pair(x)
        if pair.photo.path is None:
            return [self.stand_in(pair)]
        try:
            photo = content_key(pair.photo)
        except ImageError as error:
            if self.missing_images == "error":
                raise
            self.replaced[error.where] = error.what
            return [self.stand_in(pair)]
        return [
            (hashlib.blake2b(f"{photo} {text_key(pair.text)}".encode(), digest_size=16).hexdigest(), pair)
        ]

    def stand_in(self, raw: Pair) -> tuple[str, Pair]:
        """The sentence with a blank photo."""
        return f"{BLANK}:{text_key(raw.text)}", Pair(Image(None), raw.text)

    def blank(self) -> Pair:
        return Pair(Image(None), "")

    def load(self, raw: Pair) -> LoadedPair:  # type: ignore[override]
        """The photo resized and normalised, zeros for a blank one, and the text's tokens."""
        photo = raw.photo
        pixels = torch.zeros(self._size) if photo.path is None else self._transform(open_image(photo))
        return LoadedPair(pixels, self.token_ids(raw.text))

    def token_ids(self, text: str) -> list[int]:
        """The tokens BLIP is given of a text."""
        return token_ids(self._tokenizer, text)

    def cost(self, raw: Pair) -> int:
        return len(raw.text)

    # Running

    @abstractmethod
    def network(self, stack: Features) -> Features:  # type: ignore[override]
        """Features of stacked pairs, `[N, ...]` each."""

    def stacked(self, loaded: Sequence[LoadedPair]) -> Features:
        """`pixels [N, 3, H, W]`, and `input_ids` and `attention_mask` `[N, L]`; L is the most tokens of a text."""
        ids = [torch.tensor(pair.ids) for pair in loaded]
        padding: Any = self.tokenizer.pad_token_id or 0
        return {
            "pixels": torch.stack([pair.pixels for pair in loaded]),
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=padding),
            "attention_mask": pad_sequence([torch.ones_like(i) for i in ids], batch_first=True),
        }

    def collate(
        self, examples: Sequence[Example | Entity], views: Sequence[Mapping[str, TextView]]
    ) -> dict[str, Tensor]:
        """Where stored features of the examples are, or what `stacked` makes of them; and `mask [B, 1]`."""
        if (found := self.from_store(examples)) is not None:
            return found
        loaded = [self.load_or_blank(key, raw) for x in examples for key, raw in self.items(x)]
        inputs = self.stacked([item for item, _ in loaded])  # type: ignore[misc]
        mask = torch.tensor([[real] for _, real in loaded])
        return {**{PAIR + name: tensor for name, tensor in inputs.items()}, "mask": mask}

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        own = {name.removeprefix(PAIR): x for name, x in inputs.items() if name.startswith(PAIR)}
        if not own:
            return super().forward(inputs)
        made = self.encode(own) if self.frozen else self.network(own)
        floats = {k: v.float() if v.dtype == torch.float16 else v for k, v in made.items()}
        return {**{k: v.unsqueeze(1) for k, v in floats.items()}, "mask": inputs["mask"]}

    def image_states(self, pixels: Tensor) -> Tensor:
        """The photos' patches, the photo as a whole first: `[N, P, D]`."""
        return self.backbone.vision_model(pixel_values=pixels).last_hidden_state

    def text_states(self, stack: Features, image: Tensor | None) -> Tensor:
        """The texts' tokens `[N, L, D]`, attending to the photos' patches if there are any."""
        return self.backbone.text_encoder(
            input_ids=stack["input_ids"],
            attention_mask=stack["attention_mask"],
            encoder_hidden_states=image,
        ).last_hidden_state
