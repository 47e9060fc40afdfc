"""The settings of the model that is asked: `[model.decoder.chat]`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

from mmkit.errors import PartError
from mmkit_chat.model import MODEL, ChatModel
from mmkit_chat.stored import Asks
from mmkit_vlm.stand_in import StandIn

LEAST_BYTES = 1000
"""Fewer bytes hold no JPEG: its header alone has some 600."""


@dataclass
class ChatSettings:
    """Which model is asked, and how.

    `model` is the server's name for it (default: $OPENAI_MODEL, which the run then keeps), or a local model's name on
    the Hub or folder. `backend`: "server", "local", or "stand_in", which answers by comparing with the examples in the
    question, for `--sample`. `pictures` is the number of photos of an example that are sent: at most `picture_side`
    pixels on the longer side and `picture_bytes` bytes each; 0 for a model that reads text alone. `prices` are the
    costs of a million tokens of questions and of answers, in any currency. The other settings are those of
    `mmkit_chat.model.ChatModel`.
    """

    model: str | None = None
    backend: Literal["server", "local", "stand_in"] = "server"
    revision: str | None = None
    pictures: int = 1
    picture_side: int = 768
    picture_bytes: int = 500_000
    max_tokens: int = 512
    temperature: float | None = 0.0
    seed: int | None = 0
    chat_template_kwargs: dict[str, Any] | None = None
    parallel: int = 8
    base_url: str | None = None
    requests_per_minute: float | None = None
    retries: int = 5
    timeout: float = 120.0
    prices: tuple[float, float] | None = None

    @property
    def named(self) -> str | None:
        """The server's name for the model, by these settings or the environment; None: there is none."""
        return (self.model or os.environ.get(MODEL) or None) if self.backend == "server" else None

    def made(self, part: str) -> Asks:
        """The model. Raises `PartError` for settings that cannot work."""
        for name, least in (("pictures", 0), ("picture_side", 1), ("picture_bytes", LEAST_BYTES)):
            number = getattr(self, name)
            if number < least:
                raise PartError(
                    f"chat.{name} must be at least {least:,}, not {number:,}", where=part, code="part.setting"
                )
        if not all(0 <= price < inf for price in self.prices or ()):
            raise PartError(
                f"chat.prices must be numbers from 0 on, not {self.prices}", where=part, code="part.setting"
            )
        if self.backend == "stand_in":
            return StandIn()
        return ChatModel(
            self.model,
            self.backend,
            revision=self.revision,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=self.seed,
            chat_template_kwargs=self.chat_template_kwargs,
            parallel=self.parallel,
            base_url=self.base_url,
            requests_per_minute=self.requests_per_minute,
            retries=self.retries,
            timeout=self.timeout,
            pictures=self.pictures > 0,
            part=part,
        )


@dataclass
class ShotSettings:
    """Which training examples a question shows.

    `number`: how many; 0: none (zero-shot). `choose` "fixed": the same for all questions, chosen by `seed` so that they
    show as many labels as possible. "nearest": for each question those whose texts are most similar, by the encoders of
    the fuser `vlm.texts.v1`, among `pool` training examples, which are chosen by `seed`.
    """

    number: int = 0
    choose: Literal["fixed", "nearest"] = "fixed"
    pool: int = 200
    seed: int = 0

    @property
    def kept(self) -> int:
        """How many examples a run keeps."""
        return 0 if not self.number else self.pool if self.choose == "nearest" else self.number
