"""A causal language model that runs on this machine, with transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from mmkit.annotators.base import Failed
from mmkit.annotators.pretrained import annotators_model
from mmkit.pretrained.source import Pretrained
from mmkit.pretrained.vocabulary import check_vocabulary
from mmkit_chat.answers import Answer
from mmkit_chat.messages import Chat, Prompt
from mmkit_chat.templates import templated


def language_model(name: str, revision: str | None = None) -> Pretrained:
    """A causal language model, not loaded yet."""
    hint = "give the name of a causal language model on the Hub, or a folder that contains one"
    return annotators_model("the language model", name, revision, hint, ("weights", "tokenizer"))


def too_long(model: Any, tokens: int, max_tokens: int) -> Failed | None:
    """Why a prompt of so many tokens cannot be answered: the model has no positions for it and the answer."""
    most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if not isinstance(most, int) or tokens + max_tokens <= most:
        return None
    return Failed(
        f"the prompt has {tokens:,} tokens: with max_tokens = {max_tokens:,}, the model reads {most:,}"
    )


class LocalModel:
    """Answers prompts in batches, with greedy decoding.

    It runs in the precision of its files on a GPU, and in single precision elsewhere. If the model has a chat template,
    each prompt is a chat message; if not, the model continues the prompt. Raises `PartError` if the model cannot be
    loaded or is not a causal language model.
    """

    def __init__(
        self,
        name: str,
        revision: str | None = None,
        device: str = "cpu",
        chat_template_kwargs: dict[str, Any] | None = None,
    ) -> None:
        dtype: torch.dtype | str = "auto" if torch.device(device).type == "cuda" else torch.float32
        pretrained = language_model(name, revision)
        self.tokenizer = pretrained.any_tokenizer(padding_side="left")
        model: Any = pretrained.network(AutoModelForCausalLM, dtype=dtype)
        if isinstance(self.tokenizer, PreTrainedTokenizerFast):
            check_vocabulary(self.tokenizer, model.config, name)
        self.model = model.to(device).eval()
        self.name, self.chat_template_kwargs = name, chat_template_kwargs or {}
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token

    @torch.inference_mode()
    def ask(self, prompts: Sequence[Prompt], max_tokens: int) -> list[Answer | Failed]:
        """An answer of at most `max_tokens` tokens to each prompt; `Failed` if the prompt is too long for the model.

        Raises `PartError` if the model's chat template fails.
        """
        chats = [Chat.of(prompt) for prompt in prompts]
        long = [
            too_long(self.model, self._encoded([chat])["input_ids"].shape[1], max_tokens) for chat in chats
        ]
        answers = iter(
            self._answers([c for c, told in zip(chats, long, strict=True) if told is None], max_tokens)
        )
        return [next(answers) if told is None else told for told in long]

    def _answers(self, chats: list[Chat], max_tokens: int) -> list[Answer]:
        if not chats:
            return []
        inputs = self._encoded(chats).to(self.model.device)
        tokens = self.model.generate(
            **inputs,
            max_new_tokens=max_tokens,
            do_sample=False,
            num_beams=1,
            pad_token_id=self.tokenizer.pad_token_id,
        )[:, inputs["input_ids"].shape[1] :]
        texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        ended = self._ended(tokens).tolist()
        sizes = inputs["attention_mask"].sum(1).tolist()
        lengths = (tokens != self.tokenizer.pad_token_id).sum(1).tolist()
        return [
            Answer(text, not whole, size, length)
            for text, whole, size, length in zip(texts, ended, sizes, lengths, strict=True)
        ]

    def _encoded(self, chats: list[Chat]) -> Any:
        """Token ids and mask, padded on the left. Pictures are left out: this model reads text alone."""
        if self.tokenizer.chat_template is None:
            prompts = ["\n".join(message.text for message in chat.messages) for chat in chats]
            return self.tokenizer(prompts, padding=True, return_tensors="pt", return_token_type_ids=False)
        return templated(
            self.tokenizer.apply_chat_template,
            [[{"role": m.role, "content": m.text} for m in chat.messages] for chat in chats],
            self.name,
            add_generation_prompt=True,
            padding=True,
            return_tensors="pt",
            return_dict=True,
            **self.chat_template_kwargs,
        )

    def _ended(self, tokens: Tensor) -> Tensor:
        """For each row of `tokens [B, T]`, whether the model ended the answer itself, `[B]`."""
        end = self.model.generation_config.eos_token_id
        ids = [] if end is None else [end] if isinstance(end, int) else end
        return torch.isin(tokens, torch.tensor(ids, device=tokens.device, dtype=tokens.dtype)).any(1)
