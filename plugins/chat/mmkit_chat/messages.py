"""What a chat model is asked: messages with texts and pictures, and the JSON schema of the answer."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """A text and the pictures before it, as data URIs (`data:image/jpeg;base64,...`)."""

    role: Role
    text: str
    pictures: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As the OpenAI-compatible interface takes it."""
        if not self.pictures:
            return {"role": self.role, "content": self.text}
        shown = [{"type": "image_url", "image_url": {"url": picture}} for picture in self.pictures]
        return {"role": self.role, "content": [*shown, {"type": "text", "text": self.text}]}


@dataclass(frozen=True, slots=True)
class Chat:
    """Messages, the last of which asks. `schema` is the JSON schema of the answer, as JSON; empty: any text."""

    messages: tuple[Message, ...]
    schema: str = ""

    @classmethod
    def of(cls, prompt: Prompt) -> Chat:
        """A prompt as a chat."""
        return prompt if isinstance(prompt, Chat) else cls((Message("user", prompt),))

    def key(self) -> str:
        """A hash of all that is asked."""
        asked = json.dumps([[message.to_json() for message in self.messages], self.schema], sort_keys=True)
        return hashlib.sha256(asked.encode()).hexdigest()

    def response_format(self) -> dict[str, Any]:
        """The field of a request that constrains the answer; empty without a schema."""
        if not self.schema:
            return {}
        named = {"name": "answer", "strict": True, "schema": json.loads(self.schema)}
        return {"response_format": {"type": "json_schema", "json_schema": named}}


Prompt = str | Chat
"""A question as one text, or as a chat."""


def plain(text: str) -> str:
    """`text` on one line, and as valid Unicode, for a prompt."""
    return " ".join(text.split()).encode("utf-8", "replace").decode()
