"""`pgim.knowledge.v1`: asks a chat model which entities a post has, and why."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkit.annotators.base import Failed
from mmkit.data.types import Example
from mmkit_chat.annotator import ChatAnnotator, prompt_key, said, text_of
from mmkit_chat.messages import plain
from mmkit_chat.model import Backend, ChatModel
from mmkit_pgim.notes import CAPTION, EXAMPLES, KNOWLEDGE
from mmkit_pgim.prompt import VERSION, prompt_hash, prompt_of

if TYPE_CHECKING:
    from mmkit_chat.answers import Answer

_REFUSAL = re.compile(
    r"""\A\W*( (i['’]?m|i\ am)\ (very\ |so\ )?sorry\b(?!\s*\()  # the bracket with its kind follows the name of a song
    | sorry\b\s*[,.!] | i\ apologi[sz]e | my\ apologies
    | as\ an?\ (ai|artificial\ intelligence|large\ language|language)(\ language)?\ (model|assistant)
    | i\ (can\ ?not|can['’]t|am\ unable|am\ not\ able|['’]m\ unable) )
    | \A(?!\W*named\ entit).*\bas\ an?\ (ai\ )?(large\ )?language\ model,?\ i\b""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
"""How an answer begins that gives none, and what such an answer may say further on."""


class Knowledge(ChatAnnotator):
    """Asks a chat model which entities a post has, of what kinds and why (PGIM; Li et al., EMNLP Findings 2023).

    The answer is the note `pgim.knowledge`, for `context = "pgim.knowledge"` of `more.crf_tagger.v1`. The prompt has
    the post's text, its caption (the note `pgim.caption`), and before them the posts of the note `pgim.examples` with
    their answers. So `pgim.captions.v1` and `pgim.similar.v1` come before this annotator in a recipe. A post without a
    caption is asked about without one.

    The model runs on a server with the OpenAI-compatible chat interface, or on this machine. Answers are stored by
    model, prompt and decoding settings, but not by server, each as soon as it is there: nothing is asked twice, and a
    run that was stopped goes on. The whole prompt decides, so a new pool asks again only about posts whose examples are
    others. An answer that is empty, refuses, or repeats that of an example word for word is a failure and is not
    stored. If an answer reaches `max_tokens`, it is cut after its last complete sentence.

    The key comes only from $OPENAI_API_KEY. It is sent only to the server that $OPENAI_BASE_URL names, or to OpenAI's
    own if that is not set. Texts and captions of posts are sent; photos are not.

    Args:
        model: the server's name for the model, by default $OPENAI_MODEL. For a local model, its name on the Hub or a
            folder.
        backend: "server" or "local".
        revision: the revision of a local model on the Hub.
        max_tokens: the largest number of tokens of an answer.
        temperature: 0 for greedy decoding. None: the server's default.
        seed: for servers that sample words. None: no seed is sent.
        chat_template_kwargs: given to the model's chat template.
        glue: whether line breaks of an answer are deleted, as in the authors' files; otherwise they become blanks.
        keep_going: whether posts without an answer are only listed, and not an error.
        parallel: the most requests that run at the same time; for a local model, the batch size.
        base_url: the address of the server. Default: $OPENAI_BASE_URL, or OpenAI's own server.
        requests_per_minute: the most requests in a minute. None: no limit.
        retries: how often a request is repeated if the server is overloaded or broken, or its answer is malformed.
        timeout: seconds to wait for a complete answer.
    """

    part = "pgim.knowledge.v1"

    def __init__(
        self,
        model: str | None = None,
        backend: Backend = "server",
        revision: str | None = None,
        max_tokens: int = 512,
        temperature: float | None = 0.0,
        seed: int | None = 0,
        chat_template_kwargs: dict[str, Any] | None = None,
        glue: bool = False,
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
        self.glue, self.keep_going = glue, keep_going

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """Save a tiny random language model that reads the last caption alone."""
        from mmkit_pgim.stand_ins import save_chat_model

        return save_chat_model(folder, seed, examples)

    def asking(self) -> dict[str, Any]:
        return {"prompt": [VERSION, prompt_hash()]}

    def key(self, x: Example) -> str:
        """A hash of the whole prompt; "" for a post without words."""
        return prompt_key(self.asked(x)) if x.text.strip() else ""

    def asked(self, x: Example) -> str:
        """The prompt for a post."""
        examples = [{k: plain(v) for k, v in post.items()} for post in x.notes.get(EXAMPLES, ())]
        return prompt_of(plain(x.text), plain(x.notes.get(CAPTION, "")), examples)

    def annotate(self, batch: Sequence[Example]) -> list[dict[str, Any] | Failed]:
        """The answer about each post, with its line breaks and its model, or why there is none."""
        return self.results(
            [self.asked(x) for x in batch], lambda number, answer: answer_of(answer, batch[number])
        )

    def apply(self, x: Example, result: dict[str, Any] | str) -> Example:
        """`x` with the answer as a note, on one line."""
        joint = "" if self.glue else " "
        text = joint.join(line.strip() for line in text_of(result).splitlines() if line.strip())
        return replace(x, notes={**x.notes, KNOWLEDGE: text})


def answer_of(answer: Answer | Failed, x: Example) -> str | Failed:
    """The text of an answer about a post, or why it is none."""
    text = said(answer)
    if isinstance(text, Failed):
        return text
    if _REFUSAL.search(text):
        return Failed(f"the model refuses: {plain(text)[:80]!r}")
    copied = [post["id"] for post in x.notes.get(EXAMPLES, ()) if plain(post["answer"]) == plain(text)]
    return Failed(f"the answer is that of the example {copied[0]}, word for word") if copied else text
