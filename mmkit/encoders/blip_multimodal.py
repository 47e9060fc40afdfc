"""`mmkit.blip_multimodal.v1`: states of a sentence's tokens that have attended to the photo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from mmkit.batch import Features
from mmkit.encoders.blip_encoder import BlipEncoder
from mmkit.errors import PartError
from mmkit.ops.precision import Precision

ENC = "[ENC]"
"""BLIP's token at the beginning of a text that is read together with an image."""


class BlipMultimodalEncoder(BlipEncoder):
    """Last states of BLIP's image-grounded text encoder for an example's text and first photo.

    As BLIP's own multimodal features (Li et al. 2022, section 3.1): the text's first token is [ENC], and its
    tokens attend to each other and to the photo's patches. Texts are cut to `max_length` tokens.

    `name` is a BLIP for retrieval, such as Salesforce/blip-itm-base-coco; those for captions have no text encoder.
    The pretrained `model_base` that TESGA uses is not on the Hub in this form: the models there were fine-tuned for
    retrieval. A revision before April 2023 has a wrong number of heads in config.json.

    With `frozen = false` it is trained too, and nothing is stored.

    Features: `tokens [B, 1, L, D]`, zero beyond a text's own `lengths [B, 1]`, and `mask [B, 1]`, false where the
    photo is blank: the tokens are then BLIP's for the text and the mean colour.
    """

    provides = frozenset({"tokens", "lengths", "mask"})
    version: ClassVar[str] = "mmkit.blip_multimodal.v1"
    ragged = frozenset({"tokens"})

    def __init__(
        self,
        name: str,
        *,
        revision: str | None = None,
        max_length: int = 512,
        frozen: bool = True,
        store: bool = True,
        feature_dtype: Literal["float32", "float16"] = "float32",
        feature_precision: Precision = "fp32",
    ) -> None:
        super().__init__(
            name,
            revision=revision,
            max_length=max_length,
            frozen=frozen,
            store=store,
            feature_dtype=feature_dtype,
            feature_precision=feature_precision,
        )

    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None:
        super().build(special_tokens, saved)
        config: Any = self.backbone.config.text_config
        self.dim = config.hidden_size
        for head in (self.backbone.vision_proj, self.backbone.text_proj, self.backbone.itm_head):
            head.requires_grad_(False)  # BLIP's scores of a pair, not used here

    def first_token(self) -> int:
        """[ENC], the last of the network's tokens; the tokenizers on the Hub do not know it."""
        config: Any = self.backbone.config.text_config
        vocabulary, tokenizer = config.vocab_size, self.tokenizer.backend_tokenizer
        known = tokenizer.token_to_id(ENC)
        if known is None and vocabulary <= tokenizer.get_vocab_size():
            raise PartError(
                f"{self.name!r} has no token {ENC}, the first token of texts that are read with an image",
                hint="do the tokenizer and the weights belong together?",
                code="encoder.wrong-model",
            )
        return vocabulary - 1 if known is None else known

    def network(self, items: Features) -> Features:
        """`tokens [N, L, D]` and `lengths [N]` of stacked pairs."""
        tokens = self.text_states(items, self.image_states(items["pixels"]))
        mask = items["attention_mask"]
        return {"tokens": tokens * mask[..., None], "lengths": mask.sum(1)}
