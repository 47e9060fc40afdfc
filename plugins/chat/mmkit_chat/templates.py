"""Chat templates, which come with a model: programs of strangers that make one text of a chat.

transformers runs them in Jinja's sandbox: they reach no file and no server. They can still fail, and take long.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from jinja2 import TemplateSyntaxError

from mmkit.errors import MMKitError, PartError, one_line
from mmkit.files.time_limit import OutOfTime, time_limit

SECONDS = 10.0
"""Processor time that a template may need for one batch of chats; an ordinary one needs milliseconds."""

MOST_SECONDS = 60.0
"""The same with what follows it: tokens, and tensors of pictures. Threads of this process count, too."""

MOST_CHARACTERS = 20_000_000
"""The longest text of one chat."""


def templated(apply: Callable[..., Any], chats: list[Any], name: str, **settings: Any) -> Any:
    """What `apply`, an `apply_chat_template`, makes of each of `chats`: tensors, as `settings` say.

    Raises `PartError` if the template of the model `name` cannot be read, fails or takes too long, if its text is too
    long, or if the model's own processor cannot read it. A single step of a template that makes a huge text cannot be
    stopped, and outside the main thread there is no limit of time.
    """
    own = {key: value for key, value in settings.items() if key not in _OF_TOKENS}
    with _explained(name, "cannot be used", SECONDS):
        texts = apply(chats, tokenize=False, **own)
    for text in texts:
        if len(text) > MOST_CHARACTERS:
            raise _refused(name, f"makes a text of {len(text):,} characters of one chat")
    with _explained(name, "makes a text that the model's own processor cannot read", MOST_SECONDS):
        return apply(chats, tokenize=True, **settings)


_OF_TOKENS = {"padding", "return_tensors", "return_dict"}


@contextlib.contextmanager
def _explained(name: str, what: str, seconds: float) -> Iterator[None]:
    """Turn whatever a template makes happen into a `PartError`, also that it takes longer."""
    try:
        with time_limit(seconds):
            yield
    except MMKitError:
        raise
    except OutOfTime:
        raise _refused(name, f"needs more than {seconds:g} s") from None
    except TemplateSyntaxError as error:
        raise _refused(name, f"{what}: line {error.lineno}: {error.message}") from error
    except Exception as error:  # a template can raise anything
        raise _refused(name, f"{what}: {one_line(error)}") from error


def _refused(name: str, what: str) -> PartError:
    return PartError(
        f"the chat template of the model {name!r} {what}",
        hint="check chat_template_kwargs, give another model, or serve this one with a template that works",
        code="chat.template",
    )
