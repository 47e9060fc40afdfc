"""`dim.entity_descriptions.v1`: lets a language model introduce each entity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from string import Formatter
from typing import Any, ClassVar, Literal

from mmkit.annotators.base import Failed
from mmkit.data.types import Entity, Example
from mmkit.errors import PartError
from mmkit_chat.annotator import ChatAnnotator, prompt_key, said, text_of
from mmkit_chat.messages import plain
from mmkit_chat.model import Backend, ChatModel

PROMPT = "Give a comprehensive introduction of {name}, in one paragraph of plain text."
"""The paper asks for "a comprehensive introduction of NAME". The rest asks for a form that suits CLIP."""

_FIELDS = {"name", "description"}


class EntityDescriptions(ChatAnnotator):
    """Asks a language model to introduce each entity, and uses the answer as its description.

    DIM (Song et al., PRCV 2024) calls these dynamic entities. The model runs on a server with the OpenAI-compatible
    chat interface, or on this machine. Unless `overwrite` is set, an entity that has a description keeps it, and the
    model is not asked.

    Answers are stored by model, prompt and decoding settings, but not by server, each as soon as it is there. If an
    answer reaches `max_tokens`, it is cut after its last complete sentence. An entity without an answer after all
    retries keeps what it had, and is listed.

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
    part = "dim.entity_descriptions.v1"

    def __init__(
        self,
        model: str | None = None,
        backend: Backend = "server",
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
        chat = ChatModel(
            model,
            backend,
            revision=revision,
            max_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
            chat_template_kwargs=chat_template_kwargs,
            parallel=parallel,
            base_url=base_url,
            requests_per_minute=requests_per_minute,
            retries=retries,
            timeout=timeout,
            part=self.part,
        )
        super().__init__(chat)
        self.prompt, self.overwrite, self.keep_going = prompt, overwrite, keep_going
        _check_prompt(prompt)

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """Save a tiny random language model. Its vocabulary comes from the examples."""
        from mmkit.encoders.sampling import make_once
        from mmkit_chat.stand_ins import save_causal_lm

        texts = [PROMPT, *(example.text for example in examples)]
        make_once(folder, lambda made: save_causal_lm(made, seed, texts))
        local = {"backend": "local", "model": str(folder), "revision": None, "temperature": 0.0}
        return {**local, "chat_template_kwargs": None, "max_tokens": 32}

    def asking(self) -> dict[str, Any]:
        return {"prompt": self.prompt}

    def key(self, x: Entity) -> str:
        """A hash of the question; "" for an entity that keeps its description."""
        if x.description.strip() and not self.overwrite:
            return ""
        return prompt_key(self._asked(x))

    def annotate(self, batch: Sequence[Entity]) -> list[dict[str, Any] | Failed]:
        """The description of each entity and its model, or why there is none."""
        prompts = [self._asked(x) for x in batch]
        results = iter(
            self.results([prompt for prompt in prompts if prompt], lambda number, answer: said(answer))
        )
        return [next(results) if prompt else Failed("it has no name") for prompt in prompts]

    def apply(self, x: Entity, result: dict[str, Any] | str) -> Entity:
        """`x` with the answer as its description."""
        return replace(x, description=text_of(result))

    def _asked(self, x: Entity) -> str:
        """The prompt for an entity, with its name and description as plain text; "" if it has no name."""
        name, description = (plain(text) for text in (x.name, x.description))
        return self.prompt.format(name=name, description=description) if name else ""


def _check_prompt(prompt: str) -> None:
    """Raise `PartError` for a prompt without {name}, or with other fields than the two."""
    try:
        fields = {name for _, name, _, _ in Formatter().parse(prompt) if name is not None}
    except ValueError:
        fields = set()
    if "name" not in fields or not fields <= _FIELDS:
        raise PartError(
            "the prompt must contain {name}, may contain {description}, and must not contain other fields",
            hint="for a brace in the text, write it twice",
            code="dim.prompt",
        )
