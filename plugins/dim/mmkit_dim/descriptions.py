"""`dim.entity_descriptions.v1`: lets a language model introduce each entity."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mmkit.annotators.base import Annotator, Failed
from mmkit.annotators.pretrained import check_available, model_identity
from mmkit.data.types import Entity, Example
from mmkit.errors import MMKitError, PartError

if TYPE_CHECKING:
    from mmkit_dim.answers import Answer
    from mmkit_dim.chat_server import ChatServer
    from mmkit_dim.local_model import LocalModel

PROMPT = "Give a comprehensive introduction of {name}, in one paragraph of plain text."
"""The paper asks for "a comprehensive introduction of NAME". The rest asks for a form that suits CLIP."""

MODEL = "OPENAI_MODEL"
"""The environment variable with the name of the model, if the recipe names none."""

_FIELDS = {"name", "description"}


class EntityDescriptions(Annotator):
    """Asks a language model to introduce each entity, and uses the answer as its description.

    DIM (Song et al., PRCV 2024) calls these dynamic entities. The model runs on a server with the OpenAI-compatible
    chat interface, or on this machine. Unless `overwrite` is set, an entity that has a description keeps it, and the
    model is not asked.

    Answers are stored by model, prompt and decoding settings, but not by server. If an answer reaches `max_tokens`, it
    is cut after its last complete sentence. An entity without an answer after all retries keeps what it had, and is
    listed.

    The key comes only from $OPENAI_API_KEY. It is sent only to the server that $OPENAI_BASE_URL names, or to OpenAI's
    own if that is not set. A server that only a recipe's `base_url` names gets no key.

    Args:
        model: the server's name for the model, by default $OPENAI_MODEL. For a local model, its name on the Hub or a
            folder.
        backend: "server" or "local".
        revision: the revision of a local model on the Hub.
        prompt: the question. {name} is the name of the entity, {description} its present description.
        max_tokens: the largest number of tokens of an answer. CLIP reads 77, longer encoders more.
        temperature: 0 for greedy decoding. None: the server's default.
        seed: for servers that sample words. None: no seed is sent.
        chat_template_kwargs: given to the model's chat template. {"enable_thinking": false} turns off the reasoning of
            many models.
        overwrite: whether to describe entities that already have a description.
        keep_going: whether entities that could not be described are only listed, and not an error.
        parallel: the most requests that run at the same time; for a local model, the batch size.
        base_url: the address of the server. Default: $OPENAI_BASE_URL, or OpenAI's own server.
        requests_per_minute: the most requests in a minute. None: no limit.
        retries: how often a request is repeated if the server is overloaded or broken, or its answer is malformed.
        timeout: seconds to wait for a complete answer.
    """

    over: ClassVar[Literal["examples", "entities"]] = "entities"

    def __init__(
        self,
        model: str | None = None,
        backend: Literal["server", "local"] = "server",
        revision: str | None = None,
        prompt: str = PROMPT,
        max_tokens: int = 256,
        temperature: float | None = 0.0,
        seed: int | None = 0,
        chat_template_kwargs: dict[str, Any] | None = None,
        overwrite: bool = False,
        keep_going: bool = False,
        parallel: int = 8,
        base_url: str | None = None,
        requests_per_minute: float | None = None,
        retries: int = 5,
        timeout: float = 60.0,
    ) -> None:
        self._model, self.backend, self.revision = model, backend, revision
        self.prompt, self.max_tokens, self.temperature, self.seed = prompt, max_tokens, temperature, seed
        self.chat_template_kwargs = chat_template_kwargs
        self.overwrite, self.keep_going = overwrite, keep_going
        self.parallel, self.base_url = parallel, base_url
        self.requests_per_minute, self.retries, self.timeout = requests_per_minute, retries, timeout
        # on a server, several requests for each that runs: so few requests wait for the slowest of a batch
        self.batch_size = parallel if backend == "local" else 4 * parallel
        self._local: LocalModel | None = None
        self._server: ChatServer | None = None
        self._check()

    def _check(self) -> None:
        """Raise `PartError` for settings that cannot work, and for credentials, which must not be written into runs."""
        try:
            fields = {name for _, name, _, _ in Formatter().parse(self.prompt) if name is not None}
        except ValueError:
            fields = set()
        if "name" not in fields or not fields <= _FIELDS:
            raise PartError(
                "the prompt must contain {name}, may contain {description}, and must not contain other fields",
                hint="for a brace in the text, write it twice",
                code="dim.prompt",
            )
        if self.backend == "local" and self.temperature:
            raise PartError(
                "a local model always uses greedy decoding",
                hint="set temperature = 0, or use a server",
                code="part.setting",
            )
        numbers = {"max_tokens": self.max_tokens, "parallel": self.parallel, "timeout": self.timeout}
        for name, number in numbers.items():
            if number <= 0:
                raise PartError(f"{name} must be more than 0, not {number}", code="part.setting")
        if self.retries < 0 or (self.requests_per_minute is not None and self.requests_per_minute <= 0):
            raise PartError(
                "retries must not be negative, and requests_per_minute must be more than 0",
                code="part.setting",
            )
        if self.base_url and "@" in self.base_url:
            raise PartError(
                "base_url contains credentials, and recipes are copied into runs",
                hint="leave base_url out, and put the whole address into OPENAI_BASE_URL",
                code="dim.credentials",
            )

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """Save a tiny random language model. Its vocabulary comes from the examples."""
        from mmkit.encoders.sampling import make_once
        from mmkit_dim.stand_ins import save_causal_lm

        texts = [PROMPT, *(example.text for example in examples)]
        make_once(folder, lambda made: save_causal_lm(made, seed, texts))
        local = {"backend": "local", "model": str(folder), "revision": None, "temperature": 0.0}
        return {**local, "chat_template_kwargs": None, "max_tokens": 32}

    @property
    def model(self) -> str:
        """The name of the model. Raises `MMKitError` if neither the recipe nor the environment gives it."""
        model = self._model or (os.environ.get(MODEL, "") if self.backend == "server" else "")
        if not model:
            raise MMKitError(
                "no language model is given",
                where="dim.entity_descriptions.v1",
                hint=f"set `model`, or ${MODEL}",
                code="dim.no-model",
            )
        return model

    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        local = self.backend == "local"
        settings = {
            "part": "dim.entity_descriptions.v1",
            "backend": self.backend,
            "model": model_identity(self.model) if local else self.model,
            "revision": self.revision if local else None,
            "prompt": self.prompt,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": None if local else self.seed,
            "chat_template_kwargs": self.chat_template_kwargs,
        }
        return json.dumps(settings, sort_keys=True)

    def key(self, x: Entity) -> str:
        """A hash of the question; "" for an entity that keeps its description."""
        if x.description.strip() and not self.overwrite:
            return ""
        return hashlib.sha256(self._asked(x).encode()).hexdigest()

    def check_there(self) -> None:
        if self.backend == "local":
            from mmkit_dim.local_model import language_model

            model = language_model(self.model, self.revision)
            model.check(*model.needs)

    def check_computable(self) -> None:
        """Raises `MMKitError` for a server that is not named or needs a key, and a model that nobody names."""
        if self.backend == "local":
            from mmkit_dim.local_model import language_model

            check_available(language_model(self.model, self.revision))
            return
        from mmkit_dim.endpoint import Endpoint

        Endpoint.of(self.base_url)
        _ = self.model

    def prepare(self, device: str) -> None:
        if self.backend == "local" and self._local is None:
            from mmkit_dim.local_model import LocalModel

            self._local = LocalModel(self.model, self.revision, device, self.chat_template_kwargs)
        if self.backend == "server" and self._server is None:
            from mmkit_dim.chat_server import ChatServer
            from mmkit_dim.endpoint import Endpoint

            self._server = ChatServer(
                Endpoint.of(self.base_url),
                self.model,
                self._settings(),
                parallel=self.parallel,
                requests_per_minute=self.requests_per_minute,
                retries=self.retries,
                timeout=self.timeout,
            )

    def annotate(self, batch: Sequence[Entity]) -> list[str | Failed]:
        """The description of each entity, or why there is none."""
        prompts = [self._asked(x) for x in batch]
        answers = iter(self._answers([prompt for prompt in prompts if prompt]))
        return [_described(next(answers)) if prompt else Failed("it has no name") for prompt in prompts]

    def apply(self, x: Entity, result: str) -> Entity:
        """`x` with the answer as its description."""
        return replace(x, description=result)

    def _asked(self, x: Entity) -> str:
        """The prompt for an entity, with its name and description as plain text; "" if it has no name."""
        name, description = (_plain(text) for text in (x.name, x.description))
        return self.prompt.format(name=name, description=description) if name else ""

    def _answers(self, prompts: list[str]) -> Sequence[Answer | Failed]:
        if self._local is not None:
            return self._local.ask(prompts, self.max_tokens)
        assert self._server is not None, "prepare() comes first"
        return self._server.ask(prompts)

    def _settings(self) -> dict[str, Any]:
        """The fields of a request besides model and prompt."""
        settings = {"max_tokens": self.max_tokens, "temperature": self.temperature, "seed": self.seed}
        extra = self.chat_template_kwargs and {"chat_template_kwargs": self.chat_template_kwargs}
        given = {name: value for name, value in settings.items() if value is not None}
        return {**given, **({"extra_body": extra} if extra else {})}


def _plain(text: str) -> str:
    """`text` on one line, and as valid Unicode."""
    return " ".join(text.split()).encode("utf-8", "replace").decode()


def _described(answer: Answer | Failed) -> str | Failed:
    if isinstance(answer, Failed):
        return answer
    return answer.description() or Failed("the answer has no text within max_tokens (perhaps only reasoning)")
