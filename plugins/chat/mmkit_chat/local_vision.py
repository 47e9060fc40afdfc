"""A vision-language model that runs on this machine, with transformers."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image as Pillow
from transformers import AutoModelForImageTextToText, AutoProcessor

from mmkit.annotators.base import Failed
from mmkit.annotators.pretrained import annotators_model
from mmkit.data.image_files import check_bytes
from mmkit.data.images import open_bytes
from mmkit.errors import ImageError, PartError
from mmkit_chat.answers import Answer
from mmkit_chat.local_model import too_long
from mmkit_chat.messages import Chat, Message, Prompt
from mmkit_chat.templates import templated

NAME = "a picture of a prompt"
HINT = "give pictures as data:image/jpeg;base64,..."


class LocalVisionModel:
    """Answers prompts with pictures, one after another, with greedy decoding.

    It runs in the precision of its files on a GPU, and in single precision elsewhere. Raises `PartError` if the model
    cannot be loaded, sees no pictures or has no chat template.
    """

    def __init__(
        self,
        name: str,
        revision: str | None = None,
        device: str = "cpu",
        chat_template_kwargs: dict[str, Any] | None = None,
    ) -> None:
        dtype: torch.dtype | str = "auto" if torch.device(device).type == "cuda" else torch.float32
        hint = "give the name of a vision-language model on the Hub, or a folder that contains one"
        needs = ("weights", "tokenizer", "pictures")
        pretrained = annotators_model("the vision-language model", name, revision, hint, needs)
        self.processor: Any = pretrained.processor(AutoProcessor)
        if getattr(self.processor, "chat_template", None) is None:
            raise PartError(
                f"the vision-language model {name!r} has no chat template",
                hint="give a model that was trained for chats, or serve it with a template",
                code="chat.no-template",
            )
        model: Any = pretrained.network(AutoModelForImageTextToText, dtype=dtype)
        self.model = model.to(device).eval()
        self.name, self.chat_template_kwargs = name, chat_template_kwargs or {}

    @torch.inference_mode()
    def ask(self, prompts: Sequence[Prompt], max_tokens: int) -> list[Answer | Failed]:
        """An answer of at most `max_tokens` tokens to each prompt; `Failed` if the prompt is too long for the model.

        Raises `PartError` if the model's chat template fails.
        """
        return [self._answer(Chat.of(prompt), max_tokens) for prompt in prompts]

    def _answer(self, chat: Chat, max_tokens: int) -> Answer | Failed:
        inputs = templated(
            self.processor.apply_chat_template,
            [[_told(message, getattr(self.processor, "image_token", None)) for message in chat.messages]],
            self.name,
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
            **self.chat_template_kwargs,
        ).to(self.model.device, self.model.dtype)
        size = inputs["input_ids"].shape[1]
        if (told := too_long(self.model, size, max_tokens)) is not None:
            return told
        tokens = self.model.generate(**inputs, max_new_tokens=max_tokens, do_sample=False, num_beams=1)[
            0, size:
        ]
        end = self.model.generation_config.eos_token_id
        ends = [] if end is None else [end] if isinstance(end, int) else list(end)
        ended = bool(torch.isin(tokens, torch.tensor(ends, dtype=tokens.dtype, device=tokens.device)).any())
        text = self.processor.decode(tokens, skip_special_tokens=True)
        return Answer(text, not ended, size, len(tokens))


def _told(message: Message, image_token: str | None) -> dict[str, Any]:
    """A message as processors take it. A text with the token of a picture gets a space into it: it shows none."""
    shown = [{"type": "image", "image": opened(picture)} for picture in message.pictures]
    text = message.text
    if image_token:
        text = text.replace(image_token, f"{image_token[0]} {image_token[1:]}")
    return {"role": message.role, "content": [*shown, {"type": "text", "text": text}]}


def opened(picture: str) -> Pillow.Image:
    """The picture of a data URI (`data:image/jpeg;base64,...`), with the limits of all pictures (`open_bytes`).

    Raises `ImageError` for anything else.
    """
    start, comma, encoded = picture.partition(",")
    if not (comma and start.startswith("data:") and start.endswith(";base64")):
        raise ImageError("this is not a data URI of a picture", where=NAME, hint=HINT, code="image.format")
    check_bytes(len(encoded) * 3 // 4, NAME)  # before memory is taken for them
    try:
        content = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise ImageError(
            f"the data URI is not in base64: {error}", where=NAME, hint=HINT, code="image.format"
        ) from error
    return open_bytes(content, NAME)
