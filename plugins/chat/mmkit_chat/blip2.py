"""Asks BLIP-2 questions about images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image as Pillow
from transformers import Blip2ForConditionalGeneration, Blip2Processor

from mmkit.annotators.pretrained import annotators_model
from mmkit.errors import PartError
from mmkit.pretrained.source import Pretrained


def blip2_model(name: str, revision: str | None = None) -> Pretrained:
    """A BLIP-2 model, not loaded yet."""
    hint = "give the name of a BLIP-2 model on the Hub, or a folder that contains one"
    return annotators_model("BLIP-2", name, revision, hint, ("weights", "tokenizer", "pictures"))


class Captioner:
    """A BLIP-2 model with its processor: half precision on a GPU, single precision elsewhere.

    Raises `PartError` if the model cannot be loaded or is not a BLIP-2 model. The same holds if its prompts have no
    tokens for the image: such a model was saved for an older transformers, and would answer without the image.
    """

    def __init__(self, name: str, revision: str | None = None, device: str = "cpu") -> None:
        self.dtype = torch.float16 if torch.device(device).type == "cuda" else torch.float32
        pretrained = blip2_model(name, revision)
        self.processor = pretrained.processor(Blip2Processor)
        model: Any = pretrained.network(Blip2ForConditionalGeneration, dtype=self.dtype)
        self.model = model.to(device).eval()
        self._check_places(name)

    def _check_places(self, name: str) -> None:
        config = self.model.config
        token = self.processor.tokenizer.convert_tokens_to_ids(self.processor.image_token.content)
        if (self.processor.num_query_tokens, token) != (config.num_query_tokens, config.image_token_index):
            raise PartError(
                f"the prompts of the BLIP-2 model {name!r} have no tokens for the image",
                hint="it was saved for an older transformers: give a newer revision",
                code="chat.blip2-prompt",
            )

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[Pillow.Image], prompt: str, max_new_tokens: int) -> list[str]:
        """The answer to `prompt` for each image (greedy decoding), without the prompt and surrounding spaces."""
        if not pictures:
            return []
        inputs = self.processor(
            images=list(pictures), text=[prompt] * len(pictures), padding=True, return_tensors="pt"
        ).to(self.model.device, self.dtype)
        tokens = self.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False, num_beams=1)
        if not self.model.language_model.config.is_encoder_decoder:
            tokens = tokens[:, inputs["input_ids"].shape[1] :]  # without the prompt
        answers = self.processor.batch_decode(tokens, skip_special_tokens=True)
        return [answer.strip() for answer in answers]
