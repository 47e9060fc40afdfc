"""`ChatModel`: a chat model as the settings of a part name it, on a server or on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from mmkit.annotators.base import Failed
from mmkit.annotators.pretrained import check_available, model_identity, model_version
from mmkit.errors import MMKitError, PartError
from mmkit_chat.messages import Prompt

if TYPE_CHECKING:
    from mmkit_chat.answers import Answer
    from mmkit_chat.local_model import LocalModel
    from mmkit_chat.local_vision import LocalVisionModel
    from mmkit_chat.server import ChatServer

MODEL = "OPENAI_MODEL"
"""The environment variable with the name of the server's model, if a recipe names none."""

Backend = Literal["server", "local"]

_SET_BY_CALL = {
    *("conversation", "conversations", "messages", "tools", "documents", "chat_template"),
    *("add_generation_prompt", "continue_final_message", "tokenize", "sanitize_control_tokens", "padding"),
    *("truncation", "max_length", "return_tensors", "return_dict", "return_assistant_tokens_mask"),
    *("tokenizer_kwargs", "processor_kwargs", "load_audio_from_video"),
}
"""Names that transformers' `apply_chat_template` takes for itself; the others go to the template."""


class ChatModel:
    """Asks a chat model: one on a server with the OpenAI-compatible interface, or one on this machine.

    A part of a plugin takes these settings in its constructor and hands them over. Nothing is loaded or contacted
    before `prepare`. A part puts `identity` into its fingerprint, and calls `check_there` and `check_computable` in its
    own methods of these names.

    The key comes only from $OPENAI_API_KEY. It is sent only to the server that $OPENAI_BASE_URL names, or to OpenAI's
    own if that is not set. A server that only a recipe's `base_url` names gets no key.

    Args:
        model: the server's name for the model, by default $OPENAI_MODEL. For a local model, its name on the Hub or a
            folder.
        backend: "server" or "local".
        revision: the revision of a local model on the Hub.
        max_tokens: the largest number of tokens of an answer.
        temperature: 0 for greedy decoding. None: the server's default.
        seed: for servers that sample words. None: no seed is sent.
        chat_template_kwargs: given to the model's chat template.
        parallel: the most requests that run at the same time; for a local model, the batch size.
        base_url: the address of the server. Default: $OPENAI_BASE_URL, or OpenAI's own server.
        requests_per_minute: the most requests in a minute. None: no limit.
        retries: how often a request is repeated if the server is overloaded or broken, or its answer is malformed.
        timeout: seconds to wait for a complete answer.
        pictures: whether a local model is one that sees pictures.
        part: the name of the part that asks, for messages.

    Raises `PartError` for settings that cannot work, and for credentials in `base_url`, which must not be written into
    runs.
    """

    def __init__(
        self,
        model: str | None = None,
        backend: Backend = "server",
        *,
        revision: str | None = None,
        max_tokens: int = 256,
        temperature: float | None = 0.0,
        seed: int | None = 0,
        chat_template_kwargs: dict[str, Any] | None = None,
        parallel: int = 8,
        base_url: str | None = None,
        requests_per_minute: float | None = None,
        retries: int = 5,
        timeout: float = 60.0,
        pictures: bool = False,
        part: str = "",
    ) -> None:
        self._name, self.backend, self.revision, self.part = model, backend, revision, part
        self.max_tokens, self.temperature, self.seed = max_tokens, temperature, seed
        self.chat_template_kwargs = chat_template_kwargs
        self.parallel, self.base_url = parallel, base_url
        self.requests_per_minute, self.retries, self.timeout = requests_per_minute, retries, timeout
        self.pictures = pictures
        self._local: LocalModel | LocalVisionModel | None = None
        self._server: ChatServer | None = None
        self._check()

    def _check(self) -> None:
        if self.backend == "local" and self.temperature:
            raise PartError(
                "a local model always uses greedy decoding",
                hint="set temperature = 0, or use a server",
                code="part.setting",
            )
        numbers = {"max_tokens": self.max_tokens, "parallel": self.parallel, "timeout": self.timeout}
        for name, number in numbers.items():
            if not number > 0:  # not a number is none, either
                raise PartError(f"{name} must be more than 0, not {number}", code="part.setting")
        if self.retries < 0 or (self.requests_per_minute is not None and not self.requests_per_minute > 0):
            raise PartError(
                "retries must not be negative, and requests_per_minute must be more than 0",
                code="part.setting",
            )
        taken = sorted(_SET_BY_CALL & set(self.chat_template_kwargs or {}))
        if taken and self.backend == "local":
            raise PartError(
                f"chat_template_kwargs sets what mmkit sets itself: {', '.join(taken)}",
                hint="leave it out: these settings are variables of the model's own template",
                code="part.setting",
            )
        if self.base_url and "@" in self.base_url:
            raise PartError(
                "base_url contains credentials, and recipes are copied into runs",
                hint="leave base_url out, and put the whole address into OPENAI_BASE_URL",
                code="chat.credentials",
            )

    @property
    def name(self) -> str:
        """The name of the model. Raises `MMKitError` if neither the recipe nor the environment gives it."""
        name = self._name or (os.environ.get(MODEL, "") if self.backend == "server" else "")
        if not name:
            raise MMKitError(
                "no language model is given",
                where=self.part,
                hint=f"set `model`, or ${MODEL}",
                code="chat.no-model",
            )
        return name

    @cached_property
    def version(self) -> str:
        """Which version of a local model it is, as far as that is known; a server may say it with each answer."""
        if self.backend != "local":
            return ""
        return model_version(self.name, self.revision, self._local_identity)

    @cached_property
    def _local_identity(self) -> str:
        return model_identity(self.name)  # once: it reads all weights of a folder

    @property
    def unkept_name(self) -> str:
        """The model's name if only the environment gives it, so that a recipe does not keep it; else empty."""
        return os.environ.get(MODEL, "") if self.backend == "server" and not self._name else ""

    @property
    def batch_size(self) -> int:
        """How many prompts are worth giving to `ask` at once.

        On a server these are several for each request that runs, so that few requests wait for the slowest of a batch.
        """
        return self.parallel if self.backend == "local" else 4 * self.parallel

    def identity(self) -> dict[str, Any]:
        """All that answers depend on besides the prompt: the model and how it decodes, but not the server's address.

        It is JSON, for fingerprints. Raises `MMKitError` if no model is named.
        """
        local = self.backend == "local"
        return {
            "backend": self.backend,
            "model": self._local_identity if local else self.name,
            "revision": self.revision if local else None,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": None if local else self.seed,
            "chat_template_kwargs": self.chat_template_kwargs,
            **({"pictures": True} if local and self.pictures else {}),
        }

    def check_there(self) -> None:
        """Raise `PartError` if the model is a folder that is not there, or lacks files."""
        if self.backend == "local":
            from mmkit_chat.local_model import language_model

            model = language_model(self.name, self.revision)
            model.check(*model.needs)

    def check_computable(self) -> None:
        """Raise `MMKitError` if nothing could be asked: no model or server is named, a key or a local model is missing.

        Contacts no server but the Hub.
        """
        if self.backend == "local":
            from mmkit_chat.local_model import language_model

            check_available(language_model(self.name, self.revision))
            return
        from mmkit_chat.endpoint import Endpoint

        Endpoint.of(self.base_url)
        _ = self.name

    def prepare(self, device: str = "cpu") -> None:
        """Load the local model, or make the server's client, unless an earlier call did."""
        if self.backend == "local" and self._local is None:
            from mmkit_chat.local_model import LocalModel
            from mmkit_chat.local_vision import LocalVisionModel

            kind = LocalVisionModel if self.pictures else LocalModel
            self._local = kind(self.name, self.revision, device, self.chat_template_kwargs)
        if self.backend == "server" and self._server is None:
            from mmkit_chat.endpoint import Endpoint
            from mmkit_chat.server import ChatServer

            self._server = ChatServer(
                Endpoint.of(self.base_url),
                self.name,
                self._settings(),
                parallel=self.parallel,
                requests_per_minute=self.requests_per_minute,
                retries=self.retries,
                timeout=self.timeout,
            )

    def ask(self, prompts: Sequence[Prompt]) -> Sequence[Answer | Failed]:
        """An answer to each prompt, or why there is none. `prepare` comes first.

        Raises `MMKitError` for errors that every further prompt would have, too (see `ChatServer.ask`).
        """
        answers = dict(self.answers(prompts))
        return [answers[number] for number in range(len(prompts))]

    def answers(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Answer | Failed]]:
        """The number of a prompt and its answer, or why there is none, as soon as it is there. Raises as `ask` does."""
        if self._local is None:
            assert self._server is not None, "prepare() comes first"
            yield from self._server.answers(prompts)
            return
        for start in range(0, len(prompts), self.parallel):
            some = prompts[start : start + self.parallel]
            yield from enumerate(self._local.ask(some, self.max_tokens), start)

    def _settings(self) -> dict[str, Any]:
        """The fields of a request besides model and prompt."""
        settings = {"max_tokens": self.max_tokens, "temperature": self.temperature, "seed": self.seed}
        extra = self.chat_template_kwargs and {"chat_template_kwargs": self.chat_template_kwargs}
        given = {name: value for name, value in settings.items() if value is not None}
        return {**given, **({"extra_body": extra} if extra else {})}
