"""Base of BLIP's encoders of pairs: the network, and the preparation of pairs for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor
from transformers import BlipForImageTextRetrieval, PreTrainedTokenizerFast

from mmkit.batch import Features
from mmkit.data.types import Example
from mmkit.encoders.blip_backbone import blip_model, blip_network
from mmkit.encoders.blip_pairs import Pairs
from mmkit.encoders.blip_sample import write_tiny_blip
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.encoders.pictures import input_size, pixels_of
from mmkit.errors import MMKitError, PartError
from mmkit.ops.precision import Precision
from mmkit.pretrained.networks import described
from mmkit.pretrained.vocabulary import check_vocabulary


class BlipEncoder(ItemEncoder):
    """BLIP as an encoder of an example's pair of first photo and plain text, one slot for each example.

    `name` is a BLIP for retrieval of the Hub (with an optional `revision`) or a local folder; its own image processor
    prepares the photo, and texts are cut to `max_length` tokens. If the photo is blank, features are BLIP's for the
    mean colour and the sentence, and `mask` is false.
    """

    source: Pairs
    backbone: BlipForImageTextRetrieval
    tokenizer: PreTrainedTokenizerFast

    def __init__(
        self,
        name: str,
        *,
        revision: str | None = None,
        max_length: int,
        frozen: bool = True,
        store: bool = True,
        feature_dtype: Literal["float32", "float16"] = "float32",
        feature_precision: Precision = "fp32",
    ) -> None:
        super().__init__(
            Pairs(),
            frozen=frozen,
            store=store,
            feature_dtype=feature_dtype,
            feature_precision=feature_precision,
        )
        self.name, self.revision, self.max_length = name, revision, max_length

    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None:
        """Load network, tokenizer and image processor; `special_tokens` mark words of a view, not of a plain text.

        Raises `PartError` for a model that cannot be loaded, is another kind, or takes fewer than `max_length` tokens.
        """
        model = blip_model(self.name, self.revision, saved)
        self.backbone = blip_network(self.name, self.revision, saved, self.frozen)
        self.tokenizer = model.tokenizer()
        self.processor: Any = model.image_processor()
        config: Any = self.backbone.config
        limit = config.text_config.max_position_embeddings
        if self.max_length > limit:
            raise PartError(
                f"max_length = {self.max_length}, but {self.name!r} takes at most {limit} tokens",
                code="encoder.max-length",
            )
        transform = pixels_of(self.processor)
        size = input_size(self.name, transform, config.vision_config.image_size)
        self.source.set_preparation(self.tokenizer, self.max_length, transform, size, self.first_token())
        if saved is None:
            check_vocabulary(self.tokenizer, config.text_config, self.name, growing=False)
        if self.frozen:
            self.requires_grad_(False).train()

    def problems(self) -> Iterator[MMKitError]:
        yield from blip_model(self.name, self.revision, None).problems()

    def weight_bytes(self) -> int | None:
        return blip_model(self.name, self.revision, None).weight_bytes()

    def build_tokenizer(self, special_tokens: Sequence[str] = ()) -> bool:
        self.source.set_tokenizer(blip_model(self.name, self.revision, None).tokenizer(), self.max_length)
        return True

    def first_token(self) -> int | None:
        """The token that replaces a text's first token; None: no replacement."""
        return None

    def save(self, folder: Path) -> None:
        """Write the configuration, the tokenizer and the image processor's settings to `folder`."""
        self.backbone.config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        self.processor.save_pretrained(folder)

    def describe(self) -> dict[str, Any]:
        return {"processor": self.processor.to_dict(), "config": described(self.backbone)}

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """Save a tiny BLIP, which all of BLIP's encoders use, beside `folder`."""
        return {"name": str(write_tiny_blip(folder, seed, examples)), "revision": None}

    def image_states(self, pixels: Tensor) -> Tensor:
        """The photos' patches, the photo as a whole first: `[N, P, D]`."""
        states: Tensor = self.backbone.vision_model(pixel_values=pixels).last_hidden_state
        return states

    def text_states(self, items: Features, image: Tensor | None) -> Tensor:
        """The texts' tokens `[N, L, D]`, attending to the photos' patches if there are any."""
        states: Tensor = self.backbone.text_encoder(
            input_ids=items["input_ids"],
            attention_mask=items["attention_mask"],
            encoder_hidden_states=image,
        ).last_hidden_state
        return states
