"""Asks a language model through an OpenAI-compatible chat interface, in parallel and with retries."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import inf
from queue import SimpleQueue
from typing import Any, NamedTuple

import anyio
import openai
from anyio.from_thread import start_blocking_portal

from mmkit.access.network import check_network
from mmkit.annotators.base import Failed
from mmkit.errors import MMKitError, printable
from mmkit.terminal import echo
from mmkit_chat.answers import Answer
from mmkit_chat.client import BoundedClient, MalformedError, Pace
from mmkit_chat.endpoint import KEY, URL, Endpoint
from mmkit_chat.messages import Chat, Prompt, plain
from mmkit_chat.retries import MOST_WAIT, asked_to_wait, is_quota, wait_before

_HOPELESS = {
    401: ("the server does not accept the key", f"check that {KEY} holds the server's key"),
    402: ("the server asks for payment first", "check the account"),
    403: ("the server does not allow this key to be used", "check what the key may be used for"),
    404: (
        "the server does not have this model, or has no chat interface here",
        f"check `model`, `base_url` and {URL}",
    ),
    405: (
        "the server has no chat interface here",
        f"check `base_url` and {URL}: the address often ends in /v1",
    ),
}
"""HTTP statuses that a later request would get, too: what is wrong, and what to do."""

_NO_CONNECTION = {"ConnectError", "ConnectTimeout", "ProxyError"}
"""Names of the HTTP client's exceptions for failed connections. The `openai` package can use several clients."""

_REASON_LENGTH = 200

_NAME_LENGTH = 200
"""Characters of a model's name that are kept."""

_KEY_LENGTH = 8
"""The shortest key that is looked for in answers. Shorter ones are no secrets, but placeholders such as `EMPTY`."""

MOST_TOKENS = 10**9
"""A larger number of tokens cannot be true."""

TOLD_WAIT = 10.0
"""Seconds: that a server asks to wait longer is told."""


class RefusedPrompt(Failed):
    """The server refused this request, and might answer another."""


class Arrived(NamedTuple):
    """The answer to a prompt, and the sign that the caller has taken it."""

    number: int
    answer: Answer | Failed
    taken: anyio.Event


class Round(NamedTuple):
    """The client of one call, and the sign that no request should be sent any more."""

    client: openai.AsyncOpenAI
    stopped: anyio.Event


class ChatServer:
    """Asks the model `model` on a server. The rate limit holds for all calls of `ask` together.

    Args:
        endpoint: the server.
        model: the server's name for the model.
        settings: further fields of each request (`max_tokens`, `temperature`, ...).
        parallel: the most requests that run at the same time.
        requests_per_minute: the most requests in a minute, including retries. None: no limit.
        retries: how often a request is repeated if the server is overloaded or broken (429, 5xx, timeouts, broken
            connections), or its answer is malformed.
        timeout: seconds to wait for a complete answer.

    Raises `PartError` if servers may not be contacted. Redirects are not followed, because they could send the prompt,
    and perhaps the key, to another server.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        model: str,
        settings: dict[str, Any],
        *,
        parallel: int = 8,
        requests_per_minute: float | None = None,
        retries: int = 5,
        timeout: float = 60.0,
    ) -> None:
        check_network(endpoint.url)
        self.endpoint, self.model, self.settings = endpoint, model, settings
        self.parallel, self.retries, self.timeout = parallel, retries, timeout
        self._pace = Pace(requests_per_minute)
        self._in_vain = 0
        self._told_wait = False
        self.takes_no_schema = False
        """Whether the server has refused a request because of its JSON schema."""

    def ask(self, prompts: Sequence[Prompt]) -> list[Answer | Failed]:
        """An answer to each prompt, or why there is none.

        Raises `MMKitError` for errors that every further request would have, too: the server cannot be reached, refuses
        the key, does not know the model, or has not answered the last `2 * parallel` requests (at least 16).
        """
        answers = dict(self.answers(prompts))
        return [answers[number] for number in range(len(prompts))]

    def answers(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Answer | Failed]]:
        """The number of a prompt and its answer, or why there is none, as soon as it is there. Raises as `ask` does.

        The next request of a place waits until the caller has taken the answer before it, and so may have stored it. A
        server that refuses a request with a JSON schema is asked without it. If it answers then, later requests have no
        schema either. Before it raises, the requests under way get their answers, which may have to be paid for.
        """
        check_network(self.endpoint.url)
        arrived: SimpleQueue[Arrived | None] = SimpleQueue()
        with start_blocking_portal() as portal:  # also works if an event loop is running, as in notebooks
            asking = portal.start_task_soon(self._ask_all, [Chat.of(p) for p in prompts], arrived.put)
            asking.add_done_callback(lambda _: arrived.put(None))
            while (answer := arrived.get()) is not None:
                yield answer.number, answer.answer
                portal.call(answer.taken.set)
            asking.result()

    async def _ask_all(self, chats: list[Chat], arrived: Callable[[Arrived], None]) -> None:
        hopeless: list[MMKitError] = []
        places, stopped = anyio.Semaphore(self.parallel), anyio.Event()

        async def ask(number: int, chat: Chat) -> None:
            async with places:
                if stopped.is_set():
                    return
                try:
                    answer = Arrived(number, await self._ask(Round(client, stopped), chat), anyio.Event())
                except MMKitError as error:
                    hopeless.append(error)
                    stopped.set()
                    return
                arrived(answer)
                await answer.taken.wait()

        async with self._client() as client, anyio.create_task_group() as tasks:
            for number, chat in enumerate(chats):
                tasks.start_soon(ask, number, chat)
        if hopeless:
            raise hopeless[0]

    def _client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            api_key="unused",  # each request has its own header
            base_url=self.endpoint.url,
            max_retries=0,  # `_asked` repeats
            timeout=self.timeout,
            http_client=BoundedClient(follow_redirects=False, most_seconds=self.timeout),
        )

    async def _ask(self, round: Round, chat: Chat) -> Answer | Failed:
        """The answer to one prompt: if the server refuses a schema, then without one."""
        if not chat.schema or self.takes_no_schema:
            return await self._asked(round, chat, {})
        answer = await self._asked(round, chat, chat.response_format())
        if isinstance(answer, RefusedPrompt):
            answer = await self._asked(round, chat, {})
            if isinstance(answer, Answer) and not self.takes_no_schema:
                self.takes_no_schema = True
                echo(f"note: {self.endpoint.url} refuses JSON schemas, and is asked without them", err=True)
        return answer

    async def _asked(self, round: Round, chat: Chat, response_format: dict[str, Any]) -> Answer | Failed:
        """The answer to a request, which is repeated at most `retries` times while that may help."""
        failed: openai.OpenAIError = MalformedError("it was not asked, because the server was given up")
        for again in range(1, self.retries + 2):
            if await _paused(self._pace.turn(), round.stopped):
                break
            answer = await self._once(round.client, chat, response_format)
            if isinstance(answer, Answer):
                self._in_vain = 0
                return answer
            failed, wait = answer, wait_before(again, answer)
            if again > self.retries or wait == inf:
                break
            self._tell_wait(wait)
            if await _paused(wait, round.stopped):
                break
        return self._failed(failed)

    async def _once(
        self, client: openai.AsyncOpenAI, chat: Chat, response_format: dict[str, Any]
    ) -> Answer | openai.OpenAIError:
        """The answer to one request, or why there is none."""
        messages: Any = [message.to_json() for message in chat.messages]
        try:
            completion = await client.chat.completions.create(
                model=self.model,
                messages=messages,
                extra_headers=self._headers(),
                **self.settings,
                **response_format,
            )
            answer = _answer(completion)
        except openai.OpenAIError as error:
            return error
        except (json.JSONDecodeError, UnicodeDecodeError):
            return MalformedError("the answer is not JSON")
        except Exception:  # the client does not check what it gets, so a stranger's answer can raise anything
            return MalformedError("the answer is not in the form of a chat answer")
        text, model, build = (
            self.endpoint.redacted(s, at_least=_KEY_LENGTH) for s in (answer.text, answer.model, answer.build)
        )
        return replace(answer, text=text, model=model, build=build)

    def _tell_wait(self, seconds: float) -> None:
        if seconds > TOLD_WAIT and not self._told_wait:
            self._told_wait = True
            echo(
                f"note: {self.endpoint.url} asks to wait {seconds:,.0f} s, and is asked again then", err=True
            )

    def _headers(self) -> dict[str, Any]:
        """The headers of a request: the key, if it is sent to this server, and none that this server must not get."""
        withheld = dict.fromkeys(self.endpoint.withheld_headers(), openai.omit)
        return {**withheld, "Authorization": self.endpoint.authorization or openai.omit}

    def _failed(self, error: openai.OpenAIError) -> Failed:
        """Why a request was not answered. Raises `MMKitError` if further requests would fail, too."""
        if isinstance(error, MalformedError):
            self._in_vain = 0
            return Failed(str(error))
        status = error.status_code if isinstance(error, openai.APIStatusError) else 0
        reason = self.endpoint.redacted(_said(error))[:_REASON_LENGTH]
        if type(error.__cause__).__name__ in _NO_CONNECTION:
            raise self._stop(
                "the chat server cannot be reached", f"start it, or check `base_url` and {URL}"
            ) from None
        if status in _HOPELESS or is_quota(error):
            what, hint = _HOPELESS[402 if is_quota(error) else status]
            if status in (401, 403) and self.endpoint.withheld:
                hint = f"{KEY} is sent only if {URL} is {self.endpoint.url}"
            raise self._stop(f"{what} ({reason})", hint) from None  # its message may repeat the key
        if 300 <= status < 400:
            raise self._stop(
                "the server redirects to another address", f"give the new address as `base_url` or {URL}"
            ) from None
        if 400 <= status < 500 and status not in {408, 409, 429}:
            self._in_vain = 0  # only this prompt was refused
            return RefusedPrompt(reason)
        self._in_vain += 1
        if self._in_vain >= max(16, 2 * self.parallel):
            raise self._stop(
                f"the server has not answered the last {self._in_vain} requests ({reason})",
                "try later, or with a smaller `parallel`, a longer `timeout`, or a limit `requests_per_minute`",
            ) from None
        return Failed(reason)

    def _stop(self, what: str, hint: str) -> MMKitError:
        return MMKitError(
            what, where=f"{self.endpoint.url}, model {self.model!r}", hint=hint, code="chat.server"
        )


def _answer(completion: Any) -> Answer:
    """The text of the first choice. The client does not check answers, so anything may be missing."""
    try:
        choice = completion.choices[0]
        text, ended = choice.message.content, choice.finish_reason
    except (AttributeError, IndexError, KeyError, TypeError):
        raise MalformedError("the answer has no choices") from None
    if not isinstance(text, str):
        raise MalformedError("the answer has no text")
    text = text.encode("utf-8", "replace").decode()  # half a character (a lone surrogate) cannot be stored
    usage = getattr(completion, "usage", None)
    answer = Answer(
        text,
        ended == "length",
        _count(usage, "prompt_tokens"),
        _count(usage, "completion_tokens"),
        _name(completion, "model"),
        _name(completion, "system_fingerprint"),
    )
    if not answer.without_thoughts() and not answer.truncated:
        raise MalformedError("the answer's text is empty")
    return answer


def _count(usage: Any, name: str) -> int | None:
    """A number of tokens, if the server gives it and it can be one."""
    number = getattr(usage, name, None)
    return number if isinstance(number, int) and 0 <= number < MOST_TOKENS else None


def _name(completion: Any, name: str) -> str:
    """What the server says of itself, on one line; nothing if it is no text. What is too long for a name ends in …"""
    said = getattr(completion, name, None)
    words = printable(plain(said)) if isinstance(said, str) else ""
    return words if len(words) <= _NAME_LENGTH else f"{words[: _NAME_LENGTH - 1]}…"


def _said(error: openai.OpenAIError) -> str:
    """What went wrong, on one line: the status, and the server's message if there is one."""
    if isinstance(error, openai.APITimeoutError):
        return "no answer in time"
    if not isinstance(error, openai.APIStatusError):
        return "the connection was broken"
    body = error.body if isinstance(error.body, dict) else {}
    words = body.get("message") or body.get("detail") or error.response.text
    said = f"{error.status_code}: {' '.join(str(words).split())}"
    wait = asked_to_wait(error)
    return f"the server asks to wait {wait:,.0f} s, {said}" if wait > MOST_WAIT else said


async def _paused(seconds: float, stopped: anyio.Event) -> bool:
    """Whether it was stopped within so many seconds, or before."""
    with anyio.move_on_after(seconds):
        await stopped.wait()
    return stopped.is_set()
